"""Whether an OAuthApp may use the client secret that it names."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from cube_oauth.resources.names import CLIENT_CONSENT_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cube_oauth.resources.oauthapp import OAuthApp


@dataclass(frozen=True)
class Problem:
    """Why an OAuthApp is not ready: a stable word, and a sentence that says what to do."""

    reason: str
    message: str


NOT_FOUND = Problem("AppNotFound", "There is no OAuthApp of this name in this namespace.")
FORBIDDEN = Problem(
    "ClientSecretForbidden",
    "The operator may not read the Secret that spec.clientSecretRef names: add this namespace to the chart's namespaces, "
    "and the Secret's name to clientSecretNames if that is set.",
)


def client_secret(app: OAuthApp, secret: Mapping[str, Any] | None) -> SecretStr | Problem:
    """The client secret in ``secret`` (the Secret as the API server has it), or why it is not used.

    It must consent by a label: else whoever may write an OAuthApp could have any Secret of the namespace sent to himself.
    """
    reference, name = app.spec.client_secret_ref, app.metadata.name
    if reference is None or secret is None:
        named = reference.name if reference else ""
        return Problem(
            "ClientSecretNotFound",
            f"There is no Secret {named} in this namespace: create it with the key {reference.key if reference else ''} and the "
            f"label {CLIENT_CONSENT_LABEL}: {name}.",
        )
    if (secret["metadata"].get("labels") or {}).get(CLIENT_CONSENT_LABEL) != name:
        return Problem(
            "ClientSecretNotConsented",
            f"The Secret {reference.name} does not consent to be used here: whoever owns it adds the label "
            f"{CLIENT_CONSENT_LABEL}: {name}.",
        )
    value = _text((secret.get("data") or {}).get(reference.key))
    if not value:
        return Problem(
            "ClientSecretKeyMissing",
            f"The Secret {reference.name} has no text under the key {reference.key}: add it, or correct spec.clientSecretRef.key.",
        )
    return SecretStr(value)


def _text(encoded: str | None) -> str:
    try:
        return base64.b64decode(encoded or "").decode().strip()
    except ValueError:
        return ""
