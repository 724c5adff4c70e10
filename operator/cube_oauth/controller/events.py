"""Kubernetes Events (events.k8s.io/v1) for people who ask ``kubectl describe``. Best effort, never in the way, never a flood."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from cube_oauth.kube.api import EVENTS, Api, KubeError, Object
from cube_oauth.kube.events import event
from cube_oauth.resources.names import API_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.controller.clock import Clock
    from cube_oauth.resources.meta import ObjectMeta

log = logging.getLogger(__name__)

QUIET = timedelta(minutes=10)
"""The same reason for the same object is told once in this time."""

PACE = 0.05
"""Seconds between two of them: a thousand credentials that end together must be marked first and talked about later."""

REMEMBERED = 10_000
WAITING = 1_000


class Events:
    """Posts Events in the background; when too many wait, the newest is dropped."""

    def __init__(self, api: Api, identity: str, clock: Clock, *, pace: float = PACE, dropped: Callable[[], object] = int) -> None:
        """``dropped()`` is told of each that is not posted, because too many wait."""
        self._api = api
        self._identity = identity
        self._clock = clock
        self._pace = pace
        self._dropped = dropped
        self._waiting: asyncio.Queue[Object] = asyncio.Queue(WAITING)
        self._told: OrderedDict[tuple[str, str], datetime] = OrderedDict()

    def normal(self, kind: str, meta: ObjectMeta, reason: str, note: str, *, api_version: str = API_VERSION) -> None:
        """Something went as it should."""
        self._post("Normal", kind, meta, reason, note, api_version)

    def warning(self, kind: str, meta: ObjectMeta, reason: str, note: str, *, api_version: str = API_VERSION) -> None:
        """Something that a person may want to act upon."""
        self._post("Warning", kind, meta, reason, note, api_version)

    async def run(self) -> None:
        """Post what waits, until cancelled."""
        while True:
            event = await self._waiting.get()
            try:
                await self._api.create(EVENTS, event, event["metadata"]["namespace"])
            except KubeError as error:
                log.info("Event not posted", extra={"error": str(error)})
            await asyncio.sleep(self._pace)

    def _post(
        self,
        kind_of_event: Literal["Normal", "Warning"],
        kind: str,
        meta: ObjectMeta,
        reason: str,
        note: str,
        api_version: str = API_VERSION,
    ) -> None:
        now = self._clock.now()
        told = self._told.pop((meta.uid, reason), None)
        quiet = told is not None and told + QUIET > now
        if not quiet and self._waiting.full():
            self._dropped()
            return
        self._told[meta.uid, reason] = told if told and quiet else now
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        if quiet:
            return
        regarding = {
            "apiVersion": api_version,
            "kind": kind,
            "namespace": meta.namespace,
            "name": meta.name,
            "uid": meta.uid,
        }
        self._waiting.put_nowait(
            event(regarding, kind_of_event, reason, note, now=now, process="controller", identity=self._identity)
        )
