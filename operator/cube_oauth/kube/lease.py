"""One active process among several: the official client's leader election, with what it lacks.

As it comes (``kubernetes`` 37.0.2), its ``LeaseLock`` cannot create a Lease, writes local time as UTC, fails on whole seconds, lets
anything but an ``ApiException`` end the election while the leader goes on, and may hang in a request beyond its own deadline. Here
every request is bounded, every failure counts as a renewal that failed, and a watchdog of our own says when leading has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from cube_oauth.kube.api import LEASES, Api, KubeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord

log = logging.getLogger(__name__)

_TIME = "%Y-%m-%d %H:%M:%S.%f"


@dataclass(frozen=True)
class Timing:
    """Seconds. A leader that cannot renew stops after ``renew_within``; nobody else takes over before ``duration``."""

    duration: int = 15
    renew_within: float = 10
    retry: float = 2
    request: float = 3


class Lock(LeaseLock):  # type: ignore[misc] # the official client has no types
    """The official lock with bounded requests and UTC; every failure is an answer, never an exception."""

    def __init__(self, name: str, namespace: str, identity: str, api_client: Any, request_seconds: float) -> None:
        super().__init__(name, namespace, identity, api_client)
        self.renewed = time.monotonic()
        self.held_by_another = asyncio.Event()
        self._seconds = request_seconds

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        """The record, or an ``ApiException`` that says why not."""
        try:
            async with asyncio.timeout(self._seconds):
                found, record = await super().get(name, namespace)
        except Exception as error:  # noqa: BLE001 - aiohttp's are many, and the election must not end by one
            return False, ApiException(status=0, reason=type(error).__name__)
        if found and record.holder_identity not in (None, self.identity):
            self.held_by_another.set()
        return found, record

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        """Create the Lease; False when it could not be."""
        body = client.V1Lease(metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(_in_utc(election_record)))
        return await self._written(lambda: self.api_instance.create_namespaced_lease(namespace, body))

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        """Renew or take the Lease, by compare-and-swap; False when it could not be."""
        lease = self.lease_reference
        lease.spec = self.update_lease(_in_utc(updated_record), lease.spec)
        return await self._written(lambda: self.api_instance.replace_namespaced_lease(name=name, namespace=namespace, body=lease))

    async def _written(self, write: Callable[[], Awaitable[Any]]) -> bool:
        try:
            async with asyncio.timeout(self._seconds):
                await write()
        except Exception as error:  # noqa: BLE001 - see above
            log.info("the Lease was not written", extra={"lease": self.name, "error": type(error).__name__})
            return False
        self.renewed = time.monotonic()
        return True


def _in_utc(record: LeaderElectionRecord) -> LeaderElectionRecord:
    """The record with ``now`` in UTC: the election writes local time, and the lock marks it as UTC."""
    now = datetime.now(UTC).strftime(_TIME)
    if record.acquire_time == record.renew_time:
        record.acquire_time = now
    record.renew_time = now
    if "." not in (record.acquire_time or ""):
        record.acquire_time = f"{record.acquire_time}.000000"
    return record


class Lease:
    """The right to be the active one."""

    def __init__(self, api: Api, name: str, namespace: str, identity: str, timing: Timing | None = None) -> None:
        self.lost = asyncio.Event()
        """Set when leading has ended, whatever ended it: start nothing new."""
        self._api = api
        self._timing = timing or Timing()
        self._lock = Lock(name, namespace, identity, api.client, self._timing.request)
        self._won = asyncio.Event()

    @property
    def standing_by(self) -> bool:
        """Whether somebody else was seen to hold the Lease, and it is not ours."""
        return self._lock.held_by_another.is_set() and not self._won.is_set()

    async def hold(self, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        """Wait until the Lease is ours, then ``work`` until it returns; afterwards release the Lease.

        Returns early when ``stop`` is set before the Lease was won. ``work`` has to end soon after ``lost`` is set; it is never
        cancelled from here, so that a refresh in flight is finished and its answer written.
        """
        tasks = [asyncio.create_task(self._campaign()), asyncio.create_task(self._watch())]
        try:
            await _first(self._won.wait(), stop.wait(), self.lost.wait())
            if self._won.is_set() and not self.lost.is_set() and not stop.is_set():
                await work()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._won.is_set() and not self.lost.is_set():
                await self._release()

    async def _campaign(self) -> None:
        leader: list[asyncio.Task[Any]] = []

        async def leading() -> None:
            self._lock.renewed = time.monotonic()
            self._lock.held_by_another.clear()
            leader.extend(task for task in [asyncio.current_task()] if task)
            self._won.set()
            await asyncio.Event().wait()

        async def ended() -> None:
            self.lost.set()

        timing = self._timing
        config = Config(self._lock, timing.duration, timing.renew_within, timing.retry, leading, ended)
        try:
            await LeaderElection(config).run()
        except Exception:
            log.exception("the election failed")
        finally:
            for task in leader:
                task.cancel()
        self.lost.set()

    async def _watch(self) -> None:
        """The election looks at its deadline between two requests only, and waits for it when another holds the Lease."""
        await self._won.wait()
        taken = self._lock.held_by_another
        while (left := self._lock.renewed + self._timing.renew_within - time.monotonic()) > 0 and not taken.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(taken.wait(), left)
        said = "another holds the Lease" if taken.is_set() else "the Lease could not be renewed in time"
        log.error(said, extra={"lease": self._lock.name})
        self.lost.set()

    async def _release(self) -> None:
        """Leave the Lease without a holder, so that the next one need not wait for it to run out.

        Once more after a conflict: a renewal that was under way when we gave it up may have been written all the same.
        """
        try:
            await self._leave()
        except KubeError as error:
            if error.conflict:
                with contextlib.suppress(KubeError):
                    await self._leave()

    async def _leave(self) -> None:
        lease = await self._api.get(LEASES, self._lock.name, self._lock.namespace)
        if lease and lease["spec"].get("holderIdentity") == self._lock.identity:
            lease["spec"].pop("holderIdentity")
            await self._api.replace(LEASES, lease)


async def _first(*waits: Any) -> None:
    """Return when one of these is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
