"""Where a client secret that was typed into the portal may be put, and what is said of an app that was tried. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cube_oauth.lifecycle.apps import Problem
from cube_oauth.resources.meta import Condition, rfc3339
from cube_oauth.resources.names import API_VERSION, CLIENT_CONSENT_LABEL, MANAGED_BY, MANAGED_BY_LABEL, TYPED_ANNOTATION
from cube_oauth.resources.secrets import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.secrets import ClientDeposit

LONGEST_AGE = timedelta(minutes=10)
TRIED = "Tried"
"""The condition that says how the last trial went, and since when that is so known; it waits for no change."""
TRIED_SENTENCE = "The provider answered, and refused neither the client's credentials nor the redirect URI."

KEPT_ELSEWHERE = Problem(
    "ClientSecretKeptElsewhere",
    "The client secret that was typed into the portal was not kept: there is a Secret {secret} already that was not made there. "
    "Change its value where it comes from, or remove it and type the secret again.",
)
REDIRECT_URI_REFUSED = Problem(
    "AuthorizationRefused",
    "The provider's authorization endpoint refuses the request before anybody logs in. Register status.redirectURI of the OAuthApp "
    "at the provider, exactly, and compare spec.clientID and spec.scopes with the registration there.",
)
PROBLEMS: tuple[Problem, ...] = (KEPT_ELSEWHERE, REDIRECT_URI_REFUSED)
"""All of them; what stands in braces is filled in."""


def recent(deposit: ClientDeposit, app: OAuthApp | None, now: datetime) -> bool:
    """Whether the app that it was made for is still there, by UID."""
    return app is not None and app.metadata.uid == deposit.app.uid and now - deposit.issued_at <= LONGEST_AGE


def wanted(deposit: ClientDeposit, app: OAuthApp) -> bool:
    """Whether there is a secret, and the app still names this Secret."""
    reference = app.spec.client_secret_ref
    if deposit.value is None:
        return False
    return reference is not None and (reference.name, reference.key) == (deposit.secret_name, deposit.key)


def overtaken(deposit: ClientDeposit, existing: Mapping[str, Any] | None) -> bool:
    """Whether what is there was typed later: of several that waited for a controller any can be looked at first."""
    annotations = existing["metadata"].get("annotations") or {} if existing else {}
    return bool(annotations.get(TYPED_ANNOTATION, "") > rfc3339(deposit.issued_at))


def placed(deposit: ClientDeposit, existing: Mapping[str, Any] | None) -> dict[str, Any] | Problem:
    """The Secret to create, or to replace the one that was made here before; another's is left alone.

    It goes with its OAuthApp (owner reference), and consents to that one's use.
    """
    labels = {MANAGED_BY_LABEL: MANAGED_BY, CLIENT_CONSENT_LABEL: deposit.app.name}
    owner = {"apiVersion": API_VERSION, "kind": "OAuthApp", "name": deposit.app.name, "uid": deposit.app.uid}
    metadata: dict[str, Any] = {
        "name": deposit.secret_name,
        "namespace": deposit.app.namespace,
        "labels": labels,
        "annotations": {TYPED_ANNOTATION: rfc3339(deposit.issued_at)},
        "ownerReferences": [owner],
    }
    if existing is not None:
        found = existing["metadata"].get("labels") or {}
        if any(found.get(name) != value for name, value in labels.items()):
            return replace(KEPT_ELSEWHERE, message=KEPT_ELSEWHERE.message.format(secret=deposit.secret_name))
        metadata["resourceVersion"] = existing["metadata"]["resourceVersion"]
    data = encode({deposit.key: deposit.value})
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}


def trial(app: OAuthApp, problem: Problem | None, now: datetime) -> Condition:
    """What is said of an app that was tried now."""
    return Condition(
        type=TRIED,
        status="False" if problem else "True",
        reason=problem.reason if problem else TRIED,
        message=problem.message if problem else TRIED_SENTENCE,
        last_transition_time=now.replace(microsecond=0),
        observed_generation=app.metadata.generation,
    )
