"""Grants: a code is redeemed once, also when the provider has to be asked further and cannot be."""

import base64
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from cube_oauth.controller.apps import Client
from cube_oauth.controller.budget import Budget
from cube_oauth.controller.calls import Calls
from cube_oauth.controller.grants import CLAIM, Grants
from cube_oauth.controller.inventory import Inventory
from cube_oauth.controller.keys import Keys
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.tokens import TokenStore
from cube_oauth.kube.api import SECRETS, USER_CREDENTIALS, KubeError
from cube_oauth.lifecycle.decide import origin
from cube_oauth.providers import ClientCredentials, Endpoints, Kind, ProviderError
from cube_oauth.providers.answers import HTTPAnswer, token_answer
from cube_oauth.providers.presets import SUBJECTS, Exchange
from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.meta import rfc3339
from cube_oauth.resources.oauthapp import SubjectSource
from cube_oauth.resources.secrets import Grant, Reference, grant_secret
from tests.unit.controller.clocks import START, StoppedClock
from tests.unit.controller.fakes import FakeApi
from tests.unit.lifecycle.samples import SECOND, TOKEN_URL, app, credential, token

KEYS = Keys(Keyring.generate(), Keyring.generate(), SealingKey.generate())
NAMESPACE, KEY = "tokens", ("tokens", "grant-1")
ANSWER = {"access_token": "canary-access", "refresh_token": "canary-refresh", "expires_in": 600, "username": "ALICE"}
BAD_WEATHER = ProviderError(Kind.WEATHER, "ProviderUnavailable", "later")
WAITS = ("Unknown", "ProviderUnavailable")


class FakeProvider:
    """Counts; ``problems`` are raised by the next questions who it was."""

    def __init__(self):
        self.codes, self.asked, self.revoked, self.problems, self.refuses_code = [], [], [], [], None
        self.aside, self.replaced = [], []
        self.says = {"sub": "7", "preferred_username": "alice"}

    async def exchange_code(self, endpoints, client, *, code, **_):
        self.codes.append(code.get_secret_value())
        if self.refuses_code:
            raise self.refuses_code
        return token_answer(HTTPAnswer(200, "application/json", json.dumps(ANSWER).encode()))

    async def userinfo(self, endpoints, access_token, *, within=None):
        self.asked.append(access_token.get_secret_value())
        if self.problems:
            raise self.problems.pop(0)
        return self.says

    async def exchange_token(self, endpoints, client, answer, *, within=None):
        self.asked.append(answer.access_token.get_secret_value())
        if self.problems:
            raise self.problems.pop(0)
        return replace(answer, access_token=SecretStr("the-warehouses"), expires_in=timedelta(hours=1))

    async def at_once(self, token, reason):
        """What the revocations are told."""
        self.revoked.append(KEYS.refresh.open(token.refresh_token, token.record.owner).get_secret_value())

    async def give_back(self, token, reason):
        self.aside.append(token.record.grant)

    def removed(self, token):
        self.replaced.append(token.record.grant)


class FakeApps:
    def __init__(self):
        self.source, self.exchange, self.refusals, self.accepts = SubjectSource.USER_INFO, None, [], False

    async def client(self, key):
        asked = {"subject": SUBJECTS[self.source], "subject_url": "https://idp/me" if SUBJECTS[self.source].asks else None}
        return Client(Endpoints("https://idp/a", TOKEN_URL, exchange=self.exchange, **asked), ClientCredentials("cube"))

    def accepted(self, key):
        pass

    def answered(self, key):
        pass

    def blames_person(self, key, uid):
        return self.accepts

    def refused(self, key, problem):
        self.refusals.append(problem.reason)

    def in_trouble(self, key, problem):
        pass


class FakeCredentials:
    """Remembers how authorizations went."""

    def __init__(self):
        self.said = []

    def authorized(self, uid, condition):
        self.said.append((condition.status, condition.reason))


class FakeEvents:
    def warning(self, *_):
        pass


