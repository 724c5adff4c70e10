"""``make survive``: everything, with progress; a table for people, then a line each for machines."""

import sys
import tempfile
from pathlib import Path

from tests.cluster import ControlPlane
from tests.cluster.progress import step
from tests.control_plane.harness import CLIENTS, REDIRECT_URI
from tests.parts.certificates import self_made
from tests.parts.provider import Provider, app_client
from tests.survival import trials
from tests.survival.table import Table
from tests.survival.world import World

CRDS = Path(__file__).resolve().parents[2] / "crds"
PEOPLE = [f"person-{number}" for number in range(60)]


def main() -> int:
    """Try everything. The exit code is 0 when nothing was lost that could have been kept."""
    folder = Path(tempfile.mkdtemp(prefix="survive-"))
    clients = [app_client(name, [REDIRECT_URI], client_secret=secret) for name, secret in CLIENTS.items()]
    tls = self_made(folder / "tls", "127.0.0.1")
    with (
        ControlPlane("survive") as cluster,
        Provider(clients=clients, users=PEOPLE, certificate=tls, folder=folder / "provider") as provider,
    ):
        for crd in sorted(CRDS.glob("*.yaml")):
            cluster.kubectl("apply", "--server-side", "-f", str(crd))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        world, table = World(cluster, provider, folder, "survive", PEOPLE), Table()
        try:
            _everything(world, table)
        finally:
            world.end()
            print(f"\n{table.text()}\n\nlogs and journals: {folder}\n")
    table.problems += [f"a token or a client secret in {name}" for name in world.leaks()]
    print("\n".join([*table.problems, *(result.line() for result in table.results())]))
    return 1 if table.problems else 0


def _everything(world: World, table: Table) -> None:
    with step(f"{len(PEOPLE)} people connect"):
        world.prepare()
    with step("nothing is broken"):
        trials.undisturbed(world, table, 300)
    with step("killed at each await"):
        for _ in range(3):
            trials.killed_at_each_await(world, table, "first refresh")
        for _ in range(3):
            trials.killed_at_each_await(world, table, "a later refresh of several at once", refresh=10, workers=8)
    with step("told to end at each await, also while the API server hangs"):
        trials.ended_at_each_await(world, table)
        trials.ended_while_the_api_hangs(world, table)
    with step("killed at any moment"):
        trials.killed_anywhere(world, table, 40)
    with step("requests fail, conflict and hang"):
        trials.refused(world, table, [*trials.api_faults(3), *trials.provider_faults()], 5)
        trials.storm(world, table, 200)
    with step("two that both believe they lead"):
        trials.two_leaders(world, table, 300)
    with step("the first request to the provider is the one that redeems: killed, then paused at each await"):
        world.without_discovery()
        for _ in range(3):
            trials.killed_at_each_await(world, table, "first refresh, connecting")
        trials.paused_at_each_await(world, table)
    with step("paused with an answer in hand"):
        trials.paused_with_the_answer(world, table)
    with step("paused where no check helps"):
        trials.paused_after_the_check(world, table, 3)
    with step("two that both believe they lead, and whose clocks differ"):
        for ahead in (120, -120):
            trials.contended(world, table, 3, ahead)
    with step("everybody is refreshed once more"):
        world.refresh_everybody()


if __name__ == "__main__":
    sys.exit(main())
