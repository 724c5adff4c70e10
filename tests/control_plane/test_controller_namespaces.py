"""A tenant namespace that the operator may not read does not hold up the others."""

import pytest

from tests.control_plane.harness import condition, eventually
from tests.control_plane.test_controller_rights import RBAC, restricted, rights  # noqa: F401 - a fixture

pytestmark = pytest.mark.control_plane


def refused(controller, namespace):
    return f'cube_oauth_controller_namespace_refused{{namespace="{namespace}"}} 1.0' in controller.page("/metrics")[1]


def test_the_others_are_served_and_it_is_said_which_is_refused_and_it_heals(installation, restricted):  # noqa: F811
    kube, other = installation.kube, f"{installation.tenant}-other"
    kube.create("/api/v1/namespaces", {"metadata": {"name": other}})
    controller = installation.start(KUBECONFIG=restricted, CUBE_OAUTH_NAMESPACES=f"{other},{installation.tenant}")
    eventually(lambda: refused(controller, other), say=installation.tell)
    assert any(line.get("reason") == "Forbidden" and line.get("namespace") == other for line in controller.lines())
    installation.app()
    installation.connect("alice")

    subject = {"kind": "ServiceAccount", "name": "controller", "namespace": installation.system}
    kube.create(
        f"{RBAC}/namespaces/{other}/roles",
        {"metadata": {"name": "controller"}, "rules": rights(installation)[installation.tenant]},
    )
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "controller"}
    kube.create(
        f"{RBAC}/namespaces/{other}/rolebindings",
        {"metadata": {"name": "controller"}, "roleRef": reference, "subjects": [subject]},
    )
    eventually(lambda: not refused(controller, other), say=installation.tell)
    installation.tenant = other
    installation.credential("bob")
    eventually(lambda: condition(installation.look("bob"), "Ready")["reason"] == "AppNotFound", say=installation.tell)
    assert controller.child.poll() is None
