"""Once a minute: sidecars that are older than the installation, and labels that ask for one in the wrong place.

The Deployments are told; nothing is written into them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from cube_oauth.injection.layout import mark
from cube_oauth.kube.api import DEPLOYMENTS, PODS, Api, KubeError, Object, Resource
from cube_oauth.kube.owners import manager, workload
from cube_oauth.resources.meta import ObjectMeta
from cube_oauth.resources.names import INJECT_LABEL, INJECTED_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cube_oauth.controller.events import Events
    from cube_oauth.controller.metrics import Metrics
    from cube_oauth.controller.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
MISPLACED = f"the label {INJECT_LABEL} stands on the Deployment itself; it belongs in spec.template.metadata.labels"
ENDED = ("Succeeded", "Failed")


def outdated(pods: Iterable[Object], current: str) -> list[Object]:
    """The pods that run another sidecar than ``current``; one that was never injected has none."""
    return [pod for pod in pods if _runs(pod) and _mark(pod) not in (None, current)]


def misplaced(deployments: Iterable[Object]) -> list[Object]:
    """The Deployments that have the label themselves, while their pods have it not."""
    return [
        deployment
        for deployment in deployments
        if INJECT_LABEL not in (deployment["spec"]["template"].get("metadata", {}).get("labels") or {})
    ]


def _runs(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") not in ENDED


def _mark(pod: Object) -> str | None:
    annotations: dict[str, str] = pod["metadata"].get("annotations") or {}
    return annotations.get(INJECTED_ANNOTATION)


class Sidecars:
    """Looks for old sidecars. It restarts nothing: that is for whoever owns the workload."""

    def __init__(self, api: Api, settings: Settings, events: Events, metrics: Metrics) -> None:
        self._api = api
        self._namespaces = settings.installation.watched
        self._current = mark(settings.sidecar_image) if settings.sidecar_image else None
        self._events = events
        self._metrics = metrics
        self._told: set[str] = set()
        """UIDs of workloads: each is told once by each controller, and a new image is a new controller."""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.reconcile()
                await self.find_misplaced()
            except KubeError as error:
                log.warning("sidecars were not looked after; tried again", extra={"error": str(error)})
            await asyncio.sleep(LOOK_SECONDS)

    async def reconcile(self) -> None:
        """Count them and tell their owners."""
        if self._current is None:
            return
        found = [pod for namespace in self._namespaces for pod in await self._labelled(PODS, namespace)]
        old = outdated(found, self._current)
        self._metrics.count_outdated_sidecars(pod["metadata"]["namespace"] for pod in old)
        for (namespace, uid), pods in _by_owner(old).items():
            if uid not in self._told:
                self._told.add(uid)
                await self._tell(namespace, pods)

    async def find_misplaced(self) -> None:
        """Tell the Deployments whose label says nothing to anybody."""
        for namespace in self._namespaces:
            for deployment in misplaced(await self._labelled(DEPLOYMENTS, namespace)):
                meta = ObjectMeta.model_validate(deployment["metadata"])
                self._events.warning("Deployment", meta, "LabelMisplaced", MISPLACED, api_version="apps/v1")

    async def _labelled(self, resource: Resource, namespace: str | None) -> list[Object]:
        items: list[Object] = (await self._api.list(resource, namespace, labelSelector=f"{INJECT_LABEL}=true"))["items"]
        return items

    async def _tell(self, namespace: str, pods: list[Object]) -> None:
        owner = manager(pods[0])
        if owner is None:
            return
        found = await workload(self._api, owner, namespace)
        meta = ObjectMeta(name=found["name"], namespace=namespace, uid=found["uid"])
        restart = f"kubectl rollout restart {found['kind'].lower()}/{found['name']} -n {namespace}"
        note = f"{len(pods)} of its pods have the sidecar {_mark(pods[0])}, and new ones get {self._current}; {restart}"
        self._events.warning(found["kind"], meta, "OutdatedSidecar", note, api_version=found["apiVersion"])


def _by_owner(pods: Iterable[Object]) -> dict[tuple[str, str], list[Object]]:
    """Namespace and UID of what manages the pods; those that nothing manages are left out."""
    owners: defaultdict[tuple[str, str], list[Object]] = defaultdict(list)
    for pod in pods:
        if owner := manager(pod):
            owners[pod["metadata"]["namespace"], owner["uid"]].append(pod)
    return owners
