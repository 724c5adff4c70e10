"""The documented configuration for Databricks with Cube's own driver, in a real JVM: which token the service is shown.

The service is a stand-in that speaks Thrift over HTTPS as databricks-jdbc does, and answers with Databricks' own refusals.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.hook import drivers
from tests.hook.drivers import Again, Canaries, Connect, Started, fresh
from tests.hook.resolver import FakeResolver
from tests.parts import cube as cubes
from tests.parts import web
from tests.parts.cube import Cube, LoadError
from tests.parts.services import databricks
from tests.parts.services import until as true
from tests.parts.services.databricks import Databricks, Failure, Refusal

DOCUMENTED = Path(cubes.__file__).parent / "documented/databricks"
SERVICE = "service_account"
CLIENTS = ["an OAuth client in the environment", "an OAuth client in driver_factory"]
REVOKED = {"status": "revoked", "reason": "Revoked", "fallback": "ServiceAccount"}

WITH_CLIENT = """
const documented = module.exports.driverFactory;
module.exports.driverFactory = (context) => ({ ...documented(context), oauthClientId: 'of-the-service', oauthClientSecret: '%s' });
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databricks]:
    with Databricks(tmp_path_factory.mktemp("tls")) as running:
        yield running


@pytest.fixture(scope="module")
def running(
    service: Databricks, resolver: FakeResolver, canaries: Canaries, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    """Return a Cube with the documented variables for each way to configure it."""
    token = canaries.make()
    service.knows(token, SERVICE)
    documented = {
        "CUBEJS_DB_TYPE": "databricks-jdbc",
        "CUBEJS_DB_DATABRICKS_URL": service.url,
        "CUBEJS_DB_DATABRICKS_TOKEN": token,
        "CUBEJS_DB_DATABRICKS_ACCEPT_POLICY": "true",
        "CUBEJS_DB_DATABRICKS_CATALOG": "my_catalog",
    }

    def start(configuration: str) -> AbstractContextManager[Cube]:
        folder = tmp_path_factory.mktemp("cube")
        files = {"no configuration": []} | {client: ["cube.js"] for client in CLIENTS}
        project = drivers.project(folder / "project", DOCUMENTED, *files.get(configuration, [configuration]))
        in_environment, in_factory = CLIENTS
        secret = canaries.make()
        client = {"CUBEJS_DB_DATABRICKS_OAUTH_CLIENT_ID": "of-the-service", "CUBEJS_DB_DATABRICKS_OAUTH_CLIENT_SECRET": secret}
        env = {"cube.py": cubes.PYTHON_ENVIRONMENT, in_environment: client}.get(configuration, {})
        if configuration == in_factory:
            with (project / "cube.js").open("a") as file:
                file.write(WITH_CLIENT % secret)
        redirect = {"localhost:443": service.port}  # the driver's connection test takes no port from the URL
        env = documented | service.environment(folder) | env
        return drivers.cube(project, resolver, folder, env, redirect, service.certificate.ca)

    with ExitStack() as stack:
        yield Started(stack, start)


@pytest.fixture
def cube(running: Started) -> Cube:
    return running["cube.js"]


@pytest.fixture
def connect(service: Databricks, resolver: FakeResolver, canaries: Canaries) -> Connect:
    return drivers.connecting(service, resolver, canaries, "databricks")


@pytest.mark.parametrize("configuration", ["cube.js", "cube.py", "no configuration"])
def test_everybody_shows_their_own_token_and_the_unconnected_the_service_accounts(
    running: Started, service: Databricks, connect: Connect, configuration: str
) -> None:
    cube = running[configuration]
    alice, bob = fresh("alice"), fresh("bob")
    connect(alice)
    connect(bob)
    assert [cube.whoami(name) for name in (alice, bob, fresh("carol"), None)] == [alice, bob, SERVICE, SERVICE]
    assert {each.kind for each in service.log_ins if each.who == alice} >= {"REST", "OpenSession", "ExecuteStatement"}


def test_a_rotation_opens_a_session_with_the_new_token_and_closes_the_old_one(
    cube: Cube, service: Databricks, connect: Connect
) -> None:
    alice = fresh("alice")
    first = connect(alice)
    before = cube.cached(alice)
    connect(alice, revision=2)
    assert cube.whoami(alice) == alice
    assert true(lambda: service.open_sessions(alice) == 1)
    service.refuses(first, databricks.INVALID)
    assert cube.whoami(alice) == alice
    assert service.logged_in(alice, accepted=False) == 0
    assert cube.cached(alice) == before


def test_a_revocation_closes_the_session(cube: Cube, service: Databricks, resolver: FakeResolver, connect: Connect) -> None:
    alice = fresh("alice")
    connect(alice)
    assert cube.whoami(alice) == alice
    assert service.open_sessions(alice) == 1
    resolver.set(alice, databricks=REVOKED)
    assert true(lambda: service.open_sessions(alice) == 0)
    assert cube.whoami(alice) == SERVICE


@pytest.mark.parametrize("refusal", [databricks.INVALID, databricks.UNSUPPORTED], ids=lambda each: each.code)
def test_a_token_refused_before_its_time_is_refreshed_once_and_the_read_asked_again(
    cube: Cube, service: Databricks, resolver: FakeResolver, connect: Connect, refusal: Refusal
) -> None:
    alice = fresh("alice")
    first = connect(alice)
    assert cube.whoami(alice) == alice
    service.refuses(first, refusal)
    resolver.on_invalidate = lambda _params: connect(alice, revision=2)
    assert cube.whoami(alice) == alice
    assert resolver.asked("invalidate", alice) == 1


def test_a_refused_token_without_a_newer_one_is_no_storm_of_log_ins(
    cube: Cube, service: Databricks, resolver: FakeResolver, connect: Connect
) -> None:
    alice = fresh("alice")
    first = connect(alice)
    assert cube.whoami(alice) == alice
    service.refuses(first, databricks.INVALID)
    resolver.on_invalidate = lambda _params: None
    again = Again()
    for _ in range(10):
        with pytest.raises(LoadError, match=r"Invalid access token|Forbidden"):
            cube.whoami(alice)
    assert service.logged_in(alice, accepted=False) <= 3 + 2 * again()
    assert resolver.asked("invalidate", alice) <= 2 + again()


@pytest.mark.parametrize("failure", [databricks.NO_TABLE, databricks.NO_PRIVILEGE], ids=lambda each: each.state)
def test_a_statement_that_fails_is_no_refused_log_in(
    cube: Cube, service: Databricks, resolver: FakeResolver, connect: Connect, failure: Failure
) -> None:
    alice = fresh("alice")
    connect(alice)
    assert cube.whoami(alice) == alice
    before = [each.kind for each in service.log_ins if each.who == alice].count("OpenSession")
    service.fails_next(alice, failure)
    with pytest.raises(LoadError, match=r"TABLE_OR_VIEW_NOT_FOUND|INSUFFICIENT_PERMISSIONS"):
        cube.whoami(alice)
    assert [each.kind for each in service.log_ins if each.who == alice].count("OpenSession") == before
    assert resolver.asked("invalidate", alice) == 0


@pytest.mark.parametrize("configuration", CLIENTS)
def test_an_oauth_client_that_would_stand_in_for_everybody_is_a_refusal_with_what_to_remove(
    running: Started, service: Databricks, connect: Connect, configuration: str
) -> None:
    cube = running[configuration]
    alice = fresh("alice")
    connect(alice)
    with pytest.raises(LoadError, match=r"TokenIgnored.*Remove oauthClientId .*CUBEJS_DB_DATABRICKS_OAUTH_CLIENT_ID"):
        cube.whoami(alice)
    assert service.logged_in(alice) == 0
    said = [json.loads(line) for line in cube.said().splitlines() if '"TokenIgnored"' in line and '"cube-oauth"' in line]
    assert [(line["level"], line["username"]) for line in said] == [("warning", alice)]
    assert web.request("GET", f"{cube.url}/livez").status == 200


def test_no_token_is_in_anything_that_cube_wrote_or_answered(
    running: Started, service: Databricks, canaries: Canaries, connect: Connect
) -> None:
    """The last test of the module: at level trace, after everything above."""
    alice = fresh("alice")
    token = connect(alice)
    assert running["cube.js"].whoami(alice) == alice
    answers = drivers.told(running["cube.js"], alice)
    service.refuses(token, databricks.INVALID)
    with pytest.raises(LoadError) as refusal:
        running["cube.js"].whoami(alice)
    for text in (answers, str(refusal.value), *(cube.said() for cube in running.values())):
        assert canaries.found_in(text) == []
    assert "Load Request Success" in running["cube.js"].said()
