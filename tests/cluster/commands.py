"""Running other programs so that a failure explains itself."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

_TAIL = 30


class ClusterError(RuntimeError):
    """Something about a test cluster went wrong; the message says what, and what to do."""


def run(
    command: Sequence[str | Path],
    *,
    hint: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: BinaryIO | None = None,
    text_in: str | None = None,
    timeout: float | None = None,
) -> str:
    """Runs a command and returns its standard output.

    Args:
        command: the program and its arguments; no shell is involved.
        hint: what the reader of a failure should do about it.
        cwd: the folder to run in.
        env: the whole environment; the caller's own when None.
        stdin: a file to read from; nothing when None.
        text_in: text for the standard input.
        timeout: seconds after which the command is ended and counts as failed.

    Raises:
        ClusterError: the command is missing, failed or took too long; with the last lines it printed.
    """
    words = [str(word) for word in command]
    feed = {"input": text_in} if text_in is not None else {"stdin": stdin or subprocess.DEVNULL}
    try:
        done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=timeout, **feed)
    except FileNotFoundError as error:
        raise ClusterError(_explain(f"{words[0]} is not installed", "", hint)) from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(_explain(f"`{_short(words)}` took more than {timeout:.0f} s", "", hint)) from error
    if done.returncode:
        output = done.stdout + done.stderr
        raise ClusterError(_explain(f"`{_short(words)}` ended with code {done.returncode}", output, hint))
    return done.stdout


def succeeds(command: Sequence[str | Path], *, timeout: float = 20) -> bool:
    """Whether a command can be run and ends with 0."""
    try:
        run(command, timeout=timeout)
    except ClusterError:
        return False
    return True


def _short(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) <= 160 else text[:157] + "..."


def _explain(what: str, output: str, hint: str) -> str:
    tail = "".join(f"\n    {line}" for line in output.strip().splitlines()[-_TAIL:])
    return what + tail + (f"\n{hint}" if hint else "")
