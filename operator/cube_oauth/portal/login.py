"""Logging in and out: the round trip to the log-in provider, and the session that comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from cube_oauth.portal.cookies import CookieTooLargeError
from cube_oauth.portal.oidc import AGAIN
from cube_oauth.portal.portal import audit, portal_of, see_other, visit_of
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.session import Session, own_page

if TYPE_CHECKING:
    from datetime import datetime

    from cube_oauth.portal.oidc import LogIn, Person
    from cube_oauth.portal.portal import Portal
    from cube_oauth.portal.session import Pending


LOGGED_OUT = "/logged-out"


async def begin(request: web.Request) -> web.StreamResponse:
    """``GET /login``: on to the provider. Somebody who is logged in is not asked again."""
    visit, next_page, log_in = visit_of(request), own_page(request.query.get("next")), portal_of(request).log_in
    if visit.session is not None or log_in is None:
        return see_other(next_page)
    pending, url = await log_in.begin(next_page, visit.now)
    visit.remember(pending)
    return see_other(url)


async def callback(request: web.Request) -> web.StreamResponse:
    """``GET /login/callback``: back from the provider."""
    portal, visit = portal_of(request), visit_of(request)
    try:
        pending = _answered(request)
        person = await _provider(portal).finish(request.query, pending, visit.now)
    except RefusedError as refused:
        portal.metrics.log_ins.labels(refused.word).inc()
        audit.info("log-in refused", extra={"outcome": refused.word, "reason": refused.values.get("reason")})
        raise
    visit.session = _continued(visit.session, session_of(portal, person, visit.now))
    portal.metrics.log_ins.labels("ok").inc()
    audit.info("logged in", extra={"username": person.username})
    return see_other(pending.next)


def _continued(known: Session | None, new: Session) -> Session:
    """Whoever logged in in another tab meanwhile goes on with that: its forms, and the authorizations that were begun there."""
    return new.model_copy(update={"id": known.id}) if known and known.username == new.username else new


def _answered(request: web.Request) -> Pending:
    pending = visit_of(request).take(request.query.get("state", ""), "login")
    if pending is None:
        raise RefusedError("LogInOver" if request.cookies else "NoCookies", 400, retry=AGAIN)
    return pending


def _provider(portal: Portal) -> LogIn:
    if portal.log_in is None:
        raise web.HTTPNotFound
    return portal.log_in


async def log_out(request: web.Request) -> web.StreamResponse:
    """``POST /logout``: here; the next page leads to the provider's own log-out."""
    visit = visit_of(request)
    _provider(portal_of(request))
    audit.info("logged out", extra={"username": visit.person.username})
    visit.log_out()
    return see_other(LOGGED_OUT)


async def logged_out(request: web.Request) -> web.StreamResponse:
    """``GET /logged-out``: that it is done here, and how to log out at the provider, which would let one in again unasked."""
    portal, visit = portal_of(request), visit_of(request)
    if visit.session is not None:
        return see_other("/")
    url = await _provider(portal).log_out_url() or ""
    return portal.pages.page("logged_out.html", visit, url=url, host=urlsplit(url).hostname or "")


def session_of(portal: Portal, person: Person, now: datetime) -> Session:
    """A new session. When somebody's groups do not fit into a cookie, those that nothing names are left out, and then the last."""
    session = Session.begin(person.username, person.groups, now)
    try:
        portal.cookies.session.sealed(session)
    except CookieTooLargeError:
        named = {group for app in portal.cluster.apps() for group in app.spec.access.groups} | set(portal.settings.admins.groups)
        first = set(portal.settings.admins.groups)
        kept = sorted((group for group in person.groups if group in named), key=lambda group: group not in first)
        session = _fitting(portal, session.model_copy(update={"groups": tuple(kept)}))
        audit.warning("too many groups for a cookie", extra={"username": person.username, "kept": len(session.groups)})
    return session


def _fitting(portal: Portal, session: Session) -> Session:
    """With as many of its groups as fit: better than nobody logged in."""
    while True:
        try:
            portal.cookies.session.sealed(session)
        except CookieTooLargeError:
            session = session.model_copy(update={"groups": session.groups[:-1]})
        else:
            return session
