"""The kubectl plugin: ``kubectl cube-oauth inject -f -`` does offline what the webhook does, for pipelines without one."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cube_oauth import __version__
from cube_oauth.cli.edit import documents, load
from cube_oauth.cli.manifests import RefusedError, changed, injecting, uninjecting
from cube_oauth.injection.facts import App, Settings
from cube_oauth.providers.endpoints import account_env, data_source_of
from cube_oauth.resources.oauthapp import OAuthApp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cube_oauth.cli.manifests import Template
    from cube_oauth.injection.jsonpatch import Operation

STDIN = "-"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 1: a pod cannot be injected; 2: the arguments or a file are wrong. Then nothing is written."""
    arguments = _arguments(argv)
    said: list[str] = []
    try:
        written = changed(_text(*arguments.filename), arguments.change(arguments, said.append))
    except RefusedError as error:
        return _failed(1, *str(error).splitlines())
    except (OSError, ValueError, yaml.YAMLError) as error:
        return _failed(2, str(error))
    _say(*said)
    sys.stdout.buffer.write(written.encode())
    sys.stdout.flush()
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kubectl cube-oauth", description="Per-user OAuth for self-hosted Cube on Kubernetes.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    inject = commands.add_parser(
        "inject",
        help="add hook and sidecar to pod templates that ask for it",
        description="Reads manifests and adds hook and sidecar where the pod template has the label cubeoauth.dev/inject. "
        "Comments, order and layout of everything else stay; an injected manifest stays as it is.",
    )
    inject.set_defaults(change=_inject)
    inject.add_argument("--image", required=True, help="the sidecar's image")
    inject.add_argument("--broker-url", required=True, help="https://<service>.<namespace>.svc:8443")
    inject.add_argument("--ca-file", required=True, help="PEM bundle that the broker's certificate is checked against")
    inject.add_argument("--apps-file", help="OAuthApps of the namespace: their service accounts are set, conflicts are found")
    inject.add_argument("--username-claim", default=Settings.username_claim, help="for pods without the annotation (default: sub)")
    inject.add_argument(
        "--username-claims", type=_words, default=(), help="others that the annotation may choose, separated by commas"
    )
    inject.add_argument("--image-pull-policy", help="of the sidecar (default: Kubernetes's own)")
    inject.add_argument("--outage-seconds", type=int, default=Settings.outage_seconds, help="the chart's sidecar.outageSeconds")
    inject.add_argument("--resources", type=_resources, default={}, help="the chart's sidecar.resources, in JSON")
    uninject = commands.add_parser(
        "uninject",
        help="take hook and sidecar out again",
        description="Reads manifests and takes out what inject added; `uninject | inject` brings an old sidecar up to date.",
    )
    uninject.set_defaults(change=lambda _, say: uninjecting(say))
    for command in (inject, uninject):
        command.add_argument("-f", "--filename", required=True, action="append", help="a YAML or JSON file; - is standard input")
    arguments = parser.parse_args(argv)
    if len(arguments.filename) > 1:
        parser.error("one file at a time: join several, with a line of --- between them")
    return arguments


def _inject(arguments: argparse.Namespace, say: Callable[[str], None]) -> Callable[[Template], Sequence[Operation]]:
    settings = Settings(
        image=arguments.image,
        broker_url=arguments.broker_url,
        ca=_certificates(arguments.ca_file),
        username_claim=arguments.username_claim,
        username_claims=arguments.username_claims,
        image_pull_policy=arguments.image_pull_policy,
        outage_seconds=arguments.outage_seconds,
        **arguments.resources,
    )
    return injecting(settings, _apps(arguments.apps_file), say)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _resources(text: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """``requests`` and ``limits`` as in a container's ``resources``."""
    found = dict(json.loads(text))
    return {
        part: tuple(sorted((name, str(amount)) for name, amount in found.get(part, {}).items())) for part in ("requests", "limits")
    }


def _certificates(path: str) -> str:
    """What everybody who reads the manifest may read."""
    text = _text(path)
    if "BEGIN CERTIFICATE" not in text or "PRIVATE KEY" in text:
        raise ValueError(f"{path} must hold certificates in PEM, and no key")
    return text


def _apps(path: str | None) -> list[App] | None:
    if path is None:
        return None
    found = [OAuthApp.model_validate(item) for item in _objects(path) if item.get("kind") == "OAuthApp"]
    return [App.of(app, data_source_of(app), account_env(app)) for app in found]


def _objects(path: str) -> list[dict[str, Any]]:
    found = [document for text in documents(_text(path)) if isinstance(document := load(text), dict)]
    return [item for document in found for item in document.get("items", [document])]


def _text(path: str) -> str:
    """The file's text, its line ends as they are."""
    return (sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()).decode()


def _say(*messages: str) -> None:
    sys.stderr.write("".join(f"{message}\n" for message in messages))


def _failed(code: int, *errors: str) -> int:
    _say(*(f"error: {error}" for error in errors))
    return code
