"""The two questions of a resolver, answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cube_oauth.broker.answer import Entry, behind, entries
from cube_oauth.broker.environment import Environment, filled, unopened
from cube_oauth.broker.questions import AccountRejection, Question, Refusal, Rejection

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.broker.callers import Workload
    from cube_oauth.broker.demand import Demand
    from cube_oauth.broker.files import AccessRing
    from cube_oauth.broker.metrics import Metrics
    from cube_oauth.broker.world import World
    from cube_oauth.resources.usercredential import UserCredential

log = logging.getLogger(__name__)

FORCED_REFRESH_SECONDS = 10.0
LAG_SECONDS = 0.5
"""How long a question waits for what another replica has heard of already."""
WAKE_SECONDS = 2.0
"""How long a query waits for a credential that nobody had used; the hook's own patience is 3 s, the resolver's 5 s."""


def _now() -> datetime:
    return datetime.now(UTC)


class Service:
    """Gathers, decides, answers."""

    def __init__(
        self, world: World, access: AccessRing, demand: Demand, metrics: Metrics, clock: Callable[[], datetime] = _now
    ) -> None:
        self._world = world
        self._access = access
        self._demand = demand
        self._metrics = metrics
        self._clock = clock

    def check(self, workload: Workload) -> None:
        """Raises Refusal while the copies are not filled, or when the pod's namespace is not served."""
        if not self._world.synced:
            raise Refusal(503, "NotReady", "the broker has not read the cluster yet; try again")
        if not self._world.serves(workload.namespace):
            raise Refusal(403, "Forbidden", f"namespace {workload.namespace} is not one that this installation serves")

    async def resolve(self, workload: Workload, question: Question) -> dict[str, Any]:
        """A person's credentials, as the protocol has them."""
        await self._caught_up(workload, question)
        decided = self._decided(workload, question)
        if any(entry.awaited for entry in decided.values()):
            with self._metrics.wake_seconds.time():
                decided = await self._awake(workload, question, decided)
        for entry in decided.values():
            self._metrics.decisions.labels(entry.reason).inc()
            if entry.access_token and entry.found.credential:
                self._demand.used(entry.found.credential)
        log.debug(
            "resolved",
            extra={
                "namespace": workload.namespace,
                "username": question.username,
                "reasons": {name: str(entry.reason) for name, entry in decided.items()},
            },
        )
        named = {} if question.username is None else {"username": question.username}
        once = self._world.behind(workload.namespace, question.as_of) or any(entry.lapsed for entry in decided.values())
        credentials = {name: entry.to_json() for name, entry in decided.items()}
        return {**named, "credentials": credentials, **({"stale": True} if once else {})}

    async def invalidate(self, workload: Workload, question: Question, rejection: Rejection) -> dict[str, Any]:
        """The same, after asking for a forced refresh if the refused token is still the current one."""
        await self._caught_up(workload, question)
        entry = self._decided(workload, question).get(rejection.data_source)
        if entry and entry.record and entry.record.revision == rejection.revision and entry.found.credential:
            await self._forced_refresh(entry.found.credential, rejection.revision)
        return await self.resolve(workload, question)

    def as_of(self, workload: Workload) -> dict[str, int]:
        """What this replica has heard of, for others that the same resolver asks."""
        return self._world.as_of(workload.namespace)

    def environment(self, workload: Workload, apps: frozenset[str] | None) -> Environment:
        """The variables that service accounts fill in this pod.

        What is not known here (yet) is not in it: it stays as it is in the pod.
        """
        accounts = [account for _, account in self._world.accounts(workload, apps)]
        if any(unopened(account, self._access.ring) for account in accounts):
            self._access.look()
        return filled(accounts, self._access.ring)

    async def invalidate_account(self, workload: Workload, rejection: AccountRejection) -> dict[str, Any]:
        """Ask for another token than the one that the warehouse refused; whether there is one to be waited for."""
        self.check(workload)
        accounts = self._world.accounts(workload, rejection.apps)
        found = next(((app, one.record) for app, one in accounts if rejection.variable in one.record.variables), None)
        if found is None or found[1].asked is None:
            return {"expected": False}
        app, record = found
        if record.revision == rejection.revision:
            await self._demand.account_rejected(app, record.revision)
        return {"expected": True}

    def _decided(self, workload: Workload, question: Question) -> dict[str, Entry]:
        self.check(workload)
        found, now = self._world.find(workload, question), self._clock()
        decided = entries(found, self._access.ring, now)
        if not behind(decided.values(), self._access.ring):
            return decided
        self._access.look()
        decided = entries(found, self._access.ring, now)
        if behind(decided.values(), self._access.ring):
            raise Refusal(503, "NotReady", "this replica has not been given the newest key yet; try again")
        return decided

    async def _caught_up(self, workload: Workload, question: Question) -> None:
        """Wait until this replica has heard of what the resolver was told, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAG_SECONDS):
                await self._world.caught_up(workload.namespace, question.as_of)

    async def _awake(self, workload: Workload, question: Question, decided: dict[str, Entry]) -> dict[str, Entry]:
        """Tell that idle credentials are needed, and wait for their tokens; the decisions then."""
        sleeping = [entry.found.credential for entry in decided.values() if entry.awaited and entry.found.credential]
        with self._world.watching(*(credential.metadata.uid for credential in sleeping)) as changed:
            await asyncio.gather(*(self._demand.needed(credential) for credential in sleeping))
            try:
                async with asyncio.timeout(WAKE_SECONDS):
                    while any(entry.awaited for entry in decided.values()):
                        await changed.wait()
                        changed.clear()
                        decided = self._decided(workload, question)
            except TimeoutError:
                log.info("an idle credential was not renewed in time", extra={"namespace": workload.namespace})
        return decided

    async def _forced_refresh(self, credential: UserCredential, revision: int) -> None:
        """Until there is a newer token (or none), at most 10 s."""
        with self._world.watching(credential.metadata.uid) as changed:
            await self._demand.rejected(credential, revision)
            try:
                async with asyncio.timeout(FORCED_REFRESH_SECONDS):
                    while self._current(credential) == revision:
                        changed.clear()
                        await changed.wait()
            except TimeoutError:
                log.info("no newer token came in time", extra={"credential": credential.metadata.name, "revision": revision})

    def _current(self, credential: UserCredential) -> int | None:
        token = self._world.token(credential)
        return token.record.revision if token and token.access_token else None
