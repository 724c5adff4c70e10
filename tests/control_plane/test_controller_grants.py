"""What becomes of an authorization: kept, or refused with a sentence and revoked at once."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.control_plane.harness import condition, eventually

pytestmark = pytest.mark.control_plane
MATCHING = {"source": "IDToken", "claim": "sub", "mustMatchUsername": True}


@pytest.fixture
def running(installation):
    installation.start()
    return installation


def refused(installation, username="alice"):
    def answer():
        found = condition(installation.look(username), "Authorized")
        return found if found["status"] == "False" else None

    found = eventually(answer, say=installation.tell)
    eventually(lambda: installation.stored("grant") == [])
    assert installation.stored("token") == []
    return found


def test_the_person_at_the_provider_is_the_person_in_the_portal(running):
    running.app(subject=MATCHING)
    running.connect("alice")
    assert running.status("alice")["subject"] == "alice"


def test_another_person_at_the_provider_is_refused_and_the_token_revoked(running, provider):
    running.app(subject=MATCHING)
    running.authorize("alice", as_person="bob")
    assert refused(running)["reason"] == "SubjectDiffers"
    assert provider.control.grants() == []


def test_without_a_word_about_it_the_presets_place_decides_and_another_person_is_refused(running, provider):
    running.app()
    running.authorize("alice", as_person="bob")
    assert refused(running)["reason"] == "SubjectDiffers"
    assert provider.control.grants() == []


def test_without_a_word_about_it_the_same_person_is_connected_and_named(running):
    running.app()
    running.connect("alice")
    assert running.status("alice")["subject"] == "alice"
    assert condition(running.look("alice"), "Authorized")["reason"] == "Authorized"


def test_nobody_is_compared_where_the_app_says_so(running):
    running.app(subject={"source": "None"})
    running.authorize("alice", as_person="bob")
    running.until("alice", "trino", lambda status: status.get("state") == "Active")
    assert "subject" not in running.status("alice")


def test_a_mapping_may_compare_the_local_part(running):
    running.app(subject={"match": "LocalPartIgnoreCase"})
    running.authorize("Alice@example.com", as_person="alice")
    found = running.until("Alice@example.com", "trino", lambda status: status.get("state") == "Active")
    assert found["subject"] == "alice"


def test_a_provider_that_does_not_tell_who_it_was_refuses_the_person_and_leaves_the_app_alone(running, provider):
    running.app(subject={"source": "UserInfo"})  # which knows nothing of tokens for the warehouse
    running.authorize("alice")
    assert refused(running)["reason"] == "SubjectNotTold"
    eventually(lambda: provider.control.grants() == [])
    assert running.ready()["status"] == "True"


def test_an_answer_to_another_log_in_is_refused_and_the_token_revoked(running, provider):
    running.app()
    running.authorize("alice", nonce="another")
    assert refused(running)["reason"] == "IdentityRefused"
    assert provider.control.grants() == []


def test_whom_the_app_does_not_permit_is_refused_before_the_code_is_used(running, provider):
    running.app(access={"users": ["bob"], "groups": ["administrators"]})
    running.authorize("alice")
    assert refused(running)["reason"] == "AccessNotPermitted"
    assert provider.control.stats()["issued"] == {}


def test_a_group_may_permit(running):
    running.app(access={"groups": ["analysts"]})
    running.connect("alice")


def test_a_grant_that_lay_about_is_refused(running, provider):
    running.app()
    running.authorize("alice", issued_at=datetime.now(UTC) - timedelta(minutes=11))
    assert refused(running)["reason"] == "GrantTooLate"
    assert provider.control.stats()["issued"] == {}


def test_a_grant_for_another_token_endpoint_is_refused(running, provider):
    running.app()
    running.authorize("alice", token_url="https://elsewhere.example.com/token")
    assert refused(running)["reason"] == "AppChanged"
    assert provider.control.stats()["issued"] == {}


def test_a_code_that_the_provider_does_not_know_is_refused_with_a_sentence(running):
    running.app()
    running.authorize("alice", code="not-a-code")
    found = refused(running)
    assert found["reason"] == "InvalidGrant"
    assert "Connect again" in found["message"]


def test_a_provider_in_trouble_does_not_cost_the_person_the_sign_in(running, provider):
    running.app()
    provider.control.fail(2, status=503)
    running.connect("alice")
    assert provider.control.stats()["injected"] == 2


def test_a_provider_in_trouble_is_told_while_the_sign_in_waits(running, provider):
    running.app()
    provider.control.fail(10_000, status=503, retry_after=4)
    running.authorize("alice")
    eventually(lambda: condition(running.look("alice"), "Authorized")["status"] == "Unknown", say=running.tell)
    assert condition(running.look("alice"), "Authorized")["reason"] == "ProviderUnavailable"
    provider.control.heal()
    running.until("alice", "trino", lambda status: status["state"] == "Active")
    eventually(lambda: condition(running.look("alice"), "Authorized")["status"] == "True", say=running.tell)


def test_authorizing_again_replaces_the_sign_in_and_the_revision_grows(running):
    running.app()
    running.connect("alice")
    before = running.token("alice").record
    running.connect("alice")
    after = running.token("alice").record
    assert after.grant != before.grant
    assert after.revision == before.revision + 1


def test_what_is_no_grant_is_removed(running):
    running.app()
    running.kube.create(
        f"/api/v1/namespaces/{running.tokens}/secrets",
        {
            "metadata": {"name": "grant-garbage", "labels": {"cubeoauth.dev/kind": "grant"}},
            "type": "cubeoauth.dev/grant",
            "stringData": {"grant": "garbage"},
        },
    )
    eventually(lambda: running.stored("grant") == [], say=running.tell)
