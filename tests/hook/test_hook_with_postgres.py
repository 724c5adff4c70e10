"""The hook in the real Cube, before a real PostgreSQL with a role for each person, and a Trino beside it.

The password of a person's role is the person's access token: PostgreSQL says in its own log how often somebody logged in.
"""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.hook import sql_api
from tests.hook.drivers import Again
from tests.hook.issuer import Issuer
from tests.hook.resolver import MISSING, FakeResolver, active
from tests.hook.test_hook_with_cube import HOOK, fresh
from tests.parts import web
from tests.parts.cube import Cube, LoadError
from tests.parts.postgres import DATABASE, SERVICE, Postgres
from tests.parts.processes import free_port
from tests.parts.warehouse import Warehouse

SOURCES = Path(__file__).parent / "sources"
LAKE_SERVICE = "cube-service-account"


@pytest.fixture(scope="module")
def settings(postgres: Postgres, resolver: FakeResolver) -> dict[str, str]:
    warehouse = postgres.environment() | {"CUBEJS_DATASOURCES": "default,lake"}
    hook = {"CUBE_OAUTH_SOCKET": str(resolver.path), "CUBE_OAUTH_USERNAME_CLAIM": "username"}
    return warehouse | hook | {"CUBEJS_LOG_LEVEL": "trace"}


Start = Callable[..., Cube]


