"""Which pods have an old sidecar: a pure decision."""

import pytest

from cube_oauth.controller.sidecars import outdated
from cube_oauth.injection.layout import mark
from cube_oauth.resources.names import INJECTED_ANNOTATION

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
