"""What the hook adds to Cube: to a cached query, with and without it in turns; and to the memory that a person takes."""

import asyncio
import os
import shutil
import signal
import statistics
import time
from itertools import chain
from pathlib import Path

from tests.bench.people import HOOK, PROJECT, hook_environment, load, session, warehouse
from tests.bench.results import Result, percentile
from tests.parts.cube import Cube
from tests.parts.postgres import SERVICE

PERSON = "alice"
ROUNDS, CALLS, CONCURRENCY = 25, 240, 8
WARM, PEOPLE = 10, 80
"""People before the first look at the memory, and between it and the second: together fewer than Cube remembers."""

BY_HAND = """
const sources = require('./sources');
const { TOKEN: accessToken } = process.env;
module.exports = {
  ...sources,
  extendContext: ({ securityContext: { username, ...claims } }) => {
    const cubeCloud = { username, userCredentials: { postgres: { status: 'active', accessToken } } };
    return { securityContext: { ...claims, username, cubeCloud } };
  },
};
"""


def measure(folder: Path) -> list[Result]:
    """Before a PostgreSQL, whose cached answers come from Cube's memory."""
    people = [f"person-{number}" for number in range(WARM + PEOPLE)]
    with warehouse(folder, PERSON, *people) as (postgres, resolver, token):
        env = postgres.environment()
        hook = env | hook_environment(resolver.path)
        with Cube(env=env, project=PROJECT) as plain, Cube(env=hook, project=PROJECT, preload=HOOK) as hooked:
            results = _added(plain, hooked)
        by_hand = _project_by_hand(folder)
        taken = {
            "by hand": _memory(folder, env | {"TOKEN": token}, by_hand, [], people),
            "with us": _memory(folder, hook, PROJECT, [HOOK], people),
        }
    return [
        *results,
        Result(
            "cube_memory_by_hand_mib",
            taken["by hand"],
            150,
            "Cube's heap for 100 people, each with a driver of their own by hand, in MiB",
        ),
        Result("cube_memory_ratio", taken["with us"] / taken["by hand"], 1.2, "the same with the hook, beside it"),
    ]


def _added(plain: Cube, hooked: Cube) -> list[Result]:
    """Without the hook the same person is served as the service account; Cube does the same work for both.

    The medians of what each pair of rounds differs in: whatever else the machine does comes and goes in seconds.
    """
    assert (plain.whoami(PERSON), hooked.whoami(PERSON)) == (SERVICE, PERSON)
    rounds: dict[Cube, list[list[float]]] = {plain: [], hooked: []}
    for cube in (plain, hooked):
        asyncio.run(_took(cube, 4 * CALLS))
    for number in range(ROUNDS):
        for cube in (plain, hooked) if number % 2 else (hooked, plain):
            rounds[cube].append(asyncio.run(_took(cube, CALLS)))

    def added(share: float) -> float:
        pairs = zip(rounds[hooked], rounds[plain], strict=True)
        return statistics.median(percentile(with_us, share) - percentile(without, share) for with_us, without in pairs) * 1000

    floor = statistics.median(percentile(each, 0.5) for each in rounds[plain]) * 1000
    return [
        Result(
            "cube_added_p50_ms",
            added(0.5),
            1,
            f"added to a cached /v1/load at concurrency 8 (p50 {floor:.1f} ms) by the hook, p50 in ms",
        ),
        Result("cube_added_p99_ms", added(0.99), 3, "the same, p99 in ms"),
    ]


async def _took(cube: Cube, calls: int) -> list[float]:
    """Seconds of each of ``calls`` requests, CONCURRENCY at a time."""
    async with session(cube.url, PERSON) as client:

        async def one_after_the_other() -> list[float]:
            return [(await load(client, cached=True))[1] for _ in range(calls // CONCURRENCY)]

        return list(chain.from_iterable(await asyncio.gather(*(one_after_the_other() for _ in range(CONCURRENCY)))))


def _project_by_hand(folder: Path) -> Path:
    """What one writes without the operator: a token from somewhere at each request, and a driver for each person."""
    project = folder / "by-hand"
    shutil.copytree(PROJECT, project)
    (project / "cube.js").rename(project / "sources.js")
    (project / "cube.js").write_text(BY_HAND)
    return project


def _memory(folder: Path, env: dict[str, str], project: Path, preloads: list[Path], people: list[str]) -> float:
    """MiB of heap that 100 people take, after garbage is collected."""
    heap = folder / "heap"
    options = " ".join(f"--require={each}" for each in [*preloads, Path(__file__).with_name("heap.cjs")])
    with Cube(env=env | {"NODE_OPTIONS": options, "HEAP_FILE": str(heap)}, project=project) as cube:
        asyncio.run(_ask_as(cube, people[:WARM]))
        before = _heap(cube, heap)
        asyncio.run(_ask_as(cube, people[WARM:]))
        after = _heap(cube, heap)
    return (after - before) / PEOPLE * 100 / 2**20


async def _ask_as(cube: Cube, people: list[str]) -> None:
    for username in people:
        async with session(cube.url, username) as client:
            seen, _ = await load(client)
        assert seen == username, seen


def _heap(cube: Cube, file: Path) -> int:
    file.unlink(missing_ok=True)
    os.kill(cube.process.pid, signal.SIGUSR2)
    while not file.exists():
        time.sleep(0.05)
    return int(file.read_text())
