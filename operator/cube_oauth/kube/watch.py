"""A local copy of some objects, kept current by list and watch (the informer pattern).

Used for Secrets, which never go through kopf (it would watch all of them and copy them into annotations), and for custom resources
in processes that only read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cube_oauth.kube.api import Api, KubeError, Object, Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

T = TypeVar("T")
Key = tuple[str, str]
"""Namespace and name."""

WATCH_SECONDS = 240
"""A watch is ended by the server after this time and begun anew, so that one that went blind does not stay so."""
SILENCE_SECONDS = WATCH_SECONDS + 30
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0
GONE = 410


class Mirror(Generic[T]):
    """The objects of one kind in one namespace (or all), read by ``parse``, with a callback for each change.

    ``parse`` raising ValueError means: not for us; the object is left out and logged by name. ``changed(key, new, old)`` is
    called in the event loop after the copy was updated; ``new`` is None when the object is gone, ``old`` is None when it is new.
    ``interrupted(error)`` is told when it cannot be listed or watched.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        parse: Callable[[Object], T],
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        changed: Callable[[Key, T | None, T | None], Any] | None = None,
        interrupted: Callable[[KubeError], Any] | None = None,
    ) -> None:
        self.objects: dict[Key, T] = {}
        self.synced = asyncio.Event()
        self.newest = 0
        """The version of the newest change that a watch of the same has told or will tell everybody."""
        self.reached = 0
        """The version up to which nothing is missing here, as the last list or the watch said."""
        self._further = asyncio.Event()
        self._versions: dict[Key, int] = {}
        self._api = api
        self._resource = resource
        self._parse = parse
        self._path = resource.path(namespace)
        self._query = {key: value for key, value in (("labelSelector", label_selector), ("fieldSelector", field_selector)) if value}
        self._changed = changed or (lambda *_: None)
        self._interrupted = interrupted or (lambda _: None)

    def __getitem__(self, key: Key) -> T:
        return self.objects[key]

    def get(self, key: Key) -> T | None:
        """The object, or None."""
        return self.objects.get(key)

    def put(self, item: Object) -> None:
        """Take over what the API server answered to a write of ours, without waiting for the watch to bring it."""
        self._take(_key(item), item, version_of(item))

    def take(self, key: Key, new: T, version: int) -> None:
        """The same for an object that was read already."""
        if not version or version > self._versions.get(key, -1):
            self._keep(key, new, version)

    def discard(self, key: Key) -> None:
        """Take over that an object is gone: a request of ours was told so."""
        self._take(key, None, self._versions.get(key, 0))

    async def reach(self, version: int) -> None:
        """Wait until nothing up to this version is missing."""
        while self.reached < version:
            await self._further.wait()

    def _reached(self, version: str) -> None:
        """Each waiter waits for the event of its time, so that none is cleared under it."""
        self.reached = _number(version)
        self._further.set()
        self._further = asyncio.Event()

    async def run(self) -> None:
        """Keep the copy current until cancelled. A failure is logged and retried; the copy stays as it was meanwhile."""
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await self._follow(await self._list())
            except KubeError as error:
                log.warning("watch interrupted", extra={"resource": self._resource.plural, "error": str(error)})
                self._interrupted(error)
                if time.monotonic() - began > pause:  # a list that is answered, with a watch that is refused, is no success
                    pause = FIRST_PAUSE
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _list(self) -> str:
        """Take the whole list over. What is missing in it is gone: only a complete list says so."""
        found: dict[Key, Object] = {}
        query = {**self._query, "limit": "500"}
        while True:
            answer = await self._api.request("GET", self._path, query=query, request_timeout=60)
            found.update({_key(item): item for item in answer.get("items", [])})
            meta = answer.get("metadata", {})
            if not meta.get("continue"):
                break
            query["continue"] = meta["continue"]
        version = str(meta.get("resourceVersion", ""))
        for key in [key for key in self._versions if key not in found]:
            self._take(key, None, _number(version))
        for key, item in found.items():
            self._take(key, item, version_of(item))
            self.newest = max(self.newest, version_of(item))
        self._reached(version)
        self.synced.set()
        return version

    async def _follow(self, version: str) -> None:
        """Watch from ``version`` on, again and again, until the server has forgotten it."""
        while True:
            query = {
                **self._query,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(WATCH_SECONDS),
            }
            async for event in self._api.lines(self._path, query, SILENCE_SECONDS):
                item = event.get("object", {})
                if event.get("type") == "ERROR":
                    if item.get("code") == GONE:
                        return
                    raise KubeError(int(item.get("code") or 0), str(item.get("reason")), f"WATCH {self._path}")
                version = item["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self.newest = max(self.newest, version_of(item))
                    self._take(_key(item), None if event["type"] == "DELETED" else item, version_of(item))
                self._reached(version)

    def _take(self, key: Key, item: Object | None, version: int) -> None:
        """Take one object over, unless what is known is as new: a watch lags behind our own writes, and a list repeats."""
        known = self._versions.get(key, -1)
        if version and (version < known or (item is not None and version == known)):
            return
        new: T | None = None
        if item is not None:
            try:
                new = self._parse(item)
            except ValueError:
                log.exception("object left out", extra={"resource": self._resource.plural, "object": "/".join(key)})
        self._keep(key, new, version if item is not None else None)

    def _keep(self, key: Key, new: T | None, version: int | None) -> None:
        old = self.objects.pop(key, None)
        self._versions.pop(key, None)
        if version is not None:
            self._versions[key] = version
        if new is not None:
            self.objects[key] = new
        if new is not None or old is not None:
            self._changed(key, new, old)


def version_of(item: Mapping[str, Any]) -> int:
    """``metadata.resourceVersion`` as a number: of one object's versions the greater is the newer (KEP-5504)."""
    return _number(item.get("metadata", {}).get("resourceVersion"))


def _number(version: object) -> int:
    text = str(version or "")
    return int(text) if text.isdigit() else 0


def _key(item: Mapping[str, Any]) -> Key:
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]


async def run_together(*mirrors: Mirror[Any]) -> None:
    """Keep several copies current until cancelled."""
    async with asyncio.TaskGroup() as group:
        for mirror in mirrors:
            group.create_task(mirror.run())


async def all_synced(*mirrors: Mirror[Any]) -> None:
    """Wait until every copy was filled once."""
    for mirror in mirrors:
        await mirror.synced.wait()