class Bench:
    def __init__(self):
        self.api, self.clock, self.provider, self.apps = FakeApi(), StoppedClock(), FakeProvider(), FakeApps()
        self.credentials, self.inventory, self.saw = FakeCredentials(), Inventory(), []
        self.inventory.take_app(app())
        sample = credential()
        body = {"metadata": sample.metadata.to_json(), "spec": sample.spec.to_json()}
        self.api.store(USER_CREDENTIALS.path("team", "trino-alice"), body)
        self.tokens = TokenStore(self.api, NAMESPACE, lambda new, old: None)
        self.start()
        self.deposit()

    def start(self):
        """A controller without a memory."""
        metrics, budget = Metrics(CollectorRegistry()), Budget()
        self.budget = budget
        self.grants = Grants(
            self.api,
            NAMESPACE,
            self.inventory,
            self.apps,
            self.tokens,
            self.credentials,
            self.provider,
            Calls(self.apps, budget, metrics, self.clock),
            KEYS,
            self.provider,
            budget,
            FakeEvents(),
            metrics,
            self.clock,
            found=lambda key: None,
            decided=lambda key: None,
            saw=self.saw.append,
        )
        if self.stored():
            self.grants.mirror.put(self.stored())

    def deposit(self, key=KEY, after=timedelta(0), skew=timedelta(0)):
        grant = Grant(
            credential=Reference(namespace="team", name="trino-alice", uid="uid-1"),
            app=Reference(namespace="team", name="trino", uid="uid-app"),
            username="alice",
            code="the-code",
            redirect_uri="https://portal.example.com/callback/team/trino",
            token_url=TOKEN_URL,
            client_id="cube",
            issued_at=START + after + skew,
        )
        body = grant_secret(key[1], NAMESPACE, KEYS.grant.seal(SecretStr(grant.model_dump_json(by_alias=True))))
        body["metadata"] |= {"uid": f"uid-{key[1]}", "creationTimestamp": rfc3339(START + after)}
        self.grants.mirror.put(self.api.store(SECRETS.path(*key), body))

    def stored(self):
        return self.api.objects.get(SECRETS.path(*KEY))

    async def look(self, **later):
        await self.clock.turn(**(later or {"seconds": 0}))
        return await self.grants.reconcile(KEY)

    @property
    def token(self):
        return self.tokens.get("uid-1")


@pytest.fixture
def bench():
    return Bench()


async def test_a_credential_that_is_read_for_a_grant_is_told_as_if_the_watch_had_brought_it(bench):
    await bench.look()
    assert [one.metadata.name for one in bench.saw] == ["trino-alice"]


async def test_what_userinfo_says_is_the_subject(bench):
    await bench.look()
    assert (bench.provider.codes, bench.provider.asked) == (["the-code"], ["canary-access"])
    assert (bench.token.record.subject, bench.credentials.said) == ("alice", [("True", "Authorized")])
    assert bench.stored() is None


async def test_what_a_sign_in_replaces_is_given_up_also_what_came_while_it_was_written(bench):
    bench.inventory.apps[("team", "trino")] = app(revokeReplaced="Always")

    def sign_in(grant):
        known = bench.tokens.get("uid-1")
        made = replace(token(grant=grant), resource_version=known.resource_version if known else None)
        bench.api.store(SECRETS.path(NAMESPACE, made.name), made.to_kubernetes(NAMESPACE))

    def meanwhile():
        if bench.provider.aside == ["before"]:
            bench.api.before_write = lambda: None
            sign_in("in another tab")

    sign_in("before")
    await bench.tokens.reread("uid-1")
    bench.api.before_write = meanwhile
    await bench.look()
    assert bench.token.record.grant not in ("before", "in another tab")
    assert bench.provider.replaced == bench.provider.aside == ["before", "in another tab"]


@pytest.mark.parametrize(("policy", "given_up"), [("Always", 1), ("Never", 0)])
async def test_a_sign_in_that_had_to_wait_does_not_replace_a_later_one(bench, policy, given_up):
    bench.inventory.apps[("team", "trino")] = app(revokeReplaced=policy)
    bench.provider.problems = [BAD_WEATHER]
    again = await bench.look()
    bench.deposit((NAMESPACE, "grant-2"), after=20 * SECOND, skew=-120 * SECOND)  # by a portal whose clock is late
    await bench.clock.turn(seconds=25)
    await bench.grants.reconcile((NAMESPACE, "grant-2"))
    later = bench.token.record.grant
    said = list(bench.credentials.said)
    await bench.look(seconds=(again - bench.clock.now()).total_seconds() + 60)
    assert (bench.token.record.grant, bench.token.record.signed_in_at) == (later, START + 20 * SECOND)
    assert len(bench.provider.aside) == given_up
    assert bench.credentials.said == said, "how the later one went is what counts"
    assert bench.stored() is None


async def test_another_person_is_refused_and_the_token_revoked_at_once(bench):
    bench.provider.says = {"sub": "bob"}
    await bench.look()
    assert (bench.provider.revoked, bench.credentials.said) == (["canary-refresh"], [("False", "SubjectDiffers")])
    assert (bench.token, bench.stored()) == (None, None)


async def test_in_bad_weather_the_answer_is_kept_and_the_code_is_not_redeemed_again(bench):
    bench.provider.problems = [BAD_WEATHER, BAD_WEATHER]
    again = await bench.look()
    assert again > START
    assert (bench.provider.revoked, bench.credentials.said, bench.token) == ([], [WAITS], None)
    while bench.token is None:
        again = await bench.look(seconds=(again - bench.clock.now()).total_seconds())
    assert (bench.provider.codes, len(bench.provider.asked)) == (["the-code"], 3)


