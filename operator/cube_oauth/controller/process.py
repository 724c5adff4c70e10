"""The controller as a process: settings, health, the Lease, and the work while it is held."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from cube_oauth import health
from cube_oauth.controller.clock import Clock, any_of
from cube_oauth.controller.engine import Controller
from cube_oauth.controller.keys import FileRings, Keys, KeysLostError, SecretRings, keys_of, publish_grant_key
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.settings import Settings
from cube_oauth.kube.api import Api, KubeError
from cube_oauth.kube.lease import Lease
from cube_oauth.providers import ProviderClient, Transport
from cube_oauth.settings import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cube_oauth.controller.keys import Rings

log = logging.getLogger(__name__)

RETRY = 3.0
CAMPAIGNING = "whether another replica is active is not known yet"
STARTING = "the caches are not filled yet"
LOST = "the Lease was lost: what is in flight is finished, then this process ends"


class Process:
    """What the probes ask about, and the life of the process."""

    def __init__(self, settings: Settings, api: Api) -> None:
        self.registry = CollectorRegistry()
        self.problem: str | None = CAMPAIGNING
        """Why we are not ready; standing by while another replica is active is ready."""
        self._settings = settings
        self._api = api
        self._metrics = Metrics(self.registry)
        self._controller: Controller | None = None
        self._clock = Clock()
        folder = settings.keys_dir
        self._rings: Rings = FileRings(folder) if folder else SecretRings(api, settings.installation, self._clock)

    async def run(self, stop: asyncio.Event) -> None:
        """Campaign, work, and end; with ``stop`` or with the Lease."""
        installation = self._settings.installation
        lease = Lease(self._api, installation.named("controller"), installation.namespace, self._settings.identity)
        async with health.serve(self._settings.listen, self.registry, lambda: self._not_ready(lease), lambda: None):
            log.info("standing by", extra={"identity": self._settings.identity})
            await lease.hold(lambda: self._lead(lease.lost, stop), stop)
        log.info("ended", extra={"reason": "LeaseLost" if lease.lost.is_set() else "Stopped"})

    async def _lead(self, lost: asyncio.Event, stop: asyncio.Event) -> None:
        log.info("active")
        self._metrics.leader.set(1)
        self.problem = STARTING
        try:
            keys = await self._keys(lost, stop)
            if keys is not None:
                await self._work(keys, lost, stop)
        finally:
            self._metrics.leader.set(0)

    async def _keys(self, lost: asyncio.Event, stop: asyncio.Event) -> Keys | None:
        """The key rings; unready, with the sentence, while they are not there. None when we are to end."""
        while not (lost.is_set() or stop.is_set()):
            try:
                keys = keys_of(await self._rings.load())
                await publish_grant_key(self._api, self._settings.installation, keys.grant)
            except KeysLostError as error:
                self.problem = str(error)
                log.error("key rings", extra={"reason": "KeysLost", "error": str(error)})  # noqa: TRY400 - a sentence says it all
            except KubeError as error:
                log.warning("key rings not read; tried again", extra={"error": str(error)})
            else:
                return keys
            with suppress(TimeoutError):
                await asyncio.wait_for(any_of(lost, stop), RETRY)
        return None

    async def _work(self, keys: Keys, lost: asyncio.Event, stop: asyncio.Event) -> None:
        settings = self._settings
        transport = Transport(allowed=settings.allowed_addresses, ca_file=settings.extra_ca_file)
        async with ProviderClient(transport) as provider:
            controller = Controller(self._api, settings, self._rings, keys, provider, self._metrics, self._clock)
            self._controller = controller
            await controller.run(lost, stop)

    def _not_ready(self, lease: Lease) -> str | None:
        if lease.lost.is_set():
            return LOST
        if lease.standing_by:
            return None
        controller = self._controller
        if controller is None:
            return self.problem
        return None if controller.synced.is_set() else controller.trouble or STARTING


async def run(variables: Mapping[str, str], stop: asyncio.Event) -> None:
    """Read the settings and work until ``stop`` is set or the Lease is lost. Raises SettingsError."""
    settings = Settings.read(Environment(variables))
    async with Api.connect(variables.get("KUBECONFIG")) as api:
        await Process(settings, api).run(stop)
