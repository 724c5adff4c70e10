"""So many requests and no more: token buckets by whom they are from. In one process; several replicas permit as many times more."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_KEYS = 10_000
"""Of whom is remembered; then the one who was longest away is forgotten."""


class Limit:
    """``burst`` requests at once, and ``per_second`` from then on, for each key."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, key: str) -> int:
        """0, and the request counts; or the seconds after which one would be permitted."""
        now = self._clock()
        left, at = self._buckets.pop(key, (float(self._burst), now))
        left = min(self._burst, left + (now - at) * self._per_second)
        permitted = left >= 1
        self._buckets[key] = (left - 1 if permitted else left, now)
        if len(self._buckets) > MOST_KEYS:
            self._buckets.popitem(last=False)
        return 0 if permitted else math.ceil((1 - left) / self._per_second)


@dataclass(frozen=True)
class LimitSettings:
    """How much is permitted, in each process."""

    person_per_second: int = 2
    person_burst: int = 60
    address_per_second: int = 10
    """Generous: without ``TRUSTED_PROXIES`` everybody behind a proxy has its address."""
    address_burst: int = 300
    streams: int = 500
    """Pages that follow their states at once."""


class Limits:
    """Whoever is logged in counts as a person, everybody else by address."""

    def __init__(self, settings: LimitSettings) -> None:
        self.people = Limit(settings.person_per_second, settings.person_burst)
        self.addresses = Limit(settings.address_per_second, settings.address_burst)
