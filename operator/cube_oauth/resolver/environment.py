"""What service accounts fill in Cube's environment, as the broker last said it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Environment:
    """By variable: value (None: withdrawn), and of tokens that can be fetched anew which one it is."""

    values: dict[str, str | None] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As the hook is told."""
        return {"values": self.values, "revisions": self.revisions}


class Followed:
    """The environment as it changes. It stays while the broker is away."""

    def __init__(self) -> None:
        self.now = Environment()
        self.listeners: set[Callable[[], Any]] = set()
        """Are told of each change."""

    def take(self, new: Environment) -> None:
        """What the broker says now; told on if it is news."""
        if new != self.now:
            self.now = new
            for listener in tuple(self.listeners):
                listener()

    async def until_another(self, variable: str, revision: int) -> None:
        """Wait until the variable's token is another than this one, and whoever listens was told so."""
        changed = asyncio.Event()
        self.listeners.add(changed.set)
        try:
            while self.now.revisions.get(variable) == revision:
                changed.clear()
                await changed.wait()
        finally:
            self.listeners.discard(changed.set)
