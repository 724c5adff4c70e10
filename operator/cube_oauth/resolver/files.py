"""The hook's files and the socket in the shared memory volume, for whatever UID Cube runs as."""

from __future__ import annotations

import os
import socket

from cube_oauth import injection

HOOK_MODE = 0o444
FOLDER_MODE = 0o755
SOCKET_MODE = 0o666
"""Connecting needs the right to write. The volume is mounted into Cube's container and ours alone: that is the protection."""


def write_hook(path: str) -> None:
    """Write the hook from package data: its entry at this path, and beside it the folder of what that requires."""
    ours = os.path.join(injection.__path__[0], "hook")  # noqa: PTH118 - pathlib would cost the start 5 ms
    folder = os.path.join(os.path.dirname(path), "hook")  # noqa: PTH118, PTH120
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    os.chmod(folder, FOLDER_MODE)  # noqa: PTH101
    for name in os.listdir(ours):  # noqa: PTH208
        _write(f"{ours}/{name}", f"{folder}/{name}")
    _write(f"{ours}.cjs", path)  # last: it is there when all is there


def _write(source: str, target: str) -> None:
    """Replace a file in one step, because a restarted sidecar finds Cube running."""
    with open(source, "rb") as file:  # noqa: PTH123
        content = file.read()
    partial = f"{target}.new"
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
        file.write(content)
        os.fchmod(file.fileno(), HOOK_MODE)
    os.replace(partial, target)  # noqa: PTH105


def listen(path: str, backlog: int = 512) -> socket.socket:
    """A listening unix socket; it takes its name when it already listens, so no connection is ever refused in between."""
    partial = f"{path}.new"
    if os.path.lexists(partial):
        os.unlink(partial)  # noqa: PTH108
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.bind(partial)
        os.chmod(partial, SOCKET_MODE)  # noqa: PTH101
        opened.listen(backlog)
        os.replace(partial, path)  # noqa: PTH105
    except BaseException:
        opened.close()
        raise
    return opened
