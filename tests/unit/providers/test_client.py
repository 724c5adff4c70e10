"""The client over a real socket."""

import asyncio
import base64
import json
import time
from datetime import timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from pydantic import SecretStr

from cube_oauth.providers import ClientCredentials, ProviderClient, ProviderError, Transport
from cube_oauth.resources.oauthapp import ClientAuthentication, RequestFormat
from tests.unit.providers.conftest import LOCAL, NOW

REFRESH_TOKEN = SecretStr("the-refresh-token")
TOKENS = {"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": 600, "token_type": "Bearer"}


async def refused(awaitable):
    with pytest.raises(ProviderError) as caught:
        await awaitable
    return caught.value


async def test_a_refresh_sends_exactly_what_the_rfc_says(provider, client, credentials):
    provider.says(TOKENS)
    found = await client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN)
    assert provider.last.form == {"grant_type": "refresh_token", "refresh_token": "the-refresh-token"}
    assert provider.last.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert provider.last.headers["Accept"] == "application/json"
    assert provider.last.headers["User-Agent"].startswith("cube-oauth-operator/")
    assert found.access_token.get_secret_value() == "new-access"
    assert found.refresh_token.get_secret_value() == "new-refresh"
    assert found.expires_in == timedelta(minutes=10)


async def test_a_code_is_exchanged_with_its_verifier(provider, client, credentials):
    provider.says(TOKENS)
    await client.exchange_code(
        provider.endpoints(),
        credentials,
        code=SecretStr("the-code"),
        redirect_uri="https://portal.example.com/callback/ns/app?x=1",
        code_verifier=SecretStr("v" * 64),
    )
    assert provider.last.form == {
        "grant_type": "authorization_code",
        "code": "the-code",
        "redirect_uri": "https://portal.example.com/callback/ns/app?x=1",
        "code_verifier": "v" * 64,
    }


async def test_without_pkce_no_verifier_is_sent(provider, client, credentials):
    provider.says(TOKENS)
    await client.exchange_code(
        provider.endpoints(), credentials, code=SecretStr("c"), redirect_uri="https://p.example.com", code_verifier=None
    )
    assert "code_verifier" not in provider.last.form


async def test_client_credentials_ask_for_the_scopes(provider, client, credentials):
    provider.says(TOKENS)
    await client.client_credentials(provider.endpoints(scopes=("sql", "x")), credentials, {"resource": "urn:w"})
    assert provider.last.form == {"grant_type": "client_credentials", "scope": "sql x", "resource": "urn:w"}


def basic(provider):
    scheme, value = provider.last.headers["Authorization"].split()
    assert scheme == "Basic"
    return base64.b64decode(value).decode()


async def test_basic_sends_the_secret_in_the_header_only(provider, client, credentials):
    provider.says(TOKENS)
    await client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN)
    assert basic(provider) == "the-client:the-secret"
    assert "secret" not in provider.last.body


async def test_basic_form_encodes_both_halves(provider, client):
    provider.says(TOKENS)
    odd = ClientCredentials("a:b", SecretStr("p+q/r= ü%"))
    await client.refresh(provider.endpoints(), odd, REFRESH_TOKEN)
    assert basic(provider) == "a%3Ab:p%2Bq%2Fr%3D+%C3%BC%25"


async def test_post_sends_the_secret_in_the_body_only(provider, client):
    provider.says(TOKENS)
    odd = ClientCredentials("the-client", SecretStr("p+q&r=ü"))
    await client.refresh(provider.endpoints(client_authentication=ClientAuthentication.POST), odd, REFRESH_TOKEN)
    assert "Authorization" not in provider.last.headers
    assert (provider.last.form["client_id"], provider.last.form["client_secret"]) == ("the-client", "p+q&r=ü")


