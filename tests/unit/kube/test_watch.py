"""A local copy of objects, against an API server made of a script."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import pytest

from cube_oauth.kube.api import SECRETS, KubeError
from cube_oauth.kube.watch import LONGEST_PAUSE, Mirror


def item(name, version, **data):
    return {"metadata": {"namespace": "ns", "name": name, "resourceVersion": str(version)}, **data}


class Script:
    """Answers lists and watches one after the other; then hangs."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.asked = []
        self.told = asyncio.Event()

    async def request(self, method, path, *, query=None, **_):
        self.asked.append(query)
        return await self._next()

    async def lines(self, path, query, silence):
        self.asked.append(query)
        for event in await self._next():
            yield event

    async def _next(self):
        if not self.steps:
            self.told.set()
            await asyncio.Event().wait()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def listed(version, *items, more=None):
    return {"metadata": {"resourceVersion": str(version), **({"continue": more} if more else {})}, "items": list(items)}


@pytest.fixture
def follow(monkeypatch):
    monkeypatch.setattr("cube_oauth.kube.watch.FIRST_PAUSE", 0)

    async def run(*steps, parse=lambda found: found.get("value"), then=lambda mirror: None):
        script, seen = Script(*steps), []
        mirror = Mirror(script, SECRETS, parse, namespace="ns", changed=lambda key, new, old: seen.append((key[1], new, old)))
        task = asyncio.create_task(mirror.run())
        await script.told.wait()
        then(mirror)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return mirror, seen, script

    return run


async def test_a_list_of_several_pages_is_one_list(follow):
    mirror, seen, script = await follow(listed(5, item("a", 1, value=1), more="next"), listed(5, item("b", 2, value=2)))
    assert mirror.objects == {("ns", "a"): 1, ("ns", "b"): 2}
    assert script.asked[1]["continue"] == "next"
    assert seen == [("a", 1, None), ("b", 2, None)]


async def test_a_watch_goes_on_where_the_last_one_ended(follow):
    events = [{"type": "MODIFIED", "object": item("a", 6, value=2)}, {"type": "BOOKMARK", "object": item("", 9)}]
    mirror, _, script = await follow(listed(5, item("a", 1, value=1)), events, [])
    assert mirror[("ns", "a")] == 2
    assert [query.get("resourceVersion") for query in script.asked] == [None, "5", "9", "9"]


async def test_a_copy_knows_its_newest_change_and_how_far_it_has_come(follow):
    mirror, _, _ = await follow(listed(5, item("a", 1, value=1)))
    assert (mirror.newest, mirror.reached) == (1, 5)
    mirror, _, _ = await follow(listed(5, item("a", 1, value=1)), [{"type": "DELETED", "object": item("a", 7)}])
    assert (mirror.newest, mirror.reached) == (7, 7)
    mirror, _, _ = await follow(listed(5, item("a", 1, value=1)), [{"type": "BOOKMARK", "object": item("", 9)}])
    assert (mirror.newest, mirror.reached) == (1, 9)
    forgotten = [{"type": "ERROR", "object": {"code": 410}}]
    mirror, _, _ = await follow(
        listed(5, item("a", 1, value=1), item("b", 2, value=2)), forgotten, listed(9, item("a", 1, value=1))
    )
    assert (mirror.newest, mirror.reached) == (2, 9), "no watch will tell others of the list's own version"


async def test_what_a_watch_forgot_is_listed_anew_and_what_is_missing_is_gone(follow):
    forgotten = [{"type": "ERROR", "object": {"code": 410}}]
    mirror, seen, _ = await follow(listed(5, item("a", 1, value=1), item("b", 2, value=2)), forgotten, KubeError(0, "x", "y"))
    assert set(mirror.objects) == {("ns", "a"), ("ns", "b")}  # a failed list says nothing
    mirror, seen, _ = await follow(
        listed(5, item("a", 1, value=1), item("b", 2, value=2)), forgotten, listed(9, item("b", 2, value=2))
    )
    assert set(mirror.objects) == {("ns", "b")}
    assert seen[-1] == ("a", None, 1)


async def test_a_list_that_brings_nothing_new_changes_nothing(follow):
    same = listed(5, item("a", 1, value=1))
    _, seen, _ = await follow(same, KubeError(0, "x", "y"), same)
    assert seen == [("a", 1, None)]


async def test_what_we_wrote_ourselves_is_not_overwritten_by_what_the_watch_had_on_its_way(follow):
    late = [{"type": "MODIFIED", "object": item("a", 6, value="old")}]
    script, seen = Script(listed(5, item("a", 1, value=1))), []
    mirror = Mirror(script, SECRETS, lambda found: found["value"], namespace="ns", changed=lambda *change: seen.append(change))
    task = asyncio.create_task(mirror.run())
    await mirror.synced.wait()
    mirror.put(item("a", 7, value="ours"))
    task.cancel()
    script.steps = [listed(6, item("a", 6, value="old")), late]
    script.told.clear()
    task = asyncio.create_task(mirror.run())
    await script.told.wait()
    assert mirror[("ns", "a")] == "ours"
    task.cancel()


async def test_what_we_made_ourselves_survives_a_list_that_began_before(follow):
    mirror, _, _ = await follow(listed(5), then=lambda mirror: mirror.put(item("a", 7, value="ours")))
    mirror._api.steps = [listed(6)]
    with suppress(TimeoutError):
        await asyncio.wait_for(mirror.run(), 0.05)
    assert mirror[("ns", "a")] == "ours"


async def test_what_we_were_told_is_gone_is_gone(follow):
    mirror, seen, _ = await follow(listed(5, item("a", 1, value=1)), then=lambda mirror: mirror.discard(("ns", "a")))
    assert mirror.objects == {}
    assert seen[-1] == ("a", None, 1)


async def test_what_cannot_be_parsed_is_left_out_and_what_it_was_before_is_gone(follow):
    def parse(found):
        if found["value"] == "damaged":
            raise ValueError("damaged")
        return found["value"]

    events = [{"type": "MODIFIED", "object": item("a", 6, value="damaged")}]
    mirror, seen, _ = await follow(listed(5, item("a", 1, value=1)), events, parse=parse)
    assert mirror.objects == {}
    assert seen[-1] == ("a", None, 1)


async def test_a_watch_that_is_refused_after_each_list_is_tried_again_with_growing_pauses(monkeypatch):
    pauses, refused = [], KubeError(403, "Forbidden", "WATCH")

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr("cube_oauth.kube.watch.asyncio.sleep", sleep)
    monkeypatch.setattr("cube_oauth.kube.watch.time", SimpleNamespace(monotonic=lambda: 0.0))
    script = Script(*[listed(5), refused] * 9)
    task = asyncio.create_task(Mirror(script, SECRETS, lambda found: found, namespace="ns").run())
    await script.told.wait()
    task.cancel()
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
