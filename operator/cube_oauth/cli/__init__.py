"""The kubectl plugin: ``kubectl cube-oauth inject -f -`` does offline what the webhook does, for pipelines without one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cube_oauth import __version__
from cube_oauth.cli.manifests import RefusedError, injected
from cube_oauth.injection.facts import App, Settings
from cube_oauth.providers.endpoints import data_source_of
from cube_oauth.resources.oauthapp import OAuthApp

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 1: a pod cannot be injected; 2: the arguments or a file are wrong."""
    arguments = _arguments(argv)
    try:
        settings, apps = _settings(arguments), _apps(arguments.apps_file)
        documents = [document for document in yaml.safe_load_all(_text(arguments.filename)) if document is not None]
    except (OSError, ValueError, yaml.YAMLError) as error:
        return _failed(2, error)
    try:
        results = [injected(document, settings, apps, _warn) for document in documents]
    except RefusedError as error:
        return _failed(1, error)
    sys.stdout.write(yaml.safe_dump_all(results, sort_keys=False, explicit_start=True, allow_unicode=True, width=1000))
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kubectl cube-oauth", description="Per-user OAuth for self-hosted Cube on Kubernetes.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    inject = commands.add_parser(
        "inject",
        help="add hook and sidecar to pod templates that ask for it",
        description="Reads manifests, adds hook and sidecar where the pod template has the label cubeoauth.dev/inject.",
    )
    inject.add_argument("-f", "--filename", required=True, help="a YAML or JSON file; - is standard input")
    inject.add_argument("--image", required=True, help="the sidecar's image")
    inject.add_argument("--broker-url", required=True, help="https://<service>.<namespace>.svc:8443")
    inject.add_argument("--ca-file", required=True, help="PEM bundle that the broker's certificate is checked against")
    inject.add_argument("--apps-file", help="OAuthApps of the namespace: their service accounts are set, conflicts are found")
    inject.add_argument("--username-claim", default=Settings.username_claim, help="for pods without the annotation (default: sub)")
    return parser.parse_args(argv)


def _settings(arguments: argparse.Namespace) -> Settings:
    return Settings(
        image=arguments.image,
        broker_url=arguments.broker_url,
        ca=_text(arguments.ca_file),
        username_claim=arguments.username_claim,
    )


def _apps(path: str | None) -> list[App] | None:
    if path is None:
        return None
    found = [OAuthApp.model_validate(item) for item in _objects(path) if item.get("kind") == "OAuthApp"]
    return [App.of(app, data_source_of(app)) for app in found]


def _objects(path: str) -> list[dict[str, Any]]:
    documents = [document for document in yaml.safe_load_all(_text(path)) if isinstance(document, dict)]
    return [item for document in documents for item in document.get("items", [document])]


def _text(path: str) -> str:
    return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")


def _warn(message: str) -> None:
    sys.stderr.write(f"warning: {message}\n")


def _failed(code: int, error: Exception) -> int:
    sys.stderr.write(f"error: {error}\n")
    return code
