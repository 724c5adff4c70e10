"""A warm resolve through the socket, beside a bare asyncio echo over a socket of the same kind with answers of the same size."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from tests.bench.installation import NAMESPACE, Installation, Running
from tests.bench.results import Result, percentile
from tests.parts.certificates import self_made
from tests.parts.processes import free_port

PEOPLE = 50
CALLS = 4000
RATE = 1000
"""Requests a second, for the p99 under load."""

IDLE_SECONDS = 15
"""Three heartbeats of the stream."""


def measure(installation: Installation) -> list[Result]:
    """Through a real broker and a real resolver; the credentials are real Secrets."""
    installation.connect(*(f"person-{number}" for number in range(PEOPLE)), lifetime=timedelta(hours=1))
    with sidecar(installation) as (socket, resolver):
        asyncio.run(_warm(socket))
        size = len(json.dumps(asyncio.run(_once(socket))))
        with _echo(installation.folder, size) as echo:
            floors, ours = [], []
            for _ in range(3):  # alternating, so that both see the same machine
                floors += asyncio.run(_sequence(echo, CALLS // 3))
                ours += asyncio.run(_sequence(socket, CALLS // 3))
        loaded = asyncio.run(_at_rate(socket, RATE, seconds=5))
        memory = resolver.memory()
        before = resolver.cpu()
        time.sleep(IDLE_SECONDS)
        idle = (resolver.cpu() - before) / IDLE_SECONDS * 1000
    ratio = percentile(ours, 0.5) / percentile(floors, 0.5)
    return [
        Result("resolve_p50_ratio", ratio, 3, "a warm resolve through the socket, p50, beside a bare echo in the same run"),
        Result("resolve_p99_ms_at_1000_rps", percentile(loaded, 0.99) * 1000, 2, "a warm resolve at 1,000 requests/s, p99 in ms"),
        Result("resolver_memory_mib", memory, 40, "the sidecar's resident memory after that, in MiB"),
        Result("resolver_idle_millicores", idle, 10, "the sidecar's CPU when nobody asks, in millicores"),
    ]


@contextmanager
def sidecar(installation: Installation) -> Iterator[tuple[Path, Running]]:
    """A real broker and a real resolver; the resolver's socket, and its process."""
    folder = installation.folder
    _materials(installation)
    api_port = free_port()
    broker = {
        "CUBE_OAUTH_LISTEN_API": f"127.0.0.1:{api_port}",
        "CUBE_OAUTH_LISTEN_WEBHOOK": f"127.0.0.1:{free_port()}",
        "CUBE_OAUTH_TLS_DIR": str(folder / "tls"),
        "CUBE_OAUTH_ACCESS_RING_FILE": str(folder / "ring"),
        "CUBE_OAUTH_SIDECAR_IMAGE": "none",
    }
    socket = folder / "resolver.sock"
    sidecar = {
        "CUBE_OAUTH_BROKER_URL": f"https://localhost:{api_port}",
        "CUBE_OAUTH_CA": (folder / "tls/ca.crt").read_text(),
        "CUBE_OAUTH_TOKEN_FILE": str(folder / "token"),
        "CUBE_OAUTH_SOCKET": str(socket),
        "CUBE_OAUTH_HOOK": str(folder / "hook.cjs"),
    }
    with installation.process("broker", **broker) as running:
        running.wait_ready()
        with installation.process("resolver", **sidecar) as resolver:
            until = time.monotonic() + 30
            while not socket.exists() and time.monotonic() < until:
                time.sleep(0.01)
            yield socket, resolver


def _materials(installation: Installation) -> None:
    """What the chart's volumes would bring: certificate, key ring, projected token."""
    made = self_made(installation.folder / "tls", "localhost", "127.0.0.1")
    (installation.folder / "tls/ca.crt").write_text(made.ca.read_text())
    (installation.folder / "ring").write_text(installation.ring("access").to_json())
    kubectl = installation.cluster.kubectl
    token = kubectl("create", "token", "default", "-n", NAMESPACE, "--audience=broker.cubeoauth.dev", "--duration=1h")
    (installation.folder / "token").write_text(token.strip())


@contextmanager
def _echo(folder: Path, size: int) -> Iterator[Path]:
    path = folder / "echo.sock"
    child = subprocess.Popen([sys.executable, "-m", "tests.bench.echo", str(path), str(size)])
    try:
        while not path.exists():
            time.sleep(0.01)
        yield path
    finally:
        child.terminate()
        child.wait()


def _question(number: int) -> bytes:
    return question(number, f"person-{number % PEOPLE}")


def question(number: int, username: str) -> bytes:
    """A line that asks for one person's credentials."""
    params = {"caller": {"username": username, "assertion": None}}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "resolve", "params": params}).encode() + b"\n"


async def _once(socket: Path) -> dict:
    reader, writer = await asyncio.open_unix_connection(socket, limit=2**20)
    writer.write(_question(0))
    answer = await answer_to(reader)
    writer.close()
    return answer["result"]


async def answer_to(reader: asyncio.StreamReader) -> dict:
    """The next answer; notifications come in between."""
    while "id" not in (line := json.loads(await reader.readline())):
        pass
    return line


async def _warm(socket: Path) -> None:
    """Everybody once; the answer must hold a token, or the measurement would be of something else."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=2**20)
    for number in range(PEOPLE):
        writer.write(_question(number))
        answer = await answer_to(reader)
        if answer.get("result", {}).get("credentials", {}).get("trino", {}).get("status") != "active":
            raise RuntimeError(f"no active credential: {answer}")
    writer.close()


async def _sequence(socket: Path, calls: int) -> list[float]:
    """Seconds of each of ``calls`` requests, one after the other."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=2**20)
    took = []
    for number in range(calls):
        began = time.perf_counter()
        writer.write(_question(number))
        await answer_to(reader)
        took.append(time.perf_counter() - began)
    writer.close()
    return took


async def _at_rate(socket: Path, rate: int, seconds: float) -> list[float]:
    """Seconds from when a request was due (not sent: no coordinated omission) to its answer, at a fixed rate."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=2**20)
    due: dict[int, float] = {}
    took: list[float] = []

    async def read() -> None:
        while len(took) < rate * seconds and (line := await reader.readline()):
            answer = json.loads(line)
            if "id" in answer:
                took.append(time.perf_counter() - due.pop(answer["id"]))

    reading = asyncio.create_task(read())
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        due[number] = began + number / rate
        if (pause := due[number] - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        writer.write(_question(number))
    await reading
    writer.close()
    return took
