"""Whether an object is surely gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cube_oauth.kube.api import Api, Resource
    from cube_oauth.resources.secrets import Reference


async def gone(api: Api, resource: Resource, reference: Reference) -> bool:
    """Whether the API server says so now, about this very object, while it serves the kind.

    A KubeError is raised, and never means gone; a missing kind is one.
    """
    found = await api.get(resource, reference.name, reference.namespace)
    if found is not None:
        return bool(found["metadata"]["uid"] != reference.uid)
    await api.list(resource, reference.namespace, limit="1")
    return True
