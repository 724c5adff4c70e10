"""An API server and a provider for one process with the controller, in which whoever tests says what happens next.

Each request and each answer waits at a gate, and so does each line of a watch: any order that a network can bring can be played.
"""

import asyncio
import copy
import itertools
from contextlib import suppress
from datetime import timedelta

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from cube_oauth.controller import handlers
from cube_oauth.controller.engine import Controller
from cube_oauth.controller.keys import Keys
from cube_oauth.controller.metrics import Metrics
from cube_oauth.controller.settings import Settings
from cube_oauth.kube.api import OAUTH_APPS, USER_CREDENTIALS, Api, KubeError
from cube_oauth.providers import TokenAnswer
from cube_oauth.providers.errors import INVALID_GRANT, error
from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.meta import rfc3339
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.usercredential import UserCredential
from cube_oauth.settings import Installation

KEYS = Keys(Keyring.generate(), Keyring.generate(), SealingKey.generate())
INSTALLATION = Installation("co", "system", "tokens", ("team",), "https://portal.example.com")
SETTINGS = Settings(INSTALLATION, "me", None, None, ("", 0), 4)


class Gates:
    """Who waits to be let through; everybody is, once they are ``open``."""

    def __init__(self):
        self.waiting, self.open = [], False

    async def __call__(self, what):
        if self.open:
            await asyncio.sleep(0)
            return
        gate = asyncio.get_running_loop().create_future()
        self.waiting.append((what, gate))
        try:
            await gate
        finally:
            self.waiting = [one for one in self.waiting if one[1] is not gate]

    def let(self, number, fault=None):
        """The one at this place through, or ``fault`` instead; whose turn it is in what order is the test's choice."""
        _, gate = self.waiting.pop(number % len(self.waiting))
        gate.set_exception(fault) if fault else gate.set_result(None)

    def let_all(self):
        self.open = True
        while self.waiting:
            self.let(0)


async def at_rest():
    """Until nobody can go on without being let through, or without time."""
    loop, busy = asyncio.get_running_loop(), True
    while busy:
        await asyncio.sleep(0)
        busy = bool(loop._ready)


class Server:
    """Objects by path, with resource versions, generations and watches (Kubernetes, "API Concepts"), as far as we use them."""

    def __init__(self, clock):
        self.objects, self.version, self.log, self.writes, self.streams = {}, 100, [], [], {}
        self._clock = clock

    # ---- what others do, at once

    def put(self, path, body):
        """Create or replace; nothing when it is so already."""
        known, body = self.objects.get(path), copy.deepcopy(body)
        meta = body["metadata"]
        now = rfc3339(self._clock.now())
        made = {"uid": f"uid-{self.version}", "creationTimestamp": now, "generation": 0, "resourceVersion": ""}
        meta.update({name: (known["metadata"] if known else made)[name] for name in made})
        if known == body:
            return known
        self.version += 1
        meta["generation"] += not known or known.get("spec") != body.get("spec")
        meta["resourceVersion"] = str(self.version)
        self.objects[path] = body
        self._tell("MODIFIED" if known else "ADDED", path, body)
        return body

    def change(self, path, **parts):
        """As a merge patch does, one level deep."""
        known = self.objects[path]
        return self.put(path, {**known, **{part: {**known.get(part, {}), **change} for part, change in parts.items()}})

    def remove(self, path):
        body = self.objects.pop(path, None)
        if body is not None:
            self.version += 1
            self._tell("DELETED", path, {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}})
        return body

    def _tell(self, kind, path, body):
        self.log.append((self.version, kind, path, copy.deepcopy(body)))
        for news in self.streams:
            news.set()

    # ---- what a process asks for

    def serve(self, method, path, query, body, content_type):
        known = self.objects.get(path)
        if method == "GET" and path.rsplit("/", 1)[1] in ("oauthapps", "usercredentials", "secrets"):
            items = [item for at, item in self.objects.items() if within(at, path, query, item)]
            return {"items": items, "metadata": {"resourceVersion": str(self.version)}}
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise KubeError(409, "AlreadyExists", path)
            return self._written(method, path, body)
        if known is None:
            raise KubeError(404, "NotFound", path)
        if method == "GET":
            return known
        wanted = (body or {}).get("preconditions") or (body or {}).get("metadata") or {}
        if any(wanted.get(name) not in (None, known["metadata"][name]) for name in ("uid", "resourceVersion")):
            raise KubeError(409, "Conflict", path)
        if method == "DELETE":
            self.writes.append((method, path))
            return self.remove(path)
        if "apply" in content_type:
            demand = {key: value for key, value in known.get("status", {}).items() if key == "demand"}  # the broker's
            body = {**known, "status": {**body["status"], **demand}}
        return self._written(method, path, body)

    def _written(self, method, path, body):
        self.writes.append((method, path))
        return self.put(path, body)


def within(at, collection, query, item):
    label, _, value = query.get("labelSelector", "").partition("=")
    return at.rsplit("/", 1)[0] == collection and (not label or (item["metadata"].get("labels") or {}).get(label) == value)


