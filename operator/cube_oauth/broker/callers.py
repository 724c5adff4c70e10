"""Who asks: the pod behind a bearer token, as TokenReview says (Kubernetes, "TokenReview v1")."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cube_oauth.kube.api import TOKEN_REVIEWS
from cube_oauth.resources.names import RESOLVER_AUDIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.kube.api import Api

KEPT_SECONDS = 60.0
MAX_KEPT = 4096
MAX_AT_ONCE = 16
"""Reviews in flight: whoever sends made-up tokens must not load the API server."""
PREFIX = "system:serviceaccount:"


@dataclass(frozen=True)
class Workload:
    """The pod's namespace and service account."""

    namespace: str
    service_account: str


class Reviewer:
    """Asks the API server; good answers are kept for up to a minute under the token's hash, bad ones not at all."""

    def __init__(self, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, Workload]] = OrderedDict()
        self._room = asyncio.Semaphore(MAX_AT_ONCE)

    async def workload(self, token: str) -> Workload | None:
        """Who has this token; None when nobody, or when it is for another audience. Raises KubeError."""
        key = hashlib.sha256(token.encode()).digest()
        until, known = self._kept.get(key, (0.0, None))
        if known and self._clock() < until:
            return known
        async with self._room:
            review = await self._api.create(TOKEN_REVIEWS, _review(token))
        found = _workload(review.get("status") or {})
        if found:
            self._keep(key, found)
        return found

    def _keep(self, key: bytes, workload: Workload) -> None:
        self._kept[key] = self._clock() + KEPT_SECONDS, workload
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


def _review(token: str) -> dict[str, Any]:
    spec = {"token": token, "audiences": [RESOLVER_AUDIENCE]}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}


def _workload(status: dict[str, Any]) -> Workload | None:
    """The audience is checked here too: an authenticator that knows no audiences answers without them."""
    username = str((status.get("user") or {}).get("username", ""))
    if (
        not status.get("authenticated")
        or RESOLVER_AUDIENCE not in (status.get("audiences") or ())
        or not username.startswith(PREFIX)
    ):
        return None
    namespace, _, name = username.removeprefix(PREFIX).partition(":")
    return Workload(namespace, name) if namespace and name else None
