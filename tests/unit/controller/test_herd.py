"""Hundreds of credentials and one provider: restart, mass expiry, an outage and its end, counted on a stopped clock."""

import heapq
import itertools
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from cube_oauth.controller.apps import Client
from cube_oauth.controller.budget import Backoff, Budget
from cube_oauth.controller.calls import Calls
from cube_oauth.controller.credentials import Credentials
from cube_oauth.controller.inventory import Inventory, key_of
from cube_oauth.controller.keys import Keys
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.rotation import Rotation
from cube_oauth.controller.tokens import TokenStore
from cube_oauth.kube.api import SECRETS, USER_CREDENTIALS
from cube_oauth.lifecycle.decide import origin
from cube_oauth.providers import ClientCredentials, Endpoints, Kind, ProviderError, TokenAnswer
from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.secrets import Reference
from cube_oauth.resources.usercredential import UserCredential
from cube_oauth.settings import Installation
from tests.unit.controller.clocks import START, StoppedClock
from tests.unit.controller.fakes import FakeApi
from tests.unit.lifecycle.samples import HOUR, MINUTE, SECOND, TOKEN_URL, app, token

KEYS = Keys(Keyring.generate(), Keyring.generate(), SealingKey.generate())
INSTALLATION = Installation("co", "system", "tokens", ("team",), "https://portal.example.com")
PEOPLE, BUDGET, BURST = 200, 20, 3
DOWN = ProviderError(Kind.WEATHER, "ProviderUnavailable", "m")


class Everything:
    """What the controller's parts are told here, and what of it matters."""

    def known(self, key):
        return True

    ready = known

    def not_before(self, key, credential):
        return None

    async def client(self, key):
        return Client(Endpoints("https://idp/a", TOKEN_URL), ClientCredentials("cube"))

    def nothing(self, *_):
        pass

    async def set_aside(self, token, reason):
        pass

    accepted = refused = in_trouble = answered = warning = normal = removed = nothing


