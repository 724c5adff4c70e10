"""Configurations with everything of their own, in both languages: what each of their functions is given, in the real Cube."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hook.resolver import MISSING, FakeResolver, active
from tests.hook.test_hook_with_cube import HOOK, fresh
from tests.parts import cube as cubes
from tests.parts import web
from tests.parts.cube import Cube
from tests.parts.postgres import DATABASE, SERVICE, Postgres

CONFIGURATIONS = Path(__file__).parent / "configurations"


@pytest.fixture(scope="module", params=["cube.js", "cube.py"])
def cube(
    request: pytest.FixtureRequest, postgres: Postgres, resolver: FakeResolver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cube]:
    folder = tmp_path_factory.mktemp("configured")
    project = folder / "project"
    (project / "model").mkdir(parents=True)
    (project / "model/whoami.yml").write_text((cubes.PROJECT / "model/whoami.yml").read_text())
    (project / request.param).write_text((CONFIGURATIONS / request.param).read_text())
    env = {
        "CUBEJS_DB_TYPE": "postgres",
        "CUBEJS_DB_HOST": "127.0.0.1",
        "CUBEJS_DB_PORT": str(postgres.port),
        "CUBEJS_DB_NAME": DATABASE,
        "CUBEJS_DB_USER": SERVICE,
        "CUBEJS_DB_PASS": postgres.service,
        "CUBE_OAUTH_SOCKET": str(resolver.path),
        "CUBE_OAUTH_USERNAME_CLAIM": "username",
        "CUBEJS_LOG_LEVEL": "trace",
    } | (cubes.PYTHON_ENVIRONMENT if request.param == "cube.py" else {})
    with Cube(env=env, project=project, preload=HOOK, folder=folder) as running:
        yield running


def whoami(cube: Cube, username: str) -> str:
    """Ask with what the configuration's own checkAuth takes: the bare name."""
    headers = {"Content-Type": "application/json", "Authorization": username}
    body = json.dumps({"query": cubes.whoami_query()}).encode()
    while "error" in (answer := web.request("POST", f"{cube.url}/cubejs-api/v1/load", body=body, headers=headers).json()):
        assert answer["error"] == "Continue wait", answer
    return answer["data"][0]["whoami.who"]


def noted(cube: Cube, what: str, username: str) -> list[Any]:
    """Return the security contexts of this person that a function of the configuration was given."""
    lines = [json.loads(line.removeprefix("noted ")) for line in cube.said().splitlines() if line.startswith("noted ")]
    return [line["given"] for line in lines if line["what"] == what and (line["given"] or {}).get("username") == username]


def test_each_function_of_a_configuration_is_given_what_is_documented(
    cube: Cube, resolver: FakeResolver, postgres: Postgres
) -> None:
    alice = fresh("alice")
    mine = active(postgres.token(alice), subject="A.LICE", revision=7, grant="g7")
    resolver.set(alice, postgres=mine, lake={"status": "revoked", "reason": "Revoked", "fallback": "ServiceAccount"})
    assert whoami(cube, alice) == alice
    shown = {"status": "active", "expiresAt": mine["expiresAt"], "subject": "A.LICE", "revision": 7, "grant": "g7"}
    # what came with the caller under cubeCloud and says whose credentials to use is gone; the rest of it stays
    extended = noted(cube, "extendContext", alice)
    assert extended
    assert all(each == {"username": alice, "cubeCloud": {"groups": ["g"]}} for each in extended), extended
    own = {"username": alice, "tenant": "acme"}
    for function, token in (("contextToAppId", {}), ("contextToOrchestratorId", {}), ("driverFactory", {"accessToken": "a token"})):
        credentials = {"postgres": shown | token, "lake": {"status": "revoked"}}
        cloud = {"groups": ["g"], "username": alice, "userCredentials": credentials}
        given = noted(cube, function, alice)
        assert given, function
        assert all(each == own | {"cubeCloud": cloud} for each in given), (function, given)


def test_absent_keys_are_absent(cube: Cube, resolver: FakeResolver, postgres: Postgres) -> None:
    alice, carol = fresh("alice"), fresh("carol")
    mine = {"status": "active", "reason": "Active", "accessToken": postgres.token(alice), "fallback": "ServiceAccount"}
    resolver.set(alice, postgres=mine)
    resolver.set(carol, postgres=MISSING)
    assert [whoami(cube, alice), whoami(cube, carol)] == [alice, SERVICE]
    [first, *_] = noted(cube, "driverFactory", alice)
    assert first["cubeCloud"]["userCredentials"] == {"postgres": {"status": "active", "accessToken": "a token"}}
    [first, *_] = noted(cube, "driverFactory", carol)
    assert first["cubeCloud"]["userCredentials"] == {"postgres": {"status": "missing"}}


def test_no_token_is_in_anything_that_cube_wrote(cube: Cube, resolver: FakeResolver) -> None:
    tokens = [
        source["accessToken"] for sources in resolver.sources.values() for source in sources.values() if "accessToken" in source
    ]
    assert tokens
    assert [token[:8] for token in tokens if token in cube.said()] == []
