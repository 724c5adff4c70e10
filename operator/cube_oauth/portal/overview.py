"""What a person sees of an app: its state in words, and what can be done. Pure: ``now`` is an argument, and so is no language."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from cube_oauth.lifecycle.authorize import LONGEST_AGE
from cube_oauth.lifecycle.decide import WITHDRAWN
from cube_oauth.lifecycle.publish import AUTHORIZED
from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.portal.reasons import why
from cube_oauth.portal.texts import ENGLISH, Moment, Text, say
from cube_oauth.resources.names import digest
from cube_oauth.resources.usercredential import State

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cube_oauth.resources.meta import Condition
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.usercredential import UserCredential


WARN = timedelta(days=7)
"""So long before a sign-in ends, the page says so: people look here a few times a year, so they meet it by chance."""


UNATTENDED: dict[str | None, tuple[str, str]] = {
    Reason.IDLE: ("state.idle", "state.idle.hint"),
    Reason.REFRESH_DELAYED: ("state.delayed", "state.delayed.hint"),
}
"""Why there may be no token although the person has nothing to do."""


class Ready(StrEnum):
    """Whether people can connect to an app."""

    YES = "true"
    NO = "false"
    SOON = "soon"
    """The controller has not said yet."""


@dataclass(frozen=True)
class Words:
    """A state in words."""

    sentence: Text
    hint: Text


@dataclass(frozen=True)
class Card:
    """One app on the page."""

    namespace: str
    name: str
    title: str
    data_source: str
    state: State
    words: Words
    warning: Text | None
    """That the connection ends soon."""
    facts: tuple[Text, ...]
    """When it was renewed and used."""
    scopes: tuple[Text | str, ...]
    """What it may do: in words where they are known."""
    authorize: bool
    """Whether there is a button to authorize (``reconnect``: it is called so)."""
    reconnect: bool
    disconnect: bool
    ready: Ready
    unattended: bool = False
    """It is renewed by itself, although there is no token now."""

    @property
    def key(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"

    @property
    def urgent(self) -> bool:
        """Whether the button to authorize is what the person came for."""
        return (self.state is not State.ACTIVE and not self.unattended) or self.warning is not None

    @property
    def calls(self) -> bool:
        """Whether a connection that was there is over, or soon will be, and the person can do something about it."""
        return self.authorize and self.reconnect and self.urgent


def scope_words(preset: str, scope: str) -> Text | str:
    """What a scope permits; the scope itself when nobody wrote words for it."""
    known = (key for key in (f"scope.{preset}.{scope}", f"scope.{scope}") if key in ENGLISH)
    key = next(known, None)
    return Text(key) if key else scope


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


def readiness(app: OAuthApp) -> Ready:
    """Whether people can connect, or soon can."""
    if ready(app):
        return Ready.YES
    return Ready.SOON if why_not_ready(app).sentence.key == "state.setting-up" else Ready.NO


def why_not_ready(app: OAuthApp) -> Words:
    """The reason's sentence."""
    says = condition(app.status.conditions, "Ready")
    if not current(app) or says is None or says.status == "True":
        return Words(say("state.setting-up"), say("state.setting-up.hint"))
    return Words(say("state.unavailable"), say("state.unavailable.hint", why=why(says, app)))


def state_of(credential: UserCredential | None, now: datetime) -> State:
    """The state now: what has ended since the controller last wrote is expired."""
    status = credential.status if credential else None
    if status is None or status.state is None:
        return State.PENDING
    if status.state is State.ACTIVE and status.expires_at and status.expires_at <= now:
        return State.EXPIRED
    return status.state


def connected(credential: UserCredential, now: datetime) -> bool:
    """Whether there is something to lose: a token, or one that comes by itself."""
    state = state_of(credential, now)
    return state is State.ACTIVE or (state is State.EXPIRED and _reason(credential) in UNATTENDED)


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
        warning=_warning(credential, state, now),
        facts=_facts(credential, state, now),
        scopes=_granted(app, credential, state),
        authorize=usable and not suspended,
        reconnect=connected_before,
        disconnect=connected_before and not suspended,
        ready=readiness(app),
        unattended=credential is not None and state is State.EXPIRED and _reason(credential) in UNATTENDED,
    )


def version(cards: Sequence[Card]) -> str:
    """Changes whenever the page would: a state that ends by the clock is seen, too, and what the page does not show is not."""
    return digest("overview", *(repr(card) for card in cards))


