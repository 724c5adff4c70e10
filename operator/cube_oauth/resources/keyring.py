"""Encrypting and opening the values in our Secrets and cookies (JWE, RFC 7516, by joserfc).

Four rings. A symmetric ``Keyring`` for access tokens, one for refresh tokens, one for the portal's cookies; and a ``SealingKey``
pair by which the portal deposits a grant that only the controller can read. The first key of a ring encrypts, every key of it
opens, so that a ring can be rotated.

How far a rotation is lies in the keys themselves, as members of each JWK with the meaning that they have in a JWT (RFC 7519,
section 4.1), so that one write changes both at once: ``iat`` when the key was made, ``nbf`` when a new one may begin to encrypt,
``exp`` until when one that was replaced is kept at least.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OctKey
from joserfc.registry import HeaderParameter
from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Collection

_SYMMETRIC = {"alg": "dir", "enc": "A256GCM"}
_SEALED = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}
_REGISTRY = jwe.JWERegistry(
    header_registry={"bind": HeaderParameter("Owner that the value is bound to", "str")},
    algorithms=["dir", "A256GCM", "ECDH-ES+A256KW"],
)
_KEY_BYTES = 32
ISSUED, NOT_BEFORE, EXPIRES = "iat", "nbf", "exp"


class SealError(ValueError):
    """A value could not be opened: another key, another owner, or damaged. Its message never holds the value."""


def binding(*owner: str) -> str:
    """The owner as it is bound to a ciphertext: a hash, authenticated but not readable."""
    return hashlib.sha256("\0".join(owner).encode()).hexdigest()


def _header(base: dict[str, str], kid: str, owner: str | None) -> dict[str, str]:
    return {**base, "kid": kid, **({"bind": owner} if owner else {})}


def _header_of(value: str) -> dict[str, Any]:
    """The protected header, as it says of itself; empty for what is no JWE."""
    try:
        header = json.loads(urlsafe_b64decode(value.partition(".")[0] + "=="))
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}


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


def _moment(key: Any, member: str) -> datetime | None:
    found = key.get(member)
    return datetime.fromtimestamp(found, UTC) if isinstance(found, int) else None


@dataclass(frozen=True)
class Ring:
    """Keys; the first encrypts, all open."""

    keys: KeySet
    _kind: ClassVar[str] = "JWK Set (RFC 7517)"

    @classmethod
    def generate(cls, now: datetime | None = None) -> Self:
        """A ring with one new key, made at ``now``."""
        return cls(KeySet([cls._new(_members(now))]))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a JWK Set (RFC 7517). Raises SealError when it is none that can be used."""
        try:
            keys = KeySet.import_key_set(json.loads(text))
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise SealError(f"the key ring is not a {cls._kind}") from error
        if not all(cls._fits(key) for key in keys.keys):
            raise SealError(f"the key ring is not a {cls._kind}")
        if max(Counter(key.kid for key in keys.keys).values()) > 1:
            raise SealError("two keys of the key ring have the same kid")
        return cls(keys)

    @classmethod
    def _new(cls, members: Any) -> OctKey | ECKey:
        raise NotImplementedError

    @classmethod
    def _fits(cls, key: object) -> bool:
        raise NotImplementedError

    def to_json(self, *, private: bool = True) -> str:
        """The JWK Set; ``private=False`` is for whoever only seals with elliptic-curve keys."""
        return json.dumps(self.keys.as_dict(private=private))

    @property
    def kids(self) -> tuple[str, ...]:
        """The names of the keys, the encrypting one first; nothing secret."""
        return tuple(str(key.kid) for key in self.keys.keys)

    @property
    def issued_at(self) -> datetime | None:
        """When the encrypting key was made, if it says so."""
        return _moment(self.keys.keys[0], ISSUED)

    def shares_key(self, other: Ring) -> bool:
        """Whether one of the keys is in ``other`` too, whatever it is called there (RFC 7638)."""
        return bool({key.thumbprint() for key in self.keys.keys} & {key.thumbprint() for key in other.keys.keys})

    def holds(self, value: str, owner: str | None = None) -> bool:
        """Whether ``value`` says that it was sealed with a key of this ring and for ``owner``; nothing is decrypted."""
        header = _header_of(value)
        return header.get("kid") in self.kids and header.get("bind") == owner

    def kid_of(self, value: str) -> str | None:
        """The key of this ring that ``value`` says it was sealed with, or None."""
        kid = _header_of(value).get("kid")
        return kid if kid in self.kids else None

    # ---- rotation

    @property
    def announced(self) -> datetime | None:
        """When the newest key may begin to encrypt; None when none is announced."""
        return next((moment for key in self.keys.keys[1:] if (moment := _moment(key, NOT_BEFORE))), None)

    def retired(self, now: datetime) -> tuple[str, ...]:
        """The keys that were replaced and need not be kept any longer, unless something is still sealed with them."""
        ends = {str(key.kid): _moment(key, EXPIRES) for key in self.keys.keys[1:]}
        return tuple(kid for kid, moment in ends.items() if moment and moment <= now)

    def with_announced(self, now: datetime, not_before: datetime) -> Self:
        """With a new key at the end, which opens at once and may encrypt from ``not_before`` on."""
        new = self._new({**_members(now), NOT_BEFORE: int(not_before.timestamp())})
        return type(self)(KeySet([*self.keys.keys, new]))

    def with_promoted(self, keep_until: datetime) -> Self:
        """With the announced key in front; the one that it replaces is kept until ``keep_until`` at least."""
        new = next(key for key in self.keys.keys[1:] if key.get(NOT_BEFORE))
        old, *others = [key for key in self.keys.keys if key is not new]
        first = self._without(new, NOT_BEFORE)
        return type(self)(KeySet([first, self._with(old, {EXPIRES: int(keep_until.timestamp())}), *others]))

    def without(self, kids: Collection[str]) -> Self:
        """Without these keys."""
        return type(self)(KeySet([key for key in self.keys.keys if key.kid not in kids]))

    def _with(self, key: Any, members: dict[str, Any]) -> Any:
        return type(key).import_key({**key.dict_value, **members})

    def _without(self, key: Any, member: str) -> Any:
        return type(key).import_key({name: value for name, value in key.dict_value.items() if name != member})


