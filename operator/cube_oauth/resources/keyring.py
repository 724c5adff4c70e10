"""Encrypting and opening the values in our Secrets and cookies (JWE, RFC 7516, by joserfc).

Three kinds of ring. A symmetric ``Keyring`` for access tokens, one for refresh tokens, one for the portal's cookies; and a
``SealingKey`` pair by which the portal deposits a grant that only the controller can read. The first key of a ring encrypts,
every key of it opens, so that a ring can be rotated.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Self

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OctKey
from joserfc.registry import HeaderParameter
from pydantic import SecretStr

_SYMMETRIC = {"alg": "dir", "enc": "A256GCM"}
_SEALED = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}
_REGISTRY = jwe.JWERegistry(
    header_registry={"bind": HeaderParameter("Owner that the value is bound to", "str")},
    algorithms=["dir", "A256GCM", "ECDH-ES+A256KW"],
)


class SealError(ValueError):
    """A value could not be opened: another key, another owner, or damaged. Its message never holds the value."""


def binding(*owner: str) -> str:
    """The owner as it is bound to a ciphertext: a hash, authenticated but not readable."""
    return hashlib.sha256("\0".join(owner).encode()).hexdigest()


def _header(base: dict[str, str], kid: str, owner: str | None) -> dict[str, str]:
    return {**base, "kid": kid, **({"bind": owner} if owner else {})}


def _open(value: str, keys: KeySet, owner: str | None) -> str:
    try:
        opened = jwe.decrypt_compact(value, keys, registry=_REGISTRY)
    except (JoseError, ValueError) as error:
        raise SealError("the value cannot be opened: its key is not in the ring, or it is damaged") from error
    if opened.headers().get("bind") != owner:
        raise SealError("the value belongs to another owner: it was moved between Secrets")
    if opened.plaintext is None:
        raise SealError("the value is empty")
    return opened.plaintext.decode()


@dataclass(frozen=True)
class Keyring:
    """Symmetric keys; the first encrypts, all open."""

    keys: KeySet

    @classmethod
    def generate(cls) -> Self:
        """A ring with one new 256-bit key."""
        return cls(KeySet([OctKey.generate_key(256, {"use": "enc"}, auto_kid=True)]))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a JWK Set (RFC 7517). Raises SealError when it is none."""
        try:
            return cls(KeySet.import_key_set(json.loads(text)))
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise SealError("the key ring is not a JWK Set with symmetric keys") from error

    def to_json(self) -> str:
        """The JWK Set, private keys included."""
        return json.dumps(self.keys.as_dict(private=True))

    def seal(self, value: SecretStr, owner: str | None = None) -> str:
        """``value`` as a compact JWE, bound to ``owner`` (see ``binding``)."""
        key = self.keys.keys[0]
        header = _header(_SYMMETRIC, str(key.kid), owner)
        return jwe.encrypt_compact(header, value.get_secret_value(), key, registry=_REGISTRY)

    def holds(self, value: str) -> bool:
        """Whether the key that ``value`` was sealed with is in the ring; nothing is decrypted."""
        try:
            kid = json.loads(urlsafe_b64decode(value.partition(".")[0] + "==")).get("kid")
        except (ValueError, AttributeError):
            return False
        return any(key.kid == kid for key in self.keys.keys)

    def open(self, value: str, owner: str | None = None) -> SecretStr:
        """The opposite of ``seal``. Raises SealError for another key, another owner or a damaged value."""
        return SecretStr(_open(value, self.keys, owner))


@dataclass(frozen=True)
class SealingKey:
    """An asymmetric ring: whoever has the public part seals, only the private part opens."""

    keys: KeySet

    @classmethod
    def generate(cls) -> Self:
        """A ring with one new P-256 key."""
        return cls(KeySet([ECKey.generate_key("P-256", {"use": "enc"}, auto_kid=True)]))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a JWK Set, private or public. Raises SealError when it is none."""
        try:
            return cls(KeySet.import_key_set(json.loads(text)))
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise SealError("the sealing key is not a JWK Set with elliptic-curve keys") from error

    def to_json(self, *, private: bool) -> str:
        """The JWK Set; ``private=False`` for whoever only seals."""
        return json.dumps(self.keys.as_dict(private=private))

    def seal(self, value: SecretStr) -> str:
        """``value`` as a compact JWE that only the private key opens."""
        key = self.keys.keys[0]
        return jwe.encrypt_compact(_header(_SEALED, str(key.kid), None), value.get_secret_value(), key, registry=_REGISTRY)

    def open(self, value: str) -> SecretStr:
        """The opposite of ``seal``. Raises SealError."""
        return SecretStr(_open(value, self.keys, None))
