"""A clock that stands still until a test turns it."""

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


class StoppedClock:
    def __init__(self) -> None:
        self._now = START
        self._waiting: list[tuple[asyncio.Event, datetime | None]] = []
        self._turned = asyncio.Condition()

    def now(self) -> datetime:
        return self._now

    async def wait(self, event: asyncio.Event, until: datetime | None) -> None:
        turned = asyncio.Event()
        self._waiting.append((turned, until))
        if until is not None and until <= self._now:
            turned.set()
        waits = [asyncio.ensure_future(one.wait()) for one in (event, turned)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def turn(self, **by: float) -> None:
        """Let time pass, and let everybody look at it."""
        self._now += timedelta(**by)
        for turned, until in self._waiting:
            if until is not None and until <= self._now:
                turned.set()
        await settle()


async def settle() -> None:
    """Until nobody has anything to do any more."""
    for _ in range(20):
        await asyncio.sleep(0)