class SimulatedApi(Api):
    """One process's way to the server."""

    def __init__(self, server, gates):
        self._server, self._gates = server, gates

    async def request(self, method, path, *, query=None, body=None, content_type="", request_timeout=0):
        body = copy.deepcopy(body)
        await self._gates(f"{method} {path}")
        try:
            answer = copy.deepcopy(self._server.serve(method, path.removesuffix("/status"), query or {}, body, content_type))
        except KubeError as refusal:
            await self._gates(f"refusal of {method} {path}")
            raise refusal from None
        await self._gates(f"answer to {method} {path}")
        return answer

    async def lines(self, path, query, read_timeout):
        told, place, news = int(query["resourceVersion"]), 0, asyncio.Event()
        self._server.streams[news] = None  # a set would wake them in any order
        try:
            while True:
                news.clear()
                for version, kind, at, item in self._server.log[place:]:
                    place += 1
                    if version > told and within(at, path, query, item):
                        await self._gates(f"watch of {at}")
                        yield {"type": kind, "object": copy.deepcopy(item)}
                await news.wait()
        finally:
            self._server.streams.pop(news, None)


class Provider:
    """Codes and refresh tokens work once; one that comes twice ends its sign-in (RFC 6749, section 4.1.2; RFC 9700, 4.14.2)."""

    def __init__(self):
        self.count, self.requests, self.codes = itertools.count(1), 0, {}
        self.alive, self.reused = {}, []
        """The newest refresh token of each sign-in that is not over, and the sign-ins that ended because one came twice."""

    def exchange(self, code):
        if code in self.codes:
            self.alive.pop(self.codes[code], None)
            raise error(INVALID_GRANT)
        self.codes[code] = f"sign-in-{next(self.count)}"
        return self._next(self.codes[code])

    def redeem(self, token):
        sign_in = token.partition("/")[0]
        if self.alive.get(sign_in) != token:
            self.reused += [sign_in] if self.alive.pop(sign_in, None) else []
            raise error(INVALID_GRANT)
        return self._next(sign_in)

    def revoke(self, token):
        self.alive.pop(token.partition("/")[0], None)

    def _next(self, sign_in):
        self.alive[sign_in] = f"{sign_in}/{next(self.count)}"
        return TokenAnswer(SecretStr(f"access-of-{sign_in}"), SecretStr(self.alive[sign_in]), expires_in=timedelta(hours=1))


class SimulatedClient:
    """One process's way to the provider."""

    def __init__(self, provider, gates):
        self._provider, self._gates = provider, gates

    async def exchange_code(self, endpoints, client, *, code, **_):
        return await self._asked(self._provider.exchange, code)

    async def refresh(self, endpoints, client, refresh_token, *, within=None):
        return await self._asked(self._provider.redeem, refresh_token)

    async def revoke(self, endpoints, client, token, hint="refresh_token"):
        return await self._asked(self._provider.revoke, token)

    async def _asked(self, serve, secret):
        await self._gates("to the provider")
        self._provider.requests += 1
        try:
            return serve(secret.get_secret_value())
        finally:
            await self._gates("from the provider")


class Idle:
    """A part of the controller that has nothing to do with it."""

    async def run(self):
        await asyncio.Event().wait()


class Running:
    """A controller as its process runs it, but for kopf, whose watches are played, and for parts that are of no interest here."""

    def __init__(self, server, provider, clock, monkeypatch):
        monkeypatch.setattr(handlers, "serve", watches)
        self.gates = Gates()
        api, client = SimulatedApi(server, self.gates), SimulatedClient(provider, self.gates)
        self.controller = Controller(api, SETTINGS, None, KEYS, client, Metrics(CollectorRegistry()), clock)
        for part in ("_certificates", "_keyrings", "_sidecars"):
            setattr(self.controller, part, Idle())
        self.controller._events.run = Idle().run
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self.controller.run(asyncio.Event(), self._stop))

    async def end(self):
        self._stop.set()
        await asyncio.wait_for(self._task, 10)


async def watches(api, listener, namespaces, stop):
    """What kopf does with our handlers: list, tell everything, then tell what changes."""

    def tell_app(kind, item):
        app = OAuthApp.model_validate(item)
        listener.lost_app(app) if kind == "DELETED" else listener.saw_app(app)

    def tell_credential(kind, item):
        meta = item["metadata"]
        if kind == "DELETED" or not listener.knows_credential(
            (meta["namespace"], meta["name"]), meta["uid"], meta["resourceVersion"]
        ):
            credential = UserCredential.model_validate(item)
            listener.lost_credential(credential) if kind == "DELETED" else listener.saw_credential(credential)

    async def follow(resource, tell):
        while True:
            with suppress(KubeError):
                found = await api.list(resource, "team")
                for item in found["items"]:
                    tell("ADDED", item)
                async for event in api.lines(resource.path("team"), {"resourceVersion": found["metadata"]["resourceVersion"]}, 0):
                    tell(event["type"], event["object"])

    async with asyncio.TaskGroup() as group:
        group.create_task(follow(OAUTH_APPS, tell_app))
        group.create_task(follow(USER_CREDENTIALS, tell_credential))