class World:
    """People who are due, one provider, and a clock that jumps to whatever comes next."""

    def __init__(self, people, **sample):
        self.api, self.clock, self.asked, self.down = FakeApi(), StoppedClock(), [], False
        self.inventory = Inventory()
        self.inventory.take_app(app(refresh={"requestsPerSecond": BUDGET}))
        self.start()
        for number in range(people):
            self.add(number, sample)
        self.due, self.order = [], itertools.count()
        self.wake_all()

    def start(self):
        """A controller without a memory."""
        everything, metrics, self.budget, backoff = Everything(), Metrics(CollectorRegistry()), Budget(), Backoff()
        self.tokens = TokenStore(self.api, "tokens", lambda new, old: None)
        calls = Calls(everything, self.budget, metrics, self.clock)
        parts = (self, calls, KEYS, None, backoff, everything, metrics, self.clock)
        rotation = Rotation(self.tokens, everything, *parts)
        inputs = (self.api, INSTALLATION, self.inventory, everything, self.tokens, KEYS, rotation, everything, self.budget, backoff)
        self.credentials = Credentials(*inputs, everything, self.clock, counted=everything.nothing, saw=self.saw)
        for body in self.api.objects.values():
            if body["kind"] == "Secret":
                self.tokens.mirror.put(body)

    def add(self, number, sample):
        meta = {"name": f"person-{number}", "namespace": "team", "uid": f"uid-{number}", "resourceVersion": "1"}
        body = {
            "metadata": meta,
            "spec": {"username": f"person-{number}", "oauthAppRef": {"name": "trino"}},
            "kind": "UserCredential",
        }
        self.api.store(USER_CREDENTIALS.path("team", meta["name"]), body)
        self.inventory.take_credential(UserCredential.model_validate(body))
        owner = Reference(namespace="team", name=meta["name"], uid=meta["uid"])
        made = token(credential=owner, username=meta["name"], **sample)
        sealed = KEYS.refresh.seal(SecretStr("r"), made.record.owner)
        made = replace(made, refresh_token=sealed, access_token=None, resource_version=None)
        self.tokens.mirror.put(self.api.store(SECRETS.path("tokens", made.name), made.to_kubernetes("tokens")))

    def saw(self, credential):
        """As the controller does, when the watch tells or an answer."""
        if self.inventory.take_credential(credential):
            heapq.heappush(self.due, (self.clock.now(), next(self.order), key_of(credential.metadata)))

    def wake_all(self):
        self.due = [(self.clock.now(), next(self.order), key) for key in self.inventory.credentials]

    async def refresh(self, endpoints, client, refresh_token, *, within=None):
        """The provider."""
        self.asked.append(self.clock.now())
        if self.down:
            raise DOWN
        return TokenAnswer(SecretStr("a"), SecretStr("r"), expires_in=HOUR)

    async def run(self, until):
        """As the queue does, until nothing is due before ``until``."""
        while self.due and self.due[0][0] <= until:
            when, _, key = heapq.heappop(self.due)
            self.clock._now = max(when, self.clock.now())
            again = await self.credentials.reconcile(key)
            if again is not None:
                heapq.heappush(self.due, (again, next(self.order), key))
        self.clock._now = until

    def most_in_a_second(self):
        """The largest number of requests in any second that begins with one."""
        ends, most = 0, 0
        for begins, moment in enumerate(self.asked):
            while ends < len(self.asked) and self.asked[ends] < moment + SECOND:
                ends += 1
            most = max(most, ends - begins)
        return most

    def by_minute(self):
        return Counter(int((moment - START).total_seconds() // 60) for moment in self.asked)


@pytest.fixture(autouse=True)
def _seeded(monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: (low + high) / 2)


async def test_a_mass_expiry_is_spread_over_the_budget_and_nobody_is_forgotten():
    world = World(PEOPLE, age=2 * HOUR)
    await world.run(START + 5 * MINUTE)
    assert len(world.asked) == PEOPLE
    assert world.most_in_a_second() <= BUDGET + BURST
    assert world.asked[-1] - world.asked[0] <= (PEOPLE / BUDGET + 1) * SECOND


async def test_a_restart_in_the_middle_of_it_opens_no_flood():
    world = World(PEOPLE, age=2 * HOUR)
    await world.run(START + 5 * SECOND)
    world.start()
    world.wake_all()
    await world.run(START + 5 * MINUTE)
    assert len(world.asked) == PEOPLE
    assert world.most_in_a_second() <= BUDGET + 2 * BURST  # one burst for each start


async def test_in_an_outage_a_provider_is_asked_now_and_then_and_when_it_is_back_more_and_more():
    world = World(PEOPLE, age=2 * HOUR)
    world.down = True
    await world.run(START + 10 * MINUTE)
    down = world.by_minute()
    assert max(down[minute] for minute in range(2, 10)) <= 13  # one in five seconds
    back = world.clock.now()
    world.down = False
    world.asked.clear()
    await world.run(back + 10 * MINUTE)
    assert len(world.asked) == PEOPLE
    first = [moment for moment in world.asked if moment < world.asked[0] + 5 * SECOND]
    assert len(first) <= BUDGET  # one success opens no flood
    assert world.most_in_a_second() <= BUDGET + BURST
    assert world.asked[-1] - back < 5 * MINUTE
    assert world.budget.speed(origin(TOKEN_URL)) == 1.0


async def test_a_provider_that_is_down_again_after_a_success_is_left_alone_again():
    world = World(PEOPLE, age=2 * HOUR)
    world.down = True
    await world.run(START + 2 * MINUTE)
    for _ in range(3):
        world.down = False
        known = len(world.asked)
        while len(world.asked) == known:
            await world.run(world.clock.now() + SECOND)
        world.down = True
        await world.run(world.clock.now() + MINUTE)
    world.asked = world.asked[-30:]
    assert world.most_in_a_second() <= 5


async def test_who_waits_for_a_sign_in_is_not_held_up_by_hundreds_of_refreshes():
    world = World(PEOPLE, age=2 * HOUR)
    await world.run(START + SECOND)
    now = world.clock.now()
    turns = []
    for person in range(5):
        turn = world.budget.reserve(origin(TOKEN_URL), BUDGET, f"grant-{person}", now, urgent=True)
        turns.append(turn)
        if turn <= now:
            world.budget.spend(f"grant-{person}")
    assert max(turns) <= now + SECOND
    await world.run(START + 5 * MINUTE)
    assert world.most_in_a_second() <= BUDGET + BURST


def test_what_is_urgent_takes_at_most_half_and_the_sum_is_the_budget():
    budget, asked = Budget(), []
    waiting = {f"refresh-{number}": False for number in range(300)} | {f"grant-{number}": True for number in range(300)}
    now = START
    while now < START + 10 * SECOND:
        for key, urgent in tuple(waiting.items()):
            if budget.reserve("https://idp:443", BUDGET, key, now, urgent=urgent) <= now:
                budget.spend(key)
                asked.append(urgent)
                del waiting[key]
        now += timedelta(milliseconds=10)
    assert BUDGET * 9 <= len(asked) <= BUDGET * 10 + 2 * BURST
    assert 0.4 <= sum(asked) / len(asked) <= 0.6
