"""Secrets that OAuthApps name as their service accounts: each is watched by its name, which needs no right to list all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cube_oauth.kube.api import SECRETS, Api, KubeError, Object
from cube_oauth.kube.watch import Mirror
from cube_oauth.lifecycle.accounts import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.controller.inventory import Key

FORBIDDEN = 403
STEADY_SECONDS = 1.0
"""So long a Secret that was refused is followed without another refusal until it counts as permitted."""


@dataclass
class _Followed:
    """One Secret, and who wants to know of it."""

    mirror: Mirror[Object]
    apps: set[Key] = field(default_factory=set)
    task: asyncio.Task[None] | None = None
    refused: asyncio.Event = field(default_factory=asyncio.Event)
    """It may not be watched."""


class Sources:
    """Follows Secrets while apps name them."""

    def __init__(self, api: Api, changed: Callable[[Key], None], permitted: Callable[[Key], bool]) -> None:
        """``changed(app)``: the Secret of this app is another now, or gone, or may not be watched.

        ``permitted(source)``: whether the chart lets us watch it; nobody is asked in vain again and again.
        """
        self._api = api
        self._permitted = permitted
        self._changed = changed
        self._followed: dict[Key, _Followed] = {}
        self._ended = False
        self._broken: asyncio.Queue[BaseException] = asyncio.Queue()

    def follow(self, app: Key, source: Key | None) -> None:
        """Follow ``source`` for ``app``, and no other."""
        for key, one in tuple(self._followed.items()):
            if app in one.apps and key != source:
                self._leave(app, key, one)
        if source is not None and not self._ended:
            self._join(app, source)

    def get(self, source: Key) -> Source | None:
        """What is known of a Secret that is followed; None while nothing is known yet."""
        one = self._followed.get(source)
        if one is None or not (one.refused.is_set() or one.mirror.synced.is_set()):
            return None
        refused = one.refused.is_set()
        return Source(None if refused else one.mirror.get(source), permitted=not refused)

    async def run(self) -> None:
        """Wait until cancelled, then end what was begun. Raises what a watch ended with, as every other copy does."""
        try:
            raise await self._broken.get()
        finally:
            self._ended = True
            for one in self._followed.values():
                if one.task:
                    one.task.cancel()

    def _join(self, app: Key, source: Key) -> None:
        one = self._followed.get(source)
        if one is None:
            one = self._followed[source] = _Followed(self._mirror(source))
            if self._permitted(source):
                one.task = asyncio.create_task(self._run(source, one), name=f"source {source}")
            else:
                one.refused.set()
        one.apps.add(app)

    def _leave(self, app: Key, source: Key, one: _Followed) -> None:
        one.apps.discard(app)
        if not one.apps:
            del self._followed[source]
            if one.task:
                one.task.cancel()

    def _mirror(self, source: Key) -> Mirror[Object]:
        namespace, name = source
        return Mirror(
            self._api,
            SECRETS,
            lambda secret: secret,
            namespace=namespace,
            field_selector=f"metadata.name={name}",
            changed=lambda *_: self._tell(source),
            interrupted=lambda error: self._interrupted(source, error),
        )

    async def _run(self, source: Key, one: _Followed) -> None:
        """The first complete list is news even when it is empty, and so is the first after a refusal.

        Unless the watch that follows is refused: then the app would hear by turns that all is well and that it is not.
        """
        watching = asyncio.create_task(one.mirror.run())
        watching.add_done_callback(self._watch_ended)
        try:
            while True:
                await one.mirror.synced.wait()
                if one.refused.is_set():
                    await asyncio.sleep(STEADY_SECONDS)
                    if not one.mirror.synced.is_set():
                        continue
                one.refused.clear()
                self._tell(source)
                await one.refused.wait()
        finally:
            watching.cancel()

    def _watch_ended(self, watching: asyncio.Task[None]) -> None:
        if not watching.cancelled() and (problem := watching.exception()):
            self._broken.put_nowait(problem)

    def _interrupted(self, source: Key, error: KubeError) -> None:
        one = self._followed.get(source)
        if one is None or error.status != FORBIDDEN:
            return
        one.mirror.synced.clear()
        if not one.refused.is_set():
            one.refused.set()
            self._tell(source)

    def _tell(self, source: Key) -> None:
        for app in tuple(self._followed[source].apps) if source in self._followed else ():
            self._changed(app)
