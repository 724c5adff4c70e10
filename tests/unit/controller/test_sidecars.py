"""Which pods have an old sidecar, and which Deployments the label in the wrong place: pure decisions."""

import pytest

from cube_oauth.controller.sidecars import misplaced, outdated
from cube_oauth.injection.layout import mark
from cube_oauth.resources.names import INJECT_LABEL, INJECTED_ANNOTATION

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
