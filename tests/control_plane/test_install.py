"""What the chart renders is accepted by a real API server, strictly, as one `kubectl apply` of plain manifests."""

import json
import time
from pathlib import Path

import pytest

from tests.cluster import binaries
from tests.cluster.commands import run

pytestmark = pytest.mark.control_plane

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("namespaces", ["{analytics,reports}", "{*}"])
def test_the_manifests_are_accepted(kubectl, namespaces):
    helm = binaries.ensure(("helm",))["helm"]
    chart, values = ROOT / "charts/cube-oauth-operator", ROOT / "examples/values.yaml"
    command = [helm, "template", "cube-oauth", chart, "-n", "cube-oauth", "-f", values, "--set", f"namespaces={namespaces}"]
    for namespace in ("cube-oauth", "cube-oauth-tokens", "analytics", "reports"):
        kubectl("create", "namespace", namespace, check=False)
    answer = kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"), input=run(command), check=False
    )
    assert answer.returncode == 0, answer.stderr


def test_where_there_are_administrators_the_policies_hold_portal_and_controller(kubectl):
    helm = binaries.ensure(("helm",))["helm"]
    chart, values = ROOT / "charts/cube-oauth-operator", ROOT / "examples/values.yaml"
    settings = ("--set", "namespaces={admin-test-tenant}", "--set", "admins.groups={platform}")
    rendered = run([helm, "template", "cube-oauth", chart, "-n", "admin-test", "-f", values, *settings])
    for namespace in ("admin-test", "admin-test-tokens", "admin-test-tenant"):
        kubectl("create", "namespace", namespace, check=False)
    applied = kubectl("apply", "--server-side", "-f", "-", input=rendered, check=False)
    portal, controller = (f"--as=system:serviceaccount:admin-test:cube-oauth-{process}" for process in ("portal", "controller"))

    def asked(who, body, verb="create"):
        answer = kubectl(verb, "-n", "admin-test-tenant", "--dry-run=server", "-f", "-", who, input=json.dumps(body), check=False)
        return answer.stderr if answer.returncode else ""

    try:
        assert applied.returncode == 0, applied.stderr
        _eventually(
            lambda: (
                "neither give an OAuthApp a service account"
                in asked(portal, _app(serviceAccount={"secretRef": {"name": "x"}, "env": {"A": "a"}}))
            )
        )
        _eventually(lambda: "and of those only its own" in asked(controller, _secret({})))
        assert asked(portal, _app()) == ""
        assert asked(portal, _app(clientSecretRef={"name": "sales-client"})) == ""
        assert "client Secrets of their own name" in asked(portal, _app(clientSecretRef={"name": "cube-api"}))
        _the_portal_changes_and_deletes(kubectl, portal)
        ours = {"cubeoauth.dev/oauth-client": "sales", "app.kubernetes.io/managed-by": "cube-oauth-operator"}
        assert asked(controller, _secret(ours)) == ""
        kubectl("create", "-n", "admin-test-tenant", "-f", "-", input=json.dumps(_secret({})))
        assert "and of those only its own" in asked(controller, _secret(ours), "replace"), "somebody else's"
        deposit = ("create", "secret", "generic", "x", "-n", "admin-test-tokens", "--dry-run=server", "--type=cubeoauth.dev/client")
        _eventually(lambda: "only the portal may create" in kubectl(*deposit, check=False).stderr)
        assert kubectl(*deposit, portal, check=False).returncode == 0
    finally:
        kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input=_without_crds(rendered))


def _the_portal_changes_and_deletes(kubectl, portal):
    account = {"secretRef": {"name": "x"}, "env": {"A": "a"}}
    by_hand = _app(clientSecretRef={"name": "by-hand"}, serviceAccount=account)
    kubectl("create", "-n", "admin-test-tenant", "-f", "-", input=json.dumps(by_hand))

    def patched(**spec):
        patch = ("patch", "oauthapp", "sales", "-n", "admin-test-tenant", "--dry-run=server", "--type=merge", "-p")
        answer = kubectl(*patch, json.dumps({"spec": spec}), portal, check=False)
        return answer.stderr if answer.returncode else ""

    assert patched(clientID="other") == ""
    assert patched(clientSecretRef={"name": "sales-client-abc"}) == ""
    assert patched(clientSecretRef=None) == ""
    assert "client Secrets of their own name only" in patched(clientSecretRef={"name": "cube-api"})
    assert "nor change it" in patched(serviceAccount={"secretRef": {"name": "y"}})
    assert "nor change it" in patched(serviceAccount=None)
    status = ("patch", "oauthapp", "sales", "-n", "admin-test-tenant", "--subresource=status", "--type=merge", "-p", "{}")
    assert kubectl(*status, portal, check=False).returncode != 0, "what the controller says is the controller's"
    assert kubectl("delete", "oauthapp", "sales", "-n", "admin-test-tenant", portal, check=False).returncode == 0


def _app(**spec):
    return {
        "apiVersion": "cubeoauth.dev/v1alpha1",
        "kind": "OAuthApp",
        "metadata": {"name": "sales"},
        "spec": {"clientID": "cube", "issuerURL": "https://idp.example.com", **spec},
    }


def _secret(labels):
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": {"name": "sales-client", "labels": labels}}


def _eventually(check, tries=100):
    for _ in range(tries):
        if check():
            return
        time.sleep(0.1)  # the API server takes a moment to know a new policy
    raise AssertionError("it did not come true")


def _without_crds(rendered):
    """Other tests of the session go on using the kinds."""
    return "\n---\n".join(part for part in rendered.split("\n---\n") if "kind: CustomResourceDefinition" not in part)
