"""The sidecar with the broker behind it, and a real API server behind that: what Cube's hook sees."""

import asyncio
import contextlib
import json
import logging

import aiohttp
import pytest

from cube_oauth import resolver
from cube_oauth.broker import files
from cube_oauth.kube.api import USER_CREDENTIALS
from cube_oauth.resolver import rpc
from tests.control_plane.brokers import CANARY, PATIENCE, eventually, new_tenant, running_broker, told
from tests.parts.processes import free_port

pytestmark = pytest.mark.control_plane


class Hook:
    """What Cube preloads, as far as the socket goes."""

    def __init__(self, reader, writer):
        self._writer = writer
        self._answers, self.news = {}, asyncio.Queue()
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader):
        while line := await reader.readline():
            message = json.loads(line)
            if "id" in message:
                self._answers[message["id"]].set_result(message)
            else:
                self.news.put_nowait(message["params"])

    async def ask(self, method="resolve", username="alice", **more):
        number = len(self._answers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        params = {"caller": {"username": username, "issuer": "https://idp.example.com", "assertion": None}, **more}
        self._writer.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n")
        return await asyncio.wait_for(self._answers[number], PATIENCE)

    async def entry(self, **more):
        answer = await self.ask(**more)
        assert "result" in answer, answer
        return answer["result"]["credentials"]["trino"]

    async def until_told(self, params):
        async with asyncio.timeout(PATIENCE):
            while await self.news.get() != params:
                pass

    async def close(self):
        self._writer.close()
        await self._reading


@pytest.fixture
async def tenant(control_plane, kubectl, namespace, tmp_path):
    async with new_tenant(control_plane, kubectl, namespace, tmp_path) as made:
        yield made


@pytest.fixture
async def broker(tenant, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(files, "LOOK_SECONDS", 0.05)
    async with running_broker(tenant, tmp_path, monkeypatch) as running:
        yield running
    assert not [record for record in told(caplog) if CANARY in record.getMessage()]


@pytest.fixture
async def alice(tenant, broker):
    """Connected, and known to the broker."""
    app = await tenant.app()
    credential = await tenant.connected("alice", app)
    await broker.eventually("alice", tenant.pod_token(), "active")
    return credential, app


@pytest.fixture
async def hook(tenant, broker, alice, tmp_path):
    (tmp_path / "token").write_text(tenant.pod_token())
    variables = {
        "CUBE_OAUTH_SOCKET": str(tmp_path / "resolver.sock"),
        "CUBE_OAUTH_HOOK": str(tmp_path / "hook.cjs"),
        "CUBE_OAUTH_BROKER_URL": broker.url,
        "CUBE_OAUTH_CA": broker.ca,
        "CUBE_OAUTH_TOKEN_FILE": str(tmp_path / "token"),
        "CUBE_OAUTH_LISTEN": f"127.0.0.1:{free_port()}",
        "CUBE_OAUTH_OUTAGE_SECONDS": "15",  # it begins while the broker is still about to stop
    }
    stop = asyncio.Event()
    running = asyncio.create_task(resolver.run(variables, stop))

    async def open_stream():
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.request("GET", f"http://{variables['CUBE_OAUTH_LISTEN']}/metrics") as answer:
                return "cube_oauth_resolver_stream_connected 1" in await answer.text()

    await eventually(open_stream)
    connected = Hook(*await asyncio.open_unix_connection(variables["CUBE_OAUTH_SOCKET"], limit=rpc.MAX_LINE))
    yield connected
    stop.set()
    await running
    await connected.close()


async def resolves(broker):
    for line in (await broker.metrics()).splitlines():
        if line.startswith('cube_oauth_broker_requests_total{method="resolve",outcome="OK"}'):
            return float(line.split()[-1])
    return 0.0


async def test_many_queries_of_one_person_cost_the_broker_one_request(broker, hook):
    before = await resolves(broker)
    answers = await asyncio.gather(*(hook.entry() for _ in range(50)))
    assert {answer["accessToken"] for answer in answers} == {f"{CANARY}alice-1"}
    assert await resolves(broker) == before + 1


async def test_a_new_token_and_a_suspension_reach_the_hook(tenant, alice, hook):
    credential, app = alice
    assert (await hook.entry())["revision"] == 1
    await tenant.token(tenant.record(credential, app, revision=2))
    await hook.until_told({"username": "alice"})
    assert (await hook.entry())["revision"] == 2
    await tenant.admin.merge(USER_CREDENTIALS, credential["metadata"]["name"], {"spec": {"suspend": True}}, tenant.namespace)
    await hook.until_told({"username": "alice"})
    entry = await hook.entry()
    assert (entry["status"], "accessToken" in entry) == ("revoked", False)


async def test_an_outage_is_bridged_for_a_while_and_over_when_the_broker_is_back(broker, hook):
    await hook.entry()
    await broker.stop()
    await hook.until_told({})
    answer = (await hook.ask())["result"]
    assert (answer["credentials"]["trino"]["accessToken"], answer["stale"]) == (f"{CANARY}alice-1", True)
    assert (await hook.ask(username="bob"))["error"]["data"]["reason"] == "BrokerUnreachable"

    async def refused():
        return (await hook.ask()).get("error")

    error = await eventually(refused)  # the time is up
    assert (error["code"], error["data"]["reason"]) == (-32000, "BrokerUnreachable")
    await broker.start()

    async def current():
        answer = (await hook.ask()).get("result", {"stale": True})
        return None if "stale" in answer else answer

    assert (await eventually(current))["credentials"]["trino"]["accessToken"] == f"{CANARY}alice-1"


async def test_what_changed_during_an_outage_counts_after_it(tenant, alice, broker, hook):
    credential, _ = alice
    await hook.entry()
    await broker.stop()
    await tenant.admin.delete(USER_CREDENTIALS, credential["metadata"]["name"], tenant.namespace)
    await broker.start()

    async def withdrawn():
        return (await hook.entry())["status"] == "missing"

    await eventually(withdrawn)


async def test_a_pod_that_may_not_ask_is_told_so(tenant, broker, hook, tmp_path):
    (tmp_path / "token").write_text(tenant.pod_token(audience="other.example.com"))
    error = (await hook.ask(username="carol"))["error"]
    assert (error["code"], error["data"]["reason"]) == (-32001, "Forbidden")


async def test_a_refused_token_comes_back_newer(tenant, alice, hook):
    credential, app = alice
    assert (await hook.entry())["revision"] == 1
    asked = asyncio.create_task(hook.ask("invalidate", dataSource="trino", revision=1))

    async def written():
        return (await tenant.demand(credential)).get("rejectedRevision")

    assert await eventually(written) == 1
    await tenant.token(tenant.record(credential, app, revision=2))
    assert (await asked)["result"]["credentials"]["trino"]["revision"] == 2
