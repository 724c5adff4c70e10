"""What is written down of requests that cannot be read."""

import asyncio
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cube_oauth.logs import unquoted

CANARY = b"canary"
REQUESTS = {
    "a cookie with a control character": b"GET / HTTP/1.1\r\nHost: x\r\nCookie: session=canary\x01\r\n\r\n",
    "a token with one": b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer canary\x01\r\n\r\n",
    "an address that is too long": b"GET /callback?code=canary" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header that is too long": b"GET / HTTP/1.1\r\nHost: x\r\nCookie: session=canary" + b"x" * 9000 + b"\r\n\r\n",
    "a body that is no chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nclient_secret=canary\r\n",
}


@pytest.fixture
def filtered():
    logger = logging.getLogger("aiohttp.server")
    logger.addFilter(unquoted)
    yield
    logger.removeFilter(unquoted)


async def sent(request, handler):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app, host="127.0.0.1") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        answer = await reader.read(200)
        writer.close()
        return answer


async def echo(request):
    return web.Response(body=await request.read())


@pytest.mark.usefixtures("filtered")
@pytest.mark.parametrize("request_line", REQUESTS.values(), ids=REQUESTS)
async def test_nothing_of_a_request_that_cannot_be_read_is_logged(caplog, request_line):
    await sent(request_line, echo)
    (record,) = [record for record in caplog.records if record.name == "aiohttp.server"]
    assert (record.levelname, record.getMessage()) == ("WARNING", "a request cannot be read")
    assert CANARY.decode() not in caplog.text + str([vars(record) for record in caplog.records])


@pytest.mark.usefixtures("filtered")
async def test_a_failure_of_our_own_is_logged_with_where_it_was(caplog):
    async def fails(request):
        raise RuntimeError("ours")

    assert b"500" in await sent(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", fails)
    assert "RuntimeError: ours" in caplog.text
