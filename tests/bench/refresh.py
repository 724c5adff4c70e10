"""Refreshes by a controller, beside a bare aiohttp loop that makes the same three requests at the same concurrency."""

import asyncio
import base64
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp

from cube_oauth.kube.api import SECRETS, USER_CREDENTIALS, Api
from tests.bench.installation import NAMESPACE, TOKENS, Installation, Running
from tests.bench.results import Result
from tests.parts.certificates import Certificate, self_made
from tests.parts.processes import free_port

CREDENTIALS = 2000
CONCURRENCY = 20
WRITTEN = "usercredentials", "secrets", "events"


@contextmanager
def provider(folder: Path) -> Iterator[tuple[str, Path]]:
    """A fast token endpoint; its address and the authority to trust."""
    certificate: Certificate = self_made(folder / "provider-tls", "127.0.0.1")
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.token_endpoint", str(port), str(certificate.cert), str(certificate.key)]
    )
    try:
        yield f"https://127.0.0.1:{port}/token", certificate.ca
    finally:
        child.terminate()
        child.wait()


def measure(installation: Installation, ca: Path) -> list[Result]:
    """All credentials are due at once; both loops work through as many of them as the other."""
    with installation.process("controller", CUBE_OAUTH_EXTRA_CA_FILE=str(ca)) as first:
        first.wait_ready()
        installation.connect(*(f"due-{number}" for number in range(CREDENTIALS)), lifetime=timedelta(hours=1))
        installation.settle()
    installation.age(timedelta(minutes=50))
    due = [item["metadata"]["name"] for item in installation.credentials()]
    before = installation.writes(*WRITTEN)
    with installation.process("controller", CUBE_OAUTH_EXTRA_CA_FILE=str(ca), CUBE_OAUTH_WORKERS=str(CONCURRENCY)) as controller:
        ours = _rate_of(controller, len(due))
        memory = controller.memory()
        writes = _writes_of_all(installation, controller, len(due)) - before
    floor = asyncio.run(_bare(installation, due, ca, claim=False))
    same = asyncio.run(_bare(installation, due, ca, claim=True))
    print(f"    {ours:.0f} refreshes/s, bare loops {floor:.0f}/s and {same:.0f}/s, controller {memory:.0f} MiB", flush=True)
    return [
        Result("refresh_ratio", ours / floor, 0.6, "refreshes/s beside a bare aiohttp loop: token, Secret, status", at_least=True),
        Result(
            "refresh_same_requests_ratio", ours / same, 0.6, "the same beside a bare loop that claims first, too", at_least=True
        ),
        Result("refresh_writes", writes / len(due), 3, "writes to the API server for one refresh"),
    ]


def _rate_of(controller: Running, due: int) -> float:
    """Refreshes a second, between the first fifth and 95 % (start-up and the tail are not throughput)."""
    begun: tuple[float, int] | None = None
    until = time.monotonic() + 300
    while time.monotonic() < until:
        done, now = controller.metric("cube_oauth_controller_refreshes_total", 'reason="Refreshed"'), time.perf_counter()
        if begun is None and done >= due / 5:
            begun = now, done
        if begun and done >= due * 0.95:
            return (done - begun[1]) / (now - begun[0])
        time.sleep(2)  # each look costs the controller some milliseconds
    raise RuntimeError("the controller did not refresh what was due")


def _writes_of_all(installation: Installation, controller: Running, due: int) -> int:
    """All writes there were once everything is refreshed and published."""
    until = time.monotonic() + 60
    while controller.metric("cube_oauth_controller_refreshes_total", 'reason="Refreshed"') < due or any(
        item["status"]["revision"] == 1 for item in installation.credentials()
    ):
        if time.monotonic() > until:
            raise RuntimeError("not every refresh was published")
        time.sleep(0.5)
    return installation.writes(*WRITTEN)


async def _bare(installation: Installation, names: list[str], ca: Path, *, claim: bool) -> float:
    """The same requests for each: token, Secret, status; with ``claim`` a write of the Secret before them, too."""
    context = ssl.create_default_context(cafile=str(ca))
    waiting = list(names)
    async with Api.connect(str(installation.cluster.kubeconfig)) as api, aiohttp.ClientSession() as session:
        secrets = {item["metadata"]["name"]: item for item in (await api.list(SECRETS, TOKENS))["items"]}
        by_name = {item["metadata"]["name"]: item for item in installation.credentials()}

        note = base64.b64encode(str(claim).encode()).decode()

        async def work() -> None:
            while waiting:
                credential = by_name[waiting.pop()]
                secret = secrets[f"token-{credential['metadata']['uid']}"]
                if claim:
                    await api.replace(SECRETS, {**secret, "data": {**secret["data"], "claim": "eA=="}})
                form = {"grant_type": "refresh_token", "refresh_token": "r", "client_id": "cube"}
                async with session.post(installation.token_url, data=form, ssl=context) as answer:
                    await answer.read()
                body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret["metadata"]["name"], "namespace": TOKENS}}
                await api.apply(SECRETS, {**body, "data": {"note": note}}, field_manager="bench")
                status = {"status": {"revision": 3 + claim}}
                await api.merge(USER_CREDENTIALS, credential["metadata"]["name"], status, NAMESPACE, "status")

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return len(names) / (time.perf_counter() - began)
