"""The JSON API: the same states under the same rules, and what its document says of it is true."""

import dataclasses
import json

import jsonschema
import pytest
from openapi_spec_validator import validate

from .conftest import BROWSER

APP = "/api/apps/analytics/trino"
HOME = "https://home.example.com"


@pytest.fixture
def alice(browser, world):
    world.add_app(spec={"displayName": "Trino"})
    return browser.log_in("alice", ["analysts"])


async def ask(browser, method, path, **headers):
    answer = await browser._request(method, path, headers={**BROWSER, **headers})
    answer.said = json.loads(answer.html) if answer.html else None
    return answer


async def document(browser):
    return (await ask(browser, "GET", "/api/openapi.json")).said


async def conforms(browser, content, model):
    """Raises when the answer is not what the document says."""
    whole = await document(browser)
    jsonschema.validate(content, {"$ref": f"#/components/schemas/{model}", "components": whole["components"]})


async def test_the_document_is_valid(browser):
    validate(await document(browser))


async def test_the_document_knows_every_address_of_the_api(browser, world):
    from cube_oauth.portal.routes import application  # noqa: PLC0415

    routes = {resource.canonical for resource in application(world.portal).router.resources()}
    described = set((await document(browser))["paths"])
    assert described == {path for path in routes if path.startswith("/api/")} - {"/api/openapi.json"}


async def test_the_states_are_those_of_the_page(alice, world):
    status = {"state": "Active", "subject": "alice@idp", "expiresAt": "2026-11-23T13:00:00Z", "scopes": ["openid"]}
    world.add_credential(status=status)
    answer = await ask(alice, "GET", "/api/apps")
    (app,) = answer.said["apps"]
    await conforms(alice, answer.said, "AppList")
    assert (app["title"], app["state"], app["subject"]) == ("Trino", "Active", "alice@idp")
    assert app["words"] == "Connected as alice@idp, until today, 13:00 UTC"
    assert app["expiresAt"] == "2026-11-23T13:00:00Z"
    assert app["authorizeURL"] == "https://portal.example.com/connect/analytics/trino"
    assert "warning" not in app
    assert (await ask(alice, "GET", APP)).said == app


async def test_words_are_in_the_reader_s_language(alice):
    assert (await ask(alice, "GET", APP, **{"Accept-Language": "de"})).said["words"] == "Nicht verbunden"


async def test_only_one_s_own_apps_and_connections_are_told(alice, world):
    world.add_app("theirs", spec={"access": {"users": ["bob"]}})
    world.add_credential("bob", status={"state": "Active", "subject": "bob"})
    (app,) = (await ask(alice, "GET", "/api/apps")).said["apps"]
    assert app["state"] == "Pending"
    refused = await ask(alice, "GET", "/api/apps/analytics/theirs")
    assert (refused.status, refused.said["reason"]) == (404, "NoSuchApp")


@pytest.mark.parametrize("path", ["/api/apps", APP, "/api/session"])
async def test_without_a_session_there_is_a_problem_and_no_page(browser, path):
    answer = await ask(browser, "GET", path)
    assert (answer.status, answer.said["reason"]) == (401, "SessionOver")
    assert answer.content_type == "application/problem+json"
    await conforms(browser, answer.said, "Problem")


async def test_disconnecting_needs_the_token_of_the_session(alice, world):
    world.add_credential(status={"state": "Active"})
    for headers in ({}, {"X-Form-Token": "x"}, {"X-Form-Token": alice.token(), "Sec-Fetch-Site": "same-site", "Origin": HOME}):
        refused = await ask(alice, "DELETE", APP, **headers)
        assert (refused.status, refused.said["reason"]) == (403, "ForeignForm")
    session = (await ask(alice, "GET", "/api/session")).said
    await conforms(alice, session, "SessionState")
    assert len(world.credentials()) == 1
    assert (await ask(alice, "DELETE", APP, **{"X-Form-Token": session["formToken"]})).status == 204
    assert world.credentials() == []


async def test_only_listed_origins_may_read_and_none_gets_the_right_to_change(alice, world):
    world.portal.settings = dataclasses.replace(world.portal.settings, api_origins=(HOME,))
    listed = await ask(alice, "GET", "/api/apps", Origin=HOME)
    assert listed.headers["Access-Control-Allow-Origin"] == HOME
    assert listed.headers["Access-Control-Allow-Credentials"] == "true"
    for path, origin in (("/api/apps", "https://evil.example"), ("/", HOME), ("/api/apps", "null")):
        other = await alice.get(path, headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in other.headers
    preflight = await ask(alice, "OPTIONS", APP, Origin=HOME, **{"Access-Control-Request-Method": "DELETE"})
    assert preflight.status >= 400


async def test_what_is_not_there_is_a_problem_too(alice):
    answer = await ask(alice, "GET", "/api/nothing")
    assert (answer.status, answer.said["reason"]) == (404, "NotFound")