@pytest.fixture(scope="module")
def start(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Start:
    def start_cube(**more: str) -> Cube:
        ports = {"CUBEJS_PG_SQL_PORT": str(free_port()), "CUBE_NATIVE_SQL_PROBE": str(free_port())}
        return Cube(env=settings | ports | more, project=SOURCES, preload=HOOK, folder=tmp_path_factory.mktemp("log"))

    return start_cube


@pytest.fixture(scope="module")
def cube(start: Start, issuer: Issuer, warehouse: Warehouse) -> Iterator[Cube]:
    lake = {
        "CUBEJS_DS_LAKE_DB_TYPE": "trino",
        "LAKE_HOST": "127.0.0.1",
        "LAKE_PORT": str(warehouse.port),
        "LAKE_CA": warehouse.ca.read_text(),
        "LAKE_USER": LAKE_SERVICE,
        "LAKE_TOKEN": issuer.token(LAKE_SERVICE),
    }
    with start(CUBEJS_CONCURRENCY="2", **lake) as running:
        yield running


@pytest.fixture
def connect(postgres: Postgres, resolver: FakeResolver) -> Callable[..., str]:
    """Connect a new person to PostgreSQL, and to Trino with the token that is given; return the name."""

    def connected(name: str = "alice", **sources: dict[str, Any]) -> str:
        username = fresh(name)
        resolver.set(username, postgres=active(postgres.token(username)), **sources)
        return username

    return connected


def ask(cube: Cube, username: str | None, view: str = "whoami", *members: str) -> dict[str, Any]:
    """Ask past every cache."""
    nonce = {"member": f"{view}.nonce", "operator": "notEquals", "values": [fresh("nonce")]}
    [row] = cube.load(username, {"dimensions": [f"{view}.{each}" for each in ("who", *members)], "filters": [nonce]})
    return {name.split(".")[1]: value for name, value in row.items()}


def who(cube: Cube, username: str | None, view: str = "whoami") -> str:
    return ask(cube, username, view)["who"]


def until(true: Callable[[], Any], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def asking(cube: Cube, username: str, times: int, pool: ThreadPoolExecutor, view: str = "whoami") -> list[Future[str]]:
    return [pool.submit(who, cube, username, view) for _ in range(times)]


def outcome(future: Future[str]) -> str:
    """Return who it was, or the error's text."""
    try:
        return future.result(120)
    except LoadError as error:
        return str(error)


def test_each_of_two_data_sources_sees_its_own_identity_of_each_person(
    cube: Cube, resolver: FakeResolver, issuer: Issuer, connect: Callable[..., str]
) -> None:
    alice = connect("alice", trino=active(issuer.token("A.LICE"), subject="A.LICE"))
    bob, carol = connect("bob", trino=MISSING), fresh("carol")
    resolver.set(carol, trino=active(issuer.token(carol)), postgres=MISSING)
    seen = {name: (who(cube, name), who(cube, name, "lake_whoami")) for name in (alice, bob, carol, None)}
    assert seen == {
        alice: (alice, "A.LICE"),
        bob: (bob, LAKE_SERVICE),
        carol: (SERVICE, carol),
        None: (SERVICE, LAKE_SERVICE),
    }


def test_a_rotation_in_one_data_source_leaves_the_others_connection_alone(
    cube: Cube, resolver: FakeResolver, issuer: Issuer, postgres: Postgres, connect: Callable[..., str]
) -> None:
    alice = connect("alice", trino=active(issuer.token("first"), subject="first"))
    before = ask(cube, alice, "whoami", "connection")
    assert who(cube, alice, "lake_whoami") == "first"
    log_ins = postgres.log_ins(alice)
    kept = resolver.sources[alice]["postgres"]
    resolver.set(alice, trino=active(issuer.token("second"), subject="second", revision=2), postgres=kept)
    assert who(cube, alice, "lake_whoami") == "second"
    assert ask(cube, alice, "whoami", "connection") == before
    assert postgres.log_ins(alice) == log_ins
    rotated = active(postgres.token(alice), revision=2)
    resolver.set(alice, trino=resolver.sources[alice]["trino"], postgres=rotated)
    after = ask(cube, alice, "whoami", "connection")
    assert after["who"] == alice
    assert after["connection"] != before["connection"]
    until(lambda: postgres.backends(alice)[alice] == 1, "the connection of the token before is closed")


def test_a_refusal_is_one_refused_log_in_one_forced_refresh_and_the_query_asked_again(
    cube: Cube, resolver: FakeResolver, postgres: Postgres, connect: Callable[..., str]
) -> None:
    alice = connect()
    assert who(cube, alice) == alice
    postgres.token(alice, end=True)

    def refresh(params: dict[str, Any]) -> None:
        resolver.sources[alice] = {"postgres": active(postgres.token(alice), revision=params["revision"] + 1)}

    resolver.on_invalidate = refresh
    assert who(cube, alice) == alice
    assert resolver.asked("invalidate", alice) == 1
    assert postgres.log_ins(alice)[1] == 1


def test_a_refused_token_with_nothing_newer_is_no_login_storm(
    cube: Cube, resolver: FakeResolver, postgres: Postgres, connect: Callable[..., str]
) -> None:
    alice = connect()
    assert who(cube, alice) == alice
    postgres.token(alice, end=True)
    resolver.on_invalidate = lambda _params: None
    again = Again()
    with ThreadPoolExecutor(20) as pool:
        said = {outcome(future) for future in asking(cube, alice, 60, pool)}
    assert all("password authentication failed" in each for each in said), said
    assert resolver.asked("invalidate", alice) <= 2 + again()
    # what two queries at a time may have begun before the first was refused
    assert postgres.log_ins(alice)[1] <= 8 + 2 * again()
    resolver.set(alice, postgres=active(postgres.token(alice), revision=2))
    assert who(cube, alice) == alice


def test_a_running_query_ends_under_the_identity_it_began_with(
    cube: Cube, resolver: FakeResolver, postgres: Postgres, connect: Callable[..., str]
) -> None:
    alice = connect()
    with ThreadPoolExecutor(1) as pool:
        with postgres.held(7):
            [running] = asking(cube, alice, 1, pool, "held")
            until(lambda: postgres.waiting(alice), "the query runs")
            resolver.set(alice, postgres={"status": "revoked", "reason": "Suspended", "fallback": "ServiceAccount"})
            assert who(cube, alice) == SERVICE
        assert outcome(running) == alice
    until(lambda: not postgres.backends(alice), "nothing of her is left")


def test_a_query_that_waits_in_the_queue_while_its_credential_ends_fails_and_changes_no_identity(
    cube: Cube, resolver: FakeResolver, postgres: Postgres, connect: Callable[..., str]
) -> None:
    alice = connect()
    with ThreadPoolExecutor(6) as pool:
        with postgres.held(7):
            queries = asking(cube, alice, 6, pool, "held")
            until(lambda: postgres.waiting(alice) == 2, "two run, as many as the queue lets")
            until(lambda: queued(cube, alice) == 6, "the others wait in the queue")
            resolver.set(alice, postgres={"status": "revoked", "reason": "Revoked", "fallback": "ServiceAccount"})
        said = sorted(outcome(query) for query in queries)
    sentence = f"The credential of {alice} ended or was replaced while this query waited. Run the query again."
    assert said[4:] == [alice] * 2
    assert all(sentence in each for each in said[:4]), said


def queued(cube: Cube, username: str) -> int:
    """Count the queries that were put into a person's queue."""
    return sum('"Added to queue"' in line and username in line and "held" in line for line in cube.said().splitlines())


def test_a_stream_ends_whole_while_its_token_rotates(
    cube: Cube, resolver: FakeResolver, postgres: Postgres, connect: Callable[..., str]
) -> None:
    alice = connect()
    query = {"dimensions": ["stream.n", "stream.who", "stream.gate"], "ungrouped": True, "limit": 50_000, "order": []}
    with ThreadPoolExecutor(1) as pool:
        with postgres.held(8):
            stream = pool.submit(sql_api.load, cube, {"username": alice}, query, streaming=True)
            until(lambda: postgres.waiting(alice), "the stream is in its middle")
            resolver.set(alice, postgres=active(postgres.token(alice), revision=2))
            assert who(cube, alice) == alice  # by a new driver; the old one is kept for the stream
        rows = stream.result(60)["rows"]
    assert len(rows) == 30_000
    assert {row["stream.who"] for row in rows} == {alice}
    until(lambda: postgres.backends(alice)[alice] == 1, "the stream's connection is closed")


def test_a_stream_that_is_refused_at_its_start_is_asked_once_more(
    cube: Cube, resolver: FakeResolver, postgres: Postgres, connect: Callable[..., str]
) -> None:
    alice = connect()
    assert who(cube, alice) == alice
    postgres.token(alice, end=True)
    resolver.on_invalidate = lambda _params: resolver.sources.update(
        {alice: {"postgres": active(postgres.token(alice), revision=2)}}
    )
    query = {"dimensions": ["stream.n", "stream.who"], "ungrouped": True, "limit": 50_000, "order": []}
    answer = sql_api.load(cube, {"username": alice}, query, streaming=True)
    assert len(answer.get("rows", answer)) == 30_000
    assert resolver.asked("invalidate", alice) == 1


REFUSING = """
CREATE TABLE written (who text);
CREATE SEQUENCE attempts;  -- what it has counted, no rollback takes back
CREATE FUNCTION refusing(statement text) RETURNS text AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(9);
  IF nextval('attempts') = 1 THEN RAISE EXCEPTION 'the token is refused in %', statement USING ERRCODE = '28000'; END IF;
  PERFORM pg_advisory_xact_lock_shared(10);
  RETURN current_user;
END $$ LANGUAGE plpgsql;
GRANT ALL ON written, attempts TO PUBLIC;
"""


@pytest.fixture
def attempts(postgres: Postgres) -> Iterator[Callable[[], int]]:
    """Return a function: how often statements began that refuse the token the first time, and then wait for the lock 10."""
    postgres.sql(REFUSING)

    def begun() -> int:
        [[count]] = postgres.sql("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM attempts")
        return int(count)

    yield begun
    postgres.sql("DROP FUNCTION refusing; DROP SEQUENCE attempts; DROP TABLE written")


@pytest.fixture
def refused(resolver: FakeResolver, postgres: Postgres, connect: Callable[..., str]) -> str:
    """Connect a person for whom a refused token can be refreshed; return the name."""
    alice = connect()
    resolver.on_invalidate = lambda _params: resolver.sources.update(
        {alice: {"postgres": active(postgres.token(alice), revision=2)}}
    )
    return alice


def test_a_read_that_is_refused_while_it_runs_is_begun_once_more(
    cube: Cube, resolver: FakeResolver, refused: str, attempts: Callable[[], int]
) -> None:
    assert who(cube, refused, "reads") == refused
    assert attempts() == 2
    assert resolver.asked("invalidate", refused) == 1


@pytest.mark.parametrize("view", ["inserts", "inserts_within"])
def test_a_write_that_is_refused_while_it_runs_is_begun_no_second_time(
    cube: Cube, resolver: FakeResolver, postgres: Postgres, refused: str, attempts: Callable[[], int], view: str
) -> None:
    """The write is a refresh key: Cube does without it, and 1.7 asks for it anew afterwards."""
    with postgres.held(10):
        assert who(cube, refused, view) == ""
        assert attempts() >= 1
    assert resolver.asked("invalidate", refused) == 0


@pytest.mark.parametrize("view", ["reads", "builds"])
def test_while_the_service_account_rotates_a_refused_read_is_begun_once_more_and_a_table_no_second_time(
    start: Start, resolver: FakeResolver, postgres: Postgres, attempts: Callable[[], int], view: str
) -> None:
    successor = fresh("successor")
    newer = {"CUBEJS_DB_USER": successor, "CUBEJS_DB_PASS": postgres.token(successor)}
    postgres.sql(f'GRANT CREATE ON DATABASE {DATABASE} TO PUBLIC; GRANT {SERVICE} TO "{successor}"')
    query = {"measures": ["builds.count"], "dimensions": ["builds.who"]} if view == "builds" else {"dimensions": ["reads.who"]}
    account = {"CUBE_OAUTH_SERVICE_ACCOUNT": ",".join(newer), "CUBEJS_PRE_AGGREGATIONS_BUILDER": "true"}
    with start(**account) as cube, ThreadPoolExecutor(1) as pool:
        with postgres.held(9):
            asked = pool.submit(cube.load, None, query)
            until(lambda: postgres.waiting(SERVICE), "the statement runs")
            resolver.environment(newer)
            until(lambda: "the service account rotated" in cube.said(), "the newer values are there")
        if view == "reads":
            assert asked.result(60) == [{"reads.who": successor}]
            assert attempts() == 2
        else:
            with pytest.raises(LoadError, match="the token is refused in builds"):
                asked.result(60)
            assert attempts() == 1


def test_more_people_than_cube_remembers_leave_no_connection_behind(
    start: Start, resolver: FakeResolver, postgres: Postgres
) -> None:
    people = [fresh("many") for _ in range(105)]  # Cube forgets the orchestrators of all but 100, and closes nothing of theirs
    token = postgres.token(*people)
    for name in people:
        resolver.set(name, postgres=active(token))
    with start(CUBE_OAUTH_IDLE_SECONDS="4") as cube, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda name: who(cube, name), people)) == people
        assert max(postgres.backends("many-%").values(), default=0) <= 2
        until(lambda: not postgres.backends("many-%"), "all connections are closed")
        assert [who(cube, name) for name in people[:3]] == people[:3]
        assert who(cube, None) == SERVICE


