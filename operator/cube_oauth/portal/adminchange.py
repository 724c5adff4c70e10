"""OAuth apps, for administrators: changing one, and deleting one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr

from cube_oauth.kube.api import KubeError
from cube_oauth.portal.admin import INVALID, PATH, app_of, audited, end, form_page, hand_in_secret
from cube_oauth.portal.appchange import Change, version
from cube_oauth.portal.appform import AppForm
from cube_oauth.portal.origin import origin
from cube_oauth.portal.overview import connected
from cube_oauth.portal.portal import audit, portal_of, see_other, visit_of
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.texts import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from cube_oauth.portal.origin import ListedApp
    from cube_oauth.portal.texts import Text

log = logging.getLogger(__name__)

TRIES = 5
"""Attempts to write or to delete while only the status changes in between, as it does whenever somebody connects."""


@dataclass(frozen=True)
class Typed:
    """What came with the form."""

    fields: Mapping[str, object]

    @property
    def secret(self) -> SecretStr:
        """A client secret, or nothing."""
        return SecretStr(str(self.fields.get("client_secret", "")).strip())

    @property
    def agreed(self) -> bool:
        """Whether people may have to sign in again."""
        return self.fields.get("agreed") == "yes"


async def page(request: web.Request) -> web.StreamResponse:
    """``GET /admin/apps/<namespace>/<app>/edit``: the form with what the app says."""
    found = app_of(request)
    return _page(request, found, AppForm.of(found), {})


async def change(request: web.Request) -> web.StreamResponse:
    """``POST /admin/apps/<namespace>/<app>/edit``: change it, or show the change as YAML; or the form again, with what is wrong."""
    typed, cluster = Typed(await request.post()), portal_of(request).cluster
    try:
        found = await cluster.read_app(request.match_info["namespace"], request.match_info["app"])
        return await _change(request, found, typed) if found else _gone(request, typed)
    except KubeError as error:
        log.warning("the API server did not take a change", extra={"error": str(error)})
        listed = app_of(request)
        unavailable = {"form": say("edit.unavailable")}
        return _page(request, listed, AppForm.typed(listed, typed.fields), unavailable, 503, seen=typed.fields.get("version"))


async def again(request: web.Request) -> web.StreamResponse:
    """``POST /admin/apps/<namespace>/<app>/edit/again``: what was typed before a session ended. It changes nothing."""
    typed = Typed(await request.post())
    found = portal_of(request).cluster.app(request.match_info["namespace"], request.match_info["app"])
    if found is None:
        return _gone(request, typed)
    form = AppForm.typed(found, typed.fields)
    return _page(request, found, form, {"form": say("form.session")}, seen=typed.fields.get("version"))


async def _change(request: web.Request, found: ListedApp, typed: Typed) -> web.StreamResponse:
    changed = Change(found, AppForm.typed(found, typed.fields))
    wanted = typed.fields.get("action")
    if problems := changed.form.problems((found.metadata.namespace,)):
        return _page(request, found, changed.form, problems, 422)
    if wanted == "yaml":
        effect = changed.effect(_connected(request, found))
        return portal_of(request).pages.page("admin_yaml.html", visit_of(request), change=changed, effect=effect, form=changed.form)
    if kept := origin(found.metadata):
        return _page(request, found, changed.form, {"form": kept}, 409)
    if changed.patch and typed.fields.get("version") != version(found):
        return _page(request, found, changed.form, {"form": say("edit.conflict"), **changed.theirs()}, 409)
    if problems := _missing(changed, typed, _connected(request, found)):
        return _page(request, found, changed.form, problems, 422)
    return await _save(request, changed, typed)


def _missing(changed: Change, typed: Typed, people: int) -> dict[str, Text]:
    """What has to be said besides the fields themselves."""
    problems = {}
    if changed.needs_secret and not typed.secret.get_secret_value():
        problems["client_secret"] = say("form.client-secret.moved" if changed.moves else "form.client-secret")
    effect = changed.effect(people)
    if effect and not typed.agreed:
        problems["agreed"] = effect
    return problems


async def _save(request: web.Request, changed: Change, typed: Typed) -> web.StreamResponse:
    cluster, visit, found = portal_of(request).cluster, visit_of(request), changed.app
    people, patch = _connected(request, found), changed.patch
    made = await _write(request, changed) if patch else found
    if made is None:
        return await change(request)  # somebody changed the spec just now: look again
    if isinstance(made, int):
        return _page(request, found, changed.form, {"form": say("form.refused.change")}, made)
    again = people if changed.signs_out else 0
    if patch:
        await cluster.seen(lambda: cluster.decided(made), visit.person.username)
        audit.info("app changed", extra={**audited(request), "fields": sorted(patch), "signed_out": again})
    visit.notify("notice.changed.again" if again else "notice.changed" if patch else "notice.unchanged", found.title, number=again)
    if typed.secret.get_secret_value() and not changed.form.public:
        await hand_in_secret(request, made, typed.secret)
    return see_other(_address(found))


async def _write(request: web.Request, changed: Change) -> ListedApp | int | None:
    """The app as it is now; a status when the cluster refuses it; None when somebody else changed it meanwhile."""
    cluster, current = portal_of(request).cluster, changed.app
    for _ in range(TRIES):
        try:
            return await cluster.change_app(current, changed.patch)
        except KubeError as error:
            if error.status == INVALID:
                return INVALID
            if not error.conflict:
                raise
        fresh = await cluster.read_app(current.metadata.namespace, current.metadata.name)
        if fresh is None or version(fresh) != version(current) or origin(fresh.metadata):
            return None
        current = fresh
    raise KubeError(409, "Conflict", "OAuthApp")


async def deleting(request: web.Request) -> web.StreamResponse:
    """``GET /admin/apps/<namespace>/<app>/delete``: what it will do, with the form that does it."""
    return _delete_page(request, app_of(request), {})


async def delete(request: web.Request) -> web.StreamResponse:
    """``POST /admin/apps/<namespace>/<app>/delete``: end everybody's connection, and delete the app."""
    portal, visit, fields = portal_of(request), visit_of(request), await request.post()
    found = await portal.cluster.read_app(request.match_info["namespace"], request.match_info["app"])
    if found is None:
        raise RefusedError("NoSuchApp", 404)
    if origin(found.metadata):
        raise RefusedError("KeptElsewhere", 409, title=found.title)
    if fields.get("version") != version(found):
        return _delete_page(request, found, {"form": say("delete.conflict")}, 409)
    if str(fields.get("confirm", "")).strip() != found.metadata.name:
        return _delete_page(request, found, {"confirm": say("delete.confirm", name=found.metadata.name)}, 422)
    people = _connected(request, found)
    await end(request, found, [person for person in portal.cluster.people(found) if not person.spec.suspend])
    if not await _removed(request, found):
        return await delete(request)  # somebody changed the app just now: look again
    audit.info("app deleted", extra={**audited(request), "disconnected": people})
    await portal.cluster.seen(lambda: not portal.cluster.shows(found), visit.person.username)
    visit.notify("notice.deleted", found.title)
    return see_other(PATH)


