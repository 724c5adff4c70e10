"""Whatever breaks, nobody who connected has to connect again."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from cube_oauth.lifecycle.publish import claimed
from cube_oauth.resources.secrets import Claim
from tests.control_plane.harness import CREDENTIALS, PATIENCE, SECRETS, condition, eventually

pytestmark = pytest.mark.control_plane
EARLY = {"percentOfLifetime": 10, "requestsPerSecond": 1000}


def reject(installation, credential, revision):
    """What the broker writes when the warehouse refused a token."""
    path = f"{CREDENTIALS.format(installation.tenant)}/{credential['metadata']['name']}/status"
    installation.kube.patch(path, {"status": {"demand": {"rejectedRevision": revision}}})


def test_sign_ins_that_are_refused_as_if_the_client_were_wrong_hold_up_nobodys_refresh(installation, provider):
    installation.start()
    installation.app()
    provider.control.lifetimes(accessToken=3600)  # bob's refresh takes none of the failures
    bob = installation.connect("bob")

    def refused(person):
        provider.control.fail(1, status=401, body={"error": "invalid_client"})
        installation.authorize(person)
        eventually(lambda: condition(installation.look(person), "Authorized")["reason"] == "InvalidClient", say=installation.tell)

    refused("alice")
    assert installation.ready()["status"] == "True"  # bob was accepted, and others may connect
    refused("bob")
    eventually(lambda: installation.ready()["reason"] == "InvalidClient", say=installation.tell)
    reject(installation, bob, 1)
    installation.until("bob", "trino", lambda status: status["revision"] == 2)
    eventually(lambda: installation.ready()["reason"] == "Ready", say=installation.tell)


def test_while_the_provider_is_down_a_token_serves_until_it_ends_and_heals_when_it_is_back(installation, provider):
    installation.start()
    installation.app(refresh=EARLY)
    provider.control.lifetimes(accessToken=20)
    installation.connect("alice")
    provider.control.fail(10_000, status=503)
    eventually(lambda: provider.control.stats()["injected"] >= 1, say=installation.tell)
    assert installation.status("alice")["state"] == "Active"
    expired = installation.until("alice", "trino", lambda status: status["state"] == "Expired")
    assert datetime.now(UTC) >= datetime.fromisoformat(expired["expiresAt"])
    eventually(lambda: installation.plain("alice")[0] is None, say=installation.tell)
    assert installation.ready()["status"] == "True"
    assert condition(installation.look("alice"), "Active")["reason"] == "RefreshDelayed"
    eventually(lambda: installation.condition("ProviderAvailable")["reason"] == "ProviderUnavailable", say=installation.tell)
    provider.control.lifetimes(accessToken=60)
    provider.control.heal()
    installation.until("alice", "trino", lambda status: status["state"] == "Active", 2 * PATIENCE)  # the pauses have grown by now
    eventually(lambda: installation.condition("ProviderAvailable")["status"] == "", say=installation.tell)
    assert provider.control.stats()["redeemedTwice"] == 0


def test_retry_after_is_obeyed(installation, provider):
    installation.start()
    installation.app(refresh=EARLY)
    provider.control.lifetimes(accessToken=100)
    installation.connect("alice")
    provider.control.reset_stats()
    provider.control.fail(10_000, status=429, retry_after=3600)
    eventually(lambda: provider.control.stats()["injected"] >= 1, say=installation.tell)
    provider.control.heal()
    installation.connect("bob")
    time.sleep(4)  # nothing can be awaited: nothing must happen
    assert "refresh_token" not in provider.control.stats()["issued"]


def test_a_sign_in_that_the_provider_ended_serves_until_its_end_and_is_then_revoked(installation, provider):
    installation.start()
    installation.app(refresh=EARLY)
    provider.control.lifetimes(accessToken=20)
    installation.connect("alice")
    provider.control.revoke(username="alice")
    eventually(lambda: provider.control.stats()["refused"].get("invalid_grant"), say=installation.tell)
    assert installation.status("alice")["state"] == "Active"

    def told():
        return [event["note"] for event in installation.events() if event["reason"] == "Revoked"]

    assert eventually(told, say=installation.tell)[0].startswith("Connected until")  # while it still serves
    installation.until("alice", "trino", lambda status: status["state"] == "Revoked")
    assert condition(installation.look("alice"), "Active")["reason"] == "Revoked"
    eventually(lambda: installation.plain("alice") == (None, None), say=installation.tell)
    assert provider.control.stats()["refused"]["invalid_grant"] == 1
    provider.control.lifetimes(accessToken=60)
    installation.connect("alice")


def test_a_policy_that_refuses_somebody_for_a_while_costs_no_sign_in(installation, provider):
    controller = installation.start()
    installation.app(refresh=EARLY)
    provider.control.lifetimes(accessToken=15)
    installation.connect("alice")
    provider.control.fail(10_000, status=400, body={"error": "invalid_grant", "suberror": "message_only"})
    reasons = installation.until("alice", "trino", lambda status: "refreshAt" not in status)["conditions"]
    assert next(one for one in reasons if one["type"] == "Active")["message"].startswith("Connected until")
    eventually(lambda: "AccessDenied" in [event["reason"] for event in installation.events()], say=installation.tell)
    installation.until("alice", "trino", lambda status: status["state"] == "Expired")
    assert condition(installation.look("alice"), "Active")["reason"] == "AccessDenied"
    assert installation.ready()["status"] == "True"
    assert provider.control.stats()["injected"] == 1
    provider.control.heal()
    provider.control.lifetimes(accessToken=600)
    controller.terminate()
    controller = installation.start()  # which is no reason to ask again
    installation.connect("bob")
    assert "refresh_token" not in provider.control.stats()["issued"]
    controller.terminate()
    installation.age(timedelta(minutes=15), "denied_at")
    installation.start()
    assert installation.until("alice", "trino", lambda status: status["state"] == "Active")["revision"] == 2
    assert provider.control.stats()["redeemedTwice"] == 0


def test_an_api_server_that_is_away_for_half_a_minute_costs_nothing(installation, provider, control_plane):
    controller = installation.start()
    installation.app(refresh=EARLY)
    provider.control.lifetimes(accessToken=60)
    people = ["alice", "bob"]
    for person in people:
        installation.connect(person)
    revisions = {person: installation.status(person)["revision"] for person in people}
    control_plane.stop_apiserver()
    try:
        until = time.monotonic() + 30
        eventually(lambda: time.monotonic() > until, seconds=40)
    finally:
        control_plane.start_apiserver()
    assert controller.child.wait(60) == 0  # it could not renew the Lease, so it ended; the kubelet starts it again
    installation.start()
    for person in people:
        installation.until(person, "trino", lambda status, person=person: status["revision"] > revisions[person])
    stats = provider.control.stats()
    assert (stats["redeemedTwice"], stats["reuseDetected"]) == (0, 0)
    assert {grant["username"] for grant in provider.control.grants()} == set(people)


def test_an_answer_that_cannot_be_written_for_now_is_kept_until_it_can(installation, provider, control_plane):
    installation.start()
    installation.app()
    provider.control.lifetimes(accessToken=3600)
    credential = installation.connect("alice")
    provider.control.reset_stats()
    provider.control.delay(1, 2)
    reject(installation, credential, 1)
    eventually(lambda: provider.control.stats()["injected"] == 1, say=installation.tell)
    control_plane.stop_apiserver()  # the claim is written, and the provider is about to answer
    try:
        eventually(lambda: provider.control.stats()["issued"].get("refresh_token") == 1)
        time.sleep(3)
    finally:
        control_plane.start_apiserver()
    installation.until("alice", "trino", lambda status: status["revision"] == 2)
    # what comes after is a successor's when the API server took longer to start than a Lease lasts, as on a busy machine
    assert provider.control.stats()["issued"]["refresh_token"] == 1
    assert provider.control.stats()["reuseDetected"] == 0


def test_a_killed_controller_is_replaced_and_nothing_is_lost(installation, provider):
    first = installation.start()
    installation.app(refresh={"percentOfLifetime": 30, "requestsPerSecond": 1000})
    provider.control.lifetimes(accessToken=30)
    installation.connect("alice")
    first.kill()
    installation.start()
    revision = installation.status("alice")["revision"]
    installation.until("alice", "trino", lambda status: status["revision"] > revision)
    assert provider.control.stats()["redeemedTwice"] == 0


def test_a_claim_of_a_dead_controller_is_waited_for_and_then_the_token_is_refreshed(installation, provider):
    first = installation.start()
    installation.app()
    provider.control.lifetimes(accessToken=3600)
    installation.connect("alice")
    first.terminate()
    installation.age(timedelta(minutes=50), "issued_at", "expires_at")  # due, and far from its end
    token = installation.token("alice")
    claim = Claim(id="of-a-dead-one", refresh_token_hash="x", deadline=datetime.now(UTC) + timedelta(seconds=15))
    body = claimed(token, claim).to_kubernetes(installation.tokens)
    installation.kube.ask("PUT", f"{SECRETS.format(installation.tokens)}/{token.name}", body)
    provider.control.reset_stats()
    installation.start()
    revision = installation.status("alice")["revision"]
    installation.until("alice", "trino", lambda status: status["revision"] > revision, 2 * PATIENCE)
    assert installation.token("alice").record.issued_at >= claim.deadline.replace(microsecond=0)
    assert provider.control.stats()["issued"]["refresh_token"] == 1


def test_a_person_connected_while_nobody_was_active_is_connected_when_somebody_is(installation):
    first = installation.start()
    installation.app()
    first.terminate()
    installation.authorize("alice")
    installation.start()
    installation.until("alice", "trino", lambda status: status.get("state") == "Active")


def test_a_credential_deleted_while_nobody_was_active_is_revoked_when_somebody_is(installation, provider):
    first = installation.start()
    installation.app()
    credential = installation.connect("alice")
    first.terminate()
    installation.kube.delete(f"{CREDENTIALS.format(installation.tenant)}/{credential['metadata']['name']}")
    installation.start()
    eventually(lambda: installation.stored("token") == [], say=installation.tell)
    eventually(lambda: provider.control.grants() == [], say=installation.tell)


def test_a_restart_asks_the_provider_nothing_and_writes_no_status(installation, provider):
    first = installation.start()
    installation.app()
    provider.control.lifetimes(accessToken=3600)
    credential = installation.connect("alice")
    eventually(lambda: installation.counts()["active"] == 1)
    first.terminate()
    before, writes = installation.look("alice")["metadata"]["resourceVersion"], installation.kube.writes()
    assert writes > 0
    provider.control.reset_stats()
    again = installation.start()
    eventually(lambda: 'cube_oauth_controller_credentials{app="trino"' in again.page("/metrics")[1])
    time.sleep(3)  # nothing can be awaited: nothing must happen
    assert installation.look("alice")["metadata"]["resourceVersion"] == before
    assert installation.kube.writes() == writes
    assert credential["metadata"]["name"] not in "".join(line.get("message", "") for line in again.lines())
    assert "cube_oauth_controller_provider_requests_total{" not in again.page("/metrics")[1]


def test_of_two_replicas_one_is_active_and_the_other_takes_over_when_it_ends(installation, provider):
    first = installation.start()
    second = installation.start(active=False)
    installation.app(refresh=EARLY)
    provider.control.lifetimes(accessToken=30)
    installation.connect("alice")
    assert not second.active()
    first.terminate()
    eventually(second.active, say=installation.tell)
    revision = installation.status("alice")["revision"]
    installation.until("alice", "trino", lambda status: status["revision"] > revision)
    assert provider.control.stats()["redeemedTwice"] == 0


def test_a_token_that_the_warehouse_refused_is_refreshed_once(installation, provider):
    installation.start()
    installation.app()
    provider.control.lifetimes(accessToken=3600)
    credential = installation.connect("alice")
    reject(installation, credential, 1)
    status = installation.until("alice", "trino", lambda status: status["revision"] == 2)
    assert status["demand"] == {"rejectedRevision": 1}
    assert provider.control.stats()["issued"]["refresh_token"] == 1


def test_a_token_without_a_refresh_token_ends_in_time_and_says_why(installation, provider):
    installation.start()
    installation.app(scopes=["openid", "query"])
    provider.control.lifetimes(accessToken=15)  # time enough to be seen
    installation.connect("alice")
    assert "offline_access" in condition(installation.look("alice"), "Active")["message"]
    installation.until("alice", "trino", lambda status: status["state"] == "Expired")
    assert condition(installation.look("alice"), "Active")["reason"] == "NoRefreshToken"
    eventually(lambda: installation.plain("alice") == (None, None), say=installation.tell)
