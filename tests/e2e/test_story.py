"""The demo's story on a node of its own, with shorter tokens; then what happens when our own parts fail.

The tests of this module run in order: each chapter goes on where the one before it ended.
"""

import json
import time

import pytest

from tests.e2e.conftest import TOKEN_SECONDS
from tests.e2e.story import A_JWT
from tests.e2e.world import SERVICE_ACCOUNT, eventually, timestamp

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    "chapter", ["installed", "connecting", "identities", "lifetimes", "disconnecting", "controller_killed", "nothing_leaked"]
)
def test_the_story_goes_as_the_demo_shows_it(story, chapter):
    begun = len(story.steps)
    getattr(story, chapter)()
    assert {step.what: step.seen for step in story.steps[begun:]} == {step.what: step.expected for step in story.steps[begun:]}


def test_the_canary_pattern_of_the_story_finds_a_real_token(world):
    assert A_JWT.search(world.service_account_token())


@pytest.fixture
def fresh_token(world):
    """Alice has just got a token that lives longer than it takes the broker to go away, and the sidecar knows it."""
    world.lasting("alice")
    eventually("alice is alice", lambda: world.whoami("alice") == "alice")
    yield
    world.control.lifetimes(accessToken=TOKEN_SECONDS)


def test_cube_goes_on_as_alice_while_the_broker_is_away(world, fresh_token):
    world.scale("broker", 0)
    try:
        assert world.whoami("alice") == "alice", "the sidecar serves from memory"
    finally:
        world.scale("broker", 1)


def test_an_expired_token_is_never_served_while_the_broker_is_away(world, fresh_token):
    world.scale("broker", 0)
    try:
        end = world.ends("alice")  # of whatever the sidecar may have heard of before the broker went, or later
        eventually("the token's end", lambda: timestamp() > end, 90)
        # Trino allows no clock skew: were the ended token used, this would be a refusal and no answer at all
        assert world.whoami("alice") == SERVICE_ACCOUNT
    finally:
        world.scale("broker", 1)
    eventually("alice is alice again", lambda: world.whoami("alice") == "alice")


def test_alice_stays_connected_when_the_api_server_is_away_for_longer_than_a_token_lives(world):
    eventually("alice is alice", lambda: world.whoami("alice") == "alice")
    before = world.revision("alice")
    world.cluster.pause_apiserver()
    try:
        time.sleep(30)  # the outage itself
    finally:
        world.cluster.resume_apiserver()
    eventually("a refresh after the outage", lambda: world.revision("alice") > before, 120)
    eventually("alice is alice again", lambda: world.whoami("alice") == "alice")
    assert world.control.stats()["redeemedTwice"] == 0


def test_alice_stays_herself_until_her_token_ends_when_the_provider_is_down_at_refresh(world):
    eventually("alice is alice", lambda: world.whoami("alice") == "alice")
    world.control.fail(1000, status=503)
    try:
        assert world.whoami("alice") == "alice"
        eventually("the token ended", lambda: world.credential("alice")["status"]["state"] == "Expired", 90)
        assert world.whoami("alice") == SERVICE_ACCOUNT
    finally:
        world.control.heal()
    eventually("connected again by itself", lambda: world.credential("alice")["status"]["state"] == "Active", 120)
    eventually("alice is alice again", lambda: world.whoami("alice") == "alice")


def test_the_sidecars_probe_and_cubes_own_checks_stay_green_throughout(world):
    pods = json.loads(world.cluster.kubectl("get", "pods", "-n", "analytics", "-l", "app=cube", "-o", "json"))["items"]
    statuses = [*pods[0]["status"]["containerStatuses"], *pods[0]["status"]["initContainerStatuses"]]
    assert [status["restartCount"] for status in statuses] == [0, 0]
