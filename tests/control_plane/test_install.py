"""What the chart renders is accepted by a real API server, strictly, as one `kubectl apply` of plain manifests."""

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


def test_the_policies_hold_the_portal_to_grants(kubectl):
    """RBAC cannot say "Secrets, but only of this type"; the ValidatingAdmissionPolicy can."""
    helm = binaries.ensure(("helm",))["helm"]
    chart, values = ROOT / "charts/cube-oauth-operator", ROOT / "examples/values.yaml"
    rendered = run([helm, "template", "cube-oauth", chart, "-n", "policy-test", "-f", values, "--set", "namespaces={analytics}"])
    for namespace in ("policy-test", "policy-test-tokens", "analytics"):
        kubectl("create", "namespace", namespace, check=False)
    applied = kubectl("apply", "--server-side", "-f", "-", input=rendered, check=False)
    try:
        assert applied.returncode == 0, applied.stderr
        portal = "--as=system:serviceaccount:policy-test:cube-oauth-portal"
        opaque = ("create", "secret", "generic", "x", "-n", "policy-test-tokens", "--dry-run=server")
        _eventually(lambda: "of type cubeoauth.dev/grant only" in kubectl(*opaque, portal, check=False).stderr)
        grant = (*opaque, "--type=cubeoauth.dev/grant", "--from-literal=grant=x")
        assert kubectl(*grant, portal, check=False).returncode == 0
        assert "only the portal may create" in kubectl(*grant, check=False).stderr, "not even an administrator hands in a grant"
        assert kubectl("get", "secrets", "-n", "policy-test-tokens", portal, check=False).returncode != 0
    finally:
        kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input=_without_crds(rendered))


def _eventually(check, tries=100):
    for _ in range(tries):
        if check():
            return
        time.sleep(0.1)  # the API server takes a moment to know a new policy
    raise AssertionError("it did not come true")


def _without_crds(rendered):
    """Other tests of the session go on using the kinds."""
    return "\n---\n".join(part for part in rendered.split("\n---\n") if "kind: CustomResourceDefinition" not in part)
