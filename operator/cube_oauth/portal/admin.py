"""OAuth apps, for administrators: what there is and how it is, a new one, who is connected, and the end of connections."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from pydantic import SecretStr

from cube_oauth.kube.api import KubeError
from cube_oauth.lifecycle.deposits import TRIED
from cube_oauth.portal.appform import AppForm, presets
from cube_oauth.portal.origin import origin
from cube_oauth.portal.overview import Ready, Words, condition, readiness, ready, state_of, why_not_ready, words_of
from cube_oauth.portal.portal import audit, portal_of, see_other, visit_of
from cube_oauth.portal.reasons import why
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.texts import Moment, Text, say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from cube_oauth.portal.origin import ListedApp
    from cube_oauth.resources.meta import Condition
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.usercredential import State, UserCredential

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)

PATH = "/admin/apps"
_COUNTS = {"active": "count.active", "pending": "count.pending", "expired": "count.expired", "revoked": "count.revoked"}
MOST_ROWS = 100
"""People on one page; a search finds the others."""
INVALID = 422
"""The API server's status for what the CustomResourceDefinition or a policy refuses."""
PATIENCE = 15.0
"""Seconds that a person waits for a trial; a provider may take its time."""
AT_ONCE = 16
"""Requests to the API server while many connections are ended."""


@dataclass(frozen=True)
class AppRow:
    """One OAuthApp in the list."""

    key: str
    title: str
    ready: Ready
    words: Words | None
    """Why people cannot connect."""
    counts: tuple[Text, ...]
    origin: Text | None


@dataclass(frozen=True)
class PersonRow:
    """One connection."""

    name: str
    username: str
    state: State
    words: Text
    used: Text
    suspended: bool


def for_admins(handler: Handler) -> Handler:
    """To everybody else these pages do not exist."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if not visit_of(request).admin:
            raise web.HTTPNotFound
        return await handler(request)

    return guarded


def app_row(app: ListedApp) -> AppRow:
    """How it is."""
    counted = app.status.credentials
    numbers = {name: getattr(counted, name) if counted else 0 for name in _COUNTS}
    shown = tuple(Text(_COUNTS[name], {"number": number}) for name, number in numbers.items() if number or name == "active")
    key = f"{app.metadata.namespace}/{app.metadata.name}"
    words = None if ready(app) else _to_administrators(why_not_ready(app))
    return AppRow(key, app.title, readiness(app), words, shown, origin(app.metadata))


def _to_administrators(words: Words) -> Words:
    """The reason alone: they are who everybody else is told to ask."""
    why = words.hint.values.get("why")
    return Words(words.sentence, why) if isinstance(why, Text) else words


def person_row(credential: UserCredential, now: datetime) -> PersonRow:
    """How somebody's connection is."""
    demand = credential.status.demand
    used = demand.last_used_at if demand else None
    return PersonRow(
        credential.metadata.name,
        credential.spec.username,
        state_of(credential, now),
        words_of(credential, now).sentence,
        say("used.last", at=Moment(used, now)) if used else say("used.never"),
        credential.spec.suspend,
    )


def trial_words(app: OAuthApp, now: datetime) -> Words | None:
    """How the last trial went; None when there was none."""
    found = _trial(app)
    if found is None:
        return None
    at = Moment(found.last_transition_time or now, now)
    return Words(say("trial.good" if found.status == "True" else "trial.bad", at=at), why(found, app))


async def apps(request: web.Request) -> web.StreamResponse:
    """``GET /admin/apps``."""
    portal, visit = portal_of(request), visit_of(request)
    rows = [app_row(app) for app in portal.cluster.apps()]
    return portal.pages.page("admin_apps.html", visit, rows=rows, notice=visit.take_notice())


