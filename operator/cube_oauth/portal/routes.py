"""The pages and their addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from cube_oauth.portal import admin, adminchange, api, connect, live, login
from cube_oauth.portal.guard import add_headers, guard
from cube_oauth.portal.kept import AGAIN
from cube_oauth.portal.oidc import CALLBACK
from cube_oauth.portal.openapi import APP, NAMESPACE
from cube_oauth.portal.overview import card, version
from cube_oauth.portal.portal import PORTAL, portal_of, visit_of

if TYPE_CHECKING:
    from cube_oauth.portal.portal import Portal

_ONE_APP = f"{{namespace:{NAMESPACE}}}/{{app:{APP}}}"
GLANCE = 4
"""So many apps are seen at a glance; with more, those that need the person are named first."""
LARGEST_FORM = 16 * 1024
"""Bytes."""


def application(portal: Portal) -> web.Application:
    """All pages."""
    app = web.Application(middlewares=[guard], client_max_size=LARGEST_FORM)
    app[PORTAL] = portal
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(portal.streams.close)
    app.add_routes(
        [
            web.get("/", overview),
            web.get("/login", login.begin, allow_head=False),
            web.get(CALLBACK, login.callback, allow_head=False),  # a look at an answer must not use it up
            web.post("/logout", login.log_out),
            web.get(login.LOGGED_OUT, login.logged_out),
            web.get(f"/connect/{_ONE_APP}", connect.page),
            web.post(f"/connect/{_ONE_APP}", connect.start),
            web.get(f"/callback/{_ONE_APP}", connect.callback, allow_head=False),
            web.get(f"/disconnect/{_ONE_APP}", connect.leaving),
            web.post(f"/disconnect/{_ONE_APP}", connect.disconnect),
            web.get("/events", live.events, allow_head=False),
            web.get(admin.PATH, admin.for_admins(admin.apps)),
            web.get(f"{admin.PATH}/new", admin.for_admins(admin.new)),
            web.post(f"{admin.PATH}/new", admin.for_admins(admin.create)),
            web.post(f"{admin.PATH}/new{AGAIN}", admin.for_admins(admin.again)),
            web.get(f"{admin.PATH}/{_ONE_APP}", admin.for_admins(admin.app)),
            web.get(f"{admin.PATH}/{_ONE_APP}/edit", admin.for_admins(adminchange.page)),
            web.post(f"{admin.PATH}/{_ONE_APP}/edit", admin.for_admins(adminchange.change)),
            web.post(f"{admin.PATH}/{_ONE_APP}/edit{AGAIN}", admin.for_admins(adminchange.again)),
            web.get(f"{admin.PATH}/{_ONE_APP}/delete", admin.for_admins(adminchange.deleting)),
            web.post(f"{admin.PATH}/{_ONE_APP}/delete", admin.for_admins(adminchange.delete)),
            web.post(f"{admin.PATH}/{_ONE_APP}/revoke", admin.for_admins(admin.revoke)),
            web.post(f"{admin.PATH}/{_ONE_APP}/secret", admin.for_admins(admin.client_secret)),
            web.post(f"{admin.PATH}/{_ONE_APP}/test", admin.for_admins(admin.test)),
            web.get("/api/openapi.json", api.openapi),
            web.get("/api/session", api.session),
            web.get("/api/apps", api.apps),
            web.get(f"/api/apps/{_ONE_APP}", api.app),
            web.delete(f"/api/apps/{_ONE_APP}", api.disconnect),
            web.get("/static/{name}", portal.pages.static),
        ]
    )
    return app


async def overview(request: web.Request) -> web.StreamResponse:
    """``GET /``: Connected apps."""
    portal, visit = portal_of(request), visit_of(request)
    person = visit.session
    if person is None:
        return portal.pages.page("welcome.html", visit)
    notice = visit.take_notice()
    shown = portal.cluster.shown_to(person.username, person.groups)
    cards = [card(app, credential, visit.now) for app, credential in shown]
    calling = [one for one in cards if one.calls] if len(cards) > GLANCE else []
    return portal.pages.page("overview.html", visit, cards=cards, calling=calling, notice=notice, version=version(cards))
