"""``make bench``: each number beside its floor in the same run; a table for people, then a line each for machines."""

import sys
import tempfile
from pathlib import Path

from tests.bench import cube, expiry, refresh, resolve, restart, revocation, rotation, start
from tests.bench.installation import Installation
from tests.bench.results import Result
from tests.cluster import ControlPlane
from tests.cluster.progress import step


def main() -> int:
    """Run all measurements. The exit code is 0 whether or not a limit is kept: that is what the lines say."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        with step("refreshes: a controller and a bare loop"), refresh.provider(Path(work)) as (token_url, ca):
            results += _on_a_control_plane("bench-refresh", work, token_url, lambda there: refresh.measure(there, ca))
        with step("a restart with 10,000 credentials"):
            results += _on_a_control_plane("bench-restart", work, None, _after_bootstrap(restart.measure))
        with step("1,000 credentials that end in the same second"):
            results += _on_a_control_plane("bench-expiry", work, None, _after_bootstrap(expiry.measure))
        with step("a query through Cube with and without the hook"):
            results += cube.measure(_folder(work, "bench-cube"))
        with step("a minute of rotations under 200 queries in flight"):
            results += rotation.measure(_folder(work, "bench-rotation"))
        with step("from a revocation to the first query that obeys"):
            results += _on_a_control_plane("bench-revocation", work, None, _after_bootstrap(revocation.measure))
        with step("the sidecar's start"):
            results += start.measure()
        with step("a resolve through the socket"):
            results += _on_a_control_plane("bench-resolve", work, None, _after_bootstrap(resolve.measure))
    print("\n" + "\n".join(result.row() for result in results) + "\n")
    print("\n".join(result.line() for result in results))
    return 0


def _folder(work, name):
    folder = Path(work) / name
    folder.mkdir()
    return folder


def _on_a_control_plane(name, work, token_url, measure):
    folder = _folder(work, name)
    with ControlPlane(name) as cluster:
        there = Installation(cluster, folder, **({"token_url": token_url} if token_url else {}))
        there.prepare()
        return measure(there)


def _after_bootstrap(measure):
    """Let a controller make the key rings first."""

    def measured(there):
        with there.process("controller") as controller:
            controller.wait_ready()
        return measure(there)

    return measured


if __name__ == "__main__":
    sys.exit(main())
