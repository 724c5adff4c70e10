"""When something was first seen: in a bare watch of the API server, and wherever else it arrives."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from cube_oauth.kube.api import Api

PATIENCE = 30


class Sightings:
    """Takes down when each thing was first seen at one place (by ``time.perf_counter``)."""

    def __init__(self) -> None:
        self._first: dict[str, asyncio.Future[float]] = {}

    def saw(self, what: str) -> None:
        """It is there now."""
        first = self._of(what)
        if not first.done():
            first.set_result(time.perf_counter())

    async def of(self, what: str) -> float:
        """When it was first seen, once it was."""
        return await asyncio.wait_for(self._of(what), PATIENCE)

    def _of(self, what: str) -> "asyncio.Future[float]":
        return self._first.setdefault(what, asyncio.get_running_loop().create_future())


@asynccontextmanager
async def watched(api: Api, path: str, what: Callable[[dict[str, Any]], str | None], **query: str) -> AsyncIterator[Sightings]:
    """A watch without any cache or queue of ours: ``what`` an event shows, or None."""
    seen = Sightings()

    async def watch() -> None:
        async for event in api.lines(path, {"watch": "true", "resourceVersion": "0", **query}, 600):
            if (found := what(event)) is not None:
                seen.saw(found)

    async with followed(watch()):
        yield seen


@asynccontextmanager
async def followed(work: Any) -> AsyncIterator[None]:
    """Something that goes on until the block ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
