"""Service accounts against a real API server and a real provider: fetched, copied with consent, taken back, removed."""

import base64
import json
import time

import pytest
from joserfc.jwk import ECKey

from cube_oauth.resources.accounts import AccountSecret
from tests.cluster import binaries
from tests.cluster.commands import run
from tests.control_plane.harness import APPS, ROOT, SECRETS, SERVICE_KEYS, SERVICE_SECRET, eventually

pytestmark = pytest.mark.control_plane
CONSENT = "cubeoauth.dev/service-account-namespaces"
READY = "ServiceAccountReady"


@pytest.fixture
def running(installation):
    installation.start()
    return installation


@pytest.fixture
def vault(kubectl, namespace):
    """Another team's namespace, with a service account of its own."""
    return namespace


def fetched(running, secret=SERVICE_SECRET, client="warehouse-account", method=None, **more):
    """An app whose service account is a client of its own."""
    running.client_secret("account", secret, consent="trino")
    own = {"clientID": client, "clientSecretRef": {"name": "account-client"}, "scopes": ["query"]}
    own |= {"clientAuthentication": method} if method else {}
    return running.app(serviceAccount={"clientCredentials": own, "env": {"TOKEN": "accessToken"}}, **more)


def secret(running, name, namespace=None):
    return running.kube.get(f"{SECRETS.format(namespace or running.tenant)}/{name}")


def target(running, app="trino"):
    """What pods read; None while it is not there."""
    found = secret(running, f"{app}-service-account")
    return found and {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}


def published(running):
    """What the broker reads."""
    [found] = running.stored("account")
    account = AccountSecret.from_kubernetes(found)
    opened = account.values and running.ring("access").open(account.values, account.record.owner)
    return account.record, opened and json.loads(opened.get_secret_value())


def app_version(running):
    """Changes with every word that is said at the app."""
    return running.kube.get(f"{APPS.format(running.tenant)}/trino")["metadata"]["resourceVersion"]


def said(running, reason):
    def there():
        found = running.condition(READY)
        return found if found["reason"] == reason else None

    return eventually(there, say=running.tell)


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def put(running, namespace, name="warehouse", *, consent=None, **data):
    """What the owner of a service account does: create it, or change it."""
    path = SECRETS.format(namespace)
    annotations = {CONSENT: consent}
    body = {"metadata": {"name": name, "annotations": annotations}, "stringData": data}
    if running.kube.get(f"{path}/{name}"):
        return running.kube.patch(f"{path}/{name}", body)
    return running.kube.create(path, body)


def copied(running, vault):
    running.app(serviceAccount={"secretRef": {"name": "warehouse", "namespace": vault}, "env": {"PASS": "password"}})


def test_a_token_is_fetched_again_and_again_and_is_always_good_for_a_quarter_of_its_lifetime(running, provider):
    provider.control.lifetimes(clientCredentials=16)
    fetched(running, refresh={"percentOfLifetime": 40})  # seconds are left until a quarter, also on a busy machine
    said(running, "Published")
    version = app_version(running)
    seen = set()

    def three_tokens():
        now = time.time()
        token = target(running)["TOKEN"]
        read = claims(token)
        assert read["exp"] - now > (read["exp"] - read["iat"]) / 4 - 1, "whole seconds in a JWT"
        seen.add(token)
        return len(seen) == 3

    eventually(three_tokens, say=running.tell)
    assert {claims(token)["sub"] for token in seen} == {"cube-service-account"}
    eventually(lambda: published(running)[1] == target(running))
    assert app_version(running) == version, "no word about it"
    log = "".join(one.log.read_text() for one in running.controllers)
    assert not any(token in log for token in seen)
    assert not any(token in json.dumps(running.stored("account")) for token in seen)


def test_a_restart_asks_the_provider_nothing(running, provider):
    fetched(running)
    said(running, "Published")
    before = target(running)
    provider.control.reset_stats()
    running.controllers[-1].terminate()
    running.kube.delete(f"{SECRETS.format(running.tenant)}/trino-service-account")
    running.start()
    eventually(lambda: target(running) == before, say=running.tell)
    assert "client_credentials" not in provider.control.stats()["issued"]


