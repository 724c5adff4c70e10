import pytest

from cube_oauth.portal.languages import LANGUAGES
from cube_oauth.portal.origin import ListedMeta, origin

FLUX = {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
FLUX_RELEASE = {"helm.toolkit.fluxcd.io/name": "apps", "helm.toolkit.fluxcd.io/namespace": "flux-system"}
HELM = {"meta.helm.sh/release-name": "oauth", "meta.helm.sh/release-namespace": "analytics"}


def written_by(*managers, subresource=""):
    return {"managedFields": [{"manager": manager, "subresource": subresource} for manager in managers]}


KEPT = {
    "Argo CD by annotation": (
        {"annotations": {"argocd.argoproj.io/tracking-id": "warehouse:cubeoauth.dev/OAuthApp:analytics/trino"}},
        "Argo CD, application warehouse",
    ),
    "Argo CD by label": ({"labels": {"argocd.argoproj.io/instance": "warehouse"}}, "Argo CD, application warehouse"),
    "Argo CD by field manager": (written_by("argocd-controller"), "Kept by Argo CD"),
    "Flux": ({"labels": FLUX}, "Flux, Kustomization flux-system/apps"),
    "Flux by field manager": (written_by("kubectl", "kustomize-controller"), "Kept by Flux"),
    "Flux's Helm": ({"labels": FLUX_RELEASE, "annotations": HELM}, "Flux, HelmRelease flux-system/apps"),
    "Helm": ({"annotations": HELM}, "Helm, release analytics/oauth"),
    "Helm by field manager": (written_by("helm"), "Kept by Helm"),
}
FREE = {
    "kubectl": written_by("kubectl-client-side-apply"),
    "nothing": {},
    "ours": {"labels": {"app.kubernetes.io/managed-by": "cube-oauth-operator"}},
    "a status written by such a tool": written_by("argocd-controller", subresource="status"),
}


def found(meta):
    said = origin(ListedMeta.model_validate({"name": "trino", **meta}))
    return said and LANGUAGES["en"].plain(said)


@pytest.mark.parametrize(("meta", "words"), KEPT.values(), ids=KEPT)
def test_what_a_tool_keeps_is_told(meta, words):
    assert words in found(meta)


@pytest.mark.parametrize("meta", FREE.values(), ids=FREE)
def test_what_no_tool_keeps_may_be_changed_here(meta):
    assert found(meta) is None
