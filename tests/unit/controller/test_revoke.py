"""What is to be revoked is written down first, and tried until it is done, or the token has ended by itself."""

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from cube_oauth.controller.apps import Client
from cube_oauth.controller.budget import Backoff, Budget
from cube_oauth.controller.calls import Calls
from cube_oauth.controller.inventory import Inventory
from cube_oauth.controller.keys import Keys
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.revoke import Revocations
from cube_oauth.controller.tokens import TokenStore
from cube_oauth.kube.api import KubeError
from cube_oauth.lifecycle.decide import origin
from cube_oauth.lifecycle.publish import withdrawn
from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.lifecycle.revoke import LONGEST, LONGEST_PAUSE, UNUSED
from cube_oauth.providers import ClientCredentials, Endpoints, Kind, ProviderError
from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.oauthapp import ClientAuthentication
from tests.unit.controller.clocks import START, StoppedClock
from tests.unit.controller.fakes import FakeApi
from tests.unit.lifecycle.samples import NOW, TOKEN_URL, token

KEYS = Keys(Keyring.generate(), Keyring.generate(), SealingKey.generate())
REVOKE_URL = "https://idp.example.com/revoke"
DOWN = ProviderError(Kind.WEATHER, "Unreachable", "m")


class Provider:
    def __init__(self):
        self.asked, self.audiences, self.problem = [], [], None

    async def revoke(self, endpoints, client, secret, hint="refresh_token"):
        self.audiences.append(endpoints.assertion_audience)
        known = client.secret.get_secret_value() if client.secret else None
        self.asked.append((endpoints.revocation_url, client.client_id, known, endpoints.client_authentication, secret, hint))
        if self.problem:
            raise self.problem


class Apps:
    def __init__(self):
        self.known = None

    async def client_of(self, record):
        return self.known

    def in_trouble(self, key, error):
        pass

    def answered(self, key):
        pass


class Bench:
    def __init__(self, api=None):
        self.api, self.provider, self.clock, self.apps = api or FakeApi(), Provider(), StoppedClock(), Apps()
        self.registry, self.looked_at = CollectorRegistry(), []
        self.tokens = TokenStore(self.api, "tokens", lambda new, old: None)
        metrics, budget, self.backoff = Metrics(self.registry), Budget(), Backoff()
        self.budget = budget
        calls = Calls(self.apps, budget, metrics, self.clock)
        self.revocations = Revocations(
            self.api,
            "tokens",
            Inventory(),
            self.apps,
            self.tokens,
            self.provider,
            calls,
            KEYS,
            budget,
            self.backoff,
            metrics,
            self.clock,
            found=self.looked_at.append,
        )

    def sample(self, refresh="the-refresh-token", **record):
        made = token(**{"revocation_url": REVOKE_URL, **record})
        sealed = KEYS.refresh.seal(SecretStr(refresh), made.record.owner) if refresh else None
        return replace(made, refresh_token=sealed, access_token=KEYS.access.seal(SecretStr("the-access-token"), made.record.owner))

    def pending(self):
        return [path for path in self.api.objects if "revoke-" in path]

    async def look(self):
        """At what was found last, as the queue would; when to look again."""
        return await self.revocations.reconcile(self.looked_at[-1])

    async def until_over(self, most=10_000):
        for _ in range(most):
            again = await self.look()
            if again is None:
                return
            self.clock._now = max(again, self.clock.now())
        raise AssertionError("never over")

    def counted(self, reason):
        labels = {"namespace": "team", "app": "trino", "reason": reason}
        return self.registry.get_sample_value("cube_oauth_controller_revocations_total", labels) or 0


@pytest.fixture
def bench():
    return Bench()


async def test_a_refresh_token_is_revoked_where_it_came_from_as_the_client_that_got_it(bench):
    await bench.revocations.set_aside(bench.sample(), "CredentialGone")
    await bench.look()
    url, client, secret, method, revoked, hint = bench.provider.asked[0]
    assert (url, client, secret, method, hint) == (REVOKE_URL, "cube", None, ClientAuthentication.NONE, "refresh_token")
    assert revoked.get_secret_value() == "the-refresh-token"
    assert (bench.pending(), bench.counted("Revoked")) == ([], 1)


