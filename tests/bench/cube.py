"""A cached query through the real Cube with and without the hook, alternating in one run; the answers come from Cube's memory."""

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from tests.bench.results import Result, percentile
from tests.hook.issuer import ISSUER, Issuer
from tests.hook.resolver import FakeResolver, active
from tests.parts import cube as cubes
from tests.parts.cube import Cube
from tests.parts.warehouse import Warehouse

HOOK = Path(__file__).parents[2] / "operator/cube_oauth/injection/hook.cjs"
PERSON, SERVICE = "alice", "cube-service-account"
ROUNDS, CALLS, CONCURRENCY = 8, 400, 8
QUERY = {"query": {"dimensions": ["whoami.who"]}}


def measure(folder: Path) -> list[Result]:
    """Without the hook the same person is served as the service account; Cube does the same work for both."""
    with _cubes(folder) as (plain, hooked):
        assert (plain.whoami(PERSON), hooked.whoami(PERSON)) == (SERVICE, PERSON)
        for cube in (plain, hooked):
            asyncio.run(_took(cube, CALLS))
        took: dict[Cube, list[float]] = {plain: [], hooked: []}
        for number in range(ROUNDS):
            for cube in (plain, hooked) if number % 2 else (hooked, plain):
                took[cube] += asyncio.run(_took(cube, CALLS))

    def added(share: float) -> float:
        return (percentile(took[hooked], share) - percentile(took[plain], share)) * 1000

    return [
        Result("cube_added_p50_ms", added(0.5), 1, "added to a cached /v1/load at concurrency 8 by the hook, p50 in ms"),
        Result("cube_added_p99_ms", added(0.99), 3, "the same, p99 in ms"),
    ]


@contextmanager
def _cubes(folder: Path) -> Iterator[tuple[Cube, Cube]]:
    """Two Cubes before one warehouse; their model lets answers be kept for an hour."""
    project = folder / "project"
    shutil.copytree(cubes.PROJECT, project)
    model = project / "model/whoami.yml"
    model.write_text(model.read_text().replace("every: 1 second", "every: 1 hour"))
    issuer = Issuer(folder)
    with (
        Warehouse(issuer=ISSUER, jwks=issuer.jwks, folder=folder / "trino") as warehouse,
        FakeResolver(folder / "cube.sock") as resolver,
    ):
        resolver.sources[PERSON] = {"trino": active(issuer.token(PERSON))}
        env = cubes.warehouse_environment(
            host="127.0.0.1", port=warehouse.port, ca=str(warehouse.ca), token=issuer.token(SERVICE), user=SERVICE
        )
        hook = {"CUBE_OAUTH_SOCKET": str(resolver.path), "CUBE_OAUTH_USERNAME_CLAIM": "username"}
        with Cube(env=env, project=project) as plain, Cube(env=env | hook, project=project, preload=HOOK) as hooked:
            yield plain, hooked
    issuer.close()


async def _took(cube: Cube, calls: int) -> list[float]:
    """Seconds of each of ``calls`` requests, CONCURRENCY at a time."""
    headers = {"Authorization": cubes.api_token(PERSON), "Content-Type": "application/json"}
    took: list[float] = []
    async with aiohttp.ClientSession(cube.url, headers=headers) as session:

        async def one_after_the_other() -> None:
            for _ in range(calls // CONCURRENCY):
                began = time.perf_counter()
                async with session.post("/cubejs-api/v1/load", data=json.dumps(QUERY)) as answer:
                    content = await answer.json()
                if "data" in content:  # not "Continue wait", which only the first request can be told
                    took.append(time.perf_counter() - began)

        await asyncio.gather(*(one_after_the_other() for _ in range(CONCURRENCY)))
    return took
