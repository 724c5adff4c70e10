"""Where a provider says who authorized."""

import json

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from pydantic import SecretStr

from cube_oauth.providers import IdentityError, ProviderError, TokenAnswer, resolve_app, restored, said_of_person, stored
from cube_oauth.providers.answers import HTTPAnswer, token_answer
from cube_oauth.providers.endpoints import ServerMetadata, needs_discovery, subject_rule
from cube_oauth.providers.presets import PRESETS, SUBJECTS
from cube_oauth.resources.oauthapp import Preset, SubjectSource
from tests.unit.providers.conftest import NOW

KEY = OctKey.generate_key(256)
ISSUER = "https://idp.example.com"


def signed(**claims):
    return SecretStr(jwt.encode({"alg": "HS256"}, {"exp": NOW.timestamp() + 300, **claims}, KEY))


def ask(client, provider, credentials, source, answer, path="/userinfo"):
    endpoints = provider.endpoints(subject=SUBJECTS[source], subject_url=f"{provider.url}{path}")
    return said_of_person(client, endpoints, credentials, answer, nonce=None, now=NOW)


PLACES = {
    "a claim of the ID token": (SubjectSource.ID_TOKEN, "in the ID token"),
    "a claim of the access token": (SubjectSource.ACCESS_TOKEN, "in the access token"),
    "nobody asks": (SubjectSource.NONE, None),
}


@pytest.mark.parametrize(("source", "expected"), PLACES.values(), ids=PLACES.keys())
async def test_place(client, provider, credentials, source, expected):
    id_token = signed(sub="in the ID token", aud="the-client")
    said = await ask(client, provider, credentials, source, TokenAnswer(signed(sub="in the access token"), id_token=id_token))
    assert (said or {}).get("sub") == expected
    assert provider.received == []


async def test_a_field_of_the_answer_says_it(client, provider, credentials):
    answer = token_answer(HTTPAnswer(200, "application/json", b'{"access_token": "a", "username": "ALICE"}'))
    assert await ask(client, provider, credentials, SubjectSource.TOKEN_ANSWER, answer) == {"username": "ALICE"}


async def test_an_answer_without_the_field_says_nothing(client, provider, credentials):
    answer = token_answer(HTTPAnswer(200, "application/json", b'{"access_token": "a", "expires_in": 600}'))
    assert await ask(client, provider, credentials, SubjectSource.TOKEN_ANSWER, answer) is None


async def test_userinfo_is_asked_with_the_access_token(client, provider, credentials):
    provider.says({"sub": "7", "preferred_username": "alice"}, path="/userinfo")
    said = await ask(client, provider, credentials, SubjectSource.USER_INFO, TokenAnswer(SecretStr("opaque")))
    assert said["preferred_username"] == "alice"
    assert (provider.last.method, provider.last.headers["Authorization"]) == ("GET", "Bearer opaque")


SIGNED = RSAKey.generate_key(2048, {"kid": "k"})
JWTS = {
    "the provider's": (SIGNED, {"iss": ISSUER, "sub": "7", "name": "alice"}, True),
    "the provider's without its name": (SIGNED, {"sub": "7", "name": "alice"}, True),
    "somebody else's": (RSAKey.generate_key(2048, {"kid": "k"}), {"iss": ISSUER, "sub": "7", "name": "alice"}, False),
    "another issuer's": (SIGNED, {"iss": "https://evil.example", "sub": "7", "name": "alice"}, False),
}


@pytest.mark.parametrize(("key", "claims", "good"), JWTS.values(), ids=JWTS)
async def test_userinfo_may_be_a_jwt_that_the_provider_signed(client, provider, key, claims, good):
    provider.says({"keys": [SIGNED.as_dict(private=False)]}, path="/jwks")
    provider.says(jwt.encode({"alg": "RS256", "kid": "k"}, claims, key), path="/userinfo", content_type="application/jwt")
    endpoints = provider.endpoints(issuer=ISSUER, subject_url=f"{provider.url}/userinfo", jwks_url=f"{provider.url}/jwks")
    asked = client.userinfo(endpoints, SecretStr("opaque"))
    if good:
        assert (await asked)["name"] == "alice"
        return
    with pytest.raises(ProviderError) as caught:
        await asked
    assert caught.value.reason == "SubjectNotTold"


