"""Events for people: each thing once."""

import asyncio
from contextlib import suppress

from cube_oauth.controller.events import WAITING, Events
from cube_oauth.resources.meta import ObjectMeta
from tests.unit.controller.clocks import StoppedClock, settle
from tests.unit.controller.fakes import FakeApi

ALICE = ObjectMeta(name="alice", namespace="team", uid="uid-alice")
BOB = ObjectMeta(name="bob", namespace="team", uid="uid-bob")


async def posted(tell, clock=None):
    api, clock = FakeApi(), clock or StoppedClock()
    events = Events(api, "me", clock, pace=0)
    running = asyncio.create_task(events.run())
    await tell(events, clock)
    for _ in range(100):
        await settle()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return [(event["regarding"]["name"], event["type"], event["reason"]) for event in api.objects.values()]


async def test_the_same_is_told_once_and_again_after_a_while():
    async def tell(events, clock):
        for _ in range(5):
            events.warning("UserCredential", ALICE, "Expired", "x")
        await clock.turn(minutes=9)
        events.warning("UserCredential", ALICE, "Expired", "x")
        await clock.turn(minutes=2)
        events.warning("UserCredential", ALICE, "Expired", "x")

    assert await posted(tell) == [("alice", "Warning", "Expired")] * 2


async def test_another_person_and_another_reason_are_told():
    async def tell(events, clock):
        events.normal("UserCredential", ALICE, "Connected", "x")
        events.warning("UserCredential", ALICE, "Expired", "x")
        events.normal("UserCredential", BOB, "Connected", "x")

    assert await posted(tell) == [("alice", "Normal", "Connected"), ("alice", "Warning", "Expired"), ("bob", "Normal", "Connected")]


async def test_what_was_dropped_in_a_flood_counts_as_not_told():
    async def tell(events, clock):
        for number in range(WAITING):
            events.normal("UserCredential", ObjectMeta(name="other", namespace="team", uid=str(number)), "Connected", "x")
        events.warning("UserCredential", ALICE, "Expired", "x")
        for _ in range(100):
            await settle()
        events.warning("UserCredential", ALICE, "Expired", "x")

    assert (await posted(tell)).count(("alice", "Warning", "Expired")) == 1


async def test_a_flood_is_bounded():
    async def tell(events, clock):
        for number in range(3 * WAITING):
            events.normal("UserCredential", ObjectMeta(name=f"a{number}", namespace="team", uid=str(number)), "Connected", "x")

    assert len(await posted(tell)) <= WAITING
