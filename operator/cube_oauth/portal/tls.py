"""HTTPS with a mounted certificate, which is read again when it was renewed."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

from cube_oauth.settings import PREFIX, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0


class ServerCertificate:
    """``tls.crt`` and ``tls.key`` in one directory. New connections use the newest; those that are open stay as they are."""

    def __init__(self, directory: Path) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._files = (directory / "tls.crt", directory / "tls.key")
        try:
            self._version = self._load()
        except OSError as error:  # ssl.SSLError is one, too
            raise SettingsError(f"{PREFIX}TLS_DIR must hold a readable tls.crt and tls.key that belong together") from error

    async def keep_current(self) -> None:
        """Look for a new one until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.renew()

    def renew(self) -> None:
        """Take a new one over. One that cannot be used (half written, say) is left until the next look."""
        try:
            if self._read() != self._version:
                self._version = self._load()
                log.info("the certificate was renewed")
        except OSError:
            log.warning("the new certificate cannot be used; the one before stays")

    def _load(self) -> tuple[bytes, ...]:
        version = self._read()
        certificate, key = self._files
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)  # a bad pair must not spoil ours
        self.context.load_cert_chain(certificate, key)
        return version

    def _read(self) -> tuple[bytes, ...]:
        return tuple(file.read_bytes() for file in self._files)
