"""The controller's settings, from its environment."""

from __future__ import annotations

import socket
import uuid
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cube_oauth.settings import PREFIX, Address, Environment, Installation, SettingsError

if TYPE_CHECKING:
    from cube_oauth.providers import Network


@dataclass(frozen=True)
class Settings:
    """What the controller is told."""

    installation: Installation
    identity: str
    """Who we are in the Lease: unique in each start, so that a restarted process never takes itself for its predecessor."""
    broker_service: str | None
    """The broker's Service; its certificate is made for that name. None: no certificate is made."""
    webhook: str | None
    """The MutatingWebhookConfiguration whose ``caBundle`` is kept right, or None."""
    listen: Address
    workers: int
    allowed_addresses: tuple[Network, ...] = ()
    extra_ca_file: Path | None = None
    sidecar_image: str | None = None
    """What new sidecars are made of, to find old ones; None: nobody looks."""
    restarts: bool = False
    """Whether workloads that ask for it by their annotation may be restarted."""
    account_sources: frozenset[str] = frozenset()
    """The Secrets with service accounts that may be watched: ``namespace/name``, or ``*`` for any."""
    keys_dir: Path | None = None
    """Where the key rings are files from outside; None: the controller keeps them in Secrets."""
    keys_announce: timedelta = timedelta(minutes=5)
    """How long a new key is known everywhere before it encrypts."""
    keys_rotate_after: timedelta | None = None
    """The age at which a key is replaced without being asked; None: never."""

    def may_watch(self, source: tuple[str, str]) -> bool:
        """Whether the Secret of this namespace and name is one that holds a service account, by the chart's word."""
        return not self.account_sources.isdisjoint({"/".join(source), "*"})

    @classmethod
    def read(cls, env: Environment) -> Self:
        """From ``CUBE_OAUTH_*``; SettingsError names what is wrong."""
        ca_file, keys_dir = env.optional("EXTRA_CA_FILE"), env.optional("KEYS_DIR")
        days = env.number("KEYS_ROTATE_AFTER_DAYS", 0)
        return cls(
            installation=Installation.read(env),
            identity=f"{socket.gethostname()}_{uuid.uuid4()}",
            broker_service=env.optional("BROKER_SERVICE"),
            webhook=env.optional("WEBHOOK"),
            listen=env.address("LISTEN", ":8080"),
            workers=max(1, env.number("WORKERS", 8)),
            allowed_addresses=tuple(_network(text) for text in env.words("ALLOWED_ADDRESSES")),
            extra_ca_file=Path(ca_file) if ca_file else None,
            sidecar_image=env.optional("SIDECAR_IMAGE"),
            account_sources=frozenset(env.words("SERVICE_ACCOUNT_SOURCES")),
            restarts=env.optional("RESTARTS") == "true",
            keys_dir=Path(keys_dir) if keys_dir else None,
            keys_announce=timedelta(seconds=max(1, env.number("KEYS_ANNOUNCE_SECONDS", 300))),
            keys_rotate_after=timedelta(days=days) if days > 0 else None,
        )


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise SettingsError(
            f"{PREFIX}ALLOWED_ADDRESSES must be networks such as 10.0.0.0/8, separated by commas; {text!r} is none"
        ) from error
