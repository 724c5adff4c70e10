"""Where an OAuthApp comes from: what a GitOps tool keeps is changed there, not here. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cube_oauth.portal.texts import Text, say
from cube_oauth.resources.meta import Model, ObjectMeta
from cube_oauth.resources.oauthapp import OAuthApp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ARGO_ID, ARGO_LABEL = "argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance"
FLUX_KUSTOMIZATION, FLUX_RELEASE = "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"
HELM_RELEASE, HELM_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
_MANAGERS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "helm": "Helm",
}
"""Field managers (Kubernetes, "Server-Side Apply"), for objects without the tool's labels."""


class Writer(Model):
    """One entry of ``metadata.managedFields``."""

    manager: str = ""
    subresource: str = ""


class ListedMeta(ObjectMeta):
    """Metadata with who wrote."""

    managed_fields: tuple[Writer, ...] = ()


class ListedApp(OAuthApp):
    """An OAuthApp as the portal lists it."""

    metadata: ListedMeta


def _argo(meta: ListedMeta) -> Text | None:
    name = meta.annotations.get(ARGO_ID, "").partition(":")[0] or meta.labels.get(ARGO_LABEL)
    return say("origin.argo", name=name) if name else None


def _labelled(prefix: str, key: str) -> Callable[[ListedMeta], Text | None]:
    def found(meta: ListedMeta) -> Text | None:
        name, namespace = meta.labels.get(f"{prefix}/name"), meta.labels.get(f"{prefix}/namespace", "")
        return Text(key, {"name": name, "namespace": namespace}) if name else None

    return found


def _helm(meta: ListedMeta) -> Text | None:
    name, namespace = meta.annotations.get(HELM_RELEASE), meta.annotations.get(HELM_NAMESPACE, "")
    return say("origin.helm", name=name, namespace=namespace) if name else None


def _manager(meta: ListedMeta) -> Text | None:
    tools = (_MANAGERS.get(writer.manager) for writer in meta.managed_fields if not writer.subresource)
    tool = next((tool for tool in tools if tool), None)
    return say("origin.tool", tool=tool) if tool else None


_SIGNS: Mapping[str, Callable[[ListedMeta], Text | None]] = {
    "argo": _argo,
    "kustomization": _labelled(FLUX_KUSTOMIZATION, "origin.flux"),
    "release": _labelled(FLUX_RELEASE, "origin.flux.release"),
    "helm": _helm,
    "manager": _manager,
}
"""The first that says something counts: Flux's Helm releases bear Helm's annotations, too."""


def origin(meta: ListedMeta) -> Text | None:
    """What keeps this object, in words; None when it was made by hand, or here."""
    return next((said for sign in _SIGNS.values() if (said := sign(meta))), None)
