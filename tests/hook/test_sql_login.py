"""The recipe of docs/cube.md for BI tools: a log-in for each person on Cube's SQL API, and what a connection sees afterwards.

In the real Cube, before a real PostgreSQL; only the SQL API's wire is missing, which calls what is called here.
"""

import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.hook import sql_api
from tests.hook.issuer import ISSUER, Issuer
from tests.hook.resolver import FakeResolver, active
from tests.hook.test_hook_with_cube import HOOK, fresh
from tests.parts import cube as cubes
from tests.parts.cube import API_SECRET, Cube
from tests.parts.postgres import Postgres
from tests.parts.processes import free_port

RECIPE = Path(__file__).parents[2] / "examples/sql-login"
LINK = "https://portal.example/connect/postgres"
REFUSED = re.compile(r'Nobody logs in as ".*" with this password')


@pytest.fixture(scope="module")
def passwords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("passwords") / "passwords"
    file.touch()
    return file


@pytest.fixture(scope="module", params=["cube.js", "cube.py"])
def cube(
    request: pytest.FixtureRequest,
    postgres: Postgres,
    issuer: Issuer,
    resolver: FakeResolver,
    passwords: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cube]:
    """Start Cube with the recipe in either language, and without a driver_factory: the hook generates it."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(Path(__file__).parent / "sources/model", project / "model")
    if request.param != "cube.py":
        shutil.copy(RECIPE / "sql-login.js", project)
        (project / "cube.js").write_text("module.exports = { checkSqlAuth: require('./sql-login').checkSqlAuth };\n")
    else:
        shutil.copy(RECIPE / "cube.py", project)
    env = {
        **postgres.environment(),
        "CUBEJS_PG_SQL_PORT": str(free_port()),
        "CUBE_NATIVE_SQL_PROBE": str(free_port()),
        "CUBEJS_LOG_LEVEL": "trace",
        "CUBE_OAUTH_SOCKET": str(resolver.path),
        "CUBE_OAUTH_USERNAME_CLAIM": "user.name",
        "CUBE_OAUTH_ISSUER": ISSUER,
        "CUBE_SQL_PASSWORDS": str(passwords),
        **cubes.PYTHON_ENVIRONMENT,
        **({"CUBEJS_JWK_URL": issuer.jwks} if request.param == "published keys" else {}),
    }
    with Cube(env=env, project=project, preload=HOOK, folder=tmp_path_factory.mktemp("log")) as running:
        yield running


@pytest.fixture
def person(passwords: Path) -> Callable[[str], tuple[str, str]]:
    """Make somebody's name and personal password."""

    def made(name: str) -> tuple[str, str]:
        username, password = fresh(name), secrets.token_urlsafe(24)
        with passwords.open("a") as file:
            file.write(f"{username}:{hashlib.sha256(password.encode()).hexdigest()}\n")
        return username, password

    return made


@pytest.fixture
def connect(resolver: FakeResolver, postgres: Postgres) -> Callable[..., None]:
    def connected(*usernames: str) -> None:
        for username in usernames:
            resolver.set(username, postgres=active(postgres.token(username), fallback="Deny"))

    return connected


def session(cube: Cube, username: str, password: str | None) -> dict[str, Any]:
    """Log in and return the session's security context."""
    answer = sql_api.log_in(cube, username, password)
    assert answer["result"]["skipPasswordCheck"] is True, answer
    return answer["result"]["securityContext"]


def refused(cube: Cube, username: str, password: str | None) -> bool:
    return REFUSED.search(sql_api.log_in(cube, username, password).get("error", "")) is not None


def ask(cube: Cube, context: dict[str, Any]) -> str:
    """Run one statement in the session: as whom it was seen, or the error."""
    nonce = {"member": "whoami.nonce", "operator": "notEquals", "values": [fresh("nonce")]}
    answer = sql_api.load(cube, context, {"dimensions": ["whoami.who"], "filters": [nonce]})
    if "error" in answer:
        return answer["error"]
    [[row]] = answer["rows"]
    [who] = row.values()
    return who


def token(username: str, *, seconds: float = 3600, secret: str = API_SECRET, **claims: Any) -> str:
    return jwt.encode({"alg": "HS256"}, content(username, seconds=seconds) | claims, OctKey.import_key(secret))


def content(username: str, *, seconds: float = 3600) -> dict[str, Any]:
    return {"iss": ISSUER, "user": {"name": username}, "exp": int(time.time() + seconds)}


takes_tokens = pytest.mark.parametrize("cube", ["cube.js"], indirect=True)
"""The recipe in Python takes personal passwords only."""


def test_everybody_logs_in_as_oneself_and_is_seen_so(
    cube: Cube, person: Callable[[str], tuple[str, str]], connect: Callable[..., None]
) -> None:
    (alice, hers), (bob, his) = person("alice"), person("bob")
    connect(alice, bob)
    sessions = [session(cube, alice, hers), session(cube, bob, his)]
    assert [ask(cube, each) for each in sessions] == [alice, bob]


def test_nobody_logs_in_without_the_password_of_that_name(cube: Cube, person: Callable[[str], tuple[str, str]]) -> None:
    (alice, hers), (_bob, his) = person("alice"), person("bob")
    for username, password in ((alice, his), (alice, ""), (alice, "x"), (fresh("carol"), hers), (fresh("carol"), ""), ("", "")):
        assert refused(cube, username, password), (username, password)


