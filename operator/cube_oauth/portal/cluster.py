"""What the portal sees and does in the cluster.

It reads OAuthApps and UserCredentials, creates and deletes UserCredentials, deposits grants, and does with OAuthApps what
administrators ask for. It reads no Secret.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pydantic import SecretStr

from cube_oauth.kube.api import CONFIG_MAPS, SECRETS, USER_CREDENTIALS, Api, KubeError
from cube_oauth.kube.api import OAUTH_APPS as APPS
from cube_oauth.kube.watch import Mirror, all_synced, run_together
from cube_oauth.lifecycle.authorize import permitted
from cube_oauth.portal.origin import ListedApp
from cube_oauth.portal.overview import current
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.resources.keyring import SealError, SealingKey
from cube_oauth.resources.names import API_VERSION, MANAGED_BY, MANAGED_BY_LABEL, credential_name, digest, grant_secret_name
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.secrets import ClientDeposit, Grant, Reference, deposit_secret, grant_secret
from cube_oauth.resources.usercredential import UserCredential

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cube_oauth.kube.watch import Key
    from cube_oauth.resources.meta import Model
    from cube_oauth.settings import Installation

_DISTANT = datetime.max.replace(tzinfo=UTC)
LAG = 5.0
"""Seconds that a request waits at most for the local copy to have what it wrote."""
TRIES = 5
"""Attempts to delete what is written at the same time."""
KEY_SECONDS = 120.0
"""How long the public key for grants is remembered; the controller opens with its older keys meanwhile."""


class GrantKey:
    """The controller's public key, from its ConfigMap."""

    def __init__(self, api: Api, installation: Installation) -> None:
        self._api = api
        self._installation = installation
        self._known: SealingKey | None = None
        self._until = float("-inf")

    async def seal(self, content: Model) -> str:
        """``content``, readable by the controller alone. Raises KubeError or SealError when there is no usable key."""
        value = SecretStr(content.model_dump_json(by_alias=True, exclude_none=True))
        if self._known is not None and time.monotonic() < self._until:
            try:
                return self._known.seal(value)
            except ValueError:
                self._known = None
        return (await self._read()).seal(value)

    async def _read(self) -> SealingKey:
        found = await self._api.get(CONFIG_MAPS, self._installation.named("grant-key"), self._installation.namespace)
        self._known = SealingKey.from_json(((found or {}).get("data") or {}).get("ring", ""))
        self._until = time.monotonic() + KEY_SECONDS
        return self._known