async def test_none_sends_the_client_id_alone(provider, client):
    provider.says(TOKENS)
    endpoints = provider.endpoints(client_authentication=ClientAuthentication.NONE)
    await client.refresh(endpoints, ClientCredentials("the-client"), REFRESH_TOKEN)
    assert "Authorization" not in provider.last.headers
    assert provider.last.form == {
        "grant_type": "refresh_token",
        "refresh_token": "the-refresh-token",
        "client_id": "the-client",
    }


KEYS = {
    "an RSA key as PEM": (RSAKey.generate_key(2048), "pem", "RS256"),
    "an EC key as PEM": (ECKey.generate_key("P-256"), "pem", "ES256"),
    "a larger EC key as PEM": (ECKey.generate_key("P-384"), "pem", "ES384"),
    "a JWK with its own algorithm and ID": (RSAKey.generate_key(2048, {"alg": "PS256", "kid": "k1"}), "jwk", "PS256"),
}


@pytest.mark.parametrize(("key", "form", "algorithm"), KEYS.values(), ids=KEYS.keys())
async def test_private_key_jwt_sends_a_signed_assertion(provider, client, key, form, algorithm):
    provider.says(TOKENS)
    text = key.as_pem(private=True).decode() if form == "pem" else json.dumps(key.as_dict(private=True))
    endpoints = provider.endpoints(client_authentication=ClientAuthentication.PRIVATE_KEY_JWT)
    await client.refresh(endpoints, ClientCredentials("the-client", SecretStr(text)), REFRESH_TOKEN)
    sent = provider.last.form
    token = jwt.decode(sent["client_assertion"], key, algorithms=[algorithm])
    assert sent["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert token.claims["iss"] == token.claims["sub"] == "the-client"
    assert token.claims["aud"] == endpoints.token_url
    assert token.claims["jti"]
    assert 0 < token.claims["exp"] - time.time() <= 300
    assert token.header.get("kid") == key.get("kid")


async def test_each_assertion_has_its_own_id(provider, client):
    provider.says(TOKENS)
    key = KEYS["an RSA key as PEM"][0]
    endpoints = provider.endpoints(client_authentication=ClientAuthentication.PRIVATE_KEY_JWT)
    for _ in range(2):
        await client.refresh(endpoints, ClientCredentials("c", SecretStr(key.as_pem(private=True).decode())), REFRESH_TOKEN)
    ids = {jwt.decode(one.form["client_assertion"], key).claims["jti"] for one in provider.received}
    assert len(ids) == 2


BAD_SECRETS = {
    "basic without a secret": (ClientAuthentication.BASIC, None),
    "post without a secret": (ClientAuthentication.POST, None),
    "a password for a key": (ClientAuthentication.PRIVATE_KEY_JWT, "the-secret"),
    "a public key": (ClientAuthentication.PRIVATE_KEY_JWT, RSAKey.generate_key(2048).as_pem(private=False).decode()),
    "a broken JWK": (ClientAuthentication.PRIVATE_KEY_JWT, '{"kty": "RSA"}'),
    "a JWK that is no JSON": (ClientAuthentication.PRIVATE_KEY_JWT, "{"),
    "a symmetric JWK": (ClientAuthentication.PRIVATE_KEY_JWT, '{"kty": "oct", "k": "c2VjcmV0"}'),
    "an Edwards key": (ClientAuthentication.PRIVATE_KEY_JWT, json.dumps(OKPKey.generate_key("Ed25519").as_dict(private=True))),
    "an algorithm that is not the key's": (
        ClientAuthentication.PRIVATE_KEY_JWT,
        json.dumps(ECKey.generate_key("P-256", {"alg": "RS256"}).as_dict(private=True)),
    ),
}


@pytest.mark.parametrize(("method", "secret"), BAD_SECRETS.values(), ids=BAD_SECRETS.keys())
async def test_a_secret_that_cannot_be_used_is_the_apps_and_nothing_is_sent(provider, client, method, secret):
    unusable = ClientCredentials("c", SecretStr(secret) if secret else None)
    problem = await refused(client.refresh(provider.endpoints(client_authentication=method), unusable, REFRESH_TOKEN))
    assert (problem.kind, problem.reason, problem.sent) == ("App", "InvalidClientSecret", False)
    assert provider.received == []


async def test_extra_parameters_are_sent_but_never_replace_the_protocols(provider, client, credentials):
    provider.says(TOKENS)
    extra = {"scope": "sql", "resource": "urn:w", "body": "b", "refresh_token": "other", "grant_type": "password", "client_id": "x"}
    await client.refresh(provider.endpoints(refresh_parameters=extra), credentials, REFRESH_TOKEN)
    assert provider.last.form == {
        "grant_type": "refresh_token",
        "refresh_token": "the-refresh-token",
        "scope": "sql",
        "resource": "urn:w",
        "body": "b",
    }


async def test_a_form_answer_is_read(provider, client, credentials):
    provider.says("access_token=a&expires_in=60", content_type="application/x-www-form-urlencoded")
    found = await client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN)
    assert (found.access_token.get_secret_value(), found.expires_in) == ("a", timedelta(minutes=1))


