"""One sidecar and two replicas of the broker: its stream comes from one, its answers from another that hears of changes later."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from cube_oauth.broker import service
from cube_oauth.broker.callers import Workload
from cube_oauth.broker.changes import Changes
from cube_oauth.broker.demand import Demand
from cube_oauth.broker.files import Certificate
from cube_oauth.broker.metrics import Metrics
from cube_oauth.broker.service import Service
from cube_oauth.broker.web import Api
from cube_oauth.broker.world import World
from cube_oauth.resolver import metrics as resolver_metrics
from cube_oauth.resolver import stream
from cube_oauth.resolver.answers import Caller
from cube_oauth.resolver.service import Resolver
from cube_oauth.resolver.upstream import Upstream
from cube_oauth.settings import Installation
from tests.parts.certificates import self_made
from tests.parts.processes import free_port
from tests.unit.broker.test_answer import RING, token

ALICE = Caller("alice", None, None)
READY = {"conditions": [{"type": "Ready", "status": "True", "reason": "x"}]}
APP = {
    "metadata": {"name": "trino", "namespace": "team", "uid": "uid-trino", "resourceVersion": "1"},
    "spec": {"issuerURL": "https://idp.example.com", "clientID": "cube"},
    "status": READY,
}


def credential(version, **spec):
    metadata = {"name": "trino-uid-1", "namespace": "team", "uid": "uid-1", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"username": "alice", "oauthAppRef": {"name": "trino"}, **spec}}


def token_secret(version):
    now = datetime.now(UTC)
    secret = token(issued_at=now, expires_at=now + timedelta(hours=1)).to_kubernetes("tokens")
    secret["metadata"]["resourceVersion"] = str(version)
    return secret


class Cluster:
    """What one replica is told by its API server, when the test says so."""

    def __init__(self, credentials):
        self.items = {"oauthapps": [APP], "usercredentials": credentials, "token": [token_secret(2)], "account": []}
        self.events = {kind: asyncio.Queue() for kind in self.items}

    async def request(self, method, path, *, query, **_):
        return {"metadata": {"resourceVersion": "9"}, "items": self.items[self._kind(path, query)]}

    async def lines(self, path, query, silence):
        while True:
            yield await self.events[self._kind(path, query)].get()

    async def merge(self, *_):
        return {}

    def _kind(self, path, query):
        return query["labelSelector"].rpartition("=")[2] if "labelSelector" in query else path.rpartition("/")[2]


class Replica:
    def __init__(self, certificate, credentials):
        self.cluster, self.port = Cluster(credentials), free_port()
        self.changes, installation = Changes(), Installation("co", "co", "tokens", ("team",), "https://portal")
        self.world = World(self.cluster, installation, self.changes.changed, self.changes.account_changed)
        ring = SimpleNamespace(ring=RING, look=lambda: None)
        self.service = Service(self.world, ring, Demand(self.cluster), Metrics())
        reviewer = SimpleNamespace(workload=self._workload)
        self.api = Api(self.service, reviewer, self.changes, certificate, Metrics())

    async def _workload(self, token):
        return Workload("team", "default")

    @asynccontextmanager
    async def running(self):
        mirrors = [asyncio.create_task(mirror.run()) for mirror in self.world.mirrors]
        try:
            async with self.api.serving(("127.0.0.1", self.port)):
                await until(lambda: self.world.synced)
                yield self
        finally:
            for task in mirrors:
                task.cancel()
            await asyncio.gather(*mirrors, return_exceptions=True)

    async def hear(self, kind, event, item):
        """Returns once it was heard."""
        version = int(item["metadata"]["resourceVersion"])
        self.cluster.events[kind].put_nowait({"type": event, "object": item})
        await until(lambda: any(version in mirror._versions.values() for mirror in self.world.mirrors))


async def until(true):
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)


@asynccontextmanager
async def service_of(*replicas):
    """A port like a Service's: the first connection goes to the first replica, each other one to the last."""
    number = 0

    async def forward(reader, writer):
        nonlocal number
        replica, number = replicas[min(number, len(replicas) - 1)], number + 1
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", replica.port)
        await asyncio.gather(_pump(reader, their_writer), _pump(their_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class Sidecar:
    def __init__(self, url, ca, token_file):
        self.upstream = Upstream(SimpleNamespace(broker_url=url, ca=ca, token_file=token_file, apps=()))
        self.resolver = Resolver(self.upstream, 300, resolver_metrics.Metrics())
        self.told = []
        self.resolver.listeners.add(self.told.append)

    @asynccontextmanager
    async def running(self):
        await self.upstream.open()
        following = asyncio.create_task(stream.follow(self.upstream, self.resolver))
        try:
            await until(lambda: self.resolver._connected)
            yield self
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            self.resolver.close()
            await self.upstream.close()

    async def reason(self):
        return json.loads(await self.resolver.resolve(ALICE))["credentials"]["trino"]["reason"]


@pytest.fixture
async def start(tmp_path, monkeypatch):
    """Both replicas know these credentials; gives the one that the stream comes from, the other, and the sidecar."""
    monkeypatch.setattr(service, "LAG_SECONDS", 0)
    pem = self_made(tmp_path, "localhost", "127.0.0.1").cert.read_text()
    (tmp_path / "ca.crt").write_text(pem)
    (tmp_path / "token").write_text("a token")
    certificate = Certificate(str(tmp_path))
    async with AsyncExitStack() as stack:

        async def started(*credentials):
            first, second = [await stack.enter_async_context(Replica(certificate, [*credentials]).running()) for _ in range(2)]
            port = await stack.enter_async_context(service_of(first, second))
            sidecar = Sidecar(f"https://127.0.0.1:{port}", pem, str(tmp_path / "token"))
            return first, second, await stack.enter_async_context(sidecar.running())

        yield started


@pytest.mark.parametrize(
    ("known", "event", "changed", "before", "after"),
    [
        ([credential(3)], "MODIFIED", credential(11, suspend=True), "Active", "Suspended"),
        ([], "ADDED", credential(11), "NotConnected", "Active"),
    ],
)
async def test_what_a_replica_answers_that_has_not_heard_yet_what_the_stream_told_is_not_kept(
    start, known, event, changed, before, after
):
    first, second, sidecar = await start(*known)
    assert await sidecar.reason() == before
    await first.hear("usercredentials", event, changed)
    await until(lambda: "alice" in sidecar.told)
    assert await sidecar.reason() == before  # of the second one, which knows no better
    await second.hear("usercredentials", event, changed)
    assert await sidecar.reason() == after
    assert sidecar.resolver.remembered(ALICE)


async def test_a_replica_waits_a_moment_for_what_is_on_its_way_to_it(start, monkeypatch):
    monkeypatch.setattr(service, "LAG_SECONDS", 10)
    first, second, sidecar = await start(credential(3))
    suspended = credential(11, suspend=True)
    await first.hear("usercredentials", "MODIFIED", suspended)
    await until(lambda: "alice" in sidecar.told)
    asking = asyncio.create_task(sidecar.reason())
    await asyncio.sleep(0.1)
    await second.hear("usercredentials", "MODIFIED", suspended)
    assert await asking == "Suspended"
