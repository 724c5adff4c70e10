"""The socket, with everything behind it but the network."""

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest

from cube_oauth import injection
from cube_oauth.resolver import files, health, rpc, service
from cube_oauth.resolver.environment import Environment
from cube_oauth.resolver.errors import BrokerUnreachableError
from cube_oauth.resolver.metrics import Metrics
from cube_oauth.resolver.service import Resolver

CANARY = "canary-token"
ANSWER = {"username": "alice", "credentials": {"trino": {"status": "missing", "reason": "NotConnected"}}}


class Broker:
    def __init__(self):
        self.refused, self.expected, self.told = [], True, asyncio.Event()

    async def invalidate_account(self, variable, revision):
        self.refused.append((variable, revision))
        self.told.set()
        return self.expected

    async def resolve(self, caller):
        if caller.username == "unknown":
            raise BrokerUnreachableError("away")
        if caller.username == "broken":
            raise RuntimeError(CANARY)
        return json.dumps({**ANSWER, "username": caller.username}).encode()

    async def invalidate(self, caller, data_source, revision):
        return json.dumps({**ANSWER, "refused": [data_source, revision]}).encode()


class Hook:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, message):
        self.writer.write((message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n")

    async def line(self):
        return json.loads(await asyncio.wait_for(self.reader.readline(), 10))

    async def ask(self, request_id, method, **params):
        self.send({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        return await self.line()


@pytest.fixture
async def broker():
    return Broker()


@pytest.fixture
async def resolver(broker):
    return Resolver(broker, 300, Metrics())


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
async def socket(resolver, metrics, tmp_path):
    path = str(tmp_path / "resolver.sock")
    async with rpc.Server(resolver, metrics).listening(path):
        yield path


@pytest.fixture
async def hook(socket):
    reader, writer = await asyncio.open_unix_connection(socket)
    yield Hook(reader, writer)
    writer.close()


async def test_resolve_answers_with_the_request_id(hook):
    answer = await hook.ask(7, "resolve", caller={"username": "alice", "assertion": None}, requestID="b7")
    assert answer == {"jsonrpc": "2.0", "id": 7, "result": {**ANSWER, "stale": True}}, "without a stream nobody says what changes"


async def test_a_second_answer_comes_from_memory_and_is_the_same(hook, resolver):
    resolver.connected()
    first = await hook.ask(1, "resolve", caller={"username": "alice"})
    second = await hook.ask("x", "resolve", caller={"username": "alice"})
    assert (second["id"], second["result"]) == ("x", first["result"])


async def test_invalidate_passes_on_what_was_refused(hook):
    answer = await hook.ask(1, "invalidate", caller={"username": "alice"}, dataSource="trino", revision=12)
    assert answer["result"]["refused"] == ["trino", 12]


async def test_whoever_is_not_named_is_asked_about_without_a_name(hook):
    assert (await hook.ask(1, "resolve", caller=None))["result"]["username"] == ""
    error = (await hook.ask(2, "resolve", caller={"username": ""}))["error"]
    assert error["data"]["reason"] == "BadRequest"


async def test_what_the_hook_counts_is_in_the_metrics(hook, metrics):
    for _ in range(2):
        hook.send({"jsonrpc": "2.0", "method": "count", "params": {"decisions": {"Active": 3}, "drivers": {"opened": 1}}})
    hook.send({"jsonrpc": "2.0", "method": "count", "params": {"weather": {"sunny": 1}}})  # of a newer hook
    await hook.ask(1, "resolve", caller={"username": "alice"})
    assert 'cube_oauth_hook_decisions_total{reason="Active"} 6' in metrics.text()
    assert 'cube_oauth_hook_drivers_total{event="opened"} 2' in metrics.text()


async def test_the_access_log_names_requests_and_outcomes_and_nothing_else(hook, caplog):
    caplog.set_level("DEBUG", "cube_oauth.resolver")
    caller = {"username": "alice", "issuer": "https://idp", "assertion": CANARY}
    await hook.ask(1, "resolve", caller=caller, requestID="b7" * 300)
    [record] = [record for record in caplog.records if record.message == "request of a hook"]
    assert (record.method, record.outcome, record.requestID) == ("resolve", "broker", "b7" * 100)
    assert not any(word in repr(vars(record)) for word in (CANARY, "alice", "idp"))


@pytest.mark.parametrize("counts", [{"a token": 1}, {"x" * 41: 1}, {'"': 1}, {"Active": -1}, {"Active": "1"}])
async def test_what_is_no_count_of_words_is_refused(hook, metrics, counts):
    hook.send({"jsonrpc": "2.0", "method": "count", "params": {"decisions": counts}})
    assert (await hook.line())["error"]["data"]["reason"] == "BadRequest"
    assert "cube_oauth_hook" not in metrics.text()


def test_made_up_reasons_fill_no_memory():
    metrics = Metrics()
    for number in range(1000):
        metrics.hook("decisions", f"Reason{number}", 1)
    metrics.hook("decisions", "Reason1", 1)
    assert len(metrics.counters) == 200
    assert 'reason="Reason1"} 2' in metrics.text()


async def test_changes_reach_every_hook(socket, hook, resolver):
    reader, writer = await asyncio.open_unix_connection(socket)
    other = Hook(reader, writer)
    await other.ask(1, "resolve", caller={"username": "alice"})
    await hook.ask(1, "resolve", caller={"username": "alice"})
    resolver.changed("alice")
    for one in (hook, other):
        assert await one.line() == {"jsonrpc": "2.0", "method": "changed", "params": {"username": "alice"}}
    writer.close()


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        (b"{", -32700, "ParseError"),
        (b"\xff\xfe", -32700, "ParseError"),
        (b"[" * 100_000, -32700, "ParseError"),
        (b"[]", -32600, "InvalidRequest"),
        (b'{"id":1,"method":"resolve"}', -32600, "InvalidRequest"),
        (b'{"jsonrpc":"2.0","method":"resolve"}', -32600, "InvalidRequest"),
        (b'{"jsonrpc":"2.0","id":1,"method":"dance"}', -32601, "MethodNotFound"),
        (b'{"jsonrpc":"2.0","id":1,"method":"resolve"}', -32602, "BadRequest"),
        (b'{"jsonrpc":"2.0","id":1,"method":"resolve","params":{"caller":{"username":""}}}', -32602, "BadRequest"),
        (b'{"jsonrpc":"2.0","id":1,"method":"resolve","params":{"caller":{"username":"a","issuer":1}}}', -32602, "BadRequest"),
        (b'{"jsonrpc":"2.0","id":1,"method":"invalidate","params":{"caller":{"username":"a"}}}', -32602, "BadRequest"),
        (b'{"jsonrpc":"2.0","id":1,"method":"invalidateAccount","params":{"variable":"A"}}', -32602, "BadRequest"),
        (b'{"jsonrpc":"2.0","id":1,"method":"invalidateAccount","params":[]}', -32602, "BadRequest"),
        (b'{"jsonrpc":"2.0","id":1,"method":"resolve","params":{"caller":{"username":"unknown"}}}', -32000, "BrokerUnreachable"),
        (b'{"jsonrpc":"2.0","id":1,"method":"resolve","params":{"caller":{"username":"broken"}}}', -32603, "InternalError"),
    ],
)
async def test_what_goes_wrong_has_a_code_and_a_reason_and_the_connection_lives(hook, caplog, line, code, reason):
    hook.send(line)
    error = (await hook.line())["error"]
    assert (error["code"], error["data"]["reason"]) == (code, reason)
    assert CANARY not in json.dumps(error)
    assert CANARY not in caplog.text + repr([vars(record) for record in caplog.records])
    assert "result" in await hook.ask(2, "resolve", caller={"username": "alice"})


async def test_a_line_of_more_than_a_mebibyte_is_refused_and_ends_the_connection(hook):
    hook.send(b"x" * (rpc.MAX_LINE + 10))
    assert (await hook.line())["error"]["data"]["reason"] == "InvalidRequest"
    assert await hook.reader.read() == b""


async def test_a_long_line_below_the_limit_is_read(hook):
    assertion = "x" * (rpc.MAX_LINE - 1000)
    assert "result" in await hook.ask(1, "resolve", caller={"username": "alice", "assertion": assertion})


def test_any_user_of_the_pod_may_connect_and_read_the_hook(tmp_path):
    socket, hook = tmp_path / "resolver.sock", tmp_path / "hook.cjs"
    files.write_hook(str(hook))
    with files.listen(str(socket)):
        assert stat.S_IMODE(socket.stat().st_mode) == 0o666
    files_of_the_hook = [hook, *(tmp_path / "hook").iterdir()]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files_of_the_hook] == [0o444] * len(files_of_the_hook)
    assert stat.S_IMODE((tmp_path / "hook").stat().st_mode) == 0o755


def test_the_hook_is_written_as_it_is_in_the_package_under_any_name_and_umask(tmp_path):
    before = os.umask(0o077)
    try:
        files.write_hook(str(tmp_path / "entry.cjs"))
    finally:
        os.umask(before)
    package = Path(injection.__path__[0])
    written = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.cjs")}
    assert written.pop(Path("entry.cjs")) == (package / "hook.cjs").read_text()
    assert written == {path.relative_to(package): path.read_text() for path in (package / "hook").iterdir()}
    assert stat.S_IMODE((tmp_path / "hook").stat().st_mode) == 0o755


async def test_a_restarted_sidecar_takes_over_socket_and_hook(resolver, tmp_path):
    path = str(tmp_path / "resolver.sock")
    for _ in range(2):
        files.write_hook(str(tmp_path / "hook.cjs"))
        async with rpc.Server(resolver, Metrics()).listening(path):
            reader, writer = await asyncio.open_unix_connection(path)
            assert "result" in await Hook(reader, writer).ask(1, "resolve", caller={"username": "alice"})
            writer.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hook", "hook.cjs", "resolver.sock"]


async def test_the_end_closes_the_hooks_connections(resolver, tmp_path):
    path = str(tmp_path / "resolver.sock")
    async with rpc.Server(resolver, Metrics()).listening(path):
        reader, writer = await asyncio.open_unix_connection(path)
        await Hook(reader, writer).ask(1, "resolve", caller={"username": "alice"})
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    ("request_line", "status", "text"),
    [
        ("GET /healthz HTTP/1.1", b"200", b"ok"),
        ("GET /metrics HTTP/1.1", b"200", b'cube_oauth_resolver_requests_total{method="resolve",outcome="memory"} 1'),
        ("GET /else HTTP/1.1", b"404", b""),
        ("nonsense", b"404", b""),
    ],
)
async def test_the_kubelet_and_prometheus_are_answered(request_line, status, text, monkeypatch):
    monkeypatch.setattr(health, "READ_SECONDS", 60)
    metrics = Metrics()
    metrics.request("resolve", "memory")
    async with health.serving(("127.0.0.1", 0), metrics) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{request_line}\r\nHost: x\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer.split(b" ")[1] == status
    assert text in answer