async def test_a_provider_that_wants_json_gets_json_with_every_way_to_authenticate(provider, client, credentials):
    provider.says(TOKENS)
    key = KEYS["an EC key as PEM"][0].as_pem(private=True).decode()
    for method in ClientAuthentication:
        endpoints = provider.endpoints(client_authentication=method, request_format=RequestFormat.JSON)
        secret = SecretStr(key) if method is ClientAuthentication.PRIVATE_KEY_JWT else credentials.secret
        await client.refresh(endpoints, ClientCredentials("the-client", secret), REFRESH_TOKEN)
        sent = json.loads(provider.last.body)
        assert provider.last.headers["Content-Type"] == "application/json"
        assert (sent["grant_type"], sent["refresh_token"]) == ("refresh_token", "the-refresh-token")
        assert ("client_secret" in sent) == (method is ClientAuthentication.POST)
        assert ("client_assertion" in sent) == (method is ClientAuthentication.PRIVATE_KEY_JWT)
        assert ("Authorization" in provider.last.headers) == (method is ClientAuthentication.BASIC)


async def test_json_is_for_the_token_endpoint_only(provider, client, credentials):
    provider.says(path="/revoke")
    await client.revoke(provider.endpoints(request_format=RequestFormat.JSON), credentials, REFRESH_TOKEN)
    assert provider.last.form["token"] == "the-refresh-token"


async def test_scopes_may_be_separated_by_commas_both_ways(provider, client, credentials):
    provider.says({**TOKENS, "scope": "read,write"})
    endpoints = provider.endpoints(scopes=("read", "write"), scope_separator=",")
    found = await client.client_credentials(endpoints, credentials)
    assert (provider.last.form["scope"], found.scopes) == ("read,write", ("read", "write"))


REFUSALS = {
    "a dead refresh token": ({"body": {"error": "invalid_grant"}, "status": 400}, "User", "InvalidGrant"),
    "200 with an error in it": ({"body": {"error": "bad_refresh_token"}}, "User", "InvalidGrant"),
    "a form with an error in it": (
        {"body": "error=incorrect_client_credentials", "content_type": "application/x-www-form-urlencoded"},
        "App",
        "InvalidClient",
    ),
    "a wrong client secret": ({"body": {"error": "invalid_client"}, "status": 401}, "App", "InvalidClient"),
    "a wrong path": ({"body": "not found", "status": 404, "content_type": "text/plain"}, "App", "EndpointNotFound"),
    "an HTML page with 200": ({"body": "<html>Log in</html>", "content_type": "text/html"}, "Weather", "UnreadableAnswer"),
    "an HTML page with 502": (
        {"body": "<html>Bad gateway", "status": 502, "content_type": "text/html"},
        "Weather",
        "ProviderUnavailable",
    ),
    "nothing": ({"body": b""}, "Weather", "UnreadableAnswer"),
    "10 MB": ({"body": b" " * 10_000_000}, "Weather", "AnswerTooLarge"),
    "10 MB with 503": ({"body": b" " * 10_000_000, "status": 503}, "Weather", "ProviderUnavailable"),
    "10 MB of zeros that travel as a few KB": (
        {"body": __import__("gzip").compress(b" " * 10_000_000), "headers": {"Content-Encoding": "gzip"}},
        "Weather",
        "AnswerTooLarge",
    ),
    "a body that is not what its encoding says": (
        {"body": b"plain", "headers": {"Content-Encoding": "gzip"}},
        "Weather",
        "ConnectionLost",
    ),
}


