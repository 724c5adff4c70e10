"""Where a client secret that was typed into the portal may be put. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cube_oauth.lifecycle.apps import Problem
from cube_oauth.resources.names import API_VERSION, CLIENT_CONSENT_LABEL, MANAGED_BY, MANAGED_BY_LABEL
from cube_oauth.resources.secrets import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.secrets import ClientDeposit

LONGEST_AGE = timedelta(minutes=10)


def wanted(deposit: ClientDeposit, app: OAuthApp | None, now: datetime) -> bool:
    """Whether the app that the secret was typed for is still there, by UID, and still names this Secret."""
    if app is None or app.metadata.uid != deposit.app.uid or now - deposit.issued_at > LONGEST_AGE:
        return False
    reference = app.spec.client_secret_ref
    return reference is not None and (reference.name, reference.key) == (deposit.secret_name, deposit.key)


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
        "ownerReferences": [owner],
    }
    if existing is not None:
        found = existing["metadata"].get("labels") or {}
        if any(found.get(name) != value for name, value in labels.items()):
            return Problem(
                "ClientSecretKeptElsewhere",
                f"The client secret that was typed into the portal was not kept: there is a Secret {deposit.secret_name} already "
                "that was not made there. Change its value where it comes from, or remove it and type the secret again.",
            )
        metadata["resourceVersion"] = existing["metadata"]["resourceVersion"]
    data = encode({deposit.key: deposit.value})
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}
