"""The provider's token becomes the warehouse's own (RFC 8693)."""

from datetime import timedelta

import pytest
from pydantic import SecretStr

from cube_oauth.providers import ProviderError, TokenAnswer, resolve_app
from cube_oauth.providers.presets import Exchange

ANSWER = TokenAnswer(
    SecretStr("the-providers"),
    SecretStr("the-refresh-token"),
    SecretStr("the-id-token"),
    expires_in=timedelta(days=1),
    scopes=("openid",),
)
GIVEN = {"access_token": "the-warehouses", "expires_in": 3600, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
ISSUER = "https://idp.example.com"
DREMIO = {"name": "dremio", "parameters": {"host": "dremio.example.com:9047"}}


def exchange(client, provider, credentials, answer=ANSWER, **asked):
    provider.says(GIVEN) if not provider.answers else None
    endpoints = provider.endpoints(exchange=Exchange(f"{provider.url}/token", **asked))
    return client.exchange_token(endpoints, credentials, answer)


async def test_the_access_token_is_the_warehouses_and_the_refresh_token_the_providers(provider, client, credentials):
    found = await exchange(client, provider, credentials, scopes=("dremio.all",))
    assert (found.access_token.get_secret_value(), found.refresh_token.get_secret_value()) == (
        "the-warehouses",
        "the-refresh-token",
    )
    assert (found.expires_in, found.scopes) == (timedelta(hours=1), ("dremio.all",))


async def test_the_request_says_what_the_rfc_wants(provider, client, credentials):
    await exchange(client, provider, credentials, audience="warehouse", resource="https://w.example.com", scopes=("a", "b"))
    assert provider.last.form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "the-providers",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "audience": "warehouse",
        "resource": "https://w.example.com",
        "scope": "a b",
    }


async def test_an_id_token_may_be_exchanged_for_a_token_of_a_kind(provider, client, credentials):
    wanted = "urn:ietf:params:oauth:token-type:jwt"
    await exchange(client, provider, credentials, subject_token="IDToken", requested_token_type=wanted)
    assert provider.last.form["subject_token"] == "the-id-token"
    assert provider.last.form["subject_token_type"] == "urn:ietf:params:oauth:token-type:id_token"
    assert provider.last.form["requested_token_type"] == wanted


@pytest.mark.parametrize("authenticated", [True, False])
async def test_the_client_proves_itself_only_where_it_may(provider, client, credentials, authenticated):
    await exchange(client, provider, credentials, authenticated=authenticated)
    assert ("Authorization" in provider.last.headers) is authenticated
    assert "the-secret" not in provider.last.body
    assert "client_id" not in provider.last.form


async def test_without_an_exchange_the_answer_stays_as_it_is(provider, client, credentials):
    assert await client.exchange_token(provider.endpoints(), credentials, ANSWER) is ANSWER
    assert provider.received == []


async def test_without_an_id_token_nothing_is_sent_and_the_app_is_told(provider, client, credentials):
    with pytest.raises(ProviderError) as caught:
        await exchange(client, provider, credentials, TokenAnswer(SecretStr("a")), subject_token="IDToken")
    assert (caught.value.kind, caught.value.reason, caught.value.sent) == ("App", "SubjectTokenMissing", False)
    assert provider.received == []


REFUSALS = {
    "a person whom the warehouse does not know": (400, {"error": "invalid_request"}, "User", "TokenNotExchanged"),
    "the same, said otherwise": (400, {"error": "invalid_grant"}, "User", "TokenNotExchanged"),
    "a warehouse that denies it": (403, {"error": "access_denied"}, "User", "TokenNotExchanged"),
    "an audience that it does not know": (400, {"error": "invalid_target"}, "App", "InvalidTarget"),
    "a grant type that it does not know": (400, {"error": "unsupported_grant_type"}, "App", "UnsupportedGrantType"),
    "a wrong address": (404, "not found", "App", "EndpointNotFound"),
    "a bad day": (503, b"", "Weather", "ProviderUnavailable"),
    "a page": (200, "<html>", "Weather", "UnreadableAnswer"),
}


@pytest.mark.parametrize(("status", "body", "kind", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_refusal(provider, client, credentials, status, body, kind, reason):
    provider.says(body, status)
    with pytest.raises(ProviderError) as caught:
        await exchange(client, provider, credentials)
    assert (caught.value.kind, caught.value.reason) == (kind, reason)


def test_dremio_exchanges_by_itself(make_app):
    found = resolve_app(make_app(provider=DREMIO, authorizationURL=f"{ISSUER}/a", tokenURL=f"{ISSUER}/t")).exchange
    assert found == Exchange(
        "https://dremio.example.com:9047/oauth/token",
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",
        scopes=("dremio.all",),
    )


def test_the_spec_overrides_the_presets_exchange(make_app):
    asked = {"subjectToken": "IDToken", "scopes": ["dremio.some"], "audience": "w"}
    app = make_app(provider=DREMIO, authorizationURL=f"{ISSUER}/a", tokenURL=f"{ISSUER}/t", tokenExchange=asked)
    found = resolve_app(app).exchange
    assert (found.subject_token, found.scopes, found.audience) == ("IDToken", ("dremio.some",), "w")
    assert found.token_url == "https://dremio.example.com:9047/oauth/token"


@pytest.mark.parametrize(
    ("url", "authenticated"),
    [(f"{ISSUER}/exchange", True), ("https://idp.example.com.evil.example/t", False), (f"{ISSUER}:8443/t", False)],
)
def test_the_secret_goes_to_the_token_endpoints_origin_only(make_app, url, authenticated):
    app = make_app(authorizationURL=f"{ISSUER}/a", tokenURL=f"{ISSUER}/t", tokenExchange={"tokenURL": url})
    assert resolve_app(app).exchange.authenticated is authenticated


def test_others_exchange_nothing(make_app):
    assert resolve_app(make_app(authorizationURL=f"{ISSUER}/a", tokenURL=f"{ISSUER}/t")).exchange is None
