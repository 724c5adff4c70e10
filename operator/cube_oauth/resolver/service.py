"""What is known of whom, and when to ask the broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cube_oauth.resolver.answers import Answer, Caller, Key, Memory
from cube_oauth.resolver.environment import Followed
from cube_oauth.resolver.errors import BrokerUnreachableError, ForbiddenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.resolver.metrics import Metrics

log = logging.getLogger(__name__)

REPLACED_SECONDS = 10.0
"""How long a query waits for another token of the service account; the hook's own patience is 11 s."""
ATTEMPTS = 3
"""How often one answer is fetched when the person changes while it is on its way."""


class Broker(Protocol):
    """What the resolver asks."""

    async def resolve(self, caller: Caller) -> bytes:
        """A person's credentials."""

    async def invalidate(self, caller: Caller, data_source: str, revision: int) -> bytes:
        """The same, after a forced refresh."""

    async def invalidate_account(self, variable: str, revision: int) -> bool:
        """Whether another token of the service account is to be expected."""


@dataclass
class _Flight:
    """One request to the broker that any number of callers wait for."""

    username: str
    stale: bool = False
    """The person changed after the request was sent."""
    task: asyncio.Task[bytes] = field(init=False)


class Resolver:
    """Answers from memory while the stream of changes is open, otherwise from the broker, otherwise for a while from memory.

    What memory gives while the broker cannot be asked is never an ended token, nor one that was withdrawn as far as the stream has
    said, and at most ``outage_seconds`` old. ``listeners`` are told who changed (None: everybody).
    """

    def __init__(self, broker: Broker, outage_seconds: float, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self.listeners: set[Callable[[str | None], Any]] = set()
        self.environment = Followed()
        self._broker = broker
        self._outage_seconds = outage_seconds
        self._metrics = metrics
        self._clock = clock
        self._memory = Memory()
        self._flights: dict[tuple[Any, ...], _Flight] = {}
        self._connected = False
        self._unreachable = False
        """The last attempt to reach the broker failed; the stream goes on trying, so requests need not wait for a timeout each."""

    # --- questions

    def remembered(self, caller: Caller) -> bytes | None:
        """The answer, if memory may give it: the stream would have said that it changed, or there is nobody to ask."""
        answer = self._memory.get(caller.key)
        if answer is None:
            return None
        if self._connected:
            return answer.raw if answer.doubtful_since is None and self._clock() < answer.ends else None
        return self._old(answer) if self._unreachable else None

    def _old(self, answer: Answer) -> bytes | None:
        """The answer although it may be out of date; None when it may be so for too long."""
        now = self._clock()
        if answer.doubtful_since is not None and now - answer.doubtful_since >= self._outage_seconds:
            return None
        return answer.at(now).stale

    async def resolve(self, caller: Caller) -> bytes:
        """A person's credentials as JSON. Raises BrokerUnreachableError, ForbiddenError."""
        return self.remembered(caller) or await self._joined(("resolve", *caller.key), caller, lambda: self._broker.resolve(caller))

    async def invalidate(self, caller: Caller, data_source: str, revision: int) -> bytes:
        """The same after the warehouse refused ``revision``."""
        key = ("invalidate", *caller.key, data_source, revision)
        return await self._joined(key, caller, lambda: self._broker.invalidate(caller, data_source, revision))

    async def invalidate_account(self, variable: str, revision: int) -> bytes:
        """Have a service account's token replaced that the warehouse refused. Raises BrokerUnreachableError, ForbiddenError.

        The answer says nothing: before it, listeners were told of the newer token, if one came in time.
        """
        if await self._broker.invalidate_account(variable, revision):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPLACED_SECONDS):
                    await self.environment.until_another(variable, revision)
        return b"{}"

    async def _joined(self, key: tuple[Any, ...], caller: Caller, ask: Callable[[], Any]) -> bytes:
        """Single flight: whoever asks the same meanwhile waits for the same answer; one who leaves does not end it."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(caller.username)
            flight.task = asyncio.create_task(self._fetched(flight, caller.key, ask))
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        return await asyncio.shield(flight.task)

    def _landed(self, key: tuple[Any, ...], task: asyncio.Task[bytes]) -> None:
        del self._flights[key]
        if not task.cancelled():
            task.exception()  # whoever waited has it; with nobody waiting it is of no interest

    async def _fetched(self, flight: _Flight, key: Key, ask: Callable[[], Any]) -> bytes:
        try:
            answer = await self._current(flight, ask)
        except BrokerUnreachableError:
            self._metrics.broker("unreachable")
            return self._from_memory(key)
        except ForbiddenError:
            self._metrics.broker("forbidden")
            self._memory.forget(key[0])
            raise
        self._metrics.broker("ok")
        self._unreachable = False
        if flight.stale or answer.once:
            return answer.stale
        self._keep(key, answer)
        return answer.raw if self._connected else answer.stale

    async def _current(self, flight: _Flight, ask: Callable[[], Any]) -> Answer:
        """Asked again when the person changed on the way: an answer from before must not follow the news."""
        for _ in range(ATTEMPTS):
            flight.stale = False
            body = await ask()
            if not flight.stale:
                break
        try:
            return Answer.read(body, self._clock())
        except (ValueError, TypeError, AttributeError) as error:
            raise BrokerUnreachableError("the broker's answer cannot be read") from error

    def _from_memory(self, key: Key) -> bytes:
        self._unreachable = not self._connected
        answer = self._memory.get(key)
        old = self._old(answer) if answer else None
        if old is None:
            raise BrokerUnreachableError("nothing is known of this person, or nothing recent, and the broker cannot be reached")
        return old

    def _keep(self, key: Key, answer: Answer) -> None:
        self._memory.put(key, answer if self._connected else answer.doubted(self._clock()))
        self._metrics.gauge("people", len(self._memory))

    # --- news from the stream

    def connected(self) -> None:
        """The stream is open: from now on it says what changes. What was known before stays in doubt until it is asked again."""
        self._connected, self._unreachable = True, False
        self._metrics.gauge("stream_connected", 1)
        self._outdated(None)

    def interrupted(self, problem: str) -> None:
        """The stream ended, or could not be opened. Hooks ask anew; memory serves what the broker cannot, for a while."""
        if self._connected:
            self._metrics.interruption()
            log.warning("the stream of changes is interrupted", extra={"problem": problem})
            self._memory.doubt(None, self._clock())
            self._tell(None)
        self._unreachable = not self._connected
        self._connected = False
        self._metrics.gauge("stream_connected", 0)

    def rotated(self, username: str) -> None:
        """This person has a newer token. The one that is known serves only if the broker cannot be asked for the newer one."""
        self._memory.doubt(username, self._clock())
        self._outdated(username)
        self._tell(username)

    def changed(self, username: str | None) -> None:
        """Something that decides about this person changed, perhaps a permission; None: about everybody."""
        self._memory.forget(username)
        self._outdated(username)
        self._metrics.gauge("people", len(self._memory))
        self._tell(username)

    def _outdated(self, username: str | None) -> None:
        """Answers on their way may be from before."""
        for flight in self._flights.values():
            flight.stale = flight.stale or username in (None, flight.username)

    def _tell(self, username: str | None) -> None:
        for listener in tuple(self.listeners):
            listener(username)

    def close(self) -> None:
        """End what is still waiting."""
        for flight in self._flights.values():
            flight.task.cancel()
