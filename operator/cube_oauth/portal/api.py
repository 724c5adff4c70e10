"""The same states as JSON, for a company's own front end, under the same rules as the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from cube_oauth.lifecycle.authorize import permitted
from cube_oauth.portal.apimodels import AppList, AppState, Problem, SessionState
from cube_oauth.portal.connect import end_connection
from cube_oauth.portal.openapi import document
from cube_oauth.portal.overview import Ready, card
from cube_oauth.portal.portal import portal_of, visit_of
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.texts import Text

if TYPE_CHECKING:
    from cube_oauth.portal.portal import Portal
    from cube_oauth.portal.visit import Visit
    from cube_oauth.resources.meta import Model
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.usercredential import UserCredential

PATH = "/api/"


def answer(content: Model, status: int = 200) -> web.Response:
    """A model as JSON: absent instead of null."""
    return web.json_response(text=content.model_dump_json(by_alias=True, exclude_none=True), status=status)


def problem(refused: RefusedError, visit: Visit) -> web.Response:
    """A refusal for programs (RFC 9457), with the same words as the page."""
    text = {part: visit.language.plain(Text(f"refused.{refused.word}.{part}", refused.values)) for part in ("title", "body")}
    content = Problem(title=text["title"], detail=text["body"], status=refused.status, reason=refused.word)
    response = web.Response(
        text=content.model_dump_json(by_alias=True), status=refused.status, content_type="application/problem+json"
    )
    if refused.wait:
        response.headers["Retry-After"] = str(refused.wait)
    return response


def shared_with(origin: str) -> dict[str, str]:
    """For a front end at a listed origin: it may read, with the person's cookie (Fetch, section 3.3). Changes are made here."""
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin"}


async def session(request: web.Request) -> web.StreamResponse:
    """``GET /api/session``: who is logged in, and what requests that change something must carry."""
    person = visit_of(request).person
    return answer(SessionState(username=person.username, groups=person.groups, form_token=person.new_form_token()))


async def apps(request: web.Request) -> web.StreamResponse:
    """``GET /api/apps``."""
    portal, visit = portal_of(request), visit_of(request)
    shown = portal.cluster.shown_to(visit.person.username, visit.person.groups)
    return answer(AppList(apps=tuple(state(portal, visit, app, credential) for app, credential in shown)))


async def app(request: web.Request) -> web.StreamResponse:
    """``GET /api/apps/<namespace>/<app>``."""
    portal, visit = portal_of(request), visit_of(request)
    found = _app_of(request)
    return answer(state(portal, visit, found, portal.cluster.credential(found, visit.person.username)))


async def disconnect(request: web.Request) -> web.StreamResponse:
    """``DELETE /api/apps/<namespace>/<app>``: what Disconnect does on the page."""
    await end_connection(request)
    return web.Response(status=204)


async def openapi(request: web.Request) -> web.StreamResponse:
    """``GET /api/openapi.json``: what all this is."""
    return web.json_response(document(portal_of(request).settings.installation.portal_url))


def state(portal: Portal, visit: Visit, app: OAuthApp, credential: UserCredential | None) -> AppState:
    """One app, as the page shows it."""
    shown, plain, meta = card(app, credential, visit.now), visit.language.plain, app.metadata
    status = credential.status if credential else None
    return AppState(
        namespace=shown.namespace,
        name=shown.name,
        title=shown.title,
        data_source=shown.data_source,
        state=shown.state,
        ready=shown.ready is Ready.YES,
        words=plain(shown.words.sentence),
        hint=plain(shown.words.hint),
        warning=plain(shown.warning) if shown.warning else None,
        subject=status.subject if status else None,
        scopes=tuple(status.scopes) if status and status.scopes else None,
        expires_at=status.expires_at if status else None,
        sign_in_ends_at=status.sign_in_ends_at if status else None,
        refreshed_at=status.last_refreshed_at if status else None,
        used_at=status.demand.last_used_at if status and status.demand else None,
        can_authorize=shown.authorize,
        can_disconnect=shown.disconnect,
        authorize_url=portal.settings.installation.authorize_url(meta.namespace, meta.name),
    )


def _app_of(request: web.Request) -> OAuthApp:
    portal, person = portal_of(request), visit_of(request).person
    found = portal.cluster.app(request.match_info["namespace"], request.match_info["app"])
    if found is None or not permitted(found, person.username, person.groups):
        raise RefusedError("NoSuchApp", 404)
    return found
