"""From the sidecar's start to its first answer, beside a bare Python that only imports asyncio, alternating in one run."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.results import Result, percentile

ROUNDS = 15
MEMORY = "/dev/shm"  # in a pod the sidecar writes the hook into a memory volume
QUESTION = b'{"jsonrpc":"2.0","id":1,"method":"none"}\n'


def measure() -> list[Result]:
    """Without a broker: any answer will do, a resolve with a broker behind it is measured elsewhere."""
    ours, floors = [], []
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        for _ in range(ROUNDS):
            floors.append(_bare())
            ours.append(_first_answer(Path(folder)))
    first, floor = percentile(ours, 0.5), percentile(floors, 0.5)
    return [
        Result("resolver_first_answer_ms", first * 1000, 100, "from the sidecar's start to its first answer, p50 in ms"),
        Result("resolver_first_answer_ratio", first / floor, 1.5, "the same beside a bare Python that imports asyncio"),
    ]


def _bare() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import asyncio"], check=True)
    return time.perf_counter() - began


def _first_answer(folder: Path) -> float:
    path = folder / "start.sock"
    path.unlink(missing_ok=True)
    settings = {"BROKER_URL": "https://127.0.0.1:1", "CA": "none", "SOCKET": str(path), "HOOK": str(folder / "hook.cjs")}
    env = os.environ | {f"CUBE_OAUTH_{name}": value for name, value in settings.items()} | {"CUBE_OAUTH_LISTEN": "127.0.0.1:0"}
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "cube_oauth", "resolver"], env=env, stderr=subprocess.DEVNULL) as sidecar:
        with _connected(path) as connection:
            connection.sendall(QUESTION)
            assert connection.recv(4096)
        took = time.perf_counter() - began
        sidecar.kill()
    return took


def _connected(path: Path) -> socket.socket:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            time.sleep(0.0005)
        else:
            return connection
    raise TimeoutError("the sidecar does not listen")
