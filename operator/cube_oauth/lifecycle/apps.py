"""Whether an OAuthApp may use the client secret that it names."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from cube_oauth.resources.names import CLIENT_CONSENT_LABEL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cube_oauth.resources.oauthapp import SecretKeyReference


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
SECRET_NOT_FOUND = Problem(
    "ClientSecretNotFound",
    "There is no Secret {secret} in this namespace: create it with the key {key} and the label {label}.",
)
NOT_CONSENTED = Problem(
    "ClientSecretNotConsented",
    "The Secret {secret} does not consent to be used here: whoever owns it adds the label {label}.",
)
KEY_MISSING = Problem(
    "ClientSecretKeyMissing",
    "The Secret {secret} has no text under the key {key}: add it, or correct spec.clientSecretRef.key.",
)

PROBLEMS: tuple[Problem, ...] = (NOT_FOUND, FORBIDDEN, SECRET_NOT_FOUND, NOT_CONSENTED, KEY_MISSING)
"""All of them; what stands in braces is filled in."""


def client_secret(name: str, reference: SecretKeyReference, secret: Mapping[str, Any] | None) -> SecretStr | Problem:
    """The client secret of the OAuthApp ``name`` in ``secret`` (as the API server has it), or why it is not used.

    It must consent by a label: else whoever may write an OAuthApp could have any Secret of the namespace sent to himself.
    """
    if secret is None:
        return _about(SECRET_NOT_FOUND, name, reference)
    if (secret["metadata"].get("labels") or {}).get(CLIENT_CONSENT_LABEL) != name:
        return _about(NOT_CONSENTED, name, reference)
    value = _text((secret.get("data") or {}).get(reference.key))
    return SecretStr(value) if value else _about(KEY_MISSING, name, reference)


def _about(problem: Problem, app: str, reference: SecretKeyReference) -> Problem:
    """The problem with the names of this app's Secret in its sentence."""
    words = {"secret": reference.name, "key": reference.key, "label": f"{CLIENT_CONSENT_LABEL}: {app}"}
    return replace(problem, message=problem.message.format(**words))


def _text(encoded: str | None) -> str:
    try:
        return base64.b64decode(encoded or "").decode().strip()
    except ValueError:
        return ""
