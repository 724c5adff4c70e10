"""``/healthz``, ``/readyz`` and ``/metrics`` on a port of their own, the same in controller, broker and portal."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from cube_oauth.settings import Address

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serve(
    address: Address,
    registry: CollectorRegistry,
    ready: Callable[[], str | None],
    alive: Callable[[], str | None],
) -> AsyncIterator[None]:
    """Serve until the context ends. ``ready`` and ``alive`` give None, or in a sentence why not (then the answer is 503)."""
    app = web.Application()
    for path, check in (("/healthz", alive), ("/readyz", ready)):
        app.router.add_get(path, _probe(check))
    app.router.add_get("/metrics", _metrics(registry))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, *address).start()
        yield
    finally:
        await runner.cleanup()


def _probe(check: Callable[[], str | None]) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        problem = check()
        return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)

    return answer


def _metrics(registry: CollectorRegistry) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": "text/plain; version=0.0.4"})

    return answer
