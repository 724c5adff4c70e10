"""The broker's certificate and the authority that signs it: kept in Secrets, renewed in time, known to the webhook.

``plan`` decides from what is there and the time; nothing else here does.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cube_oauth.controller import x509
from cube_oauth.controller.status import FIELD_MANAGER
from cube_oauth.kube.api import MUTATING_WEBHOOKS, SECRETS, Api, KubeError, Object
from cube_oauth.resources.names import KIND_LABEL, MANAGED_BY, MANAGED_BY_LABEL
from cube_oauth.resources.secrets import decode, encode

if TYPE_CHECKING:
    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.settings import Settings
    from cube_oauth.controller.x509 import Issued

log = logging.getLogger(__name__)

AUTHORITY_LIFETIME = timedelta(days=730)
LEAF_LIFETIME = timedelta(days=30)
OVERLAP = timedelta(days=1)
"""A new authority signs nothing for this long, so that everybody has heard of it before the first certificate comes from it."""

LOOK_AGAIN = 5.0
"""Seconds. Who resets the caBundle (a GitOps tool, ``helm upgrade``) stops every injection until we have looked."""


@dataclass(frozen=True)
class Plan:
    """What to renew now."""

    authority: bool
    leaf: bool


def _due(certificate: Issued, now: datetime) -> bool:
    """Whether two thirds of the lifetime are over."""
    return now >= certificate.not_before + (certificate.not_after - certificate.not_before) * 2 / 3


def plan(authority: Issued | None, leaf: Issued | None, names: tuple[str, ...], trusted: tuple[str, ...], now: datetime) -> Plan:
    """What to renew at ``now``. ``trusted`` are the fingerprints of the authorities in the bundle.

    A leaf that still serves is not renewed from an authority younger than ``OVERLAP``.
    """
    if authority is None or _due(authority, now):
        return Plan(authority=True, leaf=not _serves(leaf, names, trusted, now))
    if not _serves(leaf, names, trusted, now):
        return Plan(authority=False, leaf=True)
    assert leaf is not None  # noqa: S101 - it serves
    return Plan(authority=False, leaf=_due(leaf, now) and now >= authority.not_before + OVERLAP)


def _serves(leaf: Issued | None, names: tuple[str, ...], trusted: tuple[str, ...], now: datetime) -> bool:
    return leaf is not None and now < leaf.not_after and set(leaf.names) == set(names) and leaf.signed_by in trusted


class Certificates:
    """Keeps the two Secrets and the webhook's ``caBundle`` right."""

    def __init__(self, api: Api, settings: Settings, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._settings = settings
        self._installation = settings.installation
        service, namespace = settings.broker_service, settings.installation.namespace
        self._names = (f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", f"{service}.{namespace}")

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.reconcile()
            except (KubeError, ValueError) as error:  # an authority of somebody else's may be none that we can sign with
                log.warning("certificates were not looked after; tried again", extra={"error": str(error)})
            await asyncio.sleep(LOOK_AGAIN)

    async def reconcile(self) -> None:
        """Renew what is due, and tell the webhook."""
        if self._settings.broker_service is None:
            return
        secret, tls = await self._secret("ca"), await self._secret("broker-tls")
        authority, leaf = _trusted(decode(secret or {})), decode(tls or {})
        now = self._clock.now()
        due = plan(
            x509.read(authority.get("ca.crt"), authority.get("ca.key")),
            x509.read(leaf.get("tls.crt"), leaf.get("tls.key")),
            self._names,
            x509.fingerprints(authority.get("bundle")),
            now,
        )
        if due.authority:
            authority = _new_authority(authority, now)
            await self._write("ca", secret, "Opaque", authority)
        if due.leaf:
            leaf = _new_leaf(authority, self._names, now)
        if due.leaf or leaf.get("ca.crt") != authority["bundle"]:
            await self._write("broker-tls", tls, "kubernetes.io/tls", {**leaf, "ca.crt": authority["bundle"]})
        await self._tell_webhook(authority["bundle"])

    async def _secret(self, suffix: str) -> Object | None:
        return await self._api.get(SECRETS, self._installation.named(suffix), self._installation.namespace)

    async def _write(self, suffix: str, known: Object | None, kind: str, data: dict[str, str]) -> None:
        """Create, or replace what was read: of two writers one is refused, and looks again."""
        metadata: dict[str, Any] = {
            "name": self._installation.named(suffix),
            "namespace": self._installation.namespace,
            "labels": {KIND_LABEL: "certificate", MANAGED_BY_LABEL: MANAGED_BY},
        }
        body = {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "data": encode(dict(data))}
        if known is None:
            await self._api.create(SECRETS, body, self._installation.namespace)
        else:
            metadata["resourceVersion"] = known["metadata"]["resourceVersion"]
            await self._api.replace(SECRETS, body)
        log.info("certificate written", extra={"secret": metadata["name"]})

    async def _tell_webhook(self, bundle: str) -> None:
        name = self._settings.webhook
        found = await self._api.get(MUTATING_WEBHOOKS, name) if name else None
        wanted = base64.b64encode(bundle.encode()).decode()
        if not found or all(hook["clientConfig"].get("caBundle") == wanted for hook in found["webhooks"]):
            return
        body = {
            "apiVersion": found["apiVersion"],
            "kind": found["kind"],
            "metadata": {"name": name},
            "webhooks": [{"name": hook["name"], "clientConfig": {"caBundle": wanted}} for hook in found["webhooks"]],
        }
        await self._api.apply(MUTATING_WEBHOOKS, body, field_manager=FIELD_MANAGER)
        log.info("caBundle set", extra={"webhook": name})


def _trusted(authority: dict[str, str]) -> dict[str, str]:
    """The data of the authority's Secret with a bundle that holds it, also when somebody else put the authority there."""
    certificate, bundle = authority.get("ca.crt", ""), authority.get("bundle", "")
    known = x509.fingerprints(bundle)
    if set(x509.fingerprints(certificate)) <= set(known):
        return authority
    return {**authority, "bundle": certificate + (bundle if known else "")}


def _new_authority(old: dict[str, str], now: datetime) -> dict[str, str]:
    """The data of the authority's Secret; the bundle keeps the previous one while it is valid."""
    certificate, key = x509.new_authority(now, AUTHORITY_LIFETIME)
    previous = x509.read(old.get("ca.crt"), old.get("ca.key"))
    kept = old["ca.crt"] if previous and previous.not_after > now else ""
    return {"ca.crt": certificate, "ca.key": key, "bundle": certificate + kept}


def _new_leaf(authority: dict[str, str], names: tuple[str, ...], now: datetime) -> dict[str, str]:
    certificate, key = x509.new_leaf(authority["ca.crt"], authority["ca.key"], names, now, LEAF_LIFETIME)
    return {"tls.crt": certificate, "tls.key": key}
