"""Tells the owner of a pod (its Deployment, StatefulSet, Job …) what became of it: an Event where people look.

The pod of a Deployment is created by a controller of Kubernetes, so that a refusal or a warning would reach nobody. Best effort,
never in an admission's way, never a flood.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cube_oauth.kube.api import EVENTS, Api, KubeError, Object
from cube_oauth.kube.events import event
from cube_oauth.kube.owners import manager, workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.injection.inject import Injection

log = logging.getLogger(__name__)

QUIET = timedelta(minutes=10)
"""The same is told to the same owner once in this time; a ReplicaSet tries again and again."""
REMEMBERED = 1_000
WAITING = 100
WITH_WARNINGS = "InjectedWithWarnings"


def _now() -> datetime:
    return datetime.now(UTC)


class Owners:
    """Posts Events in the background; when too many wait, the newest is dropped."""

    def __init__(self, api: Api, identity: str, clock: Callable[[], datetime] = _now) -> None:
        self._api = api
        self._identity = identity
        self._clock = clock
        self._waiting: asyncio.Queue[tuple[Object, str, str, str]] = asyncio.Queue(WAITING)
        self._told: OrderedDict[tuple[str, str], datetime] = OrderedDict()

    def tell(self, pod: dict[str, Any], namespace: str, injection: Injection) -> None:
        """Of a refusal or of warnings. A pod without an owner has a creator, who was answered."""
        owner = manager(pod)
        note = injection.refusal or "; ".join(injection.warnings)
        if owner is None or not note or self._waiting.full() or not self._new((owner["uid"], note)):
            return
        reason = str(injection.reason) if injection.refusal else WITH_WARNINGS
        self._waiting.put_nowait((owner, namespace, reason, note))

    def _new(self, key: tuple[str, str]) -> bool:
        now, told = self._clock(), self._told.get(key)
        if told and now - told < QUIET:
            return False
        self._told[key] = now
        self._told.move_to_end(key)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return True

    async def run(self) -> None:
        """Post what waits, until cancelled."""
        while True:
            owner, namespace, reason, note = await self._waiting.get()
            try:
                await self._post(await workload(self._api, owner, namespace), reason, note)
            except KubeError as error:
                log.info("Event not posted", extra={"owner": f"{namespace}/{owner['name']}", "error": str(error)})

    async def _post(self, regarding: Object, reason: str, note: str) -> None:
        body = event(regarding, "Warning", reason, note, now=self._clock(), process="broker", identity=self._identity)
        await self._api.create(EVENTS, body, regarding["namespace"])
