"""Local processes that are always stopped again, and ports that nobody else uses."""

import contextlib
import fcntl
import functools
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.parts.prepared import say

PORTS = range(20_000, 32_000)  # below 32768: an outgoing connection may sit on any port above
_given: deque[int] = deque(maxlen=1_000)  # not given again so soon: whoever asked may not listen yet


def is_free(port: int) -> bool:
    """Say whether nobody listens on the port, on any address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
        return True


@functools.cache
def _claims() -> int:
    """Return a file in which each process has locked the bytes of the ports that it gave; the locks end with the process."""
    return os.open(Path(tempfile.gettempdir()) / f"cube-oauth-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)


def _claimed(port: int) -> bool:
    """Claim the port before other processes of ours (another run of the tests); say whether nobody has."""
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def free_port(wanted: int | None = None) -> int:
    """Return the wanted port, refusing a taken one, or any free port."""
    if wanted is not None:
        if not is_free(wanted):
            raise RuntimeError(f"port {wanted} is already in use: not starting")
        return wanted
    for port in random.sample(PORTS, k=2_000):
        if port not in _given and _claimed(port) and is_free(port):
            _given.append(port)
            return port
    raise RuntimeError("no free port found")


class Process:
    """A program in a session of its own, its output in a file; leaving the `with` block ends it and its children."""

    def __init__(self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path | None = None):
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=cwd,
                env=bare_environment() | dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until the program is ready; raise with the end of its log when it ended or took too long."""
        started = time.monotonic()
        next_word = started + 5
        while not ready():
            now = time.monotonic()
            if self._popen.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self._popen.returncode}:\n{self.last_words()}")
            if now - started > seconds:
                raise RuntimeError(f"{self.name} is not ready after {seconds} s:\n{self.last_words()}")
            if now > next_word:
                say(f"waiting for {self.name}: {now - started:.0f} s")
                next_word = now + 5
            time.sleep(0.1)
        say(f"{self.name} is up in {time.monotonic() - started:.1f} s (pid {self.pid})")

    def last_words(self, size: int = 4000) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-size:]

    def stop(self, *, patience: float = 10) -> None:
        """End the program and whatever it started; after `patience` seconds, without asking."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(patience)
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def _signal(self, number: signal.Signals) -> None:
        # The session's number is our child's. It is not given to anybody else while one of the session lives.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def bare_environment() -> dict[str, str]:
    """Return what every program needs, and nothing that would steer one by accident (NODE_OPTIONS, CUBEJS_...)."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