async def test_what_is_kept_is_sealed(bench):
    bench.provider.problems = [BAD_WEATHER]
    await bench.look()
    assert set(bench.stored()["data"]) == {"grant", "claimedUntil", "answer", "answeredAt"}
    assert "canary" not in json.dumps(bench.stored())


async def test_a_token_counts_from_when_it_was_given_not_from_when_it_was_asked_about(bench):
    bench.provider.problems = [BAD_WEATHER]
    await bench.look()
    await bench.look(seconds=60)
    assert (bench.token.record.issued_at, bench.token.record.expires_at) == (START, START + timedelta(seconds=600))


async def test_a_successor_goes_on_with_what_was_kept(bench):
    bench.provider.problems = [BAD_WEATHER]
    await bench.look()
    bench.start()
    await bench.look(seconds=60)
    assert (bench.provider.codes, bench.token.record.subject) == (["the-code"], "alice")


async def test_between_attempts_there_is_a_pause_even_though_our_own_write_is_seen(bench):
    bench.provider.problems = [BAD_WEATHER] * 5
    again = await bench.look()
    assert await bench.look() == again
    assert len(bench.provider.asked) == 1


async def test_the_pauses_grow_so_that_ten_minutes_are_no_storm(bench):
    bench.provider.problems = [BAD_WEATHER] * 1000
    again = await bench.look()
    while again is not None:
        again = await bench.look(seconds=(again - bench.clock.now()).total_seconds())
    assert len(bench.provider.asked) < 30


async def test_after_ten_minutes_the_person_is_asked_to_connect_again_and_the_token_revoked(bench):
    bench.provider.problems = [BAD_WEATHER]
    await bench.look()
    await bench.look(minutes=11)
    assert (bench.provider.revoked, bench.credentials.said) == (["canary-refresh"], [WAITS, ("False", "AuthorizationIncomplete")])
    assert bench.stored() is None


async def test_a_person_who_disconnected_meanwhile_leaves_no_token_behind(bench):
    bench.provider.problems = [BAD_WEATHER]
    await bench.look()
    del bench.api.objects[USER_CREDENTIALS.path("team", "trino-alice")]
    await bench.look(seconds=60)
    assert (bench.provider.revoked, bench.stored()) == (["canary-refresh"], None)


async def test_who_gives_up_while_many_wait_for_the_provider_leaves_no_place_in_the_line_behind(bench):
    place = origin(TOKEN_URL)
    for number in range(1000):
        bench.budget.reserve(place, 1, number, bench.clock.now(), urgent=True)
    assert await bench.look() > bench.clock.now()
    assert bench.budget.waiting(bench.clock.now()) == {("team", "trino"): 1}
    del bench.api.objects[USER_CREDENTIALS.path("team", "trino-alice")]
    await bench.look()
    assert bench.stored() is None
    assert bench.budget.waiting(bench.clock.now()) == {}


async def test_when_the_answer_cannot_be_kept_bad_weather_costs_the_sign_in_but_leaves_no_token(bench):
    bench.provider.problems = [BAD_WEATHER]
    writes = []
    bench.api.before_write = lambda: writes.append(1) or bench.api.faults.extend([KubeError(500, "x", "PUT")] * (len(writes) == 2))
    await bench.look()
    assert (bench.provider.revoked, bench.credentials.said) == (["canary-refresh"], [("False", "AuthorizationIncomplete")])


async def test_a_provider_that_does_not_tell_refuses_the_person_and_leaves_the_app_alone(bench):
    bench.provider.problems = [ProviderError(Kind.APP, "SubjectNotTold", "it does not")]
    await bench.look()
    assert (bench.provider.revoked, bench.credentials.said) == (["canary-refresh"], [("False", "SubjectNotTold")])
    assert bench.apps.refusals == []


@pytest.mark.parametrize("accepts", [False, True])
async def test_a_refusal_of_the_client_is_said_at_the_app_unless_it_is_about_the_person(bench, accepts):
    bench.provider.refuses_code = ProviderError(Kind.APP, "InvalidRequest", "malformed")
    bench.apps.accepts = accepts
    await bench.look()
    assert bench.apps.refusals == ([] if accepts else ["InvalidRequest"])
    assert bench.credentials.said == [("False", "InvalidRequest")]


@pytest.mark.parametrize(("reason", "slower"), [("ProviderUnavailable", False), ("RateLimited", True), ("Timeout", True)])
async def test_a_provider_that_breaks_on_one_code_is_not_asked_less_for_that(bench, reason, slower):
    bench.provider.refuses_code = ProviderError(Kind.WEATHER, reason, "later")
    await bench.look()
    assert (bench.budget.speed(origin(TOKEN_URL)) < 1) is slower