async def test_userinfo_of_somebody_else_than_the_id_tokens_subject_is_refused(client, provider, credentials):
    provider.says({"sub": "8", "preferred_username": "alice"}, path="/userinfo")
    answer = TokenAnswer(SecretStr("opaque"), id_token=signed(sub="7", aud="the-client"))
    with pytest.raises(IdentityError) as caught:
        await ask(client, provider, credentials, SubjectSource.USER_INFO, answer)
    assert caught.value.reason == "SubjectDiffers"


async def test_introspection_is_asked_as_the_client(client, provider, credentials):
    provider.says({"active": True, "username": "alice"}, path="/introspect")
    said = await ask(client, provider, credentials, SubjectSource.INTROSPECTION, TokenAnswer(SecretStr("opaque")), "/introspect")
    assert said["username"] == "alice"
    assert provider.last.form == {"token": "opaque", "token_type_hint": "access_token"}
    assert provider.last.headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("answer", [{"active": False, "username": "alice"}, {"username": "alice"}, {"active": "true"}])
async def test_a_token_that_is_not_active_names_nobody(client, provider, credentials, answer):
    provider.says(answer, path="/introspect")
    with pytest.raises(IdentityError) as caught:
        await ask(client, provider, credentials, SubjectSource.INTROSPECTION, TokenAnswer(SecretStr("opaque")), "/introspect")
    assert caught.value.reason == "Inactive"


REFUSALS = {
    "no right to know": (403, {"error": "insufficient_scope"}, "App", "SubjectNotTold"),
    "a token that does not count there": (401, b"", "App", "SubjectNotTold"),
    "no such page": (404, b"", "App", "SubjectNotTold"),
    "a bad day": (503, b"<html>", "Weather", "ProviderUnavailable"),
    "too many": (429, b"", "Weather", "RateLimited"),
    "a signed answer": (200, "e30.e30.", "Weather", "UnreadableAnswer"),
    "10 MB": (200, b" " * 10_000_000, "Weather", "AnswerTooLarge"),
}


