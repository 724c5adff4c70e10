"""Restarts of workloads that ask for them: one at a time in each namespace, and once for each version of what is outdated.

A restart is the write of ``kubectl rollout restart``, an annotation of the pod template, with one difference: its value is not the
time but the version that it is for. So the same restart twice is no second one, whoever has forgotten what in between.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cube_oauth.kube.api import DAEMON_SETS, DEPLOYMENTS, STATEFUL_SETS, Api, Object, Resource
from cube_oauth.resources.meta import ObjectMeta
from cube_oauth.resources.names import RESTART_ANNOTATION, RESTARTED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cube_oauth.controller.events import Events

log = logging.getLogger(__name__)

API_VERSION = "apps/v1"
KINDS: dict[str, Resource] = {"Deployment": DEPLOYMENTS, "StatefulSet": STATEFUL_SETS, "DaemonSet": DAEMON_SETS}
"""What ``kubectl rollout restart`` restarts."""

FIELD_MANAGER = "cube-oauth-restarts"
NOT_ENABLED = f"its annotation {RESTART_ANNOTATION} asks for a restart, and the chart's value restarts.enabled does not allow it"


@dataclass(frozen=True)
class Outdated:
    """A workload whose pods began with something of which there is a newer version."""

    workload: Object
    """A Deployment, StatefulSet or DaemonSet, as ``Restarts.workloads`` gives it."""
    cause: str
    """What is outdated, as one word of at most 63 characters that fits an annotation's name: ``sidecar``."""
    version: str
    """The version that new pods get."""

    @property
    def annotation(self) -> str:
        """The pod template's annotation that restarts the workload, and remembers for what."""
        return f"{RESTARTED_PREFIX}/{self.cause}"

    @property
    def due(self) -> bool:
        """It asks for a restart, had none for this version, and one would replace its pods."""
        return asks(self.workload) and _template(self.workload).get(self.annotation) != self.version and _rolls(self.workload)


def asks(workload: Object) -> bool:
    """Whether the workload's own annotation asks to be restarted."""
    annotations: dict[str, str] = workload["metadata"].get("annotations") or {}
    return annotations.get(RESTART_ANNOTATION) == "true"


def rolled_out(workload: Object) -> bool:
    """Whether every pod is of the present template and available, as ``kubectl rollout status`` has it."""
    status, spec = workload.get("status") or {}, workload["spec"]
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return False
    if workload["kind"] == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        return bool(status.get("updatedNumberScheduled", 0) >= wanted and status.get("numberAvailable", 0) >= wanted)
    updated, there = status.get("updatedReplicas", 0), status.get("replicas", 0)
    partition = ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition", 0)
    wanted = spec.get("replicas", 1)
    return bool(updated >= wanted - partition and there - updated <= partition and status.get("availableReplicas", 0) >= wanted)


def chosen(workloads: Iterable[Object], outdated: Iterable[Outdated]) -> Outdated | None:
    """The one to restart now, by name; None when none is due, or while one that was restarted is not rolled out yet.

    ``workloads`` are those of the namespace, as they are now. One in the middle of a rollout of its own waits for its end.
    """
    present = {workload["metadata"]["uid"]: workload for workload in workloads}
    if any(_restarted(workload) and not rolled_out(workload) for workload in present.values()):
        return None
    found = [
        Outdated(workload, one.cause, one.version)
        for one in outdated
        if (workload := present.get(one.workload["metadata"]["uid"])) and rolled_out(workload)
    ]
    return min((one for one in found if one.due), key=lambda one: str(one.workload["metadata"]["name"]), default=None)


def _template(workload: Object) -> dict[str, str]:
    return (workload["spec"]["template"].get("metadata") or {}).get("annotations") or {}


def _restarted(workload: Object) -> bool:
    return any(name.startswith(f"{RESTARTED_PREFIX}/") for name in _template(workload))


def _rolls(workload: Object) -> bool:
    """A new template replaces pods: nobody has paused that, or left it to whoever deletes them."""
    return not workload["spec"].get("paused") and (workload["spec"].get("updateStrategy") or {}).get("type") != "OnDelete"


class Restarts:
    """Restarts what asks for it. One for the whole controller, so that two causes do not restart two workloads at once."""

    def __init__(self, api: Api, events: Events, *, enabled: bool) -> None:
        """``enabled``: whether the chart permits it."""
        self._api = api
        self._events = events
        self.enabled = enabled
        self._one = asyncio.Lock()

    async def workloads(self, namespace: str) -> list[Object]:
        """The Deployments, StatefulSets and DaemonSets of a namespace, with ``apiVersion`` and ``kind``. Raises KubeError."""
        return [
            {"apiVersion": API_VERSION, "kind": kind, **item}
            for kind, resource in KINDS.items()
            for item in (await self._api.list(resource, namespace))["items"]
        ]

    async def restart(self, namespace: str, outdated: Sequence[Outdated]) -> bool:
        """Restart the next of these workloads of one namespace, if it is its turn. Raises KubeError.

        Call it again and again with what is outdated: each time it restarts at most one. True: one was restarted or waits for its
        turn, so call it soon.
        """
        due = [one for one in outdated if one.due]
        if not self.enabled:
            for one in due:
                self._events.warning(*_about(one.workload), "RestartNotEnabled", NOT_ENABLED, api_version=API_VERSION)
            return False
        if not due:
            return False
        async with self._one:
            next_one = chosen(await self.workloads(namespace), due)
            if next_one:
                await self._restart(namespace, next_one)
        return True

    async def _restart(self, namespace: str, one: Outdated) -> None:
        kind, meta = _about(one.workload)
        body = {
            "metadata": {"uid": meta.uid},
            "spec": {"template": {"metadata": {"annotations": {one.annotation: one.version}}}},
        }
        await self._api.merge(KINDS[kind], meta.name, body, namespace, field_manager=FIELD_MANAGER)
        log.info("workload restarted", extra={"namespace": namespace, "workload": f"{kind}/{meta.name}", "reason": one.cause})
        note = f"its annotation {RESTART_ANNOTATION} asks for it, and the {one.cause} of new pods is {one.version}"
        self._events.normal(kind, meta, "Restarted", note, api_version=API_VERSION)


def _about(workload: Object) -> tuple[str, ObjectMeta]:
    return workload["kind"], ObjectMeta.model_validate(workload["metadata"])
