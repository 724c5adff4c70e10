"""The commands: ``cube-oauth controller | broker | portal | resolver | keyring``. The only place where things are wired together.

Each process is imported only when it is asked for, so that the sidecar stays as small as what it needs.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys

from cube_oauth import __version__, logs
from cube_oauth.settings import SettingsError

PROCESSES = {
    "controller": "reconciles OAuthApps and UserCredentials, exchanges grants, refreshes tokens",
    "broker": "hands credentials to sidecars and admits pods",
    "portal": "the pages where people connect their accounts",
    "resolver": "the sidecar in a Cube pod",
}


def _process(words: list[str]) -> str:
    """The process that was asked for. The plain command costs no parser: the sidecar is to answer soon."""
    return words[0] if len(words) == 1 and words[0] in PROCESSES else _parsed(words)


def _parsed(words: list[str]) -> str:
    import argparse  # noqa: PLC0415 - 6 ms

    parser = argparse.ArgumentParser(prog="cube-oauth", description="Per-user OAuth for self-hosted Cube on Kubernetes.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="process", required=True, metavar="PROCESS")
    for name, text in PROCESSES.items():
        commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. Settings: CUBE_OAUTH_* variables.")
    commands.add_parser("keyring", help="prints a new key ring: docs/reference/keys.md")
    process: str = parser.parse_args(words).process
    return process


async def _run(process: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await importlib.import_module(f"cube_oauth.{process}").run(os.environ, stop)


def main(argv: list[str] | None = None) -> int:
    """Run one process until SIGTERM. Exit code 2: a setting is wrong, and the message says which."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["keyring"]:
        return int(importlib.import_module("cube_oauth.keyring").main(words[1:]))
    process = _process(words)
    logs.configure(os.environ.get("CUBE_OAUTH_LOG_LEVEL", "INFO"))
    try:
        asyncio.run(_run(process))
    except SettingsError as error:
        print(f"cube-oauth {process}: {error}", file=sys.stderr)  # noqa: T201 - before anything else runs
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