@pytest.mark.parametrize(("status", "body", "kind", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
@pytest.mark.parametrize("source", [SubjectSource.USER_INFO, SubjectSource.INTROSPECTION])
async def test_refusal(client, provider, credentials, source, status, body, kind, reason):
    provider.says(body, status, path="/userinfo")
    with pytest.raises(ProviderError) as caught:
        await ask(client, provider, credentials, source, TokenAnswer(SecretStr("opaque")))
    assert (caught.value.kind, caught.value.reason) == (kind, reason)


def test_an_answer_survives_being_stored():
    body = {"access_token": "a", "refresh_token": "r", "id_token": "i", "expires_in": "600", "scope": "x y", "username": "ALICE"}
    answer = token_answer(HTTPAnswer(200, "application/json", json.dumps(body).encode()))
    assert restored(stored(answer)) == answer


def test_the_fields_that_are_kept_hold_no_token():
    body = {"access_token": "canary", "refresh_token": "canary", "id_token": "canary", "username": "ALICE"}
    answer = token_answer(HTTPAnswer(200, "application/json", json.dumps(body).encode()))
    assert answer.said == {"username": "ALICE"}
    assert "canary" not in repr(answer)


# ---- which place

DEFAULTS = {
    Preset.GENERIC: ("IDToken", ("preferred_username", "email", "sub"), ["Exact"]),
    Preset.TRINO: ("IDToken", ("preferred_username", "email", "sub"), ["Exact"]),
    Preset.DATABRICKS: ("AccessToken", ("sub",), ["IgnoreCase"]),
    Preset.SNOWFLAKE: ("TokenAnswer", ("username",), ["IgnoreCase", "LocalPartIgnoreCase"]),
    Preset.GOOGLE: ("IDToken", ("email",), ["Exact"]),
    Preset.ENTRA: ("IDToken", ("preferred_username",), ["Exact"]),
    Preset.OKTA: ("IDToken", ("preferred_username",), ["Exact"]),
}


@pytest.mark.parametrize(("preset", "expected"), DEFAULTS.items(), ids=[preset.value for preset in DEFAULTS])
def test_a_preset_knows_where_its_provider_says_it(make_app, preset, expected):
    rule = subject_rule(make_app(provider={"name": preset}))
    assert (rule.source, rule.claims, list(rule.matches)) == expected
    assert (rule.must_match, rule.stated) == (True, False)


SNOWFLAKE = {"name": "snowflake", "parameters": {"account": "a"}}
STATED = {
    "another place with its own claims": (
        {"source": "IDToken"},
        "IDToken",
        ("preferred_username", "email", "sub"),
        ["Exact"],
        True,
    ),
    "another claim there": ({"source": "IDToken", "claim": "upn"}, "IDToken", ("upn",), ["Exact"], True),
    "only another comparison": ({"match": "Exact"}, "TokenAnswer", ("username",), ["Exact"], False),
    "the preset's place, said aloud": (
        {"source": "TokenAnswer"},
        "TokenAnswer",
        ("username",),
        ["IgnoreCase", "LocalPartIgnoreCase"],
        True,
    ),
    "nowhere": ({"source": "None"}, "None", (), ["Exact"], True),
}


@pytest.mark.parametrize(("subject", "source", "claims", "matches", "stated"), STATED.values(), ids=STATED.keys())
def test_the_app_states(make_app, subject, source, claims, matches, stated):
    rule = subject_rule(make_app(provider=SNOWFLAKE, subject=subject))
    assert (rule.source, rule.claims, list(rule.matches), rule.stated) == (source, claims, matches, stated)


DISCOVERED = ServerMetadata(
    ISSUER, f"{ISSUER}/a", f"{ISSUER}/t", userinfo_url=f"{ISSUER}/userinfo", introspection_url=f"{ISSUER}/introspect"
)


@pytest.mark.parametrize(("source", "path"), [("UserInfo", "/userinfo"), ("Introspection", "/introspect"), ("IDToken", None)])
def test_discovery_says_where_to_ask(make_app, source, path):
    app = make_app(issuerURL=ISSUER, subject={"source": source})
    assert resolve_app(app, DISCOVERED).subject_url == (ISSUER + path if path else None)


def test_the_spec_overrides_where_to_ask(make_app):
    app = make_app(issuerURL=ISSUER, subject={"source": "UserInfo", "url": "https://other.example.com/me"})
    assert resolve_app(app, DISCOVERED).subject_url == "https://other.example.com/me"


def test_known_endpoints_are_not_enough_when_it_is_unknown_where_to_ask(make_app):
    known = {"issuerURL": ISSUER, "authorizationURL": f"{ISSUER}/a", "tokenURL": f"{ISSUER}/t"}
    assert needs_discovery(make_app(**known)) is None
    assert needs_discovery(make_app(**known, subject={"source": "UserInfo"})) == ISSUER


def test_google_is_asked_without_discovery(make_app):
    app = make_app(provider={"name": "google"}, subject={"source": "UserInfo"})
    assert needs_discovery(app) is None
    assert resolve_app(app).subject_url == PRESETS[Preset.GOOGLE].userinfo_url


def test_nobody_to_ask_is_the_apps_error(make_app):
    app = make_app(authorizationURL=f"{ISSUER}/a", tokenURL=f"{ISSUER}/t", subject={"source": "Introspection"})
    with pytest.raises(ProviderError) as caught:
        resolve_app(app)
    assert (caught.value.kind, caught.value.reason) == ("App", "SubjectEndpointMissing")
