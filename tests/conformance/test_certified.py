"""The same against a certified OpenID provider, for all in which it can behave like the table's rows."""

import base64
import json
from dataclasses import replace
from ipaddress import ip_network

import pytest
from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr

from cube_oauth.lifecycle.authorize import Refused
from cube_oauth.providers import (
    CallbackError,
    ClientCredentials,
    ProviderClient,
    ProviderError,
    Transport,
    account_endpoints,
)
from cube_oauth.providers.discovery import openid_url
from tests.conformance.certified import KEY, Certified, refused
from tests.conformance.emulator import REDIRECT_URI
from tests.parts.provider import Provider, app_client, log_in_client, service_client

ACCOUNT_KEYS = {"EC": ECKey.generate_key("P-256", {"use": "sig"}), "RSA": RSAKey.generate_key(2048, {"use": "sig"})}
"""Both are registered for the service account, as while a key is rotated."""
SECRETS = {"basic": "the-secret", "post": "the-secret"}
METHODS = {"basic": "client_secret_basic", "post": "client_secret_post", "none": "none", "private_key_jwt": "private_key_jwt"}


def _client(method):
    secret = {} if method in ("none", "private_key_jwt") else {"client_secret": "the-secret"}
    keys = {"jwks": {"keys": [KEY.as_dict(private=False)]}, "token_endpoint_auth_signing_alg": "ES256"}
    more = keys if method == "private_key_jwt" else {}
    return app_client(method, [REDIRECT_URI], token_endpoint_auth_method=METHODS[method], **secret, **more)


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    clients = [_client(method) for method in METHODS]
    clients += [_client("basic") | {"client_id": "without PKCE", "withoutPKCE": True}]
    clients += [_client("basic") | {"client_id": "names a resource", "logIn": True}]
    clients += [log_in_client("opaque", "the-secret", [REDIRECT_URI]), service_client("service", "the-secret")]
    clients += [service_client(f"account {method}", "the-secret", token_endpoint_auth_method=METHODS[method]) for method in SECRETS]
    jwks = {"keys": [key.as_dict(private=False) for key in ACCOUNT_KEYS.values()]}
    clients += [service_client("account private_key_jwt", token_endpoint_auth_method="private_key_jwt", jwks=jwks)]
    with Provider(clients=clients, folder=tmp_path_factory.mktemp("certified")) as running:
        yield running


@pytest.fixture
async def client():
    async with ProviderClient(Transport(allowed=(ip_network("127.0.0.0/8"),), plain_http=True)) as opened:
        yield opened


@pytest.fixture(scope="module")
def certified_oauth(tmp_path_factory):
    """The same with its metadata where OAuth servers have them (RFC 8414), and not where OpenID providers do."""
    with Provider(clients=[_client("basic")], oauth_metadata=True, folder=tmp_path_factory.mktemp("certified-oauth")) as running:
        yield running


def audience(token):
    """Whom a JWT is for, not verified here; None of an opaque token."""
    parts = token.get_secret_value().split(".")
    return json.loads(base64.urlsafe_b64decode(parts[1] + "=="))["aud"] if len(parts) == 3 else None


@pytest.mark.parametrize("preset", ["generic", "oidc", "trino"])
async def test_a_preset_that_is_known_by_its_issuer(certified, client, preset):
    run = await Certified(certified, client, "basic", provider={"name": preset}).prepare()
    answer = await run.connect()
    assert (await run.who(answer)).subject == "alice"
    assert run.endpoints.iss_required


@pytest.mark.parametrize("method", METHODS)
async def test_a_person_connects_stays_connected_and_is_revoked(certified, client, method):
    run = await Certified(certified, client, method, clientAuthentication=method).prepare()
    answer = await run.connect()
    second = await run.refresh(answer.refresh_token)
    assert second.refresh_token != answer.refresh_token
    third = await run.refresh(second.refresh_token)
    await client.revoke(run.endpoints, run.credentials, third.refresh_token)
    assert await refused(run.refresh(third.refresh_token)) == ("User", "InvalidGrant")


async def test_a_client_that_need_not_use_pkce_connects_without_it(certified, client):
    run = await Certified(certified, client, "without PKCE", pkce=False).prepare()
    answer = await run.connect()
    assert (await run.refresh(answer.refresh_token)).access_token


async def test_whoever_must_use_pkce_gets_no_code_without_it(certified, client):
    run = await Certified(certified, client, "basic", pkce=False).prepare()
    with pytest.raises(CallbackError) as caught:
        await run.connect()
    assert caught.value.reason == "AppMisconfigured"


async def test_metadata_as_oauth_servers_have_them_will_do(certified_oauth, client):
    with pytest.raises(ProviderError):
        await client.document(openid_url(certified_oauth.issuer))
    run = await Certified(certified_oauth, client, "basic").prepare()
    answer = await run.connect()
    second = await run.refresh(answer.refresh_token)
    await client.revoke(run.endpoints, run.credentials, second.refresh_token)
    assert await refused(run.refresh(second.refresh_token)) == ("User", "InvalidGrant")


