import asyncio
from datetime import timedelta

import pytest

from cube_oauth.providers import Discovery, ProviderError
from cube_oauth.providers.discovery import RETRY, oauth_url, openid_url

OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"


def document(provider, **more):
    return {
        "issuer": provider.url,
        "authorization_endpoint": f"{provider.url}/a",
        "token_endpoint": f"{provider.url}/t",
        **more,
    }


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def advance(self, duration):
        self.now += duration.total_seconds()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def discovery(client, clock):
    return Discovery(client, clock=clock)


async def refused(awaitable):
    with pytest.raises(ProviderError) as caught:
        await awaitable
    return caught.value


URLS = {
    "at the root": ("https://h.example", "https://h.example" + OPENID, "https://h.example" + OAUTH),
    "with a slash at the end": ("https://h.example/", "https://h.example" + OPENID, "https://h.example" + OAUTH),
    "with a path": ("https://h.example/t/1", "https://h.example/t/1" + OPENID, "https://h.example" + OAUTH + "/t/1"),
}


@pytest.mark.parametrize(("issuer", "openid", "oauth"), URLS.values(), ids=URLS.keys())
def test_an_issuer(issuer, openid, oauth):
    assert (openid_url(issuer), oauth_url(issuer)) == (openid, oauth)


async def test_the_openid_document_is_read(provider, discovery):
    full = document(
        provider,
        revocation_endpoint=f"{provider.url}/r",
        jwks_uri=f"{provider.url}/k",
        userinfo_endpoint=f"{provider.url}/u",
        introspection_endpoint=f"{provider.url}/i",
        token_endpoint_auth_methods_supported=["client_secret_post"],
        authorization_response_iss_parameter_supported=True,
    )
    provider.says(full, path=OPENID)
    found = await discovery.metadata(provider.url)
    assert (found.issuer, found.authorization_url, found.token_url) == (provider.url, f"{provider.url}/a", f"{provider.url}/t")
    assert (found.revocation_url, found.jwks_url) == (f"{provider.url}/r", f"{provider.url}/k")
    assert (found.userinfo_url, found.introspection_url) == (f"{provider.url}/u", f"{provider.url}/i")
    assert found.client_authentications == ("client_secret_post",)
    assert found.iss_in_answers


async def test_what_the_document_does_not_say_has_the_rfcs_default(provider, discovery):
    provider.says(document(provider), path=OPENID)
    found = await discovery.metadata(provider.url)
    assert found.client_authentications == ("client_secret_basic",)
    assert not found.iss_in_answers
    assert found.revocation_url is None


NO_OPENID = {
    "not found": {"body": "no", "status": 404},
    "forbidden": {"body": "no", "status": 403},
    "unauthorized": {"body": "no", "status": 401},
    "a page for people": {"body": "<html>", "content_type": "text/html"},
    "a redirect": {"status": 302, "headers": {"Location": "/login"}},
}


@pytest.mark.parametrize("said", NO_OPENID.values(), ids=NO_OPENID.keys())
async def test_rfc_8414_is_asked_when_the_openid_document_is(provider, discovery, said):
    provider.says(path=OPENID, **said)
    provider.says(document(provider), path=OAUTH)
    assert (await discovery.metadata(provider.url)).token_url == f"{provider.url}/t"


async def test_the_weather_at_the_first_address_does_not_lead_to_the_second(provider, discovery):
    provider.says(status=503, path=OPENID)
    provider.says(document(provider), path=OAUTH)
    assert (await refused(discovery.metadata(provider.url))).reason == "ProviderUnavailable"


async def test_the_weather_at_the_second_address_is_the_weather(provider, discovery):
    provider.says(status=503, path=OAUTH)
    assert (await refused(discovery.metadata(provider.url))).reason == "ProviderUnavailable"


async def test_no_document_at_either_address_is_the_apps(provider, discovery):
    problem = await refused(discovery.metadata(provider.url))
    assert (problem.kind, problem.reason) == ("App", "EndpointNotFound")
    assert [one.path for one in provider.received] == [OPENID, OAUTH]


