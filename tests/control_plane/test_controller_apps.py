"""OAuthApps: what their condition says, and that correcting the cause heals without a hand."""

from datetime import timedelta

import pytest

from tests.control_plane.harness import APPS, CLIENTS, CREDENTIALS, SECRETS, condition, eventually

pytestmark = pytest.mark.control_plane


def waits_for(installation, reason):
    eventually(lambda: installation.ready()["reason"] == reason, say=installation.tell)
    return installation.ready()


def test_an_app_says_what_to_register_and_what_it_uses(installation, provider):
    installation.start()
    installation.app()
    status = installation.kube.get(f"{APPS.format(installation.tenant)}/trino")["status"]
    assert status["redirectURI"] == f"https://portal.example.com/callback/{installation.tenant}/trino"
    assert status["tokenURL"] == f"{provider.issuer}/token"
    assert status["revocationURL"] == f"{provider.issuer}/token/revocation"
    assert status["dataSource"] == "trino"
    assert status["issuer"] == provider.issuer
    assert status["issuerInAnswers"] is True


def test_a_missing_client_secret_is_named_and_heals_when_it_comes(installation):
    installation.start()
    installation.app(secret=False)
    problem = waits_for(installation, "ClientSecretNotFound")
    assert "trino-client" in problem["message"]
    installation.client_secret("trino", CLIENTS["cube"])
    waits_for(installation, "Ready")


def test_a_client_secret_without_the_key_is_named_and_heals(installation):
    installation.start()
    installation.client_secret("trino", "x", key="password")
    installation.app(secret=False)
    problem = waits_for(installation, "ClientSecretKeyMissing")
    assert "clientSecret" in problem["message"]
    installation.client_secret("trino", CLIENTS["cube"])
    waits_for(installation, "Ready")


def test_a_client_secret_that_consents_to_another_app_is_not_used(installation):
    installation.start()
    installation.client_secret("trino", CLIENTS["cube"], consent="another")
    installation.app(secret=False)
    problem = waits_for(installation, "ClientSecretNotConsented")
    assert "cubeoauth.dev/oauth-client: trino" in problem["message"]
    installation.client_secret("trino", CLIENTS["cube"])
    waits_for(installation, "Ready")


def test_a_wrong_client_secret_marks_the_app_and_leaves_the_person_connected(installation, provider):
    first = installation.start()
    installation.app()
    provider.control.lifetimes(accessToken=3600)
    installation.connect("alice")
    first.terminate()
    installation.age(timedelta(minutes=50), "issued_at", "expires_at")  # due, and far from its end
    installation.client_secret("trino", "wrong")
    installation.start()
    waits_for(installation, "InvalidClient")
    status = installation.status("alice")
    assert (status["state"], condition(installation.look("alice"), "Active")["reason"]) == ("Active", "Active")
    installation.client_secret("trino", CLIENTS["cube"])
    revision = status["revision"]
    installation.until("alice", "trino", lambda now: now["revision"] > revision)
    waits_for(installation, "Ready")


def test_counts_by_state_are_in_the_apps_status(installation):
    installation.start()
    installation.app()
    installation.connect("alice")
    installation.credential("bob")
    eventually(lambda: installation.counts() == {"active": 1, "pending": 1, "expired": 0, "revoked": 0}, say=installation.tell)


def test_a_credential_of_no_app_says_so_until_the_app_comes(installation):
    installation.start()
    installation.credential("alice")
    eventually(lambda: condition(installation.look("alice"), "Ready")["reason"] == "AppNotFound", say=installation.tell)
    installation.app()
    eventually(lambda: condition(installation.look("alice"), "Ready")["status"] == "True", say=installation.tell)


def test_a_changed_client_id_never_sees_the_old_tokens(installation, provider):
    installation.start()
    installation.app(refresh={"percentOfLifetime": 70, "requestsPerSecond": 1000})
    provider.control.lifetimes(accessToken=25)  # it comes to be due long after the app was changed, and before its end
    installation.connect("alice")
    provider.control.reset_stats()
    installation.client_secret("trino", CLIENTS["other"])
    installation.kube.patch(f"{APPS.format(installation.tenant)}/trino", {"spec": {"clientID": "other"}})
    expired = installation.until("alice", "trino", lambda status: status["state"] == "Expired")
    assert next(one for one in expired["conditions"] if one["type"] == "Active")["reason"] == "ClientChanged"
    stats = provider.control.stats()
    assert (stats["issued"], stats["refused"]) == ({}, {})
    installation.connect("alice")


def test_of_two_credentials_for_one_person_the_oldest_counts(installation):
    installation.start()
    installation.app()
    installation.credential("alice", name="first")
    eventually(
        lambda: condition(installation.kube.get(f"{CREDENTIALS.format(installation.tenant)}/first"), "Ready")["status"] == "True"
    )
    installation.credential("alice", name="second")

    def reason(name):
        return condition(installation.kube.get(f"{CREDENTIALS.format(installation.tenant)}/{name}"), "Ready")["reason"]

    eventually(lambda: reason("second") == "Duplicate", say=installation.tell)
    assert reason("first") == "Reconciled"
    installation.kube.delete(f"{CREDENTIALS.format(installation.tenant)}/first")
    eventually(lambda: reason("second") == "Reconciled", say=installation.tell)


def test_the_controller_reads_no_secret_that_no_app_names(installation):
    controller = installation.start()
    installation.app()
    installation.kube.create(
        SECRETS.format(installation.tenant), {"metadata": {"name": "unrelated"}, "stringData": {"password": "canary-unrelated"}}
    )
    controller.terminate()
    assert "canary-unrelated" not in controller.log.read_text()