@pytest.mark.parametrize("named", [{"resource": "urn:warehouse"}, {}], ids=["named", "not named"])
async def test_a_token_is_for_the_resource_that_was_named(certified, client, named):
    parameters = dict.fromkeys(("authorizationParameters", "tokenParameters", "refreshParameters"), named)
    run = await Certified(certified, client, "names a resource", **parameters).prepare()
    answer = await run.connect()
    for token in (answer.access_token, (await run.refresh(answer.refresh_token)).access_token):
        assert audience(token) == ("warehouse" if named else None)


async def test_a_second_use_of_a_refresh_token_is_the_end_of_the_sign_in(certified, client):
    run = await Certified(certified, client, "basic").prepare()
    answer = await run.connect()
    second = await run.refresh(answer.refresh_token)
    for token in (answer.refresh_token, second.refresh_token):
        assert await refused(run.refresh(token)) == ("User", "InvalidGrant")


async def test_a_wrong_secret_is_the_apps(certified, client):
    run = await Certified(certified, client, "basic").prepare()
    run.credentials = ClientCredentials("basic", SecretStr("wrong"))
    assert await refused(run.refresh(SecretStr("r"))) == ("App", "InvalidClient")


async def test_a_resource_that_it_does_not_know_is_the_apps(certified, client):
    run = await Certified(certified, client, "basic", refreshParameters={"resource": "urn:elsewhere"}).prepare()
    answer = await run.connect()
    assert await refused(run.refresh(answer.refresh_token)) == ("App", "InvalidTarget")


@pytest.mark.parametrize("source", ["UserInfo", "Introspection"])
async def test_an_opaque_token_names_the_person(certified, client, source):
    run = await Certified(certified, client, "opaque", scopes=["openid"], subject={"source": source}).prepare()
    assert (await run.who(await run.connect())).subject == "alice"
    assert (await run.who(await run.connect("bob"))).refused is Refused.SUBJECT_DIFFERS


async def test_a_token_that_userinfo_does_not_know_is_not_told(certified, client):
    run = await Certified(certified, client, "opaque", scopes=["openid"], subject={"source": "UserInfo"}).prepare()
    answer = replace(await run.connect(), access_token=SecretStr("another"))
    assert await refused(run.who(answer)) == ("App", "SubjectNotTold")


async def test_a_client_gets_a_token_for_itself(certified, client):
    run = await Certified(certified, client, "service", scopes=["query"]).prepare()
    answer = await client.client_credentials(run.endpoints, run.credentials)
    assert answer.access_token
    assert answer.refresh_token is None


def as_pem(key):
    return key.as_pem(private=True).decode()


def as_jwk(key):
    return json.dumps(key.as_dict(private=True))


async def account(certified, client, method, secret):
    """A token of the service account, whose app has another client that authenticates in another way."""
    own = {"clientID": f"account {method}", "clientSecretRef": {"name": "a"}, "clientAuthentication": method, "scopes": ["query"]}
    spec = {"clientAuthentication": "none", "serviceAccount": {"clientCredentials": own, "env": {"TOKEN": "accessToken"}}}
    run = await Certified(certified, client, "none", **spec).prepare()
    credentials = ClientCredentials(own["clientID"], SecretStr(secret))
    return await client.client_credentials(account_endpoints(run.app, run.endpoints), credentials)


@pytest.mark.parametrize("method", SECRETS)
async def test_a_service_account_proves_itself_by_its_own_secret_whatever_its_app_does(certified, client, method):
    assert audience((await account(certified, client, method, SECRETS[method])).access_token) == "warehouse"


@pytest.mark.parametrize("form", [as_pem, as_jwk])
@pytest.mark.parametrize("key", ACCOUNT_KEYS)
async def test_a_service_account_proves_itself_by_any_of_its_registered_keys(certified, client, key, form):
    answer = await account(certified, client, "private_key_jwt", form(ACCOUNT_KEYS[key]))
    assert audience(answer.access_token) == "warehouse"


async def test_a_service_account_with_a_key_that_is_not_registered_any_more_is_refused(certified, client):
    former = as_pem(ECKey.generate_key("P-256"))
    assert await refused(account(certified, client, "private_key_jwt", former)) == ("App", "InvalidClient")


@pytest.mark.parametrize("secret", ["no key", ACCOUNT_KEYS["RSA"].as_pem(private=False).decode()], ids=["text", "the public key"])
async def test_what_is_no_private_key_is_said_without_asking_the_provider(certified, client, secret):
    certified.control.reset_stats()
    assert await refused(account(certified, client, "private_key_jwt", secret)) == ("App", "InvalidClientSecret")
    assert certified.control.arrivals() == []
