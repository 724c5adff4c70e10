"""The pod webhook, registered with kopf; nothing else lives here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import kopf

from cube_oauth.broker.admission import NotReadyError
from cube_oauth.injection.jsonpatch import apply
from cube_oauth.resources.names import INJECT_LABEL

if TYPE_CHECKING:
    from cube_oauth.broker.admission import Admission

WEBHOOK = "inject"
"""The handler's id and with it the webhook's path: ``/inject``."""
UNPROCESSABLE, UNAVAILABLE = 422, 503


def registry(admission: Admission) -> kopf.OperatorRegistry:
    """A registry with the one handler."""
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made)
    def login(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.mutate("", "v1", "pods", id=WEBHOOK, operations=["CREATE"], labels={INJECT_LABEL: kopf.PRESENT}, registry=made)
    def pod(*, body: kopf.Body, namespace: str | None, dryrun: bool, patch: kopf.Patch, warnings: list[str], **_: Any) -> None:
        manifest: dict[str, Any] = dict(body)
        try:
            injection = admission.review(manifest, namespace or "", dry_run=dryrun)
        except NotReadyError as error:
            raise kopf.AdmissionError(str(error), code=UNAVAILABLE) from error
        if injection.refusal:
            raise kopf.AdmissionError(injection.refusal, code=UNPROCESSABLE)
        warnings.extend(injection.warnings)
        if injection.patch:
            patch.fns.append(lambda whole: cast("dict[str, Any]", whole).update(apply(manifest, injection.patch)))

    return made