async def _removed(request: web.Request, found: ListedApp) -> bool:
    """Delete an app as it was looked at; False when somebody else changed it, or a tool took it over, meanwhile."""
    cluster, current = portal_of(request).cluster, found
    for _ in range(TRIES):
        try:
            await cluster.remove_app(current)
        except KubeError as error:
            if not error.conflict:
                raise
        else:
            return True
        fresh = await cluster.read_app(current.metadata.namespace, current.metadata.name)
        if fresh is None or version(fresh) != version(current) or origin(fresh.metadata):
            return fresh is None
        current = fresh
    raise KubeError(409, "Conflict", "OAuthApp")


def _page(
    request: web.Request,
    app: ListedApp,
    form: AppForm,
    problems: dict[str, Text],
    status: int = 200,
    *,
    seen: object = None,
) -> web.StreamResponse:
    """The form. ``seen``: the version that the person saw, when it could not be compared."""
    portal = portal_of(request)
    return portal.pages.page(
        "admin_edit.html",
        visit_of(request),
        status=status,
        app=app,
        form=form,
        problems=problems,
        kept=origin(app.metadata),
        connected=_connected(request, app),
        version=seen or version(app),
        address=_address(app),
        redirect_uri=portal.settings.installation.redirect_uri(form.namespace, form.name),
    )


def _gone(request: web.Request, typed: Typed) -> web.StreamResponse:
    """It was deleted meanwhile: what was typed can make it anew."""
    names = {"namespace": request.match_info["namespace"], "name": request.match_info["app"]}
    try:
        form = AppForm.read({**typed.fields, **names})
    except ValueError:
        raise RefusedError("NoSuchApp", 404) from None
    return form_page(request, form, {"form": say("edit.gone")}, 409)


def _delete_page(request: web.Request, app: ListedApp, problems: dict[str, Text], status: int = 200) -> web.StreamResponse:
    if origin(app.metadata):
        raise RefusedError("KeptElsewhere", 409, title=app.title)
    return portal_of(request).pages.page(
        "admin_delete.html",
        visit_of(request),
        status=status,
        app=app,
        problems=problems,
        connected=_connected(request, app),
        version=version(app),
        address=_address(app),
    )


def _connected(request: web.Request, app: ListedApp) -> int:
    now = visit_of(request).now
    return sum(connected(person, now) for person in portal_of(request).cluster.people(app))


def _address(app: ListedApp) -> str:
    return f"{PATH}/{app.metadata.namespace}/{app.metadata.name}"
