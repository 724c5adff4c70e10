"""One request's view of the browser's cookies: read once at the beginning, written back once at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cube_oauth.portal.cookies import LARGEST, CookieTooLargeError, SealedCookie
from cube_oauth.portal.languages import Language, chosen
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.session import (
    ENDED_COOKIE,
    PENDING_AGE,
    PENDING_COOKIE,
    SESSION_COOKIE,
    Ended,
    Notice,
    Pending,
    PendingList,
    Session,
    SessionLimits,
    pending_cookie,
    session_hash,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aiohttp import web

    from cube_oauth.resources.keyring import Keyring


LIVE = "X-Live"
"""The header with which the page's script asks for the page anew."""


class Cookies:
    """The portal's cookies."""

    def __init__(self, ring: Callable[[], Keyring], limits: SessionLimits | None = None) -> None:
        self.limits = limits or SessionLimits()
        self.session = SealedCookie(SESSION_COOKIE, Session, ring)
        self.ended = SealedCookie(ENDED_COOKIE, Ended, ring)
        self._ring = ring

    def pending(self, state: str) -> SealedCookie[Pending]:
        """That of one authorization."""
        return SealedCookie(pending_cookie(state), Pending, self._ring)

    def visit(self, request: web.Request, now: datetime) -> Visit:
        """Read what the browser sent; an ended session is none."""
        session, ended = self.session.read(request), self.ended.read(request)
        over = session and ended and ended.session == session_hash(session)
        alive = session if session and not over and session.alive(now, self.limits) else None
        pending = self._under_way(request)
        language = chosen(request.headers.get("Accept-Language"))
        return Visit(self, now, language, alive, pending, (session, pending), passive=LIVE in request.headers)

    def _under_way(self, request: web.Request) -> PendingList:
        cookies = (SealedCookie(name, Pending, self._ring) for name in request.cookies if name.startswith(PENDING_COOKIE))
        found = [item for cookie in cookies if (item := cookie.read(request))]
        return PendingList(items=tuple(sorted(found, key=lambda item: item.began)))


@dataclass
class Visit:
    """Who is there, and what is under way in this browser."""

    cookies: Cookies
    now: datetime
    language: Language
    session: Session | None
    pending: PendingList
    sent: tuple[Session | None, PendingList]
    """What the browser has."""
    passive: bool = False
    """Asked by the page's script, not by the person: no sign of life."""
    proxied: bool = False
    """Whether a proxy says who it is, and with which groups, on every request: no cookie has to. There is no logging out."""
    ended: Ended | None = None
    """The session that this request ends."""
    admin: bool = False
    """Whether the person may see and make OAuth apps."""

    @property
    def person(self) -> Session:
        """The session. Raises RefusedError when there is none."""
        if self.session is None:
            raise RefusedError("SessionOver", 401, retry="/login")
        return self.session

    def notify(self, text: str, title: str, back: str = "", number: int = 0) -> None:
        """Tell this on the next page."""
        notice = Notice(text=text, title=title, back=back, number=number)
        self.session = self.person.model_copy(update={"notice": notice})

    def take_notice(self) -> Notice | None:
        """What is to be told, once: to the person, not to the page's script."""
        if self.passive or self.session is None or self.session.notice is None:
            return None
        notice = self.session.notice
        self.session = self.session.model_copy(update={"notice": None})
        return notice

    def remember(self, item: Pending) -> None:
        """An authorization was begun. The oldest are dropped when all take more room than one cookie may: proxies limit headers."""
        pending = self.pending.plus(item, self.now)
        while len(pending.items) > 1 and not self._fits(pending):
            pending = pending.without_oldest()
        self.pending = pending

    def take(self, state: str, purpose: str, namespace: str = "", app: str = "") -> Pending | None:
        """The authorization that this answers, once; None when it was not begun here, for something else, or too long ago."""
        found = self.pending.find(state, purpose, namespace, app)
        if found is None:
            return None
        self.pending = self.pending.without(state)
        return found if found.fresh(self.now) else None

    def log_out(self) -> None:
        """End the session, whatever answers to other tabs are still under way with its cookie."""
        self.ended = Ended(session=session_hash(self.person))
        self.session = None

    def began(self, item: Pending) -> bool:
        """Whether this very session began it."""
        return self.session is not None and item.session == session_hash(self.session)

    def close(self, response: web.StreamResponse) -> None:
        """Give the browser what changed."""
        session, pending = self.sent
        kept = self.session.model_copy(update={"groups": ()}) if self.session and self.proxied else self.session
        if kept is None and session is not None:
            self.cookies.session.remove(response)
        elif kept is not None and (kept != session or (not self.passive and kept.due(self.now, self.cookies.limits))):
            self._write(response, kept if self.passive else kept.touched(self.now))
        if self.ended:
            self.cookies.ended.write(response, self.ended, int(self.cookies.limits.absolute.total_seconds()))
        for item in pending.items:
            if item not in self.pending.items:
                self.cookies.pending(item.state).remove(response)
        for item in self.pending.items:
            if item not in pending.items:
                self.cookies.pending(item.state).write(response, item, int(PENDING_AGE.total_seconds()))

    def _write(self, response: web.StreamResponse, session: Session) -> None:
        """A notice beside many groups may be too much for a cookie: what was done stands, it is only not told."""
        try:
            self.cookies.session.write(response, session)
        except CookieTooLargeError:
            self.cookies.session.write(response, session.model_copy(update={"notice": None}))

    def _fits(self, pending: PendingList) -> bool:
        try:
            return sum(len(self.cookies.pending(item.state).sealed(item)) for item in pending.items) <= LARGEST
        except CookieTooLargeError:
            return False
