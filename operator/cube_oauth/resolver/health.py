"""``/healthz``, ``/readyz`` and ``/metrics`` for the kubelet and Prometheus: a few lines of HTTP/1.1, no framework."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cube_oauth.resolver.metrics import Metrics
    from cube_oauth.settings import Address

READ_SECONDS = 5.0
MAX_HEAD = 8192


@asynccontextmanager
async def serving(address: Address, metrics: Metrics) -> AsyncIterator[int]:
    """Serve until the context ends; gives the port. Opened after the socket, so an answer means that the hook is answered."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head.split(b" ", 2)[:2], metrics))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone, or does not speak HTTP
        finally:
            writer.close()

    server = await asyncio.start_server(answer, *address, limit=MAX_HEAD)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def _response(request: list[bytes], metrics: Metrics) -> bytes:
    match request:
        case [b"GET", b"/healthz" | b"/readyz"]:
            return _http("200 OK", "ok\n")
        case [b"GET", b"/metrics"]:
            return _http("200 OK", metrics.text())
    return _http("404 Not Found", "not found\n")


def _http(status: str, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
