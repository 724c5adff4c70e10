"""Once a minute: sidecars that are older than the installation, and labels that ask for one in the wrong place.

The workloads are told, the OAuthApps whose people are served by old sidecars say so, and workloads that ask for it are restarted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cube_oauth.controller.restarts import KINDS, Outdated, Restarts, rolled_out
from cube_oauth.injection.facts import Pod
from cube_oauth.injection.layout import mark
from cube_oauth.kube.api import DEPLOYMENTS, PODS, Api, KubeError, Object, Resource
from cube_oauth.kube.owners import manager, workload
from cube_oauth.resources.meta import ObjectMeta
from cube_oauth.resources.names import INJECT_LABEL, INJECTED_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cube_oauth.controller.events import Events
    from cube_oauth.controller.inventory import Inventory, Key
    from cube_oauth.controller.metrics import Metrics
    from cube_oauth.controller.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
RESTARTING_SECONDS = 5.0
"""Between looks while workloads wait for their turn to be restarted."""
MISPLACED = f"the label {INJECT_LABEL} stands on the {{}} itself; it belongs in spec.template.metadata.labels"
ENDED = ("Succeeded", "Failed")
CAUSE = "sidecar"
NAMED = 5
"""So many workloads are named in a condition."""


def outdated(pods: Iterable[Object], current: str) -> list[Object]:
    """The pods that run another sidecar than ``current``; one that was never injected has none."""
    return [pod for pod in pods if _runs(pod) and _mark(pod) not in (None, current)]


def misplaced(workloads: Iterable[Object]) -> list[Object]:
    """The workloads that have the label themselves, while their pods have it not."""
    return [
        workload
        for workload in workloads
        if INJECT_LABEL not in (workload["spec"]["template"].get("metadata", {}).get("labels") or {})
    ]


def _runs(pod: Object) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") not in ENDED


def _mark(pod: Object) -> str | None:
    annotations: dict[str, str] = pod["metadata"].get("annotations") or {}
    return annotations.get(INJECTED_ANNOTATION)


@dataclass(frozen=True)
class Stale:
    """What people know by name, and its pods with old sidecars."""

    owner: Object
    """apiVersion, kind, namespace, name, uid; a pod that nothing manages is its own."""
    pods: Sequence[Object]
    workload: Object | None = None
    """As it is now, if it is of a kind that can be restarted."""

    @property
    def title(self) -> str:
        """For a sentence."""
        return f"{self.owner['kind']} {self.owner['name']}"

    @property
    def offline(self) -> bool:
        """The sidecar stands in the pod template itself: no restart brings another."""
        template = self.workload["spec"]["template"].get("metadata") or {} if self.workload else {}
        return INJECTED_ANNOTATION in (template.get("annotations") or {})

    @property
    def remedy(self) -> str:
        """What brings its pods up to date."""
        if self.offline:
            return "inject its manifest anew (kubectl cube-oauth uninject, then inject) and apply it"
        if self.workload is None:
            return f"its pods have to be made anew, which kubectl does not do for a {self.owner['kind']}"
        return f"kubectl rollout restart {self.owner['kind'].lower()}/{self.owner['name']} -n {self.owner['namespace']}"

    def serves(self, app: str) -> bool:
        """Whether one of the pods resolves credentials of this OAuthApp."""
        wanted = [Pod.of(pod).wanted_apps for pod in self.pods]
        return any(not apps or app in apps for apps in wanted)


def said(stale: Sequence[Stale], current: str) -> str:
    """The sentence of an OAuthApp's condition. It changes with the workloads, not with each pod."""
    titles = sorted(one.title for one in stale)
    names = ", ".join(titles[:NAMED]) + (f" and {len(titles) - NAMED} more" if len(titles) > NAMED else "")
    return f"Another sidecar than the present one ({current}) runs in pods of {names}; events there say what to do."


