"""The key rings of an installation: made once, by the controller, never by a template.

The rings for tokens are made only while no token Secret exists. A missing ring beside stored tokens was lost, not forgotten; a new
one would make every token undecipherable for good, so a person decides.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cube_oauth.kube.api import CONFIG_MAPS, SECRETS, Api, KubeError
from cube_oauth.resources.keyring import Keyring, SealError, SealingKey
from cube_oauth.resources.names import KIND_LABEL, MANAGED_BY, MANAGED_BY_LABEL
from cube_oauth.resources.secrets import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.settings import Installation

log = logging.getLogger(__name__)

RING = "ring"
"""The key in the data of each Secret, and of the ConfigMap."""


class KeysLostError(Exception):
    """A ring is missing although tokens are stored, or cannot be read. The message says what to do."""


@dataclass(frozen=True)
class Keys:
    """What the controller opens and seals with."""

    access: Keyring
    refresh: Keyring
    grant: SealingKey


async def bootstrap(api: Api, installation: Installation) -> Keys:
    """Read the rings, making those that do not exist yet. Raises KeysLostError and KubeError."""
    store = _Rings(api, installation)
    access = await store.ring("keys-access", lambda: Keyring.generate().to_json(), guards_tokens=True)
    refresh = await store.ring("keys-refresh", lambda: Keyring.generate().to_json(), guards_tokens=True)
    grant = await store.ring("keys-grant", lambda: SealingKey.generate().to_json(private=True))
    await store.ring("keys-cookie", lambda: Keyring.generate().to_json())
    keys = _read(access, refresh, grant)
    await store.publish("grant-key", keys.grant.to_json(private=False))
    return keys


def _read(access: str, refresh: str, grant: str) -> Keys:
    try:
        return Keys(Keyring.from_json(access), Keyring.from_json(refresh), SealingKey.from_json(grant))
    except SealError as error:
        raise KeysLostError(f"A key ring cannot be read ({error}): restore its Secret from a backup.") from error


@dataclass(frozen=True)
class _Rings:
    api: Api
    installation: Installation

    async def ring(self, suffix: str, make: Callable[[], str], *, guards_tokens: bool = False) -> str:
        """The ring in this Secret; a new one when there is no such Secret."""
        found = await self._found(suffix)
        if found is not None:
            return found
        if guards_tokens and await self._tokens_exist():
            raise KeysLostError(self._advice(suffix))
        try:
            await self.api.create(SECRETS, self._secret(suffix, make()), self.installation.namespace)
            log.info("key ring made", extra={"secret": self.installation.named(suffix)})
        except KubeError as error:
            if not error.conflict:  # else another replica made it in this moment
                raise
        return await self._found(suffix) or ""

    async def publish(self, suffix: str, public: str) -> None:
        """Keep the ConfigMap with the public key right."""
        name, namespace = self.installation.named(suffix), self.installation.namespace
        found = await self.api.get(CONFIG_MAPS, name, namespace)
        if found and (found.get("data") or {}).get(RING) == public:
            return
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._meta(suffix), "data": {RING: public}}
        if found is None:
            await self.api.create(CONFIG_MAPS, body, namespace)
        else:
            await self.api.merge(CONFIG_MAPS, name, {"data": {RING: public}}, namespace)

    async def _found(self, suffix: str) -> str | None:
        secret = await self.api.get(SECRETS, self.installation.named(suffix), self.installation.namespace)
        return decode(secret).get(RING, "") if secret else None

    async def _tokens_exist(self) -> bool:
        listed = await self.api.list(SECRETS, self.installation.token_namespace, labelSelector=f"{KIND_LABEL}=token", limit="1")
        return bool(listed.get("items"))

    def _advice(self, suffix: str) -> str:
        namespace, tokens = self.installation.namespace, self.installation.token_namespace
        return (
            f"Secret {namespace}/{self.installation.named(suffix)} is missing, but tokens are stored in namespace {tokens}: "
            f"restore it from a backup; or delete the Secrets labelled {KIND_LABEL}=token there, then everybody authorizes again."
        )

    def _meta(self, suffix: str) -> dict[str, Any]:
        labels = {MANAGED_BY_LABEL: MANAGED_BY, KIND_LABEL: "keyring"}
        return {"name": self.installation.named(suffix), "namespace": self.installation.namespace, "labels": labels}

    def _secret(self, suffix: str, ring: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": self._meta(suffix),
            "data": encode({RING: ring}),
        }
