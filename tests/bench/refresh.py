"""Refreshes by a controller, beside a bare aiohttp loop of the same requests, with as much in them, at the same concurrency.

That is the claim, the token request, the Secret and the status. Beside it the floor: without the claim, the Secret applied.
"""

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

from cube_oauth.controller.status import write
from cube_oauth.kube.api import SECRETS, USER_CREDENTIALS, Api
from cube_oauth.resources.meta import ObjectMeta
from cube_oauth.resources.secrets import TokenSecret
from tests.bench.installation import TOKENS, Installation, Running
from tests.bench.results import Result
from tests.parts.certificates import Certificate, self_made
from tests.parts.processes import free_port

CREDENTIALS = 2000
CONCURRENCY = 20
TURNS = 2
LIFETIME = timedelta(hours=12)
"""Of the token endpoint's tokens."""
SECRET = {"apiVersion": "v1", "kind": "Secret"}
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
    """All credentials are due at once; each loop works through as many of them. In turn, since a machine is not always as fast."""
    with installation.process("controller", CUBE_OAUTH_EXTRA_CA_FILE=str(ca)) as first:
        first.wait_ready()
        installation.connect(*(f"due-{number}" for number in range(CREDENTIALS)), lifetime=LIFETIME)
        installation.settle()
    ours, same, floor, writes = 0.0, 0.0, 0.0, 0
    for turn in range(1, TURNS + 1):
        rate, written = _controller(installation, ca, turn)
        claiming, bare = (asyncio.run(_bare(installation, ca, turn, claim=claim)) for claim in (True, False))
        print(f"    {rate:.0f} refreshes/s, a bare loop {claiming:.0f}/s, without the claim {bare:.0f}/s", flush=True)
        ours, same, floor, writes = ours + rate, same + claiming, floor + bare, writes + written
    return [
        Result("refresh_ratio", ours / floor, 0.6, "refreshes/s beside a bare aiohttp loop: token, Secret, status", at_least=True),
        Result(
            "refresh_same_requests_ratio", ours / same, 0.6, "the same beside a bare loop that claims first, too", at_least=True
        ),
        Result("refresh_writes", writes / CREDENTIALS / TURNS, 3, "writes to the API server for one refresh"),
    ]


def _controller(installation: Installation, ca: Path, turn: int) -> tuple[float, int]:
    """Refreshes a second, and how many writes all of them were."""
    installation.age(LIFETIME - timedelta(minutes=10))
    before = installation.writes(*WRITTEN)
    with installation.process("controller", CUBE_OAUTH_EXTRA_CA_FILE=str(ca), CUBE_OAUTH_WORKERS=str(CONCURRENCY)) as controller:
        return _rate_of(controller, CREDENTIALS), _writes_of_all(installation, turn + 1) - before


def _rate_of(controller: Running, due: int) -> float:
    """Refreshes a second, from the first fifth on (the start is no throughput) to the last look that found some still due."""
    looks: list[tuple[float, int]] = []
    until = time.monotonic() + 300
    while (done := controller.metric("cube_oauth_controller_refreshes_total", 'reason="Refreshed"')) < due:
        if time.monotonic() > until:
            raise RuntimeError("the controller did not refresh what was due")
        if done >= due / 5:
            looks.append((time.perf_counter(), done))
        time.sleep(0.5)  # each look costs the controller some milliseconds
    if len(looks) < 2:
        raise RuntimeError(f"{due} refreshes were over before they could be measured: raise CREDENTIALS in {__file__}")
    (first, begun), (last, ended) = looks[0], looks[-1]
    return (ended - begun) / (last - first)


def _writes_of_all(installation: Installation, revision: int) -> int:
    """All writes there were once everything is refreshed and published."""
    until = time.monotonic() + 60
    while any(item["status"]["revision"] != revision for item in installation.credentials()):
        if time.monotonic() > until:
            raise RuntimeError("not every refresh was published")
        time.sleep(0.5)
    return installation.writes(*WRITTEN)


async def _bare(installation: Installation, ca: Path, turn: int, *, claim: bool) -> float:
    """A refresh's requests, with what it writes: with ``claim`` the very same; without, the Secret is applied."""
    context = ssl.create_default_context(cafile=str(ca))
    note = {"bench": base64.b64encode(f"{turn} {claim}".encode()).decode()}
    moment = f"2126-01-01T00:00:{2 * turn + claim:02}Z"
    changed = {"revision": 10 * turn + claim, **dict.fromkeys(("expiresAt", "lastRefreshedAt", "refreshAt"), moment)}
    async with Api.connect(str(installation.cluster.kubeconfig)) as api, aiohttp.ClientSession() as session:
        stored = map(TokenSecret.from_kubernetes, (await api.list(SECRETS, TOKENS))["items"])
        secrets = {token.record.credential.uid: token.to_kubernetes(TOKENS) for token in stored}
        waiting = [(ObjectMeta.model_validate(item["metadata"]), item["status"]) for item in installation.credentials()]

        async def work() -> None:
            while waiting:
                credential, status = waiting.pop()
                secret = secrets[credential.uid]
                meta, data = secret["metadata"], {**secret["data"], **note}
                if claim:
                    written = await api.replace(SECRETS, {**secret, "data": {**data, "bench-claim": data["record"]}})
                    meta = {**meta, "resourceVersion": written["metadata"]["resourceVersion"]}
                form = {"grant_type": "refresh_token", "refresh_token": "r", "client_id": "cube"}
                async with session.post(installation.token_url, data=form, ssl=context) as answer:
                    await answer.read()
                if claim:
                    await api.replace(SECRETS, {**secret, "metadata": meta, "data": data})
                else:
                    named = {"name": meta["name"], "namespace": TOKENS}
                    await api.apply(SECRETS, {**SECRET, "metadata": named, "data": data}, field_manager="bench")
                await write(api, USER_CREDENTIALS, "UserCredential", credential, {**status, **changed})

        number, began = len(waiting), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return number / (time.perf_counter() - began)
