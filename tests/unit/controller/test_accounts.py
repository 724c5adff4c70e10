"""Service accounts: what is fetched and copied, written and taken back, and what is said."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from cube_oauth.controller.rollouts import Rolled
from cube_oauth.kube.api import SECRETS, KubeError
from cube_oauth.lifecycle.apps import KEY_MISSING
from cube_oauth.resources.accounts import target_secret
from cube_oauth.resources.keyring import Keyring
from cube_oauth.resources.oauthapp import ClientAuthentication
from tests.unit.controller.accounts import BESIDE, COPIED, DOWN, FETCHED, KEY, LIFETIME, STORED, TARGET, WRONG, Bench


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
async def fetched(bench):
    bench.declare(FETCHED)
    bench.again = await bench.look()
    return bench


@pytest.fixture
async def copied(bench):
    bench.declare(COPIED)
    bench.source(password="p1")
    await bench.look()
    return bench


async def test_a_token_is_fetched_by_the_accounts_own_client_and_published_to_brokers_and_pods(fetched):
    assert fetched.provider.asked == [("sa", "s1", ("query",), ClientAuthentication.BASIC)]
    assert fetched.published() == fetched.target() == {"TOKEN": "token-1"}
    assert fetched.said() == (("True", "Published"), "trino-service-account")
    assert "token-1" not in str(fetched.api.objects[STORED])


async def test_without_a_client_of_its_own_it_is_the_apps(bench):
    bench.declare({"clientCredentials": {}, "env": {"TOKEN": "accessToken"}})
    await bench.look()
    assert bench.provider.asked[0][0] == "cube"


async def test_a_client_of_a_public_app_authenticates_all_the_same(bench):
    bench.apps.method = ClientAuthentication.NONE
    bench.declare(FETCHED)
    await bench.look()
    assert bench.provider.asked[0][3] is ClientAuthentication.BASIC


async def test_nothing_is_asked_or_written_before_the_token_is_due_and_a_restart_changes_nothing(fetched):
    writes = len(fetched.api.writes)
    for _ in range(3):
        fetched.restart()
        await fetched.clock.turn(minutes=10)
        await fetched.look()
    assert len(fetched.provider.asked) == 1
    assert len(fetched.api.writes) == writes
    assert fetched.events.told == ["ServiceAccountPublished"]


async def test_it_is_fetched_again_before_a_quarter_of_the_lifetime_is_left_and_nothing_new_is_said(fetched):
    said = fetched.said()
    for _ in range(60):
        again = await fetched.look()
        await fetched.clock.turn(seconds=max((again - fetched.clock.now()).total_seconds(), 0))
        record = fetched.stored().record
        assert record.expires_at - fetched.clock.now() >= LIFETIME / 4
    assert len(fetched.provider.asked) > 1
    assert fetched.published() == fetched.target()
    assert fetched.said() == said
    assert fetched.events.told == ["ServiceAccountPublished"]


async def test_a_refused_client_is_said_left_alone_and_asked_again_at_once_when_its_secret_is_another(bench):
    bench.provider.problem = WRONG
    bench.declare(FETCHED)
    for _ in range(5):
        await bench.look()
    assert bench.said() == (("False", "InvalidClient"), None)
    assert len(bench.provider.asked) == 1
    assert STORED not in bench.api.objects
    bench.provider.problem, bench.apps.client_secret = None, SecretStr("s2")
    await bench.look()
    assert bench.published() == {"TOKEN": "token-2"}
    assert bench.said()[0] == ("True", "Published")


async def test_what_was_corrected_does_not_wait_for_the_end_of_the_pauses_before(bench):
    bench.provider.problem = DOWN
    bench.declare(FETCHED)
    for _ in range(9):
        again = await bench.look()
        await bench.clock.turn(seconds=(again - bench.clock.now()).total_seconds())
    await bench.look()
    assert bench.said()[0] == ("False", "RefreshDelayed")
    bench.provider.problem = None
    asked = len(bench.provider.asked)
    await bench.look()
    assert len(bench.provider.asked) == asked, "the same again waits"
    bench.apps.token_url = "https://corrected.example.com/token"
    await bench.look()
    assert bench.said()[0] == ("True", "Published")


async def test_a_refused_client_that_was_corrected_at_the_provider_is_found_out_in_time(bench):
    bench.provider.problem = WRONG
    bench.declare(FETCHED)
    await bench.look()
    bench.provider.problem = None
    await bench.clock.turn(minutes=5)
    await bench.look()
    assert bench.said()[0] == ("True", "Published")


async def test_a_missing_client_secret_has_its_own_reason(bench):
    bench.apps.client_secret = KEY_MISSING
    bench.declare(FETCHED)
    await bench.look()
    assert bench.said()[0] == ("False", "ClientSecretKeyMissing")
    assert bench.provider.asked == []


async def test_bad_weather_is_no_news_until_the_token_has_ended_and_then_passes(fetched):
    fetched.provider.problem = DOWN
    await fetched.clock.turn(minutes=50)
    again = await fetched.look()
    assert fetched.said()[0] == ("True", "Published")
    assert again <= fetched.stored().record.expires_at
    await fetched.clock.turn(minutes=11)
    await fetched.look()
    assert fetched.said()[0] == ("False", "RefreshDelayed")
    fetched.provider.problem = None
    await fetched.clock.turn(minutes=10)
    await fetched.look()
    assert fetched.said()[0] == ("True", "Published")
    assert fetched.published() == fetched.target()


async def test_a_token_that_the_warehouse_refused_is_fetched_anew_once_and_nothing_is_said(fetched):
    await fetched.clock.turn(minutes=5)
    said = fetched.said()
    fetched.reject(1)
    for _ in range(3):
        await fetched.look()
    fetched.restart()
    await fetched.look()
    assert fetched.published() == fetched.target() == {"TOKEN": "token-2"}
    assert len(fetched.provider.asked) == 2
    assert fetched.said() == said
    assert fetched.events.told == ["ServiceAccountPublished"]


async def test_of_tokens_that_are_all_refused_one_is_fetched_in_half_a_minute(fetched):
    for _ in range(60):
        fetched.reject(fetched.stored().record.revision)
        await fetched.look()
        await fetched.clock.turn(seconds=1)
    assert len(fetched.provider.asked) == 2


async def test_a_refused_token_stays_while_the_provider_gives_no_other(fetched):
    fetched.reject(1)
    fetched.provider.problem = DOWN
    await fetched.clock.turn(seconds=30)
    await fetched.look()
    assert len(fetched.provider.asked) == 2
    assert fetched.published() == fetched.target() == {"TOKEN": "token-1"}
    assert fetched.said()[0] == ("True", "Published")
    fetched.provider.problem = None
    await fetched.clock.turn(minutes=5)
    await fetched.look()
    assert fetched.published() == {"TOKEN": "token-3"}


async def test_a_target_that_somebody_else_made_is_left_alone_and_no_token_is_fetched_for_it(bench):
    foreign = {"metadata": {"name": "trino-service-account"}, "type": "Opaque", "data": {"TOKEN": "bWluZQ=="}}
    bench.api.store(TARGET, foreign)
    bench.declare(FETCHED)
    await bench.look()
    assert bench.said()[0] == ("False", "TargetTaken")
    assert bench.target() == {"TOKEN": "mine"}
    assert bench.provider.asked == []
    del bench.api.objects[TARGET]
    await bench.look()
    assert bench.target() == {"TOKEN": "token-1"}


async def test_a_target_that_may_not_be_written_is_said_with_what_to_do(bench):
    bench.api.faults = [KubeError(403, "Forbidden", "POST")]
    bench.declare(COPIED)
    bench.source(password="p1")
    await bench.look()
    assert bench.said()[0] == ("False", "TargetForbidden")
    assert STORED not in bench.api.objects


async def test_a_target_that_was_changed_or_deleted_is_put_right_without_another_token(fetched):
    for broken in (lambda: fetched.api.objects.pop(TARGET), lambda: fetched.api.objects[TARGET].update(data={})):
        broken()
        await fetched.look()
        assert fetched.target() == {"TOKEN": "token-1"}
    assert len(fetched.provider.asked) == 1


async def test_another_variable_needs_no_other_token_and_another_client_does(fetched):
    fetched.declare({**FETCHED, "env": {"A": "accessToken", "B": "accessToken"}})
    await fetched.look()
    assert fetched.published() == fetched.target() == {"A": "token-1", "B": "token-1"}
    fetched.declare({"clientCredentials": {}, "env": {"A": "accessToken"}})
    await fetched.look()
    assert fetched.published() == fetched.target() == {"A": "token-2"}


async def test_a_secret_of_another_namespace_is_copied_and_followed(copied):
    assert copied.sources.followed[KEY] == ("vault", "sa")
    assert copied.published() == copied.target() == {"PASS": "p1"}
    copied.source(password="p2")
    await copied.look()
    assert copied.published() == copied.target() == {"PASS": "p2"}
    assert copied.stored().record.revision == 2


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"consent": "other", "password": "p1"}, "SourceNotConsented"),
        ({}, "SourceNotFound"),
        ({"other": "p1"}, "SourceKeyMissing"),
    ],
)
async def test_what_may_not_be_used_any_more_is_taken_back_from_pods_and_hooks_and_said(copied, changed, reason):
    copied.source(**changed)
    await copied.look()
    assert copied.said() == (("False", reason), "trino-service-account")
    assert copied.published() is None
    assert copied.target() == {}
    assert copied.stored().record.variables == ("PASS",)
    writes = len(copied.api.writes)
    await copied.look()
    assert len(copied.api.writes) == writes
    copied.source(password="p1")
    await copied.look()
    assert copied.published() == copied.target() == {"PASS": "p1"}
    assert copied.said()[0] == ("True", "Published")


@pytest.mark.parametrize("reason", ["TargetForbidden", "TargetTaken"])
async def test_what_may_not_be_used_any_more_is_taken_back_from_hooks_although_the_pods_copy_is_out_of_reach(copied, reason):
    ours = copied.api.objects[TARGET]
    if reason == "TargetForbidden":
        copied.api.refused = {TARGET}
    else:
        copied.api.objects[TARGET] = {**ours, "type": "Opaque"}
    copied.source()
    await copied.look()
    assert copied.said()[0] == ("False", reason)
    assert copied.published() is None
    copied.api.refused, copied.api.objects[TARGET] = set(), ours
    await copied.look()
    assert copied.said()[0] == ("False", "SourceNotFound")
    assert copied.target() == {}, "as soon as it is within reach"


async def test_what_may_not_be_seen_any_more_is_said_and_stays(copied):
    copied.source(permitted=False)
    await copied.look()
    assert copied.said()[0] == ("False", "SourceForbidden")
    assert copied.published() == copied.target() == {"PASS": "p1"}


async def test_a_secret_beside_cube_is_read_where_it_is(bench):
    bench.declare(BESIDE)
    bench.source(consent="", password="p1")
    await bench.look()
    assert bench.published() == {"PASS": "p1"}
    assert TARGET not in bench.api.objects
    assert bench.said() == (("True", "Published"), "sa")


async def test_a_secret_beside_cube_that_may_not_be_watched_is_the_pods_alone(bench):
    bench.declare(BESIDE)
    bench.source(consent="", password="p1")
    await bench.look()
    bench.source(permitted=False)
    await bench.look()
    assert bench.said() == (("True", "NotWatched"), "sa")
    assert STORED not in bench.api.objects


async def test_without_an_account_what_was_made_goes_and_nothing_else(copied):
    copied.api.store(SECRETS.path("team", "other"), {"metadata": {"name": "other"}})
    copied.declare(None)
    await copied.look()
    assert set(copied.api.objects) == {SECRETS.path("team", "other")}
    assert copied.said() == (None, None)


async def test_a_copy_that_is_not_needed_any_more_goes(copied):
    copied.declare(BESIDE)
    await copied.look()
    assert TARGET not in copied.api.objects
    assert copied.published() == {"PASS": "p1"}


async def test_an_app_that_is_surely_gone_takes_with_it_what_was_made(copied):
    copied.inventory.drop_app(KEY)
    copied.apps.is_gone = False
    await copied.look()
    assert copied.published() == {"PASS": "p1"}
    copied.apps.is_gone = True
    await copied.look()
    assert copied.api.objects == {}


async def test_an_app_that_is_gone_leaves_a_secret_that_took_the_place_of_its_target(copied):
    copied.api.store(TARGET, {"metadata": {"name": "trino-service-account"}, "type": "Opaque"})
    copied.inventory.drop_app(KEY)
    await copied.look()
    assert set(copied.api.objects) == {TARGET}


async def test_an_app_of_the_same_name_begins_anew_and_takes_its_predecessors_target_over(fetched):
    made = fetched.declare(FETCHED, uid="uid-2")
    await fetched.look()
    assert STORED not in fetched.api.objects
    assert fetched.target() == {"TOKEN": "token-2"}
    assert fetched.api.objects[TARGET]["metadata"]["ownerReferences"] == target_secret(made, {})["metadata"]["ownerReferences"]


async def test_a_new_key_seals_what_is_stored_without_a_new_revision_or_a_request(fetched):
    before, old = fetched.stored(), fetched.keys.access
    ring = old.with_announced(fetched.clock.now(), fetched.clock.now()).with_promoted(fetched.clock.now())
    fetched.keys.access = ring
    await fetched.look()
    assert fetched.stored().record == before.record
    assert ring.kid_of(fetched.stored().values) == ring.kids[0] != old.kids[0]
    assert len(fetched.provider.asked) == 1


async def test_a_value_whose_key_was_lost_is_fetched_anew(fetched):
    fetched.keys.access = Keyring.generate()
    await fetched.look()
    assert fetched.published() == fetched.target() == {"TOKEN": "token-2"}


async def test_a_value_that_was_moved_from_another_app_is_not_used(fetched):
    other = replace(fetched.stored(), values=fetched.keys.access.seal(SecretStr('{"TOKEN": "stolen"}'), "another"))
    fetched.accounts.mirror.put(fetched.api.store(STORED, other.to_kubernetes("tokens")))
    await fetched.look()
    assert fetched.published() == {"TOKEN": "token-2"}


async def test_each_revision_is_rolled_out_where_no_hook_takes_it_over_until_all_have_it(copied):
    await copied.look()
    assert copied.rollouts.rolled == [], "pods that waited for the first"
    copied.source(password="p2")
    copied.rollouts.found = Rolled.WAITING
    for _ in range(2):
        assert await copied.look() - copied.clock.now() < timedelta(seconds=10)
    copied.rollouts.found = Rolled.OUT
    for _ in range(2):
        await copied.look()
    [(secret, version)] = set(copied.rollouts.rolled)
    assert (secret, version.split()[0], len(copied.rollouts.rolled)) == ("trino-service-account", "trino-2", 3)


@pytest.mark.parametrize("begin_anew", ["the app is made anew", "the account is taken out and put back"])
async def test_a_revision_of_an_account_that_began_anew_is_rolled_out_although_its_number_was_rolled_out_before(copied, begin_anew):
    copied.source(password="p2")
    await copied.look()
    await copied.clock.turn(minutes=1)
    if begin_anew == "the app is made anew":
        copied.declare(COPIED, uid="uid-2")
    else:
        copied.declare(None)
        await copied.look()
        copied.declare(COPIED)
    await copied.look()
    copied.source(password="p3")
    await copied.look()
    (_, first), *_, (_, last) = copied.rollouts.rolled
    assert first != last, "a workload remembers for which version it was restarted"


async def test_a_pod_that_began_before_the_target_held_the_new_token_is_behind(fetched):
    answer = fetched.provider.client_credentials

    async def slowly(*args, **kwargs):
        await fetched.clock.turn(seconds=5)
        return await answer(*args, **kwargs)

    fetched.provider.client_credentials = slowly
    await fetched.clock.turn(minutes=50)
    await fetched.look()
    assert fetched.target() == {"TOKEN": "token-2"}
    assert fetched.rollouts.since == fetched.clock.now()


async def test_pods_that_began_with_the_value_of_an_app_of_the_same_name_are_behind_the_first_of_its_successor(copied):
    copied.declare(COPIED, uid="uid-2")
    copied.source(password="p2")
    await copied.look()
    assert [secret for secret, _ in copied.rollouts.rolled] == ["trino-service-account"]


async def test_a_workload_that_asks_only_later_is_looked_for_until_none_is_behind(copied):
    copied.source(password="p2")
    copied.rollouts.found = Rolled.UNASKED
    for _ in range(2):
        assert await copied.look() - copied.clock.now() > timedelta(seconds=10)
    copied.rollouts.found = Rolled.OUT
    for _ in range(2):
        await copied.look()
    assert len(copied.rollouts.rolled) == 3