async def test_a_service_account_reaches_every_hook_once_and_those_that_come_later(hook, socket, resolver, caplog):
    resolver.environment.take(Environment({"CUBEJS_DB_PASS": CANARY}, {"CUBEJS_DB_PASS": 4}))
    params = {"values": {"CUBEJS_DB_PASS": CANARY}, "revisions": {"CUBEJS_DB_PASS": 4}}
    assert await hook.line() == {"jsonrpc": "2.0", "method": "env", "params": params}
    resolver.environment.take(Environment({"CUBEJS_DB_PASS": CANARY}, {"CUBEJS_DB_PASS": 4}))
    resolver.interrupted("away")
    resolver.environment.take(Environment({"CUBEJS_DB_PASS": None}))
    withdrawn = {"values": {"CUBEJS_DB_PASS": None}, "revisions": {}}
    assert (await hook.line())["params"] == withdrawn
    reader, writer = await asyncio.open_unix_connection(socket)
    assert (await Hook(reader, writer).line())["params"] == withdrawn
    writer.close()
    assert CANARY not in caplog.text


async def test_a_hook_has_the_newer_token_before_it_is_answered_that_it_came(hook, resolver, broker):
    resolver.environment.take(Environment({"TOKEN": "first"}, {"TOKEN": 4}))
    await hook.line()
    hook.send({"jsonrpc": "2.0", "id": 7, "method": "invalidateAccount", "params": {"variable": "TOKEN", "revision": 4}})
    async with asyncio.timeout(10):
        await broker.told.wait()
    resolver.environment.take(Environment({"TOKEN": "first", "OTHER": "x"}, {"TOKEN": 4}))
    resolver.environment.take(Environment({"TOKEN": "second", "OTHER": "x"}, {"TOKEN": 5}))
    assert [(await hook.line()).get("method") for _ in range(2)] == ["env", "env"]
    assert await hook.line() == {"jsonrpc": "2.0", "id": 7, "result": {}}
    assert await hook.ask(8, "invalidateAccount", variable="TOKEN", revision=4) == {"jsonrpc": "2.0", "id": 8, "result": {}}
    assert broker.refused == [("TOKEN", 4)] * 2


async def test_a_hook_does_not_wait_for_a_token_that_nobody_fetches(hook, broker, resolver):
    resolver.environment.take(Environment({"PASS": "p"}, {"PASS": 1}))
    await hook.line()
    broker.expected = False
    assert (await hook.ask(1, "invalidateAccount", variable="PASS", revision=1))["result"] == {}


async def test_a_hook_waits_for_another_token_for_a_while_only(hook, resolver, monkeypatch):
    monkeypatch.setattr(service, "REPLACED_SECONDS", 0.01)
    resolver.environment.take(Environment({"TOKEN": "first"}, {"TOKEN": 4}))
    await hook.line()
    assert (await hook.ask(1, "invalidateAccount", variable="TOKEN", revision=4))["result"] == {}
