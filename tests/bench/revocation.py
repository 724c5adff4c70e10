"""From a revocation in the API server until the first query that obeys, on a real node: the chart, and a Cube with one label."""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from string import Template
from typing import Any

from cube_oauth.kube.api import USER_CREDENTIALS, Api
from cube_oauth.resources.names import credential_name
from tests.bench.installation import NAMESPACE, Installation
from tests.bench.people import PROJECT, load, session
from tests.bench.results import Result, percentile
from tests.bench.sightings import PATIENCE, watched
from tests.cluster import available, cluster_for
from tests.cluster.progress import say, step
from tests.e2e.world import CUBE_PORT, World, eventually, in_cluster
from tests.parts import cube, web
from tests.parts.postgres import SERVICE, Postgres

TRIALS = 200


def measure(folder: Path) -> list[Result]:
    """Half of the people are suspended, half of the UserCredentials deleted; nothing where no node can run."""
    if reason := available():
        say(f"  not measured: {reason}")
        return []
    people = [f"person-{number}" for number in range(TRIALS)]
    with cluster_for("node", "bench") as cluster:
        world, names = World(cluster, folder), in_cluster(cluster)
        world.namespaces()
        with step("installing the operator with its Helm chart"):
            world.install(names.operator)
        with Postgres(address=cluster.host_address) as postgres:
            installation = Installation(cluster, folder)
            installation.app()
            installation.connect(*people, lifetime=timedelta(hours=1), token=postgres.token(*people))
            installation.settle()
            with step("deploying Cube with one label"):
                _deploy_cube(world, names.cube, postgres)
            took = asyncio.run(_trials(cluster.kubeconfig, world.cube_url, people))
    watch, query = (percentile(took[name], 0.5) for name in ("watch", "query"))
    return [
        Result(
            "revocation_p99_ms",
            percentile(took["obeyed"], 0.99),
            1000,
            f"from a revocation to the first query that obeys, on a node, p99 of {TRIALS} in ms",
        ),
        Result(
            "revocation_p50_ms",
            percentile(took["obeyed"], 0.5),
            500,
            f"the same, p50 (a bare watch sees it after {watch:.0f} ms, a query takes {query:.0f} ms)",
        ),
    ]


def _deploy_cube(world: World, image: str, postgres: Postgres) -> None:
    files = {file.name: file.read_text() for file in (PROJECT / "cube.js", PROJECT / "model/cubes.yml")}
    world.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "project", "namespace": NAMESPACE}, "data": files})
    env = postgres.environment() | {"CUBEJS_API_SECRET": cube.API_SECRET, "POSTGRES_CREDENTIAL": "trino"}
    listed = json.dumps([{"name": name, "value": value} for name, value in env.items()])
    template = Template(Path(__file__).with_name("cube.yaml").read_text())
    manifest = template.substitute(cube_image=image, cube_env=listed, cube_port=CUBE_PORT)
    world.cluster.kubectl("apply", "--server-side", "-f", "-", text_in=manifest)
    world.rollout(NAMESPACE, "cube")
    eventually("Cube's node port", lambda: web.answers(f"{world.cube_url}/livez"))  # kube-proxy comes after the pod


async def _trials(kubeconfig: Path, url: str, people: list[str]) -> Mapping[str, list[float]]:
    """Milliseconds: of a query before, until a bare watch saw the revocation, until the answer to a query obeyed."""
    took: dict[str, list[float]] = {"query": [], "watch": [], "obeyed": []}
    async with Api.connect(str(kubeconfig)) as api, watched(api, USER_CREDENTIALS.path(NAMESPACE), _revoked) as seen:
        for number, username in enumerate(people):
            async with session(url, username) as client:
                await load(client)
                before, query = await load(client)
                assert before == username, before
                began = time.perf_counter()
                await _revoke(api, username, suspend=number % 2 == 0)
                while (await load(client))[0] != SERVICE:
                    assert time.perf_counter() - began < PATIENCE, f"{username} is not revoked"
                obeyed = time.perf_counter() - began
            watch = await seen.of(username) - began
            for name, seconds in {"query": query, "watch": watch, "obeyed": obeyed}.items():
                took[name].append(seconds * 1000)
    return took


async def _revoke(api: Api, username: str, *, suspend: bool) -> None:
    name = credential_name("trino", username)
    if suspend:
        await api.merge(USER_CREDENTIALS, name, {"spec": {"suspend": True}}, NAMESPACE)
    else:
        await api.delete(USER_CREDENTIALS, name, NAMESPACE)


def _revoked(event: dict[str, Any]) -> str | None:
    """Whose credential it is, once it is suspended or deleted."""
    credential = event["object"]
    gone = event["type"] == "DELETED" or "deletionTimestamp" in credential["metadata"]
    return credential["spec"]["username"] if gone or credential["spec"].get("suspend") else None
