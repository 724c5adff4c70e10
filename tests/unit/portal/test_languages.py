import re
from datetime import UTC, datetime

import pytest

from cube_oauth.portal.german import GERMAN
from cube_oauth.portal.languages import LANGUAGES, chosen
from cube_oauth.portal.texts import ENGLISH, Moment, Text, say

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HEADERS = {
    None: "en",
    "": "en",
    "de": "de",
    "de-AT,de;q=0.9,en;q=0.8": "de",
    "en-GB,en;q=0.9,de;q=0.1": "en",
    "fr,de;q=0.5,en;q=0.4": "de",
    "fr": "en",
    "en;q=0,de;q=0.1": "de",
    "de;q=0": "en",
    "de;q=x, ;;,": "en",
    "*": "en",
}
MOMENTS = {
    (2026, 11, 23, 9): ("today, 09:00 UTC", "heute, 09:00 UTC"),
    (2026, 11, 22, 23): ("yesterday, 23:00 UTC", "gestern, 23:00 UTC"),
    (2026, 11, 24, 1): ("tomorrow, 01:00 UTC", "morgen, 01:00 UTC"),
    (2027, 2, 3, 1): ("3 Feb", "3. Feb."),
    (2026, 3, 5, 1): ("5 Mar 2026", "5. März 2026"),
}


@pytest.mark.parametrize(("header", "code"), HEADERS.items())
def test_the_language_that_the_browser_asks_for(header, code):
    assert chosen(header).code == code


@pytest.mark.parametrize(("time", "words"), MOMENTS.items())
def test_a_time_in_words(time, words):
    moment = Moment(datetime(*time, tzinfo=UTC), NOW)
    assert (LANGUAGES["en"].plain(moment), LANGUAGES["de"].plain(moment)) == words


def placeholders(text):
    return sorted(re.findall(r"{(\w+)}", text))


def test_a_translation_has_every_text_with_the_same_places_to_fill():
    assert {key: placeholders(text) for key, text in GERMAN.items()} == {key: placeholders(text) for key, text in ENGLISH.items()}


def test_values_are_escaped_in_every_language():
    hostile = say("state.active.until", subject="<b>", until=Moment(NOW, NOW))
    for language in LANGUAGES.values():
        assert "&lt;b&gt;" in language.render(hostile)
        assert '<time datetime="2026-11-23T12:00:00Z">' in language.render(hostile)


def test_a_typing_error_is_noticed_where_it_is():
    with pytest.raises(KeyError, match="nothing"):
        say("nothing")


def test_a_text_may_be_filled_in_with_a_text():
    outer = Text("state.failed.hint", {"why": say("state.pending")})
    assert LANGUAGES["de"].plain(outer) == "Der letzte Versuch ist nicht gelungen. Nicht verbunden"


async def test_the_pages_speak_the_reader_s_language(browser, world):
    world.add_app()
    answer = await browser.log_in().get("/", headers={"Accept-Language": "de-DE,de;q=0.9"})
    assert '<html lang="de">' in answer.html
    assert "Verbundene Apps" in answer.html
    assert "Connected apps" not in answer.html
    refusal = await browser.get("/nothing", headers={"Accept-Language": "de"})
    assert "Diese Seite gibt es nicht" in refusal.html


RTL = "\u0639\u0628\u062f"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("alice", "alice"),
        (RTL, f"\u2068{RTL}\u2069"),
        ("a\u202egnp", "\u2068agnp\u2069"),
        (f"{RTL}\u2069\u202ex", f"\u2068{RTL}x\u2069"),
    ],
    ids=["left to right", "right to left", "an override", "one that breaks out"],
)
def test_a_name_turns_no_word_beside_it_round(name, shown):
    assert LANGUAGES["en"].render(say("notice.changed", title=name)) == f"{shown} is changed."


def test_a_name_that_is_sent_back_with_a_form_stays_as_it_is():
    assert LANGUAGES["en"].render(RTL) == RTL
