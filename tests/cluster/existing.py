"""A cluster that is already there, named by a context of the user's kubeconfig."""

import json
import os
from pathlib import Path
from typing import Self

from tests.cluster import paths
from tests.cluster.commands import ClusterError, run


class Existing:
    """An existing cluster with the interface of our own; it is neither started nor stopped.

    Args:
        context: a context of the kubeconfig. Everything uses a copy with this context only, so a mistake cannot reach
            another cluster of the user.
    """

    def __init__(self, context: str) -> None:
        self.name = context

    @property
    def kubeconfig(self) -> Path:
        safe = "".join(letter if letter.isalnum() else "-" for letter in self.name)
        return paths.clusters() / f"{safe}.kubeconfig"

    @property
    def address(self) -> str:
        """The first node's internal address, where node ports are."""
        nodes = json.loads(self.kubectl("get", "nodes", "--output", "json"))["items"]
        for address in nodes[0]["status"]["addresses"]:
            if address["type"] == "InternalIP":
                return address["address"]
        raise ClusterError(f"the first node of the cluster {self.name!r} has no InternalIP")

    @property
    def host_address(self) -> str:
        """Where pods reach servers of this machine; only its user knows."""
        if address := os.environ.get("HOST_ADDRESS"):
            return address
        raise ClusterError(f"set HOST_ADDRESS to this machine's address as pods of the cluster {self.name!r} reach it")

    def kubectl(self, *arguments: str, text_in: str | None = None, timeout: float = 120) -> str:
        """Runs kubectl in this context and returns its output; raises ClusterError when it fails."""
        return run(["kubectl", "--kubeconfig", self.kubeconfig, *arguments], text_in=text_in, timeout=timeout)

    def load_image(self, archive: Path) -> None:
        raise ClusterError(
            f"{archive.name} cannot be loaded into the existing cluster {self.name!r}, which pulls its images: push them "
            "to a registry it can reach, and set IMAGE_REPOSITORY to that registry's path"
        )

    def up(self, *, reuse: bool = True, keep: bool = True) -> Self:
        """Copies the context out of the kubeconfig, and checks that the API server answers."""
        view = ["kubectl", "config", "view", "--minify", "--flatten", "--raw", "--context", self.name]
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(run(view, hint="CONTEXT must name one of `kubectl config get-contexts`."))
        self.kubectl("get", "--raw", "/readyz", timeout=30)
        return self

    def down(self) -> None:
        """Removes the copied kubeconfig; the cluster stays."""
        self.kubeconfig.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(self, *_: object) -> None:
        self.down()
