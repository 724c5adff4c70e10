"""One time-ordered queue for all objects of a kind: what to look at next, and when.

A timer or task for each object costs more than the object (``facts``: 294 MB for 5,000 timers); this costs a tuple.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from cube_oauth.kube.api import KubeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from cube_oauth.controller.clock import Clock

    K = TypeVar("K", bound=Hashable)
else:
    K = TypeVar("K")

log = logging.getLogger(__name__)

OVERTAKEN, FEW = 2, 64
"""The heap holds at most so many entries for each key that waits, and a few more: then those that were overtaken are dropped."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds before a failed key is tried again: doubled each time, with full jitter."""


class Queue(Generic[K]):
    """Calls ``work(key)`` when a key is due: each key once at a time, at most ``workers`` keys together.

    ``work`` gives the time at which it wants to see the key again, or None. When it fails it is tried again with growing pauses.
    """

    def __init__(self, name: str, work: Callable[[K], Awaitable[datetime | None]], clock: Clock, *, workers: int) -> None:
        self.name = name
        self._work = work
        self._clock = clock
        self._slots = asyncio.Semaphore(workers)
        self._due: dict[K, datetime] = {}
        self._heap: list[tuple[datetime, int, K]] = []
        self._order = itertools.count()
        self._running: dict[K, asyncio.Task[None]] = {}
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def schedule(self, key: K, when: datetime | None = None) -> None:
        """Look at ``key`` at ``when`` (now, if None). An earlier time that is known already stays."""
        moment = when or self._clock.now()
        known = self._due.get(key)
        if known is None or moment < known:
            self._due[key] = moment
            self._push(key)

    def forget(self, key: K) -> None:
        """Do not look at ``key`` again."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    async def run(self) -> None:
        """Start what is due, until cancelled. What was started goes on: see ``drain``."""
        while True:
            await self._slots.acquire()
            key = await self._next()
            self._running[key] = asyncio.create_task(self._process(key), name=f"{self.name} {key}")

    async def drain(self) -> None:
        """Wait for what runs; when this is cancelled, so is that."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _push(self, key: K) -> None:
        heapq.heappush(self._heap, (self._due[key], next(self._order), key))
        if len(self._heap) > OVERTAKEN * len(self._due) + FEW:  # else each look leaves one behind until its moment has come
            self._heap = [(when, next(self._order), due) for due, when in self._due.items()]
            heapq.heapify(self._heap)
        self._changed.set()

    async def _next(self) -> K:
        while True:
            self._changed.clear()
            if (key := self._take()) is not None:
                return key
            await self._clock.wait(self._changed, self._heap[0][0] if self._heap else None)

    def _take(self) -> K | None:
        """The first key that is due and not running; entries that were overtaken are dropped."""
        now = self._clock.now()
        while self._heap:
            when, _, key = self._heap[0]
            if self._due.get(key) == when and key not in self._running:
                if when > now:
                    return None
                heapq.heappop(self._heap)
                del self._due[key]
                return key
            heapq.heappop(self._heap)
        return None

    async def _process(self, key: K) -> None:
        try:
            again = await self._attempt(key)
            if again is not None:
                self.schedule(key, again)
        finally:
            del self._running[key]
            self._slots.release()
            if key in self._due:  # its entry in the heap may have been dropped while it ran
                self._push(key)

    async def _attempt(self, key: K) -> datetime | None:
        try:
            again = await self._work(key)
        except KubeError as error:
            log.warning("the API server did not do it; tried again", extra={"queue": self.name, "key": key, "error": str(error)})
        except Exception:
            log.exception("unexpected failure; tried again", extra={"queue": self.name, "key": key})
        else:
            self._failures.pop(key, None)
            return again
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return self._clock.now() + full_jitter(failures, FIRST_PAUSE, LONGEST_PAUSE)


def full_jitter(failures: int, first: float, longest: float) -> timedelta:
    """A random pause up to ``first`` doubled with each failure, at least a tenth of that."""
    most = min(longest, first * 2 ** min(failures - 1, 16))
    return timedelta(seconds=random.uniform(most / 10, most))  # noqa: S311 - spreads load
