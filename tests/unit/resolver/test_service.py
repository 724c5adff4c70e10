"""What the sidecar answers from memory, and what it asks. The broker is a fake; time is an argument."""

import asyncio
import json

import pytest

from cube_oauth.resolver.answers import Answer, Caller, Memory
from cube_oauth.resolver.errors import BrokerUnreachableError, ForbiddenError
from cube_oauth.resolver.metrics import Metrics
from cube_oauth.resolver.service import Resolver

ALICE = Caller("alice", "https://idp.example.com", "a.b.c")
BOB = Caller("bob", None, None)
START = 1_800_000_000.0  # 2027-01-15T08:00:00Z
ENDS_IN_A_MINUTE = "2027-01-15T08:01:00Z"


def body(revision=1, expires=ENDS_IN_A_MINUTE, **more):
    entry = {
        "status": "active",
        "reason": "Active",
        "accessToken": "t",
        "expiresAt": expires,
        "revision": revision,
        "fallback": "Deny",
    }
    return json.dumps({"username": "alice", "credentials": {"trino": {**entry, **more}}}).encode()


class Broker:
    """Answers when it is let; remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.answer = body()
        self.open = asyncio.Event()
        self.open.set()

    async def resolve(self, caller):
        self.asked.append(caller)
        answer = self.answer
        await self.open.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def invalidate(self, caller, data_source, revision):
        self.asked.append((caller, data_source, revision))
        return self.answer


class Setting:
    def __init__(self, outage=300):
        self.now = START
        self.broker = Broker()
        self.metrics = Metrics()
        self.resolver = Resolver(self.broker, outage, self.metrics, lambda: self.now)
        self.told = []
        self.resolver.listeners.add(self.told.append)

    async def entry(self, caller=ALICE):
        return json.loads(await self.resolver.resolve(caller))["credentials"]["trino"]

    def broker_away(self):
        self.broker.answer = BrokerUnreachableError("away")


@pytest.fixture
async def it():
    setting = Setting()
    setting.resolver.connected()
    setting.told.clear()
    yield setting
    setting.resolver.close()


async def until(true):
    async with asyncio.timeout(10):
        while True:
            if true():
                return
            await asyncio.sleep(0)


async def asked_for(it, number):
    await until(lambda: len(it.broker.asked) >= number)


async def test_while_the_stream_is_open_a_person_is_asked_for_once(it):
    for _ in range(3):
        assert (await it.entry())["accessToken"] == "t"
    assert it.broker.asked == [ALICE]


async def test_what_the_broker_itself_calls_stale_is_used_once(it):
    it.broker.answer = body()[:-1] + b',"stale":true}'
    for _ in range(2):
        assert json.loads(await it.resolver.resolve(ALICE))["stale"]
    assert len(it.broker.asked) == 2


async def test_without_a_stream_the_broker_is_asked_each_time():
    it = Setting()
    await it.entry()
    await it.entry()
    assert len(it.broker.asked) == 2


async def test_callers_at_the_same_time_share_one_request(it):
    it.broker.open.clear()
    waiting = [asyncio.create_task(it.entry()) for _ in range(20)]
    await asked_for(it, 1)
    it.broker.open.set()
    answers = await asyncio.gather(*waiting)
    assert len(it.broker.asked) == 1
    assert all(answer == answers[0] for answer in answers)


async def test_one_who_leaves_does_not_end_the_request_of_the_others(it):
    it.broker.open.clear()
    leaving, staying = (asyncio.create_task(it.entry()) for _ in range(2))
    await asked_for(it, 1)
    leaving.cancel()
    await asyncio.sleep(0)
    it.broker.open.set()
    assert (await staying)["status"] == "active"
    assert len(it.broker.asked) == 1


async def test_two_persons_and_two_issuers_are_kept_apart(it):
    await it.entry(ALICE)
    it.broker.answer = body(revision=2)
    assert (await it.entry(Caller("alice", "https://other.example.com", None)))["revision"] == 2
    assert (await it.entry(ALICE))["revision"] == 1
    assert (await it.entry(BOB))["revision"] == 2


async def test_a_change_is_obeyed_and_passed_on(it):
    await it.entry()
    it.broker.answer = body(revision=2)
    it.resolver.changed("alice")
    assert it.told == ["alice"]
    assert (await it.entry())["revision"] == 2


async def test_a_change_of_somebody_else_leaves_memory_alone(it):
    await it.entry()
    it.resolver.changed("bob")
    await it.entry()
    assert len(it.broker.asked) == 1


async def test_a_change_while_the_request_is_on_its_way_makes_it_ask_again(it):
    it.broker.open.clear()
    waiting = asyncio.create_task(it.entry())
    await asked_for(it, 1)
    it.broker.answer = body(revision=2)
    it.resolver.changed("alice")
    it.broker.open.set()
    assert (await waiting)["revision"] == 2
    assert (await it.entry())["revision"] == 2
    assert len(it.broker.asked) == 2


async def test_when_the_first_token_ends_the_broker_is_asked_again(it):
    await it.entry()
    it.now += 59
    await it.entry()
    assert len(it.broker.asked) == 1
    it.now += 1
    it.broker.answer = body(revision=2, expires="2027-01-15T09:00:00Z")
    assert (await it.entry())["revision"] == 2


async def test_a_token_that_ended_by_our_own_clock_is_withheld_whatever_the_broker_says(it):
    it.now += 60
    entry = await it.entry()
    assert entry == {"status": "expired", "reason": "Expired", "fallback": "Deny"}


async def test_after_an_interruption_everybody_is_asked_for_again(it):
    await it.entry()
    it.resolver.interrupted("closed")
    assert it.told == [None]
    it.resolver.connected()
    for _ in range(2):
        await it.entry()
    assert len(it.broker.asked) == 2


async def test_an_answer_on_its_way_when_the_stream_opens_is_asked_for_again():
    it = Setting()
    it.broker.open.clear()
    waiting = asyncio.create_task(it.entry())
    await asked_for(it, 1)
    it.broker.answer = body(revision=2)
    it.resolver.connected()
    it.broker.open.set()
    assert (await waiting)["revision"] == 2


async def test_without_stream_and_broker_memory_serves(it):
    await it.entry()
    it.resolver.interrupted("closed")
    it.broker_away()
    assert (await it.entry())["accessToken"] == "t"
    asked = len(it.broker.asked)
    assert (await it.entry())["accessToken"] == "t"
    assert len(it.broker.asked) == asked, "no caller waits for a timeout again"


async def test_an_outage_never_serves_an_ended_token(it):
    await it.entry()
    it.resolver.interrupted("closed")
    it.broker_away()
    await it.entry()
    it.now += 60
    assert "accessToken" not in await it.entry()


async def test_a_rotation_is_asked_for_and_what_was_known_serves_if_nobody_answers(it):
    await it.entry()
    it.resolver.rotated("alice")
    assert it.told == ["alice"]
    it.broker_away()
    assert (await it.entry())["revision"] == 1
    it.broker.answer = body(revision=2)
    assert (await it.entry())["revision"] == 2, "asked for again each time until there is an answer"


async def test_what_may_have_been_withdrawn_is_not_served_even_if_nobody_answers(it):
    await it.entry()
    it.resolver.rotated("alice")
    it.resolver.changed("alice")
    it.broker_away()
    with pytest.raises(BrokerUnreachableError):
        await it.entry()


async def test_an_answer_that_may_be_out_of_date_says_so(it):
    assert "stale" not in json.loads(await it.resolver.resolve(ALICE))
    it.resolver.rotated("alice")
    it.broker_away()
    assert json.loads(await it.resolver.resolve(ALICE))["stale"] is True


async def test_broker_lost_twice_in_a_row_is_one_outage(it):
    await it.entry()
    it.resolver.interrupted("closed")
    it.broker_away()
    it.now += 200
    it.resolver.connected()
    it.resolver.interrupted("closed")
    it.now += 100
    with pytest.raises(BrokerUnreachableError):
        await it.entry()


async def test_of_whom_nothing_is_known_there_is_no_answer_in_an_outage(it):
    it.broker_away()
    with pytest.raises(BrokerUnreachableError):
        await it.entry(BOB)


async def test_an_outage_is_served_for_the_configured_time_only():
    it = Setting(outage=30)
    it.resolver.connected()
    await it.entry()
    it.broker_away()
    it.resolver.interrupted("closed")
    it.now += 29
    assert (await it.entry())["accessToken"] == "t"
    it.now += 1
    with pytest.raises(BrokerUnreachableError):
        await it.entry()


async def test_a_refusal_by_the_broker_is_not_an_outage(it):
    await it.entry()
    it.resolver.interrupted("closed")
    it.broker.answer = ForbiddenError("not this pod")
    with pytest.raises(ForbiddenError):
        await it.entry()
    it.broker_away()
    with pytest.raises(BrokerUnreachableError):
        await it.entry()


async def test_an_invalidated_token_is_replaced_in_memory(it):
    await it.entry()
    it.broker.answer = body(revision=2)
    assert json.loads(await it.resolver.invalidate(ALICE, "trino", 1))["credentials"]["trino"]["revision"] == 2
    assert (await it.entry())["revision"] == 2
    assert it.broker.asked == [ALICE, (ALICE, "trino", 1)]


@pytest.mark.parametrize("answer", [b"", b"[]", b'{"credentials": 1}', b'{"credentials": {"a": null}}'])
async def test_an_unreadable_answer_counts_as_none(it, answer):
    it.broker.answer = answer
    with pytest.raises(BrokerUnreachableError):
        await it.entry()


def test_memory_is_bounded():
    memory, answer = Memory(people=2, issuers=2), Answer(b"{}", 0)
    for username in ("a", "b", "c"):
        memory.put((username, None), answer)
    assert [memory.get((username, None)) for username in ("a", "b", "c")] == [None, answer, answer]
    for issuer in ("x", "y", "z"):
        memory.put(("b", issuer), answer)
    assert memory.get(("b", None)) is None
    assert len(memory) == 2
