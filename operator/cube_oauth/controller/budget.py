"""How fast a provider is asked: a budget for each token endpoint's origin, and pauses after failures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cube_oauth.controller.queue import full_jitter

if TYPE_CHECKING:
    from collections.abc import Hashable

    from cube_oauth.controller.inventory import Key

BURST = 0.1
"""Seconds: a provider that was left alone may be asked at once what belongs into this time."""

KEPT = 60.0
"""Seconds for which a reserved moment waits for whoever reserved it."""

SLOWER, FASTER = 0.5, 1.5
"""What a failure and a success of the provider make of its speed: one success after an outage opens no flood."""

SLOWEST, SLOWEST_SHARE = 0.2, 0.01
"""A provider in trouble is still asked so many times a second, or this share of its budget if that is more."""

LOOK_AGAIN = 5.0
"""Seconds after which the next in line ask again while a provider is in trouble."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0


@dataclass
class _Line:
    """Who waits for one provider, in its own time: that runs slower while the provider is in trouble, and all moments with it."""

    since: datetime
    time: float = 0.0
    """Seconds of the provider's time, at ``since``."""
    speed: float = 1.0
    per_second: float = 1.0
    free: dict[bool, float] = field(default_factory=lambda: {False: -BURST, True: -BURST})
    """The next free place; by whether somebody waits for it."""
    door: float = -BURST
    """When the next one may go: whoever comes later than to its turn still goes one after the other."""

    def at(self, now: datetime) -> float:
        """The provider's time."""
        return self.time + (now - self.since).total_seconds() * self.speed

    def change(self, now: datetime, speed: float) -> None:
        """Run at another speed from now on."""
        slowest = max(SLOWEST_SHARE, SLOWEST / self.per_second)
        self.time, self.since, self.speed = self.at(now), max(now, self.since), min(1.0, max(speed, slowest))

    def next(self, now: datetime, *, urgent: bool) -> float:
        """Hand out the next free moment."""
        moment = max(self.free[urgent], self.at(now) - BURST)
        self.free[urgent] = moment + 1 / self.per_second
        return moment

    def call(self, now: datetime) -> float:
        """When the one whose turn it is may go."""
        moment = max(self.door, self.at(now) - BURST)
        self.door = moment + 1 / self.per_second
        return moment

    def patience(self, ahead: float) -> float:
        """Seconds after which to ask again, for whoever is ``ahead`` of its turn: the provider may recover meanwhile."""
        return max(0.0, ahead, min(ahead / self.speed, LOOK_AGAIN))

    def put_off(self) -> None:
        """Somebody went first: whoever waits is put off by one request."""
        self.time -= 1 / self.per_second
        self.door -= 1 / self.per_second


@dataclass(frozen=True)
class _Place:
    origin: str
    moment: float
    urgent: bool
    app: Key | None
    called: bool = False
    """Its turn has come: ``moment`` is when it may go."""

    def late(self, time: float) -> bool:
        """Whether it must be called, or called again because it has missed its moment."""
        return time - self.moment > BURST if self.called else time >= self.moment


@dataclass
class Budget:
    """A token bucket for each origin, as reservations: whoever comes gets the next free moment, so that nobody starves.

    Holds through a restart and a mass expiry, because the moments are handed out one after the other; and through an outage,
    because its time runs slower with each failure and regains its speed over a dozen successes. What a person waits for gets up
    to half of it.
    """

    _lines: dict[str, _Line] = field(default_factory=dict)
    _reserved: dict[Hashable, _Place] = field(default_factory=dict)

    def reserve(
        self, origin: str, per_second: int, key: Hashable, now: datetime, *, urgent: bool = False, app: Key | None = None
    ) -> datetime:
        """When ``key`` may ask ``origin``: now or earlier means now. The same key keeps its place until ``spend``.

        To be asked again at that moment: it may have moved by then.
        """
        line = self._lines.setdefault(origin, _Line(now))
        line.per_second = float(per_second)
        known = self._reserved.get(key)
        kept = known and (known.origin, known.urgent) == (origin, urgent) and line.at(now) - known.moment < KEPT
        if known is None or not kept:
            known = self._reserved[key] = _Place(origin, line.next(now, urgent=urgent), urgent, app)
        if known.late(line.at(now)):
            known = self._reserved[key] = replace(known, moment=line.call(now), called=True)
        return now + timedelta(seconds=line.patience(known.moment - line.at(now)))

    def spend(self, key: Hashable) -> None:
        """``key`` asks now; its next request needs another moment."""
        place = self._reserved.pop(key, None)
        if place and place.urgent:
            self._lines[place.origin].put_off()

    def leave(self, key: Hashable) -> None:
        """``key`` will not ask any more."""
        self._reserved.pop(key, None)

    def failed(self, origin: str, now: datetime) -> None:
        """The provider itself is in trouble: ask it less."""
        line = self._lines.setdefault(origin, _Line(now))
        line.change(now, line.speed * SLOWER)

    def succeeded(self, origin: str, now: datetime) -> None:
        """The provider answers."""
        line = self._lines.get(origin)
        if line and line.speed < 1.0:
            line.change(now, line.speed * FASTER)

    def speed(self, origin: str) -> float:
        """The share of its budget at which a provider is asked now: 1, or less while it is in trouble."""
        line = self._lines.get(origin)
        return line.speed if line else 1.0

    def waiting(self, now: datetime) -> Counter[Key]:
        """How many requests of each OAuthApp wait for their turn."""
        places = self._reserved.values()
        return Counter(place.app for place in places if place.app and place.moment > self._lines[place.origin].at(now))


@dataclass
class Backoff:
    """Pauses after failures: by credential with full jitter, and by origin when the provider said Retry-After."""

    _failures: dict[Hashable, int] = field(default_factory=dict)
    _until: dict[Hashable, datetime] = field(default_factory=dict)

    def failed(self, key: Hashable, now: datetime, longest: float = LONGEST_PAUSE) -> datetime:
        """Count a failure; when to try again, at most ``longest`` seconds later."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return self.hold(key, now + full_jitter(failures, FIRST_PAUSE, longest))

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
