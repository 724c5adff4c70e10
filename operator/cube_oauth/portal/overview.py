"""What a person sees of an app: its state in words, and what can be done. Pure: ``now`` is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from markupsafe import Markup

from cube_oauth.lifecycle.publish import AUTHORIZED
from cube_oauth.portal.texts import ENGLISH, say
from cube_oauth.resources.usercredential import State

if TYPE_CHECKING:
    from datetime import datetime

    from cube_oauth.resources.meta import Condition
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.usercredential import UserCredential


NEAR = timedelta(days=2)


@dataclass(frozen=True)
class Words:
    """A state in words."""

    sentence: Markup
    hint: Markup


@dataclass(frozen=True)
class Card:
    """One app on the page."""

    namespace: str
    name: str
    title: str
    data_source: str
    state: State
    words: Words
    authorize: bool
    """Whether there is a button to authorize (``reconnect``: it is called so)."""
    reconnect: bool
    disconnect: bool
    ready: bool

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"

    @property
    def urgent(self) -> bool:
        """Whether the button to authorize is what the person came for."""
        return self.state is not State.ACTIVE


def moment(time: datetime, now: datetime) -> Markup:
    """A time for people and for machines; to the minute when it is near."""
    month = ENGLISH["months"].split()[time.month - 1]
    key = "time.minute" if abs(time - now) < NEAR else "time.day"
    text = say(key, day=time.day, month=month, year=time.year, clock=f"{time:%H:%M}")
    return Markup('<time datetime="{}">{}</time>').format(f"{time:%Y-%m-%dT%H:%M:%SZ}", text)


def condition(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    """The condition of this type, or None."""
    return next((item for item in conditions if item.type == kind), None)


def current(app: OAuthApp) -> bool:
    """Whether the controller has decided about the app as it is now."""
    return app.status.observed_generation is not None and app.status.observed_generation >= app.metadata.generation


def ready(app: OAuthApp) -> bool:
    """Whether people can connect."""
    says = condition(app.status.conditions, "Ready")
    return current(app) and says is not None and says.status == "True" and app.status.authorization_url is not None


def why_not_ready(app: OAuthApp) -> Words:
    """The reason's sentence."""
    says = condition(app.status.conditions, "Ready")
    if not current(app) or says is None or says.status == "True":
        return Words(say("state.setting-up"), say("state.setting-up.hint"))
    return Words(say("state.unavailable"), say("state.unavailable.hint", why=says.message or says.reason))


def state_of(credential: UserCredential | None, now: datetime) -> State:
    """The state now: what has ended since the controller last wrote is expired."""
    status = credential.status if credential else None
    if status is None or status.state is None:
        return State.PENDING
    if status.state is State.ACTIVE and status.expires_at and status.expires_at <= now:
        return State.EXPIRED
    return status.state


def card(app: OAuthApp, credential: UserCredential | None, now: datetime) -> Card:
    """One app, with the person's credential when there is one."""
    state = state_of(credential, now)
    usable, suspended = ready(app), bool(credential and credential.spec.suspend)
    connected_before = state is not State.PENDING
    return Card(
        namespace=app.metadata.namespace,
        name=app.metadata.name,
        title=app.title,
        data_source=app.status.data_source or app.metadata.name,
        state=state,
        words=_words(app, credential, now, usable=usable),
        authorize=usable and not suspended,
        reconnect=connected_before,
        disconnect=connected_before and not suspended,
        ready=usable,
    )


def _words(app: OAuthApp, credential: UserCredential | None, now: datetime, *, usable: bool) -> Words:
    state = state_of(credential, now)
    if credential is not None and credential.spec.suspend:
        return Words(say("state.suspended"), say("state.suspended.hint"))
    if credential is not None and state is State.ACTIVE:
        return _active(credential, now)
    if not usable:
        return why_not_ready(app)
    if credential is None or state is State.PENDING:
        return Words(say("state.pending"), _last_attempt(credential, "state.pending.hint"))
    if state is State.REVOKED:
        return Words(say("state.revoked"), _last_attempt(credential, "state.revoked.hint"))
    ended = credential.status.expires_at
    sentence = say("state.expired.at", at=moment(ended, now)) if ended else say("state.expired")
    return Words(sentence, _last_attempt(credential, "state.expired.hint"))


def _active(credential: UserCredential, now: datetime) -> Words:
    status = credential.status
    subject = status.subject or credential.spec.username
    if status.refresh_at and status.refresh_token_expires_at:
        until = moment(status.refresh_token_expires_at, now)
        return Words(say("state.active.until", subject=subject, until=until), say("state.active.renewed.until"))
    if status.refresh_at or status.expires_at is None:
        return Words(say("state.active", subject=subject), say("state.active.renewed"))
    return Words(say("state.active.until", subject=subject, until=moment(status.expires_at, now)), say("state.active.last"))


def _last_attempt(credential: UserCredential | None, otherwise: str) -> Markup:
    said = condition(credential.status.conditions, AUTHORIZED) if credential else None
    if said and said.status == "False":
        return say("state.failed.hint", why=said.message)
    return say(otherwise)
