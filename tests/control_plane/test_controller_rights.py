"""The rights that the controller needs, and no more: with exactly these it does everything."""

import json

import pytest

from tests.control_plane.harness import CREDENTIALS, eventually

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


def test_with_exactly_these_rights_a_person_is_connected_refreshed_and_revoked(installation, provider, restricted):
    controller = installation.start(KUBECONFIG=restricted)
    provider.control.lifetimes(accessToken=6)
    installation.app()
    credential = installation.connect("alice")
    installation.until("alice", "trino", lambda status: status["revision"] >= 2)
    installation.kube.delete(f"{CREDENTIALS.format(installation.tenant)}/{credential['metadata']['name']}")
    eventually(lambda: installation.stored("token") == [], say=installation.tell)
    eventually(lambda: any(one["reason"] == "Connected" for one in installation.events()), say=installation.tell)
    controller.terminate()
    assert "Forbidden" not in controller.log.read_text()


def test_a_client_secret_that_may_not_be_read_is_said_at_the_app(installation, restricted):
    installation.start(KUBECONFIG=restricted)
    installation.client_secret("other", "x")
    installation.app("other", secret=False)
    eventually(lambda: installation.ready("other")["reason"] == "ClientSecretForbidden", say=installation.tell)
    assert "clientSecretNames" in installation.ready("other")["message"]
