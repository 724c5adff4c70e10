"""A minute of 200 queries in flight for 20 people, while everybody's token is exchanged once a second."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Self

from tests.bench.people import HOOK, PROJECT, hook_environment, load, session, warehouse
from tests.bench.results import Result, percentile
from tests.hook.resolver import FakeResolver, active
from tests.parts.cube import Cube
from tests.parts.postgres import Postgres

PEOPLE, EACH, SECONDS = 20, 10, 60


def measure(folder: Path) -> list[Result]:
    """In PostgreSQL an exchanged token opens no connection from that moment on."""
    people = [f"person-{number}" for number in range(PEOPLE)]
    with warehouse(folder, *people) as (postgres, resolver, _):
        env = postgres.environment() | hook_environment(resolver.path)
        with Cube(env=env, project=PROJECT, preload=HOOK) as cube, Rotation(postgres, resolver, people) as rotation:
            answers, took = asyncio.run(_asked(cube, people))
            times, busiest = rotation.times, rotation.backends
        exchanged = resolver.counts["drivers", "exchanged"]
    errors = sum(seen not in people for _, seen in answers)
    wrong = sum(seen != asked and seen in people for asked, seen in answers)
    p99 = percentile(took, 0.99)
    return [
        Result(
            "rotation_queries",
            len(answers),
            1000,
            f"queries in {SECONDS} s, 200 in flight (p99 {p99:.1f} s)",
            at_least=True,
        ),
        Result(
            "rotation_times",
            times,
            57,
            f"rotations of everybody's token meanwhile; drivers were exchanged {exchanged} times",
            at_least=True,
        ),
        Result("rotation_errors", errors, 0, "errors among them"),
        Result("rotation_wrong_identity", wrong, 0, "answers to one person that another's eyes read"),
        Result("rotation_connections", busiest, 2 * PEOPLE * EACH, "connections at once, at most"),
    ]


async def _asked(cube: Cube, people: list[str]) -> tuple[list[tuple[str, str]], list[float]]:
    """Who asked and who was seen, and the seconds of each."""
    answers: list[tuple[str, str]] = []
    took: list[float] = []
    until = time.monotonic() + SECONDS

    async def ask(username: str) -> None:
        async with session(cube.url, username) as client:
            while time.monotonic() < until:
                seen, seconds = await load(client)
                answers.append((username, seen))
                took.append(seconds)

    await asyncio.gather(*(ask(username) for username in people for _ in range(EACH)))
    return answers, took


class Rotation(threading.Thread):
    """Exchanges everybody's token once a second by the clock, however long one takes, for SECONDS or until the block ends."""

    def __init__(self, postgres: Postgres, resolver: FakeResolver, people: list[str]) -> None:
        super().__init__(daemon=True)
        self.times = self.backends = 0
        self._postgres = postgres
        self._resolver = resolver
        self._people = people
        self._over = threading.Event()
        self._rotating = threading.Lock()

    def __enter__(self) -> Self:
        self._resolver.on_invalidate = lambda _params: self._rotated()
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        began = time.monotonic()
        for second in range(1, SECONDS + 1):
            if self._over.wait(max(0, began + second - time.monotonic())):
                return
            with self._rotating:
                token = self._postgres.token(*self._people)
                for username in self._people:
                    self._resolver.set(username, postgres=active(token, revision=second + 1))
            self.times += 1
            self.backends = max(self.backends, self._postgres.backends("person-%").total())

    def _rotated(self) -> None:
        """A forced refresh ends when the one that is under way has ended."""
        with self._rotating:
            pass
