"""The active controller: what is told whom, and in which order it starts and ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from cube_oauth.controller import handlers
from cube_oauth.controller.accounts import Accounts
from cube_oauth.controller.apps import Apps
from cube_oauth.controller.budget import Backoff, Budget
from cube_oauth.controller.calls import Calls
from cube_oauth.controller.certificates import Certificates
from cube_oauth.controller.clock import any_of
from cube_oauth.controller.credentials import Credentials
from cube_oauth.controller.deposits import Deposits
from cube_oauth.controller.events import Events
from cube_oauth.controller.grants import Grants
from cube_oauth.controller.inventory import Inventory, Key, app_key, key_of
from cube_oauth.controller.keyrings import Keyrings
from cube_oauth.controller.metrics import Known
from cube_oauth.controller.orphans import Orphans
from cube_oauth.controller.queue import Queue
from cube_oauth.controller.restarts import Restarts
from cube_oauth.controller.revoke import Revocations
from cube_oauth.controller.rollouts import Rollouts
from cube_oauth.controller.rotation import Rotation
from cube_oauth.controller.sidecars import Sidecars
from cube_oauth.controller.tokens import TokenStore
from cube_oauth.controller.trials import Trials
from cube_oauth.kube.api import OAUTH_APPS, USER_CREDENTIALS, Api, KubeError, Object, Resource
from cube_oauth.kube.watch import all_synced
from cube_oauth.lifecycle.decide import origin
from cube_oauth.providers import Discovery, ProviderClient
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.usercredential import UserCredential

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from datetime import datetime
    from typing import Any

    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.keys import Keys, Rings
    from cube_oauth.controller.metrics import Metrics
    from cube_oauth.controller.settings import Settings
    from cube_oauth.resources.secrets import TokenSecret

log = logging.getLogger(__name__)

T = TypeVar("T", OAuthApp, UserCredential)

RESYNC, FIRST_RESYNC = 600.0, 30.0
"""Seconds between complete lists: kopf does not tell of what was deleted while its watch was interrupted, or had not begun."""

SETTLED = timedelta(seconds=1)
"""An app's counts are written when its credentials have been quiet for this long after a first change."""

LOOK_AT_REFUSED = 15.0
"""Seconds between attempts to read a tenant namespace that was refused."""

RETRY = 2.0
FORBIDDEN = 403
OTHER_WORKERS = 4


