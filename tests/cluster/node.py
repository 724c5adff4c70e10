"""A whole Kubernetes node in namespaces of its own, for root: what a demo or another test runs beside it is not its business.

One process holds the namespaces (network, mounts, process ids, host name, IPC). Ending it ends everything in it: the
kernel kills what runs there, containers and their shims included, and drops its mounts, links and rules. What is left
to remove by hand is outside of namespaces: control groups, this machine's end of the link, and one folder.

A pair of virtual links joins the node to this machine: 10.99.<slot>.1 here, 10.99.<slot>.2 there. Pods have no way
further than that, and name servers they ask know ``cluster.local`` only.
"""

import ipaddress
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries, cgroups, components, debian, images, node_settings, processes, state
from tests.cluster.commands import ClusterError, run, succeeds
from tests.cluster.components import Ports
from tests.cluster.local import LocalCluster, register
from tests.cluster.processes import Process
from tests.cluster.progress import say
from tests.cluster.state import State

_PORTS = Ports(etcd=2379, peer=2380, controller_manager=10257, apiserver=6443)
"""The usual ones: in a network namespace of its own nothing can be in the way."""
_BINARIES = Path("/opt/bin")
_NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc")
_SUPERVISOR = "supervisor"
_INIT = "init"


@dataclass(frozen=True)
class Link:
    """The link between this machine and one node; ``slot`` numbers the nodes of this machine from 1."""

    slot: int

    @property
    def interface(self) -> str:
        return f"cubeoauth{self.slot}"

    @property
    def network(self) -> ipaddress.IPv4Network:
        base = ipaddress.IPv4Network(os.environ.get("CUBE_OAUTH_NODE_NETWORK", "10.99.0.0/16"))
        return ipaddress.IPv4Network((base.network_address + 256 * self.slot, 30))

    @property
    def host(self) -> str:
        return str(self.network[1])

    @property
    def node(self) -> str:
        return str(self.network[2])


