"""Which credentials a pod gets for a person, and why. Pure: everything is gathered before, ``now`` is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cube_oauth.lifecycle.decide import Observed, can_refresh, last_used, state_of
from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.resources.keyring import Keyring, SealError
from cube_oauth.resources.meta import rfc3339
from cube_oauth.resources.usercredential import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pydantic import SecretStr

    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.secrets import TokenRecord, TokenSecret
    from cube_oauth.resources.usercredential import UserCredential

STATUS = {State.ACTIVE: "active", State.EXPIRED: "expired", State.REVOKED: "revoked", State.PENDING: "missing"}
PUBLISHED = {
    State.EXPIRED: {Reason.EXPIRED, Reason.IDLE},
    State.REVOKED: {Reason.SUSPENDED, Reason.REVOKED},
    State.PENDING: {Reason.NOT_CONNECTED, Reason.APP_NOT_READY, Reason.DUPLICATE},
}
"""The reasons that docs/reference/protocols.md promises; any other becomes the general one of its state."""
GENERAL = {State.EXPIRED: Reason.EXPIRED, State.REVOKED: Reason.REVOKED, State.PENDING: Reason.NOT_CONNECTED}


WAKING = timedelta(seconds=10)
"""So long after a query woke an idle credential, others wait for it as well."""


@dataclass(frozen=True)
class Found:
    """What there is for one person and one OAuthApp."""

    app: OAuthApp
    data_source: str
    authorize_url: str
    credential: UserCredential | None = None
    token: TokenSecret | None = None


@dataclass(frozen=True)
class Entry:
    """The decision about one data source."""

    found: Found
    status: str
    reason: str
    access_token: SecretStr | None = None
    lapsed: bool = False
    """The token was let lapse while nobody used it: each query has to be heard of here, or nobody wakes it."""
    awaited: bool = False
    """It comes as soon as the controller hears of this query, or of one just before."""

    @property
    def record(self) -> TokenRecord | None:
        """What is known of the token, when it is given away."""
        return self.found.token.record if self.found.token and self.access_token else None

    def to_json(self) -> dict[str, Any]:
        """As the protocol has it: absent, never null."""
        entry: dict[str, Any] = {"status": self.status, "reason": self.reason}
        if self.access_token and self.record:
            entry |= {
                "accessToken": self.access_token.get_secret_value(),
                "expiresAt": rfc3339(self.record.expires_at),
                **({"subject": self.record.subject} if self.record.subject else {}),
                "revision": self.record.revision,
                "grant": self.record.grant,
            }
        return {**entry, "authorizeURL": self.found.authorize_url, "fallback": self.found.app.spec.fallback}


def may_resolve(app: OAuthApp, service_account: str) -> bool:
    """Whether pods of this service account may resolve credentials of the app."""
    allowed = app.spec.resolvers.service_accounts
    return app.metadata.deletion_timestamp is None and (not allowed or service_account in allowed)


def oldest_first(apps: Iterable[OAuthApp]) -> list[OAuthApp]:
    """Apps in the order in which they count: of two with one data source the older, so that a new one takes nothing over."""
    return sorted(apps, key=lambda app: (str(app.metadata.creation_timestamp or ""), app.metadata.name))


def counting(credentials: Iterable[UserCredential]) -> UserCredential | None:
    """Of several credentials of one person for one app the oldest; those being deleted are gone."""
    present = [one for one in credentials if one.metadata.deletion_timestamp is None]
    return min(present, key=lambda one: (str(one.metadata.creation_timestamp or ""), one.metadata.uid), default=None)


def belongs(token: TokenSecret, credential: UserCredential, app: OAuthApp) -> bool:
    """Whether the token is of this very credential, app and person."""
    record, meta = token.record, credential.metadata
    return (
        (record.credential.uid, record.app.uid) == (meta.uid, app.metadata.uid)
        and (record.credential.namespace, record.app.namespace, record.app.name)
        == (meta.namespace, app.metadata.namespace, app.metadata.name)
        and record.username == credential.spec.username
    )


def decide(found: Found, ring: Keyring, now: datetime) -> Entry:
    """The decision about one data source: a token only when it is active, belongs to the person, has not ended and opens."""
    if found.credential is None:
        return Entry(found, "missing", Reason.NOT_CONNECTED if _ready(found.app) else Reason.APP_NOT_READY)
    token = found.token if found.token and belongs(found.token, found.credential, found.app) else None
    observed = Observed(found.credential, found.app, _ready(found.app), token)
    state, reason = state_of(observed, now)
    if state is not State.ACTIVE or token is None:
        shown = reason if reason in PUBLISHED[state] else GENERAL[state]
        lapsed = state is State.EXPIRED and _lapsed(observed)
        return Entry(found, STATUS[state], shown, lapsed=lapsed, awaited=lapsed and _awaited(observed, reason, now))
    try:
        return Entry(found, STATUS[state], reason, ring.open(token.access_token or "", token.record.owner))
    except SealError:
        return Entry(found, "missing", Reason.UNDECIPHERABLE)


def _lapsed(observed: Observed) -> bool:
    """Whether a token that has ended is renewed only while somebody uses it."""
    app = observed.app
    return app is not None and app.spec.refresh.only_while_used_seconds is not None and can_refresh(observed)


def _awaited(observed: Observed, reason: str, now: datetime) -> bool:
    """Whether a query should wait for a token that has lapsed: it is needed now, or was just before."""
    used = last_used(observed)
    return reason == Reason.IDLE or (used is not None and abs(now - used) <= WAKING)


def entries(found: Sequence[Found], ring: Keyring, now: datetime) -> dict[str, Entry]:
    """One decision for each data source; of two apps with the same one the first counts."""
    decided: dict[str, Entry] = {}
    for one in found:
        if one.data_source not in decided:
            decided[one.data_source] = decide(one, ring, now)
    return decided


def opens(ring: Keyring, token: TokenSecret) -> bool:
    """Whether the key of the access token is there."""
    return token.access_token is None or ring.kid_of(token.access_token) is not None


def behind(decided: Iterable[Entry], ring: Keyring) -> bool:
    """Whether a token needs a key that the controller has, and that has not come here yet."""
    return any(_behind(entry.found, ring) for entry in decided if entry.reason == Reason.UNDECIPHERABLE)


def _behind(found: Found, ring: Keyring) -> bool:
    if found.credential is None or found.token is None or opens(ring, found.token):
        return False
    return found.credential.status.state is State.ACTIVE


def _ready(app: OAuthApp) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in app.status.conditions)
