"""What the chart wrote into the broker's environment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cube_oauth.injection.facts import Settings
from cube_oauth.settings import PREFIX, Address, Environment, Installation, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

Amounts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class BrokerSettings:
    """The broker's settings."""

    installation: Installation
    listen: Address
    """Health and metrics."""
    listen_api: Address
    listen_webhook: Address
    tls_dir: str
    """A mounted Secret: tls.crt, tls.key, ca.crt."""
    access_ring_file: str
    """A mounted Secret's key: the JWK Set of the ring for access tokens."""
    sidecar: Settings
    """How sidecars are made; the CA bundle is put in when one is made."""
    kubeconfig: str | None

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Self:
        """Raises SettingsError, which names the variable."""
        env = Environment(variables)
        installation = Installation.read(env)
        return cls(
            installation=installation,
            listen=env.address("LISTEN", ":8080"),
            listen_api=env.address("LISTEN_API", ":8443"),
            listen_webhook=env.address("LISTEN_WEBHOOK", ":9443"),
            tls_dir=env.text("TLS_DIR"),
            access_ring_file=env.text("ACCESS_RING_FILE"),
            sidecar=_sidecar(env, installation),
            kubeconfig=variables.get("KUBECONFIG"),
        )


def _sidecar(env: Environment, installation: Installation) -> Settings:
    requests, limits = _resources(env)
    return Settings(
        image=env.text("SIDECAR_IMAGE"),
        broker_url=env.text("BROKER_URL", f"https://{installation.named('broker')}.{installation.namespace}.svc:8443"),
        ca="",
        username_claim=env.text("USERNAME_CLAIM", Settings.username_claim),
        username_claims=env.words("USERNAME_CLAIMS"),
        image_pull_policy=env.optional("SIDECAR_IMAGE_PULL_POLICY"),
        run_as_user=env.number("SIDECAR_RUN_AS_USER", 0) or None,
        requests=requests,
        limits=limits,
        outage_seconds=env.number("OUTAGE_SECONDS", Settings.outage_seconds),
        log_level=env.text("SIDECAR_LOG_LEVEL", Settings.log_level),
    )


def _resources(env: Environment) -> tuple[Amounts, Amounts]:
    """``requests`` and ``limits`` as in a container's ``resources``, in JSON."""
    text = env.optional("SIDECAR_RESOURCES")
    if text is None:
        return Settings.requests, Settings.limits
    try:
        resources = json.loads(text)
        return _amounts(resources.get("requests")), _amounts(resources.get("limits"))
    except (ValueError, AttributeError) as error:
        raise SettingsError(f'{PREFIX}SIDECAR_RESOURCES must be JSON such as {{"requests": {{"memory": "40Mi"}}}}') from error


def _amounts(part: dict[str, str] | None) -> Amounts:
    return tuple(sorted((name, str(amount)) for name, amount in (part or {}).items()))
