"""The Secrets of service accounts: an encrypted one in the token namespace, and where it is needed one beside Cube."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from cube_oauth.resources.keyring import binding
from cube_oauth.resources.meta import Model, ObjectMeta, Time
from cube_oauth.resources.names import (
    ACCOUNT_SECRET_TYPE,
    API_VERSION,
    APP_LABEL,
    KIND_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    NAMESPACE_LABEL,
    TARGET_SECRET_TYPE,
    account_secret_name,
    target_secret_name,
)
from cube_oauth.resources.secrets import Reference, compact, decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cube_oauth.resources.oauthapp import OAuthApp

ACCESS_TOKEN = "accessToken"  # noqa: S105 - a key's name
"""The one key of an account that is fetched (``spec.serviceAccount.clientCredentials``)."""


class AccountRecord(Model):
    """What is known of a service account. Readable; nothing in it is secret."""

    app: Reference
    variables: tuple[str, ...]
    """The environment variables of Cube that it fills."""
    revision: int
    """Grows by one whenever a value changes."""
    issued_at: Time
    """When this revision came to be."""
    target: str | None = None
    """The Secret beside Cube that was made for it, if one was."""
    withdrawn: str | None = None
    """The reason why it may not be used any more: then there are no values."""
    asked: str | None = None
    """A hash of what the provider was asked for: another client, endpoint or scope needs another token. None: it was copied."""
    expires_at: Time | None = None
    """When a fetched token ends."""

    @property
    def owner(self) -> str:
        """What the ciphertext is bound to (``Keyring.seal`` and ``open``)."""
        return binding("service-account", self.app.namespace, self.app.name, self.app.uid)


@dataclass(frozen=True)
class AccountSecret:
    """The Secret of one OAuthApp's service account, in the token namespace: what the broker gives to Cube's hooks."""

    record: AccountRecord
    values: str | None = None
    """JWE under the access ring of a JSON object, value by variable; None when it was withdrawn."""
    resource_version: str | None = None

    @property
    def name(self) -> str:
        """The Secret's name."""
        return account_secret_name(self.record.app.uid)

    @classmethod
    def from_kubernetes(cls, secret: dict[str, Any]) -> Self:
        """Read a Secret. Raises ValueError when it is not one of ours or damaged (the message names it)."""
        meta, data = ObjectMeta.model_validate(secret["metadata"]), decode(secret)
        try:
            record = AccountRecord.model_validate_json(data["record"])
        except (KeyError, ValueError) as error:
            raise ValueError(f"Secret {meta.namespace}/{meta.name} holds no readable account record") from error
        return cls(record, data.get("values"), meta.resource_version or None)

    def to_kubernetes(self, namespace: str) -> dict[str, Any]:
        """The whole Secret; with ``resource_version`` an update of it conflicts when somebody else wrote in between."""
        app = self.record.app
        labels = {KIND_LABEL: "account", MANAGED_BY_LABEL: MANAGED_BY, NAMESPACE_LABEL: app.namespace, APP_LABEL: app.name}
        version = {"resourceVersion": self.resource_version} if self.resource_version else {}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": ACCOUNT_SECRET_TYPE,
            "metadata": {"name": self.name, "namespace": namespace, "labels": labels, **version},
            "data": encode({"record": compact(self.record), "values": self.values}),
        }


def values_to_text(values: Mapping[str, str]) -> str:
    """What is encrypted."""
    return json.dumps(dict(values), sort_keys=True)


def values_from_text(text: str) -> dict[str, str]:
    """The opposite of ``values_to_text``."""
    return {str(name): str(value) for name, value in json.loads(text).items()}


def target_secret(app: OAuthApp, values: Mapping[str, str]) -> dict[str, Any]:
    """The Secret beside Cube: each variable under its own name, so that ``envFrom`` can read it, too. The OAuthApp owns it."""
    meta = app.metadata
    owner = {"apiVersion": API_VERSION, "kind": "OAuthApp", "name": meta.name, "uid": meta.uid, "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": TARGET_SECRET_TYPE,
        "metadata": {
            "name": target_secret_name(meta.name),
            "namespace": meta.namespace,
            "labels": {KIND_LABEL: "service-account", MANAGED_BY_LABEL: MANAGED_BY, APP_LABEL: meta.name},
            "ownerReferences": [owner],
        },
        "data": encode(dict(values)),
    }


def is_target(secret: Mapping[str, Any], app: str) -> bool:
    """Whether we made this Secret for the OAuthApp of this name. A Secret's type cannot be changed afterwards."""
    labels = secret["metadata"].get("labels") or {}
    ours = labels.get(MANAGED_BY_LABEL) == MANAGED_BY and labels.get(APP_LABEL) == app
    return secret.get("type") == TARGET_SECRET_TYPE and ours