async def test_a_provider_that_says_nothing_connects_and_the_condition_says_so(bench):
    bench.apps.source = SubjectSource.ID_TOKEN
    await bench.look()
    assert (bench.token.record.subject, bench.credentials.said) == (None, [("True", "SubjectUnknown")])


async def test_an_app_that_does_not_ask_costs_no_further_write(bench):
    bench.apps.source = SubjectSource.NONE
    await bench.look()
    assert [method for method, path in bench.api.writes if path == SECRETS.path(*KEY)] == ["PUT", "DELETE"]
    assert bench.credentials.said == [("True", "Authorized")]


async def test_two_controllers_never_redeem_the_same_code(bench):
    elsewhere = {**bench.stored(), "data": {**bench.stored()["data"], "claimedUntil": ""}}
    bench.api.store(SECRETS.path(*KEY), elsewhere)  # theirs; our copy has not heard of it
    with pytest.raises(KubeError):
        await bench.look()
    assert bench.provider.codes == []


async def test_a_claim_of_somebody_else_is_waited_for(bench):
    until = (START + CLAIM).isoformat()
    data = {**bench.stored()["data"], "claimedUntil": base64.b64encode(until.encode()).decode()}
    bench.grants.mirror.put(bench.api.store(SECRETS.path(*KEY), {**bench.stored(), "data": data}))
    assert await bench.look() == START + CLAIM
    assert bench.provider.codes == []


@pytest.mark.parametrize("their_clock", [-120, 0, 120])
async def test_a_claim_of_somebody_whose_clock_differs_is_waited_for_as_long_as_by_ours(bench, their_clock):
    until = START + timedelta(seconds=their_clock) + CLAIM
    data = {**bench.stored()["data"], "claimedUntil": base64.b64encode(until.isoformat().encode()).decode()}
    bench.grants.mirror.put(bench.api.store(SECRETS.path(*KEY), {**bench.stored(), "data": data}))
    assert await bench.look() == START + max(CLAIM, CLAIM + timedelta(seconds=their_clock))
    assert await bench.look(seconds=CLAIM.total_seconds() - 1) is not None
    assert bench.provider.codes == []
    await bench.look(seconds=122)
    assert bench.provider.codes == ["the-code"]


async def test_a_process_that_slept_after_its_claim_redeems_no_code(bench):
    def sleep():
        bench.clock._now = START + timedelta(seconds=18)
        bench.api.before_write = lambda: None

    bench.api.before_write = sleep
    again = await bench.look()
    assert bench.provider.codes == []
    await bench.look(seconds=(again - bench.clock.now()).total_seconds())
    assert bench.provider.codes == ["the-code"]


# ---- a token exchange


@pytest.fixture
def exchanging(bench):
    bench.apps.source, bench.apps.exchange = SubjectSource.NONE, Exchange("https://warehouse.example.com/oauth/token")
    return bench


def opened(bench):
    record = bench.token.record
    access, refresh = KEYS.access.open(bench.token.access_token, record.owner), bench.token.refresh_token
    return access.get_secret_value(), KEYS.refresh.open(refresh, record.owner).get_secret_value()


async def test_the_stored_access_token_is_the_warehouses_with_its_own_lifetime(exchanging):
    await exchanging.look()
    assert opened(exchanging) == ("the-warehouses", "canary-refresh")
    assert exchanging.token.record.expires_at == START + timedelta(hours=1)
    assert exchanging.token.record.exchange_url == "https://warehouse.example.com/oauth/token"


async def test_an_exchange_in_bad_weather_is_tried_again_without_redeeming_the_code_again(exchanging):
    exchanging.provider.problems = [BAD_WEATHER]
    await exchanging.look()
    assert exchanging.token is None
    await exchanging.look(seconds=60)
    assert (exchanging.provider.codes, opened(exchanging)[0]) == (["the-code"], "the-warehouses")
    assert exchanging.token.record.expires_at == START + timedelta(seconds=60, hours=1)


async def test_a_person_whom_the_warehouse_does_not_know_is_refused_and_revoked(exchanging):
    exchanging.provider.problems = [ProviderError(Kind.USER, "TokenNotExchanged", "not here")]
    await exchanging.look()
    assert (exchanging.provider.revoked, exchanging.credentials.said) == (["canary-refresh"], [("False", "TokenNotExchanged")])


async def test_whoever_is_refused_has_nothing_exchanged(exchanging):
    exchanging.apps.source, exchanging.provider.says = SubjectSource.USER_INFO, {"sub": "bob"}
    await exchanging.look()
    assert exchanging.provider.asked == ["canary-access"]  # by userinfo alone
    assert exchanging.credentials.said == [("False", "SubjectDiffers")]
