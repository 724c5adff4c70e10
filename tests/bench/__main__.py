"""``make bench``: each number beside its floor in the same run; a table for people, then a line each for machines."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench import account, cube, expiry, refresh, resolve, restart, revocation, rotation, start
from tests.bench.installation import Installation
from tests.bench.results import Result
from tests.cluster import ControlPlane
from tests.cluster.progress import step

Part = Callable[[Path], list[Result]]


def main() -> int:
    """Measure what is named, or everything. The exit code is 0 whether or not a limit is kept: that is what the lines say."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="What `make bench` measures.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"only these: {', '.join(PARTS)}")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := [name for name in parts if name not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}")
    results: list[Result] = []
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        for number, name in enumerate(parts, 1):
            folder = Path(work) / name
            folder.mkdir()
            what, measure = PARTS[name]
            began = time.monotonic()
            with step(f"{number} of {len(parts)}, {name}: {what}"):
                measured = measure(folder)
            seconds[name] = time.monotonic() - began
            print("\n".join(result.row() for result in measured), flush=True)
            results += measured
    _tell(results, seconds)
    return 0


def _tell(results: list[Result], seconds: Mapping[str, float]) -> None:
    print("\n" + "\n".join(result.row() for result in results))
    print(f"\n  {sum(seconds.values()):.0f} s: {', '.join(f'{name} {took:.0f}' for name, took in seconds.items())}\n")
    print("\n".join(result.line() for result in results))


def _refreshes(folder: Path) -> list[Result]:
    with refresh.provider(folder) as (token_url, ca), ControlPlane("bench-refresh") as cluster:
        there = Installation(cluster, folder, token_url)
        there.prepare()
        return refresh.measure(there, ca)


def _on_a_control_plane(name: str, measure: Callable[[Installation], list[Result]]) -> Part:
    """After a controller has made the key rings."""

    def measured(folder: Path) -> list[Result]:
        with ControlPlane(f"bench-{name}") as cluster:
            there = Installation(cluster, folder)
            there.prepare()
            with there.process("controller") as controller:
                controller.wait_ready()
            return measure(there)

    return measured


PARTS: Mapping[str, tuple[str, Part]] = {
    "refresh": ("refreshes by a controller and by a bare loop", _refreshes),
    "restart": ("a restart with 10,000 credentials", _on_a_control_plane("restart", restart.measure)),
    "expiry": ("1,000 credentials that end in the same second", _on_a_control_plane("expiry", expiry.measure)),
    "cube": ("a query through Cube with and without the hook", cube.measure),
    "rotation": ("a minute of rotations under 200 queries in flight", rotation.measure),
    "account": ("from a changed service account to Cube's environment", _on_a_control_plane("account", account.measure)),
    "start": ("the sidecar's start", lambda _: start.measure()),
    "resolve": ("a resolve through the socket", _on_a_control_plane("resolve", resolve.measure)),
    "revocation": ("from a revocation to the first query that obeys, on a node", revocation.measure),
}


if __name__ == "__main__":
    sys.exit(main())
