"""Which pods have an old sidecar, and which Deployments the label in the wrong place: pure decisions."""

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from cube_oauth.controller.inventory import Inventory
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.restarts import Restarts
from cube_oauth.controller.sidecars import Sidecars, Stale, misplaced, outdated, said
from cube_oauth.injection.layout import mark
from cube_oauth.kube.api import PODS
from cube_oauth.resources.names import INJECT_LABEL, INJECTED_ANNOTATION
from tests.unit.controller.fakes import FakeApi

NEW, OLD = mark("registry/operator:2"), mark("registry/operator:1")


def pod(injected=OLD, phase="Running", **metadata):
    annotations = {INJECTED_ANNOTATION: injected} if injected else None
    return {"metadata": {"name": "cube", "annotations": annotations, **metadata}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("what", "found", "old"),
    [
        ("another image", pod(), True),
        ("another contract", pod("v0 registry/operator:2"), True),
        ("a pod that waits for its node", pod(phase="Pending"), True),
        ("the present one", pod(NEW), False),
        ("a pod that was never injected", pod(None), False),
        ("a pod that is being deleted", pod(deletionTimestamp="2026-11-24T00:00:00Z"), False),
        ("a Job that is done", pod(phase="Succeeded"), False),
        ("a Job that failed", pod(phase="Failed"), False),
    ],
)
def test_what_is_outdated(what, found, old):
    assert outdated([found], NEW) == ([found] if old else [])


@pytest.mark.parametrize(
    ("what", "metadata", "wrong"),
    [
        ("no labels in the template", {}, True),
        ("null", {"labels": None}, True),
        ("others in the template", {"labels": {"app": "cube"}}, True),
        ("the label in both places, as charts with common labels have it", {"labels": {INJECT_LABEL: "true"}}, False),
        ("the template says no", {"labels": {INJECT_LABEL: "false"}}, False),
    ],
)
def test_where_the_label_is_misplaced(what, metadata, wrong):
    deployment = {"metadata": {"name": "cube", "labels": {INJECT_LABEL: "true"}}, "spec": {"template": {"metadata": metadata}}}
    assert misplaced([deployment]) == ([deployment] if wrong else [])


def stale(name="cube", kind="Deployment", workload=None, *pods):
    owner = {"apiVersion": "apps/v1", "kind": kind, "namespace": "team", "name": name, "uid": f"uid-{name}"}
    return Stale(owner, pods or (pod(),), workload)


def template(annotations=None):
    return {"spec": {"template": {"metadata": {"annotations": annotations}}}}


@pytest.mark.parametrize(
    ("what", "found", "remedy"),
    [
        ("a Deployment", stale(workload=template()), "kubectl rollout restart deployment/cube -n team"),
        ("injected in a pipeline", stale(workload=template({INJECTED_ANNOTATION: OLD})), "inject its manifest anew"),
        ("a Job", stale(kind="Job"), "made anew, which kubectl does not do for a Job"),
        ("a pod of its own", stale(kind="Pod"), "made anew, which kubectl does not do for a Pod"),
    ],
)
def test_what_brings_a_workload_up_to_date(what, found, remedy):
    assert remedy in found.remedy


def test_a_workload_serves_the_oauth_apps_that_its_pods_are_narrowed_to():
    narrowed = pod()
    narrowed["metadata"]["annotations"]["cubeoauth.dev/apps"] = "sales, trino"
    assert [stale("a", "Deployment", None, narrowed).serves(app) for app in ("trino", "other")] == [True, False]
    assert stale().serves("other")


def test_the_sentence_names_workloads_and_no_pods_so_that_it_changes_seldom():
    two = [stale("b"), stale("a", "StatefulSet", None, pod(), pod())]
    assert said(two, NEW) == said(list(reversed([stale("b"), stale("a", "StatefulSet")])), NEW)
    assert "runs in pods of Deployment b, StatefulSet a; events" in said(two, NEW)
    assert "Deployment 4 and 2 more;" in said([stale(str(number)) for number in range(7)], NEW)


class FakeEvents:
    def __init__(self):
        self.told = []

    def warning(self, kind, meta, reason, note, *, api_version):
        self.told.append(meta.name)


async def test_each_workload_is_told_once_while_it_is_outdated_and_what_is_gone_is_forgotten():
    api, events = FakeApi(), FakeEvents()
    settings = SimpleNamespace(installation=None, sidecar_image="registry/operator:2")
    restarts = Restarts(api, events, enabled=False)
    sidecars = Sidecars(
        api, settings, Inventory(), restarts, events, Metrics(CollectorRegistry()), found=lambda namespace, sentences: None
    )
    for number in (0, 1, 0):
        job = {"kind": "Job", "apiVersion": "batch/v1", "name": f"job-{number}", "uid": f"uid-{number}", "controller": True}
        here = PODS.path("team", "cube")
        api.store(here, pod(uid="p", namespace="team", ownerReferences=[job]))
        for namespace in ("team", "other", "team"):
            await sidecars.reconcile(namespace)
        del api.objects[here]
    assert events.told == ["job-0", "job-1", "job-0"]
