"""The command behind ``make demo``: ``python -m tests.e2e up | down`` (and ``image``)."""

import argparse
import os
import sys
from pathlib import Path

from tests.browser.people import chromium
from tests.cluster import ClusterError, cluster_for, local, paths
from tests.cluster.progress import say, step
from tests.e2e.story import Step, Story
from tests.e2e.world import PEOPLE, World, in_cluster, operator_image
from tests.parts.provider import PASSWORD

NAME = "demo"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description="The demo: everything real, on this machine.")
    commands = {"up": up, "down": down, "image": image}
    parser.add_argument("command", choices=commands)
    arguments = parser.parse_args()
    try:
        return commands[arguments.command]()
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def up() -> int:
    """Everything from nothing to the end of the story; 0 when all went as expected."""
    cluster = cluster_for("node", NAME)
    with step("starting a Kubernetes node"):
        cluster.up(keep=True)
    folder = paths.cache() / "demo"
    folder.mkdir(mode=0o700, exist_ok=True)
    world = World(cluster, folder, token_seconds=int(os.environ.get("TOKEN_SECONDS", "60")))
    world.build(in_cluster(cluster))
    print("\nThe story. Each line: what was done, what was expected, what Trino (or the portal) really said.\n", flush=True)
    with chromium() as browser:
        story = Story(world, browser, folder / "screenshots", tell)
        ok = story.run()
    _print_addresses(world, folder)
    right = sum(done.ok for done in story.steps)
    print(f"demo: {right} of {len(story.steps)} as expected", flush=True)
    return 0 if ok else 1


def down() -> int:
    """Remove the demo's cluster."""
    if os.environ.get("CONTEXT"):
        say("the cluster of CONTEXT stays; remove the namespaces identity, warehouse, analytics, cube-oauth and cube-oauth-tokens")
        return 0
    local.find(NAME).down()
    say("the demo is gone")
    return 0


def image() -> int:
    """Build the operator's image alone, and say where its archive is."""
    made = operator_image()
    print(f"{made.ref}\n{made.archive}")
    return 0


def tell(done: Step) -> None:
    """One line for each step."""
    mark = "ok  " if done.ok else "NOT "
    print(f"  {mark} {done.what}\n         expected: {done.expected}\n         seen:     {done.seen}", flush=True)


def _print_addresses(world: World, folder: Path) -> None:
    print(
        f"""
The cluster stays up (`make demo-down` removes it):

  portal       {world.portal_url}   (its certificate is the demo's own; the browser will warn)
  provider     {world.issuer}
  Cube's API   {world.cube_url}/cubejs-api/v1/load
  log in as    {", ".join(PEOPLE)}; password: {PASSWORD}
  kubectl      KUBECONFIG={world.cluster.kubeconfig}
  screenshots  {folder / "screenshots"}
""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
