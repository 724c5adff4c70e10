"""What is known about a running cluster, on disk, so that another program can find and stop it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.cluster import paths
from tests.cluster.components import Ports
from tests.cluster.processes import Process

_FILE = "state.json"


@dataclass
class State:
    """A cluster as it was started.

    ``owner`` is the program whose end makes the cluster abandoned; None for one that shall outlive its starter.
    """

    kind: str
    address: str
    ports: Ports
    fingerprint: str
    owner: Process | None
    slot: int | None = None
    audited: bool = False
    processes: dict[str, Process] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        partial = folder / f".{_FILE}"
        partial.write_text(json.dumps(asdict(self), indent=1))
        partial.rename(folder / _FILE)

    def add(self, process: Process, folder: Path) -> Process:
        self.processes[process.name] = process
        self.save(folder)
        return process

    def abandoned(self) -> bool:
        return self.owner is not None and not self.owner.alive()

    def dead(self) -> list[str]:
        return [name for name, process in self.processes.items() if not process.alive()]


def load(folder: Path) -> State | None:
    """The state of the cluster in a folder; None when there is none, or a start was ended before it wrote one."""
    try:
        raw = json.loads((folder / _FILE).read_text())
    except FileNotFoundError:
        return None
    raw["ports"] = Ports(**raw["ports"])
    raw["owner"] = Process(**raw["owner"]) if raw["owner"] else None
    raw["processes"] = {name: Process(**process) for name, process in raw["processes"].items()}
    return State(**raw)


def all_states() -> dict[str, State]:
    """Every cluster on this machine which this user started."""
    found = {folder.name: load(folder) for folder in sorted(paths.clusters().iterdir()) if folder.is_dir()}
    return {name: state for name, state in found.items() if state}
