"""Where things lie: everything this package writes is below one folder of the user's cache."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCES = Path(__file__).parent / "sources"
NATIVE = Path(__file__).parent / "native"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def cache() -> Path:
    """The folder for binaries, images and running clusters: ``$XDG_CACHE_HOME/cube-oauth``, made if missing."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(root) / "cube-oauth"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def clusters() -> Path:
    folder = cache() / "clusters"
    folder.mkdir(mode=0o700, exist_ok=True)  # keys and kubeconfigs lie here
    return folder


def cluster_folder(name: str) -> Path:
    """The folder of one cluster. A name is refused unless it is safe as a folder, a cgroup and a host name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no cluster name: use up to 40 lower-case letters, digits and dashes")
    return clusters() / name


@contextmanager
def locked(what: str) -> Iterator[None]:
    """Holds a lock between processes; another holder makes this one wait (the kernel frees it when a holder dies)."""
    with (cache() / f"{what}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process which holds the lock {what!r}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
