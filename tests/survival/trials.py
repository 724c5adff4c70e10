"""What is tried. Each trial ends with a verdict, while no controller runs."""

import itertools
import random
import time
from collections.abc import Callable, Iterable

from tests.survival.controller import API_FAULTS, ASKS_PROVIDER, PROVIDER_FAULTS, UNREACHABLE
from tests.survival.journal import Story
from tests.survival.plan import Fault, Plan
from tests.survival.table import Table, met
from tests.survival.world import UNDISTURBED, Child, Verdict, World

THE_ANSWER = 3
"""Which request of a process's first refresh writes the answer: it reads the client's secret and writes the claim before."""

MOST_STEPS = 80
"""No refresh has so many awaits: one that does would be a loop."""


def undisturbed(world: World, table: Table, refreshes: int) -> None:
    """Nothing is broken: what the windows are measured with."""
    _run([world.start(UNDISTURBED)], world, lambda child: child.refreshed() >= refreshes)
    verdict = world.judge()
    _add(table, "undisturbed", verdict)
    table.measure(verdict)


def killed_at_each_await(world: World, table: Table, which: str, refresh: int = 1, workers: int = 1) -> int:
    """SIGKILL at the first await of the ``refresh``-th refresh of a process, then at the second, until there is none left.

    Each twice: as it begins to wait, and when it is woken. Gives the number of awaits.
    """
    for step in range(1, MOST_STEPS):
        for woken in (False, True):
            child = world.start(Plan.kill(refresh, step, woken=woken), CUBE_OAUTH_WORKERS=str(workers))
            child.wait()
            place = child.place()
            _add(table, f"killed, {which}: {place or 'when it was over'}", world.judge())
            _repair(world)
            if place is None:
                return step - 1
    raise AssertionError("a refresh does not end")


def ended_at_each_await(world: World, table: Table) -> None:
    """SIGTERM at each await: what is in flight is finished, so nothing is lost at all."""
    for step in range(1, MOST_STEPS):
        for woken in (False, True):
            child = world.start(Plan.end(step, woken=woken), CUBE_OAUTH_WORKERS="1")
            world.until(lambda child=child: child.place() or child.ended())
            if child.place() is None:  # that refresh is over, and another may be under way
                child.process.terminate()
            child.wait()
            _add(table, f"told to end: {child.place() or 'when it was over'}", world.judge(), nothing_lost=True)
            if child.place() is None:
                return


def ended_while_the_api_hangs(world: World, table: Table) -> None:
    """SIGTERM with a provider's answer that cannot be written for 45 s."""
    child = world.start(Plan(faults=(Fault(THE_ANSWER, "hangs, not done", times=3),)), CUBE_OAUTH_WORKERS="1")
    world.until(lambda: any("answered" in story.at for story in child.stories()))
    child.process.terminate()
    child.wait()
    _add(table, "told to end while the answer cannot be written", world.judge(), nothing_lost=True)


def killed_anywhere(world: World, table: Table, times: int) -> None:
    """SIGKILL from outside at a random moment, while several refreshes are under way."""
    for _ in range(times):
        child = world.start()
        world.until(lambda child=child: child.refreshed() >= 5)
        time.sleep(random.uniform(0, 0.3))
        child.kill()
        _add(table, "killed at any moment", world.judge())
        _repair(world)


def refused(world: World, table: Table, faults: list[Fault], rounds: int, patience: float | None = None) -> None:
    """Each refresh meets one of ``faults``, ``rounds`` times each; the controller goes on."""
    child = world.start(Plan(faults=tuple(faults), api_patience=patience, always_leads=True), CUBE_OAUTH_WORKERS="32")
    _run([child], world, lambda child: sum("ended" in story.at for story in child.stories()) >= rounds * len(faults))
    verdict = world.judge()
    table.add(verdict, met, *map(met, verdict.told))
    world.heal()


def api_faults(calls: int) -> list[Fault]:
    """Everything that can happen to each of the first ``calls`` requests of a refresh to the API server."""
    return [Fault(call, kind) for call, kind in itertools.product(range(1, calls + 1), API_FAULTS)]


def provider_faults() -> list[Fault]:
    """Everything that can happen to the request to the provider."""
    return [Fault(ASKS_PROVIDER, kind) for kind in (*PROVIDER_FAULTS, UNREACHABLE)]


def storm(world: World, table: Table, refreshes: int) -> None:
    """Each request to the API server fails with a probability of 30 %, the attempts to write the answer included."""
    _run(
        [world.start(Plan(storm=0.3, always_leads=True), CUBE_OAUTH_WORKERS="32")],
        world,
        lambda child: child.refreshed() >= refreshes,
    )
    _add(table, "every third request to the API server fails", world.judge())
    world.heal()