def test_a_wrong_client_secret_is_said_with_the_providers_reason_and_heals_when_it_is_corrected(running):
    fetched(running, secret="wrong")
    assert "client" in said(running, "InvalidClient")["message"]
    assert running.ready()["status"] == "True", "people can connect all the same"
    assert target(running) is None
    running.client_secret("account", SERVICE_SECRET, consent="trino")
    said(running, "Published")
    assert claims(target(running)["TOKEN"])["sub"] == "cube-service-account"


def test_a_private_key_is_rotated_without_a_word_and_one_that_the_provider_does_not_know_is_said(running, provider):
    provider.control.lifetimes(clientCredentials=8)
    first, second = (key.as_pem(private=True).decode() for key in SERVICE_KEYS)
    fetched(running, first, "warehouse-key", "private_key_jwt")
    said(running, "Published")
    before, version = target(running)["TOKEN"], app_version(running)
    running.client_secret("account", second, consent="trino")
    eventually(lambda: target(running)["TOKEN"] != before, say=running.tell)
    assert app_version(running) == version
    assert claims(target(running)["TOKEN"])["client_id"] == "warehouse-key"
    running.client_secret("account", ECKey.generate_key("P-256").as_pem(private=True).decode(), consent="trino")
    assert "client" in said(running, "InvalidClient")["message"]
    running.client_secret("account", "-----BEGIN PRIVATE KEY-----", consent="trino")
    said(running, "InvalidClientSecret")
    running.client_secret("account", second, consent="trino")
    said(running, "Published")
    log = "".join(one.log.read_text() for one in running.controllers)
    assert not any(line in log for key in (first, second) for line in key.splitlines()[1:-1])


def test_a_secret_that_somebody_else_made_is_never_overwritten(running):
    mine = {"metadata": {"name": "trino-service-account"}, "stringData": {"TOKEN": "mine"}}
    running.kube.create(SECRETS.format(running.tenant), mine)
    fetched(running)
    assert "trino-service-account" in said(running, "TargetTaken")["message"]
    assert target(running) == {"TOKEN": "mine"}
    running.kube.delete(f"{SECRETS.format(running.tenant)}/trino-service-account")
    said(running, "Published")
    assert target(running)["TOKEN"] != "mine"


def test_a_secret_of_another_namespace_is_copied_while_it_consents_and_changes_arrive(running, vault):
    put(running, vault, password="first")
    copied(running, vault)
    assert CONSENT in said(running, "SourceNotConsented")["message"]
    assert target(running) is None
    put(running, vault, consent=f"elsewhere, {running.tenant}", password="first")
    said(running, "Published")
    assert target(running) == {"PASS": "first"}
    put(running, vault, consent=running.tenant, password="second")
    eventually(lambda: target(running) == {"PASS": "second"}, say=running.tell)
    eventually(lambda: published(running)[1] == {"PASS": "second"})
    put(running, vault, consent="elsewhere", password="second")
    said(running, "SourceNotConsented")
    assert target(running) == {}
    assert published(running)[1] is None
    put(running, vault, consent=running.tenant, password="third")
    eventually(lambda: target(running) == {"PASS": "third"}, say=running.tell)


def test_a_source_that_is_gone_is_taken_back(running, vault):
    put(running, vault, consent=running.tenant, password="first")
    copied(running, vault)
    said(running, "Published")
    running.kube.delete(f"{SECRETS.format(vault)}/warehouse")
    said(running, "SourceNotFound")
    assert target(running) == {}
    record, values = published(running)
    assert (values, record.withdrawn, record.variables) == (None, "SourceNotFound", ("PASS",))


