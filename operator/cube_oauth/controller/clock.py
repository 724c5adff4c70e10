"""The time, so that tests can turn it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

LONGEST_SLEEP = 15.0
"""Seconds: after this the clock is read again, so that a clock that was set, or a machine that slept, is noticed."""


async def any_of(*events: asyncio.Event) -> None:
    """Return when one of ``events`` is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


class Clock:
    """The machine's time in UTC."""

    def now(self) -> datetime:
        """The time now."""
        return datetime.now(UTC)

    async def wait(self, event: asyncio.Event, until: datetime | None) -> None:
        """Return when ``event`` is set, at ``until``, or earlier for no reason: look at both again."""
        seconds = LONGEST_SLEEP if until is None else max((until - self.now()).total_seconds(), 0)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, LONGEST_SLEEP)):
                await event.wait()
