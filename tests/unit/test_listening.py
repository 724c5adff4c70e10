"""Where the processes listen."""

import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from cube_oauth import health
from cube_oauth.resolver import health as resolver_health
from cube_oauth.resolver.metrics import Metrics
from cube_oauth.settings import Environment, SettingsError
from tests.parts.processes import free_port


def address(text):
    return Environment({"CUBE_OAUTH_LISTEN": text}).address("LISTEN", ":8080")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", (None, 8080)), (":9000", (None, 9000)), ("127.0.0.1:9000", ("127.0.0.1", 9000)), ("[::1]:9000", ("::1", 9000))],
)
def test_an_address_to_listen_at(text, expected):
    assert address(text) == expected


def test_an_address_without_a_port_is_refused_with_what_to_write():
    with pytest.raises(SettingsError, match="CUBE_OAUTH_LISTEN must be host:port, for example"):
        address("localhost")


@asynccontextmanager
async def of_the_sidecar(where):
    async with resolver_health.serving(where, Metrics()):
        yield


def of_the_others(where):
    return health.serve(where, CollectorRegistry(), ready=lambda: None, alive=lambda: None)


def ipv6():
    """Whether this machine has it."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("serving", [of_the_sidecar, of_the_others])
async def test_without_a_host_both_families_of_addresses_are_served(serving, monkeypatch):
    monkeypatch.setattr(resolver_health, "READ_SECONDS", 60)
    port = free_port()
    async with serving(Environment({"CUBE_OAUTH_LISTEN": f":{port}"}).address("LISTEN", "")), aiohttp.ClientSession() as kubelet:
        for host in ("127.0.0.1", "[::1]"):
            async with kubelet.get(f"http://{host}:{port}/healthz") as answer:
                assert answer.status == 200