@pytest.mark.parametrize(("said", "kind", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_refusal(provider, client, credentials, said, kind, reason):
    provider.says(**said)
    problem = await refused(client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN))
    assert (problem.kind, problem.reason, problem.sent) == (kind, reason, True)
    assert len(provider.received) == 1


async def test_after_an_answer_that_was_too_large_the_client_still_works(provider, client, credentials):
    provider.says(b" " * 10_000_000)
    await refused(client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN))
    provider.says(TOKENS)
    assert await client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(provider, client, credentials, status):
    provider.says(status=status, headers={"Location": f"{provider.url}/elsewhere"})
    provider.says(TOKENS, path="/elsewhere")
    problem = await refused(client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN))
    assert (problem.kind, problem.reason) == ("App", "Redirected")
    assert [one.path for one in provider.received] == ["/token"]


RETRY_AFTER = {
    "seconds": ("120", timedelta(seconds=120)),
    "a date": ("Mon, 23 Nov 2026 18:00:30 GMT", timedelta(seconds=30)),
    "none": (None, None),
}


@pytest.mark.parametrize(("header", "expected"), RETRY_AFTER.values(), ids=RETRY_AFTER.keys())
@pytest.mark.parametrize(("status", "reason"), [(429, "RateLimited"), (503, "ProviderUnavailable")])
async def test_the_provider_says_when_to_come_back(provider, client, credentials, header, expected, status, reason):
    provider.says({}, status, headers={"Retry-After": header} if header else {})
    problem = await refused(client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN))
    assert (problem.kind, problem.reason, problem.retry_after) == ("Weather", reason, expected)


@pytest.mark.parametrize(("idle", "connections"), [(3, 1), (5, 2)])
async def test_a_connection_that_the_provider_may_be_closing_is_not_used(provider, client, credentials, skip, idle, connections):
    """Node's servers close them after five seconds; a token that is sent at that moment may be redeemed or not."""
    provider.says(TOKENS)
    for _ in range(2):
        await client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN)
        skip(idle)
    assert len({received.peer for received in provider.received}) == connections


async def test_a_slow_provider_is_left(provider, client, credentials):
    provider.says(TOKENS, delay=3600)
    begin = time.monotonic()
    problem = await refused(client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN, within=timedelta(seconds=0.2)))
    assert time.monotonic() - begin < 30  # the client's own timeout is a minute
    assert (problem.kind, problem.reason, problem.sent) == ("Weather", "Timeout", True)


async def test_the_timeout_of_the_client_counts_when_the_call_has_none(provider, credentials):
    provider.says(TOKENS, delay=5)
    async with ProviderClient(Transport(allowed=LOCAL, plain_http=True, timeout=timedelta(seconds=0.2))) as hasty:
        problem = await refused(hasty.refresh(provider.endpoints(), credentials, REFRESH_TOKEN))
    assert problem.reason == "Timeout"


async def test_a_process_that_was_paused_while_it_connected_sends_nothing_after_the_time_of_its_request(provider, credentials):
    moments = iter((NOW, NOW + timedelta(seconds=10)))  # when the request begins, and before its first byte
    transport = Transport(allowed=LOCAL, plain_http=True, clock=lambda: next(moments))
    async with ProviderClient(transport) as paused:
        problem = await refused(
            paused.refresh(provider.endpoints(), credentials, REFRESH_TOKEN, within=timedelta(seconds=10)),
        )
    assert (problem.kind, problem.reason, problem.sent) == ("Weather", "Timeout", False)
    assert provider.received == []


