"""One provider from a row, a client that may call it, and a person who signs in there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
from multidict import MultiDict
from pydantic import SecretStr

from cube_oauth.lifecycle.authorize import Identified, identified
from cube_oauth.providers import (
    ClientCredentials,
    Endpoints,
    ProviderClient,
    TokenAnswer,
    Transport,
    authorization_url,
    needs_discovery,
    new_verifier,
    read_callback,
    resolve_app,
    said_of_person,
)
from cube_oauth.providers.discovery import discover
from cube_oauth.resources.oauthapp import OAuthApp
from tests.conformance.emulator import CLIENT_ID, CLIENT_KEY, CLIENT_SECRET, REDIRECT_URI, Emulator
from tests.conformance.rows import ROWS, USERNAME, Row


@dataclass
class Run:
    """A row with everything that a test needs; its methods are what portal and controller do."""

    row: Row
    app: OAuthApp
    party: Emulator
    client: ProviderClient
    endpoints: Endpoints
    credentials: ClientCredentials
    nonce: str = "the-nonce"

    async def callback(self, person: str = USERNAME) -> tuple[MultiDict[str], SecretStr | None]:
        """What comes back to the redirect URI once the person has signed in, and the verifier."""
        verifier = new_verifier() if self.app.spec.pkce else None
        url = authorization_url(
            self.endpoints, CLIENT_ID, redirect_uri=REDIRECT_URI, state="the-state", nonce=self.nonce, code_verifier=verifier
        )
        async with (
            aiohttp.ClientSession() as browser,
            browser.get(url, headers={"X-Person": person}, allow_redirects=False) as answer,
        ):
            assert answer.status == 302, await answer.text()
            return MultiDict(parse_qsl(urlsplit(answer.headers["Location"]).query)), verifier

    def code(self, query: MultiDict[str]) -> SecretStr:
        return read_callback(query, "the-state", self.endpoints.issuer, iss_required=self.endpoints.iss_required)

    async def redeem(self, code: SecretStr, verifier: SecretStr | None) -> TokenAnswer:
        return await self.client.exchange_code(
            self.endpoints, self.credentials, code=code, redirect_uri=REDIRECT_URI, code_verifier=verifier
        )

    async def connect(self, person: str = USERNAME) -> TokenAnswer:
        query, verifier = await self.callback(person)
        return await self.redeem(self.code(query), verifier)

    async def refresh(self, refresh_token: SecretStr) -> TokenAnswer:
        return await self.client.refresh(self.endpoints, self.credentials, refresh_token)

    async def who(self, answer: TokenAnswer) -> Identified:
        now = datetime.now(UTC)
        said = await said_of_person(self.client, self.endpoints, self.credentials, answer, nonce=self.nonce, now=now)
        return identified(self.endpoints.subject, USERNAME, said)


def app_of(row: Row, url: str) -> OAuthApp:
    """The OAuthApp as the administrator writes it."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(part) for name, part in value.items()}
        return value.replace("{url}", url) if isinstance(value, str) else value

    spec = {"clientID": CLIENT_ID, "clientSecretRef": {"name": "client"}, **filled(dict(row.spec))}
    return OAuthApp.model_validate({"metadata": {"name": "warehouse"}, "spec": spec})


def _here(endpoints: Endpoints, party: Emulator) -> Endpoints:
    """A preset's addresses are the real provider's: the same paths, at the emulated one."""
    urls = ("authorization_url", "token_url", "revocation_url", "subject_url")
    exchange = endpoints.exchange and replace(endpoints.exchange, token_url=party.local(endpoints.exchange.token_url))
    return replace(endpoints, exchange=exchange, **{name: party.local(getattr(endpoints, name)) for name in urls})


@pytest.fixture
async def client():
    async with ProviderClient(Transport(allowed=(ip_network("127.0.0.0/8"),), plain_http=True)) as opened:
        yield opened


@pytest.fixture(params=ROWS.values(), ids=ROWS.keys())
def row(request):
    return request.param


@pytest.fixture
async def run(row, client):
    party = Emulator(row.behaves)
    async with party.server:
        app = app_of(row, party.url)
        metadata = await discover(client, party.url) if needs_discovery(app) else None
        endpoints = _here(resolve_app(app, metadata), party)
        party.serve(endpoints)
        secret = CLIENT_KEY.as_pem(private=True).decode() if row.behaves.authentication == "private_key_jwt" else CLIENT_SECRET
        public = app.spec.client_secret_ref is None
        yield Run(row, app, party, client, endpoints, ClientCredentials(CLIENT_ID, None if public else SecretStr(secret)))
