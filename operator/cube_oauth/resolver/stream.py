"""Follows the broker's stream of changes, for ever."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from cube_oauth.resolver.environment import Environment
from cube_oauth.resolver.errors import ForbiddenError, RpcError

if TYPE_CHECKING:
    from cube_oauth.resolver.service import Resolver
    from cube_oauth.resolver.upstream import Upstream

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


async def follow(upstream: Upstream, resolver: Resolver) -> None:
    """Keep ``resolver`` told, until cancelled."""
    pause = FIRST_PAUSE
    while True:
        try:
            async for line in upstream.changes():
                pause = FIRST_PAUSE
                _take(line, upstream, resolver)
            problem = "closed by the broker"
        except ForbiddenError as error:
            problem = error.message
            resolver.changed(None)  # reachable, and it refuses this pod: what is known may not be served
        except RpcError as error:
            problem = error.message
        resolver.interrupted(problem)
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - so that sidecars do not return all at once
        pause = min(pause * 2, LONGEST_PAUSE)


def _take(line: dict[str, Any], upstream: Upstream, resolver: Resolver) -> None:
    kind = line.get("type")
    if kind in ("hello", "ca") and line.get("ca"):
        upstream.trust(line["ca"])
    if kind in ("hello", "changed"):
        upstream.as_of = line.get("asOf")
    if kind == "hello":
        resolver.connected()
    elif kind == "changed" and line.get("rotated") and isinstance(line.get("username"), str):
        resolver.rotated(line["username"])
    elif kind == "changed":
        resolver.changed(line.get("username"))
    elif kind == "env" and isinstance(line.get("values"), dict):
        resolver.environment.take(Environment(line["values"], _revisions(line.get("revisions"))))


def _revisions(given: Any) -> dict[str, int]:
    """An older broker says none."""
    known = given if isinstance(given, dict) else {}
    return {name: revision for name, revision in known.items() if isinstance(revision, int)}
