"""A tenant namespace that the operator may not read does not hold up the others."""

import json

import pytest

from tests.control_plane.harness import condition, eventually

pytestmark = pytest.mark.control_plane
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def rule(groups, resources, verbs, names=()):
    return {"apiGroups": [groups], "resources": resources, "verbs": verbs, **({"resourceNames": list(names)} if names else {})}


def rights(installation):
    """Namespace (None: the cluster) → rules."""
    keys = ("co-keys-access", "co-keys-refresh", "co-keys-grant", "co-keys-cookie")
    return {
        installation.system: [
            rule("", ["secrets", "configmaps"], ["create"]),
            rule("", ["secrets"], ["get", "update"], ("co-ca", "co-broker-tls", *keys)),
            rule("", ["configmaps"], ["get", "patch"], ("co-grant-key",)),
            rule("coordination.k8s.io", ["leases"], ["create"]),
            rule("coordination.k8s.io", ["leases"], ["get", "update"], ("co-controller",)),
        ],
        installation.tokens: [rule("", ["secrets"], ["get", "list", "watch", "create", "update", "delete"])],
        installation.tenant: [
            rule("cubeoauth.dev", ["oauthapps", "usercredentials"], ["get", "list", "watch"]),
            rule("cubeoauth.dev", ["oauthapps/status", "usercredentials/status"], ["patch"]),
            rule("", ["secrets"], ["get"], ("trino-client",)),
            rule("events.k8s.io", ["events"], ["create"]),
            rule("", ["pods"], ["list"]),
            rule("apps", ["deployments", "statefulsets", "daemonsets"], ["list"]),
            rule("apps", ["replicasets"], ["get"]),
        ],
        None: [rule("admissionregistration.k8s.io", ["mutatingwebhookconfigurations"], ["get", "patch"], (installation.system,))],
    }


@pytest.fixture
def restricted(installation, tmp_path, control_plane):
    """A kubeconfig for a service account with these rights."""
    kube, system = installation.kube, installation.system
    kube.create(f"/api/v1/namespaces/{system}/serviceaccounts", {"metadata": {"name": "controller"}})
    subject = {"kind": "ServiceAccount", "name": "controller", "namespace": system}
    for namespace, rules in rights(installation).items():
        kind, path = ("Role", f"{RBAC}/namespaces/{namespace}/roles") if namespace else ("ClusterRole", f"{RBAC}/clusterroles")
        kube.create(path, {"metadata": {"name": system}, "rules": rules})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": system}
        kube.create(
            path.replace("roles", "rolebindings"), {"metadata": {"name": system}, "roleRef": reference, "subjects": [subject]}
        )
    asked = kube.create(f"/api/v1/namespaces/{system}/serviceaccounts/controller/token", {"spec": {"expirationSeconds": 3600}})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": control_plane.url, "certificate-authority": str(control_plane.kubeconfig.parent / "ca.crt")},
            }
        ],
        "users": [{"name": "u", "user": {"token": asked["status"]["token"]}}],
    }
    path = tmp_path / "restricted.kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


def refused(controller, namespace):
    return f'cube_oauth_controller_namespace_refused{{namespace="{namespace}"}} 1.0' in controller.page("/metrics")[1]


def test_the_others_are_served_and_it_is_said_which_is_refused_and_it_heals(installation, restricted):
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
