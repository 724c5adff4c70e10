"""Writing statuses: by server-side apply, only ours, only when something differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cube_oauth.resources.names import API_VERSION

if TYPE_CHECKING:
    from cube_oauth.kube.api import Api, Object, Resource
    from cube_oauth.resources.meta import ObjectMeta

FIELD_MANAGER = "cube-oauth-controller"


async def write(api: Api, resource: Resource, kind: str, meta: ObjectMeta, status: Object) -> Object:
    """Apply the whole ``status`` of ours, as JSON, to this very object.

    Raises KubeError, with ``conflict`` or ``not_found`` when it is another now.
    """
    body: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "status": status,
    }
    return await api.apply(resource, body, field_manager=FIELD_MANAGER, subresource="status")
