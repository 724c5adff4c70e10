"""Which workload is restarted next: pure decisions, and what is written for it."""

import pytest

from cube_oauth.controller.restarts import FIELD_MANAGER, KINDS, NOT_ENABLED, Outdated, Restarts, chosen, rolled_out
from cube_oauth.kube.api import DEPLOYMENTS

NEW = "v1 registry/operator:2"


def workload(name="cube", *, asks="true", restarted=None, kind="Deployment", status=None, generation=1, **spec):
    annotations = {} if asks is None else {"cubeoauth.dev/restart-when-outdated": asks}
    template = {"metadata": {"annotations": {"restarted.cubeoauth.dev/sidecar": restarted}} if restarted else {}}
    counts = {"observedGeneration": generation, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}", "generation": generation, "annotations": annotations},
        "spec": {"replicas": 2, "template": template, **spec},
        "status": counts if status is None else status,
    }


def outdated(*workloads, version=NEW):
    return [Outdated(one, "sidecar", version) for one in workloads]


def rolling(name="cube", **more):
    """It was restarted, and one of its pods is not available yet."""
    counts = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 1}
    return workload(name, restarted=NEW, generation=2, status=counts, **more)


@pytest.mark.parametrize(
    ("what", "one"),
    [
        ("no annotation", workload(asks=None)),
        ("another word", workload(asks="yes")),
        ("restarted for this version already", workload(restarted=NEW)),
        ("a paused Deployment", workload(paused=True)),
        ("pods that are replaced when somebody deletes them", workload(kind="StatefulSet", updateStrategy={"type": "OnDelete"})),
        ("in the middle of a rollout of its own", workload(generation=2, status={"observedGeneration": 1, "updatedReplicas": 2})),
    ],
)
def test_what_is_not_restarted(what, one):
    assert chosen([one], outdated(one)) is None


def test_what_asks_for_it_is_restarted_in_the_order_of_names_and_again_for_another_version():
    a, b = workload("a"), workload("b", restarted="v1 registry/operator:1")
    assert chosen([a, b], outdated(b, a)).workload == a
    a = workload("a", restarted=NEW)
    assert chosen([a, b], outdated(b)).workload == b


def test_while_one_that_was_restarted_is_not_rolled_out_the_next_waits_whatever_it_was_restarted_for():
    waiting = workload("b")
    assert chosen([rolling("a"), waiting], outdated(waiting)) is None
    other_cause = rolling("a")
    other_cause["spec"]["template"]["metadata"]["annotations"] = {"restarted.cubeoauth.dev/service-account": "7"}
    assert chosen([other_cause, waiting], outdated(waiting)) is None
    assert chosen([workload("a", restarted=NEW), waiting], outdated(waiting)).workload == waiting


def test_what_was_changed_or_is_gone_since_it_was_found_outdated_is_judged_as_it_is_now():
    found = workload()
    assert chosen([workload(asks=None)], outdated(found)) is None
    assert chosen([], outdated(found)) is None


@pytest.mark.parametrize(
    ("what", "one", "done"),
    [
        ("a Deployment", workload(), True),
        ("never observed", workload(status={}), False),
        ("an old pod is left", workload(status={"replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}), False),
        ("a new one is not available", workload(status={"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}), False),
        ("one pod by default", workload(replicas=1, status={"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}), True),
        (
            "a StatefulSet that keeps its first pod by a partition",
            workload(
                kind="StatefulSet",
                updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
                status={"replicas": 2, "updatedReplicas": 1, "availableReplicas": 2},
            ),
            True,
        ),
        ("a DaemonSet", workload(kind="DaemonSet", status={"desiredNumberScheduled": 3, "updatedNumberScheduled": 2}), False),
        (
            "a DaemonSet on every node",
            workload(kind="DaemonSet", status={"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}),
            True,
        ),
    ],
)
def test_what_is_rolled_out(what, one, done):
    if one["status"]:
        one["status"]["observedGeneration"] = 1
    assert rolled_out(one) is done


class Api:
    """Lists workloads, and takes the write down."""

    def __init__(self, *workloads):
        self.workloads, self.written = workloads, []

    async def list(self, resource, namespace):
        kinds = {kind for kind, known in KINDS.items() if known == resource}
        found = [one for one in self.workloads if one["kind"] in kinds]
        return {"items": [{key: value for key, value in one.items() if key not in ("apiVersion", "kind")} for one in found]}

    async def merge(self, *written, field_manager):
        self.written.append((*written, field_manager))


class Events:
    def __init__(self):
        self.told = []

    def normal(self, kind, meta, reason, note, *, api_version):
        self.told.append((api_version, kind, meta.name, reason, note))

    warning = normal


async def test_the_write_is_one_annotation_of_the_pod_template_of_this_very_object():
    api, events, one = Api(workload()), Events(), workload()
    await Restarts(api, events, enabled=True).restart("team", outdated(one))
    annotations = {"restarted.cubeoauth.dev/sidecar": NEW}
    body = {"metadata": {"uid": "uid-cube"}, "spec": {"template": {"metadata": {"annotations": annotations}}}}
    assert api.written == [(DEPLOYMENTS, "cube", body, "team", FIELD_MANAGER)]
    [(api_version, kind, name, reason, note)] = events.told
    assert (api_version, kind, name, reason) == ("apps/v1", "Deployment", "cube", "Restarted")
    assert NEW in note


async def test_where_the_chart_does_not_permit_it_who_asks_is_told():
    api, events = Api(workload()), Events()
    await Restarts(api, events, enabled=False).restart("team", outdated(workload(), workload("silent", asks=None)))
    assert api.written == []
    assert events.told == [("apps/v1", "Deployment", "cube", "RestartNotEnabled", NOT_ENABLED)]