@register
class Node(LocalCluster):
    """One real node, in 10 seconds. There is nothing to pull images from: see ``load_image``.

    Args:
        name: also the name of its folder and control group.
        audit_log: write ``audit_log``.
    """

    kind = "node"
    programs = binaries.NODE
    users = ("admin", "controller-manager", "scheduler", "kubelet", "proxy")

    @property
    def host_address(self) -> str:  # type: ignore[override]
        return self._link.host

    @property
    def work(self) -> Path:
        return self.root / "cluster"

    @property
    def inside(self) -> Path:
        return Path("/cluster")

    @property
    def root(self) -> Path:
        """The node's file system."""
        return self.folder / "root"

    @property
    def cgroup(self) -> str:
        return f"cube-oauth-{self.name}"

    @property
    def _link(self) -> Link:
        return Link(self.state.slot or 0)

    def load_image(self, archive: Path) -> None:
        """Imports an image archive (of docker or OCI); pods use it with a tag other than ``latest``."""
        client = self._programs()["ctr"]
        with archive.open("rb") as content:
            run([*self._enter(), client, "-n", "k8s.io", "images", "import", "-"], stdin=content)

    def _prepare(self) -> None:
        if reason := available():
            raise ClusterError(reason)
        debian.install(debian.RUN)
        self._programs()
        images.pause()

    def _plan(self, owner: Process | None) -> State:
        link = _free_link()
        fingerprint = self._fingerprint()
        return State(self.kind, link.node, _PORTS, fingerprint, owner, link.slot, audited=self._audited)

    def _start(self) -> None:
        say(f"  {self.name}: namespaces, and a link from {self._link.host} here to {self._link.node} there")
        self._enter_namespaces()
        self._join()
        self._make_keys()
        node_settings.write(self.work, self._facts())
        self._start_processes()
        self.load_image(images.pause().archive)
        self._wait("the API server", lambda: self.answers("/readyz"), 120)
        say(f"  {self.name}: the API server is ready, now the kubelet and the rest")
        self._start_rest()
        self._wait_until_useful()
        say(f"  {self.name}: the node is ready")

    # ---- namespaces and the link

    def _enter_namespaces(self) -> None:
        cgroups.make(self.cgroup)
        script = Path(__file__).parent / "node-root.sh"
        flags = [*_NAMESPACES, "--fork", "--kill-child", "--propagation", "private"]
        command = ["unshare", *flags, "sh", script, self.root, binaries.store(), images.pause_program()]
        log = self.logs / f"{_SUPERVISOR}.log"
        supervisor = self.state.add(processes.start(_SUPERVISOR, command, log), self.folder)
        init = processes.only_child(supervisor, 60)
        self.state.add(Process(_INIT, init.pid, init.started, init.boot), self.folder)
        self._wait("the node's namespaces", (self.work / "ready").exists, 60)

    def _join(self) -> None:
        link, peer = self._link, "eth0"
        init = str(self.state.processes[_INIT].pid)
        run(["ip", "link", "add", link.interface, "type", "veth", "peer", "name", peer, "netns", init])
        run(["ip", "address", "add", f"{link.host}/30", "dev", link.interface])
        run(["ip", "link", "set", link.interface, "up"])
        inside = ["nsenter", "--net", "--target", init]
        run([*inside, "ip", "address", "add", f"{link.node}/30", "dev", peer])
        run([*inside, "ip", "link", "set", peer, "up"])
        # the API server calls webhooks by their service's address: without a route the kernel asks none of kube-proxy's rules
        run([*inside, "ip", "route", "add", components.SERVICES, "via", link.host])
        run([*inside, "nft", "-f", "-"], text_in=_MASQUERADE.format(peer=peer, pods=node_settings.PODS))

    def _enter(self) -> list[str | Path]:
        """The words before a command which shall run in the node."""
        target = str(self.state.processes[_INIT].pid)
        return ["nsenter", "--target", target, *_NAMESPACES, "--"]

    # ---- processes

    def _programs(self) -> dict[str, Path]:
        """Where the node sees its programs."""
        here = binaries.ensure(self.programs, elsewhere=False)
        return {name: _BINARIES / path.relative_to(binaries.store()) for name, path in here.items()}

    def _facts(self) -> node_settings.Facts:
        programs = self._programs()
        return node_settings.Facts(
            address=self.address,
            inside=self.inside,
            cgroup=f"/{self.cgroup}",
            runc=programs["runc"],
            plugins=programs["ptp"].parent,
            snapshotter=_snapshotter(self.folder),
        )

    def _spawn(self, name: str, command: Sequence[str | Path]) -> Process:
        folders = {str(Path(path).parent) for path in self._programs().values()}
        search = ":".join([*sorted(folders), "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
        environment = {"PATH": search, "HOME": "/root"}
        enter = [shutil.which("nsenter") or "nsenter", *self._enter()[1:]]
        return processes.start(name, [*enter, *command], self.logs / f"{name}.log", environment)

    def _start_processes(self) -> None:
        programs, settings = self._programs(), self._settings()
        self._run("containerd", [programs["containerd"], "--config", self.inside / "containerd.toml"])
        self._run("etcd", components.etcd(programs["etcd"], settings))
        self._wait("etcd", self._etcd_ready, 120)
        self._start_apiserver()
        client = [*self._enter(), programs["ctr"], "version"]
        self._wait("containerd", lambda: succeeds(client), 120)

    def _start_apiserver(self) -> None:
        keys = self.inside / "keys"
        more = (
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--endpoint-reconciler-type=lease",
            f"--kubelet-client-certificate={keys}/apiserver-client.crt",
            f"--kubelet-client-key={keys}/apiserver-client.key",
            f"--kubelet-certificate-authority={keys}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
        )
        self._run("apiserver", components.apiserver(self._programs()["kube-apiserver"], self._settings(), *more))

    def _start_rest(self) -> None:
        programs, inside, settings = self._programs(), self.inside, self._settings()
        manager = programs["kube-controller-manager"]
        networks = (f"--cluster-cidr={node_settings.PODS}", f"--service-cluster-ip-range={components.SERVICES}")
        self._run("controller-manager", components.controller_manager(manager, settings, *networks))
        self._run("scheduler", node_settings.scheduler(programs["kube-scheduler"], inside))
        self._run("kubelet", node_settings.kubelet(programs["kubelet"], inside, self.address))
        self._run("proxy", [programs["kube-proxy"], f"--config={inside}/proxy.yaml"])
        self._run("coredns", [programs["coredns"], "-conf", inside / "Corefile"])

    def _wait_until_useful(self) -> None:
        self._wait("the node", self._node_ready, 120)
        default = "/api/v1/namespaces/default"
        self._wait("the default service account", lambda: self.answers(f"{default}/serviceaccounts/default"), 120)
        self._wait("the cluster's certificate", lambda: self.answers(f"{default}/configmaps/kube-root-ca.crt"), 120)

    def _stop(self, known: State) -> None:
        for name in (_INIT, _SUPERVISOR, *known.processes):  # the first takes all others with it
            if process := known.processes.get(name):
                process.stop()
        cgroups.remove(self.cgroup)
        if known.slot and not processes.until(lambda: _unlinked(Link(known.slot)), 60):
            raise ClusterError(f"the link {Link(known.slot).interface} cannot be removed")


_MASQUERADE = """\
table ip cube-oauth {{
  chain postrouting {{
    type nat hook postrouting priority 100;
    oifname "{peer}" ip saddr {pods} masquerade
  }}
}}
"""
"""Pods' addresses are the same in every node, so this machine sees the node's address in their place."""


# ---- whether and where


def available() -> str | None:
    """Why a node cannot run here, in one line; None when it can."""
    if os.uname().sysname != "Linux":
        return "a node needs Linux"
    if os.geteuid() != 0:
        return "a node needs root; a control plane does not"
    if reason := debian.reason_against(debian.RUN | debian.COMPILE):
        return f"a node cannot run here: {reason}"
    if not Path("/sys/fs/cgroup").is_dir():
        return "a node needs control groups, and /sys/fs/cgroup is not there"
    return _namespaces_missing()


def _namespaces_missing() -> str | None:
    if shutil.which("ip") is None:
        return None  # the packages come first
    probe = "ip link add probe0 type veth peer name probe1 && mount -t proc proc /proc && mount -t sysfs sysfs /sys"
    try:
        run(["unshare", *_NAMESPACES, "--fork", "--kill-child", "--propagation", "private", "sh", "-c", probe], timeout=20)
    except ClusterError as error:
        why = str(error).splitlines()[-1].strip()
        return f"a node cannot run here: no new namespaces, links or mounts are allowed ({why})"
    return None


def _snapshotter(folder: Path) -> str:
    """overlayfs, or plain copies where the cache lies on a file system which overlayfs refuses."""
    with tempfile.TemporaryDirectory(dir=folder) as trial:
        for name in ("lower", "upper", "work", "merged"):
            (Path(trial) / name).mkdir()
        options = f"lowerdir={trial}/lower,upperdir={trial}/upper,workdir={trial}/work"
        mount = f"mount -t overlay overlay -o '{options}' '{trial}/merged'"
        works = succeeds(["unshare", "--mount", "--propagation", "private", "sh", "-c", mount])
    if not works:
        say("overlayfs does not work on the cache's file system: images are copied, which is slower")
    return "overlayfs" if works else "native"


def _free_link() -> Link:
    """The first slot whose interface and addresses nobody has."""
    slots = {known.slot for known in state.all_states().values()}
    interfaces = {entry["ifname"] for entry in json.loads(run(["ip", "-json", "link", "show"]))}
    networks = list(_networks_in_use())
    for slot in range(1, 255):
        link = Link(slot)
        if slot in slots or link.interface in interfaces or any(link.network.overlaps(other) for other in networks):
            continue
        return link
    raise ClusterError("no free network for a node in 10.99.0.0/16: set CUBE_OAUTH_NODE_NETWORK to another /16")


def _unlinked(link: Link) -> bool:
    """Whether the link is gone: the kernel removes it by itself, in its own time, when a node's namespaces go."""
    return succeeds(["ip", "link", "delete", link.interface]) or not succeeds(["ip", "link", "show", link.interface])


_WIDE = 16


def _networks_in_use() -> Iterator[ipaddress.IPv4Network]:
    """Networks of this machine's routes, except wide ones (a default route, a VPN's 10.0.0.0/8): ours are narrower."""
    for route in json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"])):
        with suppress(ValueError):  # "default"
            network = ipaddress.IPv4Network(route["dst"], strict=False)
            if network.prefixlen >= _WIDE:
                yield network
