"""What the controller makes and keeps: keys, certificates, the webhook's caBundle, the Lease; and that it tells no secret."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from cube_oauth.controller.x509 import new_authority
from cube_oauth.resources.secrets import decode
from tests.control_plane.harness import CLIENTS, CREDENTIALS, PATIENCE, SECRETS, eventually

pytestmark = pytest.mark.control_plane
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


def stored(installation, name):
    secret = installation.kube.get(f"{SECRETS.format(installation.system)}/{name}")
    return decode(secret) if secret else None


@pytest.fixture
def webhook(installation):
    """As the chart makes it: without a caBundle."""
    name = installation.system
    installation.kube.create(
        WEBHOOKS,
        {
            "metadata": {"name": name},
            "webhooks": [
                {
                    "name": "inject.cubeoauth.dev",
                    "clientConfig": {"service": {"name": "co-broker", "namespace": name, "path": "/inject"}},
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "failurePolicy": "Ignore",
                    "objectSelector": {"matchLabels": {"nobody": name}},
                    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
                }
            ],
        },
    )
    yield f"{WEBHOOKS}/{name}"
    installation.kube.delete(f"{WEBHOOKS}/{name}")


def test_the_brokers_certificate_is_good_for_its_service(installation):
    installation.start()
    tls = eventually(lambda: stored(installation, "co-broker-tls"))
    leaf = x509.load_pem_x509_certificate(tls["tls.crt"].encode())
    authorities = x509.load_pem_x509_certificates(tls["ca.crt"].encode())
    name = f"co-broker.{installation.system}.svc"
    PolicyBuilder().store(Store(authorities)).build_server_verifier(x509.DNSName(name)).verify(leaf, [])
    assert leaf.not_valid_after_utc - datetime.now(UTC) > timedelta(days=29)


def test_the_webhook_gets_the_authority_and_gets_it_again_when_somebody_resets_it(installation, webhook):
    installation.start()

    def bundle():
        return installation.kube.get(webhook)["webhooks"][0]["clientConfig"].get("caBundle")

    eventually(bundle, say=installation.tell)
    expected = base64.b64encode(stored(installation, "co-ca")["bundle"].encode()).decode()
    assert bundle() == expected
    found = installation.kube.get(webhook)
    found["webhooks"][0]["clientConfig"]["caBundle"] = base64.b64encode(tls_of_another().encode()).decode()
    installation.kube.ask("PUT", webhook, found)
    eventually(lambda: bundle() == expected, say=installation.tell)
    hook = installation.kube.get(webhook)["webhooks"][0]
    assert hook["clientConfig"]["service"]["path"] == "/inject"
    assert hook["objectSelector"] == {"matchLabels": {"nobody": installation.system}}


def tls_of_another():
    return new_authority(datetime.now(UTC), timedelta(days=1))[0]


def test_a_certificate_that_somebody_removed_is_made_again_from_the_same_authority(installation):
    installation.start()
    eventually(lambda: stored(installation, "co-broker-tls"))
    authority = stored(installation, "co-ca")
    installation.kube.delete(f"{SECRETS.format(installation.system)}/co-broker-tls")
    assert eventually(lambda: stored(installation, "co-broker-tls"))["ca.crt"] == authority["bundle"]


def test_the_lease_is_in_utc_and_left_without_a_holder(installation):
    controller = installation.start()
    path = f"/apis/coordination.k8s.io/v1/namespaces/{installation.system}/leases/co-controller"
    renewed = datetime.fromisoformat(installation.kube.get(path)["spec"]["renewTime"])
    assert abs(datetime.now(UTC) - renewed) < timedelta(minutes=1)
    controller.terminate()
    assert "holderIdentity" not in installation.kube.get(path)["spec"]


def test_a_leader_that_cannot_renew_ends_and_another_takes_over(installation, control_plane):
    first = installation.start()
    control_plane.pause_apiserver()
    try:
        eventually(lambda: first.page("/readyz")[0] != 200, say=installation.tell)
    finally:
        control_plane.resume_apiserver()
    assert first.child.wait(PATIENCE) == 0
    installation.start()


def test_wrong_settings_are_said_in_one_sentence(installation):
    controller = installation.start(active=None, CUBE_OAUTH_ALLOWED_ADDRESSES="everything")
    assert controller.child.wait(PATIENCE) == 2
    assert "CUBE_OAUTH_ALLOWED_ADDRESSES must be networks" in controller.log.read_text()


def test_no_token_code_or_secret_is_told_anywhere(installation, provider):
    controller = installation.start(CUBE_OAUTH_LOG_LEVEL="DEBUG")
    installation.app(refresh={"percentOfLifetime": 10, "requestsPerSecond": 1000})
    provider.control.lifetimes(accessToken=30)
    secrets = set(CLIENTS.values())
    credential = installation.connect("alice")
    secrets |= set(installation.plain("alice"))
    installation.until("alice", "trino", lambda status: status["revision"] >= 2)
    secrets |= set(installation.plain("alice"))
    installation.authorize("bob", code="canary-code", code_verifier="canary-verifier")
    installation.until("bob", "trino", lambda status: len(status.get("conditions", [])) == 3)
    provider.control.fail(2, status=503, body={"error": "server_error", "error_description": "canary-words-of-the-provider"})
    eventually(lambda: provider.control.stats()["injected"] == 2, say=installation.tell)
    installation.kube.delete(f"{CREDENTIALS.format(installation.tenant)}/{credential['metadata']['name']}")
    eventually(lambda: installation.stored("token") == [])
    told = "\n".join(
        [
            controller.page("/metrics")[1],
            json.dumps(installation.events()),
            json.dumps(installation.kube.get(CREDENTIALS.format(installation.tenant))),
            json.dumps(installation.kube.get(f"/apis/cubeoauth.dev/v1alpha1/namespaces/{installation.tenant}/oauthapps")),
        ]
    )
    controller.terminate()
    told += controller.log.read_text()
    assert "Refreshed" in told  # we looked in the right place
    for secret in {*secrets, "canary-code", "canary-verifier", "canary-words-of-the-provider"}:
        assert secret not in told


def test_metrics_say_who_is_connected_and_how_refreshes_go(installation, provider):
    controller = installation.start()
    installation.app(refresh={"percentOfLifetime": 10, "requestsPerSecond": 1000})
    provider.control.lifetimes(accessToken=30)
    installation.connect("alice")
    installation.until("alice", "trino", lambda status: status["revision"] >= 2)
    labels = f'app="trino",namespace="{installation.tenant}"'
    told = controller.page("/metrics")[1]
    where = f'namespace="{installation.tenant}",app="trino"'
    lines = [line.replace(where, labels) for line in told.splitlines()]
    assert f'cube_oauth_controller_credentials{{{labels},state="active"}} 1.0' in lines
    assert any(line.startswith("cube_oauth_controller_refreshes_total{") and 'reason="Refreshed"' in line for line in lines)
    soonest = next(line for line in lines if line.startswith("cube_oauth_controller_soonest_expiry_timestamp_seconds{"))
    assert float(soonest.split()[-1]) > time.time()
    assert any(line.startswith("cube_oauth_controller_queue_length{") for line in lines)


def test_events_tell_a_person_what_happened_and_once(installation):
    installation.start()
    installation.app()
    credential = installation.connect("alice")
    installation.connect("alice")
    uid = credential["metadata"]["uid"]

    def connected():
        return [one for one in installation.events() if one["regarding"].get("uid") == uid and one["reason"] == "Connected"]

    assert len(eventually(connected, say=installation.tell)) == 1
