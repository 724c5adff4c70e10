"""The same against Django OAuth Toolkit: plain OAuth 2.0, opaque tokens, and a refresh token that may come twice for a while."""

from ipaddress import ip_network

import pytest
from pydantic import SecretStr

from cube_oauth.providers import ClientCredentials, ProviderClient, Transport
from tests.conformance.certified import Certified, refused
from tests.conformance.emulator import REDIRECT_URI
from tests.parts.toolkit import Toolkit
from tests.parts.toolkit import client as application

SECRET = {"client_secret": "the-secret"}
CLIENTS = {"basic": SECRET, "post": SECRET, "none": {"client_type": "public"}}


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory):
    clients = [application(name, [REDIRECT_URI], **more) for name, more in CLIENTS.items()]
    with Toolkit(clients=[*clients, application("service", **SECRET)], folder=tmp_path_factory.mktemp("toolkit")) as running:
        yield running


@pytest.fixture
async def client():
    async with ProviderClient(Transport(allowed=(ip_network("127.0.0.0/8"),), plain_http=True)) as opened:
        yield opened


@pytest.fixture
def run(toolkit, client):
    addresses = {"authorizationURL": "authorize", "tokenURL": "token", "revocationURL": "revoke_token"}
    urls = {name: f"{toolkit.url}/{path}/" for name, path in addresses.items()}
    introspection = {"source": "Introspection", "url": f"{toolkit.url}/introspect/", "claim": "username"}

    def prepared(method, **spec):
        spec = {"provider": {"name": "oauth2"}, **urls, "scopes": ["query"], "subject": introspection, **spec}
        return Certified(toolkit, client, method, **spec).prepare()

    return prepared


@pytest.mark.parametrize("pkce", [True, False], ids=["PKCE", "without PKCE"])
@pytest.mark.parametrize("method", CLIENTS)
async def test_a_person_connects_stays_connected_and_is_revoked(run, client, method, pkce):
    one = await run(method, clientAuthentication=method, pkce=pkce)
    answer = await one.connect()
    second = await one.refresh(answer.refresh_token)
    assert second.refresh_token != answer.refresh_token
    third = await one.refresh(second.refresh_token)
    await client.revoke(one.endpoints, one.credentials, third.refresh_token)
    assert await refused(one.refresh(third.refresh_token)) == ("User", "InvalidGrant")


async def test_a_refresh_token_that_comes_twice_within_its_grace_ends_nothing(run):
    one = await run("basic")
    answer = await one.connect()
    both = [await one.refresh(answer.refresh_token) for _ in range(2)]
    assert [bool((await one.refresh(found.refresh_token)).access_token) for found in both] == [True, True]


async def test_an_opaque_token_names_the_person(run):
    one = await run("basic")
    assert (await one.who(await one.connect())).subject == "alice"


async def test_a_code_works_once(run):
    one = await run("basic")
    code, verifier = await one.code()
    await one.redeem(code, verifier)
    assert await refused(one.redeem(code, verifier)) == ("User", "InvalidGrant")


async def test_a_wrong_secret_is_the_apps(run):
    one = await run("basic")
    one.credentials = ClientCredentials("basic", SecretStr("wrong"))
    assert await refused(one.refresh(SecretStr("r"))) == ("App", "InvalidClient")


async def test_a_client_gets_a_token_for_itself(run, client):
    one = await run("service")
    answer = await client.client_credentials(one.endpoints, one.credentials)
    assert (answer.refresh_token, answer.scopes) == (None, ("query",))
