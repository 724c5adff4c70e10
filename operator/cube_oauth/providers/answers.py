"""Reading what a token endpoint answers (RFC 6749, section 5), and what is nearly that. Pure."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pydantic import SecretStr

from cube_oauth.providers.errors import UNREADABLE_ANSWER, error, sort

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_LIFETIME = timedelta(days=365)
LONGEST_REFRESH_LIFETIME = timedelta(days=3650)
LONGEST_RETRY_AFTER = timedelta(days=1)

_OK = range(200, 300)
_TOKENS = ("access_token", "refresh_token", "id_token")
_FORM_TYPES = ("application/x-www-form-urlencoded", "text/plain", "")
_MOST_FIELDS = 64
_MOST_DIGITS = 100
_A_POINT_IN_TIME = 10**9
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")
_DIGITS = re.compile(r"[0-9]{1,9}")
_TOKEN = re.compile(r"[\x20-\x7e]+")
_ACCESS_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class HTTPAnswer:
    """What came over the wire. The body may hold tokens, so it is not shown."""

    status: int
    content_type: str
    """Without parameters, lower case; empty when the answer has none."""
    body: bytes = field(repr=False)
    retry_after: timedelta | None = None


@dataclass(frozen=True)
class TokenAnswer:
    """The tokens of one answer (RFC 6749, section 5.1; OpenID Connect Core, section 3.1.3.3)."""

    access_token: SecretStr
    refresh_token: SecretStr | None = None
    """None: keep the one there is (RFC 6749, section 6)."""
    id_token: SecretStr | None = None
    expires_in: timedelta | None = None
    """The access token's lifetime; None when the provider does not say it, by the rules of ``lifetime``."""
    refresh_token_expires_in: timedelta | None = None
    scopes: tuple[str, ...] = ()
    """What was granted; empty when the provider does not say it, which means: what was asked for."""
    token_type: str = "Bearer"  # noqa: S105 - a type
    said: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Every other field and the lifetimes, as they came (Snowflake: ``username``)."""


def lifetime(value: object, longest: timedelta = LONGEST_LIFETIME) -> timedelta | None:
    """A lifetime in seconds, as a number or as text.

    None (not said) for what is missing, zero, negative, no number, or of ten digits and more, which is a point in time or
    nonsense. What is longer than ``longest`` becomes ``longest``.
    """
    if isinstance(value, str):
        value = float(value) if _SECONDS.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _A_POINT_IN_TIME:
        return None
    return min(timedelta(seconds=value), longest) or None


def retry_after(header: str | None, now: datetime) -> timedelta | None:
    """``Retry-After`` in either form (RFC 9110, section 10.2.3): seconds, or an HTTP date; at most a day, never negative."""
    if header is None:
        return None
    if _DIGITS.fullmatch(header.strip()):
        return min(timedelta(seconds=int(header)), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment - now, timedelta(0)), LONGEST_RETRY_AFTER)


def _decoded(body: bytes) -> str:
    """JSON is UTF-8 (RFC 8259, section 8.1). What is not is read as Latin-1, where every byte counts: tokens are ASCII."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("latin-1")


def _integer(digits: str) -> float:
    """Python refuses to read a number of some thousand digits, and with it the tokens beside it."""
    return int(digits) if len(digits) <= _MOST_DIGITS else math.inf


def json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object in ``body``, or None when there is none. Never raises: a parser's error would quote the body."""
    try:
        value = json.loads(_decoded(body), parse_int=_integer)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _form(body: bytes) -> dict[str, Any]:
    try:
        return dict(parse_qsl(_decoded(body), max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}


def fields(answer: HTTPAnswer) -> dict[str, Any]:
    """The fields of an answer: JSON whatever its type says, or a form when its type permits one (GitHub, Facebook)."""
    found = json_object(answer.body)
    if found is not None:
        return found
    return _form(answer.body) if answer.content_type in _FORM_TYPES else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _token(value: object, form: re.Pattern[str] = _TOKEN) -> SecretStr | None:
    """A token is printable ASCII (RFC 6749, appendix A.12); anything else could not stand in a header."""
    text = _text(value)
    return SecretStr(text) if text and form.fullmatch(text) else None


def _access_token(value: object) -> SecretStr | None:
    """It holds no space (RFC 6750, section 2.1): Casdoor has given sentences about an error in its place."""
    return _token(value, _ACCESS_TOKEN)


def _scopes(value: object, separator: str) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(scope for scope in value if isinstance(scope, str))
    return tuple((_text(value) or "").replace(separator, " ").split())


def _refresh_lifetime(found: dict[str, Any]) -> timedelta | None:
    """``refresh_token_expires_in`` (Snowflake, GitHub, Google), or Keycloak's ``refresh_expires_in``; in no RFC."""
    value = found.get("refresh_token_expires_in", found.get("refresh_expires_in"))
    return lifetime(value, LONGEST_REFRESH_LIFETIME)


def _code(said: object) -> str | None:
    """The ``error`` of an answer; some wrap it into an object."""
    if isinstance(said, dict):
        return _text(said.get("code")) or _text(said.get("type"))
    return _text(said)


def _description(found: Mapping[str, Any]) -> str:
    """What stands beside the ``error``: a description (RFC 6749, section 5.2), Entra's suberror, Google's error_subtype."""
    said = (_text(found.get(name)) for name in ("error_description", "suberror", "error_subtype"))
    return " ".join(text for text in said if text)


def refuse(answer: HTTPAnswer) -> None:
    """Raise the ProviderError that an answer without tokens means, by its body and status; 200 may hold an error, too."""
    found = fields(answer)
    said = found.get("error")
    if answer.status in _OK and not said:
        return
    raise error(sort(answer.status, _code(said), _description(found)), retry_after=answer.retry_after)


def token_answer(answer: HTTPAnswer, scope_separator: str = " ") -> TokenAnswer:
    """The tokens in an answer. Raises ProviderError when there are none.

    An access token in a 2xx answer counts, whatever else is beside it: a rotated refresh token must not be lost.
    """
    found = fields(answer) if answer.status in _OK else {}
    access_token = _access_token(found.get("access_token"))
    if access_token is None:
        refuse(answer)
        raise error(UNREADABLE_ANSWER, retry_after=answer.retry_after)
    return TokenAnswer(
        access_token=access_token,
        refresh_token=_token(found.get("refresh_token")),
        id_token=_token(found.get("id_token")),
        expires_in=lifetime(found.get("expires_in")),
        refresh_token_expires_in=_refresh_lifetime(found),
        scopes=_scopes(found.get("scope"), scope_separator),
        token_type=_text(found.get("token_type")) or "Bearer",
        said={name: value for name, value in found.items() if name not in (*_TOKENS, "scope")},
    )


def stored(answer: TokenAnswer) -> SecretStr:
    """An answer as text, for ``restored``; with its tokens, so it is to be sealed."""
    tokens = {name: getattr(answer, name) for name in _TOKENS}
    said = {**answer.said, "scope": list(answer.scopes)}
    return SecretStr(json.dumps({**said, **{name: token.get_secret_value() for name, token in tokens.items() if token}}))


def restored(text: SecretStr) -> TokenAnswer:
    """The answer that was ``stored``. Raises ProviderError when it is none."""
    return token_answer(HTTPAnswer(200, "application/json", text.get_secret_value().encode()))
