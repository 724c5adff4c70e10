"""How Cube's drivers of other data sources say that a log-in was refused, and how they say that only a statement failed.

BigQuery, ClickHouse and Dremio are stand-ins that answer as the services do. Redshift's driver speaks PostgreSQL's protocol
and is before a real PostgreSQL.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hook import drivers
from tests.hook.drivers import Again, Canaries, fresh
from tests.hook.resolver import FakeResolver, active
from tests.parts.cube import Cube, LoadError
from tests.parts.postgres import SERVICE, Postgres
from tests.parts.services import Service, bigquery, clickhouse, dremio
from tests.parts.services.bigquery import BigQuery
from tests.parts.services.clickhouse import ClickHouse
from tests.parts.services.dremio import Dremio

CONFIGURATION = Path(__file__).parent / "refusing/cube.js"
STANDINS = {"bigquery": BigQuery, "clickhouse": ClickHouse, "dremio": Dremio}
REFUSALS = {"bigquery": bigquery.EXPIRED, "clickhouse": clickhouse.REFUSED, "dremio": dremio.EXPIRED}
FAILURES = [
    ("bigquery", bigquery.NO_PRIVILEGE, "Access Denied"),
    ("bigquery", bigquery.NO_COLUMN, "Unrecognized name: credentials"),
    ("clickhouse", clickhouse.NO_PRIVILEGE, "Not enough privileges"),
    ("clickhouse", clickhouse.NO_TABLE, "Unknown table"),
    ("dremio", dremio.NO_PRIVILEGE, "PERMISSION ERROR"),
    ("dremio", dremio.NO_TABLE, "VALIDATION ERROR"),
]
EVERY = [*STANDINS, "redshift"]


@dataclass
class World:
    """A Cube with a data source for each driver."""

    cube: Cube
    services: dict[str, Service]
    postgres: Postgres
    resolver: FakeResolver
    canaries: Canaries

    def connect(self, username: str, source: str, **more: Any) -> str:
        """Give a person a new token for this source, which it accepts; return it."""
        if source == "redshift":
            token = self.postgres.token(username, end=True)
            self.canaries.made.append(token)
        else:
            token = self.canaries.make()
            self.services[source].knows(token, username)
        self.resolver.set(username, **{source: active(token, **more)})
        return token

    def refuse(self, username: str, source: str, token: str) -> None:
        """Have the source refuse this token from now on, before its time."""
        if source == "redshift":
            self.postgres.token(username, end=True)
        else:
            self.services[source].refuses(token, REFUSALS[source])

    def whoami(self, username: str | None, source: str) -> str:
        nonce = {"member": f"{source}.nonce", "operator": "notEquals", "values": [fresh("nonce")]}
        [row] = self.cube.load(username, {"dimensions": [f"{source}.who"], "filters": [nonce]})
        return row[f"{source}.who"]


@pytest.fixture(scope="module")
def world(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("cube")
    project = drivers.project(folder / "project", CONFIGURATION.parent, CONFIGURATION.name)
    model = (project / "model/whoami.yml").read_text()
    body = model.partition("  - name: whoami\n")[2]
    cubes_of_sources = [f"  - name: {name}\n    data_source: {'default' if name == 'bigquery' else name}\n{body}" for name in EVERY]
    (project / "model/whoami.yml").write_text("cubes:\n" + "\n".join(cubes_of_sources))
    canaries = Canaries()
    canaries.made.append(postgres.service)
    with ExitStack() as stack:
        resolver = stack.enter_context(FakeResolver(tmp_path_factory.mktemp("socket") / "resolver.sock"))
        certificates = tmp_path_factory.mktemp("tls")
        services = {name: stack.enter_context(kind(certificates / name)) for name, kind in STANDINS.items()}
        bundle = folder / "ca.pem"
        bundle.write_text("".join(service.certificate.ca.read_text() for service in services.values()))
        env = {
            "CUBEJS_DB_TYPE": "bigquery",
            "CUBEJS_DATASOURCES": ",".join(["default", *EVERY[1:]]),
            "PORT_OF_REDSHIFT": str(postgres.port),
            "TOKEN_FOR_REDSHIFT": postgres.service,
        }
        for name, service in services.items():
            token = canaries.make()
            service.knows(token, SERVICE)
            env |= {f"PORT_OF_{name.upper()}": str(service.port), f"TOKEN_FOR_{name.upper()}": token}
        cube = stack.enter_context(drivers.cube(project, resolver, folder, env, {}, bundle))
        yield World(cube, services, postgres, resolver, canaries)


@pytest.mark.parametrize("source", EVERY)
def test_everybody_shows_their_own_token(world: World, source: str) -> None:
    alice, bob = fresh("alice"), fresh("bob")
    world.connect(alice, source)
    world.connect(bob, source)
    seen = [world.whoami(name, source) for name in (alice, bob, fresh("carol"), None)]
    assert seen == [alice, bob, SERVICE, SERVICE]


@pytest.mark.parametrize("source", EVERY)
def test_a_refused_log_in_is_recognised_refreshed_once_and_the_read_asked_again(world: World, source: str) -> None:
    alice = fresh("alice")
    token = world.connect(alice, source)
    assert world.whoami(alice, source) == alice
    world.refuse(alice, source, token)
    world.resolver.on_invalidate = lambda _params: world.connect(alice, source, revision=2)
    assert world.whoami(alice, source) == alice
    assert world.resolver.asked("invalidate", alice) == 1


@pytest.mark.parametrize("source", EVERY)
def test_a_refused_token_without_a_newer_one_is_shown_once(world: World, source: str) -> None:
    alice = fresh("alice")
    token = world.connect(alice, source)
    assert world.whoami(alice, source) == alice
    world.refuse(alice, source, token)
    world.resolver.on_invalidate = lambda _params: None
    again = Again()
    for _ in range(5):
        with pytest.raises(LoadError):
            world.whoami(alice, source)
    shown = world.postgres.log_ins(alice)[1] if source == "redshift" else world.services[source].logged_in(alice, accepted=False)
    assert 1 <= shown <= 3 + again()
    assert world.resolver.asked("invalidate", alice) <= 2 + again()


@pytest.mark.parametrize(("source", "failure", "words"), FAILURES, ids=lambda each: each if isinstance(each, str) else "")
def test_a_statement_that_fails_is_no_refused_log_in(world: World, source: str, failure: Any, words: str) -> None:
    alice = fresh("alice")
    world.connect(alice, source)
    assert world.whoami(alice, source) == alice
    world.services[source].fails_next(alice, failure)
    with pytest.raises(LoadError, match=words):
        world.whoami(alice, source)
    assert world.resolver.asked("invalidate", alice) == 0
    assert world.whoami(alice, source) == alice


def test_no_token_is_in_anything_that_cube_wrote(world: World) -> None:
    """The last test of the module: at level trace, after everything above."""
    said = world.cube.said()
    assert "Load Request Success" in said
    assert world.canaries.found_in(said) == []
