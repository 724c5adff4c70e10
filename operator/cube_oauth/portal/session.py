"""Who is logged in, and which authorizations are under way: the cookies' contents. Pure: ``now`` is an argument."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

from pydantic import Field

from cube_oauth.resources.meta import Model
from cube_oauth.resources.names import digest

RENEW_AFTER = timedelta(minutes=1)
"""The cookie is written again at most this often."""
PENDING_AGE = timedelta(minutes=10)
MOST_PENDING = 6
"""So many tabs may be under way at once; then the oldest is dropped."""

SESSION_COOKIE = "__Host-cube-oauth-session"
ENDED_COOKIE = "__Host-cube-oauth-ended"
"""Beside the session's: an answer that was under way while the person logged out brings that one back."""
PENDING_COOKIE = "__Host-cube-oauth-pending-"
"""What the names of those cookies begin with: each authorization has its own, so that no answer writes over another tab's."""

_OWN_PAGES = re.compile(r"/(connect/[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9.-]{0,62}(\?return_to=[A-Za-z0-9%._~-]{1,3072})?)?")
"""The address to go back to is checked by the page itself."""


def own_page(path: str | None) -> str:
    """``path`` when it is one of our pages, otherwise ``/``: what a link asks for never leads to another site."""
    return path if path and _OWN_PAGES.fullmatch(path) else "/"


@dataclass(frozen=True)
class SessionLimits:
    """When a session ends."""

    idle: timedelta = timedelta(minutes=30)
    """Without a sign of life."""
    absolute: timedelta = timedelta(hours=8)
    """In any case."""


class Ended(Model):
    """The session that a person ended last in this browser."""

    session: str
    """Its hash."""


class Notice(Model):
    """What just happened, told once on the next page."""

    text: str
    """A key of the catalogue."""
    title: str = ""
    """The app's name."""
    back: str = ""
    """An allowed address of another site, where the person came from."""
    number: int = 0
    """How many people, where the text says so."""


class Session(Model):
    """A person who logged in."""

    id: str
    """Never shown or logged: the form tokens come from it."""
    username: str
    groups: tuple[str, ...] = ()
    began: int
    seen: int
    notice: Notice | None = None

    @classmethod
    def begin(cls, username: str, groups: tuple[str, ...], now: datetime) -> Self:
        """A new one."""
        moment = int(now.timestamp())
        return cls(id=secrets.token_urlsafe(16), username=username, groups=groups, began=moment, seen=moment)

    def alive(self, now: datetime, limits: SessionLimits) -> bool:
        """Whether neither limit has passed."""
        moment = now.timestamp()
        return moment < self.seen + limits.idle.total_seconds() and moment < self.began + limits.absolute.total_seconds()

    def due(self, now: datetime, limits: SessionLimits) -> bool:
        """Whether the cookie should be written again, so that the idle limit counts from now."""
        return now.timestamp() >= self.seen + min(RENEW_AFTER, limits.idle / 4).total_seconds()

    def touched(self, now: datetime) -> Self:
        """The same, used now."""
        return self.model_copy(update={"seen": int(now.timestamp())})

    def new_form_token(self) -> str:
        """What the forms of a page carry, and no other site can know.

        Masked anew each time: a packed page is no shorter for a good guess (BREACH).
        """
        mask = secrets.token_bytes(len(self._form_secret))
        return base64.urlsafe_b64encode(mask + _masked(self._form_secret, mask)).decode()

    def owns(self, token: str) -> bool:
        """Whether a form came from this session."""
        try:
            given = base64.urlsafe_b64decode(token.encode())
        except ValueError:
            return False
        half = len(given) // 2
        return hmac.compare_digest(_masked(given[half:], given[:half]), self._form_secret)

    @property
    def _form_secret(self) -> bytes:
        return digest("form", self.id).encode()


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(value, mask, strict=False))


class Pending(Model):
    """One authorization request that was sent and not answered yet."""

    purpose: Literal["login", "connect"]
    state: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    nonce: str | None = None
    verifier: str | None = None
    began: int
    namespace: str = ""
    app: str = ""
    client: str = ""
    """Hash of the app's client and endpoints: the code is for this client at this provider, and goes nowhere else."""
    session: str = ""
    """Hash of the session that began it."""
    next: str = "/"
    """Where to go afterwards: a page of ours after a log-in, an allowed address of another site after connecting."""

    def fresh(self, now: datetime) -> bool:
        """Whether it may still be answered."""
        return now.timestamp() < self.began + PENDING_AGE.total_seconds()


class PendingList(Model):
    """All that are under way in one browser, the oldest first."""

    items: tuple[Pending, ...] = ()

    def find(self, state: str, purpose: str, namespace: str = "", app: str = "") -> Pending | None:
        """The one with this state, if it was for this very thing."""
        wanted = (purpose, namespace, app)
        for item in self.items:
            same = hmac.compare_digest(item.state.encode(), state.encode())
            if same and (item.purpose, item.namespace, item.app) == wanted:
                return item
        return None

    def plus(self, item: Pending, now: datetime) -> Self:
        """With one more; the overaged and the oldest beyond the limit are dropped."""
        kept = [known for known in self.items if known.fresh(now)]
        return self.model_copy(update={"items": (*kept, item)[-MOST_PENDING:]})

    def without(self, state: str) -> Self:
        """Without the one that was answered."""
        return self.model_copy(update={"items": tuple(item for item in self.items if item.state != state)})

    def without_oldest(self) -> Self:
        """One less, to make room."""
        return self.model_copy(update={"items": self.items[1:]})


def pending_cookie(state: str) -> str:
    """The cookie of the authorization with this state."""
    return PENDING_COOKIE + digest("state", state)


def session_hash(session: Session) -> str:
    """Names a session without being of use to whoever reads it."""
    return digest("pending", session.id)
