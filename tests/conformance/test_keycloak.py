"""The same against Keycloak: a provider by other people, which many who run Trino themselves have."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from urllib.parse import parse_qsl, urlsplit

import pytest
from pydantic import SecretStr

from cube_oauth.lifecycle.authorize import Refused
from cube_oauth.portal.oidc import LogIn
from cube_oauth.portal.settings import LogInSettings
from cube_oauth.providers import ClientCredentials, ProviderClient, Transport
from tests.conformance.certified import KEY, Certified, refused
from tests.conformance.emulator import REDIRECT_URI
from tests.parts import keycloak
from tests.parts.provider import PASSWORD, sign_in

OPENID = ["openid"]
OFFLINE = ["openid", "offline_access"]
SECRET = {"secret": "the-secret", "serviceAccountsEnabled": True}
EXCHANGE = {"standard.token.exchange.enabled": "true"}
SIGNED = {"use.jwks.string": "true", "jwks.string": json.dumps({"keys": [KEY.as_dict(private=False)]})}
PKCE = {"pkce.code.challenge.method": "S256"}
CLIENTS = {
    "basic": {**SECRET, "attributes": {**EXCHANGE, **PKCE}},
    "post": SECRET,
    "none": {"publicClient": True, "attributes": PKCE},
    "private_key_jwt": {
        "clientAuthenticatorType": "client-jwt",
        "attributes": {"token.endpoint.auth.signing.alg": "ES256", **SIGNED},
    },
}


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    clients = [keycloak.client(name, [REDIRECT_URI], **more) for name, more in CLIENTS.items()]
    users = [keycloak.user("alice"), keycloak.user("bob"), keycloak.user("carol", offline=False)]
    with keycloak.Keycloak(clients=clients, users=users, folder=tmp_path_factory.mktemp("keycloak")) as running:
        yield running


@pytest.fixture
async def client(certified):
    async with ProviderClient(Transport(allowed=(ip_network("127.0.0.0/8"),), ca_file=certified.ca)) as opened:
        yield opened


@pytest.mark.parametrize("scopes", [OPENID, OFFLINE], ids=["with the session", "offline"])
@pytest.mark.parametrize("method", CLIENTS)
async def test_a_person_connects_stays_connected_and_is_revoked(certified, client, method, scopes):
    run = await Certified(certified, client, method, clientAuthentication=method, scopes=scopes).prepare()
    answer = await run.connect()
    assert (await run.who(answer)).subject == "alice"
    second = await run.refresh(answer.refresh_token)
    assert second.refresh_token != answer.refresh_token
    third = await run.refresh(second.refresh_token)
    await client.revoke(run.endpoints, run.credentials, third.refresh_token)
    assert await refused(run.refresh(third.refresh_token)) == ("User", "InvalidGrant")


async def test_a_second_use_of_a_refresh_token_is_the_end_of_the_sign_in(certified, client):
    run = await Certified(certified, client, "basic", scopes=OPENID).prepare()
    answer = await run.connect()
    second = await run.refresh(answer.refresh_token)
    for token in (answer.refresh_token, second.refresh_token):
        assert await refused(run.refresh(token)) == ("User", "InvalidGrant")


async def test_a_refresh_token_ends_with_the_session_and_an_offline_one_has_no_end(certified, client):
    with_session = await Certified(certified, client, "basic", scopes=OPENID).prepare()
    offline = await Certified(certified, client, "basic", scopes=OFFLINE).prepare()
    lasts = (await with_session.connect()).refresh_token_expires_in
    assert timedelta(minutes=29) < lasts <= timedelta(minutes=30)  # the rest of it, in whole seconds
    assert (await offline.connect()).refresh_token_expires_in is None


async def test_logging_out_ends_a_sign_in_that_is_part_of_the_session(certified, client):
    run = await Certified(certified, client, "basic", scopes=OPENID).prepare()
    answer = await run.connect()
    certified.log_out("alice")
    assert await refused(run.refresh(answer.refresh_token)) == ("User", "InvalidGrant")


async def test_a_wrong_secret_is_the_apps(certified, client):
    run = await Certified(certified, client, "basic", scopes=OPENID).prepare()
    run.credentials = ClientCredentials("basic", SecretStr("wrong"))
    assert await refused(run.refresh(SecretStr("r"))) == ("App", "InvalidClient")


async def test_a_person_who_may_not_have_an_offline_token_is_no_fault_of_the_app(certified, client):
    run = await Certified(certified, client, "basic", scopes=OFFLINE).prepare()
    assert await refused(run.connect("carol")) == ("User", "AccessDenied")


@pytest.mark.parametrize("source", ["IDToken", "UserInfo", "Introspection"])
async def test_the_person_is_named(certified, client, source):
    run = await Certified(certified, client, "basic", scopes=OPENID, subject={"source": source}).prepare()
    assert (await run.who(await run.connect())).subject == "alice"
    assert (await run.who(await run.connect("bob"))).refused is Refused.SUBJECT_DIFFERS


async def test_a_token_is_exchanged(certified, client):
    token_url = f"{certified.issuer}/protocol/openid-connect/token"
    run = await Certified(certified, client, "basic", scopes=OPENID, tokenExchange={"tokenURL": token_url}).prepare()
    answer = await run.connect()
    exchanged = await client.exchange_token(run.endpoints, run.credentials, answer)
    assert exchanged.access_token != answer.access_token
    assert exchanged.refresh_token == answer.refresh_token


async def test_a_client_gets_a_token_for_itself(certified, client):
    run = await Certified(certified, client, "basic", scopes=OPENID).prepare()
    answer = await client.client_credentials(run.endpoints, run.credentials)
    assert answer.access_token
    assert answer.refresh_token is None


async def test_a_person_logs_in_to_the_portal(certified, client):
    settings = LogInSettings(certified.issuer, "none", None, ("openid", "profile"), "preferred_username", "groups")
    log_in = LogIn(settings, client, REDIRECT_URI)
    pending, url = await log_in.begin("/", datetime.now(UTC))
    back = await asyncio.to_thread(sign_in, url, "alice", PASSWORD, until=REDIRECT_URI, ca=certified.ca)
    person = await log_in.finish(dict(parse_qsl(urlsplit(back).query)), pending, datetime.now(UTC))
    assert person.username == "alice"
    assert (await log_in.log_out_url()).startswith(f"{certified.issuer}/protocol/openid-connect/logout?")
