"""Whose a pod is: the workload that people know by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cube_oauth.kube.api import REPLICA_SETS, Api, Object

if TYPE_CHECKING:
    from collections.abc import Mapping


def manager(manifest: Mapping[str, object]) -> Object | None:
    """The owner reference of what manages an object, or None."""
    metadata = manifest.get("metadata")
    references = metadata.get("ownerReferences") or () if isinstance(metadata, dict) else ()
    return next((reference for reference in references if reference.get("controller")), None)


async def workload(api: Api, owner: Object, namespace: str) -> Object:
    """The Deployment of a ReplicaSet, any other owner itself: apiVersion, kind, namespace, name, uid. Raises KubeError."""
    if owner["kind"] == "ReplicaSet":
        owner = manager(await api.get(REPLICA_SETS, owner["name"], namespace) or {}) or owner
    return {key: owner[key] for key in ("apiVersion", "kind", "name", "uid")} | {"namespace": namespace}
