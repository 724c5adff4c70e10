"""What is known of OAuthApps and UserCredentials, typed, with the questions that decisions ask."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cube_oauth.lifecycle.publish import SIGN_IN_ENDING
from cube_oauth.resources.oauthapp import CredentialCounts, OAuthApp
from cube_oauth.resources.usercredential import State, UserCredential

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.resources.meta import ObjectMeta
    from cube_oauth.resources.usercredential import UserCredentialStatus

Key = tuple[str, str]
"""Namespace and name."""

Person = tuple[str, str, str]
"""Namespace, app and username: of several credentials with the same, one counts."""

_DISTANT = datetime.max.replace(tzinfo=UTC)


def key_of(meta: ObjectMeta) -> Key:
    """An object's key."""
    return meta.namespace, meta.name


def app_key(credential: UserCredential) -> Key:
    """The key of a credential's OAuthApp."""
    return credential.metadata.namespace, credential.spec.oauth_app_ref.name


def person(credential: UserCredential) -> Person:
    """Whom a credential is for, and for what."""
    return *app_key(credential), credential.spec.username


def newer(uid: str, version: str, known: ObjectMeta | None) -> bool:
    """Whether this version of an object says more than ``known``: a watch lags behind what our own writes were answered."""
    if known is None or uid != known.uid:
        return True
    return not version.isdigit() or int(version) > int(known.resource_version or 0)


def preceded(meta: ObjectMeta, known: ObjectMeta | None) -> bool:
    """Whether this is the object that had the name of ``known`` before: a list can have been read before that was deleted."""
    if known is None or meta.uid == known.uid:
        return False
    return (meta.creation_timestamp or _DISTANT) < (known.creation_timestamp or _DISTANT)


def others_wrote(answer: OAuthApp | UserCredential, before: OAuthApp | UserCredential) -> bool:
    """Whether what a write of ours was answered holds something that somebody else wrote after ``before`` was read.

    Our decision did not know it, and the watch, which brings it later, tells of nothing that an answer has told already.
    """
    told, known = ((one.metadata.generation, one.status.demand) for one in (answer, before))
    return told != known


@dataclass
class Inventory:
    """The objects, and indexes of them."""

    apps: dict[Key, OAuthApp] = field(default_factory=dict)
    credentials: dict[Key, UserCredential] = field(default_factory=dict)
    _by_app: dict[Key, set[Key]] = field(default_factory=lambda: defaultdict(set))
    _by_person: dict[Person, set[Key]] = field(default_factory=lambda: defaultdict(set))
    _states: dict[Key, Counter[State]] = field(default_factory=lambda: defaultdict(Counter))

    def take_app(self, app: OAuthApp) -> bool:
        """Take an OAuthApp over; False when it is known already."""
        meta, key = app.metadata, key_of(app.metadata)
        known = self.apps[key].metadata if key in self.apps else None
        if not newer(meta.uid, meta.resource_version, known) or preceded(meta, known):
            return False
        self.apps[key] = app
        return True

    def drop_app(self, key: Key) -> None:
        """An OAuthApp is gone."""
        self.apps.pop(key, None)

    def knows_credential(self, key: Key, uid: str, version: str) -> bool:
        """Whether what is known of a UserCredential is as new."""
        known = self.credentials.get(key)
        return known is not None and not newer(uid, version, known.metadata)

    def take_credential(self, credential: UserCredential) -> bool:
        """Take a UserCredential over; False when it is known already."""
        meta, key = credential.metadata, key_of(credential.metadata)
        known = self.credentials[key].metadata if key in self.credentials else None
        if not newer(meta.uid, meta.resource_version, known) or preceded(meta, known):
            return False
        self.drop_credential(key)
        self.credentials[key] = credential
        self._by_app[app_key(credential)].add(key)
        self._by_person[person(credential)].add(key)
        self._states[app_key(credential)][credential.status.state or State.PENDING] += 1
        return True

    def drop_credential(self, key: Key) -> UserCredential | None:
        """A UserCredential is gone; what was known of it."""
        credential = self.credentials.pop(key, None)
        if credential is None:
            return None
        app = app_key(credential)
        self._by_app[app].discard(key)
        self._by_person[person(credential)].discard(key)
        if not self._by_person[person(credential)]:
            del self._by_person[person(credential)]
        self._states[app][credential.status.state or State.PENDING] -= 1
        return credential

    def of_app(self, key: Key) -> set[Key]:
        """The credentials that name this OAuthApp."""
        return set(self._by_app.get(key, ()))

    def same_person(self, credential: UserCredential) -> set[Key]:
        """All credentials for the same person and app, this one included."""
        return set(self._by_person.get(person(credential), ()))

    def duplicate(self, credential: UserCredential) -> bool:
        """Whether an older credential names the same person and app; of the same age, the first name counts."""
        candidates = [self.credentials[key] for key in self.same_person(credential)]
        oldest = min(candidates, key=_age, default=credential)
        return key_of(oldest.metadata) != key_of(credential.metadata)

    def counts(self, key: Key) -> CredentialCounts:
        """How many credentials of an OAuthApp are in each state."""
        states = self._states.get(key, Counter())
        return CredentialCounts(**{state.value.lower(): states[state] for state in State})

    def soonest_expiry(self) -> dict[Key, datetime]:
        """For each OAuthApp, when the next active token ends."""
        return self._soonest(lambda status: status.expires_at if status.state is State.ACTIVE else None)

    def soonest_sign_in_end(self) -> dict[Key, datetime]:
        """For each OAuthApp, when the next refresh token ends, as far as providers say."""
        return self._soonest(lambda status: status.refresh_token_expires_at)

    def _soonest(self, end: Callable[[UserCredentialStatus], datetime | None]) -> dict[Key, datetime]:
        ends = {app: [when for key in keys if (when := end(self.credentials[key].status))] for app, keys in self._by_app.items()}
        return {app: min(moments) for app, moments in ends.items() if moments}

    def ending(self) -> Counter[tuple[Key, str]]:
        """How many persons have to authorize again soon, by OAuthApp and by how soon."""
        return Counter(
            (app, condition.reason)
            for app, keys in self._by_app.items()
            for key in keys
            for condition in self.credentials[key].status.conditions
            if condition.type == SIGN_IN_ENDING
        )


def _age(credential: UserCredential) -> tuple[datetime, str]:
    return credential.metadata.creation_timestamp or _DISTANT, credential.metadata.name
