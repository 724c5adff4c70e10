"""A credential's life, with a real API server and a certified provider whose refresh tokens are single-use."""

import pytest

from tests.control_plane.harness import CREDENTIALS, SECRETS, condition, eventually

pytestmark = pytest.mark.control_plane


def test_an_authorization_becomes_an_active_credential(installation):
    installation.start()
    installation.app()
    installation.connect("alice")
    status = installation.status("alice")
    assert status["revision"] == 1
    assert condition(installation.look("alice"), "Authorized")["status"] == "True"
    assert installation.stored("grant") == []
    access, refresh = installation.plain("alice")
    assert access.count(".") == 2
    assert refresh


def test_a_token_is_refreshed_ahead_of_its_end_and_no_refresh_token_is_redeemed_twice(installation, provider):
    provider.control.lifetimes(accessToken=30)
    installation.start()
    installation.app(refresh={"percentOfLifetime": 10, "requestsPerSecond": 1000})
    installation.connect("alice")
    seen = []

    def fourth():
        status = installation.status("alice")
        seen.append(status["state"])
        return status["revision"] >= 4

    eventually(fourth, say=installation.tell)
    assert set(seen) == {"Active"}
    stats = provider.control.stats()
    assert stats["redeemedTwice"] == 0
    assert stats["reuseDetected"] == 0
    assert stats["issued"]["refresh_token"] >= 3


def test_a_deleted_credential_is_revoked_at_the_provider_and_its_tokens_are_removed(installation, provider):
    installation.start()
    installation.app()
    credential = installation.connect("alice")
    path = CREDENTIALS.format(installation.tenant)
    installation.kube.delete(f"{path}/{credential['metadata']['name']}")
    eventually(lambda: installation.stored("token") == [], say=installation.tell)
    eventually(lambda: provider.control.grants() == [], say=installation.tell)


def test_the_keys_are_made_once(installation):
    installation.start().terminate()
    path = f"{SECRETS.format(installation.system)}/co-keys-refresh"
    before = installation.kube.get(path)["data"]
    installation.start()
    assert installation.kube.get(path)["data"] == before
