"""The in-cluster HTTPS server: credentials for sidecars, and the pod webhook. Any number of replicas."""

from __future__ import annotations

import asyncio
import logging
import platform
from typing import TYPE_CHECKING, Any

from cube_oauth import health
from cube_oauth.broker import files, handlers
from cube_oauth.broker.admission import Admission
from cube_oauth.broker.answer import opens
from cube_oauth.broker.callers import Reviewer
from cube_oauth.broker.changes import Changes
from cube_oauth.broker.demand import Demand
from cube_oauth.broker.metrics import Metrics
from cube_oauth.broker.owners import Owners
from cube_oauth.broker.service import Service
from cube_oauth.broker.settings import BrokerSettings
from cube_oauth.broker.web import Api
from cube_oauth.broker.webhook import Webhook
from cube_oauth.broker.world import World
from cube_oauth.kube.api import Api as KubeApi
from cube_oauth.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 10.0


async def run(variables: Mapping[str, str], stop: asyncio.Event) -> None:
    """Serve until ``stop``. Raises SettingsError when a variable is missing or names an unreadable file."""
    settings = BrokerSettings.read(variables)
    try:
        certificate, access = files.Certificate(settings.tls_dir), files.AccessRing(settings.access_ring_file)
    except (OSError, ValueError) as error:
        raise SettingsError(f"CUBE_OAUTH_TLS_DIR or CUBE_OAUTH_ACCESS_RING_FILE cannot be read: {error}") from error
    async with KubeApi.connect(settings.kubeconfig) as kube:
        await Broker(settings, kube, certificate, access).run(stop)


class Broker:
    """The parts, put together."""

    def __init__(self, settings: BrokerSettings, kube: KubeApi, certificate: files.Certificate, access: files.AccessRing) -> None:
        self._settings = settings
        self._certificate = certificate
        self._access = access
        self._ring = access.ring
        self._metrics = Metrics()
        self._changes = Changes()
        self._world = World(kube, settings.installation, self._changes.changed, self._changes.account_changed)
        self._demand = Demand(kube)
        service = Service(self._world, access, self._demand, self._metrics)
        self._api = Api(service, Reviewer(kube), self._changes, certificate, self._metrics)
        self._owners = Owners(kube, platform.node())
        admission = Admission(self._world, settings.sidecar, certificate, self._metrics, self._owners)
        self._webhook = Webhook(handlers.registry(admission), certificate, settings.listen_webhook)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop``, or until a part fails: then raise what it raised."""
        *others, webhook = tasks = [asyncio.create_task(part) for part in self._parts(stop)]
        serving_health = health.serve(self._settings.listen, self._metrics.registry, self._ready, lambda: None)
        try:
            async with serving_health, self._api.serving(self._settings.listen_api):
                await _first(tasks, stop)
        finally:
            await _cancelled(others)  # before the webhook: kopf waits 5 s for whatever else runs in its loop
            self._webhook.end()
            await asyncio.wait((webhook,), timeout=SHUTDOWN_SECONDS)
            await _cancelled([webhook])

    def _parts(self, stop: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
        """Whatever runs beside the API. kopf comes last: when it ends, it also ends tasks that began after it."""
        return [
            *(mirror.run() for mirror in self._world.mirrors),
            self._demand.run(),
            self._owners.run(),
            files.follow(self._certificate, self._certificate_changed),
            files.follow(self._access, self._ring_changed),
            self._webhook.run(stop),
        ]

    def _ready(self) -> str | None:
        if not self._world.synced:
            return "the cluster has not been read yet"
        return None if self._webhook.serving.is_set() else "the webhook is not served yet"

    def _certificate_changed(self) -> None:
        self._changes.everywhere({"type": "ca", "ca": self._certificate.ca})

    def _ring_changed(self) -> None:
        """A rotation is no news; a key that came or went is, to those whose tokens it opens."""
        before, self._ring = self._ring, self._access.ring
        self._world.tell_of(lambda token: opens(before, token) != opens(self._ring, token))
        if before.kids != self._ring.kids:
            self._world.tell_of_accounts()


async def _first(tasks: list[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Wait for ``stop``, or for a task to end: it failed, or kopf took a signal for itself."""
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    for task in done:
        task.result()


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            log.error("ended with an error", exc_info=result)
