"""What the handlers share."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from cube_oauth.portal.limits import Limits
from cube_oauth.portal.metrics import Metrics
from cube_oauth.portal.pages import Pages
from cube_oauth.portal.streams import Streams
from cube_oauth.portal.visit import Visit

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.portal.cluster import Cluster
    from cube_oauth.portal.oidc import LogIn
    from cube_oauth.portal.settings import PortalSettings
    from cube_oauth.portal.visit import Cookies

audit = logging.getLogger("cube_oauth.audit")
"""Who did what. Never a token, a code or a state."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@dataclass
class Portal:
    """One process."""

    settings: PortalSettings
    cluster: Cluster
    cookies: Cookies
    log_in: LogIn | None
    """None: a proxy says who somebody is."""
    pages: Pages = field(default_factory=Pages)
    metrics: Metrics = field(default_factory=Metrics)
    clock: Callable[[], datetime] = utc_now
    limits: Limits = field(init=False)
    streams: Streams = field(init=False)

    def __post_init__(self) -> None:
        self.limits = Limits(self.settings.limits)
        self.streams = Streams(self.settings.limits.streams)


PORTAL = web.AppKey("portal", Portal)
VISIT = web.RequestKey("visit", Visit)


def portal_of(request: web.Request) -> Portal:
    """The process that serves this request."""
    return request.app[PORTAL]


def visit_of(request: web.Request) -> Visit:
    """The browser that sent it."""
    return request[VISIT]


def see_other(location: str) -> web.Response:
    """On to another page, byte for byte (aiohttp's exception would write the address anew)."""
    return web.Response(status=303, headers={"Location": location})