def two_leaders(world: World, table: Table, refreshes: int) -> None:
    """Two controllers that both believe they lead, at the same people."""
    both = [world.start(Plan(always_leads=True)) for _ in range(2)]
    _run(both, world, lambda _: sum(child.refreshed() for child in both) >= refreshes)
    _add(table, "two controllers that both believe they lead", world.judge())


def contended(world: World, table: Table, rounds: int, clock_ahead: float) -> None:
    """Two that both believe they lead are told at the same moment to refresh everybody; the clock of one is ahead, or behind."""
    world.lasting()
    both = [world.start(Plan(always_leads=True, clock_ahead=ahead)) for ahead in (0, clock_ahead)]
    world.until(lambda: all(child.leads() for child in both))
    for _ in range(rounds):
        world.force_everybody()
    for child in both:
        child.end()
    world.short_lived()
    _add(table, f"two that both believe they lead, one clock {clock_ahead:+g} s, forced at once", world.judge())
    world.heal()


def paused_at_each_await(world: World, table: Table, at_once: int = 6) -> None:
    """SIGSTOP at each await until another controller has done the work; both believe they lead all the time.

    ``at_once`` processes are stopped together, each at another await.
    """
    plans = (Plan.pause(1, step, woken=woken) for step in range(1, MOST_STEPS) for woken in (False, True))
    while _paused(world, table, _stopped(world, itertools.islice(plans, at_once))):
        _repair(world)


def paused_with_the_answer(world: World, table: Table) -> None:
    """SIGSTOP with the provider's answer in hand, until another controller has claimed the same token, and not been served.

    What it claimed is spent: the answer is all there is, and must not be given up for its claim.
    """
    [late] = _stopped(world, [Plan.pause_answered()])
    held = {story.uid for story in late.stories() if story.place}
    other = world.start(Plan(faults=(Fault(ASKS_PROVIDER, "connection cut, not served"),), always_leads=True))
    world.until(lambda: held <= other.ended())
    late.go_on()
    world.until(lambda: held <= late.ended())
    for child in (late, other):
        child.end()
    _add(table, "paused with the answer in hand, while another claims", world.judge(), nothing_lost=True)


def paused_after_the_check(world: World, table: Table, times: int) -> None:
    """SIGSTOP between the last look at the claim's time and the first byte, for longer than the claim: the documented exception.

    Both redeem one refresh token. What comes of it is measured, and no problem: no check of ours can be any later.
    """
    for _ in range(times):
        [late] = _stopped(world, [Plan.pause_after_check()])
        held = {story.uid for story in late.stories() if story.place}
        other = world.start(Plan(always_leads=True))
        world.until(lambda held=held, other=other: held <= other.ended())
        late.go_on()
        world.until(lambda held=held, late=late: held <= late.ended())
        for child in (late, other):
            child.end()
        answer = next(_answer(story) for story in late.stories() if story.place)
        verdict = world.judge()
        table.exception(answer, reused=len(verdict.twice), over=len(verdict.lost), states=world.states(held))
        _repair(world)


def _answer(story: Story) -> str:
    """What its request came to, for the process that sent it."""
    return next((word for word in ("refused", "answered") if word in story.at), "too late to hear its answer")


def _paused(world: World, table: Table, children: list[Child]) -> bool:
    """Let another controller do what these have begun, then let them go on; whether any of them had stopped."""
    held = {story.uid for child in children for story in child.stories() if story.place}
    other = world.start(Plan(always_leads=True))
    world.until(lambda: held <= other.ended())
    for child in children:
        child.go_on()
    world.until(lambda: all(held & child.ended() for child in children if child.place()))
    for child in (*children, other):
        child.end()
    places = [f"paused: {child.place()}" for child in children if child.place()]
    table.add(world.judge(), lambda story: f"paused: {story.place}" if story.place else "others while these were paused", *places)
    return bool(places)


def _stopped(world: World, plans: Iterable[Plan]) -> list[Child]:
    """Processes that have stopped at their await, or whose refresh has none such."""
    children = []
    for plan in plans:
        child = world.start(plan, CUBE_OAUTH_WORKERS="1")
        world.until(lambda child=child: child.place() or child.ended())
        children.append(child)
    return children


def _run(children: list[Child], world: World, enough: Callable[[Child], bool]) -> None:
    """Let these work until there is enough."""
    world.until(lambda: enough(children[0]) or any(child.process.exitcode is not None for child in children), 300)
    for child in children:
        child.end()


def _add(table: Table, place: str, verdict: Verdict, *, nothing_lost: bool = False) -> None:
    table.add(verdict, lambda _: place, place)
    if nothing_lost:
        table.problems += [f"{place}: {token[:12]} lost although there was time" for token in verdict.in_window]


def _repair(world: World) -> None:
    """Let people connect again before there are too few."""
    if world.fit() <= len(world.people) // 2:
        world.heal()