async def app(request: web.Request) -> web.StreamResponse:
    """``GET /admin/apps/<namespace>/<app>``: the app, and who is connected."""
    portal, visit = portal_of(request), visit_of(request)
    found, searched = app_of(request), request.query.get("q", "").strip()
    people = [person for person in portal.cluster.people(found) if searched.casefold() in person.spec.username.casefold()]
    return portal.pages.page(
        "admin_app.html",
        visit,
        app=found,
        row=app_row(found),
        trial=trial_words(found, visit.now),
        redirect_uri=portal.settings.installation.redirect_uri(found.metadata.namespace, found.metadata.name),
        people=[person_row(person, visit.now) for person in people[:MOST_ROWS]],
        more=len(people) - MOST_ROWS,
        searched=searched,
        notice=visit.take_notice(),
    )


async def new(request: web.Request) -> web.StreamResponse:
    """``GET /admin/apps/new``: a form, with what the preset knows."""
    namespaces = portal_of(request).settings.installation.namespaces
    try:
        form = AppForm.empty(request.query.get("preset", "generic"), namespaces[0] if namespaces else "")
    except ValueError:
        raise web.HTTPNotFound from None
    return form_page(request, form, {})


async def create(request: web.Request) -> web.StreamResponse:
    """``POST /admin/apps/new``: create it, or show it as YAML; or the form again, with what is wrong."""
    portal, fields = portal_of(request), await request.post()
    try:
        form = AppForm.read(fields)
    except ValueError:
        raise web.HTTPBadRequest from None
    secret = SecretStr(str(fields.get("client_secret", "")).strip())
    problems, action = form.problems(portal.settings.installation.namespaces), fields.get("action")
    if action == "create" and not form.public and not secret.get_secret_value():
        problems["client_secret"] = say("form.client-secret")
    if problems or action not in ("create", "yaml"):
        return form_page(request, form, problems)
    if action == "yaml":
        return portal.pages.page("admin_yaml.html", visit_of(request), change=None, effect=None, form=form)
    return await _create(request, form, secret)


async def again(request: web.Request) -> web.StreamResponse:
    """``POST /admin/apps/new/again``: the form with what was typed before a session ended. It changes nothing."""
    try:
        form = AppForm.read(await request.post())
    except ValueError:
        raise web.HTTPBadRequest from None
    return form_page(request, form, {"form": say("form.session")}, 200)


async def _create(request: web.Request, form: AppForm, secret: SecretStr) -> web.StreamResponse:
    cluster, visit = portal_of(request).cluster, visit_of(request)
    try:
        made = await cluster.create_app(form.made_here())
    except KubeError as error:
        if error.conflict:
            return form_page(request, form, {"name": say("form.taken")})
        if error.status == INVALID:
            return form_page(request, form, {"form": say("form.refused")})
        log.warning("the API server did not take a new app", extra={"error": str(error)})
        return form_page(request, form, {"form": say("edit.unavailable")}, 503)
    audit.info("app created", extra=_who(request, form.namespace, form.name))
    visit.notify("notice.created", form.title)
    await cluster.seen(lambda: cluster.shows(made), visit.person.username)
    if not form.public:
        await hand_in_secret(request, made, secret)
    return see_other(f"{PATH}/{form.namespace}/{form.name}")


async def revoke(request: web.Request) -> web.StreamResponse:
    """``POST /admin/apps/<namespace>/<app>/revoke``: end one connection, several, or all."""
    portal, visit, fields = portal_of(request), visit_of(request), await request.post()
    found = app_of(request)
    everybody, chosen = fields.get("all") == "yes", {str(name) for name in fields.getall("credential", [])}
    ending = [
        person
        for person in portal.cluster.people(found)
        if (everybody or person.metadata.name in chosen) and not person.spec.suspend
    ]
    ended = await end(request, found, ending)
    visit.notify("notice.revoked" if ended else "notice.none-revoked", found.title)
    return see_other(f"{PATH}/{found.metadata.namespace}/{found.metadata.name}")


async def client_secret(request: web.Request) -> web.StreamResponse:
    """``POST /admin/apps/<namespace>/<app>/secret``: a new client secret for an app that was made here."""
    visit, fields = visit_of(request), await request.post()
    found, secret = app_of(request), SecretStr(str(fields.get("client_secret", "")).strip())
    if origin(found.metadata) or found.spec.client_secret_ref is None:
        raise RefusedError("KeptElsewhere", 409, title=found.title)
    if secret.get_secret_value():
        visit.notify("notice.secret", found.title)
        await hand_in_secret(request, found, secret)
    return see_other(f"{PATH}/{found.metadata.namespace}/{found.metadata.name}")


