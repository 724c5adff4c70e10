"""Names that every process must derive alike: API group, labels, annotations, and the names of objects."""

from __future__ import annotations

import base64
import hashlib

GROUP = "cubeoauth.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "cubeoauth"

# --- labels
KIND_LABEL = f"{GROUP}/kind"
"""On every Secret of ours: ``token``, ``account``, ``grant``, ``revocation``, ``service-account``, ``keyring`` or ``certificate``.

Watches select by it.
"""

APP_LABEL = f"{GROUP}/oauth-app"
NAMESPACE_LABEL = f"{GROUP}/namespace"
CLIENT_CONSENT_LABEL = f"{GROUP}/oauth-client"
"""On a client Secret, by its owner: the name of the OAuthApp that may use it."""

INJECT_LABEL = f"{GROUP}/inject"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "cube-oauth-operator"

# --- annotations on a pod template
USERNAME_CLAIM_ANNOTATION = f"{GROUP}/username-claim"
ISSUER_ANNOTATION = f"{GROUP}/issuer"
CONTAINER_ANNOTATION = f"{GROUP}/container"
APPS_ANNOTATION = f"{GROUP}/apps"
HEALTH_PORT_ANNOTATION = f"{GROUP}/health-port"
"""The port at which the kubelet asks the sidecar, when the usual one is taken."""
INJECTED_ANNOTATION = f"{GROUP}/injected"
"""Written by the injector: the contract's version and the sidecar's image, so that old sidecars can be found."""

# --- annotations on a workload
RESTART_ANNOTATION = f"{GROUP}/restart-when-outdated"
"""By a workload's owner, ``"true"``: restart it when its pods have an old sidecar, or the service account of before."""
RESTARTED_PREFIX = f"restarted.{GROUP}"
"""By the controller, in the pod template: what it was restarted for, and for which version of that."""

# --- annotation on a Secret that holds a service account
ACCOUNT_CONSENT_ANNOTATION = f"{GROUP}/service-account-namespaces"
"""By the Secret's owner: the other namespaces, separated by commas, whose OAuthApps may use it."""

# --- annotation on a client Secret that was typed into the portal
TYPED_ANNOTATION = f"{GROUP}/typed-at"
"""By the controller: when, so that one that was typed before and comes later does not replace it."""

# --- annotations on a key ring's Secret
ROTATE_ANNOTATION = f"{GROUP}/rotate"
"""By an administrator, with any value: replace the key. Removed by the write that begins with it."""
ROTATION_ANNOTATION = f"{GROUP}/rotation"
"""By the controller: how far the last rotation is, in a sentence."""

# --- Secret types (immutable at the API server, and what the ValidatingAdmissionPolicy holds the portal to)
TOKEN_SECRET_TYPE = f"{GROUP}/token"
GRANT_SECRET_TYPE = f"{GROUP}/grant"
CLIENT_SECRET_TYPE = f"{GROUP}/client"
REVOCATION_SECRET_TYPE = f"{GROUP}/revocation"
ACCOUNT_SECRET_TYPE = f"{GROUP}/account"
"""A service account in the token namespace, encrypted."""
TARGET_SECRET_TYPE = f"{GROUP}/service-account"
"""A service account beside Cube, for its pods to read."""

RESOLVER_AUDIENCE = "broker.cubeoauth.dev"
"""The audience of the sidecar's projected service-account token (TokenReview checks it)."""


def digest(*parts: str) -> str:
    """A short, name-safe hash of ``parts`` (26 characters of base32, 130 bits).

    The parts are joined by a NUL, which none of them can contain, so that no two lists collide.
    """
    raw = hashlib.sha256("\0".join(parts).encode()).digest()
    return base64.b32encode(raw).decode().lower()[:26]


def credential_name(app: str, username: str) -> str:
    """The name under which the portal creates a person's UserCredential.

    Derived from the app and the exact bytes of the username, so that two replicas never make two.
    """
    return f"{app[:36].rstrip('-.')}-{digest(app, username)}"


def token_secret_name(credential_uid: str) -> str:
    """The name of the token Secret of one UserCredential (by UID: a re-created resource never inherits a token)."""
    return f"token-{credential_uid}"


def revocation_secret_name(credential_uid: str, grant: str, sealed: str) -> str:
    """The name of the Secret of one token that is to be revoked, so that writing it down twice is writing it down once."""
    return f"revoke-{digest(credential_uid, grant, sealed)}"


def account_secret_name(app_uid: str) -> str:
    """The name of the Secret of one OAuthApp's service account in the token namespace."""
    return f"account-{app_uid}"


def target_secret_name(app: str) -> str:
    """The name of the Secret beside Cube that holds what was copied or fetched for an OAuthApp."""
    return f"{app}-service-account"


def grant_secret_name(state: str) -> str:
    """The name of the grant Secret of one authorization, from its ``state``: a replayed callback conflicts."""
    return f"grant-{digest(state)}"
