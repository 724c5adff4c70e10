"""The sidecar's connections to the broker."""

import asyncio
from types import SimpleNamespace

import pytest

from cube_oauth.resolver.errors import BrokerUnreachableError
from cube_oauth.resolver.upstream import Upstream
from tests.parts.certificates import self_made


@pytest.fixture
def authorities(tmp_path):
    return [self_made(tmp_path / name, "localhost").cert.read_text() for name in ("first", "second", "third")]


async def test_connections_that_trust_a_former_authority_are_closed_with_the_stream_that_told_of_the_next(authorities, tmp_path):
    (tmp_path / "token").write_text("a token")
    came, over = asyncio.Event(), asyncio.Event()

    async def connected(_, writer):
        came.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    first, *others = authorities
    upstream = Upstream(SimpleNamespace(broker_url=url, ca=first, token_file=str(tmp_path / "token"), apps=()))
    await upstream.open()
    clients, line = [upstream._client], asyncio.create_task(anext(upstream.changes()))
    await came.wait()
    for ca in others:
        upstream.trust(ca)
        clients.append(upstream._client)
    over.set()
    with pytest.raises(BrokerUnreachableError):
        await line
    assert [client.is_closed for client in clients] == [True, True, False]
    await upstream.close()
    assert clients[-1].is_closed
    server.close()
