"""Logging in and out: the round trip to the log-in provider, and the session that comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cube_oauth.portal.cookies import CookieTooLargeError
from cube_oauth.portal.oidc import AGAIN
from cube_oauth.portal.portal import audit, portal_of, see_other, visit_of
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.session import Session, own_page

if TYPE_CHECKING:
    from datetime import datetime

    from aiohttp import web

    from cube_oauth.portal.oidc import Person
    from cube_oauth.portal.portal import Portal
    from cube_oauth.portal.session import Pending


async def begin(request: web.Request) -> web.StreamResponse:
    """``GET /login``: on to the provider. Somebody who is logged in is not asked again."""
    visit, next_page = visit_of(request), own_page(request.query.get("next"))
    if visit.session is not None:
        return see_other(next_page)
    pending, url = await portal_of(request).log_in.begin(next_page, visit.now)
    visit.remember(pending)
    return see_other(url)


async def callback(request: web.Request) -> web.StreamResponse:
    """``GET /login/callback``: back from the provider."""
    portal, visit = portal_of(request), visit_of(request)
    try:
        pending = _answered(request)
        person = await portal.log_in.finish(request.query, pending, visit.now)
    except RefusedError as refused:
        portal.metrics.log_ins.labels(refused.word).inc()
        audit.info("log-in refused", extra={"outcome": refused.word, "reason": refused.values.get("reason")})
        raise
    visit.session = session_of(portal, person, visit.now)
    portal.metrics.log_ins.labels("ok").inc()
    audit.info("logged in", extra={"username": person.username})
    return see_other(pending.next)


def _answered(request: web.Request) -> Pending:
    pending = visit_of(request).take(request.query.get("state", ""), "login")
    if pending is None:
        raise RefusedError("LogInOver", 400, retry=AGAIN)
    return pending


async def log_out(request: web.Request) -> web.StreamResponse:
    """``POST /logout``: here, not at the provider."""
    visit = visit_of(request)
    audit.info("logged out", extra={"username": visit.person.username})
    visit.session = None
    return see_other("/")


def session_of(portal: Portal, person: Person, now: datetime) -> Session:
    """A new session. When somebody's groups do not fit into a cookie, those that nothing names are left out."""
    session = Session.begin(person.username, person.groups, now)
    try:
        portal.cookies.session.sealed(session)
    except CookieTooLargeError:
        named = {group for app in portal.cluster.apps() for group in app.spec.access.groups} | set(portal.settings.admins.groups)
        kept = tuple(group for group in person.groups if group in named)
        audit.warning("too many groups for a cookie", extra={"username": person.username, "kept": len(kept)})
        session = session.model_copy(update={"groups": kept})
    return session
