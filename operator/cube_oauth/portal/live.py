"""States change on the page by themselves: server-sent events that say only that something changed (WHATWG HTML, section 9.2).

The page's script then asks for the page anew, so there is one way to show a state. Every replica sees every change, though
not in the same moment.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from cube_oauth.portal.overview import card, version
from cube_oauth.portal.portal import portal_of, visit_of

if TYPE_CHECKING:
    from cube_oauth.portal.portal import Portal
    from cube_oauth.portal.session import Session

BEAT = 20.0
"""Seconds after which the version is told in any case: no proxy takes the stream for dead, one whose reader is gone ends, and a
page that came from a replica that was behind is asked for once more."""
HEADERS = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
NO_MORE = 204
"""The status after which a browser does not come back by itself; the page's script does, ever less often."""


async def events(request: web.Request) -> web.StreamResponse:
    """``GET /events``: the version of what this person sees, now and whenever it changed."""
    portal, person = portal_of(request), visit_of(request).session
    if person is None:
        return web.Response(status=NO_MORE)
    with portal.streams.place(person.username) as free:
        if not free:
            return web.Response(status=NO_MORE)
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        await portal.streams.run(_tell(portal, person, response))
    return response


async def _tell(portal: Portal, person: Session, response: web.StreamResponse) -> None:
    while person.alive(now := portal.clock(), portal.cookies.limits):
        bell = portal.cluster.bell(person.username)
        shown = portal.cluster.shown_to(person.username, person.groups)
        seen = version([card(app, credential, now) for app, credential in shown])
        await response.write(f"event: version\ndata: {seen}\n\n".encode())
        await _rings(bell)


async def _rings(bell: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(bell.wait(), BEAT)
    except TimeoutError:
        return