class Sidecars:
    """Looks for old sidecars."""

    def __init__(
        self,
        api: Api,
        settings: Settings,
        inventory: Inventory,
        restarts: Restarts,
        events: Events,
        metrics: Metrics,
        found: Callable[[str | None, Mapping[Key, str]], None],
    ) -> None:
        """``found(namespace, sentences)`` is told of the OAuthApps with old sidecars in a namespace (None: in all of them)."""
        self._api = api
        self._installation = settings.installation
        self._image = settings.sidecar_image
        self._inventory = inventory
        self._restarts = restarts
        self._events = events
        self._metrics = metrics
        self._found = found
        self._told: dict[str | None, set[str]] = {}
        """By namespace that was looked at, the UIDs of the workloads that were told, while they are outdated."""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            restarting = False
            for namespace in self._installation.watched:
                try:
                    restarting |= await self.reconcile(namespace)
                    await self.find_misplaced(namespace)
                except KubeError as error:
                    log.warning("sidecars were not looked after; tried again", extra={"error": str(error)})
            await asyncio.sleep(RESTARTING_SECONDS if restarting else LOOK_SECONDS)

    async def reconcile(self, namespace: str | None) -> bool:
        """Count the old ones of a namespace (None: of all), tell whose they are, and restart the next that asks for it.

        True: some wait for their turn.
        """
        if self._image is None:
            return False
        current = mark(self._image)
        old = outdated(await self._labelled(PODS, namespace), current)
        self._metrics.count_outdated_sidecars(namespace, (pod["metadata"]["namespace"] for pod in old))
        stale = {where: await self._owners(where, pods) for where, pods in _by_namespace(old).items()}
        self._found(namespace, self._sentences(stale, current))
        self._tell(namespace, [one for found in stale.values() for one in found], current)
        return any([await self._restart(where, found, current) for where, found in stale.items()])

    async def find_misplaced(self, namespace: str | None) -> None:
        """Tell the workloads whose label says nothing to anybody."""
        for kind, resource in KINDS.items():
            for found in misplaced(await self._labelled(resource, namespace)):
                meta = ObjectMeta.model_validate(found["metadata"])
                self._events.warning(kind, meta, "LabelMisplaced", MISPLACED.format(kind), api_version="apps/v1")

    async def _labelled(self, resource: Resource, namespace: str | None) -> list[Object]:
        items: list[Object] = (await self._api.list(resource, namespace, labelSelector=f"{INJECT_LABEL}=true"))["items"]
        return items

    async def _owners(self, namespace: str, pods: Sequence[Object]) -> list[Stale]:
        """Whose the pods are, of one namespace."""
        present = {found["metadata"]["uid"]: found for found in await self._restarts.workloads(namespace)}
        stale = []
        for same in _by_manager(pods):
            owner = manager(same[0])
            found = await workload(self._api, owner, namespace) if owner else _itself(same[0])
            stale.append(Stale(found, same, present.get(found["uid"]) if found["kind"] in KINDS else None))
        return _merged(stale)

    def _sentences(self, stale: Mapping[str, Sequence[Stale]], current: str) -> dict[Key, str]:
        found = {
            (namespace, name): [one for one in stale.get(namespace, ()) if one.serves(name)]
            for namespace, name in self._inventory.apps
        }
        return {key: said(serving, current) for key, serving in found.items() if serving}

    def _tell(self, namespace: str | None, stale: Sequence[Stale], current: str) -> None:
        """Each once, by each controller; and a new image is a new controller."""
        told = self._told.get(namespace, set())
        self._told[namespace] = {one.owner["uid"] for one in stale}
        for one in stale:
            owner = one.owner
            if owner["uid"] in told:
                continue
            meta = ObjectMeta(name=owner["name"], namespace=owner["namespace"], uid=owner["uid"])
            note = f"{len(one.pods)} of its pods have the sidecar {_mark(one.pods[0])}, and new ones get {current}; {one.remedy}"
            self._events.warning(owner["kind"], meta, "OutdatedSidecar", note, api_version=owner["apiVersion"])

    async def _restart(self, namespace: str, stale: Sequence[Stale], current: str) -> bool:
        old = [Outdated(one.workload, CAUSE, current) for one in stale if one.workload and not one.offline]
        if not any(one.due for one in old):
            return False
        if self._restarts.enabled and not await self._webhook_is_current():
            return True
        return await self._restarts.restart(namespace, old)

    async def _webhook_is_current(self) -> bool:
        """Whether every broker injects the present sidecar: during an upgrade, a pod made too early would get the old one again."""
        installation = self._installation
        found = await self._api.get(DEPLOYMENTS, installation.named("broker"), installation.namespace)
        if found is None or not rolled_out({"kind": "Deployment", **found}):
            return False
        variables = [item for container in found["spec"]["template"]["spec"]["containers"] for item in container.get("env") or ()]
        return any((item["name"], item.get("value")) == ("CUBE_OAUTH_SIDECAR_IMAGE", self._image) for item in variables)


def _itself(pod: Object) -> Object:
    metadata = pod["metadata"]
    return {"apiVersion": "v1", "kind": "Pod", **{key: metadata[key] for key in ("namespace", "name", "uid")}}


def _by_namespace(pods: Iterable[Object]) -> dict[str, list[Object]]:
    found: defaultdict[str, list[Object]] = defaultdict(list)
    for pod in pods:
        found[pod["metadata"]["namespace"]].append(pod)
    return found


def _by_manager(pods: Iterable[Object]) -> list[list[Object]]:
    """The pods that the same object manages, together; each that nothing manages alone."""
    found: defaultdict[str, list[Object]] = defaultdict(list)
    for pod in pods:
        found[(manager(pod) or pod["metadata"])["uid"]].append(pod)
    return list(found.values())


def _merged(stale: Iterable[Stale]) -> list[Stale]:
    """One of each owner: a Deployment can have pods of several ReplicaSets."""
    found: dict[str, Stale] = {}
    for one in stale:
        known = found.get(one.owner["uid"])
        found[one.owner["uid"]] = Stale(one.owner, [*known.pods, *one.pods], one.workload) if known else one
    return list(found.values())