def test_a_pre_aggregation_is_built_by_the_service_account_only_whoever_asks_first(
    start: Start, postgres: Postgres, connect: Callable[..., str]
) -> None:
    alice, bob = connect("alice"), connect("bob")
    postgres.sql(f"GRANT CREATE ON DATABASE {DATABASE} TO PUBLIC")  # she could
    owners = "SELECT tableowner FROM pg_tables WHERE schemaname LIKE '%pre_aggregations'"
    query = {"measures": ["rollup.count"], "dimensions": ["rollup.who"]}
    with start(CUBEJS_PRE_AGGREGATIONS_BUILDER="true") as cube:
        with pytest.raises(LoadError, match="No pre-aggregation partitions were built yet"):
            cube.load(alice, query)
        assert postgres.sql(owners) == []
        assert cube.load(None, query)[0]["rollup.who"] == SERVICE
        assert postgres.sql(owners) == [[SERVICE]]
        postgres.sql("GRANT USAGE ON SCHEMA prod_pre_aggregations TO PUBLIC")
        postgres.sql("GRANT SELECT ON ALL TABLES IN SCHEMA prod_pre_aggregations TO PUBLIC")
        assert cube.load(bob, query)[0]["rollup.who"] == SERVICE  # she would see it when Cube looks for tables again


