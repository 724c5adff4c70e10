"""The sidecar in a Cube pod: hands Cube's hook one person's credentials over a unix socket.

It is in every Cube pod, so it stays small: standard library and httpx2, which is loaded when the socket is already open.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from cube_oauth.resolver import files, health, stream
from cube_oauth.resolver.metrics import Metrics
from cube_oauth.resolver.rpc import Server
from cube_oauth.resolver.service import Resolver
from cube_oauth.resolver.settings import ResolverSettings
from cube_oauth.resolver.upstream import Upstream
from cube_oauth.settings import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)


async def run(variables: Mapping[str, str], stop: asyncio.Event) -> None:
    """Serve until ``stop``. Raises SettingsError when a variable is missing."""
    settings = ResolverSettings.read(Environment(variables))
    metrics = Metrics()
    upstream = Upstream(settings)
    resolver = Resolver(upstream, settings.outage_seconds, metrics)
    files.write_hook(settings.hook)
    async with Server(resolver, metrics).listening(settings.socket), health.serving(settings.listen, metrics):
        following = asyncio.create_task(_follow(upstream, resolver))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((following, stopping), return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()  # it never ends by itself: an error, which ends the process
        finally:
            following.cancel()
            stopping.cancel()
            await asyncio.gather(following, stopping, return_exceptions=True)
            resolver.close()
            await upstream.close()


async def _follow(upstream: Upstream, resolver: Resolver) -> None:
    await upstream.open()
    log.info("resolver listens")  # said late: the formatter is loaded with the first line, and the socket answers already
    await stream.follow(upstream, resolver)
