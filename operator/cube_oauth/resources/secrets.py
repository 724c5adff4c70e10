"""The Secrets of ours: what lies in them, typed, and how they are written for the API server.

A token Secret holds a readable ``record`` (who, from where, until when; nothing secret) beside two encrypted values.
``keyring.py`` makes and opens those; nothing here ever sees a token.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from cube_oauth.resources.keyring import binding
from cube_oauth.resources.meta import Model, ObjectMeta, Time
from cube_oauth.resources.names import (
    APP_LABEL,
    CLIENT_SECRET_TYPE,
    GRANT_SECRET_TYPE,
    KIND_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    NAMESPACE_LABEL,
    REVOCATION_SECRET_TYPE,
    TOKEN_SECRET_TYPE,
    revocation_secret_name,
    token_secret_name,
)
from cube_oauth.resources.oauthapp import ClientAuthentication, SecretKeyReference

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_TRACKED: list[dict[str, Any]] = [{}]
"""Stops the API server's book-keeping of who owns which field (Kubernetes, "Server-Side Apply", "Clearing managedFields"): nobody
else writes a token Secret, each is written twice for one refresh, and it cost a fifth of these writes."""


class Reference(Model):
    """One object, by name and by UID: a re-created one is another."""

    namespace: str
    name: str
    uid: str


def owner(namespace: str, app: str, credential_uid: str, username: str) -> str:
    """The owner that the tokens of one credential are bound to when they are sealed."""
    return binding(namespace, app, credential_uid, username)


class TokenRecord(Model):
    """What is known of a sign-in and its current tokens. Readable; nothing in it is secret."""

    credential: Reference
    app: Reference
    username: str
    token_url: str
    """The token endpoint that issued the tokens; they are sent nowhere else."""
    revocation_url: str | None = None
    exchange_url: str | None = None
    """Where the provider's tokens became the warehouse's own (RFC 8693): then the access token is not the provider's."""
    client_id: str
    client_authentication: ClientAuthentication | None = None
    """How the client proved itself; for revoking when the OAuthApp is gone."""
    client_secret: SecretKeyReference | None = Field(default=None, alias="clientSecretRef")
    """Where the client's secret was, for the same."""
    grant: str
    """Names one sign-in; stays through refreshes, so that caches are kept per identity and not per token."""
    signed_in_at: Time | None = None
    """When the person authorized."""
    account: str | None = None
    """A hash of who signed in at the provider (the ID token's ``sub``), to tell two sign-ins apart."""
    session: str | None = None
    """A hash of the session at the provider (the ID token's ``sid``), for the same."""
    revision: int
    """Grows by one with each new access token."""
    subject: str | None = None
    scopes: tuple[str, ...] = ()
    issued_at: Time
    expires_at: Time
    refresh_token_expires_at: Time | None = None
    refresh_token_rolls: bool | None = None
    """Whether that end moves forward with each refresh; None: not known yet."""
    ended: str | None = None
    """The reason why no refresh can succeed any more (for example ``InvalidGrant``), or None."""
    denied: str | None = None
    """The reason why the provider's policy refused the last refresh (for example ``AccessDenied``): the refresh token is as good as
    before, and works again once the policy permits it."""
    denied_at: Time | None = None
    refreshed_for_rejection: int | None = None
    """The revision that the warehouse refused and for which a refresh was forced, so that it is forced once."""

    @property
    def owner(self) -> str:
        """What both ciphertexts are bound to (``Keyring.seal`` and ``open``): a token moved to somebody else does not open."""
        return owner(self.app.namespace, self.app.name, self.credential.uid, self.username)


class Claim(Model):
    """The right to redeem one refresh token once: written by compare-and-swap before redeeming."""

    id: str
    refresh_token_hash: str
    deadline: Time


def encode(data: Mapping[str, str | None]) -> dict[str, str]:
    """``data`` of a Secret: base64, absent keys left out."""
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items() if value is not None}


def decode(secret: dict[str, Any]) -> dict[str, str]:
    """The opposite of ``encode``; values that are no UTF-8 are left out."""
    decoded = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            decoded[key] = base64.b64decode(value).decode()
        except ValueError:
            continue
    return decoded


def compact(model: Model) -> str:
    """A record as it lies in a Secret."""
    return json.dumps(model.to_json(), separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True)
