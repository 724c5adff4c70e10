"""The webhook's server: kopf's, with our certificate, in our event loop."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

import kopf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cube_oauth.broker.files import Certificate

NEVER = 10 * 365 * 86400.0
"""Seconds between kopf's own looks at the certificate: it would restart its server, and a pod created meanwhile would be refused.
We load a new certificate into the same TLS context instead."""


class Webhook:
    """Runs kopf for its webhook server alone: it watches nothing and writes nothing."""

    def __init__(self, registry: kopf.OperatorRegistry, certificate: Certificate, address: tuple[str, int]) -> None:
        self.serving = asyncio.Event()
        self._registry = registry
        self._end = asyncio.Event()
        self._server = kopf.WebhookServer(
            addr=address[0],
            port=address[1],
            context=certificate.context,
            certfile=certificate.cert,
            pkeyfile=certificate.key,
            file_check_interval=NEVER,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``end``; kopf then cancels every task of the loop that is younger than itself.

        It takes the process's signals for itself; they are taken back for ``stop``.
        """
        logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # kopf's server tells of each request
        ready = asyncio.Event()
        operator = asyncio.create_task(
            kopf.operator(
                registry=self._registry,
                settings=self._settings(),
                standalone=True,
                clusterwide=True,
                stop_flag=self._end,
                ready_flag=ready,
            )
        )
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((operator, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await operator

    def end(self) -> None:
        """Stop serving."""
        self._end.set()

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.admission.server = self._serve
        settings.admission.managed = None  # the chart installs the MutatingWebhookConfiguration
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.process.ultimate_exiting_timeout = None
        return settings

    async def _serve(self, function: Any) -> AsyncIterator[Any]:
        async with self._server as server:
            async for client_config in server(function):
                self.serving.set()
                yield client_config
