"""Mounted Secrets: read at start, and again when the kubelet has replaced them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from cube_oauth.resources.keyring import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0


class Certificate:
    """The serving certificate as a TLS context that takes over a new one without a restart: it counts for new connections."""

    def __init__(self, folder: str) -> None:
        self.cert, self.key, self._ca = (Path(folder) / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca = ""
        self.first = _digest(self.paths)
        self.load()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files it is made of."""
        return self.cert, self.key, self._ca

    def load(self) -> None:
        """Read the files. Raises OSError (ssl.SSLError too), ValueError; then what was there stays."""
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.cert, self.key)  # a bad pair must not spoil ours
        self.context.load_cert_chain(self.cert, self.key)
        self.ca = self._ca.read_text(encoding="ascii")


class AccessRing:
    """The ring for access tokens."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.first = _digest(self.paths)
        self.ring = self._read()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file it is read from."""
        return (self.path,)

    def load(self) -> None:
        """Read the file. Raises OSError, ValueError; then what was there stays."""
        self.ring = self._read()

    def look(self) -> None:
        """Read the file now, for a token that needs a newer key; when it cannot be read, what was there stays."""
        with contextlib.suppress(OSError, ValueError):
            self.load()

    def _read(self) -> Keyring:
        return Keyring.from_json(self.path.read_text(encoding="ascii"))


async def follow(source: Certificate | AccessRing, changed: Callable[[], None]) -> None:
    """Load ``source`` again whenever its files changed since it was made, until cancelled. A failure is logged and tried again."""
    loaded = source.first
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        seen = _digest(source.paths)
        if seen in (loaded, None):
            continue
        try:
            source.load()
        except (OSError, ValueError):
            log.exception("a mounted Secret cannot be read; the old content stays", extra={"file": str(source.paths[0])})
            continue
        loaded = seen
        log.info("a mounted Secret changed", extra={"file": str(source.paths[0])})
        changed()


def _digest(paths: tuple[Path, ...]) -> bytes | None:
    """Of the content: a mounted Secret is replaced by a link, and tells nobody. None while one is missing."""
    try:
        return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).digest()
    except OSError:
        return None