class Controller:
    """Everything that the active process does."""

    def __init__(
        self, api: Api, settings: Settings, rings: Rings, keys: Keys, provider: ProviderClient, metrics: Metrics, clock: Clock
    ) -> None:
        self.synced = asyncio.Event()
        self.trouble: str | None = None
        """Why the caches are not filled."""
        self.refused: set[str] = set()
        """The tenant namespaces that may not be read."""
        self._refused_changed = asyncio.Event()
        self._api = api
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._inventory = Inventory()
        installation, inventory = settings.installation, self._inventory
        self._budget = budget = Budget()
        backoff = Backoff()
        self._events = events = Events(api, settings.identity, clock, dropped=metrics.events_dropped.inc)
        self._certificates = Certificates(api, settings, clock)
        self._tokens = tokens = TokenStore(api, installation.token_namespace, self._token_changed)
        self._apps = apps = Apps(
            api,
            installation,
            inventory,
            Discovery(provider),
            events,
            clock,
            schedule=self._look_at_app,
            changed=self._app_changed,
            saw=self.saw_app,
        )
        self.restarts = Restarts(api, events, enabled=settings.restarts)
        self._sidecars = Sidecars(api, settings, inventory, self.restarts, events, metrics, found=apps.sidecars)
        calls = Calls(apps, budget, metrics, clock)
        self._revocations = revocations = Revocations(
            api,
            installation.token_namespace,
            inventory,
            apps,
            tokens,
            provider,
            calls,
            keys,
            budget,
            backoff,
            metrics,
            clock,
            found=self._look_at_revocation,
        )
        self._keys = keys
        self._accounts = accounts = Accounts(
            api,
            installation.token_namespace,
            inventory,
            apps,
            provider,
            calls,
            keys,
            budget,
            backoff,
            events,
            clock,
            Rollouts(api, self.restarts),
            found=self._look_at_account,
            may_watch=settings.may_watch,
        )
        self._keyrings = Keyrings(
            api, settings, rings, keys, tokens, revocations.mirror, accounts.mirror, metrics, clock, self._keys_changed
        )
        rotation = Rotation(tokens, apps, provider, calls, keys, revocations, backoff, events, metrics, clock)
        self._credentials = Credentials(
            api,
            installation,
            inventory,
            apps,
            tokens,
            keys,
            rotation,
            revocations,
            budget,
            backoff,
            events,
            clock,
            counted=self._counted,
            saw=self.saw_credential,
        )
        self._grants = Grants(
            api,
            installation.token_namespace,
            inventory,
            apps,
            tokens,
            self._credentials,
            provider,
            calls,
            keys,
            revocations,
            budget,
            events,
            metrics,
            clock,
            found=self._look_at_grant,
            decided=self._look_at_credential,
            saw=self.saw_credential,
        )
        self._deposits = Deposits(
            api,
            installation.token_namespace,
            keys,
            events,
            clock,
            found=self._look_at_deposit,
            saw=self.saw_app,
            trials=Trials(apps, provider, installation, clock),
        )
        orphans = Orphans(api, tokens, revocations)
        self.apps: Queue[Key] = Queue("apps", apps.reconcile, clock, workers=OTHER_WORKERS)
        self.accounts: Queue[Key] = Queue("accounts", accounts.reconcile, clock, workers=OTHER_WORKERS)
        self.credentials: Queue[Key] = Queue("credentials", self._credentials.reconcile, clock, workers=settings.workers)
        self.grants: Queue[Key] = Queue("grants", self._grants.reconcile, clock, workers=settings.workers)
        self.deposits: Queue[Key] = Queue("deposits", self._deposits.reconcile, clock, workers=1)
        self.orphans: Queue[str] = Queue("orphans", orphans.reconcile, clock, workers=OTHER_WORKERS)
        self.revocations: Queue[Key] = Queue("revocations", revocations.reconcile, clock, workers=OTHER_WORKERS)

    # ---- what the handlers tell

    def saw_app(self, app: OAuthApp) -> None:
        """An OAuthApp is there, or was changed."""
        if self._inventory.take_app(app):
            self.apps.schedule(key_of(app.metadata))
            self.accounts.schedule(key_of(app.metadata))

    def lost_app(self, app: OAuthApp) -> None:
        """An OAuthApp was deleted."""
        key = key_of(app.metadata)
        known = self._inventory.apps.get(key)
        if known is None or known.metadata.uid == app.metadata.uid:
            self._inventory.drop_app(key)
            self.apps.schedule(key)
            self.accounts.schedule(key)
            self._app_changed(key)

    def knows_credential(self, key: Key, uid: str, version: str) -> bool:
        """Whether this very version of a UserCredential is known: the answer to a write of ours was it."""
        return self._inventory.knows_credential(key, uid, version)

    def saw_credential(self, credential: UserCredential) -> None:
        """A UserCredential is there, or was changed."""
        if not self._inventory.take_credential(credential):
            return
        for key in self._inventory.same_person(credential):
            self.credentials.schedule(key)

    def lost_credential(self, credential: UserCredential) -> None:
        """A UserCredential was deleted."""
        key = key_of(credential.metadata)
        known = self._inventory.credentials.get(key)
        if known is not None and known.metadata.uid == credential.metadata.uid:
            self._inventory.drop_credential(key)
            self.credentials.forget(key)
        for other in self._inventory.same_person(credential):
            self.credentials.schedule(other)
        self._credentials.forget(credential)
        self.orphans.schedule(credential.metadata.uid)
        self._counted(app_key(credential))

    # ---- what the parts tell each other

    def _token_changed(self, new: TokenSecret | None, old: TokenSecret | None) -> None:
        token = new or old
        assert token is not None  # noqa: S101 - a change has one of them
        owner = token.record.credential
        credential = self._inventory.credentials.get((owner.namespace, owner.name))
        if credential is not None and credential.metadata.uid == owner.uid:
            self.credentials.schedule((owner.namespace, owner.name))
        elif new is not None and self.synced.is_set():
            self.orphans.schedule(owner.uid)

    def _keys_changed(self, before: Keys) -> None:
        """Look at the credentials whose tokens can be read now and could not before, or the other way round."""
        for token in tuple(self._tokens.mirror.objects.values()):
            if before.opens(token) != self._keys.opens(token):
                self._token_changed(token, None)
        self._look_at_accounts()

    def _look_at_app(self, key: Key, when: datetime | None = None) -> None:
        self.apps.schedule(key, when)

    def _look_at_account(self, key: Key) -> None:
        self.accounts.schedule(key)

    def _look_at_accounts(self) -> None:
        """At all that were published: what is sealed may need another key, and an app may be gone."""
        for account in tuple(self._accounts.mirror.objects.values()):
            self.accounts.schedule((account.record.app.namespace, account.record.app.name))

    def _look_at_grant(self, key: Key) -> None:
        self.grants.schedule(key)

    def _look_at_deposit(self, key: Key) -> None:
        self.deposits.schedule(key)

    def _look_at_revocation(self, key: Key) -> None:
        self.revocations.schedule(key)

    def _look_at_credential(self, key: Key) -> None:
        self.credentials.schedule(key)

    def _app_changed(self, key: Key) -> None:
        self.accounts.schedule(key)
        for credential in self._inventory.of_app(key):
            self.credentials.schedule(credential)

    def _counted(self, app: Key) -> None:
        self.apps.schedule(app, self._clock.now() + SETTLED)

    # ---- running

    async def run(self, lost: asyncio.Event, stop: asyncio.Event) -> None:
        """Work until one of the two is set; then finish what is in flight. ``stop`` is given the signals that kopf takes."""
        self._metrics.watch(self._known)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in self._background(stop)]
                queues = [group.create_task(work) for work in self._workers()]
                await any_of(lost, stop)
                self._credentials.end()
                for task in queues:
                    task.cancel()
                await self._drain()
                for task in tasks:
                    task.cancel()
        finally:
            await self._drain()  # when something broke: what is in flight is finished all the same

    async def _drain(self) -> None:
        """Finish what is in flight, however long that takes: an answer that cannot be written for now must not be thrown away.

        Whoever told us to stop kills us in the end (``terminationGracePeriodSeconds``); everything else has its own timeout.
        """
        await asyncio.gather(*(queue.drain() for queue in self._queues()))

    def _queues(self) -> tuple[Queue[Any], ...]:
        return self.apps, self.accounts, self.credentials, self.grants, self.deposits, self.orphans, self.revocations

    def _known(self) -> Known:
        """What the metrics are made of."""
        now = self._clock.now()
        waiting, pending = self._budget.waiting(now), self._pending()
        return Known(self._inventory, self._lengths(), waiting, pending, frozenset(self.refused), self._pace(), now)

    def _pending(self) -> Counter[Key]:
        """How many tokens of each app wait to be revoked."""
        apps = (one.record.token.app for one in self._revocations.mirror.objects.values())
        return Counter((app.namespace, app.name) for app in apps)

    def _pace(self) -> dict[Key, float]:
        """How many requests a second each app's provider is asked at most, at present."""
        apps = self._inventory.apps.items()
        return {
            key: app.spec.refresh.requests_per_second * self._budget.speed(origin(app.status.token_url or "")) for key, app in apps
        }

    def _lengths(self) -> dict[str, int]:
        return {queue.name: len(queue) for queue in self._queues()}

    def _background(self, stop: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
        return [
            self._tokens.mirror.run(),
            self._grants.mirror.run(),
            self._deposits.mirror.run(),
            self._revocations.mirror.run(),
            self._accounts.mirror.run(),
            self._accounts.sources.run(),
            self._events.run(),
            self._certificates.run(),
            self._look_at_sidecars(),
            self._keyrings.run(),
            self._resync(),
            self._watch(stop),
        ]

    async def _look_at_sidecars(self) -> None:
        await self.synced.wait()  # it speaks of the OAuthApps that are known
        await self._sidecars.run()

    async def _watch(self, stop: asyncio.Event) -> None:
        """Watch what may be watched; anew when that has changed, because kopf gives up a namespace that it may not list."""
        await self.synced.wait()
        while True:
            self._refused_changed.clear()
            watching = asyncio.create_task(self._serve(stop))
            changed = asyncio.create_task(self._refused_changed.wait())
            try:
                done, _ = await asyncio.wait([watching, changed], return_when=asyncio.FIRST_COMPLETED)
            finally:  # also when cancelled: kopf ends in its own order, or not at all
                for task in (watching, changed):
                    task.cancel()
                await asyncio.gather(watching, changed, return_exceptions=True)
            if watching in done:
                watching.result()

    async def _serve(self, stop: asyncio.Event) -> None:
        namespaces = self._settings.installation.namespaces
        permitted = tuple(namespace for namespace in namespaces if namespace not in self.refused)
        if permitted or not namespaces:
            await handlers.serve(self._api, self, permitted, stop)
        await asyncio.Event().wait()

    def _workers(self) -> list[Coroutine[Any, Any, None]]:
        return [self._when_synced(queue) for queue in self._queues()]

    async def _when_synced(self, queue: Queue[Any]) -> None:
        await self.synced.wait()
        await queue.run()

    async def _resync(self) -> None:
        """List everything at the start, and now and then: what is missing in a complete list is gone."""
        await all_synced(self._tokens.mirror, self._grants.mirror, self._revocations.mirror, self._accounts.mirror)
        pause = FIRST_RESYNC
        while True:
            try:
                await self._list_all()
            except KubeError as error:
                self.trouble = f"not everything can be listed ({error}): is the operator permitted in all of its namespaces?"
                log.warning("complete lists failed; tried again", extra={"error": str(error)})
                await asyncio.sleep(RETRY)
                continue
            self.synced.set()
            await self._until_resync(pause)
            pause = RESYNC

    async def _until_resync(self, seconds: float) -> None:
        """Wait for the next complete list; not so long when a namespace has become readable."""
        for _ in range(int(seconds / LOOK_AT_REFUSED)):
            await asyncio.sleep(LOOK_AT_REFUSED)
            for namespace in tuple(self.refused):
                with contextlib.suppress(KubeError):
                    await self._api.list(USER_CREDENTIALS, namespace, limit="1")
                    return

    async def _list_all(self) -> None:
        """Take everything over, namespace by namespace. One that is refused is left as it was, and does not hold up the others."""
        refused, uids = set(), set()
        for namespace in self._settings.installation.watched:
            try:
                await self._list_apps(namespace)
                uids |= await self._list_credentials(namespace)
            except KubeError as error:
                if namespace is None or error.status != FORBIDDEN:
                    raise
                refused.add(namespace)
        self._note_refused(refused)
        for token in self._tokens.mirror.objects.values():
            owner = token.record.credential
            if owner.uid not in uids and owner.namespace not in refused:
                self.orphans.schedule(owner.uid)
        self._look_at_accounts()
        self._metrics.keep(self._inventory.apps.keys() | self._pending().keys())

    def _note_refused(self, refused: set[str]) -> None:
        if refused != self.refused:
            for namespace in refused - self.refused:
                log.warning("namespace refused; the others are served", extra={"namespace": namespace, "reason": "Forbidden"})
            for namespace in self.refused - refused:
                log.info("namespace served", extra={"namespace": namespace})
            self.refused = refused
            self._refused_changed.set()

    async def _list_apps(self, namespace: str | None) -> None:
        before, found = {key for key in self._inventory.apps if namespace in (None, key[0])}, set()
        async for item in self._all(OAUTH_APPS, namespace):
            app = _parsed(OAuthApp, item)
            found.add((item["metadata"]["namespace"], item["metadata"]["name"]))
            if app is not None:
                self.saw_app(app)
        for key in before - found:
            if app := self._inventory.apps.get(key):
                self.lost_app(app)

    async def _list_credentials(self, namespace: str | None) -> set[str]:
        """The UIDs of all that are there."""
        before, found = {key for key in self._inventory.credentials if namespace in (None, key[0])}, set()
        uids: set[str] = set()
        async for item in self._all(USER_CREDENTIALS, namespace):
            credential = _parsed(UserCredential, item)
            found.add((item["metadata"]["namespace"], item["metadata"]["name"]))
            uids.add(item["metadata"]["uid"])
            if credential is not None:
                self.saw_credential(credential)
        for key in before - found:
            if credential := self._inventory.credentials.get(key):
                self.lost_credential(credential)
        return uids

    async def _all(self, resource: Resource, namespace: str | None) -> AsyncIterator[Object]:
        query = {"limit": "500"}
        while True:
            page = await self._api.list(resource, namespace, **query)
            for item in page.get("items", []):
                yield item
            if not (more := page.get("metadata", {}).get("continue")):
                return
            query["continue"] = more


def _parsed(model: type[T], item: Object) -> T | None:
    try:
        return model.model_validate(item)
    except ValidationError:
        meta = item["metadata"]
        log.exception("object left out", extra={"object": f"{meta['namespace']}/{meta['name']}"})
        return None
