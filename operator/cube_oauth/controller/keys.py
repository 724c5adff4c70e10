"""The key rings of an installation: in Secrets that the controller makes once and rotates, or in files from outside.

The rings for tokens are made only while no token Secret exists. A missing ring beside stored tokens was lost, not forgotten; a new
one would make every token undecipherable for good, so a person decides: an empty Secret in its place says "make a new one".
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cube_oauth.kube.api import CONFIG_MAPS, SECRETS, Api, KubeError, Object
from cube_oauth.resources.keyring import Keyring, Ring, SealError, SealingKey
from cube_oauth.resources.names import (
    KIND_LABEL,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    ROTATE_ANNOTATION,
    ROTATION_ANNOTATION,
)
from cube_oauth.resources.secrets import decode, encode

if TYPE_CHECKING:
    from pathlib import Path

    from cube_oauth.controller.clock import Clock
    from cube_oauth.resources.secrets import TokenSecret
    from cube_oauth.settings import Installation

log = logging.getLogger(__name__)

RING = "ring"
"""The key in the data of each Secret, and of the ConfigMap."""

KINDS: dict[str, type[Keyring | SealingKey]] = {"access": Keyring, "refresh": Keyring, "grant": SealingKey, "cookie": Keyring}
GUARDED = ("access", "refresh")
"""The rings that stored tokens are sealed with."""
OURS = ("access", "refresh", "grant")
"""Those that the controller uses; the fourth it only looks after."""


class KeysLostError(Exception):
    """A ring is missing although tokens are stored, or cannot be read. The message says what to do."""


@dataclass
class Keys:
    """What the controller opens and seals with; a rotation exchanges the rings in it."""

    access: Keyring
    refresh: Keyring
    grant: SealingKey

    def opens(self, token: TokenSecret) -> tuple[bool, bool]:
        """Whether access token and refresh token can be read: sealed with a key that is there, for the owner of their Secret."""
        owner = token.record.owner
        access, refresh = token.access_token, token.refresh_token
        return access is None or self.access.holds(access, owner), refresh is None or self.refresh.holds(refresh, owner)


@dataclass(frozen=True)
class Stored:
    """A ring and where it lies."""

    ring: Keyring | SealingKey
    secret: Object | None = None
    """As it was read; None for a file, which only somebody outside changes."""

    @property
    def rotation_requested(self) -> bool:
        """Whether somebody annotated the Secret."""
        return self.secret is not None and ROTATE_ANNOTATION in (self.secret["metadata"].get("annotations") or {})


class Rings(Protocol):
    """Where the rings are."""

    async def load(self) -> dict[str, Stored]:
        """The rings by name. Raises KeysLostError and KubeError."""


def keys_of(stored: dict[str, Stored]) -> Keys:
    """The rings that the controller uses. Raises KeysLostError when the broker's ring would open refresh tokens."""
    access, refresh, grant = (stored[name].ring for name in OURS)
    assert isinstance(access, Keyring)  # noqa: S101 - read so
    assert isinstance(refresh, Keyring)  # noqa: S101 - read so
    assert isinstance(grant, SealingKey)  # noqa: S101 - read so
    if access.shares_key(refresh):
        raise KeysLostError(
            "The rings for access and refresh tokens have a key in common, so the broker could open refresh tokens: "
            "give each its own (docs/reference/keys.md)."
        )
    return Keys(access, refresh, grant)


