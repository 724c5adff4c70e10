"""The portal's process."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from cube_oauth import health
from cube_oauth.kube.api import Api
from cube_oauth.portal.cluster import Cluster
from cube_oauth.portal.cookies import RingFile
from cube_oauth.portal.oidc import CALLBACK, LogIn
from cube_oauth.portal.portal import Portal
from cube_oauth.portal.routes import application
from cube_oauth.portal.settings import PortalSettings
from cube_oauth.portal.tls import ServerCertificate
from cube_oauth.portal.visit import Cookies
from cube_oauth.providers import ProviderClient, Transport
from cube_oauth.settings import PREFIX, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

LONGEST_LINE = 32 * 1024
"""Bytes of an address, and of a header: some codes are long, and with our two cookies come those of the domain above."""


async def run(variables: Mapping[str, str], stop: asyncio.Event) -> None:
    """Serve until ``stop``. Raises SettingsError, with a sentence that names the variable."""
    settings = PortalSettings.read(variables)
    certificate = ServerCertificate(settings.tls_directory) if settings.tls_directory else None
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(Api.connect(variables.get("KUBECONFIG")))
        client = await stack.enter_async_context(ProviderClient(_transport(settings)))
        portal = _portal(settings, api, client)
        await stack.enter_async_context(
            health.serve(settings.listen_health, portal.metrics.registry, lambda: _not_ready(portal), lambda: None)
        )
        await _serve(portal, certificate, stop)


def _transport(settings: PortalSettings) -> Transport:
    ca_file = Path(settings.extra_ca_file) if settings.extra_ca_file else None
    return Transport(allowed=settings.allowed_addresses, ca_file=ca_file)


def _portal(settings: PortalSettings, api: Api, client: ProviderClient) -> Portal:
    ring = RingFile(settings.cookie_ring_file)
    try:
        ring()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{PREFIX}COOKIE_RING_FILE cannot be read as a key ring: the controller makes it") from error
    redirect_uri = f"{settings.installation.portal_url}{CALLBACK}"
    log_in = LogIn(settings.log_in, client, redirect_uri) if settings.log_in else None
    return Portal(settings, Cluster(api, settings.installation), Cookies(ring, settings.session), log_in)


def _not_ready(portal: Portal) -> str | None:
    return None if portal.cluster.synced else "the lists of OAuthApps and UserCredentials are not there yet"


def runner_of(portal: Portal) -> web.AppRunner:
    """Without an access log, which would hold codes and states."""
    return web.AppRunner(application(portal), access_log=None, max_line_size=LONGEST_LINE, max_field_size=LONGEST_LINE)


async def _serve(portal: Portal, certificate: ServerCertificate | None, stop: asyncio.Event) -> None:
    runner = runner_of(portal)
    await runner.setup()
    try:
        await web.TCPSite(runner, *portal.settings.listen, ssl_context=certificate.context if certificate else None).start()
        log.info("serving", extra={"address": portal.settings.installation.portal_url})
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(portal.cluster.run())]
            if certificate:
                work.append(group.create_task(certificate.keep_current()))
            await stop.wait()
            for task in work:
                task.cancel()
    finally:
        await runner.cleanup()
