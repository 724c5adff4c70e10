"""Kubernetes clusters for tests and the demo: built from Go modules, started on this machine, removed without a trace."""

import os
from pathlib import Path
from typing import Protocol, Self

from tests.cluster.commands import ClusterError
from tests.cluster.control_plane import ControlPlane
from tests.cluster.existing import Existing
from tests.cluster.node import Node, available

__all__ = ["Cluster", "ClusterError", "ControlPlane", "Existing", "Node", "available", "cluster_for"]


class Cluster(Protocol):
    """What tests and the demo need of a cluster, whichever it is."""

    name: str

    @property
    def kubeconfig(self) -> Path:
        """A file for its administrator, with one context."""

    @property
    def address(self) -> str:
        """Where this machine reaches node ports (and, of our own clusters, the API server)."""

    @property
    def host_address(self) -> str:
        """Where servers of this machine must listen for the cluster to reach them."""

    def kubectl(self, *arguments: str, text_in: str | None = None, timeout: float = 120) -> str:
        """Runs kubectl and returns its output; raises ClusterError when it fails."""

    def load_image(self, archive: Path) -> None:
        """Makes an image archive known to the cluster."""

    def up(self, *, reuse: bool = False, keep: bool = False) -> Self:
        """Starts it, or makes sure that it is there."""

    def down(self) -> None:
        """Removes it, if it was started here."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def cluster_for(kind: str, name: str, *, audit_log: bool = False) -> Cluster:
    """The cluster a test or the demo shall use.

    Args:
        kind: ``control-plane`` or ``node``. With ``CONTEXT`` set, that existing cluster takes the node's place; a control
            plane is always our own, since its tests stop the API server and have it call 127.0.0.1.
        name: of a cluster that is started for it.
        audit_log: whether such a one writes an audit log.
    """
    if kind == "control-plane":
        return ControlPlane(name, audit_log=audit_log)
    if kind != "node":
        raise ValueError(f"{kind!r} is no kind of cluster: control-plane or node")
    if context := os.environ.get("CONTEXT"):
        return Existing(context)
    return Node(name, audit_log=audit_log)
