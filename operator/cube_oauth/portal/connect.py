"""One person, one app: the authorization's round trip, and its end."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from cube_oauth.kube.api import KubeError
from cube_oauth.lifecycle.authorize import permitted
from cube_oauth.lifecycle.publish import AUTHORIZED, reference
from cube_oauth.portal.addresses import way_back
from cube_oauth.portal.overview import asked_for, card, condition, ready, why_not_ready
from cube_oauth.portal.portal import audit, portal_of, see_other, visit_of
from cube_oauth.portal.reasons import why
from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.session import Pending, session_hash
from cube_oauth.providers import CallbackError, Endpoints, authorization_url, new_verifier, read_callback
from cube_oauth.resources.names import digest
from cube_oauth.resources.secrets import Grant
from cube_oauth.resources.usercredential import State

if TYPE_CHECKING:
    from aiohttp import web
    from pydantic import SecretStr

    from cube_oauth.portal.portal import Portal
    from cube_oauth.portal.session import Session
    from cube_oauth.portal.visit import Visit
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.usercredential import UserCredential

ROUTE = "/connect/{namespace}/{app}"
PATIENCE = 5.0
"""Seconds that a person waits for the controller to redeem the code, before the page says that it takes a moment."""

_WORDS = {
    "AccessDenied": "AccessDenied",
    "LoginRequired": "LoginRequired",
    "ProviderUnavailable": "ProviderUnavailable",
    "AppMisconfigured": "ProviderRefused",
}


def endpoints_of_status(app: OAuthApp) -> Endpoints:
    """What the controller found out. Raises RefusedError when the app cannot be used now."""
    status = app.status
    if not ready(app) or status.authorization_url is None or status.token_url is None:
        raise RefusedError("AppNotReady", 409, title=app.title, why=why_not_ready(app).hint)
    return Endpoints(
        authorization_url=status.authorization_url,
        token_url=status.token_url,
        issuer=status.issuer,
        scopes=tuple(status.scopes or ()),
        scope_separator=app.spec.scope_separator.text,
        authorization_parameters=status.authorization_parameters or {},
        iss_required=status.issuer_in_answers is True,
    )


def client_hash(app: OAuthApp) -> str:
    """Names the client at its provider: when it changes on the way, a code could go to somebody else."""
    status = app.status
    return digest(app.metadata.uid, app.spec.client_id, status.issuer or "", status.authorization_url or "", status.token_url or "")


def usable_app(portal: Portal, person: Session, namespace: str, name: str) -> OAuthApp:
    """The app. Raises RefusedError, the same whether it does not exist or is not for this person."""
    app = portal.cluster.app(namespace, name)
    if app is None or not permitted(app, person.username, person.groups):
        raise RefusedError("NoSuchApp", 404)
    return app


def _app_of(request: web.Request, person: Session) -> OAuthApp:
    return usable_app(portal_of(request), person, request.match_info["namespace"], request.match_info["app"])


def _not_suspended(app: OAuthApp, credentials: list[UserCredential]) -> None:
    """What an administrator withholds is neither replaced nor removed here: a new one would not be suspended."""
    if any(credential.spec.suspend for credential in credentials):
        raise RefusedError("Suspended", 403, title=app.title)


async def page(request: web.Request) -> web.StreamResponse:
    """``GET /connect/<namespace>/<app>``: a page with one button."""
    portal, visit = portal_of(request), visit_of(request)
    if visit.session is None:
        return see_other(f"/login?next={quote(link(request, request.query.get('return_to', '')))}")
    app = _app_of(request, visit.session)
    back = way_back(request.query.get("return_to"), portal.settings.return_to) or ""
    shown = card(app, portal.cluster.credential(app, visit.session.username), visit.now)
    host = urlsplit(app.status.authorization_url or "").hostname or ""
    return portal.pages.page(
        "connect.html", visit, card=shown, host=host, scopes=asked_for(app), back=back, back_host=urlsplit(back).netloc
    )


async def start(request: web.Request) -> web.StreamResponse:
    """``POST /connect/<namespace>/<app>``: on to the provider."""
    portal, visit = portal_of(request), visit_of(request)
    app = _app_of(request, visit.person)
    _not_suspended(app, portal.cluster.credentials(app, visit.person.username))
    endpoints = endpoints_of_status(app)
    back = way_back(str((await request.post()).get("return_to", "")), portal.settings.return_to)
    pending, verifier = _begin(app, endpoints, visit, back or "/")
    meta = app.metadata
    url = authorization_url(
        endpoints,
        app.spec.client_id,
        redirect_uri=portal.settings.installation.redirect_uri(meta.namespace, meta.name),
        state=pending.state,
        nonce=pending.nonce,
        code_verifier=verifier,
    )
    visit.remember(pending)
    portal.metrics.connects.labels(meta.namespace, meta.name).inc()
    host = urlsplit(endpoints.authorization_url).hostname
    return portal.pages.page("leave.html", visit, private=True, url=url, host=host, title=app.title)


def _begin(app: OAuthApp, endpoints: Endpoints, visit: Visit, afterwards: str) -> tuple[Pending, SecretStr | None]:
    verifier = new_verifier() if app.spec.pkce else None
    pending = Pending(
        purpose="connect",
        nonce=secrets.token_urlsafe(24) if "openid" in endpoints.scopes else None,
        verifier=verifier.get_secret_value() if verifier else None,
        began=int(visit.now.timestamp()),
        namespace=app.metadata.namespace,
        app=app.metadata.name,
        client=client_hash(app),
        session=session_hash(visit.person),
        next=afterwards,
    )
    return pending, verifier


async def callback(request: web.Request) -> web.StreamResponse:
    """``GET /callback/<namespace>/<app>``: back from the provider."""
    portal, visit = portal_of(request), visit_of(request)
    pending = visit.take(request.query.get("state", ""), "connect", request.match_info["namespace"], request.match_info["app"])
    try:
        outcome = await _finish(request, pending)
    except RefusedError as refused:
        portal.metrics.callbacks.labels(refused.word).inc()
        _record(request, "connecting refused", outcome=refused.word)
        if refused.retry is None and refused.word not in ("NoSuchApp", "Suspended"):
            refused.retry = link(request, pending.next if pending else "")
        raise
    portal.metrics.callbacks.labels(outcome).inc()
    _record(request, "connected", outcome=outcome)
    return see_other(pending.next if pending and outcome == "ok" else "/")


async def _finish(request: web.Request, pending: Pending | None) -> str:
    """Hand the code to the controller and see what becomes of it. Raises RefusedError."""
    portal, visit = portal_of(request), visit_of(request)
    if pending is not None and visit.session is None:
        raise RefusedError("SessionOver", 401)
    if pending is None or not visit.began(pending):
        raise RefusedError("StateUnknown" if request.cookies else "NoCookies", 400)
    app = _app_of(request, visit.person)
    endpoints = endpoints_of_status(app)
    code = _read(request, app, pending, endpoints)
    if pending.client != client_hash(app):
        raise RefusedError("AppChanged", 409, title=app.title)
    return await _hand_in(portal, visit, app, pending, code)


def _read(request: web.Request, app: OAuthApp, pending: Pending, endpoints: Endpoints) -> SecretStr:
    try:
        return read_callback(request.query, pending.state, endpoints.issuer, iss_required=endpoints.iss_required)
    except CallbackError as error:
        word = _WORDS.get(error.reason, "AnswerInvalid")
        raise RefusedError(word, 400, title=app.title, reason=error.reason) from error


async def _hand_in(portal: Portal, visit: Visit, app: OAuthApp, pending: Pending, code: SecretStr) -> str:
    person = visit.person
    _not_suspended(app, portal.cluster.credentials(app, person.username))
    credential = await portal.cluster.ensure_credential(app, person.username)
    grant = Grant(
        credential=reference(credential.metadata),
        app=reference(app.metadata),
        username=person.username,
        groups=person.groups,
        code=code.get_secret_value(),
        code_verifier=pending.verifier,
        redirect_uri=portal.settings.installation.redirect_uri(app.metadata.namespace, app.metadata.name),
        nonce=pending.nonce,
        token_url=app.status.token_url or "",
        client_id=app.spec.client_id,
        issued_at=visit.now,
    )
    try:
        await portal.cluster.deposit(pending.state, grant)
    except KubeError as error:
        if error.conflict:
            raise RefusedError("Replayed", 409) from error
        raise
    return await _settled(portal, visit, app, credential, pending.next)


async def _settled(portal: Portal, visit: Visit, app: OAuthApp, before: UserCredential, afterwards: str) -> str:
    """Wait for what the controller says to the grant. Raises RefusedError when it says no."""

    def this_one() -> UserCredential | None:
        """What the watch has told of the one that the grant is for, and not of another that had its name before."""
        known = portal.cluster.credentials(app, visit.person.username)
        return next((one for one in known if one.metadata.uid == before.metadata.uid), None)

    def answered() -> bool:
        now = this_one()
        return now is not None and (_grew(before, now) or _new_word(before, now))

    in_time = await portal.cluster.until(answered, visit.person.username, PATIENCE)
    now = this_one()
    if not in_time or now is None:
        visit.notify("notice.waiting", app.title, afterwards.removeprefix("/"))
        return "waiting"
    said = condition(now.status.conditions, AUTHORIZED)
    if not _grew(before, now) and said and said.status == "False":
        raise RefusedError("GrantRefused", 502, title=app.title, why=why(said, app))
    if afterwards == "/":
        visit.notify("notice.connected", app.title)
    return "ok"


def _grew(before: UserCredential, now: UserCredential) -> bool:
    return (now.status.revision or 0) > (before.status.revision or 0) and now.status.state is State.ACTIVE


def _new_word(before: UserCredential, now: UserCredential) -> bool:
    said = condition(now.status.conditions, AUTHORIZED)
    return said is not None and said.status == "False" and said != condition(before.status.conditions, AUTHORIZED)


async def leaving(request: web.Request) -> web.StreamResponse:
    """``GET /disconnect/<namespace>/<app>``: what disconnecting will do, with the button that does it."""
    portal, visit = portal_of(request), visit_of(request)
    if visit.session is None:
        return see_other("/login")
    app = _app_of(request, visit.session)
    known = portal.cluster.credentials(app, visit.session.username)
    _not_suspended(app, known)
    shown = card(app, known[0] if known else None, visit.now)
    return portal.pages.page("disconnect.html", visit, card=shown, fallback=app.spec.fallback)


async def disconnect(request: web.Request) -> web.StreamResponse:
    """``POST /disconnect/<namespace>/<app>``."""
    app, ended = await end_connection(request)
    visit_of(request).notify("notice.disconnected" if ended else "notice.nothing", app.title)
    return see_other("/")


async def end_connection(request: web.Request) -> tuple[OAuthApp, int]:
    """Delete the person's UserCredentials, and how many there were; the controller revokes the tokens."""
    portal, visit = portal_of(request), visit_of(request)
    app = _app_of(request, visit.person)
    known = portal.cluster.credentials(app, visit.person.username)
    _not_suspended(app, known)
    for credential in known:
        if not await portal.cluster.remove(credential):
            raise RefusedError("Suspended", 403, title=app.title)
    await portal.cluster.gone(known)
    portal.metrics.disconnects.labels(app.metadata.namespace, app.metadata.name).inc()
    _record(request, "disconnected", credentials=len(known))
    return app, len(known)


def _record(request: web.Request, what: str, **more: object) -> None:
    session = visit_of(request).session
    names = {"namespace": request.match_info["namespace"], "app": request.match_info["app"]}
    audit.info(what, extra={"username": session.username if session else None, **names, **more})


def link(request: web.Request, back: str) -> str:
    """The page of the app that the address names, with where to go afterwards."""
    path = f"/connect/{request.match_info['namespace']}/{request.match_info['app']}"
    return f"{path}?return_to={quote(back, safe='')}" if back not in ("", "/") else path
