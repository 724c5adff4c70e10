"""The streams of changes: each resolver hears what concerns its namespace."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Message = dict[str, Any]

MAX_WAITING = 256
HEARTBEAT_SECONDS = 5.0
HEARTBEAT: Message = {"type": "heartbeat"}
EVERYBODY: Message = {"type": "changed"}
ENVIRONMENT: Message = {"type": "env"}
"""Service accounts changed. Their values are added when the line is sent: so the newest are, and none waits here."""


class Stream:
    """What waits to be sent to one resolver. One that does not keep up is told once that everybody changed."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._waiting: deque[Message] = deque()
        self._news = asyncio.Event()
        self._closed = False

    def put(self, message: Message) -> None:
        """Send this next."""
        if len(self._waiting) >= MAX_WAITING:
            kept = [waiting for waiting in self._waiting if waiting["type"] == "ca"][-1:]
            environment = [ENVIRONMENT] if ENVIRONMENT in self._waiting else []
            self._waiting.clear()
            self._waiting.extend((*kept, EVERYBODY, *environment))
        if message not in self._waiting:
            self._waiting.append(message)
        self._news.set()

    def close(self) -> None:
        """End after what waits."""
        self._closed = True
        self._news.set()

    async def messages(self) -> AsyncIterator[Message]:
        """Messages as they come, heartbeats between them, until closed."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                return
            self._news.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                yield HEARTBEAT


class Changes:
    """All streams."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()

    def __len__(self) -> int:
        return len(self._streams)

    @contextmanager
    def stream(self, namespace: str) -> Iterator[Stream]:
        """A stream for one resolver: from now on it gets every change."""
        stream = Stream(namespace)
        self._streams.add(stream)
        try:
            yield stream
        finally:
            self._streams.discard(stream)

    def changed(self, namespace: str, username: str | None, *, rotated: bool = False) -> None:
        """This person (None: everybody) of the namespace; ``rotated``: to a newer token of the same sign-in."""
        message = EVERYBODY if username is None else {"type": "changed", "username": username}
        if rotated:
            message = {**message, "rotated": True}
        for stream in self._streams:
            if stream.namespace == namespace:
                stream.put(message)

    def account_changed(self, namespace: str) -> None:
        """A service account of the namespace."""
        for stream in self._streams:
            if stream.namespace == namespace:
                stream.put(ENVIRONMENT)

    def everywhere(self, message: Message) -> None:
        """To every resolver."""
        for stream in self._streams:
            stream.put(message)

    def close(self) -> None:
        """End all streams; resolvers reconnect, to another replica."""
        for stream in self._streams:
            stream.close()
