"""The catalogue's texts in the reader's language; everything that is filled in is escaped."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from markupsafe import Markup

from cube_oauth.portal.german import GERMAN
from cube_oauth.portal.preferences import preferences
from cube_oauth.portal.texts import ENGLISH, Moment, Text

if TYPE_CHECKING:
    from collections.abc import Mapping

HALF_A_YEAR = timedelta(days=182)
_NAMED_DAYS = {-1: "time.yesterday", 0: "time.today", 1: "time.tomorrow"}


_RIGHT_TO_LEFT = {"R", "AL", "AN"}
_CONTROLS = {"RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI"}


def isolated(value: object) -> object:
    """A name that is read from right to left, set apart within a sentence (Unicode UAX 9, "Isolates"): no word beside it turns.

    Characters that would turn what follows are left out.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    classes = {unicodedata.bidirectional(character) for character in value}
    if classes.isdisjoint(_RIGHT_TO_LEFT | _CONTROLS):
        return value
    kept = "".join(character for character in value if unicodedata.bidirectional(character) not in _CONTROLS)
    return f"\u2068{kept}\u2069"


@dataclass(frozen=True)
class Language:
    """One translation of the catalogue."""

    code: str
    """For the page's ``lang`` (BCP 47)."""
    catalogue: Mapping[str, str]

    def render(self, value: object) -> object:
        """Words for a text or a moment; anything else stays as it is."""
        if isinstance(value, Moment):
            return self._moment(value)
        if isinstance(value, Text):
            filled = {name: isolated(self.render(inner)) for name, inner in value.values.items()}
            return Markup(self.catalogue[value.key]).format(**filled)  # noqa: S704 - ours; format() escapes the values
        return value

    def plain(self, value: object) -> str:
        """The same without markup, for what is no page."""
        return Markup(str(self.render(value))).striptags().__str__()  # noqa: S704 - only to take the tags out

    def _moment(self, moment: Moment) -> Markup:
        """The day's name when it is near, then with the time; UTC, until the script has written the reader's own."""
        time, now = moment.time, moment.now
        far = "time.year" if abs(time - now) > HALF_A_YEAR else "time.day"
        key = _NAMED_DAYS.get((time.date() - now.date()).days, far)
        month = self.catalogue["months"].split()[time.month - 1]
        words = self.render(Text(key, {"day": time.day, "month": month, "year": time.year, "clock": f"{time:%H:%M}"}))
        return Markup('<time datetime="{}">{}</time>').format(f"{time:%Y-%m-%dT%H:%M:%SZ}", words)


LANGUAGES: Mapping[str, Language] = {language.code: language for language in (Language("en", ENGLISH), Language("de", GERMAN))}


def chosen(accept_language: str | None) -> Language:
    """What the browser asks for (``Accept-Language``, RFC 9110, section 12.5.4) without its region, or English."""
    wished = (tag.partition("-")[0] for tag, weight in preferences(accept_language) if weight > 0)
    return next((LANGUAGES[code] for code in wished if code in LANGUAGES), LANGUAGES["en"])
