"""A client of a real provider, and a person who signs in there."""

import asyncio
import json
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc.jwk import ECKey
from multidict import MultiDict
from pydantic import SecretStr

from cube_oauth.lifecycle.authorize import identified
from cube_oauth.providers import (
    ClientCredentials,
    ProviderError,
    authorization_url,
    needs_discovery,
    new_verifier,
    read_callback,
    resolve_app,
    said_of_person,
)
from cube_oauth.providers.discovery import discover
from cube_oauth.resources.oauthapp import OAuthApp
from tests.conformance.emulator import REDIRECT_URI
from tests.parts.provider import PASSWORD, sign_in

KEY = ECKey.generate_key("P-256", {"kid": "k", "use": "sig"})
SCOPES = ["openid", "offline_access", "query"]


class Certified:
    """What portal and controller do, as one of the provider's clients."""

    def __init__(self, certified, client, client_id, **spec):
        self.issuer, self.ca = certified.issuer, certified.ca
        self.client, self.client_id, self.spec = client, client_id, spec
        secret = json.dumps(KEY.as_dict(private=True)) if client_id == "private_key_jwt" else "the-secret"
        self.credentials = ClientCredentials(client_id, None if client_id == "none" else SecretStr(secret))

    async def prepare(self):
        spec = {"issuerURL": self.issuer, "clientID": self.client_id, "clientSecretRef": {"name": "c"}, **self.spec}
        self.app = OAuthApp.model_validate({"metadata": {"name": "warehouse"}, "spec": {"scopes": SCOPES, **spec}})
        self.pkce = self.app.spec.pkce
        issuer = needs_discovery(self.app)
        self.endpoints = resolve_app(self.app, await discover(self.client, issuer) if issuer else None)
        return self

    async def code(self, person="alice"):
        verifier = new_verifier() if self.pkce else None
        url = authorization_url(
            self.endpoints, self.client_id, redirect_uri=REDIRECT_URI, state="s", nonce="n", code_verifier=verifier
        )
        back = await asyncio.to_thread(sign_in, url, person, PASSWORD, until=REDIRECT_URI, ca=self.ca)
        query = MultiDict(parse_qsl(urlsplit(back).query))
        assert query.get("iss") == self.issuer  # RFC 9207
        return read_callback(query, "s", self.endpoints.issuer, iss_required=self.endpoints.iss_required), verifier

    async def redeem(self, code, verifier):
        return await self.client.exchange_code(
            self.endpoints, self.credentials, code=code, redirect_uri=REDIRECT_URI, code_verifier=verifier
        )

    async def connect(self, person="alice"):
        return await self.redeem(*await self.code(person))

    async def refresh(self, token):
        return await self.client.refresh(self.endpoints, self.credentials, token)

    async def who(self, answer):
        said = await said_of_person(self.client, self.endpoints, self.credentials, answer, nonce="n", now=datetime.now(UTC))
        return identified(self.endpoints.subject, "alice", said)


async def refused(awaitable):
    with pytest.raises(ProviderError) as caught:
        await awaitable
    return caught.value.kind.value, caught.value.reason
