"""From a revocation in the API server until the first query in Cube obeys: real controller, broker, resolver, hook and Cube."""

import asyncio
import time
from datetime import timedelta

from cube_oauth.kube.api import USER_CREDENTIALS
from cube_oauth.resources.names import credential_name
from tests.bench.installation import NAMESPACE, Installation
from tests.bench.people import HOOK, PROJECT, hook_environment, load, session
from tests.bench.resolve import sidecar
from tests.bench.results import Result, percentile
from tests.parts.cube import Cube
from tests.parts.postgres import SERVICE, Postgres

TRIALS = 200
PATIENCE = 30


def measure(installation: Installation) -> list[Result]:
    """Half of the people are suspended, half of the UserCredentials deleted; processes on one machine, no pods."""
    people = [f"person-{number}" for number in range(TRIALS)]
    with Postgres() as postgres, installation.process("controller") as controller:
        controller.wait_ready()
        installation.connect(*people, lifetime=timedelta(hours=1), token=postgres.token(*people))
        installation.settle()
        with sidecar(installation) as (socket, _):
            env = postgres.environment() | hook_environment(socket) | {"POSTGRES_CREDENTIAL": "trino"}
            with Cube(env=env, project=PROJECT, preload=HOOK) as cube:
                took, floors = asyncio.run(_trials(installation, cube, people))
    floor = percentile(floors, 0.5) * 1000
    return [
        Result(
            "revocation_p99_ms",
            percentile(took, 0.99) * 1000,
            1000,
            f"from a revocation to the first query that obeys (a query takes {floor:.0f} ms), p99 of 200 in ms",
        ),
        Result("revocation_p50_ms", percentile(took, 0.5) * 1000, 500, "the same, p50 in ms"),
    ]


async def _trials(installation: Installation, cube: Cube, people: list[str]) -> tuple[list[float], list[float]]:
    """Seconds until the first query obeyed, and those of a query before."""
    took, floors = [], []
    for number, username in enumerate(people):
        async with session(cube, username) as client:
            await load(client)
            seen, floor = await load(client)
            assert seen == username, seen
            floors.append(floor)
            began = time.perf_counter()
            await asyncio.to_thread(_revoke, installation, username, suspend=number % 2 == 0)
            while (await load(client))[0] != SERVICE:
                assert time.perf_counter() - began < PATIENCE, f"{username} is not revoked"
            took.append(time.perf_counter() - began)
    return took, floors


def _revoke(installation: Installation, username: str, *, suspend: bool) -> None:
    path = USER_CREDENTIALS.path(NAMESPACE, credential_name("trino", username))
    if suspend:
        installation.patch(path, {"spec": {"suspend": True}})
    else:
        installation.delete(path)