class FileRings:
    """Rings in files ``access``, ``refresh`` and ``grant``, which somebody outside mounts and changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def load(self) -> dict[str, Stored]:
        """Read the files. Raises KeysLostError."""
        return {name: Stored(self._read(name)) for name in OURS}

    def _read(self, name: str) -> Keyring | SealingKey:
        path = self._folder / name
        try:
            ring = KINDS[name].from_json(path.read_text(encoding="ascii"))
        except OSError as error:
            raise KeysLostError(
                f"The key ring {path} cannot be read ({error.strerror}): mount it (docs/reference/keys.md)."
            ) from error
        except ValueError as error:
            raise KeysLostError(f"The key ring {path} cannot be used: {error} (docs/reference/keys.md).") from error
        if isinstance(ring, SealingKey) and not ring.opens:
            raise KeysLostError(f"The key ring {path} has public keys only: the controller needs the private ones.")
        return ring


class SecretRings:
    """Rings in Secrets of the release's namespace."""

    def __init__(self, api: Api, installation: Installation, clock: Clock) -> None:
        self._api = api
        self._installation = installation
        self._clock = clock
        self._known: dict[str, str] = {}

    async def load(self) -> dict[str, Stored]:
        """Read the Secrets, making those that do not exist yet. Raises KeysLostError and KubeError."""
        return {name: await self._load(name) for name in KINDS}

    async def write(self, name: str, stored: Stored, ring: Ring, said: str) -> Stored:
        """Replace the version that was read; the request to rotate, if there was one, is answered by the same write."""
        assert stored.secret is not None  # noqa: S101 - it came from ``load``
        meta = stored.secret["metadata"]
        annotations = {key: value for key, value in (meta.get("annotations") or {}).items() if key != ROTATE_ANNOTATION}
        body = {
            **stored.secret,
            "metadata": {**meta, "annotations": {**annotations, ROTATION_ANNOTATION: said}},
            "data": {**stored.secret["data"], **encode({RING: ring.to_json()})},
        }
        return self._read(name, await self._api.replace(SECRETS, body))

    async def _load(self, name: str) -> Stored:
        secret = await self._found(name)
        if secret is None:
            secret = await self._create(name, await self._text_for(name))
        elif not secret.get("data"):
            log.warning("an empty Secret asks for a new key ring", extra={"secret": self._named(name)})
            secret = await self._api.replace(SECRETS, {**secret, "data": encode({RING: self._new(name)})})
        return self._read(name, secret)

    def _read(self, name: str, secret: Object) -> Stored:
        text = decode(secret).get(RING, "")
        try:
            stored = Stored(KINDS[name].from_json(text), secret)
        except SealError as error:
            raise KeysLostError(
                f"Secret {self._installation.namespace}/{self._named(name)} cannot be used ({error}): restore it from a backup."
            ) from error
        self._known[name] = text
        return stored

    async def _text_for(self, name: str) -> str:
        """The ring for a Secret that is not there: the one that was there before, or a new one if none can have been there."""
        if name in self._known:
            log.warning("a key ring's Secret was deleted; written again", extra={"secret": self._named(name)})
            return self._known[name]
        if name in GUARDED and await self._tokens_exist():
            raise KeysLostError(self._advice(name))
        return self._new(name)

    async def _create(self, name: str, text: str) -> Object:
        try:
            made = await self._api.create(SECRETS, self._secret(name, text), self._installation.namespace)
        except KubeError as error:
            if not error.conflict:
                raise
            return await self._found(name) or {}  # another replica made it in this moment
        log.info("key ring made", extra={"secret": self._named(name)})
        return made

    async def _found(self, name: str) -> Object | None:
        return await self._api.get(SECRETS, self._named(name), self._installation.namespace)

    async def _tokens_exist(self) -> bool:
        listed = await self._api.list(SECRETS, self._installation.token_namespace, labelSelector=f"{KIND_LABEL}=token", limit="1")
        return bool(listed.get("items"))

    def _new(self, name: str) -> str:
        return KINDS[name].generate(self._clock.now()).to_json()

    def _named(self, name: str) -> str:
        return self._installation.named(f"keys-{name}")

    def _advice(self, name: str) -> str:
        namespace, tokens = self._installation.namespace, self._installation.token_namespace
        return (
            f"Secret {namespace}/{self._named(name)} is missing, but tokens are stored in namespace {tokens}: restore it from a "
            f"backup; or accept the loss with `kubectl -n {namespace} create secret generic {self._named(name)}`, then a new ring "
            "is made and everybody authorizes again."
        )

    def _secret(self, name: str, text: str) -> Object:
        metadata = _metadata(self._named(name), self._installation.namespace)
        return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": encode({RING: text})}


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "labels": {MANAGED_BY_LABEL: MANAGED_BY, KIND_LABEL: "keyring"}}


async def publish_grant_key(api: Api, installation: Installation, key: SealingKey) -> None:
    """Keep the ConfigMap right from which the portal has the public key."""
    name, namespace, public = installation.named("grant-key"), installation.namespace, key.to_json(private=False)
    found = await api.get(CONFIG_MAPS, name, namespace)
    if found and (found.get("data") or {}).get(RING) == public:
        return
    if found is None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(name, namespace), "data": {RING: public}}
        await api.create(CONFIG_MAPS, body, namespace)
    else:
        await api.merge(CONFIG_MAPS, name, {"data": {RING: public}}, namespace)