def test_no_password_is_in_anything_that_cube_wrote(cube: Cube, person: Callable[[str], tuple[str, str]]) -> None:
    alice, password = person("alice")
    ask(cube, session(cube, alice, password))
    wrong = secrets.token_urlsafe(24)
    assert refused(cube, alice, wrong)
    assert alice in cube.said(), "the premise: it writes about her"
    assert password not in cube.said()
    assert wrong not in cube.said()


def denied(resolver: FakeResolver, username: str, reason: str) -> None:
    status = "missing" if reason == "NotConnected" else "revoked"
    resolver.set(username, postgres={"status": status, "reason": reason, "authorizeURL": LINK, "fallback": "Deny"})


def test_an_open_connection_sees_with_each_statement_whether_its_person_is_connected(
    cube: Cube, resolver: FakeResolver, person: Callable[[str], tuple[str, str]], connect: Callable[..., None]
) -> None:
    alice, password = person("alice")
    denied(resolver, alice, "NotConnected")
    connection = session(cube, alice, password)
    said = ask(cube, connection)
    assert f"{alice} is not connected to postgres (NotConnected), and it answers only with a connection of one's own" in said
    assert LINK in said
    connect(alice)
    assert ask(cube, connection) == alice
    denied(resolver, alice, "Suspended")
    said = ask(cube, connection)
    assert f"{alice} is not connected to postgres (Suspended)" in said
    assert LINK in said
    connect(alice)
    assert ask(cube, connection) == alice


def test_cube_renews_an_open_connection_without_the_password_until_the_person_is_taken_out(
    cube: Cube, passwords: Path, person: Callable[[str], tuple[str, str]]
) -> None:
    alice, password = person("alice")
    before = session(cube, alice, password)
    assert session(cube, alice, None) == before
    passwords.write_text("".join(line for line in passwords.read_text().splitlines(keepends=True) if alice not in line))
    assert refused(cube, alice, None)
    assert refused(cube, alice, password)
    assert refused(cube, fresh("carol"), None)


def test_nobody_becomes_somebody_else_within_a_connection(
    cube: Cube, person: Callable[[str], tuple[str, str]], connect: Callable[..., None]
) -> None:
    (alice, password), (bob, _) = person("alice"), person("bob")
    connect(alice, bob)
    request = {"id": "sql-1", "meta": sql_api.META | {"changeUser": bob}}
    inside = {"user": alice, "superuser": False, "securityContext": session(cube, alice, password)}
    query = {"measures": [], "dimensions": ["whoami.who"]}
    load = {"request": request, "session": inside, "query": query, "queryKey": [1], "sqlQuery": None, "streaming": False}
    answer = sql_api.call(cube, "sqlApiLoad", load | {"cacheMode": "stale-if-slow"})
    assert f"You cannot change security context via __user from {alice} to {bob}" in answer["error"]


@takes_tokens
def test_a_token_of_the_identity_provider_is_a_password(cube: Cube, connect: Callable[..., None]) -> None:
    alice = fresh("alice")
    connect(alice)
    connection = session(cube, alice, token(alice, department="sales"))
    assert connection["department"] == "sales"
    assert ask(cube, connection) == alice
    assert session(cube, alice, None) == connection


@takes_tokens
def test_a_token_that_is_over_or_somebody_elses_or_forged_is_none(cube: Cube) -> None:
    alice = fresh("alice")
    header_none, body, _ = jwt.encode({"alg": "HS256"}, {"user": {"name": alice}}, OctKey.import_key("x" * 32)).split(".")
    unsigned = f"eyJhbGciOiJub25lIn0.{body}.{header_none}"
    bad = {
        "somebody else's": token(fresh("bob")),
        "over": token(alice, seconds=-5),
        "another key's": token(alice, secret="another secret, as long as the other one"),
        "another issuer's": token(alice, iss="https://other.example"),
        "of nobody": token(alice, user={}),
        "unsigned": unsigned,
        "never over": jwt.encode({"alg": "HS256"}, {"iss": ISSUER, "user": {"name": alice}}, OctKey.import_key(API_SECRET)),
    }
    assert {why for why, password in bad.items() if not refused(cube, alice, password)} == set()


@pytest.mark.parametrize("cube", ["published keys"], indirect=True)
def test_tokens_are_verified_by_the_published_keys_where_there_are_some(cube: Cube, issuer: Issuer) -> None:
    alice = fresh("alice")
    by_key = {"alg": "RS256", "kid": "1"}
    connection = session(cube, alice, jwt.encode(by_key, content(alice), issuer.key))
    assert connection["user"] == {"name": alice}
    other = RSAKey.generate_key(2048, {"kid": "1"}, private=True)
    assert refused(cube, alice, jwt.encode(by_key, content(alice), other))
    assert refused(cube, alice, jwt.encode(by_key | {"kid": "2"}, content(alice), issuer.key))
    assert refused(cube, alice, token(alice))  # by Cube's own secret


@takes_tokens
def test_a_connection_that_was_opened_with_a_token_is_not_renewed_after_its_end(cube: Cube) -> None:
    alice = fresh("alice")
    session(cube, alice, token(alice, seconds=10))
    until = time.monotonic() + 60
    while not refused(cube, alice, None):
        assert time.monotonic() < until
        time.sleep(0.2)
