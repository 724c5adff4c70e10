"""One queue, ordered by time."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from cube_oauth.controller.queue import Queue, full_jitter
from cube_oauth.kube.api import KubeError
from tests.unit.controller.clocks import START, StoppedClock, settle

MINUTE = timedelta(minutes=1)


class Bench:
    """A queue whose work is written down."""

    def __init__(self, workers=2):
        self.clock = StoppedClock()
        self.done = []
        self.answers = {}
        self.gates = {}
        self.queue = Queue("test", self._work, self.clock, workers=workers)

    async def _work(self, key):
        self.done.append(key)
        if key in self.gates:
            await self.gates[key].wait()
        answer = self.answers.get(key)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def bench():
    made = Bench()
    running = asyncio.create_task(made.queue.run())
    yield made
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    for gate in made.gates.values():
        gate.set()
    await made.queue.drain()


async def test_what_is_due_is_looked_at_at_once(bench):
    bench.queue.schedule("a")
    await settle()
    assert bench.done == ["a"]


async def test_nothing_is_looked_at_before_its_time(bench):
    bench.queue.schedule("a", START + MINUTE)
    await settle()
    assert bench.done == []
    await bench.clock.turn(seconds=59)
    assert bench.done == []
    await bench.clock.turn(seconds=1)
    assert bench.done == ["a"]


async def test_the_earlier_time_wins(bench):
    bench.queue.schedule("a", START + 3 * MINUTE)
    bench.queue.schedule("a", START + MINUTE)
    bench.queue.schedule("a", START + 2 * MINUTE)
    await bench.clock.turn(minutes=1)
    assert bench.done == ["a"]
    await bench.clock.turn(minutes=5)
    assert bench.done == ["a"]


async def test_who_is_due_first_is_first(bench):
    for number in (3, 1, 2):
        bench.queue.schedule(number, START + number * MINUTE)
    await bench.clock.turn(minutes=10)
    assert bench.done == [1, 2, 3]


async def test_the_work_says_when_it_wants_to_look_again(bench):
    bench.answers["a"] = START + MINUTE
    bench.queue.schedule("a")
    await settle()
    bench.answers["a"] = None
    await bench.clock.turn(minutes=1)
    assert bench.done == ["a", "a"]
    await bench.clock.turn(hours=1)
    assert bench.done == ["a", "a"]


async def test_a_key_is_looked_at_once_at_a_time_and_again_afterwards(bench):
    bench.gates["a"] = asyncio.Event()
    bench.queue.schedule("a")
    await settle()
    bench.queue.schedule("a")
    await settle()
    assert bench.done == ["a"]
    bench.gates.pop("a").set()
    await settle()
    assert bench.done == ["a", "a"]


async def test_a_key_that_is_looked_at_ever_again_long_before_its_time_leaves_nothing_behind(bench):
    bench.queue.schedule("next", START + 60 * MINUTE)
    bench.answers["a"] = START + 24 * 60 * MINUTE
    for _ in range(500):
        bench.queue.schedule("a")
        await settle()
    assert len(bench.done) == 500
    assert len(bench.queue._heap) < 100
    bench.answers.clear()
    await bench.clock.turn(hours=24)
    assert bench.done[500:] == ["next", "a"]


async def test_a_key_that_hangs_holds_up_nobody_else(bench):
    bench.gates["a"] = asyncio.Event()
    for key in ("a", "b", "c"):
        bench.queue.schedule(key)
    await settle()
    assert bench.done == ["a", "b", "c"]


async def test_no_more_than_the_workers_work_together():
    bench = Bench(workers=2)
    bench.gates = {key: asyncio.Event() for key in "abc"}
    running = asyncio.create_task(bench.queue.run())
    for key in "abc":
        bench.queue.schedule(key)
    await settle()
    assert bench.done == ["a", "b"]
    bench.gates["a"].set()
    await settle()
    assert bench.done == ["a", "b", "c"]
    running.cancel()
    for gate in bench.gates.values():
        gate.set()
    await bench.queue.drain()


@pytest.mark.parametrize("failure", [KubeError(500, "InternalError", "GET /x"), RuntimeError("unforeseen")])
async def test_what_fails_is_tried_again_with_growing_pauses(bench, failure):
    bench.answers["a"] = failure
    bench.queue.schedule("a")
    await settle()
    await bench.clock.turn(seconds=0.5)
    assert len(bench.done) == 2
    bench.answers["a"] = None
    await bench.clock.turn(seconds=1)
    assert len(bench.done) == 3
    await bench.clock.turn(hours=1)
    assert len(bench.done) == 3


async def test_a_forgotten_key_is_not_looked_at(bench):
    bench.queue.schedule("a", START + MINUTE)
    bench.queue.forget("a")
    await bench.clock.turn(minutes=2)
    assert bench.done == []
    assert len(bench.queue) == 0


async def test_what_was_begun_is_finished_at_the_end():
    bench = Bench()
    bench.gates["a"] = asyncio.Event()
    running = asyncio.create_task(bench.queue.run())
    bench.queue.schedule("a")
    await settle()
    running.cancel()
    drained = asyncio.create_task(bench.queue.drain())
    await settle()
    assert not drained.done()
    bench.gates["a"].set()
    await asyncio.wait_for(drained, 60)


@pytest.mark.parametrize("failures", [1, 2, 5, 1000])
def test_a_pause_has_an_upper_and_a_lower_end(failures):
    most = min(60, 0.5 * 2 ** min(failures - 1, 16))
    for _ in range(50):
        assert most / 10 <= full_jitter(failures, 0.5, 60).total_seconds() <= most
