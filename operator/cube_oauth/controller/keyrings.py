"""Looking after the key rings while the controller is active: rotation, and sealing anew what older keys sealed.

One loop: take over what is stored, do the next step of each ring by compare-and-swap, then move some token Secrets to the newest
keys. It keeps no state of its own, so that whoever continues it sees the same. No provider is asked, no revision grows.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cube_oauth.controller.keys import KeysLostError, SecretRings, Stored, keys_of, publish_grant_key
from cube_oauth.kube.api import KubeError
from cube_oauth.kube.watch import all_synced
from cube_oauth.lifecycle.authorize import LONGEST_AGE
from cube_oauth.lifecycle.keys import Policy, Step, after, next_step
from cube_oauth.resources.keyring import Ring, SealError
from cube_oauth.resources.meta import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.keys import Keys, Rings
    from cube_oauth.controller.metrics import Metrics
    from cube_oauth.controller.settings import Settings
    from cube_oauth.controller.tokens import TokenStore
    from cube_oauth.kube.api import Api
    from cube_oauth.kube.watch import Mirror
    from cube_oauth.resources.accounts import AccountSecret
    from cube_oauth.resources.secrets import RevocationSecret, TokenSecret

log = logging.getLogger(__name__)

LOOK = timedelta(seconds=10)
"""How often the rings are looked at."""

BATCH = 100
PAUSE = 0.05
"""Seconds between two Secrets that are sealed anew, and how many of them between two looks: 10,000 take about ten minutes."""

PORTAL_KEEPS_SESSIONS = timedelta(minutes=30)
PORTAL_KEEPS_GRANT_KEY = timedelta(minutes=2)


def policies(announce: timedelta, rotate_after: timedelta | None) -> dict[str, Policy]:
    """By ring. What the portal sealed with a key that was replaced is of use for so long: sessions while idle, grants."""
    keep = {"cookie": PORTAL_KEEPS_SESSIONS, "grant": LONGEST_AGE + PORTAL_KEEPS_GRANT_KEY}
    names = ("access", "refresh", "grant", "cookie")
    return {name: Policy(announce, announce + keep.get(name, timedelta()), rotate_after) for name in names}


def sealed_anew(token: TokenSecret, keys: Keys) -> TokenSecret:
    """The Secret with its values under the newest keys; one whose key is not there stays. Raises SealError for a damaged one."""
    owner = token.record.owner
    return replace(
        token,
        access_token=keys.access.sealed_anew(token.access_token, owner),
        refresh_token=keys.refresh.sealed_anew(token.refresh_token, owner),
    )


def stale(token: TokenSecret, keys: Keys) -> bool:
    """Whether an older key of the rings sealed something in it."""
    owner = token.record.owner
    return keys.access.stale(token.access_token, owner) or keys.refresh.stale(token.refresh_token, owner)


def used(token: TokenSecret, keys: Keys) -> dict[str, str | None]:
    """For each ring the key that the Secret still needs."""
    owner = token.record.owner
    values = {"access": (keys.access, token.access_token), "refresh": (keys.refresh, token.refresh_token)}
    return {name: ring.kid_of(value) for name, (ring, value) in values.items() if value and ring.holds(value, owner)}


def used_to_revoke(pending: RevocationSecret, keys: Keys) -> dict[str, set[str | None]]:
    """The same for what waits to be revoked; it is not sealed anew: within days it is gone."""
    values = {
        "access": (keys.access, (pending.access_token,)),
        "refresh": (keys.refresh, (pending.refresh_token, pending.client_secret)),
    }
    return {name: {ring.kid_of(value) for value in sealed if value} for name, (ring, sealed) in values.items()}


class Keyrings:
    """Keeps ``keys`` as the stored rings say, and the token Secrets under the newest of them."""

    def __init__(
        self,
        api: Api,
        settings: Settings,
        rings: Rings,
        keys: Keys,
        tokens: TokenStore,
        revocations: Mirror[RevocationSecret],
        accounts: Mirror[AccountSecret],
        metrics: Metrics,
        clock: Clock,
        changed: Callable[[Keys], None],
    ) -> None:
        """``changed(before)``: the keys are others now, so others of the tokens may be readable."""
        self._api = api
        self._installation = settings.installation
        self._rings = rings
        self._keys = keys
        self._tokens = tokens
        self._revocations = revocations
        self._accounts = accounts
        self._metrics = metrics
        self._clock = clock
        self._changed = changed
        self._policies = policies(settings.keys_announce, settings.keys_rotate_after)
        self._look = min(LOOK, settings.keys_announce).total_seconds()
        self._damaged: set[tuple[str, str | None]] = set()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        await all_synced(self._tokens.mirror, self._revocations, self._accounts)
        while True:
            more = False
            try:
                more = await self.look()
            except KubeError as error:
                log.warning("key rings were not looked after; tried again", extra={"error": str(error)})
            except KeysLostError as error:
                log.warning("key rings; those in memory stay in use", extra={"reason": "KeysLost", "error": str(error)})
            if not more:
                await asyncio.sleep(self._look)

    async def look(self) -> bool:
        """One turn of the loop; whether it has more to do at once."""
        stored = await self._rings.load()
        self._take(stored)
        if isinstance(self._rings, SecretRings):
            stored = {name: await self._advance(self._rings, name, one) for name, one in stored.items()}
            self._take(stored)
        await publish_grant_key(self._api, self._installation, self._keys.grant)
        return await self._reencrypt()

    def _take(self, stored: dict[str, Stored]) -> None:
        """Use what is stored, and nothing else: a ring that could not be written must not seal anything."""
        new, before = keys_of(stored), replace(self._keys)
        for name, one in stored.items():
            self._metrics.ring_keys.labels(name).set(len(one.ring.kids))
            if one.ring.issued_at:
                self._metrics.ring_key_made.labels(name).set(one.ring.issued_at.timestamp())
        self._keys.access, self._keys.refresh, self._keys.grant = new.access, new.refresh, new.grant
        if new != before:
            self._changed(before)

    async def _advance(self, rings: SecretRings, name: str, stored: Stored) -> Stored:
        ring, policy, now = stored.ring, self._policies[name], self._clock.now()
        needed: set[str | None] = self._used(name) if ring.retired(now) else set()
        step = next_step(ring, policy, now, requested=stored.rotation_requested, used=needed)
        if step is None:
            return stored
        said = _sentence(step, policy, now)
        written = await rings.write(name, stored, after(step, ring, policy, now, needed), said)
        log.info("key ring", extra={"ring": name, "reason": step.value, "keys": len(written.ring.kids)})
        return written

    def _used(self, name: str) -> set[str | None]:
        stored = {used(token, self._keys).get(name) for token in self._readable()}
        if name == "access":  # whoever looks after an account seals it anew
            stored |= {self._keys.access.kid_of(one.values) for one in self._accounts.objects.values() if one.values}
        return stored.union(*(used_to_revoke(one, self._keys).get(name, set()) for one in self._revocations.objects.values()))

    def _readable(self) -> Iterator[TokenSecret]:
        """The token Secrets without those that are known to be damaged."""
        for token in tuple(self._tokens.mirror.objects.values()):
            if (token.name, token.resource_version) not in self._damaged:
                yield token

    async def _reencrypt(self) -> bool:
        """Move some token Secrets to the newest keys; a claimed one comes later: whoever claimed it writes it, too.

        Gives whether there are more that could be moved now.
        """
        if not self._several_keys():
            self._metrics.reencryption_waiting.set(0)
            return False
        waiting = [token for token in self._readable() if stale(token, self._keys)]
        self._metrics.reencryption_waiting.set(len(waiting))
        free = [token for token in waiting if token.claim is None or token.claim.deadline <= self._clock.now()]
        for token in free[:BATCH]:
            await self._move(token)
            await asyncio.sleep(PAUSE)
        if waiting:
            log.info("sealed anew", extra={"secrets": len(free[:BATCH]), "waiting": len(waiting) - len(free[:BATCH])})
        return len(free) > BATCH

    def _several_keys(self) -> bool:
        rings: tuple[Ring, ...] = (self._keys.access, self._keys.refresh)
        return any(len(ring.kids) > 1 for ring in rings)

    async def _move(self, token: TokenSecret) -> None:
        try:
            await self._tokens.write(sealed_anew(token, self._keys))
        except SealError:
            self._damaged.add((token.name, token.resource_version))
            log.warning("a stored token cannot be opened; left as it is", extra={"secret": token.name})
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            await self._tokens.reread(token.record.credential.uid)
        else:
            self._metrics.reencrypted.inc()


def _sentence(step: Step, policy: Policy, now: datetime) -> str:
    at = rfc3339(now)
    if step is Step.ANNOUNCE:
        return f"{step} at {at}: a new key opens, and encrypts from {rfc3339(now + policy.announce)} on."
    if step is Step.PROMOTE:
        until = rfc3339(now + policy.keep)
        return f"{step} at {at}: the new key encrypts; the one before is dropped after {until}, once nothing needs it."
    return f"{step} at {at}: the key before is gone; the rotation is complete."
