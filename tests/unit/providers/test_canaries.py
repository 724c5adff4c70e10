"""No token, code, verifier or secret in what an exception shows, in what it drags along, or in a log record."""

import asyncio
import logging
import traceback
from datetime import timedelta

import pytest
from joserfc.jwk import KeySet, RSAKey
from pydantic import SecretStr

from cube_oauth.providers import (
    CallbackError,
    ClientCredentials,
    IdentityError,
    ProviderClient,
    ProviderError,
    Transport,
    read_callback,
    verify_id_token,
)
from cube_oauth.resources.oauthapp import ClientAuthentication
from tests.unit.providers.conftest import LOCAL, NOW

CANARY = "canary-4f1c"
CLIENT = ClientCredentials("the-client", SecretStr(f"{CANARY}-secret"))
TOKEN = SecretStr(f"{CANARY}-refresh")

ANSWERS = {
    "an error that quotes the token": {"body": {"error": "invalid_grant", "error_description": f"{CANARY} is dead"}, "status": 400},
    "an error code that is a token": {"body": {"error": CANARY}, "status": 400},
    "an error URI": {"body": {"error": "invalid_client", "error_uri": f"https://x.example/{CANARY}"}, "status": 401},
    "JSON that is cut off behind a token": {"body": f'{{"access_token": "{CANARY}'},
    "no UTF-8 behind a token": {"body": f'{{"access_token": "{CANARY}"'.encode() + b"\xff}"},
    "HTML around a token": {"body": f"<html>{CANARY}</html>", "content_type": "text/html"},
    "a token that no header can hold": {"body": {"access_token": f"{CANARY}\n"}},
    "a redirect that carries a token": {"status": 302, "headers": {"Location": f"https://x.example/?t={CANARY}"}},
    "a Retry-After that is a token": {"status": 429, "headers": {"Retry-After": CANARY}},
    "10 MB around a token": {"body": CANARY.encode() * 900_000},
    "too late": {"body": {}, "delay": 1},
}
METHODS = [ClientAuthentication.BASIC, ClientAuthentication.POST]


def everything(problem):
    """All that an exception shows or drags along: itself, its causes and contexts, and a traceback with its text."""
    shown = "".join(traceback.format_exception(problem))
    while problem is not None:
        shown += str(problem) + repr(problem) + repr(problem.args) + repr(vars(problem))
        problem = problem.__cause__ or problem.__context__
    return shown


@pytest.fixture
def records(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


async def caught(awaitable):
    try:
        await awaitable
    except (ProviderError, IdentityError, CallbackError) as problem:
        return problem
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS.keys())
async def test_a_failed_request_shows_nothing(provider, records, said, method):
    asyncio.get_running_loop().set_debug(True)
    provider.says(**said)
    endpoints = provider.endpoints(client_authentication=method)
    timeout = timedelta(seconds=0.2 if "delay" in said else 60)
    async with ProviderClient(Transport(allowed=LOCAL, plain_http=True, timeout=timeout)) as client:
        problems = [
            await caught(client.refresh(endpoints, CLIENT, TOKEN)),
            await caught(
                client.exchange_code(
                    endpoints,
                    CLIENT,
                    code=SecretStr(f"{CANARY}-code"),
                    redirect_uri="https://portal.example.com/callback",
                    code_verifier=SecretStr(f"{CANARY}-verifier"),
                )
            ),
        ]
    assert all(CANARY not in everything(problem) for problem in problems)
    assert CANARY not in records.text


@pytest.mark.parametrize(
    "said",
    [
        {"body": f"<html>{CANARY}"},
        {"body": {"error": CANARY}, "status": 404},
        {"body": {"keys": [{"kty": "RSA", "n": CANARY}]}},
    ],
)
async def test_a_document_that_is_none_shows_nothing(provider, client, records, said):
    provider.says(**said)
    problem = await caught(client.fetch_jwks(f"{provider.url}/token"))
    assert CANARY not in everything(problem) + records.text


async def test_the_canary_would_be_found():
    error = ValueError("outer")
    error.__context__ = KeyError(CANARY)
    assert CANARY in everything(error)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/t", "http://nowhere.invalid/t", "http://169.254.169.254/t", "http://me:x@h.example/t"]
)
async def test_a_request_that_was_never_sent_shows_nothing(client, provider, records, url):
    problem = await caught(client.refresh(provider.endpoints(token_url=url), CLIENT, TOKEN))
    assert problem.__context__ is None
    assert CANARY not in everything(problem) + records.text


async def test_a_malformed_answer_shows_nothing(client, provider, records):
    """aiohttp's own error holds our request's headers, and quotes the answer."""

    async def babble(reader, writer):
        await reader.read(1)
        writer.write(f"HTTP/1.1 {CANARY}\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
        problem = await caught(client.refresh(provider.endpoints(token_url=url), CLIENT, TOKEN))
    assert problem.reason == "UnreadableAnswer"
    assert CANARY not in everything(problem) + records.text


@pytest.mark.parametrize(
    "secret", [CANARY, f'{{"kty": "RSA", "d": "{CANARY}"}}', f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----"]
)
async def test_a_broken_key_shows_nothing(client, provider, records, secret):
    endpoints = provider.endpoints(client_authentication=ClientAuthentication.PRIVATE_KEY_JWT)
    problem = await caught(client.refresh(endpoints, ClientCredentials("c", SecretStr(secret)), TOKEN))
    assert CANARY not in everything(problem) + records.text


async def test_an_answer_shows_nothing(client, provider):
    tokens = {"access_token": f"{CANARY}-a", "refresh_token": f"{CANARY}-r", "id_token": f"{CANARY}-i"}
    provider.says(tokens)
    answer = await client.refresh(provider.endpoints(), CLIENT, TOKEN)
    assert CANARY not in repr(answer) + str(answer) + repr(CLIENT)


def test_a_broken_id_token_shows_nothing():
    keys = KeySet([RSAKey.generate_key(2048)])
    with pytest.raises(IdentityError) as found:
        verify_id_token(SecretStr(f"{CANARY}.{CANARY}.x"), keys, issuer="i", client_id="c", nonce=None, now=NOW)
    assert CANARY not in everything(found.value)


def test_a_refused_callback_shows_nothing():
    query = {"state": CANARY, "code": CANARY, "error": CANARY, "error_description": CANARY}
    with pytest.raises(CallbackError) as found:
        read_callback(query, "other", None)
    assert CANARY not in everything(found.value)
