"""The webhook's server, for kopf's admission: our certificate, our event loop, one review for each connection.

An API server keeps a connection for as long as it is let, even to a replica that has left the Service. A review that is sent while
that replica closes it is lost, and with it the pod; so every answer closes its connection.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any

import kopf
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cube_oauth.broker.files import Certificate
    from cube_oauth.settings import Address

MAX_REVIEW_BYTES = 4 * 1024 * 1024
"""The API server stores no object of more than about 1.5 MiB."""


class Webhook:
    """Runs kopf for its webhook server alone: it watches nothing and writes nothing."""

    def __init__(self, registry: kopf.OperatorRegistry, certificate: Certificate, address: Address) -> None:
        self.serving = asyncio.Event()
        self._registry = registry
        self._end = asyncio.Event()
        self._certificate = certificate
        self._address = address

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``end``; kopf then cancels every task of the loop that is younger than itself.

        It takes the process's signals for itself; they are taken back for ``stop``.
        """
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
        """A server as kopf wants it: it passes on reviews and yields where it is (which nobody needs, the chart knows)."""
        runner = web.AppRunner(_application(function), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, *self._address, ssl_context=self._certificate.context).start()
            self.serving.set()
            yield {}
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def _application(function: Any) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        review = await function(await request.json(), webhook=request.match_info["id"], headers=dict(request.headers))
        response = web.json_response(review)
        response.force_close()
        return response

    app = web.Application(client_max_size=MAX_REVIEW_BYTES)
    app.router.add_post("/{id}", answer)
    return app
