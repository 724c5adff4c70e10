"""What to do with one credential now."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.resources.usercredential import State, username_problem

if TYPE_CHECKING:
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.secrets import TokenRecord, TokenSecret
    from cube_oauth.resources.usercredential import UserCredential

JITTER = 0.1
"""The share of the waiting time by which refreshes of different credentials are spread, always towards earlier."""

SHORTEST = timedelta(seconds=2)
"""No token is refreshed earlier than this after it was issued, however absurd its lifetime."""


@dataclass(frozen=True)
class Observed:
    """Everything that decides about one credential, gathered before."""

    credential: UserCredential
    app: OAuthApp | None
    app_ready: bool
    """Whether the OAuthApp's endpoints and client secret are known and usable."""
    token: TokenSecret | None
    duplicate: bool = False
    """An older credential names the same person and app."""
    not_before: datetime | None = None
    """After a failure: no earlier request than this (backoff, Retry-After, or the provider's budget)."""
    released_claim: str | None = None
    """The id of a claim of this very process whose request is known to be over."""
    decipherable: bool = True
    """Whether the key rings hold the keys of the stored tokens."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do; look again at ``until``, or when something changes."""

    until: datetime | None = None


@dataclass(frozen=True)
class Refresh:
    """Redeem the refresh token now. ``for_rejection``: the revision that the warehouse refused, if that is why."""

    for_rejection: int | None = None


@dataclass(frozen=True)
class DropAccessToken:
    """The access token has ended: remove it from the Secret."""


Decision = Wait | Refresh | DropAccessToken


def refresh_at(record: TokenRecord, percent: int, uid: str) -> datetime:
    """When to refresh: after ``percent`` of the lifetime, up to 10 % earlier by a jitter that depends on credential and revision.

    Deterministic, so that a restart causes no request that was not due (cert-manager 3603, external-secrets 4231).
    """
    lifetime = record.expires_at - record.issued_at
    seed = hashlib.sha256(f"{uid}/{record.revision}".encode()).digest()
    spread = 1 - JITTER * int.from_bytes(seed[:4], "big") / 0xFFFFFFFF
    share = timedelta(seconds=int(lifetime.total_seconds() * percent / 100 * spread))
    return record.issued_at + min(max(share, SHORTEST), lifetime)


def origin(url: str) -> str:
    """Scheme, host and port of ``url`` (RFC 6454): where tokens may be sent."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def bound(record: TokenRecord, app: OAuthApp) -> bool:
    """Whether the tokens belong to the app's present client and token endpoint."""
    token_url = app.status.token_url or app.spec.token_url or ""
    return record.client_id == app.spec.client_id and origin(record.token_url) == origin(token_url)


def blocked(observed: Observed) -> Reason | None:
    """Why this credential is not served whatever its tokens, or None."""
    if username_problem(observed.credential.spec.username):
        return Reason.INVALID_USERNAME
    if observed.duplicate:
        return Reason.DUPLICATE
    if observed.app is None:
        return Reason.APP_NOT_FOUND
    if observed.credential.spec.suspend:
        return Reason.SUSPENDED
    return None


def rejected(observed: Observed) -> int | None:
    """The current revision, if the warehouse refused it and no refresh was forced for it yet."""
    demand, token = observed.credential.status.demand, observed.token
    if token is None or demand is None or demand.rejected_revision != token.record.revision:
        return None
    return None if token.record.refreshed_for_rejection == token.record.revision else token.record.revision


def can_refresh(observed: Observed) -> bool:
    """Whether a refresh could succeed at all."""
    token, app = observed.token, observed.app
    return (
        token is not None
        and app is not None
        and token.refresh_token is not None
        and token.record.ended is None
        and observed.app_ready
        and observed.decipherable
        and bound(token.record, app)
    )


def decide(observed: Observed, now: datetime) -> Decision:
    """What to do with this credential at ``now``.

    Never decides on a refresh while somebody else's claim stands, before ``not_before``, or for what is blocked.
    """
    token = observed.token
    if token is None:
        return Wait()
    if token.access_token is not None and token.record.expires_at <= now:
        return DropAccessToken()
    ends = token.record.expires_at if token.access_token is not None else None
    if blocked(observed) or not can_refresh(observed):
        return Wait(ends)
    assert observed.app is not None  # noqa: S101 - can_refresh said so
    rejection = rejected(observed)
    due = refresh_at(token.record, observed.app.spec.refresh.percent_of_lifetime, observed.credential.metadata.uid)
    earliest = max([now if rejection else due, *_obstacles(observed)])
    if earliest > now:
        return Wait(min(earliest, ends) if ends else earliest)
    return Refresh(for_rejection=rejection)


def _obstacles(observed: Observed) -> list[datetime]:
    """The moments before which no refresh may begin."""
    claim = observed.token.claim if observed.token else None
    foreign = claim.deadline if claim and claim.id != observed.released_claim else None
    return [moment for moment in (foreign, observed.not_before) if moment]


def state_of(observed: Observed, now: datetime) -> tuple[State, Reason | str]:  # noqa: PLR0911 - one line a case
    """The state and its reason, from what is there now (never from what happened)."""
    if reason := blocked(observed):
        return (State.REVOKED if reason is Reason.SUSPENDED else State.PENDING), reason
    token = observed.token
    if token is None:
        return State.PENDING, Reason.NOT_CONNECTED if observed.app_ready else Reason.APP_NOT_READY
    if not observed.decipherable:
        return State.PENDING, Reason.UNDECIPHERABLE
    if token.access_token is not None and token.record.expires_at > now:
        return State.ACTIVE, Reason.ACTIVE
    if token.record.ended == Reason.REVOKED:
        return State.REVOKED, Reason.REVOKED
    if token.record.ended:
        return State.EXPIRED, token.record.ended
    if observed.app is not None and observed.app_ready and not bound(token.record, observed.app):
        return State.EXPIRED, Reason.CLIENT_CHANGED
    return State.EXPIRED, Reason.NO_REFRESH_TOKEN if token.refresh_token is None else Reason.EXPIRED