def _warning(credential: UserCredential | None, state: State, now: datetime) -> Text | None:
    """When renewing is about to end. A token that is never renewed ends too often to be warned of."""
    renewed = credential is not None and state is State.ACTIVE and credential.status.refresh_at is not None
    ends = credential.status.sign_in_ends_at if credential and renewed else None
    return say("warning.ends", at=Moment(ends, now)) if ends and ends - now <= WARN else None


def _facts(credential: UserCredential | None, state: State, now: datetime) -> tuple[Text, ...]:
    if credential is None or state is State.PENDING:
        return ()
    status = credential.status
    used = status.demand.last_used_at if status.demand else None
    refreshed = (say("used.refreshed", at=Moment(status.last_refreshed_at, now)),) if status.last_refreshed_at else ()
    return (*refreshed, say("used.last", at=Moment(used, now)) if used else say("used.never"))


def asked_for(app: OAuthApp) -> tuple[Text | str, ...]:
    """What a connection will be able to do."""
    return tuple(scope_words(str(app.spec.provider.name), scope) for scope in app.status.scopes or ())


def _granted(app: OAuthApp, credential: UserCredential | None, state: State) -> tuple[Text | str, ...]:
    """What this connection can do: RFC 6749 (section 5.1) lets a provider leave out scopes that are those asked for."""
    if credential is None or state is not State.ACTIVE:
        return ()
    if not credential.status.scopes:
        return asked_for(app)
    return tuple(scope_words(str(app.spec.provider.name), scope) for scope in credential.status.scopes)


def _words(app: OAuthApp, credential: UserCredential | None, now: datetime, *, usable: bool) -> Words:
    own = credential is not None and (credential.spec.suspend or state_of(credential, now) is State.ACTIVE)
    return words_of(credential, now) if usable or own else why_not_ready(app)


def words_of(credential: UserCredential | None, now: datetime) -> Words:
    """A connection's state in words."""
    if credential is None:
        return Words(say("state.pending"), say("state.pending.hint"))
    if credential.spec.suspend:
        return Words(say("state.suspended"), say("state.suspended.hint"))
    return _active(credential, now) if state_of(credential, now) is State.ACTIVE else _inactive(credential, now)


def _inactive(credential: UserCredential, now: datetime) -> Words:
    state, reason = state_of(credential, now), _reason(credential)
    if waits := _waits(credential, now):
        return Words(say("state.connecting"), say("state.connecting.hint", why=why(waits, None)))
    if state is State.PENDING:
        return Words(say("state.pending"), _last_attempt(credential, "state.pending.hint"))
    if reason in UNATTENDED:
        return Words(*(say(key) for key in UNATTENDED[reason]))
    if state is State.REVOKED:
        hint = "state.revoked.hint" if reason not in WITHDRAWN.values() else "state.withdrawn.hint"
        return Words(say("state.revoked"), _last_attempt(credential, hint))
    ended = credential.status.expires_at
    sentence = say("state.expired.at", at=Moment(ended, now)) if ended else say("state.expired")
    return Words(sentence, _last_attempt(credential, "state.expired.hint"))


def _reason(credential: UserCredential) -> str | None:
    says = condition(credential.status.conditions, "Active")
    return says.reason if says else None


def _active(credential: UserCredential, now: datetime) -> Words:
    status = credential.status
    subject = status.subject or credential.spec.username
    if status.refresh_at and status.sign_in_ends_at:
        until = Moment(status.sign_in_ends_at, now)
        return Words(say("state.active.until", subject=subject, until=until), say("state.active.renewed.until"))
    if status.refresh_at or status.expires_at is None:
        return Words(say("state.active", subject=subject), say("state.active.renewed"))
    return Words(say("state.active.until", subject=subject, until=Moment(status.expires_at, now)), say("state.active.last"))


def _waits(credential: UserCredential, now: datetime) -> Condition | None:
    """Why an authorization has to wait for the provider, as long as it can still become something."""
    said = condition(credential.status.conditions, AUTHORIZED)
    since = said.last_transition_time if said and said.status == "Unknown" else None
    return said if since and now - since < LONGEST_AGE else None


def _last_attempt(credential: UserCredential, otherwise: str) -> Text:
    said = condition(credential.status.conditions, AUTHORIZED)
    if said and said.status == "False":
        return say("state.failed.hint", why=why(said, None))
    return say(otherwise)
