"""The hook in the real Cube, before the real Trino: what counts is as whom the warehouse sees a query."""

import asyncio
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest

from tests.hook import sql_api
from tests.hook.issuer import Issuer
from tests.hook.resolver import MISSING, FakeResolver, active
from tests.parts import cube as cubes
from tests.parts import web
from tests.parts.cube import Cube, LoadError
from tests.parts.processes import free_port
from tests.parts.warehouse import RefusedError, Warehouse

HOOK = Path(__file__).parents[2] / "operator/cube_oauth/injection/hook.cjs"
SERVICE = "cube-service-account"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the documented configuration with a model whose answers Cube may keep for an hour."""
    copy = tmp_path_factory.mktemp("project") / "cube"
    shutil.copytree(cubes.PROJECT, copy)
    model = copy / "model/whoami.yml"
    model.write_text(model.read_text().replace("every: 1 second", "every: 1 hour"))
    return copy


@pytest.fixture(scope="module")
def settings(issuer: Issuer, warehouse: Warehouse, resolver: FakeResolver) -> dict[str, str]:
    env = cubes.warehouse_environment(
        host="127.0.0.1", port=warehouse.port, ca=str(warehouse.ca), token=issuer.token(SERVICE), user=SERVICE
    )
    hook = {"CUBE_OAUTH_SOCKET": str(resolver.path), "CUBE_OAUTH_USERNAME_CLAIM": "username"}
    ways_in = {"CUBEJS_WEB_SOCKETS": "true", "CUBEJS_PG_SQL_PORT": str(free_port())}
    return env | hook | ways_in | {"CUBEJS_LOG_LEVEL": "trace"}


Start = Callable[..., Cube]


@pytest.fixture(scope="module")
def start(settings: dict[str, str], project: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    def start_cube(**more: str) -> Cube:
        env = settings | {"CUBE_NATIVE_SQL_PROBE": str(free_port())} | more
        return Cube(env=env, project=project, preload=HOOK, folder=tmp_path_factory.mktemp("log"))

    return start_cube


@pytest.fixture(scope="module")
def cube(start: Start) -> Iterator[Cube]:
    with start() as running:
        yield running


def fresh(name: str) -> str:
    """Return a user whom no other test has used."""
    return f"{name}-{time.monotonic_ns()}"


def sql(cube: Cube, context: dict[str, Any]) -> str:
    """Return what the SQL API answers (JSON) in a session with this security context."""
    return json.dumps(sql_api.load(cube, context, {"dimensions": ["whoami.who"], "filters": cubes.whoami_query()["filters"]}))


def seen(cube: Cube, resolver: FakeResolver, issuer: Issuer, *, said: bool = False) -> tuple[str, str, float]:
    """Connect a person whose token soon ends, and have the warehouse see them before; return name, token and end.

    The token lives the longer the busier the machine is. ``said``: whether the resolver says when it ends.
    """
    for seconds in (10, 30, 90):
        alice, ends = fresh("alice"), int(time.time() + seconds)
        token = issuer.token(alice, seconds=ends - time.time())
        told = {"expiresAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))} if said else {}
        resolver.set(alice, trino=active(token, **told))
        try:
            who = cube.cached(alice)["whoami.who"]
        except LoadError:
            if time.time() < ends:
                raise
        else:
            assert who == alice or time.time() >= ends
            if time.time() < ends - 1:
                return alice, token, ends
    raise AssertionError("no query was answered within 90 s")


def dead(warehouse: Warehouse, token: str) -> None:
    """Wait until the warehouse refuses the token."""
    try:
        while True:
            warehouse.query(token, "SELECT 1")
            time.sleep(0.2)
    except RefusedError:
        return


def test_everybody_is_seen_as_oneself_and_the_unconnected_as_the_service_account(
    cube: Cube, resolver: FakeResolver, issuer: Issuer
) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    resolver.set(alice, trino=active(issuer.token(alice)))
    resolver.set(bob, trino=active(issuer.token(bob)))
    assert [cube.whoami(name) for name in (alice, bob, fresh("carol"), None)] == [alice, bob, SERVICE, SERVICE]
    assert [cube.whoami(name) for name in (bob, alice)] == [bob, alice]


def test_graphql_is_asked_by_the_same_person(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    alice = fresh("alice")
    resolver.set(alice, trino=active(issuer.token(alice)))
    body = json.dumps({"query": "{ cube { whoami { who } } }"}).encode()
    headers = {"Authorization": cubes.api_token(alice), "Content-Type": "application/json"}
    answer = web.request("POST", f"{cube.url}/cubejs-api/graphql", body=body, headers=headers)
    assert answer.json()["data"]["cube"] == [{"whoami": {"who": alice}}]
    assert resolver.requests[-1]["params"]["caller"]["assertion"] == headers["Authorization"]


class WebSocket:
    """One connection of a user, for the length of an `async with` block."""

    def __init__(self, cube: Cube, username: str):
        self.cube = cube
        self.username = username

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(self.cube.url)
        await self.socket.send_json({"authorization": cubes.api_token(self.username)})
        assert await self.socket.receive_json() == {"handshake": True}
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.session.close()

    async def ask(self, message_id: int, method: str, **more: Any) -> None:
        message = {"messageId": message_id, "requestId": f"r{message_id}", "method": method}
        await self.socket.send_json(message | {"params": {"query": cubes.whoami_query()}} | more)

    async def told(self) -> str:
        """Return as whom the next rows were read, or the next error."""
        async with asyncio.timeout(60):
            async for message in self.socket:
                content = message.json().get("message", {})
                if "data" in content:
                    return content["data"][0]["whoami.who"]
                if content.get("error", "Continue wait") != "Continue wait":
                    return content["error"]
        raise AssertionError("the connection was closed")


async def test_a_web_socket_is_its_person_with_each_message_anew(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    alice = fresh("alice")
    resolver.set(alice, trino=active(issuer.token(alice)))
    async with WebSocket(cube, alice) as socket:
        await socket.ask(1, "load")
        assert await socket.told() == alice
        resolver.set(alice, trino={"status": "revoked", "reason": "Revoked", "fallback": "ServiceAccount"})
        await socket.ask(2, "load")
        assert await socket.told() == SERVICE


async def test_a_web_socket_message_cannot_say_who_sent_it(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    alice, mallory = fresh("alice"), fresh("mallory")
    for name in (alice, mallory):
        resolver.set(name, trino=active(issuer.token(name)))
    async with WebSocket(cube, mallory) as socket:
        await socket.ask(1, "load", securityContext={"username": alice})
        assert await socket.told() in {mallory, 'Unrecognized key: "securityContext"'}  # Cube 1.7 refuses it, older ones read it


async def test_a_subscription_obeys_a_revocation_in_the_middle(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    alice = fresh("alice")
    link = "https://portal.example/connect/trino"
    resolver.set(alice, trino=active(issuer.token(alice)))
    async with WebSocket(cube, alice) as socket:
        await socket.ask(1, "subscribe")
        assert await socket.told() == alice
        resolver.set(alice, trino={"status": "revoked", "reason": "Revoked", "authorizeURL": link, "fallback": "Deny"})
        assert link in await socket.told()  # Cube looks at subscriptions every 5 s
        resolver.set(alice, trino=active(issuer.token("A.LICE"), subject="A.LICE", grant="another"))
        while link in (told := await socket.told()):  # the refusal of another look, on its way before
            pass
        assert told == "A.LICE"


def test_the_sql_api_runs_as_the_person_of_the_session(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    """Its JavaScript half; the wire itself is native and not here."""
    alice = fresh("alice")
    resolver.set(alice, trino=active(issuer.token(alice)))
    answer = sql(cube, {"username": alice, "cubeCloud": {"username": "bob"}})
    assert alice in answer, answer
    assert resolver.requests[-1]["params"]["caller"]["assertion"] is None


def test_the_warehouses_name_for_a_user_may_be_another(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    name = fresh("alice")
    resolver.set(name, trino=active(issuer.token("A.LICE"), subject="A.LICE"))
    assert cube.whoami(name) == "A.LICE"


def test_a_forged_claim_is_worth_nothing(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    stolen = {"trino": {"status": "active", "accessToken": issuer.token("bob"), "subject": "bob"}}
    forged = {"cubeCloud": {"username": "bob", "userCredentials": stolen}}
    assert cube.whoami(fresh("mallory"), forged) == SERVICE
    assert cube.whoami(None, forged) == SERVICE
    alice = fresh("alice")
    resolver.set(alice, trino=active(issuer.token(alice)))
    assert cube.whoami(alice, forged) == alice


def test_a_user_called_default_is_not_the_service_account(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    assert cube.whoami(None) == SERVICE
    resolver.set("default", trino=active(issuer.token("default")))
    assert cube.cached("default")["whoami.who"] == "default"
    assert cube.cached(None)["whoami.who"] == SERVICE
    resolver.set("default", trino={"status": "revoked", "reason": "Revoked", "fallback": "ServiceAccount"})
    assert cube.cached("default")["whoami.who"] == SERVICE


def test_a_rotation_reaches_the_live_driver_and_keeps_the_query_cache(
    cube: Cube, resolver: FakeResolver, issuer: Issuer, warehouse: Warehouse
) -> None:
    alice, first, _ = seen(cube, resolver, issuer)
    before = cube.cached(alice)
    resolver.set(alice, trino=active(issuer.token(alice), revision=2))
    dead(warehouse, first)  # and Cube's driver was made with it
    assert cube.whoami(alice) == alice
    assert cube.cached(alice) == before
    assert resolver.asked("invalidate", alice) == 0


def test_another_sign_in_does_not_see_the_rows_of_the_one_before(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    name = fresh("alice")
    resolver.set(name, trino=active(issuer.token("first"), subject="first"))
    assert cube.cached(name)["whoami.who"] == "first"
    resolver.set(name, trino=active(issuer.token("second"), subject="second", grant="g2"))
    assert cube.cached(name)["whoami.who"] == "second"


def test_a_token_refused_before_its_time_is_refreshed_and_the_query_asked_again(
    cube: Cube, resolver: FakeResolver, issuer: Issuer, warehouse: Warehouse
) -> None:
    alice, first, _ = seen(cube, resolver, issuer)
    dead(warehouse, first)

    def refresh(params: dict[str, Any]) -> None:
        assert params["dataSource"] == "trino"
        assert params["revision"] == 1
        resolver.sources[alice] = {"trino": active(issuer.token(alice), revision=2)}

    resolver.on_invalidate = refresh
    assert cube.whoami(alice) == alice
    assert resolver.asked("invalidate", alice) == 1


def test_a_revocation_is_obeyed_at_once(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    alice = fresh("alice")
    resolver.set(alice, trino=active(issuer.token(alice)))
    assert cube.cached(alice)["whoami.who"] == alice
    resolver.set(alice, trino={"status": "revoked", "reason": "Suspended", "fallback": "ServiceAccount"})
    assert cube.whoami(alice) == SERVICE
    assert cube.cached(alice)["whoami.who"] == SERVICE


def test_an_expiry_is_obeyed_although_nobody_said_so(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    alice, _, ends = seen(cube, resolver, issuer, said=True)
    time.sleep(max(0, ends - time.time()))
    assert cube.whoami(alice) == SERVICE


def test_fallback_deny_tells_the_client_where_to_connect_and_leaves_meta_alone(cube: Cube, resolver: FakeResolver) -> None:
    carol = fresh("carol")
    link = "https://portal.example/connect/trino"
    resolver.set(carol, trino={"status": "missing", "reason": "NotConnected", "authorizeURL": link, "fallback": "Deny"})
    with pytest.raises(LoadError, match=f"{carol} is not connected to trino.*{re.escape(link)}") as refusal:
        cube.whoami(carol)
    assert refusal.value.status == 400
    meta = web.request("GET", f"{cube.url}/cubejs-api/v1/meta", headers={"Authorization": cubes.api_token(carol)})
    assert meta.json()["cubes"][0]["name"] == "whoami"
    assert cube.whoami(None) == SERVICE
    assert link in sql(cube, {"username": carol})


def test_fallback_deny_refuses_whoever_is_not_named_by_every_way_in(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    link = "https://portal.example/connect/trino"
    resolver.set("", trino={"status": "missing", "reason": "NotConnected", "authorizeURL": link, "fallback": "Deny"})
    sentence = f"names no user whom trino knows .NoCallerIdentity: .*{re.escape(link)}"
    try:
        with pytest.raises(LoadError, match=sentence) as refusal:
            cube.whoami(None)
        assert refusal.value.status == 400
        assert re.search(sentence, sql(cube, {}))
        alice = fresh("alice")
        resolver.set(alice, trino=active(issuer.token(alice), fallback="Deny"))
        assert cube.whoami(alice) == alice
        assert [web.request("GET", f"{cube.url}/{probe}").status for probe in ("livez", "readyz")] == [200, 200]
    finally:
        resolver.set("", trino=MISSING)
    assert cube.whoami(None) == SERVICE


def test_the_probes_stay_green_whatever_a_user_does(
    cube: Cube, resolver: FakeResolver, issuer: Issuer, warehouse: Warehouse
) -> None:
    _, token, _ = seen(cube, resolver, issuer)
    dead(warehouse, token)
    assert [web.request("GET", f"{cube.url}/{probe}").status for probe in ("livez", "readyz")] == [200, 200]


def test_every_decision_is_in_the_log_with_the_requests_id(cube: Cube, resolver: FakeResolver, issuer: Issuer) -> None:
    alice = fresh("alice")
    resolver.set(alice, trino=active(issuer.token(alice)))
    headers = {"Authorization": cubes.api_token(alice), "X-Request-Id": f"request-of-{alice}"}
    web.request("GET", f"{cube.url}/cubejs-api/v1/meta", headers=headers)
    cube.whoami(alice)
    cube.whoami(fresh("carol"))
    cube.whoami(None, {"cubeCloud": {"username": "bob"}})
    decisions = [json.loads(line) for line in cube.said().splitlines() if '"credential decision"' in line]
    mine = [
        {key: line[key] for key in ("reason", "dataSource", "requestID")} for line in decisions if line.get("username") == alice
    ]
    assert mine == [{"reason": "Active", "dataSource": "trino", "requestID": f"request-of-{alice}"}]
    [met] = [json.loads(line) for line in cube.said().splitlines() if '"the hook is in Cube"' in line]
    assert met["cube"].startswith(os.environ.get("CUBE_VERSION", "1.7"))
    assert {"NotConnected", "NoCallerIdentity", "BackgroundWork"} <= {line["reason"] for line in decisions}
    counted = {("decisions", reason) for reason in ("Active", "NotConnected", "NoCallerIdentity", "ForgedCredentials")}
    until = time.monotonic() + 20
    while not {*counted, ("drivers", "opened")} <= set(resolver.counts) and time.monotonic() < until:
        time.sleep(0.05)
    assert {*counted, ("drivers", "opened")} <= set(resolver.counts)


def test_no_answer_is_a_clear_error_and_no_other_identity(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "resolver.sock"
    with start(CUBE_OAUTH_SOCKET=str(path)) as cube:
        for username in ("alice", None):
            with pytest.raises(LoadError, match=r"cannot be read now \(BrokerUnreachable") as failure:
                cube.whoami(username)
            assert failure.value.status == 500
        assert [web.request("GET", f"{cube.url}/{probe}").status for probe in ("livez", "readyz")] == [200, 200]
        with FakeResolver(path):
            assert cube.whoami("alice") == SERVICE


def test_a_project_without_any_configuration_gets_the_documented_one(
    start: Start, settings: dict[str, str], project: Path, resolver: FakeResolver, issuer: Issuer
) -> None:
    alice, carol = fresh("alice"), fresh("carol")
    resolver.set(alice, trino=active(issuer.token(alice)))
    resolver.set(carol, trino=MISSING | {"fallback": "Deny"})
    (project / "cube.js").rename(project / "cube.off")
    try:
        # what Cube's own driver reads for the service account
        with start(CUBEJS_DB_PRESTO_AUTH_TOKEN=settings["CUBEJS_DB_TRINO_TOKEN"]) as cube:
            assert [cube.whoami(alice), cube.whoami(None)] == [alice, SERVICE]
            with pytest.raises(LoadError, match=rf"{carol} is not connected to trino"):
                cube.whoami(carol)
            assert web.request("GET", f"{cube.url}/readyz").status == 200
    finally:
        (project / "cube.off").rename(project / "cube.js")


def test_scheduled_refresh_runs_as_the_service_account_whomever_it_names(
    start: Start, settings: dict[str, str], project: Path, resolver: FakeResolver, issuer: Issuer, warehouse: Warehouse
) -> None:
    alice = fresh("alice")
    token = issuer.token(alice)
    resolver.set(alice, trino=active(token))
    named = {
        "username": alice,
        "cubeCloud": {"username": alice, "userCredentials": {"trino": {"status": "active", "accessToken": token}}},
    }
    context = json.dumps({"securityContext": named})
    configuration = project / "cube.js"
    before = configuration.read_text()
    refreshed = (
        f"Object.assign(module.exports, {{ scheduledRefreshTimer: 1, scheduledRefreshContexts: async () => [{context}] }});\n"
    )
    configuration.write_text(before + refreshed)
    service = settings["CUBEJS_DB_TRINO_TOKEN"]
    asked = f"SELECT \"user\" FROM system.runtime.queries WHERE created >= from_unixtime({time.time()}) AND source <> 'test'"
    try:
        with start(CUBEJS_REFRESH_WORKER="true"):
            until = time.monotonic() + 60
            while not (users := warehouse.query(service, asked + " AND query LIKE '%FLOOR%'")) and time.monotonic() < until:
                time.sleep(0.2)
    finally:
        configuration.write_text(before)
    assert users
    assert {user for [user] in users} == {SERVICE}
    assert alice not in {user for [user] in warehouse.query(service, asked)}


def test_development_mode_resolves_nobody(start: Start, resolver: FakeResolver, issuer: Issuer) -> None:
    alice = fresh("alice")
    resolver.set(alice, trino=active(issuer.token(alice)))
    with start(CUBEJS_DEV_MODE="true", CUBEJS_PLAYGROUND="false") as cube:
        assert cube.whoami(alice) == SERVICE
        assert '"level":"warning","logger":"cube-oauth","message":"Cube runs in development mode' in cube.said()
    assert resolver.asked("resolve", alice) == 0


def test_cube_does_not_start_half_configured(start: Start) -> None:
    with pytest.raises(RuntimeError, match="CUBE_OAUTH_SOCKET is not set"), start(CUBE_OAUTH_SOCKET=""):
        pass


def test_no_token_is_in_anything_that_cube_wrote(cube: Cube, issuer: Issuer) -> None:
    """The last test of the module: at level trace, after everything above."""
    said = cube.said()
    assert "Load Request Success" in said
    assert len(said) > 50_000
    leaked = [token[:20] for token in issuer.issued if token in said or token.rsplit(".", 1)[1] in said]
    assert leaked == []
