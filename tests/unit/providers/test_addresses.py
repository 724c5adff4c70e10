from ipaddress import ip_address, ip_network

import pytest
from aiohttp.abc import AbstractResolver
from pydantic import SecretStr

from cube_oauth.providers import ProviderClient, ProviderError, Transport
from cube_oauth.providers.addresses import refused

REFUSED = [
    "0.0.0.0",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "169.254.1.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd20:ce::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
]

CALLED = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "fd12::1", "2001:4860:4860::8888", "::ffff:10.0.0.1"]


@pytest.mark.parametrize("address", REFUSED)
def test_is_never_called(address):
    assert refused(ip_address(address))


@pytest.mark.parametrize("address", CALLED)
def test_may_be_called(address):
    assert not refused(ip_address(address))


def test_an_allowed_network_is_called_in_every_spelling():
    allowed = (ip_network("127.0.0.0/8"),)
    assert not refused(ip_address("127.0.0.1"), allowed)
    assert not refused(ip_address("::ffff:127.0.0.1"), allowed)
    assert refused(ip_address("169.254.169.254"), allowed)
    assert refused(ip_address("::1"), allowed)


class Resolver(AbstractResolver):
    """Answers every name with the given addresses."""

    def __init__(self, *addresses):
        self.addresses = addresses

    async def resolve(self, host, port=0, family=0):
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": 10 if ":" in address else 2,
                "proto": 0,
                "flags": 4,
            }
            for address in self.addresses
        ]

    async def close(self):
        pass


async def asked(provider, credentials, host, *addresses, allowed=()):
    """The error of a refresh at ``host``, when its name resolves to ``addresses``."""
    endpoints = provider.endpoints(token_url=f"http://{host}:{provider.server.port}/token")
    async with ProviderClient(Transport(allowed=allowed, plain_http=True)) as client:
        if addresses:
            client._transport._session.connector._resolver = Resolver(*addresses)
        with pytest.raises(ProviderError) as caught:
            await client.refresh(endpoints, credentials, SecretStr("r"))
    return caught.value


LITERALS = ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0.0.0.0", "[fe80::1]", "localhost"]


@pytest.mark.parametrize("host", LITERALS)
async def test_an_address_in_the_url_is_refused(provider, credentials, host):
    problem = await asked(provider, credentials, host)
    assert (problem.kind, problem.reason, problem.sent) == ("App", "AddressRefused", False)
    assert provider.received == []


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f000001", "0177.0.0.1"])
async def test_an_odd_spelling_of_localhost_is_refused(provider, credentials, host):
    problem = await asked(provider, credentials, host)
    assert problem.reason in ("AddressRefused", "InvalidURL", "HostNotFound")
    assert provider.received == []


NAMES = {
    "to localhost": ("127.0.0.1",),
    "to the metadata service": ("169.254.169.254",),
    "to localhost in both families": ("127.0.0.1", "::1"),
    "to several refused ones": ("127.0.0.1", "::1", "169.254.169.254"),
}


@pytest.mark.parametrize("addresses", NAMES.values(), ids=NAMES.keys())
async def test_a_name_that_leads(provider, credentials, addresses):
    problem = await asked(provider, credentials, "innocent.example", *addresses)
    assert (problem.kind, problem.reason, problem.sent) == ("App", "AddressRefused", False)
    assert provider.received == []


async def test_a_refused_address_beside_one_that_is_called_is_passed_over(provider, credentials):
    provider.says({"error": "invalid_grant"}, 400)
    allowed = (ip_network("127.0.0.1/32"),)
    problem = await asked(provider, credentials, "innocent.example", "127.0.0.2", "127.0.0.1", allowed=allowed)
    assert problem.reason == "InvalidGrant"
    assert len(provider.received) == 1
