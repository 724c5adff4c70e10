"""When a token is refreshed, when a sign-in that nobody uses is kept alive, and when its end is announced. Pure.

All times are the controller's own: lifetimes are relative (``expires_in``), so that the provider's clock does not matter.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cube_oauth.resources.oauthapp import Refresh
    from cube_oauth.resources.secrets import TokenRecord, TokenSecret

JITTER = 0.1
"""The share of the waiting time by which refreshes of different credentials are spread, always towards earlier."""

SHORTEST = timedelta(seconds=2)
"""No token is refreshed earlier than this after it was issued, however absurd its lifetime."""

KEEP_ALIVE_PERCENT = 80
"""A refresh token is redeemed after this share of its own lifetime, used or not, so that it does not lapse."""

KEEP_ALIVE_SHORTEST = timedelta(seconds=30)
"""A refresh token that is said to last no longer than this, or to have ended, is not kept alive: each renewal would ask for the
next at once. Some providers say its end once, and take it for longer."""

KEEP_ALIVE_UNKNOWN = timedelta(days=1)
"""How often that is done when the provider does not say the refresh token's lifetime; many lapse unused."""

DENIED_SHORTEST, DENIED_LONGEST = timedelta(minutes=15), timedelta(days=1)
"""Between attempts while the provider's policy refuses a person: a quarter of the time that the last token is old, within these."""

WARNINGS = {"WithinADay": timedelta(days=1), "WithinAWeek": timedelta(days=7)}
"""How long before its end a sign-in is announced to end, nearest first; only if it lasts at least twice as long in all."""


@lru_cache(maxsize=16_384)
def share(start: datetime, end: datetime, percent: int, *seed: object) -> datetime:
    """The moment after ``percent`` of the time, up to 10 % earlier by a jitter that depends on ``seed`` alone."""
    digest = hashlib.sha256("/".join(map(str, seed)).encode()).digest()
    spread = 1 - JITTER * int.from_bytes(digest[:4], "big") / 0xFFFFFFFF
    lifetime = end - start
    share = timedelta(seconds=int(lifetime.total_seconds() * percent / 100 * spread))
    return start + min(max(share, SHORTEST), lifetime)


def refresh_at(record: TokenRecord, percent: int, uid: str) -> datetime:
    """When to refresh: after ``percent`` of the lifetime, up to 10 % earlier by a jitter that depends on credential and revision.

    Deterministic, so that a restart causes no request that was not due (cert-manager 3603, external-secrets 4231).
    """
    return share(record.issued_at, record.expires_at, percent, uid, record.revision)


def keep_alive_at(record: TokenRecord, uid: str) -> datetime | None:
    """When to redeem the refresh token before it lapses itself; None when the provider does not say, or says nonsense."""
    ends = record.refresh_token_expires_at
    if ends is None or ends - record.issued_at <= KEEP_ALIVE_SHORTEST:
        return None
    return share(record.issued_at, ends, KEEP_ALIVE_PERCENT, uid, record.revision)


def again_at(record: TokenRecord, uid: str) -> datetime | None:
    """When to ask once more after the provider's policy refused, ever less often; None: it did not."""
    if record.denied_at is None:
        return None
    pause = min(max((record.denied_at - record.issued_at) / 4, DENIED_SHORTEST), DENIED_LONGEST)
    return share(record.denied_at, record.denied_at + pause, 100, uid, record.denied_at)


def idle(record: TokenRecord, refresh: Refresh, last_used: datetime | None, now: datetime) -> bool:
    """Whether nobody has used the credential for so long that it is not refreshed for the next query.

    A sidecar serves from memory for as long as a token lasts, so no use within the token's lifetime is none seen.
    """
    if refresh.only_while_used_seconds is None:
        return False
    span = max(timedelta(seconds=refresh.only_while_used_seconds), record.expires_at - record.issued_at)
    return now - max(last_used or record.issued_at, record.signed_in_at or record.issued_at) > span


def next_refresh(record: TokenRecord, refresh: Refresh, last_used: datetime | None, uid: str, now: datetime) -> datetime:
    """When the token is refreshed next, if nothing happens until then."""
    due, keep_alive = refresh_at(record, refresh.percent_of_lifetime, uid), keep_alive_at(record, uid)
    if not idle(record, refresh, last_used, now):
        return min(due, keep_alive) if keep_alive else due
    return keep_alive or max(due, record.issued_at + KEEP_ALIVE_UNKNOWN)


def sign_in_ends(token: TokenSecret) -> datetime | None:
    """When the person has to authorize again, whatever is refreshed until then; None when that is not known."""
    record = token.record
    fixed = token.refresh_token is not None and record.refresh_token_rolls is False
    return record.refresh_token_expires_at if fixed else None


def _announced(token: TokenSecret) -> dict[str, datetime]:
    """The moments at which the end of the sign-in is announced, nearest to it first."""
    ends, began = sign_in_ends(token), token.record.signed_in_at or token.record.issued_at
    return {word: ends - before for word, before in WARNINGS.items() if ends - began >= 2 * before} if ends else {}


def warning(token: TokenSecret, now: datetime) -> str | None:
    """How near the end of the sign-in is (a key of WARNINGS), or None."""
    return next((word for word, moment in _announced(token).items() if moment <= now), None)


def next_warning(token: TokenSecret, now: datetime) -> datetime | None:
    """When ``warning`` will say something else."""
    return min((moment for moment in _announced(token).values() if moment > now), default=None)