async def test(request: web.Request) -> web.StreamResponse:
    """``POST /admin/apps/<namespace>/<app>/test``: the controller tries the app, and the page says how it went."""
    before = app_of(request)
    await portal_of(request).cluster.have_tried(before)
    audit.info("app tested", extra=audited(request))
    if not await _tried(request, before):
        visit_of(request).notify("notice.testing", before.title)
    return see_other(f"{PATH}/{before.metadata.namespace}/{before.metadata.name}")


async def _tried(request: web.Request, before: OAuthApp) -> bool:
    """Wait until the controller has tried an app, so that the next page says how it went; False when it takes too long."""
    portal, visit = portal_of(request), visit_of(request)

    def answered() -> bool:
        now = portal.cluster.app(before.metadata.namespace, before.metadata.name)
        return now is not None and (_trial(now) != _trial(before) or _just_tried(now, visit.now))

    return await portal.cluster.until(answered, visit.person.username, PATIENCE)


def _just_tried(app: OAuthApp, now: datetime) -> bool:
    """Whether it was tried in this very second: another trial would look the same, so nobody could tell when it is done."""
    last = _trial(app)
    return last is not None and last.last_transition_time is not None and last.last_transition_time >= now.replace(microsecond=0)


def _trial(app: OAuthApp) -> Condition | None:
    return condition(app.status.conditions, TRIED)


async def hand_in_secret(request: web.Request, app: OAuthApp, secret: SecretStr) -> None:
    """Deposit a client secret for the controller, and see the app tried with it.

    What was done before stands: when this fails, the next page says so.
    """
    meta = app.metadata
    try:
        await portal_of(request).cluster.have_tried(app, secret)
    except KubeError as error:
        log.warning("a client secret was not taken", extra={"error": str(error)})
        visit_of(request).notify("notice.secret-lost", app.title)
    else:
        audit.info("client secret changed", extra=_who(request, meta.namespace, meta.name))
        await _tried(request, app)


async def end(request: web.Request, app: OAuthApp, ending: list[UserCredential]) -> list[UserCredential]:
    """End these connections but those that are suspended by now, and which; the controller revokes their tokens."""
    turn, cluster = asyncio.Semaphore(AT_ONCE), portal_of(request).cluster

    async def one(person: UserCredential) -> bool:
        async with turn:
            removed = await cluster.remove(person)
        if removed:
            audit.info("revoked", extra={**_who(request, person.metadata.namespace, app.metadata.name), "of": person.spec.username})
        return removed

    removed = await asyncio.gather(*(one(person) for person in ending))
    ended = [person for person, is_removed in zip(ending, removed, strict=True) if is_removed]
    await cluster.gone(ended)
    return ended


def form_page(request: web.Request, form: AppForm, problems: dict[str, Text], status: int = 0) -> web.StreamResponse:
    """The form for a new app."""
    portal = portal_of(request)
    installation = portal.settings.installation
    return portal.pages.page(
        "admin_new.html",
        visit_of(request),
        status=status or (422 if problems else 200),
        form=form,
        problems=problems,
        presets=presets(),
        namespaces=installation.namespaces,
        redirect_uri=installation.redirect_uri(form.namespace or "NAMESPACE", form.name or "IDENTIFIER"),
        pattern=installation.redirect_uri("{namespace}", "{name}"),
    )


def app_of(request: web.Request) -> ListedApp:
    """The app that the address names. Raises RefusedError."""
    found = portal_of(request).cluster.app(request.match_info["namespace"], request.match_info["app"])
    if found is None:
        raise RefusedError("NoSuchApp", 404)
    return found


def audited(request: web.Request) -> dict[str, str]:
    """Who did something to the app that the address names."""
    return _who(request, request.match_info["namespace"], request.match_info["app"])


def _who(request: web.Request, namespace: str, app: str) -> dict[str, str]:
    return {"username": visit_of(request).person.username, "namespace": namespace, "app": app}