@pytest.mark.timeout(900)  # four Cubes, and 360 queries in them
def test_three_replicas_and_a_refresh_worker_keep_300_people_apart(
    start: Start, resolver: FakeResolver, postgres: Postgres
) -> None:
    people = [fresh("crowd") for _ in range(300)]
    everywhere = people[:20]
    token = postgres.token(*people)
    for name in people:
        resolver.set(name, postgres=active(token))
    with ExitStack() as running, ThreadPoolExecutor(12) as pool:
        worker = {"CUBEJS_REFRESH_WORKER": "true", "CUBEJS_SCHEDULED_REFRESH_TIMER": "1"}
        processes = {
            name: start(PGAPPNAME=name, **(worker if name == "worker" else {})) for name in ("one", "two", "three", "worker")
        }
        list(pool.map(running.enter_context, processes.values()))
        replicas = [processes[name] for name in ("one", "two", "three")]
        asked = [(replicas[number % 3], name) for number, name in enumerate(people)]
        asked += [(replica, name) for replica in replicas for name in everywhere]
        assert list(pool.map(lambda pair: who(*pair), asked)) == [name for _, name in asked]

        seen = [orchestrators(replica) for replica in replicas]
        assert all(seen[0][name] == seen[1][name] == seen[2][name] for name in everywhere)
        assert len({identity for each in seen for identity in each.values()}) == len(people)
        assert max(postgres.backends("crowd-%").values()) <= 2 * len(replicas)

        until(lambda: postgres.users_of("worker"), "the worker refreshes")
        assert postgres.users_of("worker") == {SERVICE}

        postgres.token(*people, end=True)  # everybody's token has ended
        probes = [f"{cube.url}/{probe}" for cube in processes.values() for probe in ("livez", "readyz")]
        assert {web.request("GET", probe).status for probe in probes} == {200}
        assert not postgres.backends("crowd-%")


def orchestrators(cube: Cube) -> dict[str, str]:
    """Return the orchestrator that Cube used for each person, by the names of its queues in the log."""
    found = re.findall(r'"queuePrefix":"SQL_QUERY_(CUBE_APP_(crowd-\d+)@[^"]+)_default"', cube.said())
    return {name: orchestrator for orchestrator, name in found}