class TokenSecret:
    """The Secret of one UserCredential's tokens, in the token namespace."""

    record: TokenRecord
    claim: Claim | None = None
    access_token: str | None = None
    """JWE under the access ring; None once it has ended."""
    refresh_token: str | None = None
    """JWE under the refresh ring; None when the provider gave none, or it has ended."""
    resource_version: str | None = None

    @property
    def name(self) -> str:
        """The Secret's name."""
        return token_secret_name(self.record.credential.uid)

    @classmethod
    def from_kubernetes(cls, secret: dict[str, Any]) -> Self:
        """Read a Secret. Raises ValueError when it is not one of ours or damaged (the message names it)."""
        meta = ObjectMeta.model_validate(secret["metadata"])
        data = decode(secret)
        try:
            record = TokenRecord.model_validate_json(data["record"])
            claim = Claim.model_validate_json(data["claim"]) if "claim" in data else None
        except (KeyError, ValueError) as error:
            raise ValueError(f"Secret {meta.namespace}/{meta.name} holds no readable token record") from error
        return cls(record, claim, data.get("accessToken"), data.get("refreshToken"), meta.resource_version or None)

    def to_kubernetes(self, namespace: str) -> dict[str, Any]:
        """The whole Secret; with ``resource_version`` an update of it conflicts when somebody else wrote in between."""
        reference = self.record.credential
        metadata: dict[str, Any] = {
            "name": self.name,
            "namespace": namespace,
            "labels": {
                KIND_LABEL: "token",
                MANAGED_BY_LABEL: MANAGED_BY,
                NAMESPACE_LABEL: reference.namespace,
                APP_LABEL: self.record.app.name,
            },
        }
        if self.resource_version:
            metadata["resourceVersion"] = self.resource_version
            metadata["managedFields"] = _NOT_TRACKED
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": TOKEN_SECRET_TYPE,
            "metadata": metadata,
            "data": encode(
                {
                    "record": compact(self.record),
                    "claim": compact(self.claim) if self.claim else None,
                    "accessToken": self.access_token,
                    "refreshToken": self.refresh_token,
                }
            ),
        }


class Revocation(Model):
    """Why tokens are to be revoked at the provider, and how long that is tried. Readable; nothing in it is secret."""

    token: TokenRecord
    reason: str
    since: Time
    until: Time
    """The tokens have ended by then, or it is given up."""
    client_authentication: ClientAuthentication = ClientAuthentication.NONE
    assertion_audience: str | None = None


@dataclass(frozen=True)
class RevocationSecret:
    """The Secret of tokens that wait to be revoked, in the token namespace: a promise that outlives the process."""

    record: Revocation
    access_token: str | None = None
    """JWE under the access ring; only when there is no refresh token, which ends both."""
    refresh_token: str | None = None
    """JWE under the refresh ring."""
    client_secret: str | None = None
    """JWE under the refresh ring, bound to the same owner: the OAuthApp and its client Secret may be gone by then."""
    resource_version: str | None = None

    @property
    def name(self) -> str:
        """The Secret's name."""
        token = self.record.token
        return revocation_secret_name(token.credential.uid, token.grant, self.refresh_token or self.access_token or "")

    @classmethod
    def from_kubernetes(cls, secret: dict[str, Any]) -> Self:
        """Read a Secret. Raises ValueError when it is not one of ours or damaged (the message names it)."""
        meta, data = ObjectMeta.model_validate(secret["metadata"]), decode(secret)
        try:
            record = Revocation.model_validate_json(data["record"])
        except (KeyError, ValueError) as error:
            raise ValueError(f"Secret {meta.namespace}/{meta.name} holds no readable revocation record") from error
        sealed = (data.get("accessToken"), data.get("refreshToken"), data.get("clientSecret"))
        return cls(record, *sealed, meta.resource_version or None)

    def to_kubernetes(self, namespace: str) -> dict[str, Any]:
        """The whole Secret."""
        app = self.record.token.app
        labels = {KIND_LABEL: "revocation", MANAGED_BY_LABEL: MANAGED_BY, NAMESPACE_LABEL: app.namespace, APP_LABEL: app.name}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": REVOCATION_SECRET_TYPE,
            "metadata": {"name": self.name, "namespace": namespace, "labels": labels},
            "data": encode(
                {
                    "record": compact(self.record),
                    "accessToken": self.access_token,
                    "refreshToken": self.refresh_token,
                    "clientSecret": self.client_secret,
                }
            ),
        }


class Grant(Model):
    """An authorization code on its way from the portal to the controller (sealed; the portal cannot read it back)."""

    credential: Reference
    app: Reference
    username: str
    groups: tuple[str, ...] = ()
    code: str
    code_verifier: str | None = None
    redirect_uri: str
    nonce: str | None = None
    token_url: str
    """The token endpoint the person was told of; a code is redeemed nowhere else."""
    client_id: str
    issued_at: Time


class ClientDeposit(Model):
    """An app's client secret on its way from the portal to its place (sealed, like a Grant); then the app is tried."""

    app: Reference
    secret_name: str = ""
    key: str = ""
    value: str | None = None
    """None: the app is only tried."""
    issued_at: Time


def grant_secret(name: str, namespace: str, sealed: str) -> dict[str, Any]:
    """The grant Secret: ``sealed`` is the Grant as JWE to the controller's public key."""
    return _sealed_secret("grant", GRANT_SECRET_TYPE, name, namespace, sealed)


def deposit_secret(name: str, namespace: str, sealed: str) -> dict[str, Any]:
    """The Secret of a ClientDeposit: ``sealed`` is the deposit as JWE to the controller's public key."""
    return _sealed_secret("client", CLIENT_SECRET_TYPE, name, namespace, sealed)


def _sealed_secret(kind: str, secret_type: str, name: str, namespace: str, sealed: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": secret_type,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {KIND_LABEL: kind, MANAGED_BY_LABEL: MANAGED_BY},
        },
        "data": encode({kind: sealed}),
    }
