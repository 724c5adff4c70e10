"""What to do with one credential now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.lifecycle.timing import again_at, idle, next_refresh, next_warning
from cube_oauth.resources.usercredential import State, username_problem

if TYPE_CHECKING:
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.secrets import TokenRecord, TokenSecret
    from cube_oauth.resources.usercredential import UserCredential

CLAIM = timedelta(seconds=30)
"""How long a claim stands: longer than the request that it permits may take."""

RECENTLY = timedelta(minutes=3)
"""A use that a query may still wait for; the broker's clock may be two minutes off."""


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
    claim_seen_at: datetime | None = None
    """When this process first saw the claim: how long it stands is measured by one clock only. None: its deadline counts."""
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
    woken: bool = False
    """A query waits for a credential that was idle."""

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for it."""
        return self.woken or self.for_rejection is not None


@dataclass(frozen=True)
class DropAccessToken:
    """The access token has ended: remove it from the Secret."""


@dataclass(frozen=True)
class Withdraw:
    """The tokens may not be used any more: have them revoked at the provider, and keep none.

    ``AppNotFound`` has to be proved first: a copy that lags behind is no reason.
    """

    reason: Reason


Decision = Wait | Refresh | DropAccessToken | Withdraw

WITHDRAWN = {Reason.SUSPENDED: Reason.SUSPENSION_ENDED, Reason.APP_NOT_FOUND: Reason.APP_REPLACED}
"""Why tokens are withdrawn, and what remains to be said of that once the cause is gone."""


@lru_cache(maxsize=1024)
def origin(url: str) -> str:
    """Scheme, host and port of ``url`` (RFC 6454): where tokens may be sent."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def bound(record: TokenRecord, app: OAuthApp) -> bool:
    """Whether the tokens belong to the app's present client and token endpoint."""
    token_url = app.status.token_url or app.spec.token_url or ""
    same = record.client_id == app.spec.client_id and origin(record.token_url) == origin(token_url)
    return same and origin(record.exchange_url or "") == origin(app.status.token_exchange_url or "")


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


def withdrawal(observed: Observed) -> Reason | None:
    """Why the tokens that are there must be revoked and removed, or None."""
    token, app = observed.token, observed.app
    if token is None or (token.access_token is None and token.refresh_token is None):
        return None
    if app is None or app.metadata.uid != token.record.app.uid:
        return Reason.APP_NOT_FOUND
    return Reason.SUSPENDED if observed.credential.spec.suspend else None


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


def renewable(observed: Observed) -> bool:
    """Whether the token will be renewed, as far as we can tell."""
    token = observed.token
    return token is not None and token.record.denied is None and can_refresh(observed)


def last_used(observed: Observed) -> datetime | None:
    """When a query last asked for the credential, as far as the broker told."""
    demand = observed.credential.status.demand
    return demand.last_used_at if demand else None


def decide(observed: Observed, now: datetime) -> Decision:
    """What to do with this credential at ``now``.

    Never decides on a refresh while somebody else's claim stands, before ``not_before``, or for what is blocked.
    """
    token, app = observed.token, observed.app
    if token is None:
        return Wait()
    if reason := withdrawal(observed):
        return Withdraw(reason)
    if token.access_token is not None and token.record.expires_at <= now:
        return DropAccessToken()
    ends = token.record.expires_at if token.access_token is not None else None
    if app is None or blocked(observed) or not can_refresh(observed):
        return Wait(ends)
    rejection = rejected(observed)
    due = next_refresh(token.record, app.spec.refresh, last_used(observed), observed.credential.metadata.uid, now)
    lost = token.access_token is None and now < token.record.expires_at
    earliest = max([now if rejection or lost else due, *_obstacles(observed)])
    if earliest > now:
        return Wait(min(moment for moment in (earliest, ends, next_warning(token, now)) if moment))
    return Refresh(for_rejection=rejection, woken=_woken(observed, now))


def _obstacles(observed: Observed) -> list[datetime]:
    """The moments before which no refresh may begin."""
    token, seen = observed.token, observed.claim_seen_at
    claim = token.claim if token else None
    foreign = (seen + CLAIM if seen else claim.deadline) if claim and claim.id != observed.released_claim else None
    again = again_at(token.record, observed.credential.metadata.uid) if token else None
    return [moment for moment in (foreign, observed.not_before, again) if moment]


def _woken(observed: Observed, now: datetime) -> bool:
    """Whether a query has just asked for a credential that was let lapse."""
    used, app, token = last_used(observed), observed.app, observed.token
    if app is None or token is None or used is None or app.spec.refresh.only_while_used_seconds is None:
        return False
    return token.access_token is None and abs(now - used) <= RECENTLY


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
    if token.record.ended in (Reason.REVOKED, *WITHDRAWN.values()):
        return State.REVOKED, token.record.ended
    if token.record.ended:
        return State.EXPIRED, token.record.ended
    return State.EXPIRED, _why_ended(observed, token, now)


def _why_ended(observed: Observed, token: TokenSecret, now: datetime) -> Reason | str:
    """Why there is no newer access token, although the sign-in is not known to be over."""
    app = observed.app
    if token.refresh_token is None:
        return Reason.NO_REFRESH_TOKEN
    if app is not None and observed.app_ready and not bound(token.record, app):
        return Reason.CLIENT_CHANGED
    if token.record.denied:
        return token.record.denied
    if app is not None and idle(token.record, app.spec.refresh, last_used(observed), now):
        return Reason.IDLE
    return Reason.REFRESH_DELAYED
