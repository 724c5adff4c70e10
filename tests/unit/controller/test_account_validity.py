"""The promise of docs/service-accounts.md: the Secret beside Cube always holds a token that is good for a quarter of its life."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from cube_oauth.providers import TokenAnswer
from tests.unit.controller.accounts import DOWN, FETCHED, Bench
from tests.unit.controller.clocks import START

lifetimes = st.sampled_from([5, 30, 300, 3600]) | st.integers(min_value=5, max_value=4000)
shares = st.floats(min_value=0, max_value=3)
"""Moments and durations, in lifetimes."""
outages = st.lists(st.tuples(shares, st.floats(min_value=0, max_value=2)), max_size=3)


class Provider:
    """Gives tokens that live for ``lifetime``, except in outages; knows when each ends."""

    def __init__(self, clock, lifetime, outages):
        self.clock, self.lifetime, self.outages = clock, lifetime, outages
        self.ends, self.asked = {}, 0

    async def client_credentials(self, endpoints, client, parameters=None, *, within=None):
        self.asked += 1
        if any(begin <= self.clock.now() < end for begin, end in self.outages):
            raise DOWN
        token = f"token-{self.asked}"
        self.ends[token] = self.clock.now() + self.lifetime
        return TokenAnswer(SecretStr(token), None, expires_in=self.lifetime)

    def away_since(self, moment):
        """Whether there was an outage between then and now."""
        return any(begin <= self.clock.now() and end > moment for begin, end in self.outages)


class Story:
    """Lifetimes, one after the other, with a look at the target whenever something happens."""

    def __init__(self, lifetime, percent, outages):
        self.lifetime = timedelta(seconds=lifetime)
        self.bench = Bench()
        spans = [(START + self.lifetime * begin, START + self.lifetime * (begin + long)) for begin, long in outages]
        self.provider = self.bench.provider = Provider(self.bench.clock, self.lifetime, spans)
        self.bench.restart()
        self.bench.declare(FETCHED, refresh={"percentOfLifetime": percent, "requestsPerSecond": 10})

    async def run(self, restarts):
        clock, until = self.bench.clock, START + self.lifetime * 4
        events = sorted([*(START + self.lifetime * share for share in restarts), until])
        again = clock.now()
        while clock.now() < until:
            moment = min(again or events[0], events[0])
            await clock.turn(seconds=max((moment - clock.now()).total_seconds(), 0))
            self.check()
            if moment == events[0]:
                events.pop(0)
                self.bench.restart()
            again = await self.bench.look()
            self.check()

    def check(self):
        """A provider that was there for long enough has given a token that is good for long enough."""
        if not self.provider.ends or self.provider.away_since(self.bench.clock.now() - self.patience):
            return
        left = self.provider.ends[self.bench.target()["TOKEN"]] - self.bench.clock.now()
        assert left >= self.lifetime / 4, left

    @property
    def patience(self):
        """How long after an outage that may take: a twentieth of the lifetime, and what the budget makes of the failures before."""
        return min(self.lifetime / 20, timedelta(seconds=300)) + timedelta(seconds=10)


@settings(deadline=None)
@given(lifetimes, st.integers(min_value=10, max_value=95), outages, st.lists(shares, max_size=3))
async def test_the_target_always_holds_a_token_that_is_good_for_a_quarter_of_its_lifetime(lifetime, percent, away, restarts):
    await Story(lifetime, percent, away).run(restarts)
