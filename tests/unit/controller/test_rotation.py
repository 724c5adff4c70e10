"""Redeeming a refresh token: once, and never without keeping what came of it."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from cube_oauth.controller.apps import AppNotReadyError, Client
from cube_oauth.controller.budget import Backoff, Budget
from cube_oauth.controller.calls import Calls
from cube_oauth.controller.keys import Keys
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.rotation import Rotation, hashed_claim
from cube_oauth.controller.tokens import TokenStore
from cube_oauth.kube.api import SECRETS, KubeError
from cube_oauth.lifecycle.apps import NOT_FOUND
from cube_oauth.lifecycle.decide import Observed, state_of
from cube_oauth.lifecycle.publish import denied, ended, withdrawn
from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.providers import ClientCredentials, Endpoints, Kind, ProviderError, TokenAnswer
from cube_oauth.providers.errors import ACCESS_DENIED, BY_POLICY, REASONS, error
from cube_oauth.providers.presets import Exchange
from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.secrets import Claim
from cube_oauth.resources.usercredential import State
from tests.unit.controller.clocks import START, StoppedClock
from tests.unit.controller.fakes import FakeApi, FakeProvider, UnansweredError
from tests.unit.lifecycle.samples import TOKEN_URL, app, credential, token

KEYS = Keys(Keyring.generate(), Keyring.generate(), SealingKey.generate())
ENDPOINTS = Endpoints("https://idp/a", TOKEN_URL, revocation_url="https://idp/revoke")
NAMESPACE = "tokens"


class FakeApps:
    def __init__(self):
        self.refusals, self.problem, self.endpoints, self.serves_others = [], None, ENDPOINTS, False

    async def client(self, key):
        if self.problem:
            raise self.problem
        return Client(self.endpoints, ClientCredentials("cube"))

    def blames_one(self, key, error, credential):
        return self.serves_others

    def refused(self, key, error, credential):
        self.refusals.append(error.reason)

    def accepted(self, key, credential):
        pass

    def in_trouble(self, key, error):
        pass

    def answered(self, key):
        pass


class FakeRevocations:
    def __init__(self):
        self.unwanted = []

    async def give_back(self, token, reason):
        self.unwanted.append(KEYS.refresh.open(token.refresh_token, token.record.owner).get_secret_value())

    at_once = give_back


class FakeEvents:
    def warning(self, *_):
        pass


class Bench:
    def __init__(self, monkeypatch):
        monkeypatch.setattr("cube_oauth.controller.tokens.FIRST_PAUSE", 0)
        self.api, self.clock, self.apps, self.backoff = FakeApi(), StoppedClock(), FakeApps(), Backoff()
        self.provider = FakeProvider(TokenAnswer(SecretStr("new-access"), SecretStr("new-refresh"), expires_in=timedelta(hours=1)))
        self.tokens, self.revocations, self.app = TokenStore(self.api, NAMESPACE, lambda new, old: None), FakeRevocations(), app()
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        calls = Calls(self.apps, Budget(), metrics, self.clock)
        parts = (self.provider, calls, KEYS, self.revocations, self.backoff, FakeEvents(), metrics, self.clock)
        self.rotation = Rotation(self.tokens, self.apps, *parts)
        self.put(self.sample("old-refresh"))

    def sample(self, refresh, **record):
        made = token(**record)
        sealed = KEYS.refresh.seal(SecretStr(refresh), made.record.owner)
        access = KEYS.access.seal(SecretStr("old-access"), made.record.owner)
        return replace(made, refresh_token=sealed, access_token=access, resource_version=None)

    def put(self, made):
        """What somebody else writes; our copy hears of it only when ``hear`` is called."""
        return self.api.store(SECRETS.path(NAMESPACE, made.name), made.to_kubernetes(NAMESPACE))

    def hear(self):
        self.tokens.mirror.put(self.api.objects[SECRETS.path(NAMESPACE, "token-uid-1")])

    async def refresh(self):
        self.hear()
        seen = Observed(credential(), self.app, app_ready=True, token=self.tokens.get("uid-1"))
        await self.rotation.refresh(seen, None)

    async def stored(self):
        return await self.tokens.reread("uid-1")

    async def refresh_token(self):
        there = await self.stored()
        return KEYS.refresh.open(there.refresh_token, there.record.owner).get_secret_value() if there.refresh_token else None


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


async def test_a_refresh_writes_a_claim_then_asks_then_writes_the_answer(bench):
    claims = []
    bench.provider.meanwhile = lambda: claims.append("claim" in bench.api.objects[SECRETS.path(NAMESPACE, "token-uid-1")]["data"])
    await bench.refresh()
    assert claims == [True]
    assert bench.provider.redeemed == ["old-refresh"]
    assert [method for method, _ in bench.api.writes] == ["PUT", "PUT"]
    assert await bench.refresh_token() == "new-refresh"
    assert (await bench.stored()).claim is None


async def test_when_somebody_else_wrote_the_provider_is_not_asked(bench):
    bench.api.before_write = lambda: bench.put(bench.sample("other-refresh")) if not bench.api.writes else None
    await bench.refresh()
    assert bench.provider.redeemed == []
    assert await bench.refresh_token() == "other-refresh"


@pytest.mark.parametrize("fault", [KubeError(500, "InternalError", "PUT"), UnansweredError()])
async def test_when_the_claim_is_not_surely_written_the_provider_is_not_asked(bench, fault):
    bench.api.faults = [fault]
    with pytest.raises(KubeError):
        await bench.refresh()
    assert bench.provider.redeemed == []


async def test_a_process_that_slept_after_its_claim_does_not_ask(bench):
    bench.api.before_write = lambda: setattr(bench.clock, "_now", START + timedelta(seconds=25))
    await bench.refresh()
    assert bench.provider.redeemed == []


async def test_an_answer_that_cannot_be_written_is_written_later_and_nothing_is_redeemed_again(bench):
    refused = [
        KubeError(500, "InternalError", "PUT"),
        KubeError(0, "ClientConnectorError", "PUT"),
        KubeError(403, "Forbidden", "PUT"),
    ]
    bench.provider.meanwhile = lambda: bench.api.faults.extend(refused)
    await bench.refresh()
    assert bench.provider.redeemed == ["old-refresh"]
    assert await bench.refresh_token() == "new-refresh"


async def test_a_write_whose_answer_was_lost_counts_as_written(bench):
    bench.provider.meanwhile = lambda: bench.api.faults.append(UnansweredError())
    await bench.refresh()
    assert [method for method, _ in bench.api.writes] == ["PUT", "PUT"]
    assert (await bench.stored()).record.revision == 6
    assert bench.revocations.unwanted == []


async def test_what_changed_beside_our_claim_is_merged(bench):
    def relabel():
        there = bench.api.objects[SECRETS.path(NAMESPACE, "token-uid-1")]
        bench.api.store(SECRETS.path(NAMESPACE, "token-uid-1"), there)

    bench.provider.meanwhile = relabel
    await bench.refresh()
    assert await bench.refresh_token() == "new-refresh"


async def test_a_newer_sign_in_wins_and_what_we_got_is_revoked_where_that_spares_the_newer_one(bench):
    bench.app = app(revokeReplaced="Always")
    bench.provider.meanwhile = lambda: bench.put(bench.sample("of-the-new-sign-in", grant="two"))
    await bench.refresh()
    assert await bench.refresh_token() == "of-the-new-sign-in"
    assert bench.revocations.unwanted == ["new-refresh"]


async def test_what_we_got_is_not_revoked_when_that_may_end_the_newer_sign_in_too(bench):
    bench.provider.meanwhile = lambda: bench.put(bench.sample("of-the-new-sign-in", grant="two"))
    await bench.refresh()
    assert await bench.refresh_token() == "of-the-new-sign-in"
    assert bench.revocations.unwanted == []


async def test_what_came_for_a_deleted_credential_is_revoked(bench):
    bench.provider.meanwhile = bench.api.objects.clear
    await bench.refresh()
    assert bench.revocations.unwanted == ["new-refresh"]
    assert bench.api.objects == {}


def theirs(refresh_token, **changes):
    digest = hashlib.sha256(refresh_token.encode()).hexdigest()
    return Claim(id="theirs", refresh_token_hash=digest, deadline=START + timedelta(hours=1), **changes)


async def test_a_claim_of_somebody_else_over_ours_is_left_alone(bench):
    bench.provider.meanwhile = lambda: bench.put(replace(bench.sample("another"), claim=theirs("another")))
    await bench.refresh()
    assert (await bench.stored()).claim.id == "theirs"
    assert bench.revocations.unwanted == []


async def test_when_somebody_took_us_for_dead_and_claimed_what_we_had_redeemed_what_we_got_is_kept(bench):
    """Whoever came after us is refused, or sends nothing any more; without our answer nothing would be left."""
    bench.provider.meanwhile = lambda: bench.put(replace(bench.sample("old-refresh"), claim=theirs("old-refresh")))
    await bench.refresh()
    assert await bench.refresh_token() == "new-refresh"
    assert ((await bench.stored()).claim, bench.revocations.unwanted) == (None, [])


async def test_their_claim_stands_where_the_refresh_token_did_not_rotate(bench):
    bench.provider.answer = replace(bench.provider.answer, refresh_token=None)
    bench.provider.meanwhile = lambda: bench.put(replace(bench.sample("old-refresh"), claim=theirs("old-refresh")))
    await bench.refresh()
    assert (await bench.stored()).claim.id == "theirs"


async def test_whoever_sees_that_the_claim_is_gone_sends_nothing(bench):
    """Our copy of the Secret is looked at without a pause before the request."""

    write = bench.tokens.write

    async def write_and_pause(token):
        await write(token)
        bench.put(bench.sample("of-the-slow-one"))
        bench.hear()
        return token

    bench.tokens.write = write_and_pause
    await bench.refresh()
    assert bench.provider.redeemed == []
    assert await bench.refresh_token() == "of-the-slow-one"


async def test_when_somebody_took_us_for_dead_and_was_refused_what_we_got_is_kept(bench):
    """We could not write for longer than our claim; where a second redemption is only refused, our answer is all there is."""
    bench.provider.meanwhile = lambda: bench.put(ended(bench.sample("old-refresh"), "Revoked"))
    await bench.refresh()
    assert await bench.refresh_token() == "new-refresh"
    assert ((await bench.stored()).record.ended, bench.revocations.unwanted) == (None, [])


@pytest.mark.parametrize("reason", [Reason.SUSPENDED, Reason.APP_NOT_FOUND])
async def test_what_came_for_a_sign_in_that_was_withdrawn_meanwhile_is_revoked(bench, reason):
    bench.provider.meanwhile = lambda: bench.put(withdrawn(bench.sample("old-refresh"), reason))
    await bench.refresh()
    assert (await bench.refresh_token(), bench.revocations.unwanted) == (None, ["new-refresh"])


async def test_an_answer_that_repeats_the_refresh_token_changes_nothing_that_is_known_of_it(bench):
    end = START + timedelta(days=30)
    bench.put(bench.sample("old-refresh", refresh_token_expires_at=end))
    before = bench.api.objects[SECRETS.path(NAMESPACE, "token-uid-1")]["data"]["refreshToken"]
    bench.provider.answer = replace(bench.provider.answer, refresh_token=SecretStr("old-refresh"))
    await bench.refresh()
    assert (await bench.stored()).record.refresh_token_expires_at == end
    assert bench.api.objects[SECRETS.path(NAMESPACE, "token-uid-1")]["data"]["refreshToken"] == before


async def test_what_is_remembered_of_a_write_is_what_is_read_back(bench):
    bench.clock._now = START + timedelta(microseconds=123456)
    await bench.refresh()
    remembered = bench.tokens.get("uid-1")
    assert remembered == await bench.stored()


async def test_a_lifetime_is_counted_from_before_the_request_so_that_no_token_outlives_itself(bench):
    bench.provider.meanwhile = lambda: setattr(bench.clock, "_now", START + timedelta(seconds=9))
    await bench.refresh()
    assert (await bench.stored()).record.expires_at == START + timedelta(hours=1)


async def test_the_persons_error_ends_the_sign_in_and_keeps_the_access_token(bench):
    bench.provider.problem = ProviderError(Kind.USER, "InvalidGrant", "over")
    await bench.refresh()
    there = await bench.stored()
    assert (there.record.ended, there.refresh_token) == ("Revoked", None)
    assert there.access_token


async def test_the_end_of_an_old_sign_in_does_not_end_the_new_one(bench):
    bench.provider.problem = ProviderError(Kind.USER, "InvalidGrant", "over")
    bench.provider.meanwhile = lambda: bench.put(bench.sample("of-the-new-sign-in", grant="two"))
    await bench.refresh()
    assert await bench.refresh_token() == "of-the-new-sign-in"
    assert (await bench.stored()).record.ended is None


async def test_the_apps_error_is_said_there_and_the_credential_is_left_alone(bench):
    bench.provider.problem = ProviderError(Kind.APP, "InvalidClient", "wrong secret")
    await bench.refresh()
    assert bench.apps.refusals == ["InvalidClient"]
    assert await bench.refresh_token() == "old-refresh"
    assert (await bench.stored()).record.ended is None


async def test_what_the_provider_has_against_one_credential_holds_up_no_other(bench):
    bench.apps.serves_others = True
    bench.provider.problem = ProviderError(Kind.APP, "InvalidScope", "not for this one")
    await bench.refresh()
    assert bench.apps.refusals == []
    assert bench.backoff.not_before(("team", "trino-alice")) > START
    assert ((await bench.stored()).record.ended, await bench.refresh_token()) == (None, "old-refresh")


async def test_bad_weather_makes_a_pause(bench):
    bench.provider.problem = ProviderError(Kind.WEATHER, "RateLimited", "later", retry_after=timedelta(minutes=5))
    await bench.refresh()
    assert bench.backoff.not_before(("team", "trino-alice")) > START
    assert bench.backoff.not_before("https://idp.example.com:443") == START + timedelta(minutes=5)
    assert await bench.refresh_token() == "old-refresh"


@pytest.mark.parametrize(
    ("what", "problem", "released"),
    [
        ("an answer came", ProviderError(Kind.WEATHER, "ProviderUnavailable", "m"), True),
        ("it was never sent", ProviderError(Kind.WEATHER, "Timeout", "m", sent=False), True),
        ("nobody knows whether it was served", ProviderError(Kind.WEATHER, "Timeout", "m"), False),
        ("the connection broke", ProviderError(Kind.WEATHER, "ConnectionLost", "m"), False),
    ],
)
async def test_a_claim_is_given_up_early_only_when_its_request_is_surely_over(bench, what, problem, released):
    bench.provider.problem = problem
    await bench.refresh()
    claim = (await bench.stored()).claim
    assert (bench.rotation.released_claim("uid-1") == claim.id) is released


async def test_an_app_that_is_not_ready_costs_nothing(bench):
    bench.apps.problem = AppNotReadyError(NOT_FOUND)
    await bench.refresh()
    assert (bench.provider.redeemed, bench.api.writes) == ([], [])


async def test_a_token_of_lost_keys_is_not_sent_and_ends(bench):
    stranger = replace(bench.sample("x"), refresh_token=Keyring.generate().seal(SecretStr("x"), "another"))
    bench.put(stranger)
    await bench.refresh()
    assert bench.provider.redeemed == []
    assert (await bench.stored()).record.ended == "UndecipherableToken"


@pytest.mark.parametrize("change", [{"token_url": "https://evil.example/token"}, {"exchange": Exchange("https://evil.example/t")}])
async def test_an_app_that_changed_since_the_decision_never_receives_an_older_token(bench, change):
    bench.apps.endpoints = replace(ENDPOINTS, **change)
    await bench.refresh()
    assert (bench.provider.redeemed, bench.api.writes) == ([], [])


# ---- an ID token in the answer (OpenID Connect Core, section 12.2)


def id_token(sub):
    claims = {"iss": "https://idp.example.com", "sub": sub, "aud": "cube"}
    return SecretStr(jwt.encode({"alg": "HS256"}, claims, OctKey.generate_key(256)))


def signed_in(bench, sub, **more):
    answer = TokenAnswer(SecretStr("a"), id_token=id_token(sub))
    bench.put(bench.sample("old-refresh", account=hashed_claim(answer, "sub"), **more))


@pytest.mark.parametrize("again", ["7", None], ids=["the same", "none"])
async def test_a_sign_in_is_renewed_for_the_person_who_authorized(bench, again):
    signed_in(bench, "7")
    bench.provider.answer = replace(bench.provider.answer, id_token=again and id_token(again))
    await bench.refresh()
    assert (await bench.refresh_token(), bench.revocations.unwanted) == ("new-refresh", [])


async def test_what_comes_for_another_person_is_never_kept_but_revoked_and_the_sign_in_is_over(bench, caplog):
    caplog.set_level("INFO")
    signed_in(bench, "7")
    bench.provider.answer = replace(bench.provider.answer, id_token=id_token("8"))
    await bench.refresh()
    there = await bench.stored()
    assert (there.record.ended, there.refresh_token, there.record.revision) == ("SubjectChanged", None, 5)
    assert await access_token(bench) == "old-access"
    assert bench.revocations.unwanted == ["new-refresh"]
    assert told(bench, caplog, "SubjectChanged")


async def test_nothing_is_exchanged_for_another_person(bench):
    bench.apps.endpoints = replace(ENDPOINTS, exchange=EXCHANGE)
    signed_in(bench, "7", exchange_url=EXCHANGE.token_url)
    bench.provider.answer = replace(bench.provider.answer, id_token=id_token("8"))
    await bench.refresh()
    assert (bench.provider.exchanged, bench.revocations.unwanted) == ([], ["new-refresh"])


async def test_a_sign_in_of_nobody_knows_whom_is_renewed_for_whomever_it_is(bench):
    bench.provider.answer = replace(bench.provider.answer, id_token=id_token("8"))
    await bench.refresh()
    assert await bench.refresh_token() == "new-refresh"


# ---- a token exchange

EXCHANGE = Exchange("https://warehouse.example.com/oauth/token")


@pytest.fixture
def exchanging(bench):
    bench.apps.endpoints = replace(ENDPOINTS, exchange=EXCHANGE)
    bench.put(bench.sample("old-refresh", exchange_url=EXCHANGE.token_url))
    return bench


async def access_token(bench):
    there = await bench.stored()
    return KEYS.access.open(there.access_token, there.record.owner).get_secret_value()


async def test_a_refresh_stores_the_warehouses_token_and_the_providers_refresh_token(exchanging):
    await exchanging.refresh()
    assert (await access_token(exchanging), await exchanging.refresh_token()) == ("warehouse-new-access", "new-refresh")
    assert (await exchanging.stored()).claim is None


async def test_a_refresh_token_that_rotated_is_written_before_the_exchange(exchanging):
    seen = []

    async def look():
        seen.append((await exchanging.refresh_token(), (await exchanging.stored()).claim is not None))

    exchanging.provider.before_exchange = look
    await exchanging.refresh()
    assert seen == [("new-refresh", True)]
    assert [method for method, _ in exchanging.api.writes] == ["PUT", "PUT", "PUT"]


async def test_where_the_refresh_token_did_not_rotate_nothing_is_written_before_the_exchange(exchanging):
    exchanging.provider.answer = replace(exchanging.provider.answer, refresh_token=SecretStr("old-refresh"))
    await exchanging.refresh()
    assert [method for method, _ in exchanging.api.writes] == ["PUT", "PUT"]
    assert (await access_token(exchanging), await exchanging.refresh_token()) == ("warehouse-new-access", "old-refresh")


async def test_a_warehouse_that_asks_for_patience_is_not_asked_by_others_either(exchanging):
    problem = ProviderError(Kind.WEATHER, "RateLimited", "later", retry_after=timedelta(minutes=5))
    exchanging.provider.exchange_problem = problem
    await exchanging.refresh()
    assert exchanging.backoff.not_before("https://warehouse.example.com:443") == START + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("problem", "refusals"),
    [
        (ProviderError(Kind.WEATHER, "ProviderUnavailable", "later"), []),
        (ProviderError(Kind.USER, "TokenNotExchanged", "not here"), []),
        (ProviderError(Kind.APP, "InvalidTarget", "no such audience"), ["InvalidTarget"]),
    ],
)
async def test_when_the_exchange_fails_the_sign_in_stays_whoever_is_to_blame(exchanging, problem, refusals):
    exchanging.provider.exchange_problem = problem
    await exchanging.refresh()
    there = await exchanging.stored()
    assert (await exchanging.refresh_token(), await access_token(exchanging)) == ("new-refresh", "old-access")
    assert (there.record.ended, there.record.revision) == (None, 5)
    assert (exchanging.apps.refusals, exchanging.revocations.unwanted) == (refusals, [])
    assert exchanging.rotation.released_claim("uid-1") == there.claim.id


async def test_the_next_attempt_redeems_the_refresh_token_that_was_kept(exchanging):
    exchanging.provider.exchange_problem = ProviderError(Kind.WEATHER, "Timeout", "later")
    await exchanging.refresh()
    exchanging.provider.exchange_problem = None
    await exchanging.refresh()
    assert exchanging.provider.redeemed == ["old-refresh", "new-refresh"]
    assert await access_token(exchanging) == "warehouse-new-access"


async def test_a_newer_sign_in_during_the_exchange_wins_and_ends_nothing(exchanging):
    async def sign_in():
        exchanging.put(exchanging.sample("of-the-new-sign-in", grant="two", exchange_url=EXCHANGE.token_url))

    exchanging.provider.before_exchange = sign_in
    await exchanging.refresh()
    assert await exchanging.refresh_token() == "of-the-new-sign-in"
    assert exchanging.revocations.unwanted == []


async def test_a_newer_sign_in_before_the_exchange_has_the_unwanted_answer_given_back(exchanging):
    exchanging.provider.meanwhile = exchanging.api.objects.clear
    await exchanging.refresh()
    assert exchanging.revocations.unwanted == ["new-refresh"]
    assert exchanging.provider.exchanged == []


PUBLISHED = {"InvalidGrant": "Revoked"}
"""What a reason is called at the credential, if it is called otherwise."""


def told(bench, caplog, word):
    """Whether log and metric say this word."""
    labels = {"namespace": "team", "app": "trino", "reason": word}
    counted = bench.registry.get_sample_value("cube_oauth_controller_refreshes_total", labels)
    return counted == 1 and [line.reason for line in caplog.records if line.message == "refresh"] == [word]


FINAL = [one for one in REASONS if one.kind is Kind.USER and one.word not in BY_POLICY]
POLICY = [one for one in REASONS if one.word in BY_POLICY]


@pytest.mark.parametrize("answer", POLICY, ids=lambda one: one.word)
async def test_every_refusal_by_a_policy_is_the_persons_and_costs_no_sign_in(bench, caplog, answer):
    caplog.set_level("INFO")
    bench.provider.problem = error(answer)
    await bench.refresh()
    there = await bench.stored()
    assert (there.record.denied, there.record.ended, there.claim) == (answer.word, None, None)
    assert await bench.refresh_token() == "old-refresh"
    assert bench.apps.refusals == []
    assert told(bench, caplog, answer.word)
    over = Observed(credential(), app(), app_ready=True, token=replace(there, access_token=None))
    assert state_of(over, START) == (State.EXPIRED, answer.word)


async def test_once_the_policy_permits_the_person_again_the_sign_in_goes_on(bench):
    bench.provider.problem = error(ACCESS_DENIED)
    await bench.refresh()
    bench.provider.problem = None
    await bench.refresh()
    record = (await bench.stored()).record
    assert (record.denied, record.denied_at, await bench.refresh_token()) == (None, None, "new-refresh")


async def test_an_answer_counts_although_somebody_else_was_denied_meanwhile_with_the_same_refresh_token(bench):
    """They took us for dead, and their refusal is written; our answer is all there is."""
    there = bench.sample("old-refresh")

    def deny():
        bench.put(denied(there, "AccessDenied", START))

    bench.put(there)
    bench.provider.meanwhile = deny
    await bench.refresh()
    assert await bench.refresh_token() == "new-refresh"
    assert bench.revocations.unwanted == []


@pytest.mark.parametrize("answer", FINAL, ids=lambda one: one.word)
async def test_every_other_answer_that_is_the_persons_ends_the_sign_in_with_one_word_everywhere(bench, caplog, answer):
    caplog.set_level("INFO")
    bench.provider.problem = error(answer)
    await bench.refresh()
    word = PUBLISHED.get(answer.word, answer.word)
    there = await bench.stored()
    assert (there.record.ended, there.refresh_token, bool(there.access_token)) == (word, None, True)
    assert told(bench, caplog, word)
    over = Observed(credential(), app(), app_ready=True, token=replace(there, access_token=None))
    assert state_of(over, START)[1] == word


@pytest.mark.parametrize("answer", [one for one in REASONS if one.kind is Kind.APP], ids=lambda one: one.word)
async def test_every_answer_that_is_the_apps_is_said_there_and_costs_no_sign_in(bench, caplog, answer):
    caplog.set_level("INFO")
    bench.provider.problem = error(answer)
    await bench.refresh()
    there = await bench.stored()
    assert (there.record.ended, bool(there.refresh_token), bool(there.access_token)) == (None, True, True)
    assert bench.apps.refusals == [answer.word]
    assert told(bench, caplog, answer.word)
    assert state_of(Observed(credential(), app(), app_ready=True, token=there), START)[0] is State.ACTIVE


@pytest.mark.parametrize("answer", [one for one in REASONS if one.kind is Kind.WEATHER], ids=lambda one: one.word)
async def test_every_answer_that_is_the_weathers_is_tried_again_later(bench, caplog, answer):
    caplog.set_level("INFO")
    bench.provider.problem = error(answer)
    await bench.refresh()
    there = await bench.stored()
    assert (there.record.ended, bool(there.refresh_token), bool(there.access_token)) == (None, True, True)
    assert bench.backoff.not_before(("team", "trino-alice")) > START
    assert told(bench, caplog, answer.word)
    over = Observed(credential(), app(), app_ready=True, token=replace(there, access_token=None))
    assert state_of(over, START) == (State.EXPIRED, Reason.REFRESH_DELAYED)