def _members(now: datetime | None) -> dict[str, Any]:
    """What a new key says of itself."""
    return {"use": "enc", **({ISSUED: int(now.timestamp())} if now else {})}


@dataclass(frozen=True)
class Keyring(Ring):
    """Symmetric keys of 256 bits."""

    _kind: ClassVar[str] = "JWK Set (RFC 7517) with symmetric keys (kty oct) of 256 bits"

    @classmethod
    def _new(cls, members: Any) -> OctKey:
        return OctKey.generate_key(256, members, auto_kid=True)

    @classmethod
    def _fits(cls, key: object) -> bool:
        return isinstance(key, OctKey) and len(key.raw_value) == _KEY_BYTES

    def seal(self, value: SecretStr, owner: str | None = None) -> str:
        """``value`` as a compact JWE, bound to ``owner`` (see ``binding``)."""
        key = self.keys.keys[0]
        header = _header(_SYMMETRIC, str(key.kid), owner)
        return jwe.encrypt_compact(header, value.get_secret_value(), key, registry=_REGISTRY)

    def stale(self, value: str | None, owner: str) -> bool:
        """Whether ``value`` says that it can be opened here, and was sealed with another key than the one that encrypts."""
        return value is not None and self.holds(value, owner) and self.kid_of(value) != self.kids[0]

    def sealed_anew(self, value: str | None, owner: str) -> str | None:
        """``value`` under the encrypting key; as it is when it is so already, or cannot be opened here. Raises SealError."""
        return self.seal(self.open(value, owner), owner) if value and self.stale(value, owner) else value

    def open(self, value: str, owner: str | None = None) -> SecretStr:
        """The opposite of ``seal``. Raises SealError for another key, another owner or a damaged value."""
        return SecretStr(_open(value, self.keys, owner))


@dataclass(frozen=True)
class SealingKey(Ring):
    """Elliptic-curve keys: whoever has the public part seals, only the private part opens."""

    _kind: ClassVar[str] = "JWK Set (RFC 7517) with elliptic-curve keys (kty EC)"

    @classmethod
    def _new(cls, members: Any) -> ECKey:
        return ECKey.generate_key("P-256", members, auto_kid=True)

    @classmethod
    def _fits(cls, key: object) -> bool:
        return isinstance(key, ECKey)

    @property
    def opens(self) -> bool:
        """Whether every key has its private part."""
        return all(key.is_private for key in self.keys.keys)

    def seal(self, value: SecretStr) -> str:
        """``value`` as a compact JWE that only the private key opens."""
        key = self.keys.keys[0]
        return jwe.encrypt_compact(_header(_SEALED, str(key.kid), None), value.get_secret_value(), key, registry=_REGISTRY)

    def open(self, value: str) -> SecretStr:
        """The opposite of ``seal``. Raises SealError."""
        return SecretStr(_open(value, self.keys, None))