def test_a_secret_beside_cube_is_followed_where_it_is(running):
    put(running, running.tenant, password="first")
    running.app(serviceAccount={"secretRef": {"name": "warehouse"}, "env": {"PASS": "password"}})
    said(running, "Published")
    put(running, running.tenant, password="second")
    eventually(lambda: published(running)[1] == {"PASS": "second"}, say=running.tell)
    assert target(running) is None
    assert running.kube.get(f"{APPS.format(running.tenant)}/trino")["status"]["serviceAccountSecret"] == "warehouse"


def test_deleting_the_app_removes_what_was_made_for_it_and_nothing_else(running, vault):
    put(running, vault, consent=running.tenant, password="first")
    copied(running, vault)
    said(running, "Published")
    owner = secret(running, "trino-service-account")["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("OAuthApp", "trino")
    assert "finalizers" not in secret(running, "trino-service-account")["metadata"]
    before = {item["metadata"]["name"] for item in running.kube.items(SECRETS.format(running.tenant))}
    running.kube.delete(f"{APPS.format(running.tenant)}/trino")
    eventually(lambda: target(running) is None and running.stored("account") == [], say=running.tell)
    after = {item["metadata"]["name"] for item in running.kube.items(SECRETS.format(running.tenant))}
    assert before - after == {"trino-service-account"}
    assert secret(running, "warehouse", vault)


def test_an_app_that_was_deleted_while_nobody_was_there_is_cleared_up_after(running, vault):
    put(running, vault, consent=running.tenant, password="first")
    copied(running, vault)
    said(running, "Published")
    running.controllers[-1].terminate()
    running.kube.delete(f"{APPS.format(running.tenant)}/trino")
    running.start()
    eventually(lambda: target(running) is None and running.stored("account") == [], say=running.tell)


def test_with_the_charts_rights_the_controller_sees_only_the_named_secret_and_writes_only_its_own_type(kubectl, vault):
    sources = json.dumps({vault: ["warehouse"]})
    settings = (
        "--set",
        "namespaces={sa-test-tenant}",
        "--set",
        "serviceAccounts.enabled=true",
        "--set-json",
        f"serviceAccounts.sources={sources}",
    )
    helm, chart, values = binaries.ensure(("helm",))["helm"], ROOT / "charts/cube-oauth-operator", ROOT / "examples/values.yaml"
    parts = run([helm, "template", "cube-oauth", chart, "-n", "sa-test", "-f", values, *settings]).split("\n---\n")
    rendered = "\n---\n".join(part for part in parts if "kind: CustomResourceDefinition" not in part)
    for name in ("sa-test", "sa-test-tokens", "sa-test-tenant"):
        kubectl("create", "namespace", name, check=False)
    kubectl("apply", "--server-side", "-f", "-", input=rendered)
    controller = "--as=system:serviceaccount:sa-test:cube-oauth-controller"

    def made(type_, verb="create", name="x-service-account", dry="--dry-run=server"):
        body = {"apiVersion": "v1", "kind": "Secret", "type": type_, "metadata": {"name": name, "namespace": "sa-test-tenant"}}
        return kubectl(verb, dry, "-f", "-", controller, input=json.dumps(body), check=False).stderr

    try:
        seen = ("get", "secrets", "-n", vault, "--field-selector=metadata.name=warehouse", controller)
        eventually(lambda: kubectl(*seen, check=False).returncode == 0)
        for other in (("--field-selector=metadata.name=other",), ()):
            assert "forbidden" in kubectl("get", "secrets", "-n", vault, *other, controller, check=False).stderr
        assert "forbidden" in kubectl("get", "secrets", "-n", "sa-test-tenant", controller, check=False).stderr
        eventually(lambda: "and of those only its own" in made("Opaque"))
        assert made("cubeoauth.dev/service-account") == ""
        kubectl("create", "secret", "generic", "theirs", "-n", "sa-test-tenant")
        assert "and of those only its own" in made("Opaque", "delete", "theirs")
        made("cubeoauth.dev/service-account", dry="--dry-run=none")
        assert made("cubeoauth.dev/service-account", "delete") == ""
    finally:
        kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input=rendered, check=False)
