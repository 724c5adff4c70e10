"""A provider that behaves as ``Behaviour`` says: for the quirks that no certified provider can be made to have."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from cube_oauth.providers import Endpoints

CLIENT_ID, CLIENT_SECRET = "the-client", "the-secret"
CLIENT_KEY = ECKey.generate_key("P-256")
REDIRECT_URI = "https://portal.example.com/callback/team/warehouse"
SIGNING_KEY = OctKey.generate_key(256)
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@dataclass(frozen=True)
class Behaviour:
    """What a provider does. The defaults are a plain provider of OAuth 2.0, as the RFCs have it."""

    authentication: str = "basic"
    """The only way that it accepts: basic, post, none or private_key_jwt."""
    assertion_for: str = "token endpoint"
    """Whom a signed assertion must be for: the token endpoint, or the issuer."""
    pkce: str = "accepted"
    """accepted, required, or unknown (it refuses what it does not know)."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """Parameters of the authorization request without which it gives no refresh token."""
    needs_scope: str | None = None
    """The scope without which it gives no refresh token."""
    scope_separator: str = " "
    requests: str = "form"
    answers: str = "json"
    refresh: str = "reusable"
    """single-use (a second use ends the sign-in), reusable (and not repeated), or renewed (a new one, the old stays valid)."""
    session: int | None = None
    """The sign-in ends for good after so many refreshes."""
    over: Mapping[str, str] = field(default_factory=lambda: {"error": "invalid_grant"})
    """How it says that a refresh token is dead."""
    over_status: int = 400
    stranger: Mapping[str, str] = field(default_factory=lambda: {"error": "invalid_client"})
    """How it says that it does not know the client, with 401."""
    expires_in: Any = 600
    says: Mapping[str, Any] = field(default_factory=dict)
    """More fields of its answers to a code; ``{person}`` is filled in."""
    id_token: Mapping[str, Any] | None = None
    """Claims of its ID tokens beside the usual ones; None: it gives none."""
    access_token: Mapping[str, Any] | None = None
    """Claims of its access tokens; None: they are opaque."""
    knows: Mapping[str, Any] = field(default_factory=dict)
    """What userinfo and introspection say of the person, beside ``sub``."""
    discovery: str | None = None
    """openid or oauth: which of the two documents there is."""
    iss: str | None = None
    """Whether its answers to an authorization request name the issuer: right, wrong or None."""
    iss_announced: bool = False
    resource: str | None = None
    """The resource that has to be named in every request (RFC 8707)."""


@dataclass
class SignIn:
    """One sign-in at the provider."""

    person: str
    asked: dict[str, str]
    over: bool = False
    refreshes: int = 0
    refresh_tokens: dict[str, bool] = field(default_factory=dict)
    """Each with whether it was used."""
    access_tokens: set[str] = field(default_factory=set)


class RefusedError(Exception):
    """An OAuth error, as a status and fields."""

    def __init__(self, error: str | Mapping[str, str], status: int = 400) -> None:
        super().__init__(str(error))
        self.fields = {"error": error} if isinstance(error, str) else dict(error)
        self.status = status


def _filled(claims: Mapping[str, Any], person: str) -> dict[str, Any]:
    names = {"person": person, "PERSON": person.upper(), "local": person.partition("@")[0].upper()}
    return {name: value.format(**names) if isinstance(value, str) else value for name, value in claims.items()}


def _signed(claims: Mapping[str, Any]) -> str:
    now = int(time.time())
    return jwt.encode({"alg": "HS256"}, {"iat": now, "exp": now + 300, "jti": secrets.token_hex(8), **claims}, SIGNING_KEY)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Emulator:
    """Serves the endpoints it is told of; everything else is 404."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.sign_ins: list[SignIn] = []
        self.codes: dict[str, SignIn] = {}
        self.failure: web.Response | None = None
        """Given instead of the next answer of the token endpoint, which does nothing then."""
        self.token_requests = 0
        self._paths: dict[str, Any] = {}
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.server = TestServer(app, host="127.0.0.1")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def local(self, url: str | None) -> str | None:
        """The same address, here."""
        return url and url.replace(_origin(url), self.url, 1)

    def serve(self, endpoints: Endpoints) -> None:
        """Answer at the paths of these endpoints."""
        self.endpoints = endpoints
        handlers = {
            endpoints.exchange and endpoints.exchange.token_url: self._exchange,
            endpoints.authorization_url: self._authorize,
            endpoints.token_url: self._token,
            endpoints.revocation_url: self._revoke,
            endpoints.subject_url: self._introspect if endpoints.subject.source == "Introspection" else self._userinfo,
        }
        self._paths |= {urlsplit(url).path: handler for url, handler in handlers.items() if url}

    def document(self) -> dict[str, Any]:
        """The discovery document."""
        names = ("authorization", "token", "revocation", "userinfo", "introspection")
        return {
            "issuer": self.url,
            **{f"{name}_endpoint": f"{self.url}/{name}" for name in names},
            "authorization_response_iss_parameter_supported": self.behaviour.iss_announced,
            "token_endpoint_auth_methods_supported": [
                {"basic": "client_secret_basic", "post": "client_secret_post"}.get(
                    self.behaviour.authentication, self.behaviour.authentication
                )
            ],
        }

    # ---- requests

    async def _handle(self, request: web.Request) -> web.Response:
        wellknown = {"openid": "/.well-known/openid-configuration", "oauth": "/.well-known/oauth-authorization-server"}
        if request.path == wellknown.get(self.behaviour.discovery or ""):
            return web.json_response(self.document())
        handler = self._paths.get(request.path)
        if handler is None:
            return web.Response(status=404, text="not found")
        try:
            return await handler(request)
        except RefusedError as refusal:
            return self._answer(refusal.fields, refusal.status)

    async def _form(self, request: web.Request, written: str = "form") -> dict[str, str]:
        if request.content_type != {"form": "application/x-www-form-urlencoded", "json": "application/json"}[written]:
            raise RefusedError("invalid_request", 415)
        body = await request.text()
        return json.loads(body) if written == "json" else dict(parse_qsl(body))

    def _answer(self, fields: Mapping[str, Any], status: int = 200) -> web.Response:
        if self.behaviour.answers == "json":
            return web.json_response(dict(fields), status=status)
        return web.Response(text=urlencode(fields), status=status, content_type="application/x-www-form-urlencoded")

    async def _authorize(self, request: web.Request) -> web.Response:
        """The person (``X-Person``) has consented already."""
        asked = dict(request.query)
        if asked.get("client_id") != CLIENT_ID or asked.get("redirect_uri") != REDIRECT_URI or asked.get("response_type") != "code":
            return web.Response(status=400, text="<html>This application is not registered")
        answer = {"state": asked["state"]}
        if self.behaviour.iss:
            issuer = self.endpoints.issuer or self.url
            answer["iss"] = issuer if self.behaviour.iss == "right" else "https://evil.example"
        challenge = asked.get("code_challenge")
        if (challenge and self.behaviour.pkce == "unknown") or (not challenge and self.behaviour.pkce == "required"):
            answer["error"] = "invalid_request"
        elif self.behaviour.resource and asked.get("resource") != self.behaviour.resource:
            answer["error"] = "invalid_target"
        else:
            answer["code"] = secrets.token_urlsafe(8)
            self.codes[answer["code"]] = SignIn(request.headers["X-Person"], asked)
        raise web.HTTPFound(f"{REDIRECT_URI}?{urlencode(answer)}")

    def _authenticate(self, request: web.Request, form: Mapping[str, str]) -> None:
        wrong = RefusedError(self.behaviour.stranger, 401)
        method = self.behaviour.authentication
        header = request.headers.get("Authorization", "")
        used = (
            "basic"
            if header
            else next(
                (name for field, name in (("client_secret", "post"), ("client_assertion", "private_key_jwt")) if field in form),
                "none",
            )
        )
        if used != method:
            raise wrong
        if method == "basic":
            given = [unquote_plus(part) for part in base64.b64decode(header.removeprefix("Basic ")).decode().split(":")]
            if given != [CLIENT_ID, CLIENT_SECRET]:
                raise wrong
        elif method == "post" and (form["client_id"], form["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            raise wrong
        elif method == "private_key_jwt":
            claims = jwt.decode(form["client_assertion"], CLIENT_KEY, algorithms=["ES256"]).claims
            audience = {"token endpoint": self.endpoints.token_url, "issuer": self.endpoints.issuer}[self.behaviour.assertion_for]
            if (claims["iss"], claims["sub"], claims["aud"]) != (CLIENT_ID, CLIENT_ID, audience):
                raise wrong
        elif method == "none" and form.get("client_id") != CLIENT_ID:
            raise wrong

    async def _token(self, request: web.Request) -> web.Response:
        self.token_requests += 1
        if self.failure is not None:
            failure, self.failure = self.failure, None
            return failure
        form = await self._form(request, self.behaviour.requests)
        if form.get("grant_type") == TOKEN_EXCHANGE:
            return self._exchanged(form)
        self._authenticate(request, form)
        if self.behaviour.resource and form.get("resource") != self.behaviour.resource:
            raise RefusedError("invalid_target")
        grants = {"authorization_code": self._code, "refresh_token": self._refresh, "client_credentials": self._itself}
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            raise RefusedError("unsupported_grant_type")
        return self._answer(grant(form))

    def _code(self, form: Mapping[str, str]) -> dict[str, Any]:
        sign_in = self.codes.pop(form.get("code", ""), None)
        if sign_in is None or form.get("redirect_uri") != sign_in.asked["redirect_uri"]:
            raise RefusedError("invalid_grant")
        self._check_verifier(form, sign_in)
        self.sign_ins.append(sign_in)
        said = self._tokens(sign_in) | _filled(self.behaviour.says, sign_in.person)
        if self._offline(sign_in):
            said["refresh_token"] = self._new_refresh_token(sign_in)
        if self.behaviour.id_token is not None:
            usual = {"iss": self.endpoints.issuer or self.url, "aud": CLIENT_ID, "sub": "0042", "nonce": sign_in.asked.get("nonce")}
            said["id_token"] = _signed(usual | _filled(self.behaviour.id_token, sign_in.person))
        return said

    def _check_verifier(self, form: Mapping[str, str], sign_in: SignIn) -> None:
        verifier, challenge = form.get("code_verifier"), sign_in.asked.get("code_challenge")
        if verifier and self.behaviour.pkce == "unknown":
            raise RefusedError("invalid_request")
        hashed = base64.urlsafe_b64encode(hashlib.sha256((verifier or "").encode()).digest()).decode().rstrip("=")
        if challenge and hashed != challenge:
            raise RefusedError("invalid_grant")

    def _offline(self, sign_in: SignIn) -> bool:
        needs, scopes = self.behaviour, sign_in.asked.get("scope", "").split(self.behaviour.scope_separator)
        given = all(sign_in.asked.get(name) == value for name, value in needs.needs.items())
        return given and (needs.needs_scope is None or needs.needs_scope in scopes)

    def _new_refresh_token(self, sign_in: SignIn) -> str:
        token = secrets.token_urlsafe(8)
        sign_in.refresh_tokens[token] = False
        return token

    def _tokens(self, sign_in: SignIn) -> dict[str, Any]:
        claims = self.behaviour.access_token
        token = secrets.token_urlsafe(8) if claims is None else _signed(_filled(claims, sign_in.person))
        sign_in.access_tokens.add(token)
        lifetime = {} if self.behaviour.expires_in is None else {"expires_in": self.behaviour.expires_in}
        scope = sign_in.asked.get("scope", "")
        return {"access_token": token, "token_type": "Bearer", **lifetime, **({"scope": scope} if scope else {})}

    def _refresh(self, form: Mapping[str, str]) -> dict[str, Any]:
        token, quirks = form.get("refresh_token", ""), self.behaviour
        sign_in = next((one for one in self.sign_ins if token in one.refresh_tokens), None)
        over = RefusedError(quirks.over, quirks.over_status)
        if sign_in is None or sign_in.over or sign_in.refreshes == quirks.session:
            raise over
        if quirks.refresh == "single-use" and sign_in.refresh_tokens[token]:
            sign_in.over = True
            raise over
        sign_in.refresh_tokens[token] = True
        sign_in.refreshes += 1
        said = self._tokens(sign_in)
        return said if quirks.refresh == "reusable" else {**said, "refresh_token": self._new_refresh_token(sign_in)}

    def _itself(self, form: Mapping[str, str]) -> dict[str, Any]:
        return self._tokens(SignIn(CLIENT_ID, dict(form)))

    def _owner(self, token: str) -> SignIn | None:
        return next((one for one in self.sign_ins if not one.over and token in one.access_tokens), None)

    async def _userinfo(self, request: web.Request) -> web.Response:
        sign_in = self._owner(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if sign_in is None:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return web.json_response({"sub": "0042", **_filled(self.behaviour.knows, sign_in.person)})

    async def _introspect(self, request: web.Request) -> web.Response:
        form = await self._form(request)
        self._authenticate(request, form)
        sign_in = self._owner(form["token"])
        if sign_in is None:
            return web.json_response({"active": False})
        return web.json_response({"active": True, "client_id": CLIENT_ID, **_filled(self.behaviour.knows, sign_in.person)})

    async def _revoke(self, request: web.Request) -> web.Response:
        form = await self._form(request)
        self._authenticate(request, form)
        for sign_in in self.sign_ins:
            if form["token"] in sign_in.refresh_tokens or form["token"] in sign_in.access_tokens:
                sign_in.over = True
        return web.Response()

    async def _exchange(self, request: web.Request) -> web.Response:
        """The warehouse: it trusts the provider, so it asks nothing of the client."""
        return self._exchanged(await self._form(request))

    def _exchanged(self, form: Mapping[str, str]) -> web.Response:
        if form.get("grant_type") != TOKEN_EXCHANGE:
            raise RefusedError("unsupported_grant_type")
        sign_in = self._owner(form.get("subject_token", ""))
        if sign_in is None:
            raise RefusedError("invalid_request")
        issued = {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer"}
        return web.json_response({"access_token": f"warehouse-{sign_in.person}", "expires_in": 3599, **issued})
