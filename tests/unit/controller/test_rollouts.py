"""Which pods read what a service account was before, and have no hook to learn of the newer one."""

from datetime import timedelta

import pytest

from cube_oauth.controller.restarts import Outdated
from cube_oauth.controller.rollouts import Rolled, Rollouts, behind, reads
from cube_oauth.kube.api import PODS, REPLICA_SETS
from cube_oauth.resources.meta import rfc3339
from tests.unit.controller.fakes import FakeApi
from tests.unit.lifecycle.samples import HOUR, NOW

SECRET = "trino-service-account"
BY_ENV_FROM = {"envFrom": [{"configMapRef": {"name": SECRET}}, {"secretRef": {"name": SECRET}}]}
BY_KEY = {"env": [{"name": "A", "value": SECRET}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "B"}}}]}
OTHERWISE = {"envFrom": [{"configMapRef": {"name": SECRET}}], "env": [{"name": "A", "value": SECRET}]}


def pod(container=BY_ENV_FROM, *, began=NOW - HOUR, phase="Running", name="cube-1", owner="rs", **meta):
    return {
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "creationTimestamp": rfc3339(began),
            "ownerReferences": [
                {"kind": "ReplicaSet", "apiVersion": "apps/v1", "name": owner, "uid": f"uid-{owner}", "controller": True}
            ],
            **meta,
        },
        "spec": {"containers": [{"name": "other"}, {"name": "cube", **container}]},
        "status": {"phase": phase},
    }


@pytest.mark.parametrize(("container", "does"), [(BY_ENV_FROM, True), (BY_KEY, True), (OTHERWISE, False), ({}, False)])
def test_a_pod_reads_a_secret_by_envfrom_or_by_a_key(container, does):
    assert reads(pod(container), SECRET) is does


@pytest.mark.parametrize(
    ("one", "is_behind"),
    [
        (pod(), True),
        (pod(began=NOW + timedelta(seconds=1)), False),
        (pod(annotations={"cubeoauth.dev/injected": "v1 image"}), False),
        (pod(deletionTimestamp=rfc3339(NOW)), False),
        (pod(phase="Succeeded"), False),
        (pod(OTHERWISE), False),
    ],
    ids=["began before", "began after", "has the hook", "is about to end", "has ended", "reads another"],
)
def test_a_pod_is_behind_when_it_began_with_the_value_before(one, is_behind):
    assert bool(behind([one], SECRET, NOW)) is is_behind


class FakeRestarts:
    def __init__(self, waits=True, enabled=True):
        self.asked, self.waits, self.enabled = [], waits, enabled

    async def workloads(self, namespace):
        return [{"kind": "Deployment", "metadata": {"name": name, "uid": f"uid-{name}"}} for name in ("cube", "unrelated")]

    async def restart(self, namespace, outdated):
        self.asked += outdated
        return self.waits


def cluster():
    api = FakeApi()
    for one in (pod(), pod(name="cube-2"), pod(OTHERWISE, name="unrelated-1", owner="unrelated-rs")):
        api.store(PODS.path("team", one["metadata"]["name"]), one)
    owner = {"kind": "Deployment", "apiVersion": "apps/v1", "name": "cube", "uid": "uid-cube", "controller": True}
    api.store(REPLICA_SETS.path("team", "rs"), {"metadata": {"name": "rs", "ownerReferences": [owner]}})
    return api


async def test_what_manages_the_pods_behind_is_restarted_once_for_this_version():
    restarts = FakeRestarts()
    assert await Rollouts(cluster(), restarts).roll("team", SECRET, NOW, "trino-2") is Rolled.WAITING
    assert restarts.asked == [
        Outdated({"kind": "Deployment", "metadata": {"name": "cube", "uid": "uid-cube"}}, "service-account", "trino-2")
    ]


async def test_nobody_is_looked_for_when_no_pod_is_behind():
    restarts = FakeRestarts()
    assert await Rollouts(FakeApi(), restarts).roll("team", SECRET, NOW, "trino-2") is Rolled.OUT
    assert restarts.asked == []


@pytest.mark.parametrize(("enabled", "found"), [(True, Rolled.UNASKED), (False, Rolled.OUT)])
async def test_what_is_behind_and_does_not_ask_may_ask_later_where_the_chart_permits_it(enabled, found):
    restarts = FakeRestarts(waits=False, enabled=enabled)
    assert await Rollouts(cluster(), restarts).roll("team", SECRET, NOW, "trino-2") is found
