"""A rollout for pods that read a service account and have no hook to take a newer one over (``envFrom``), where they ask for it."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from cube_oauth.controller.restarts import KINDS, Outdated
from cube_oauth.kube.api import PODS
from cube_oauth.kube.owners import manager, workload
from cube_oauth.resources.meta import ObjectMeta
from cube_oauth.resources.names import INJECTED_ANNOTATION

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cube_oauth.controller.restarts import Restarts
    from cube_oauth.kube.api import Api, Object

CAUSE = "service-account"
ENDED = ("Succeeded", "Failed")


class Rolled(Enum):
    """How far a rollout is."""

    OUT = auto()
    """Nothing is behind that could be restarted."""
    WAITING = auto()
    """Some wait for their turn."""
    UNASKED = auto()
    """Something is behind and is not to be restarted now; whoever keeps it may ask for it later, or end a pause."""


def reads(pod: Object, secret: str) -> bool:
    """Whether a container's environment comes from this Secret."""
    spec = pod["spec"]
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        sources: list[dict[str, Any]] = [one.get("secretRef") or {} for one in container.get("envFrom") or ()]
        sources += [(one.get("valueFrom") or {}).get("secretKeyRef") or {} for one in container.get("env") or ()]
        if any(source.get("name") == secret for source in sources):
            return True
    return False


def behind(pods: Iterable[Object], secret: str, since: datetime) -> list[Object]:
    """The running pods that read what the Secret held before ``since``: no hook takes a newer value over in them."""
    found = []
    for pod in pods:
        meta = ObjectMeta.model_validate(pod["metadata"])
        runs = meta.deletion_timestamp is None and (pod.get("status") or {}).get("phase") not in ENDED
        began = meta.creation_timestamp
        if runs and began and began <= since and INJECTED_ANNOTATION not in meta.annotations and reads(pod, secret):
            found.append(pod)
    return found


class Rollouts:
    """Has what is behind restarted."""

    def __init__(self, api: Api, restarts: Restarts) -> None:
        self._api = api
        self._restarts = restarts

    async def roll(self, namespace: str, secret: str, since: datetime, version: str) -> Rolled:
        """Restart the next workload with pods from before ``since`` that asks for it. Raises KubeError.

        To be called again until it is ``OUT``, soon while some wait.
        """
        pods = behind((await self._api.list(PODS, namespace))["items"], secret, since)
        managers = {owner["uid"]: owner for pod in pods if (owner := manager(pod))}
        owners = [await workload(self._api, owner, namespace) for owner in managers.values()]
        wanted = {owner["uid"] for owner in owners if owner["kind"] in KINDS}
        if not wanted:
            return Rolled.OUT
        found = [one for one in await self._restarts.workloads(namespace) if one["metadata"]["uid"] in wanted]
        if await self._restarts.restart(namespace, [Outdated(one, CAUSE, version) for one in found]):
            return Rolled.WAITING
        return Rolled.UNASKED if self._restarts.enabled else Rolled.OUT
