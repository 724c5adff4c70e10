"""What the broker tells the controller: which credentials are used, and which tokens warehouses refused."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cube_oauth.kube.api import OAUTH_APPS, USER_CREDENTIALS, Api, KubeError, Resource
from cube_oauth.resources.meta import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.resources.meta import ObjectMeta
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.usercredential import UserCredential

log = logging.getLogger(__name__)

USE_INTERVAL = timedelta(minutes=5)
NEED_INTERVAL = timedelta(seconds=10)
MAX_WAITING = 1000
MAX_REMEMBERED = 20_000


def _now() -> datetime:
    return datetime.now(UTC)


class Demand:
    """Writes ``status.demand`` by merge patch, and nothing else."""

    def __init__(self, api: Api, clock: Callable[[], datetime] = _now) -> None:
        self._api = api
        self._clock = clock
        self._queue: asyncio.Queue[UserCredential] = asyncio.Queue(MAX_WAITING)
        self._noted: OrderedDict[str, datetime] = OrderedDict()
        """When a use was last noted, by UID: the copy of the status is a moment late."""

    def used(self, credential: UserCredential) -> None:
        """Note a use; written at most once in five minutes by all replicas together, and never in a query's way."""
        now, demand = self._clock(), credential.status.demand
        written = demand.last_used_at if demand else None
        noted = self._noted.get(credential.metadata.uid)
        if any(moment and now - moment < USE_INTERVAL for moment in (written, noted)) or self._queue.full():
            return
        self._note(credential.metadata.uid, now)
        self._queue.put_nowait(credential)

    async def needed(self, credential: UserCredential) -> None:
        """Note a use that a query waits for: written at once, by the first of those who wait."""
        now, noted = self._clock(), self._noted.get(credential.metadata.uid)
        if noted and now - noted < NEED_INTERVAL:
            return
        self._note(credential.metadata.uid, now)
        await self._write(USER_CREDENTIALS, credential.metadata, {"lastUsedAt": rfc3339(now)})

    def _note(self, uid: str, now: datetime) -> None:
        self._noted[uid] = now
        self._noted.move_to_end(uid)
        if len(self._noted) > MAX_REMEMBERED:
            self._noted.popitem(last=False)

    async def rejected(self, credential: UserCredential, revision: int) -> None:
        """Ask for a forced refresh of this revision; once."""
        demand = credential.status.demand
        if demand is None or demand.rejected_revision != revision:
            await self._write(USER_CREDENTIALS, credential.metadata, {"rejectedRevision": revision})

    async def account_rejected(self, app: OAuthApp, revision: int) -> None:
        """Ask for another token of the app's service account than this revision; once."""
        demand = app.status.demand
        if demand is None or demand.rejected_revision != revision:
            await self._write(OAUTH_APPS, app.metadata, {"rejectedRevision": revision})

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        while True:
            credential = await self._queue.get()
            await self._write(USER_CREDENTIALS, credential.metadata, {"lastUsedAt": rfc3339(self._clock())})

    async def _write(self, resource: Resource, meta: ObjectMeta, demand: dict[str, Any]) -> None:
        """With the UID, so that one that was created anew under the same name is not meant."""
        body = {"metadata": {"uid": meta.uid}, "status": {"demand": demand}}
        try:
            await self._api.merge(resource, meta.name, body, meta.namespace, "status")
        except KubeError as error:
            where = {"resource": resource.plural, "object": f"{meta.namespace}/{meta.name}"}
            log.warning("demand not written", extra={**where, "error": str(error)})
