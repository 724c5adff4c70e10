"""Workloads on a real node: restarts one after the other, by the kubelet's own word for what is rolled out; what it makes of `env`.

After the story, whose installation it upgrades.
"""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.world import CHART, RELEASE, eventually

pytestmark = [pytest.mark.node, pytest.mark.timeout(1200)]

NAMESPACE, VAULT = "analytics", "warehouse"
SECRET, VARIABLE = "shared", "PASSWORD"
SETTLES = 8
"""Seconds until a ready pod is available: a rollout of two takes longer than until the controller looks again."""
ASKS = {"cubeoauth.dev/restart-when-outdated": "true"}
TELLS = f"import os, time; print(os.environ.get('{VARIABLE}')); time.sleep(1e6)"


@pytest.fixture(scope="module", autouse=True)
def permitted(world):
    """Restarts and service accounts, by the chart."""
    values = {"restarts": {"enabled": True}, "serviceAccounts": {"enabled": True, "sources": {VAULT: [SECRET]}}}
    world.helm("upgrade", RELEASE, str(CHART), "--reuse-values", "--wait", "--timeout", "180s", values=values)


@pytest.fixture(scope="module")
def image(world):
    """One that the node has, with Python in it."""
    [container] = get(world, "deployment", f"{RELEASE}-controller", RELEASE)["spec"]["template"]["spec"]["containers"]
    return container["image"]


def get(world, kind, name, namespace=NAMESPACE):
    return json.loads(world.cluster.kubectl("get", kind, name, "-n", namespace, "-o", "json"))


def deploy(world, image, *names, labels=None, **container):
    """Deployments that ask to be restarted, rolled out."""
    container = {"name": "cube", "image": image, "command": ["python3", "-u", "-c", TELLS], **container}
    for name in names:
        template = {
            "metadata": {"labels": {"app": name, **(labels or {})}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        }
        spec = {"replicas": 2, "minReadySeconds": SETTLES, "selector": {"matchLabels": {"app": name}}, "template": template}
        metadata = {"name": name, "namespace": NAMESPACE, "annotations": ASKS}
        world.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    for name in names:
        world.rollout(NAMESPACE, name)


def items(world, kind, name):
    found = json.loads(world.cluster.kubectl("get", kind, "-n", NAMESPACE, "-l", f"app={name}", "-o", "json"))["items"]
    return sorted(found, key=lambda item: item["metadata"]["creationTimestamp"])


def restarted(world, name, cause):
    """For which version it was restarted; None: not yet."""
    annotations = get(world, "deployment", name)["spec"]["template"]["metadata"].get("annotations", {})
    return annotations.get(f"restarted.cubeoauth.dev/{cause}")


def moment(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def began(world, name):
    """When the present rollout began."""
    return moment(items(world, "replicaset", name)[-1]["metadata"]["creationTimestamp"])


def ended(world, name):
    """When the last of the present pods was available."""
    pods = [pod for pod in items(world, "pod", name) if "deletionTimestamp" not in pod["metadata"]]
    ready = [one for pod in pods for one in pod["status"]["conditions"] if one["type"] == "Ready" and one["status"] == "True"]
    assert len(ready) == len(pods) == 2
    return max(moment(one["lastTransitionTime"]) for one in ready) + timedelta(seconds=SETTLES)


def in_turn(world, cause, first, second):
    """Both are restarted, one after the end of the other; for which version."""
    for name in (first, second):
        eventually(f"{name} is restarted", lambda name=name: restarted(world, name, cause), 120)
        world.rollout(NAMESPACE, name)
    print(f"{first} ended {ended(world, first)}, {second} began {began(world, second)}")
    assert ended(world, first) <= began(world, second)
    assert restarted(world, first, cause) == restarted(world, second, cause)
    assert [len(items(world, "replicaset", name)) for name in (first, second)] == [2, 2], "once"
    return restarted(world, first, cause)


def test_workloads_that_read_a_service_account_by_envfrom_are_rolled_out_one_after_the_other_when_it_changes(world, image):
    consent = {"cubeoauth.dev/service-account-namespaces": NAMESPACE}
    source = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": VAULT, "annotations": consent}}
    world.apply({**source, "stringData": {"password": "first"}})
    spec = get(world, "oauthapp", "trino")["spec"]
    account = {"secretRef": {"name": SECRET, "namespace": VAULT}, "env": {VARIABLE: "password"}}
    app = {"apiVersion": "cubeoauth.dev/v1alpha1", "kind": "OAuthApp", "metadata": {"name": "shared", "namespace": NAMESPACE}}
    world.apply({**app, "spec": {**spec, "dataSource": "shared", "serviceAccount": account}})
    world.wait_for(NAMESPACE, "oauthapp/shared", "ServiceAccountReady")
    deploy(world, image, "reader-a", "reader-b", envFrom=[{"secretRef": {"name": "shared-service-account"}}])
    deploy(world, image, "stranger")
    world.apply({**source, "stringData": {"password": "second"}})
    assert in_turn(world, "service-account", "reader-a", "reader-b").startswith("shared-2 of ")
    for name in ("reader-a", "reader-b"):
        assert world.cluster.kubectl("logs", "-n", NAMESPACE, f"deployment/{name}").strip() == "second"
    assert restarted(world, "stranger", "service-account") is None, "it reads nothing of it"


def test_workloads_with_old_sidecars_are_restarted_one_after_the_other_and_get_the_present_one(world, image):
    deploy(world, image, "cube-a", "cube-b", labels={"cubeoauth.dev/inject": "true"})
    present = items(world, "pod", "cube-a")[0]["metadata"]["annotations"]["cubeoauth.dev/injected"]
    for name in ("cube-a", "cube-b"):
        annotate = ("annotate", "pod", "-l", f"app={name}", "--overwrite", "cubeoauth.dev/injected=v1 an-older-image")
        world.cluster.kubectl(*annotate, "-n", NAMESPACE)
    assert in_turn(world, "sidecar", "cube-a", "cube-b") == present
    for name in ("cube-a", "cube-b"):
        assert {pod["metadata"]["annotations"]["cubeoauth.dev/injected"] for pod in items(world, "pod", name)} == {present}


ABSENT = {"name": "NODE_OPTIONS", "valueFrom": {"configMapKeyRef": {"name": "nowhere", "key": "options", "optional": True}}}
OPTIONS = "--max-old-space-size=512"


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("env-before", {"env": [{"name": "NODE_OPTIONS", "value": OPTIONS}, ABSENT]}),
        ("env-from", {"env": [ABSENT], "envFrom": [{"configMapRef": {"name": "options"}}]}),
    ],
)
def test_the_node_options_that_an_absent_one_leaves_to_count_come_before_the_hook(world, image, name, environment):
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "options", "namespace": NAMESPACE}}
    world.apply({**config, "data": {"NODE_OPTIONS": OPTIONS}})
    tells = "import os, time; print(os.environ['NODE_OPTIONS']); time.sleep(1e6)"
    container = {"name": "cube", "image": image, "command": ["python3", "-u", "-c", tells], **environment}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"cubeoauth.dev/inject": "true"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    # not applied: two variables of one name are for `create` only
    world.cluster.kubectl("create", "-f", "-", text_in=json.dumps({**pod, "spec": spec}))
    world.wait_for(NAMESPACE, f"pod/{name}", "Ready")
    logs = ("logs", "-n", NAMESPACE, name, "-c", "cube")
    said = eventually("a word of the container", lambda: world.cluster.kubectl(*logs).strip())  # ready is started, and no more
    assert said == f"{OPTIONS} --require=/run/cube-oauth/hook.cjs"
