"""Every provider of the table, through everything that we do with one."""

from dataclasses import replace

import pytest
from aiohttp import web
from pydantic import SecretStr

from cube_oauth.lifecycle.authorize import Refused
from cube_oauth.providers import ProviderError
from cube_oauth.resources.oauthapp import Preset
from tests.conformance.conftest import app_of
from tests.conformance.rows import ROWS


async def refused(awaitable):
    with pytest.raises(ProviderError) as caught:
        await awaitable
    return caught.value.kind.value, caught.value.reason


def test_every_preset_has_a_row():
    assert {app_of(row, "https://idp.example.com").spec.provider.name for row in ROWS.values()} == set(Preset)


async def test_a_person_connects_and_stays_connected(run):
    answer = await run.connect()
    assert bool(answer.refresh_token) is run.row.refresh_token
    seen = {answer.access_token.get_secret_value()}
    for _ in range(3 if run.row.refresh_token else 0):
        later = await run.refresh(answer.refresh_token)
        seen.add(later.access_token.get_secret_value())
        answer = replace(later, refresh_token=later.refresh_token or answer.refresh_token)
    assert len(seen) == (4 if run.row.refresh_token else 1)


async def test_the_lifetime_is_what_the_warehouse_will_honour(run):
    answer = await run.client.exchange_token(run.endpoints, run.credentials, await run.connect())
    assert answer.expires_in == run.row.lifetime


async def test_the_provider_names_the_person(run):
    found = await run.who(await run.connect())
    assert (found.subject, found.refused) == (run.row.subject, None)
    assert found.word == ("Authorized" if run.row.subject else "SubjectUnknown")


async def test_another_person_at_the_provider_is_refused(run):
    found = await run.who(await run.connect("bob@example.com"))
    assert found.refused is (Refused.SUBJECT_DIFFERS if run.row.subject else None)


async def test_a_token_that_is_exchanged_is_the_warehouses(run):
    provided = await run.connect()
    answer = await run.client.exchange_token(run.endpoints, run.credentials, provided)
    assert (answer.access_token.get_secret_value() == "warehouse-alice@example.com") is run.row.exchanged
    assert answer.refresh_token == provided.refresh_token


async def test_a_code_works_once(run):
    query, verifier = await run.callback()
    await run.redeem(run.code(query), verifier)
    assert await refused(run.redeem(run.code(query), verifier)) == ("User", "InvalidGrant")


async def test_a_code_needs_its_verifier(run):
    query, verifier = await run.callback()
    if verifier:
        assert await refused(run.redeem(run.code(query), SecretStr("v" * 64))) == ("User", "InvalidGrant")
    else:
        await run.redeem(run.code(query), None)


async def test_a_dead_refresh_token_is_the_users(run):
    assert await refused(run.refresh(SecretStr("never-given"))) == ("User", "InvalidGrant")


async def test_a_refresh_token_of_single_use_works_once(run):
    answer = await run.connect()
    if answer.refresh_token is None:
        return
    await run.refresh(answer.refresh_token)
    if run.row.behaves.refresh == "single-use":
        assert await refused(run.refresh(answer.refresh_token)) == ("User", "InvalidGrant")
    else:
        await run.refresh(answer.refresh_token)


async def test_the_end_of_a_session_is_the_users(run):
    answer, session = await run.connect(), run.row.behaves.session
    for _ in range(session or 0):
        answer = await run.refresh(answer.refresh_token)
    if session:
        assert await refused(run.refresh(answer.refresh_token)) == ("User", "InvalidGrant")


async def test_what_is_revoked_is_dead(run):
    answer = await run.connect()
    await run.client.revoke(run.endpoints, run.credentials, answer.refresh_token or answer.access_token)
    if run.endpoints.revocation_url and answer.refresh_token:
        assert await refused(run.refresh(answer.refresh_token)) == ("User", "InvalidGrant")
    assert all(sign_in.over for sign_in in run.party.sign_ins) is bool(run.endpoints.revocation_url)


async def test_a_client_gets_a_token_for_itself(run):
    resource = {"resource": run.row.behaves.resource} if run.row.behaves.resource else {}
    assert (await run.client.client_credentials(run.endpoints, run.credentials, resource)).access_token


async def test_a_wrong_client_is_the_apps(run):
    answer = await run.connect()
    if run.row.behaves.authentication != "private_key_jwt":
        stranger = type(run.credentials)("another-client", run.credentials.secret and SecretStr("another-secret"))
        problem = refused(run.client.refresh(run.endpoints, stranger, answer.refresh_token or SecretStr("r")))
        assert await problem == ("App", "InvalidClient")


FAILURES = {
    "a page instead of tokens": ({"text": "<html>Log in", "content_type": "text/html"}, "UnreadableAnswer"),
    "nothing": ({}, "UnreadableAnswer"),
    "an empty object": ({"text": "{}", "content_type": "application/json"}, "UnreadableAnswer"),
    "10 MB": ({"body": b" " * 10_000_000}, "AnswerTooLarge"),
    "503 with a page": ({"status": 503, "text": "<html>", "content_type": "text/html"}, "ProviderUnavailable"),
    "503 that blames the person": ({"status": 503, "text": '{"error": "invalid_grant"}'}, "ProviderUnavailable"),
    "429": ({"status": 429, "headers": {"Retry-After": "7"}}, "RateLimited"),
    "200 with an error that passes": ({"text": '{"error": "temporarily_unavailable"}'}, "ProviderUnavailable"),
}


async def test_bad_weather_of_every_kind_passes_and_costs_nothing(run):
    answer = await run.connect()
    if answer.refresh_token is None:
        return
    for what, (said, reason) in FAILURES.items():
        run.party.failure, before = web.Response(**said), run.party.token_requests
        assert (what, *await refused(run.refresh(answer.refresh_token))) == (what, "Weather", reason)
        assert run.party.token_requests == before + 1
    assert await run.refresh(answer.refresh_token)
