import ssl

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from cube_oauth.providers import Endpoints, ProviderClient, ProviderError, Transport
from tests.parts.certificates import self_made
from tests.unit.providers.conftest import LOCAL


@pytest.fixture
def certificate(tmp_path):
    return self_made(tmp_path / "right", "127.0.0.1")


@pytest.fixture
async def server(certificate):
    async def token(_request):
        return web.json_response({"access_token": "a"})

    app = web.Application()
    app.router.add_post("/token", token)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    running = TestServer(app, host="127.0.0.1", scheme="https")
    await running.start_server(ssl=context)
    yield running
    await running.close()


async def refresh(server, credentials, ca_file):
    url = f"https://127.0.0.1:{server.port}/token"
    async with ProviderClient(Transport(allowed=LOCAL, ca_file=ca_file)) as client:
        return await client.refresh(Endpoints(url, url), credentials, SecretStr("r"))


async def test_a_private_authority_is_trusted_when_its_file_is_given(server, credentials, certificate):
    assert await refresh(server, credentials, certificate.ca)


async def test_an_authority_that_nobody_gave_is_not_trusted(server, credentials):
    with pytest.raises(ProviderError) as caught:
        await refresh(server, credentials, None)
    problem = caught.value
    assert (problem.kind, problem.reason, problem.sent) == ("Weather", "CertificateRefused", False)


async def test_another_authority_is_not_trusted(server, credentials, tmp_path):
    with pytest.raises(ProviderError) as caught:
        await refresh(server, credentials, self_made(tmp_path / "other", "127.0.0.1").ca)
    assert caught.value.reason == "CertificateRefused"


async def test_the_systems_authorities_stay_trusted(certificate):
    async with ProviderClient(Transport(ca_file=certificate.ca)) as client:
        theirs = client._transport._session.connector._ssl.cert_store_stats()["x509_ca"]
    assert theirs == ssl.create_default_context().cert_store_stats()["x509_ca"] + 1
