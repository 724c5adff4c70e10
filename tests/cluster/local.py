"""What a control plane and a node have in common: a folder, processes, an API server, a way up and a way down."""

import hashlib
import json
import os
import shutil
import signal
import ssl
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Self

from tests.cluster import binaries, certificates, components, paths, processes, state
from tests.cluster.commands import ClusterError, run
from tests.cluster.components import Settings
from tests.cluster.processes import Process
from tests.cluster.state import State


class LocalCluster(ABC):
    """A cluster of this machine. Each start is a fresh one: nothing is kept but binaries, images and logs."""

    kind: ClassVar[str]
    programs: ClassVar[Sequence[str]]
    users: ClassVar[Sequence[str]]
    host_address: str
    """Where servers of this machine must listen for the cluster to reach them."""

    def __init__(self, name: str, *, audit_log: bool = False) -> None:
        self.name = name
        self.folder = paths.cluster_folder(name)
        self.logs = paths.cache() / "logs" / name
        self._audited = audit_log
        self._state = state.load(self.folder)

    # ---- what a user of the cluster needs

    @property
    def work(self) -> Path:
        """The folder of keys and data, as this machine sees it."""
        return self.folder

    @property
    def inside(self) -> Path:
        """The same folder, as the cluster's processes see it."""
        return self.work

    @property
    def kubeconfig(self) -> Path:
        return self.work / "keys" / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """One JSON event per line, at level Metadata; only with ``audit_log=True``."""
        return self.work / "audit.log"

    @property
    def address(self) -> str:
        return self.state.address

    @property
    def url(self) -> str:
        return self._settings().server_url

    @property
    def state(self) -> State:
        if self._state is None:
            raise ClusterError(f"the cluster {self.name!r} is not up")
        return self._state

    def kubectl(self, *arguments: str, text_in: str | None = None, timeout: float = 120) -> str:
        """Runs kubectl as the cluster's administrator and returns its output; raises ClusterError when it fails."""
        program = binaries.ensure(binaries.CONTROL_PLANE)["kubectl"]
        # its own cache: the user's would remember kinds of another cluster which had the same address
        command = [program, "--kubeconfig", self.kubeconfig, "--cache-dir", self.folder / "kubectl", *arguments]
        return run(command, text_in=text_in, timeout=timeout)

    @abstractmethod
    def load_image(self, archive: Path) -> None:
        """Makes an image archive known to the cluster under its own name."""

    # ---- up and down

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self, *, reuse: bool = False, keep: bool = False) -> Self:
        """Starts the cluster.

        Args:
            reuse: take the cluster as it is if it is up and healthy; else one left from earlier is removed first.
            keep: let it outlive this program. Otherwise a later start of any cluster removes it once this is gone.

        Raises:
            ClusterError: it cannot run here, is another running program's, or did not become ready.
        """
        self._prepare()
        with paths.locked("clusters"):
            self._sweep()
            self._state = state.load(self.folder)
            if reuse and self.healthy():
                return self
            self._clean()
            self._state = self._plan(None if keep else processes.me())
            self._make_folders()
        try:
            self._start()
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Ends every process of the cluster and removes what it leaves; its logs stay in the cache."""
        self._state = state.load(self.folder) or self._state
        if self._state:
            self._stop(self._state)
        self._state = None
        _remove(self.folder)

    def healthy(self) -> bool:
        """Whether it is up as this version of the code would start it, all processes run and the API server is ready."""
        known = self._state
        return (
            known is not None
            and known.fingerprint == self._fingerprint()
            and known.audited == self._audited
            and not known.dead()
            and self.answers("/readyz")
        )

    def _sweep(self) -> None:
        """Removes clusters whose owner ended without doing so."""
        for name, known in state.all_states().items():
            if known.abandoned() and name != self.name and known.kind in _kinds:
                _kinds[known.kind](name).down()

    def _clean(self) -> None:
        owner = self._state.owner if self._state else None
        if owner and owner.alive() and owner != processes.me():
            raise ClusterError(f"the cluster {self.name!r} is in use by process {owner.pid}: choose another name")
        self.down()

    def _make_folders(self) -> None:
        for folder in (self.work / "data", self.work / "keys"):
            folder.mkdir(parents=True)
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.state.save(self.folder)
        (self.work / "keys" / "audit-policy.yaml").write_text(components.AUDIT_POLICY)

    def _fingerprint(self) -> str:
        """Changes with whatever decides how this kind of cluster is set up."""
        digest = hashlib.sha256(repr([component.key() for component in binaries.COMPONENTS]).encode())
        for file in sorted(Path(__file__).parent.glob("*.*")):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]

    @abstractmethod
    def _prepare(self) -> None:
        """Makes sure of programs and packages; before any lock is taken, since a build takes minutes."""

    @abstractmethod
    def _plan(self, owner: Process | None) -> State:
        """Chooses addresses and ports which nobody uses."""

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _stop(self, known: State) -> None: ...

    @abstractmethod
    def _spawn(self, name: str, command: Sequence[str | Path]) -> Process: ...

    # ---- pieces of a start

    def _settings(self) -> Settings:
        audit = self.inside / "audit.log" if self.state.audited else None
        return Settings(self.address, self.state.ports, self.inside / "keys", self.inside / "data", audit)

    def _make_keys(self) -> None:
        certificates.make(self.work / "keys", self.address, self.url, self.users)

    def _run(self, name: str, command: Sequence[str | Path]) -> Process:
        return self.state.add(self._spawn(name, command), self.folder)

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Waits for something, and gives up at once when a process of the cluster has died."""
        dead: list[str] = []

        def settled() -> bool:
            dead[:] = self.state.dead()
            return bool(dead) or ready()

        in_time = processes.until(settled, seconds, every=0.05)
        if dead:
            raise ClusterError(f"{', '.join(dead)} ended while waiting for {what}{self._tails(dead)}")
        if not in_time:
            raise ClusterError(f"{what}: not ready after {seconds:.0f} s; see {self.logs}{self._tails(['kubelet'])}")

    def _tails(self, names: Sequence[str]) -> str:
        logs = [self.logs / f"{name}.log" for name in names if (self.logs / f"{name}.log").exists()]
        lines = [line for log in logs for line in log.read_text(errors="replace").splitlines()[-15:]]
        return "".join(f"\n    {line[:300]}" for line in lines)

    # ---- questions to the servers

    def answers(self, path: str) -> bool:
        """Whether the API server answers 200."""
        return self._get(self.url + path, "admin") is not None

    def _etcd_ready(self) -> bool:
        return self._get(f"{self._settings().etcd_url}/readyz", "apiserver-client") is not None

    def _node_ready(self) -> bool:
        body = self._get(f"{self.url}/api/v1/nodes/{certificates.NODE_NAME}", "admin")
        conditions = json.loads(body)["status"].get("conditions", []) if body else []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _get(self, url: str, identity: str) -> bytes | None:
        keys = self.work / "keys"
        context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        context.load_cert_chain(keys / f"{identity}.crt", keys / f"{identity}.key")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        try:
            with opener.open(url, timeout=5) as answer:
                return answer.read()
        except (urllib.error.URLError, OSError):
            return None

    # ---- the API server away, for tests of what happens then

    def stop_apiserver(self) -> None:
        """Ends the API server: connections are refused from now on."""
        self.state.processes["apiserver"].stop()

    def start_apiserver(self) -> None:
        """Starts the API server again, on the same port and with the same data."""
        self._start_apiserver()
        self._wait("the API server", lambda: self.answers("/readyz"), 120)

    def pause_apiserver(self) -> None:
        """Makes the API server hang: connections are accepted and never answered."""
        self.state.processes["apiserver"].signal(signal.SIGSTOP)

    def resume_apiserver(self) -> None:
        self.state.processes["apiserver"].signal(signal.SIGCONT)

    @abstractmethod
    def _start_apiserver(self) -> None: ...


_kinds: dict[str, type[LocalCluster]] = {}


def register(kind: type[LocalCluster]) -> type[LocalCluster]:
    """Makes a kind of cluster known to ``down`` and to the removal of abandoned ones."""
    _kinds[kind.kind] = kind
    return kind


def find(name: str) -> LocalCluster:
    """The cluster of this name, of whatever kind it was started.

    Raises:
        ClusterError: there is none.
    """
    known = state.load(paths.cluster_folder(name))
    if known is None:
        raise ClusterError(f"there is no cluster {name!r}; `python -m tests.cluster list` shows those there are")
    return _kinds[known.kind](name, audit_log=known.audited)


def _remove(folder: Path) -> None:
    """Removes a cluster's folder, unless something is still mounted below it: that would be removed with it."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    below = [mount for mount in mounts if mount.startswith(f"{folder}{os.sep}")]
    if below:
        raise ClusterError(f"{folder} is kept, since something is mounted below it: {', '.join(below)}")
    for attempt in range(3):
        shutil.rmtree(folder, ignore_errors=attempt < 2)
        if not folder.exists():
            return
        time.sleep(0.2)