ISSUERS = {"somebody else": "https://evil.example", "a slash more": "{url}/", "nothing": None, "a list": ["{url}"]}


@pytest.mark.parametrize("issuer", ISSUERS.values(), ids=ISSUERS.keys())
async def test_a_document_whose_issuer_is_another_is_refused(provider, discovery, issuer):
    named = issuer.format(url=provider.url) if isinstance(issuer, str) else issuer
    provider.says(document(provider, issuer=named), path=OPENID)
    problem = await refused(discovery.metadata(provider.url))
    assert (problem.kind, problem.reason) == ("App", "IssuerDiffers")
    assert "evil" not in problem.message


BAD_ENDPOINTS = {
    "a token endpoint that is missing": {"token_endpoint": None},
    "an authorization endpoint that is missing": {"authorization_endpoint": None},
    "a token endpoint of another scheme": {"token_endpoint": "ftp://h.example/t"},
    "a token endpoint that is a number": {"token_endpoint": 5},
    "a token endpoint at a port that cannot be": {"token_endpoint": "https://h.example:99999/t"},
    "a token endpoint without a host": {"token_endpoint": "https:///t"},
    "a key set of another scheme": {"jwks_uri": "file:///etc/passwd"},
    "a revocation endpoint that is relative": {"revocation_endpoint": "/r"},
}


@pytest.mark.parametrize("wrong", BAD_ENDPOINTS.values(), ids=BAD_ENDPOINTS.keys())
async def test_a_document_is_refused_for(provider, discovery, wrong):
    provider.says(document(provider, **wrong), path=OPENID)
    problem = await refused(discovery.metadata(provider.url))
    assert (problem.kind, problem.reason) == ("App", "InvalidMetadata")


async def test_an_answer_counts_for_an_hour(provider, discovery, clock):
    provider.says(document(provider), path=OPENID)
    await discovery.metadata(provider.url)
    clock.advance(timedelta(minutes=59))
    await discovery.metadata(provider.url)
    assert len(provider.received) == 1
    clock.advance(timedelta(minutes=2))
    await discovery.metadata(provider.url)
    assert len(provider.received) == 2


async def test_a_failure_counts_for_half_a_minute(provider, discovery, clock):
    provider.says(status=503, path=OPENID)
    first = await refused(discovery.metadata(provider.url))
    again = await refused(discovery.metadata(provider.url))
    assert (first.reason, again.reason, len(provider.received)) == ("ProviderUnavailable", "ProviderUnavailable", 1)
    provider.says(document(provider), path=OPENID)
    clock.advance(RETRY)
    assert await discovery.metadata(provider.url)


async def test_an_old_answer_survives_the_weather(provider, discovery, clock):
    provider.says(document(provider), path=OPENID)
    before = await discovery.metadata(provider.url)
    provider.says(status=503, path=OPENID)
    clock.advance(timedelta(hours=2))
    assert await discovery.metadata(provider.url) == before
    assert len(provider.received) == 2


async def test_an_old_answer_does_not_survive_a_document_that_is_wrong_now(provider, discovery, clock):
    provider.says(document(provider), path=OPENID)
    await discovery.metadata(provider.url)
    provider.says(document(provider, issuer="https://evil.example"), path=OPENID)
    clock.advance(timedelta(hours=2))
    assert (await refused(discovery.metadata(provider.url))).reason == "IssuerDiffers"


async def test_many_askers_at_once_make_one_request(provider, discovery):
    provider.says(document(provider), path=OPENID, delay=0.05)
    found = await asyncio.gather(*(discovery.metadata(provider.url) for _ in range(50)))
    assert len(found) == 50
    assert len(provider.received) == 1


async def test_an_asker_who_leaves_does_not_harm_the_others(provider, discovery):
    provider.says(document(provider), path=OPENID, delay=0.05)
    first = asyncio.create_task(discovery.metadata(provider.url))
    others = [asyncio.create_task(discovery.metadata(provider.url)) for _ in range(3)]
    await asyncio.sleep(0.01)
    first.cancel()
    assert all(await asyncio.gather(*others))
