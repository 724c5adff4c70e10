"""A restart with 10,000 credentials: ready beside a bare LIST of the same objects; no write, no request to a provider."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from cube_oauth.controller.engine import FIRST_RESYNC
from tests.bench.installation import NAMESPACE, TOKENS, Installation, Running
from tests.bench.results import Result

CREDENTIALS, UNRELATED = 10_000, 30_000
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
    """The controller settles on the objects once, and is then started again; and once more beside many Secrets of others."""
    installation.connect(*(f"user-{number}" for number in range(CREDENTIALS)), lifetime=timedelta(hours=12))
    with installation.process("controller") as first:
        first.wait_ready()
        installation.settle()
    floor = min(_list_alone(installation) for _ in range(3))
    writes = installation.writes()
    with _restarted(installation) as (took, second):
        memory, asked = second.memory(), second.metric("cube_oauth_controller_provider_requests_total")
    writes = installation.writes() - writes
    installation.unrelated(UNRELATED)
    with _restarted(installation) as (_, third):
        more = third.memory() - memory
    return [
        Result("restart_10000_ratio", took / floor, 3, "a restart with 10,000 credentials until ready, beside a bare LIST of them"),
        Result("restart_10000_writes", writes, 0, "writes to the API server by that restart"),
        Result("restart_10000_provider_requests", asked, 0, "requests to providers by that restart"),
        Result("controller_10000_memory_mib", memory, 250, "the controller's resident memory then, in MiB"),
        Result("unrelated_30000_memory_mib", more, 5, "what 30,000 unrelated Secrets add to it, in MiB"),
    ]


@contextmanager
def _restarted(installation: Installation) -> Iterator[tuple[float, Running]]:
    """A controller, and the seconds until it was ready; whatever it would write then, after its second list too, it has."""
    began = time.perf_counter()
    with installation.process("controller") as running:
        running.wait_ready()
        took = time.perf_counter() - began
        time.sleep(FIRST_RESYNC + 10)
        yield took, running


def _list_alone(installation: Installation) -> float:
    """Seconds that a process takes which only lists the same objects."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", LIST, NAMESPACE, TOKENS], env=installation.environment(), check=True)
    return time.perf_counter() - began
