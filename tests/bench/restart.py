"""A restart with 2,000 credentials: ready beside a bare LIST of the same objects; no write, no request to a provider."""

import subprocess
import sys
import time
from datetime import timedelta

from tests.bench.installation import NAMESPACE, TOKENS, Installation
from tests.bench.results import Result

CREDENTIALS = 2000
LIST = """
import asyncio, sys
from cube_oauth.kube.api import Api, SECRETS, USER_CREDENTIALS
async def main():
    async with Api.connect() as api:
        for resource, namespace in ((USER_CREDENTIALS, sys.argv[1]), (SECRETS, sys.argv[2])):
            await api.list(resource, namespace)
asyncio.run(main())
"""


def measure(installation: Installation) -> list[Result]:
    """The controller settles on the objects once, and is then started again."""
    for number in range(CREDENTIALS):
        installation.connect(f"user-{number}", lifetime=timedelta(hours=12))
    with installation.process("controller") as first:
        first.wait_ready()
        installation.settle()
    before = _versions(installation)
    floor = min(_list_alone(installation) for _ in range(3))
    began = time.perf_counter()
    with installation.process("controller") as second:
        second.wait_ready()
        took = time.perf_counter() - began
        time.sleep(10)  # whatever it would write after a restart, it writes by now
        memory = second.memory()
    writes = sum(version != before[key] for key, version in _versions(installation).items())
    return [
        Result("restart_2000_ratio", took / floor, 3, "a restart with 2,000 credentials until ready, beside a bare LIST of them"),
        Result("restart_2000_writes", writes, 0, "objects written by that restart"),
        Result("controller_2000_memory_mib", memory, 250, "the controller's resident memory then, in MiB"),
    ]


def _list_alone(installation: Installation) -> float:
    """Seconds that a process takes which only lists the same objects."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", LIST, NAMESPACE, TOKENS], env=installation.environment(), check=True)
    return time.perf_counter() - began


def _versions(installation: Installation) -> dict[str, str]:
    items = [*installation.credentials(), *installation.items(f"/api/v1/namespaces/{TOKENS}/secrets")]
    return {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in items}