class Cluster:
    """A local copy of the custom resources, and the few writes."""

    def __init__(self, api: Api, installation: Installation) -> None:
        self._api = api
        self._installation = installation
        self._key = GrantKey(api, installation)
        self._bells: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        """By username; each is there as long as somebody waits for it."""
        self._people: dict[tuple[str, str, str], dict[str, UserCredential]] = defaultdict(dict)
        self._apps: list[Mirror[ListedApp]] = [
            Mirror(api, APPS, ListedApp.model_validate, namespace=namespace, changed=self._app_changed)
            for namespace in installation.watched
        ]
        self._credentials: list[Mirror[UserCredential]] = [
            Mirror(api, USER_CREDENTIALS, UserCredential.model_validate, namespace=namespace, changed=self._credential_changed)
            for namespace in installation.watched
        ]

    async def run(self) -> None:
        """Keep the copies current until cancelled."""
        await run_together(*self._apps, *self._credentials)

    async def filled(self) -> None:
        """Wait until they were filled once."""
        await all_synced(*self._apps, *self._credentials)

    @property
    def synced(self) -> bool:
        """Whether they were filled once."""
        mirrors: list[Mirror[Any]] = [*self._apps, *self._credentials]
        return all(mirror.synced.is_set() for mirror in mirrors)

    def apps(self) -> list[ListedApp]:
        """All OAuthApps, by what people call them."""
        found = [app for mirror in self._apps for app in mirror.objects.values()]
        return sorted(found, key=lambda app: (app.title.casefold(), app.metadata.namespace, app.metadata.name))

    def app(self, namespace: str, name: str) -> ListedApp | None:
        """One OAuthApp."""
        return next((found for mirror in self._apps if (found := mirror.get((namespace, name)))), None)

    def shown_to(self, username: str, groups: tuple[str, ...]) -> list[tuple[OAuthApp, UserCredential | None]]:
        """The apps that this person may connect, each with the person's credential."""
        return [(app, self.credential(app, username)) for app in self.apps() if permitted(app, username, groups)]

    def credentials(self, app: OAuthApp, username: str) -> list[UserCredential]:
        """All that name this person and app, the oldest first: that one counts."""
        found = self._people.get((app.metadata.namespace, app.metadata.name, username), {})
        return sorted(found.values(), key=_age)

    def credential(self, app: OAuthApp, username: str) -> UserCredential | None:
        """The one that counts."""
        return next(iter(self.credentials(app, username)), None)

    def people(self, app: OAuthApp) -> list[UserCredential]:
        """All UserCredentials of this app, by username."""
        wanted = app.metadata.namespace, app.metadata.name
        found = (credential for key, named in self._people.items() if key[:2] == wanted for credential in named.values())
        return sorted(found, key=lambda credential: (credential.spec.username, credential.metadata.name))

    async def create_app(self, body: dict[str, Any]) -> OAuthApp:
        """A new OAuthApp. A KubeError with ``conflict`` when there is one of this name."""
        return OAuthApp.model_validate(await self._api.create(APPS, body, body["metadata"]["namespace"]))

    async def read_app(self, namespace: str, name: str) -> ListedApp | None:
        """The OAuthApp as it is now, not as it was listed."""
        found = await self._api.get(APPS, name, namespace)
        return ListedApp.model_validate(found) if found else None

    async def change_app(self, app: ListedApp, spec: dict[str, Any]) -> ListedApp:
        """Change these fields of the spec. A KubeError with ``conflict`` when anybody wrote it since it was read."""
        meta = app.metadata
        body = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "spec": spec}
        return ListedApp.model_validate(await self._api.merge(APPS, meta.name, body, meta.namespace))

    async def remove_app(self, app: ListedApp) -> None:
        """Delete this very object. A KubeError with ``conflict`` when anybody wrote it since it was read, or made another."""
        meta = app.metadata
        await self._api.delete(APPS, meta.name, meta.namespace, uid=meta.uid, resource_version=meta.resource_version)

    def shows(self, app: OAuthApp) -> bool:
        """Whether the local copy has this object, as it was written or newer."""
        found = self.app(app.metadata.namespace, app.metadata.name)
        known = found.metadata if found else None
        return known is not None and known.uid == app.metadata.uid and known.generation >= app.metadata.generation

    def decided(self, app: ListedApp) -> bool:
        """Whether the controller has decided about it as it was written."""
        found = self.app(app.metadata.namespace, app.metadata.name)
        return self.shows(app) and found is not None and current(found)

    async def have_tried(self, app: OAuthApp, value: SecretStr | None = None) -> None:
        """Have the controller try an app, with a new client secret if there is one: nobody else can read that on its way."""
        reference, namespace = app.spec.client_secret_ref, self._installation.token_namespace
        deposit = ClientDeposit(
            app=Reference(namespace=app.metadata.namespace, name=app.metadata.name, uid=app.metadata.uid),
            secret_name=reference.name if reference else "",
            key=reference.key if reference else "",
            value=value.get_secret_value() if value else None,
            issued_at=datetime.now(UTC),
        )
        name = f"client-{digest(app.metadata.uid, secrets.token_urlsafe(16))}"
        await self._api.create(SECRETS, deposit_secret(name, namespace, await self._seal(deposit)), namespace)

    async def ensure_credential(self, app: OAuthApp, username: str) -> UserCredential:
        """The one that counts, made when there is none. Raises RefusedError when its name is taken by another, or KubeError."""
        known = self.credential(app, username)
        current = await self._read(known.metadata.namespace, known.metadata.name) if known else None
        if current and _names(current, app, username) and current.metadata.deletion_timestamp is None:
            return current
        try:
            created = await self._api.create(USER_CREDENTIALS, _new_credential(app, username), app.metadata.namespace)
        except KubeError as error:
            if not error.conflict:
                raise
            return await self._existing(app, username, error)
        return UserCredential.model_validate(created)

    async def deposit(self, state: str, grant: Grant) -> None:
        """Hand a grant to the controller. A KubeError with ``conflict`` means that this answer was handed in already."""
        namespace = self._installation.token_namespace
        await self._api.create(SECRETS, grant_secret(grant_secret_name(state), namespace, await self._seal(grant)), namespace)

    async def remove(self, credential: UserCredential) -> bool:
        """Delete this very object; one with its name that was made meanwhile stays. False when it is suspended by now.

        Only as it was looked at: the watch may be behind, and what an administrator withholds must not go.
        """
        meta = credential.metadata
        for _ in range(TRIES):
            if credential.spec.suspend:
                return False
            version = credential.metadata.resource_version
            try:
                await self._api.delete(USER_CREDENTIALS, meta.name, meta.namespace, uid=meta.uid, resource_version=version)
            except KubeError as error:
                if not error.conflict:
                    raise
            else:
                return True
            found = await self._read(meta.namespace, meta.name)
            if found is None or found.metadata.uid != meta.uid:  # somebody was faster
                return True
            credential = found
        raise KubeError(409, "Conflict", "UserCredential")

    async def gone(self, ended: Iterable[UserCredential]) -> None:
        """Wait until the local copy has none of these any more."""
        await asyncio.gather(*(self.seen(partial(self._lacks, one), one.spec.username) for one in ended))

    async def seen(self, look: Callable[[], bool], username: str) -> None:
        """Wait until the local copy has what was just written, so that the next page shows it."""
        await self.until(look, username, LAG)

    async def until(self, look: Callable[[], bool], username: str, seconds: float) -> bool:
        """Wait until ``look`` says yes, looking whenever something changed for this person; False when the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while not look():
                    await self.bell(username).wait()
        except TimeoutError:
            return False
        return True

    def bell(self, username: str) -> asyncio.Event:
        """Rings once, at the next change of an OAuthApp or of one of this person's UserCredentials."""
        return self._bells.setdefault(username, asyncio.Event())

    def _lacks(self, credential: UserCredential) -> bool:
        known = self._people.get(_person(credential), {}).get(credential.metadata.name)
        return known is None or known.metadata.uid != credential.metadata.uid

    async def _seal(self, content: Model) -> str:
        try:
            return await self._key.seal(content)
        except SealError as error:
            raise KubeError(0, "holds no key for grants yet", self._installation.named("grant-key")) from error

    async def _existing(self, app: OAuthApp, username: str, conflict: KubeError) -> UserCredential:
        name = credential_name(app.metadata.name, username)
        found = await self._read(app.metadata.namespace, name)
        if found is None or found.metadata.deletion_timestamp is not None:
            raise conflict
        if not _names(found, app, username):
            raise RefusedError("NameTaken", 409, name=name)
        return found

    async def _read(self, namespace: str, name: str) -> UserCredential | None:
        found = await self._api.get(USER_CREDENTIALS, name, namespace)
        return UserCredential.model_validate(found) if found else None

    def _app_changed(self, *_: object) -> None:
        for username in list(self._bells):
            self._ring(username)

    def _credential_changed(self, key: Key, new: UserCredential | None, old: UserCredential | None) -> None:
        if old is not None:
            self._forget(key[1], old)
        if new is not None:
            self._people[_person(new)][key[1]] = new
        for username in {credential.spec.username for credential in (new, old) if credential is not None}:
            self._ring(username)

    def _forget(self, name: str, credential: UserCredential) -> None:
        person = _person(credential)
        self._people[person].pop(name, None)
        if not self._people[person]:
            del self._people[person]

    def _ring(self, username: str) -> None:
        if bell := self._bells.pop(username, None):
            bell.set()


def _age(credential: UserCredential) -> tuple[datetime, str]:
    """Of the same age, the first name counts, as in the controller."""
    return credential.metadata.creation_timestamp or _DISTANT, credential.metadata.name


def _person(credential: UserCredential) -> tuple[str, str, str]:
    return credential.metadata.namespace, credential.spec.oauth_app_ref.name, credential.spec.username


def _names(credential: UserCredential, app: OAuthApp, username: str) -> bool:
    return (credential.spec.username, credential.spec.oauth_app_ref.name) == (username, app.metadata.name)


def _new_credential(app: OAuthApp, username: str) -> dict[str, Any]:
    name = app.metadata.name
    return {
        "apiVersion": API_VERSION,
        "kind": "UserCredential",
        "metadata": {
            "name": credential_name(name, username),
            "namespace": app.metadata.namespace,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
        },
        "spec": {"username": username, "oauthAppRef": {"name": name}},
    }
