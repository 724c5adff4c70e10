"""What stands before every page: cookies, forged forms, and that each failure becomes a page."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from cube_oauth.kube.api import KubeError
from cube_oauth.portal import api, connect
from cube_oauth.portal.addresses import client_address, customer
from cube_oauth.portal.kept import kept, only_shows, route_of
from cube_oauth.portal.openapi import TOKEN_HEADER
from cube_oauth.portal.pages import pack
from cube_oauth.portal.portal import VISIT, portal_of
from cube_oauth.portal.proxy import continued, person_of
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.security import headers, sent_by_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cube_oauth.portal.portal import Portal
    from cube_oauth.portal.visit import Visit

log = logging.getLogger(__name__)

NOT_FOUND, METHOD_NOT_ALLOWED = 404, 405
READS = ("GET", "HEAD")
STATIC = "/static/"
CALLBACKS = ("/callback/", "/login/callback")
"""Their addresses hold codes: what they answer tells nobody where it came from."""


COSTLY = ("/login", *CALLBACKS)
"""Beside all forms, what may be asked only so often: these ask a provider, or leave something in the cluster."""
UNREADABLE = (ValueError, LookupError, RuntimeError, web.RequestPayloadError)
"""Such as multipart/form-data without a boundary, an unknown charset or encoding, and what says that it is packed and is not."""


@web.middleware
async def guard(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Around every handler."""
    if request.path.startswith(STATIC):
        return await handler(request)
    portal = portal_of(request)
    visit = portal.cookies.visit(request, portal.clock())
    request[VISIT] = visit
    private = request.path.startswith(CALLBACKS)
    try:
        _identify(request, portal, visit)
        await _check(request, portal, visit)
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - whatever it is becomes a page
        refused = error if isinstance(error, RefusedError) else _refusal(error)
        programs = request.path.startswith(api.PATH)
        response = api.problem(refused, visit) if programs else portal.pages.refusal(refused, visit, private=private)
    if request.headers.get("Origin") in portal.settings.api_origins and request.path.startswith(api.PATH):
        response.headers.update(api.shared_with(request.headers["Origin"]))
    if private:
        response.headers["Referrer-Policy"] = "no-referrer"
    visit.close(response)
    pack(request, response)
    return response


def _identify(request: web.Request, portal: Portal, visit: Visit) -> None:
    """Who it is: the session's person, unless a proxy says who."""
    if proxy := portal.settings.proxy:
        session, visit.session = visit.session, None
        visit.session = continued(session, person_of(request.headers, request.remote, proxy), visit.now)
        visit.proxied = True
    person = visit.session
    visit.admin = person is not None and portal.settings.admins.hold(person.username, person.groups)


async def _check(request: web.Request, portal: Portal, visit: Visit) -> None:
    if not portal.cluster.synced:
        raise RefusedError("ClusterUnavailable", 503)
    if request.method in READS and not request.path.startswith(COSTLY):
        return
    _limit(request, portal, visit)
    if request.method in READS:
        return
    if not sent_by_us(request.headers, portal.settings.origin):
        raise RefusedError("ForeignForm", 403)
    form = await _form(request)
    token = request.headers.get(TOKEN_HEADER) or str(form.get("token", ""))
    if visit.session is None or not (visit.session.owns(token) or only_shows(request)):
        raise _of_no_session(request, visit, form)


def _of_no_session(request: web.Request, visit: Visit, form: Mapping[str, object]) -> RefusedError:
    """A page of ours sent it, but not in the session that is there now."""
    if typed := kept(request, form):
        return RefusedError("TypingKept", 403 if visit.session else 401, kept=typed)
    if visit.session is None:
        return RefusedError("SessionOver", 401, retry=_way_in(request, form))
    return RefusedError("ForeignForm" if request.cookies else "NoCookies", 403)


def _way_in(request: web.Request, form: Mapping[str, object]) -> str:
    """The log-in; whoever was about to connect goes on to that."""
    if route_of(request) != connect.ROUTE:
        return "/login"
    return f"/login?next={quote(connect.link(request, str(form.get('return_to', ''))))}"


async def _form(request: web.Request) -> Mapping[str, object]:
    """What was posted. Raises RefusedError when it is no form."""
    try:
        return await request.post()
    except UNREADABLE as error:
        raise RefusedError("BadRequest", 400) from error


def _limit(request: web.Request, portal: Portal, visit: Visit) -> None:
    if visit.session:
        wait = portal.limits.people.wait(visit.session.username)
    else:
        forwarded = request.headers.getall("X-Forwarded-For", [])
        address = client_address(request.remote, forwarded, portal.settings.trusted_proxies)
        wait = portal.limits.addresses.wait(customer(address))
    if wait:
        log.warning("too many requests", extra={"username": visit.session.username if visit.session else None})
        raise RefusedError("TooMany", 429, wait=wait)


def _refusal(error: Exception) -> RefusedError:
    if isinstance(error, web.HTTPException):
        missing = error.status in (NOT_FOUND, METHOD_NOT_ALLOWED)
        return RefusedError("NotFound" if missing else "BadRequest", error.status)
    if isinstance(error, KubeError):
        log.warning("the API server did not take a request", extra={"error": str(error)})
        return RefusedError("ClusterUnavailable", 503)
    log.error("a page failed", exc_info=error)
    return RefusedError("Failure", 500)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """On every answer, whoever made it."""
    for name, value in headers(https=portal_of(request).settings.https).items():
        response.headers.setdefault(name, value)