async def test_without_a_refresh_token_the_access_token_is_revoked(bench):
    await bench.revocations.set_aside(bench.sample(refresh=None), "Suspended")
    await bench.look()
    *_, revoked, hint = bench.provider.asked[0]
    assert (revoked.get_secret_value(), hint) == ("the-access-token", "access_token")


async def test_it_is_written_down_before_anybody_is_asked_and_nothing_secret_is_readable(bench):
    bench.apps.known = Client(Endpoints("", TOKEN_URL), ClientCredentials("cube", SecretStr("the-client-secret")))
    await bench.revocations.set_aside(bench.sample(), "CredentialGone")
    assert bench.provider.asked == []
    assert len(bench.pending()) == 1
    assert not any(word in str(bench.api.objects) for word in ("the-refresh-token", "the-client-secret"))


async def test_an_outage_of_an_hour_costs_no_revocation(bench):
    await bench.revocations.set_aside(bench.sample(), "CredentialGone")
    bench.provider.problem = DOWN
    while bench.clock.now() < START + timedelta(hours=1):
        again = await bench.look()
        assert bench.clock.now() < again <= bench.clock.now() + LONGEST_PAUSE
        bench.clock._now = again
    bench.provider.problem = None
    await bench.until_over()
    assert bench.counted("Revoked") == 1
    assert len(bench.provider.asked) < 30


async def test_a_successor_does_what_was_written_down(bench):
    await bench.revocations.set_aside(bench.sample(), "CredentialGone")
    successor = Bench(bench.api)
    for body in tuple(bench.api.objects.values()):
        successor.revocations.mirror.put(body)
    await successor.look()
    assert len(successor.provider.asked) == 1
    assert bench.pending() == []


async def test_the_clients_secret_is_kept_for_it_when_the_app_and_its_secret_are_deleted_together(bench):
    endpoints = Endpoints("", TOKEN_URL, client_authentication=ClientAuthentication.POST)
    bench.apps.known = Client(endpoints, ClientCredentials("cube", SecretStr("the-client-secret")))
    await bench.revocations.set_aside(bench.sample(), "AppNotFound")
    bench.apps.known = None
    await bench.look()
    assert bench.provider.asked[0][1:4] == ("cube", "the-client-secret", ClientAuthentication.POST)


@pytest.mark.parametrize("gone", [False, True])
async def test_an_assertion_is_for_whom_the_app_says_also_when_that_is_gone(bench, gone):
    endpoints = Endpoints("", TOKEN_URL, assertion_audience="https://idp.example.com")
    bench.apps.known = Client(endpoints, ClientCredentials("cube", SecretStr("a key")))
    await bench.revocations.set_aside(bench.sample(), "AppNotFound")
    bench.apps.known = None if gone else bench.apps.known
    await bench.look()
    assert bench.provider.audiences == ["https://idp.example.com"]


async def test_a_corrected_secret_is_used_instead_of_the_one_that_was_kept(bench):
    bench.apps.known = Client(Endpoints("", TOKEN_URL), ClientCredentials("cube", SecretStr("wrong")))
    await bench.revocations.set_aside(bench.sample(), "CredentialGone")
    bench.apps.known = Client(Endpoints("https://elsewhere", "https://elsewhere"), ClientCredentials("cube", SecretStr("right")))
    await bench.look()
    assert bench.provider.asked[0][:3] == (REVOKE_URL, "cube", "right")


@pytest.mark.parametrize(
    ("what", "record", "given_up_after"),
    [
        ("when the refresh token has ended", {"refresh_token_expires_at": NOW + timedelta(days=2)}, timedelta(days=2)),
        ("after a week", {"refresh_token_expires_at": NOW + timedelta(days=90)}, LONGEST),
        ("after a week when its end is not known", {}, LONGEST),
    ],
)
async def test_it_is_given_up_and_said(bench, caplog, what, record, given_up_after):
    bench.provider.problem = DOWN
    await bench.revocations.set_aside(bench.sample(**record), "CredentialGone")
    await bench.until_over()
    assert bench.clock.now() == NOW + given_up_after
    assert (bench.pending(), bench.counted("GivenUp")) == ([], 1)
    said = [line for line in caplog.records if line.levelname == "WARNING" and getattr(line, "reason", "") == "GivenUp"]
    assert [line.credential for line in said] == ["trino-alice"]


