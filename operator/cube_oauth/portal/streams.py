"""How many pages may follow their states at once, and how those streams end."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

MOST_PER_PERSON = 6
"""As many as a browser opens. Beyond these and ``most`` a page does not change by itself; it works by reloading."""
LONGEST = 600.0
"""Seconds after which a stream ends; the browser comes back by itself, and its session is looked at again."""


class Streams:
    """The open streams of one process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def place(self, username: str) -> Iterator[bool]:
        """Whether there is room for one more; it is taken for the length of the block."""
        free = self._open.total() < self._most and self._open[username] < MOST_PER_PERSON
        self._open[username] += free
        try:
            yield free
        finally:
            self._open[username] -= free
            self._open += Counter()  # forgets whoever has none

    async def run(self, stream: Coroutine[Any, Any, None]) -> None:
        """Until the stream ends, LONGEST has passed, its reader is gone, or the process ends."""
        task = asyncio.ensure_future(stream)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            done, _ = await asyncio.wait([task], timeout=LONGEST)
        finally:
            task.cancel()
        error = task.exception() if done and not task.cancelled() else None
        if error and not isinstance(error, ConnectionError):
            raise error

    async def close(self, _: object = None) -> None:
        """End all: the process ends."""
        for task in self._tasks:
            task.cancel()