async def test_a_timeout_is_not_rounded_up_so_that_it_ends_before_the_claim_does(provider, client, credentials, monkeypatch):
    loop, ends, within = asyncio.get_running_loop(), [], timedelta(seconds=100)
    call_at = loop.call_at
    monkeypatch.setattr(loop, "call_at", lambda when, *rest, **more: ends.append(when) or call_at(when, *rest, **more))
    provider.says(TOKENS)
    begin = loop.time()
    await client.refresh(provider.endpoints(), credentials, REFRESH_TOKEN, within=within)
    answered = loop.time()
    assert [end for end in ends if begin <= end - within.total_seconds() <= answered]


async def test_a_body_that_trickles_is_left_at_the_total_timeout(client, credentials, provider, skip):
    async def trickle(_reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(50):
            writer.write(b" ")
            await writer.drain()
            skip(30)
            await asyncio.sleep(0.01)

    problem = await wire(trickle, client, credentials, provider, timedelta(minutes=10))
    assert problem.reason == "Timeout"


async def wire(handler, client, credentials, provider, within=None):
    """The error that a refresh gets from a server that is not even HTTP."""
    connections = []

    async def handle(reader, writer):
        connections.append(writer)
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        endpoints = provider.endpoints(token_url=f"http://127.0.0.1:{port}/token")
        problem = await refused(client.refresh(endpoints, credentials, REFRESH_TOKEN, within=within))
    assert len(connections) == 1  # a redemption is never repeated by the transport
    return problem


async def hang_up(reader, _writer):
    await reader.read(1)


async def cut_off(reader, writer):
    await reader.read(1)
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"access_token": "a"')
    await writer.drain()


async def babble(reader, writer):
    await reader.read(1)
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    await writer.drain()


BROKEN = {
    "hangs up": (hang_up, "ConnectionLost"),
    "stops in the middle": (cut_off, "ConnectionLost"),
    "speaks another protocol": (babble, "UnreadableAnswer"),
}


@pytest.mark.parametrize(("handler", "reason"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_server_that(handler, reason, client, credentials, provider):
    problem = await wire(handler, client, credentials, provider)
    assert (problem.kind, problem.reason, problem.sent) == ("Weather", reason, True)


UNSENT = {
    "nothing listens": ("http://127.0.0.1:1/token", "Weather", "Unreachable"),
    "a host that does not exist": ("http://nowhere.invalid/token", "Weather", "HostNotFound"),
    "a host that cannot exist": (f"http://{'x' * 64}.example/token", "App", "InvalidURL"),
    "a port that cannot exist": ("http://127.0.0.1:99999/token", "App", "InvalidURL"),
    "another scheme": ("file:///etc/passwd", "App", "InvalidURL"),
    "no URL": ("token", "App", "InvalidURL"),
    "no host": ("http:///token", "App", "InvalidURL"),
    "a password in the URL": ("http://me:hunter2@127.0.0.1:1/token", "App", "InvalidURL"),
}


@pytest.mark.parametrize(("url", "kind", "reason"), UNSENT.values(), ids=UNSENT.keys())
async def test_not_sent(client, credentials, provider, url, kind, reason):
    problem = await refused(client.refresh(provider.endpoints(token_url=url), credentials, REFRESH_TOKEN))
    assert (problem.kind, problem.reason, problem.sent) == (kind, reason, False)


async def test_plain_http_has_to_be_permitted(provider, credentials):
    async with ProviderClient(Transport(allowed=LOCAL)) as strict:
        problem = await refused(strict.refresh(provider.endpoints(), credentials, REFRESH_TOKEN))
    assert (problem.reason, problem.sent, provider.received) == ("InvalidURL", False, [])


async def test_cookies_of_one_answer_are_not_sent_with_the_next(provider, client, credentials):
    provider.says(TOKENS, headers={"Set-Cookie": "who=alice"})
    named = provider.endpoints(token_url=provider.url.replace("127.0.0.1", "localhost") + "/token")  # addresses get none
    await client.refresh(named, credentials, REFRESH_TOKEN)
    await client.refresh(named, credentials, REFRESH_TOKEN)
    assert "Cookie" not in provider.last.headers


async def test_a_closed_client_says_so(provider, credentials):
    with pytest.raises(RuntimeError, match="not open"):
        await ProviderClient().refresh(provider.endpoints(), credentials, REFRESH_TOKEN)


async def test_revocation_says_which_token_it_is(provider, client, credentials):
    provider.says(path="/revoke")
    await client.revoke(provider.endpoints(), credentials, REFRESH_TOKEN)
    assert provider.last.form == {"token": "the-refresh-token", "token_type_hint": "refresh_token"}
    assert basic(provider) == "the-client:the-secret"


async def test_an_assertion_for_revocation_is_still_for_the_token_endpoint(provider, client):
    provider.says(path="/revoke")
    key = KEYS["an EC key as PEM"][0]
    endpoints = provider.endpoints(client_authentication=ClientAuthentication.PRIVATE_KEY_JWT)
    await client.revoke(endpoints, ClientCredentials("c", SecretStr(key.as_pem(private=True).decode())), REFRESH_TOKEN)
    assert jwt.decode(provider.last.form["client_assertion"], key).claims["aud"] == endpoints.token_url


async def test_without_an_endpoint_nothing_is_revoked(provider, client, credentials):
    await client.revoke(provider.endpoints(revocation_url=None), credentials, REFRESH_TOKEN)
    assert provider.received == []


async def test_a_token_that_is_dead_already_counts_as_revoked(provider, client, credentials):
    provider.says({"error": "invalid_token"}, 400, path="/revoke")
    await client.revoke(provider.endpoints(), credentials, REFRESH_TOKEN)
    assert len(provider.received) == 1


REVOCATION_REFUSED = {
    "a wrong secret": (401, {"error": "invalid_client"}, "InvalidClient"),
    "a type it does not revoke": (400, {"error": "unsupported_token_type"}, "UnsupportedTokenType"),
    "a bad day": (503, {}, "ProviderUnavailable"),
    "no such page": (404, {}, "EndpointNotFound"),
}


@pytest.mark.parametrize(("status", "body", "reason"), REVOCATION_REFUSED.values(), ids=REVOCATION_REFUSED.keys())
async def test_revocation_fails_for(provider, client, credentials, status, body, reason):
    provider.says(body, status, path="/revoke")
    problem = await refused(client.revoke(provider.endpoints(), credentials, REFRESH_TOKEN))
    assert problem.reason == reason


async def test_published_keys_are_read(provider, client):
    key = RSAKey.generate_key(2048, {"kid": "k1"})
    useless = [
        {"kty": "new"},
        {"kty": "RSA", "n": "AQAB", "kid": "broken"},
        {"kty": "EC", "crv": "new", "x": "AA", "y": "AA"},
        "x",
        None,
    ]
    provider.says({"keys": [*useless, key.as_dict(private=False)]}, path="/jwks")
    found = await client.fetch_jwks(f"{provider.url}/jwks")
    assert [one.kid for one in found.keys] == ["k1"]


@pytest.mark.parametrize("body", [{}, {"keys": []}, {"keys": "x"}, {"keys": [1]}, {"keys": None}, "[]", "<html>"])
async def test_keys_that_are_none_are_the_weathers(provider, client, body):
    provider.says(body, path="/jwks")
    problem = await refused(client.fetch_jwks(f"{provider.url}/jwks"))
    assert (problem.kind, problem.reason) == ("Weather", "UnreadableAnswer")
