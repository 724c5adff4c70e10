"""Encrypted cookies: the portal's only memory, so that any replica continues what another began."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import SecretStr

from cube_oauth.resources.keyring import Keyring, SealError, binding
from cube_oauth.resources.meta import Model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp import web

log = logging.getLogger(__name__)

LARGEST = 3900
"""Bytes of a cookie's value: browsers keep 4096 for name, value and attributes together (RFC 6265, section 6.1)."""

T = TypeVar("T", bound=Model)


class CookieTooLargeError(ValueError):
    """The value does not fit into a cookie."""


class RingFile:
    """The key ring of a mounted Secret, read again when the file changed (a rotated ring needs no restart)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[int, Keyring] | None = None

    def __call__(self) -> Keyring:
        """The ring. Raises SealError or OSError when there never was a readable one; a broken new one is logged and left."""
        try:
            changed = self._path.stat().st_mtime_ns
            if self._known is None or self._known[0] != changed:
                self._known = (changed, Keyring.from_json(self._path.read_text()))
        except (OSError, SealError):
            if self._known is None:
                raise
            log.exception("the cookie ring cannot be read; the one before stays in use")
        return self._known[1]


@dataclass(frozen=True)
class SealedCookie(Generic[T]):
    """One cookie that holds a model. Its name is bound to the ciphertext: no cookie can stand in for another."""

    name: str
    """With the prefix ``__Host-``: this host alone, HTTPS alone (RFC 6265bis, section 4.1.3.2)."""
    model: type[T]
    ring: Callable[[], Keyring]

    def read(self, request: web.Request) -> T | None:
        """What the browser sent; None when there is nothing, or nothing that we made."""
        value = request.cookies.get(self.name)
        return self.opened(value) if value else None

    def opened(self, value: str) -> T | None:
        """The model in ``value``, or None."""
        try:
            return self.model.model_validate_json(self.ring().open(value, self._owner).get_secret_value())
        except ValueError:  # another ring, tampered with, or of another version of the portal
            return None

    def sealed(self, content: T) -> str:
        """``content`` as a cookie's value. Raises CookieTooLargeError."""
        value = self.ring().seal(SecretStr(content.model_dump_json(by_alias=True, exclude_defaults=True)), self._owner)
        if len(value) > LARGEST:
            raise CookieTooLargeError(f"{self.name} would have {len(value)} bytes")
        return value

    def write(self, response: web.StreamResponse, content: T, seconds: int | None = None) -> None:
        """Give it to the browser, for as long as the browser runs or for so many seconds; how long it counts is inside."""
        value = self.sealed(content)
        response.set_cookie(self.name, value, path="/", secure=True, httponly=True, samesite="Lax", max_age=seconds)

    def remove(self, response: web.StreamResponse) -> None:
        """Have the browser forget it."""
        response.del_cookie(self.name, path="/", secure=True, httponly=True, samesite="Lax")

    @property
    def _owner(self) -> str:
        return binding("cookie", self.name)
