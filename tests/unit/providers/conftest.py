"""A provider on 127.0.0.1 that answers what a test tells it to, and a client that is allowed to call it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from cube_oauth.providers import ClientCredentials, Endpoints, ProviderClient, Transport
from cube_oauth.resources.oauthapp import ClientAuthentication, OAuthApp

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
LOCAL = (ip_network("127.0.0.0/8"),)


@dataclass
class Received:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]
    body: str
    peer: tuple[str, int]
    """The address at the other end of the connection."""


@dataclass
class Said:
    """One answer."""

    body: bytes | str | dict[str, Any] = b""
    status: int = 200
    content_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0

    async def respond(self) -> web.Response:
        await asyncio.sleep(self.delay)
        if isinstance(self.body, dict):
            return web.json_response(self.body, status=self.status, headers=self.headers)
        body = self.body.encode() if isinstance(self.body, str) else self.body
        content_type = self.content_type or "application/json"
        return web.Response(body=body, status=self.status, headers=self.headers, content_type=content_type)


class FakeProvider:
    """Answers by path; what it has no answer for is 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Said] = {}
        self.received: list[Received] = []
        self.server = TestServer(self._app(), host="127.0.0.1")

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        body, peer = await request.text(), request.get_extra_info("peername")
        self.received.append(Received(request.method, request.path, dict(request.headers), form, body, peer))
        return await self.answers.get(request.path, Said("not found", 404, "text/plain")).respond()

    def says(self, body: bytes | str | dict[str, Any] = b"", status: int = 200, path: str = "/token", **more: Any) -> None:
        self.answers[path] = Said(body, status, **more)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def last(self) -> Received:
        return self.received[-1]

    def endpoints(self, **more: Any) -> Endpoints:
        known = {
            "authorization_url": f"{self.url}/authorize",
            "token_url": f"{self.url}/token",
            "revocation_url": f"{self.url}/revoke",
            "client_authentication": ClientAuthentication.BASIC,
        }
        return Endpoints(**{**known, **more})


@pytest.fixture
async def provider():
    fake = FakeProvider()
    async with fake.server:
        yield fake


@pytest.fixture
async def client():
    transport = Transport(allowed=LOCAL, plain_http=True, timeout=timedelta(minutes=1), clock=lambda: NOW)
    async with ProviderClient(transport) as opened:
        yield opened


@pytest.fixture
async def skip(monkeypatch):
    """Let seconds pass at once, for every timer of the event loop, and for the connections that aiohttp keeps."""
    loop, skipped = asyncio.get_running_loop(), []
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + sum(skipped))
    monkeypatch.setattr("aiohttp.connector.monotonic", loop.time)
    return skipped.append


@pytest.fixture
def credentials():
    return ClientCredentials("the-client", SecretStr("the-secret"))


@pytest.fixture
def make_app():
    """Make an OAuthApp from the fields of its spec, as in YAML."""

    def make(**spec: Any) -> OAuthApp:
        known = {"clientID": "the-client", "clientSecretRef": {"name": "client"}}
        return OAuthApp.model_validate({"metadata": {"name": "warehouse"}, "spec": {**known, **spec}})

    return make
