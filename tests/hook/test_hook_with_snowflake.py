"""The documented configuration for Snowflake with Cube's own driver: which credential the service is shown.

The service is a stand-in that speaks snowflake-sdk's protocol and answers with Snowflake's own refusals.
"""

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
from tests.parts.services import Reply, snowflake
from tests.parts.services import until as true
from tests.parts.services.snowflake import Code, Snowflake

DOCUMENTED = Path(cubes.__file__).parent / "documented/snowflake"
SERVICE = "service_account_user"
REVOKED = {"status": "revoked", "reason": "Revoked", "fallback": "ServiceAccount"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snowflake]:
    with Snowflake(tmp_path_factory.mktemp("tls"), "XXXXXXXXX.us-east-1") as running:
        yield running


@pytest.fixture(scope="module")
def environment(service: Snowflake, canaries: Canaries) -> dict[str, str]:
    """Return the documented variables."""
    password = canaries.make()
    service.knows(f"{SERVICE}:{password}", SERVICE)
    service.roles[SERVICE] = {"MY_ROLE"}
    return {
        "CUBEJS_DB_TYPE": "snowflake",
        "CUBEJS_DB_SNOWFLAKE_ACCOUNT": service.account,
        "CUBEJS_DB_SNOWFLAKE_WAREHOUSE": "MY_SNOWFLAKE_WAREHOUSE",
        "CUBEJS_DB_NAME": "my_snowflake_database",
        "CUBEJS_DB_USER": SERVICE,
        "CUBEJS_DB_PASS": password,
        "CUBEJS_DB_SNOWFLAKE_ROLE": "MY_ROLE",
        "SF_OCSP_RESPONSE_CACHE_SERVER_ENABLED": "false",  # ours: Snowflake's own server is not asked about our certificate
    }


