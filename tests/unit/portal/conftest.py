"""The real pages over HTTP; the API server is a dictionary, the log-in provider is told who comes, the clock is turned by hand."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from cube_oauth.kube.api import CONFIG_MAPS, OAUTH_APPS, SECRETS, USER_CREDENTIALS, KubeError
from cube_oauth.portal.cluster import Cluster
from cube_oauth.portal.cookies import SealedCookie
from cube_oauth.portal.oidc import LogIn, Person
from cube_oauth.portal.portal import Portal
from cube_oauth.portal.routes import application
from cube_oauth.portal.session import PENDING_COOKIE, SESSION_COOKIE, Pending, Session
from cube_oauth.portal.settings import LogInSettings, PortalSettings
from cube_oauth.portal.visit import Cookies
from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.secrets import ClientDeposit, Grant, decode
from cube_oauth.settings import Installation

ORIGIN = "https://portal.example.com"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BROWSER = {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}


def app_of(name="trino", *, namespace="analytics", spec=None, status=None, ready="True", reason="Ready", message="", generation=1):
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": generation},
        "spec": {"clientID": "client", "issuerURL": "https://idp.example.com", **(spec or {})},
        "status": {
            "observedGeneration": 1,
            "issuer": "https://idp.example.com",
            "authorizationURL": "https://idp.example.com/authorize",
            "tokenURL": "https://idp.example.com/token",
            "scopes": ["openid", "query"],
            "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": message}],
            **(status or {}),
        },
    }


def credential_of(
    username="alice", app="trino", *, name="one", namespace="analytics", spec=None, status=None, created=NOW, deleted=False
):
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "creationTimestamp": created.isoformat(),
            **({"deletionTimestamp": NOW.isoformat()} if deleted else {}),
        },
        "spec": {"username": username, "oauthAppRef": {"name": app}, **(spec or {})},
        "status": status or {},
    }


class FakeApi:
    """An API server with its objects in a dictionary; what is written reaches the mirrors at once, or after ``lag`` seconds."""

    def __init__(self):
        self.objects = {}
        self.cluster = None
        self.calls = []
        self.lag = 0
        self.broken = None
        self.refuses = None
        self.before_write = lambda: None
        self.on_grant = lambda _grant: None

    def put(self, resource, body):
        meta = body["metadata"]
        self.objects[resource.plural, meta["namespace"], meta["name"]] = body
        self._mirror(resource, meta, body)

    def _mirror(self, resource, meta, body):
        if self.lag:
            asyncio.get_running_loop().call_later(self.lag, self._reach_mirrors, resource, meta, body)
        else:
            self._reach_mirrors(resource, meta, body)

    def _reach_mirrors(self, resource, meta, body):
        mirrors = {"oauthapps": self.cluster._apps, "usercredentials": self.cluster._credentials}.get(resource.plural, ())
        for mirror in mirrors:
            if body is None:
                mirror.discard((meta["namespace"], meta["name"]))
            else:
                mirror.put(body)

    async def get(self, resource, name, namespace=None):
        self._called("get", resource)
        return self.objects.get((resource.plural, namespace, name))

    async def create(self, resource, body, namespace=None):
        self._called("create", resource)
        meta = body["metadata"]
        if (resource.plural, namespace, meta["name"]) in self.objects:
            raise KubeError(409, "AlreadyExists", "POST")
        if self.refuses and resource is self.refuses:
            raise KubeError(422, "Invalid", "POST")
        stored = {**body, "metadata": {"uid": f"uid-{meta['name']}", "creationTimestamp": NOW.isoformat(), **meta}}
        self.put(resource, stored)
        if resource is SECRETS:
            self.on_grant(stored)
        return stored

    async def merge(self, resource, name, body, namespace=None):
        """A merge patch, compared with the resource version as the API server does."""
        self._called("patch", resource)
        self.before_write()
        found = self.objects[resource.plural, namespace, name]
        if any(found["metadata"].get(field, "") != value for field, value in body["metadata"].items()):
            raise KubeError(409, "Conflict", "PATCH")
        if self.refuses and resource is self.refuses:
            raise KubeError(422, "Invalid", "PATCH")
        self.change(resource, name, namespace, merged(found["spec"], body["spec"]))
        return self.objects[resource.plural, namespace, name]

    def change(self, resource, name, namespace, spec=None):
        """A write: with a spec of the spec, otherwise of the status."""
        found = self.objects[resource.plural, namespace, name]
        meta = found["metadata"]
        written = {**meta, "resourceVersion": f"{meta.get('resourceVersion', '')}+", "generation": meta["generation"] + bool(spec)}
        self.put(resource, {**found, "metadata": written, **({"spec": spec} if spec else {})})

    async def delete(self, resource, name, namespace=None, *, uid=None, resource_version=None):
        self._called("delete", resource)
        self.before_write()
        found = self.objects.get((resource.plural, namespace, name))
        if found is None:
            return False
        if uid != found["metadata"]["uid"] or resource_version not in (None, "", found["metadata"].get("resourceVersion")):
            raise KubeError(409, "Conflict", "DELETE")
        del self.objects[resource.plural, namespace, name]
        self._mirror(resource, {"namespace": namespace, "name": name}, None)
        return True

    def _called(self, verb, resource):
        self.calls.append((verb, resource.plural))
        if self.broken:
            raise self.broken


def merged(before, patch):
    """RFC 7386."""
    parts = {key: merged(before.get(key) or {}, value) if isinstance(value, dict) else value for key, value in patch.items()}
    return {key: value for key, value in {**before, **parts}.items() if value is not None}


class Browser:
    """Keeps cookies as a browser does (over the tests' plain HTTP, where aiohttp's own jar would not send Secure ones)."""

    def __init__(self, client, world):
        self.client = client
        self.world = world
        self.cookies = {}

    async def get(self, path, **kwargs):
        return await self._request("GET", path, **kwargs)

    async def post(self, path, data=None, headers=BROWSER):
        form = {"token": self.token(), **(data or {})}
        return await self._request("POST", path, data=form, headers=headers)

    async def _request(self, method, path, headers=None, **kwargs):
        sent = {**(headers or {}), "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        answer = await self.client.request(method, path, headers=sent, allow_redirects=False, **kwargs)
        answer.html = await answer.text()
        for line in answer.headers.getall("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer

    def log_in(self, username="alice", groups=()):
        """As if they came back from the log-in provider."""
        session = Session.begin(username, tuple(groups), self.world.now)
        self.cookies[SESSION_COOKIE] = self.world.cookies.session.sealed(session)
        return self

    @property
    def session(self):
        value = self.cookies.get(SESSION_COOKIE)
        return self.world.cookies.session.opened(value) if value else None

    @property
    def pending(self):
        """What is under way, the oldest first; a browser keeps its cookies in this order, too."""
        sealed = {name: value for name, value in self.cookies.items() if name.startswith(PENDING_COOKIE)}
        return tuple(SealedCookie(name, Pending, self.world.cookies._ring).opened(value) for name, value in sealed.items())

    def token(self):
        return self.session.new_form_token() if self.session else ""

    async def begin(self, app="analytics/trino"):
        """Press Authorize; gives the state that was sent to the provider."""
        answer = await self.post(f"/connect/{app}")
        assert answer.status == 200, answer.html
        return self.pending[-1].state


class World(SimpleNamespace):
    """Everything that a test may turn."""

    def later(self, **delta):
        self.now += timedelta(**delta)

    def add_app(self, *args, **kwargs):
        self.api.put(OAUTH_APPS, app_of(*args, **kwargs))

    def add_credential(self, *args, **kwargs):
        self.api.put(USER_CREDENTIALS, credential_of(*args, **kwargs))

    def change_behind_the_watch(self, credential, **changes):
        """The API server has a newer version of it than the portal has heard of."""
        for version, body in enumerate((credential, {**credential, **changes}), 1):
            self.api.put(USER_CREDENTIALS, {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}})
            self.api.lag = 60

    def credentials(self):
        return [body for (plural, *_), body in self.api.objects.items() if plural == "usercredentials"]

    def grants(self):
        secrets = [body for (plural, *_), body in self.api.objects.items() if plural == "secrets"]
        return [self.grant(secret) for secret in secrets if "grant" in decode(secret)]

    def grant(self, secret):
        return Grant.model_validate_json(self.key.open(decode(secret)["grant"]).get_secret_value())

    def deposits(self):
        """What was handed to the controller beside grants."""
        secrets = [body for (plural, *_), body in self.api.objects.items() if plural == "secrets"]
        opened = [self.key.open(decode(body)["client"]) for body in secrets if "client" in decode(body)]
        return [ClientDeposit.model_validate_json(value.get_secret_value()) for value in opened]

    def controller(self, **status):
        """From now on each grant is answered with this status."""

        def answer(secret):
            if "grant" not in decode(secret):
                return
            grant = self.grant(secret)
            body = self.api.objects["usercredentials", grant.credential.namespace, grant.credential.name]
            self.api.put(USER_CREDENTIALS, {**body, "status": {**body.get("status", {}), **status}})

        self.api.on_grant = answer


class LogInProvider(LogIn):
    """Says who came; nobody is asked."""

    def __init__(self, settings):
        self.settings = settings
        self.says = Person("alice", ())
        self.ends = "https://login.example.com/end?client_id=portal"

    async def log_out_url(self):
        return self.ends

    async def begin(self, next_page, now):
        pending = Pending(purpose="login", nonce="n", verifier="v", began=int(now.timestamp()), next=next_page)
        return pending, f"https://login.example.com/authorize?state={pending.state}"

    async def finish(self, query, pending, now):
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


INSTALLATION = Installation("cube-oauth", "cube-oauth", "cube-oauth-tokens", ("analytics",), ORIGIN)
LOG_IN = LogInSettings("https://login.example.com", "portal", None, ("openid",), "sub", "groups")


def settings_of(url=ORIGIN):
    installation = Installation("cube-oauth", "cube-oauth", "cube-oauth-tokens", ("analytics",), url)
    return PortalSettings(installation, LOG_IN, ("127.0.0.1", 0), ("127.0.0.1", 0), None, Path("ring"), None, ())


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.connect.PATIENCE", 0.05)
    monkeypatch.setattr("cube_oauth.portal.cluster.LAG", 0.5)
    api, ring, key = FakeApi(), Keyring.generate(), SealingKey.generate()
    cluster = Cluster(api, INSTALLATION)
    api.cluster = cluster
    for mirror in (*cluster._apps, *cluster._credentials):
        mirror.synced.set()
    key_map = {
        "metadata": {"namespace": "cube-oauth", "name": "cube-oauth-grant-key"},
        "data": {"ring": key.to_json(private=False)},
    }
    api.put(CONFIG_MAPS, key_map)
    cookies = Cookies(lambda: ring)
    made = World(api=api, cluster=cluster, cookies=cookies, key=key, now=NOW)
    made.log_in = LogInProvider(LOG_IN)
    made.portal = Portal(settings_of(), cluster, cookies, made.log_in, clock=lambda: made.now)
    return made


@pytest.fixture
async def browser(world):
    async with TestClient(TestServer(application(world.portal))) as client:
        yield Browser(client, world)


@pytest.fixture
def other_browser(browser):
    return Browser(browser.client, browser.world)


def refused(answer):
    """The word of the refusal on the page."""
    found = re.search(r'data-refused="(\w+)"', answer.html)
    return found.group(1) if found else None


def secret(value):
    return SecretStr(value)
