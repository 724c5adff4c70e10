"""Processes of a cluster: started in sessions of their own, found again by other programs, ended by their id only.

A process id alone does not say whose process it is, since ids are used again. A process is therefore kept as its id
together with the moment it started (in clock ticks since boot) and the boot it belongs to.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.commands import ClusterError

_children: dict[int, subprocess.Popen[bytes]] = {}
"""What this program started itself, and so must wait for; other programs' children are their parents' business."""


@dataclass(frozen=True)
class Process:
    """A process, identified beyond doubt."""

    name: str
    pid: int
    started: int
    boot: str

    def alive(self) -> bool:
        """Whether any of it still runs. A mere zombie does not: whoever started it may take a while to notice."""
        if child := _children.get(self.pid):
            child.poll()
        state = _state(self.pid)
        if state is None or state[1] != self.started or _boot() != self.boot:
            return False
        return state[0] not in "ZX" or _threads(self.pid) > 1

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless the process is gone and its id may be somebody else's."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, *, graceful: float = 0) -> None:
        """Ends it: asks first if given seconds for that, then kills and waits until it is gone."""
        if graceful:
            self.signal(signal.SIGTERM)
            self._wait(graceful)
        self.signal(signal.SIGKILL)
        if not self._wait(60):
            raise ClusterError(f"{self.name} (process {self.pid}) does not end")
        _children.pop(self.pid, None)

    def _wait(self, seconds: float) -> bool:
        return until(lambda: not self.alive(), seconds, every=0.02)


def start(name: str, command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> Process:
    """Starts a program in a session of its own, so that neither Ctrl-C nor the end of this one reaches it."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=env,
            cwd="/",
        )
    _children[child.pid] = child
    return identify(name, child.pid)


def identify(name: str, pid: int) -> Process:
    state = _state(pid)
    if state is None:
        raise ClusterError(f"{name} (process {pid}) has already ended")
    return Process(name, pid, state[1], _boot())


def me() -> Process:
    return identify("owner", os.getpid())


def only_child(parent: Process, seconds: float) -> Process:
    """The one child of a process, which may appear a moment later."""
    found: list[int] = []

    def look() -> bool:
        found[:] = [pid for pid in _pids() if (state := _state(pid)) and state[2] == parent.pid]
        return bool(found) or not parent.alive()

    until(look, seconds, every=0.01)
    if len(found) != 1:
        raise ClusterError(f"{parent.name} (process {parent.pid}) has {len(found)} children instead of one")
    return identify(parent.name, found[0])


def until(true: Callable[[], bool], seconds: float, *, every: float = 0.1) -> bool:
    """Waits until something is true, for at most so many seconds; whether it became true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _state(pid: int) -> tuple[str, int, int] | None:
    """A process's state letter, start and parent, as of proc(5); the name before them may hold any character."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19]), int(fields[1])


def _threads(pid: int) -> int:
    """A killed process's first thread may be a zombie while others still hold its ports."""
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return 0


# ---- ports


def taken(address: str, port: int) -> bool:
    """Whether something listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what lingers after a stop is no listener
        try:
            probe.bind((address, port))
        except OSError:
            return True
    return False


def listens(process: Process, port: int) -> bool:
    """Whether the listener on a TCP port is this very process: one of its descriptors is the listening socket.

    An etcd which lost its port to another cluster's etcd would else leave an API server working in the other store.
    """
    sockets = {f"socket:[{inode}]" for inode in _listeners(process.pid, port)}
    return bool(sockets & _descriptors(process.pid))


_LISTEN = "0A"


def _listeners(pid: int, port: int) -> list[str]:
    """The inodes of the sockets which listen on a port in a process's network namespace."""
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port]


def _descriptors(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(entry.readlink()))
    return found
