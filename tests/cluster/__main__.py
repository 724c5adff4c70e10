"""The command: ``python -m tests.cluster``."""

import argparse
import os
import sys

from tests.cluster import binaries, cluster_for, images, local, state
from tests.cluster.commands import ClusterError
from tests.cluster.progress import say


def main() -> int:
    arguments = _parser().parse_args()
    try:
        arguments.run(arguments)
    except (ClusterError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="Kubernetes clusters for tests.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build the programs of a cluster, once")
    build.add_argument("what", nargs="?", default="all", choices=sorted(binaries.SETS))
    build.set_defaults(run=_build)
    up = commands.add_parser("up", help="start a cluster, which stays until `down`; a healthy one is used again")
    up.add_argument("kind", choices=("node", "control-plane"))
    up.add_argument("--audit-log", action="store_true")
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="stop a cluster and remove what it left")
    down.set_defaults(run=_down)
    env = commands.add_parser("env", help='print what a shell needs: eval "$(python -m tests.cluster env NAME)"')
    env.set_defaults(run=_env)
    for command in (up, down, env):
        command.add_argument("name")
    commands.add_parser("list", help="show the clusters of this machine").set_defaults(run=_list)
    return parser


def _build(arguments: argparse.Namespace) -> None:
    names = binaries.SETS[arguments.what]
    found = binaries.ensure(names, elsewhere=arguments.what in {"control-plane", "helm"})
    if set(binaries.NODE) <= set(names):
        images.pause()
    for name, path in found.items():
        print(f"{name:26} {path}")


def _up(arguments: argparse.Namespace) -> None:
    say(f"starting the {arguments.kind} {arguments.name}")
    cluster = cluster_for(arguments.kind, arguments.name, audit_log=arguments.audit_log)
    cluster.up(reuse=True, keep=True)
    say(f"up; servers of this machine which it shall reach must listen at {cluster.host_address}")
    if isinstance(cluster, local.LocalCluster):
        _print_environment(cluster)


def _down(arguments: argparse.Namespace) -> None:
    local.find(arguments.name).down()
    say(f"{arguments.name} is down")


def _list(_: argparse.Namespace) -> None:
    for name, known in state.all_states().items():
        condition = "abandoned" if known.abandoned() else "broken" if known.dead() else "running"
        print(f"{name:20} {known.kind:14} {known.address}:{known.ports.apiserver:<6} {condition}")


def _env(arguments: argparse.Namespace) -> None:
    _print_environment(local.find(arguments.name))


def _print_environment(cluster: local.LocalCluster) -> None:
    programs = binaries.ensure(binaries.CONTROL_PLANE)
    helm = binaries.HELM.folder()
    folders = [str(programs["kubectl"].parent), *([str(helm)] if helm.exists() else [])]
    # a cache of its own: kubectl's usual one would remember kinds of another cluster which had this address
    print(f"export KUBECONFIG={cluster.kubeconfig} KUBECACHEDIR={cluster.folder / 'kubectl'}")
    print(f"export PATH={os.pathsep.join(folders)}{os.pathsep}$PATH")


if __name__ == "__main__":
    sys.exit(main())