@pytest.fixture(scope="module")
def running(
    service: Snowflake, resolver: FakeResolver, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    """Return a Cube for each way to configure it, started when it is wanted."""

    def start(configuration: str) -> AbstractContextManager[Cube]:
        folder = tmp_path_factory.mktemp("cube")
        files = [] if configuration == "no configuration" else [configuration]
        project = drivers.project(folder / "project", DOCUMENTED, *files)
        env = environment | (cubes.PYTHON_ENVIRONMENT if configuration == "cube.py" else {})
        redirect = {f"{service.host}:443": service.port}
        return drivers.cube(project, resolver, folder, env, redirect, service.certificate.ca)

    with ExitStack() as stack:
        yield Started(stack, start)


@pytest.fixture
def cube(running: Started) -> Cube:
    return running["cube.js"]


@pytest.fixture
def connect(service: Snowflake, resolver: FakeResolver, canaries: Canaries) -> Connect:
    return drivers.connecting(service, resolver, canaries, "snowflake")


@pytest.mark.parametrize("configuration", ["cube.js", "cube.py", "no configuration"])
def test_everybody_shows_their_own_token_and_the_unconnected_the_service_accounts_password(
    running: Started, service: Snowflake, connect: Connect, configuration: str
) -> None:
    cube = running[configuration]
    alice, bob = fresh("alice"), fresh("bob")
    connect(alice)
    connect(bob)
    assert [cube.whoami(name) for name in (alice, bob, fresh("carol"), None)] == [alice, bob, SERVICE, SERVICE]
    kinds = {(each.who, each.kind, each.about["role"]) for each in service.log_ins if each.who in {alice, bob, SERVICE}}
    # the service account's role (CUBEJS_DB_SNOWFLAKE_ROLE) is not asked for with a user's token: its scope says which
    assert kinds == {(alice, "OAUTH", ""), (bob, "OAUTH", ""), (SERVICE, "password", "MY_ROLE")}


def test_a_rotation_opens_a_session_with_the_new_token_and_closes_the_old_one(
    cube: Cube, service: Snowflake, connect: Connect
) -> None:
    alice = fresh("alice")
    first = connect(alice)
    before = cube.cached(alice)
    assert service.open_sessions(alice) == 1
    connect(alice, revision=2)
    service.refuses(first, snowflake.EXPIRED)
    assert cube.whoami(alice) == alice
    assert true(lambda: service.open_sessions(alice) == 1)
    assert service.logged_in(alice, accepted=False) == 0
    assert cube.cached(alice) == before


def test_a_revocation_closes_the_session(cube: Cube, service: Snowflake, resolver: FakeResolver, connect: Connect) -> None:
    alice = fresh("alice")
    connect(alice)
    assert cube.whoami(alice) == alice
    resolver.set(alice, snowflake=REVOKED)
    assert true(lambda: service.open_sessions(alice) == 0)
    assert cube.whoami(alice) == SERVICE


@pytest.mark.parametrize("refusal", [snowflake.EXPIRED, snowflake.INVALID, snowflake.KEY], ids=lambda code: code[0])
def test_a_token_refused_before_its_time_is_refreshed_once_and_the_read_asked_again(
    cube: Cube, service: Snowflake, resolver: FakeResolver, connect: Connect, refusal: Code
) -> None:
    alice = fresh("alice")
    first = connect(alice)
    assert cube.whoami(alice) == alice
    service.refuses(first, refusal)
    service.end_sessions(alice, snowflake.SESSION_GONE)
    resolver.on_invalidate = lambda _params: connect(alice, revision=2)
    assert cube.whoami(alice) == alice
    assert resolver.asked("invalidate", alice) == 1
    assert service.logged_in(alice, accepted=False) == 1


def test_a_refused_token_without_a_newer_one_is_no_storm_of_log_ins(
    cube: Cube, service: Snowflake, resolver: FakeResolver, connect: Connect
) -> None:
    alice = fresh("alice")
    first = connect(alice)
    assert cube.whoami(alice) == alice
    service.refuses(first, snowflake.INVALID)
    service.end_sessions(alice, snowflake.SESSION_GONE)
    resolver.on_invalidate = lambda _params: None
    again = Again()
    for _ in range(10):
        with pytest.raises(LoadError, match="Invalid OAuth access token"):
            cube.whoami(alice)
    assert service.logged_in(alice, accepted=False) <= 3 + again()
    assert resolver.asked("invalidate", alice) <= 2 + again()


@pytest.mark.parametrize(
    ("end", "renewal"),
    [
        (snowflake.SESSION_GONE, None),
        (snowflake.SESSION_INVALID, None),
        (snowflake.SESSION_EXPIRED, snowflake.MASTER_EXPIRED),
    ],
    ids=lambda code: code and code[0],
)
def test_a_session_that_snowflake_ended_is_opened_anew_and_the_read_asked_again(
    cube: Cube, service: Snowflake, resolver: FakeResolver, connect: Connect, end: Code, renewal: Code | None
) -> None:
    alice = fresh("alice")
    connect(alice)
    assert cube.whoami(alice) == alice
    service.end_sessions(alice, end, renewal)
    assert cube.whoami(alice) == alice
    assert resolver.asked("invalidate", alice) == 0


def test_a_session_whose_token_ended_is_renewed_by_the_driver(cube: Cube, service: Snowflake, connect: Connect) -> None:
    alice = fresh("alice")
    connect(alice)
    assert cube.whoami(alice) == alice
    before = service.logged_in(alice)
    service.end_sessions(alice, snowflake.SESSION_EXPIRED)
    assert cube.whoami(alice) == alice
    assert service.logged_in(alice) == before
    assert service.renewed


def test_a_refused_role_has_its_own_reason_and_forces_no_refresh(
    cube: Cube, service: Snowflake, resolver: FakeResolver, connect: Connect
) -> None:
    alice = fresh("alice")
    token = connect(alice)
    service.refuses(token, (snowflake.ROLE[0], snowflake.ROLE[1].format(role="PUBLIC")))
    with pytest.raises(LoadError, match=r"RoleRefused.*session:role:.*'PUBLIC'"):
        cube.whoami(alice)
    assert resolver.asked("invalidate", alice) == 0


def test_a_log_in_that_breaks_is_no_refusal_and_gives_nothing_away(
    cube: Cube, service: Snowflake, resolver: FakeResolver, connect: Connect, canaries: Canaries
) -> None:
    """The client's error holds the whole request, with the token in it."""
    alice = fresh("alice")
    service.refuses(connect(alice), Reply(400, {"message": "what is this"}))
    with pytest.raises(LoadError, match="Request to Snowflake failed") as failure:
        cube.whoami(alice)
    assert canaries.found_in(str(failure.value)) == []
    assert resolver.asked("invalidate", alice) == 0


@pytest.mark.parametrize("failure", [snowflake.NO_TABLE, snowflake.NO_PRIVILEGE], ids=lambda code: code[0])
def test_a_statement_that_fails_is_no_refused_log_in(
    cube: Cube, service: Snowflake, resolver: FakeResolver, connect: Connect, failure: Code
) -> None:
    alice = fresh("alice")
    connect(alice)
    assert cube.whoami(alice) == alice
    before = service.logged_in(alice)
    service.fails_next(alice, failure)
    with pytest.raises(LoadError, match=failure[1].split("\n")[1]):
        cube.whoami(alice)
    assert (service.logged_in(alice), resolver.asked("invalidate", alice)) == (before, 0)


def test_a_session_that_cannot_be_closed_ends_nobody_but_itself(
    cube: Cube, service: Snowflake, resolver: FakeResolver, connect: Connect
) -> None:
    """The driver's own release() leaves the failure to Node.js, which ends the process for it."""
    alice = fresh("alice")
    connect(alice)
    assert cube.whoami(alice) == alice
    service.closing = snowflake.SESSION_INVALID
    try:
        connect(alice, revision=2)
        assert cube.whoami(alice) == alice
    finally:
        service.closing = None
    assert cube.whoami(alice) == alice
    assert web.request("GET", f"{cube.url}/livez").status == 200


def test_no_secret_is_in_anything_that_cube_wrote_or_answered(
    running: Started, service: Snowflake, resolver: FakeResolver, canaries: Canaries, connect: Connect
) -> None:
    """The last test of the module: at level trace, after everything above."""
    alice = fresh("alice")
    token = connect(alice)
    assert running["cube.js"].whoami(alice) == alice
    answers = drivers.told(running["cube.js"], alice)
    service.refuses(token, snowflake.INVALID)
    service.end_sessions(alice, snowflake.SESSION_GONE)
    with pytest.raises(LoadError) as refusal:
        running["cube.js"].whoami(alice)
    for text in (answers, str(refusal.value), *(cube.said() for cube in running.values())):
        assert canaries.found_in(text) == []
        assert [session for session in service.said if session in text] == []
    assert all("Load Request Success" in cube.said() for cube in running.values())
