"""A control group of its own for every node, below which its pods' groups lie: removed when the node goes.

Three layouts exist: one hierarchy per controller (v1), one for all (v2), and v1 with an empty v2 beside it (hybrid).
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.cluster.commands import ClusterError
from tests.cluster.processes import until

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


def unified() -> bool:
    """Whether this machine has the one hierarchy of v2 only."""
    return (_ROOT / "cgroup.controllers").exists()


def hierarchies() -> Iterator[Path]:
    if unified():
        yield _ROOT
        return
    yield from (entry for entry in sorted(_ROOT.iterdir()) if entry.is_dir() and not entry.is_symlink())


def make(name: str) -> None:
    """Makes the group in every hierarchy; the kubelet refuses to start below one that is not there."""
    for hierarchy in hierarchies():
        if unified():
            _enable(hierarchy)
        (hierarchy / name).mkdir(exist_ok=True)
        if unified():
            _enable(hierarchy / name)
    _copy_cpuset(name)


def remove(name: str) -> None:
    """Removes the group and those below it, for which the kernel may need a moment after the last process's end."""
    for hierarchy in hierarchies():
        group = hierarchy / name
        if not until(lambda group=group: _removed(group), 60):
            raise ClusterError(f"the control group {group} cannot be removed: a process of it still runs")


def _removed(group: Path) -> bool:
    if not group.exists():
        return True
    folders = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
    for folder in [*folders, group]:
        with suppress(OSError):
            folder.rmdir()
    return not group.exists()


def _enable(group: Path) -> None:
    for controller in _CONTROLLERS:
        with suppress(OSError):  # one the kernel lacks; the kubelet says which it cannot do without
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def _copy_cpuset(name: str) -> None:
    """A v1 group starts without processors and memory, and nothing can run in it until it has some."""
    hierarchy = _ROOT / "cpuset"
    if unified() or not hierarchy.is_dir():
        return
    for setting in ("cpuset.cpus", "cpuset.mems"):
        (hierarchy / name / setting).write_text((hierarchy / setting).read_text())
