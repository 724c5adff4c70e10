"""How fast a provider is asked: a budget for each token endpoint's origin, and pauses after failures."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cube_oauth.controller.queue import full_jitter

if TYPE_CHECKING:
    from collections.abc import Hashable

BURST = timedelta(milliseconds=100)
"""A provider that was left alone may be asked at once what belongs into this time."""

KEPT = timedelta(minutes=1)
"""How long a reserved moment waits for whoever reserved it."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0


@dataclass
class Budget:
    """A token bucket for each origin, as reservations: whoever comes gets the next free moment, so that nobody starves.

    Holds through a restart and a mass expiry, because the moments are handed out one after the other.
    """

    _free: dict[str, datetime] = field(default_factory=dict)
    _reserved: dict[Hashable, tuple[str, datetime]] = field(default_factory=dict)

    def reserve(self, origin: str, per_second: int, key: Hashable, now: datetime) -> datetime:
        """When ``key`` may ask ``origin``: now or earlier means now. The same key keeps its moment until ``spend``."""
        known = self._reserved.get(key)
        if known and known[0] == origin and known[1] + KEPT > now:
            return known[1]
        moment = max(self._free.get(origin, now - BURST), now - BURST)
        self._free[origin] = moment + timedelta(seconds=1 / per_second)
        self._reserved[key] = (origin, moment)
        return moment

    def spend(self, key: Hashable) -> None:
        """``key`` asks now; its next request needs another moment."""
        self._reserved.pop(key, None)


@dataclass
class Backoff:
    """Pauses after failures: by credential with full jitter, and by origin when the provider said Retry-After."""

    _failures: dict[Hashable, int] = field(default_factory=dict)
    _until: dict[Hashable, datetime] = field(default_factory=dict)

    def failed(self, key: Hashable, now: datetime) -> datetime:
        """Count a failure; when to try again."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return self.hold(key, now + full_jitter(failures, FIRST_PAUSE, LONGEST_PAUSE))

    def hold(self, key: Hashable, until: datetime) -> datetime:
        """Nothing before ``until``."""
        self._until[key] = max(until, self._until.get(key, until))
        return self._until[key]

    def succeeded(self, key: Hashable) -> None:
        """Forget the failures."""
        self._failures.pop(key, None)
        self._until.pop(key, None)

    def not_before(self, *keys: Hashable) -> datetime | None:
        """The latest of their pauses, or None."""
        return max((self._until[key] for key in keys if key in self._until), default=None)