@pytest.mark.parametrize(
    ("what", "sample"),
    [
        ("the provider has no endpoint for it", {"revocation_url": None}),
        ("the token has ended", {"refresh_token_expires_at": NOW}),
    ],
)
async def test_nothing_is_written_down_when(bench, what, sample):
    await bench.revocations.set_aside(bench.sample(**sample), "CredentialGone")
    assert bench.pending() == []


async def test_writing_it_down_twice_is_writing_it_down_once(bench):
    sample = bench.sample()
    await bench.revocations.set_aside(sample, "CredentialGone")
    await bench.revocations.set_aside(sample, "CredentialGone")
    assert len(bench.pending()) == 1


async def test_what_is_still_in_use_is_not_revoked_and_what_stays_in_use_is_forgotten(bench):
    stored = await bench.tokens.write(replace(bench.sample(), resource_version=None))
    await bench.revocations.set_aside(stored, "Replaced")
    await bench.until_over()
    assert (bench.provider.asked, bench.pending()) == ([], [])
    assert bench.clock.now() >= START + UNUSED


async def test_what_was_withdrawn_is_revoked_at_once(bench):
    stored = await bench.tokens.write(replace(bench.sample(), resource_version=None))
    await bench.revocations.set_aside(stored, "Suspended")
    await bench.tokens.write(withdrawn(stored, Reason.SUSPENDED))
    bench.revocations.removed(stored)
    await bench.look()
    assert (len(bench.provider.asked), bench.pending()) == (1, [])


async def test_what_nobody_ever_had_is_revoked_before_anything_else_and_by_one_only(bench):
    seen = []

    async def revoke(*_):
        seen.append(await bench.look())

    bench.provider.revoke = revoke
    await bench.revocations.at_once(bench.sample(), "SubjectDiffers")
    assert seen == [START + timedelta(seconds=1)]
    assert bench.pending() == []


async def test_what_exists_nowhere_else_is_written_down_however_long_that_takes(bench, monkeypatch):
    monkeypatch.setattr("cube_oauth.controller.revoke.FIRST_PAUSE", 0)
    bench.api.faults = [KubeError(500, "InternalError", "POST"), KubeError(0, "ClientConnectorError", "POST")]
    await bench.revocations.give_back(bench.sample(), "Overtaken")
    assert len(bench.pending()) == 1


async def test_a_wish_of_the_provider_to_be_left_alone_holds_for_all_of_its_tokens(bench):
    bench.provider.problem = ProviderError(Kind.WEATHER, "RateLimited", "m", retry_after=timedelta(minutes=5))
    await bench.revocations.set_aside(bench.sample(), "CredentialGone")
    await bench.look()
    await bench.revocations.set_aside(bench.sample(grant="two"), "CredentialGone")
    assert await bench.look() == START + timedelta(minutes=5)
    assert len(bench.provider.asked) == 1


async def test_a_revocation_endpoint_elsewhere_that_is_in_trouble_slows_no_refresh_down(bench):
    bench.provider.problem = ProviderError(Kind.WEATHER, "ProviderUnavailable", "m", retry_after=timedelta(minutes=5))
    await bench.revocations.set_aside(bench.sample(revocation_url="https://elsewhere.example.com/revoke"), "CredentialGone")
    await bench.look()
    assert bench.budget.speed(origin(TOKEN_URL)) == 1
    assert bench.budget.speed("https://elsewhere.example.com:443") < 1
    assert bench.backoff.not_before(origin(TOKEN_URL)) is None


async def test_thousands_are_revoked_within_the_budget(bench):
    asked = []
    bench.provider.revoke = lambda *_: note()

    async def note():
        asked.append(bench.clock.now())

    for number in range(200):
        await bench.revocations.set_aside(bench.sample(grant=str(number)), "CredentialGone")
    due = dict.fromkeys(bench.looked_at, START)
    while due:
        key = min(due, key=due.get)
        bench.clock._now = max(bench.clock.now(), due[key])
        again = await bench.revocations.reconcile(key)
        due = {**due, key: again} if again else {other: when for other, when in due.items() if other != key}
    for moment in asked:
        assert sum(moment <= other < moment + timedelta(seconds=1) for other in asked) <= 20 + 3
    assert origin(TOKEN_URL)
