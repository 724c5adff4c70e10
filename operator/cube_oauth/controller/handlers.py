"""The kopf handlers, and nothing else: each reads the body into its model and makes one call.

``on.event`` handlers write nothing into the objects: no annotations, no finalizers. Secrets never come through kopf: it would watch
all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import kopf
from pydantic import ValidationError

from cube_oauth.resources.names import GROUP, VERSION
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.usercredential import UserCredential

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cube_oauth.controller.inventory import Key
    from cube_oauth.kube.api import Api

log = logging.getLogger(__name__)

SERVER_TIMEOUT, CLIENT_TIMEOUT, CONNECT_TIMEOUT = 240, 270, 5
"""Seconds. A watch without them may go blind and stay so (kopf 585)."""

LOGIN_LASTS = timedelta(minutes=10)
"""Then the credentials are asked for again: a projected service-account token is renewed now and then."""


class Listener(Protocol):
    """Who is told."""

    def saw_app(self, app: OAuthApp) -> None:
        """An OAuthApp is there, or was changed."""

    def lost_app(self, app: OAuthApp) -> None:
        """An OAuthApp was deleted."""

    def knows_credential(self, key: Key, uid: str, version: str) -> bool:
        """Whether this very version of a UserCredential is known: the answer to a write of ours was it."""

    def saw_credential(self, credential: UserCredential) -> None:
        """A UserCredential is there, or was changed."""

    def lost_credential(self, credential: UserCredential) -> None:
        """A UserCredential was deleted."""


def registered(api: Api, listener: Listener) -> kopf.OperatorRegistry:
    """The handlers, calling ``listener``."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection(api)

    @kopf.on.event(GROUP, VERSION, "oauthapps", registry=registry)
    async def app(event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        with _readable(body):
            parsed = OAuthApp.model_validate(event["object"])
            listener.lost_app(parsed) if event["type"] == "DELETED" else listener.saw_app(parsed)

    def tells_something(event: kopf.RawEvent, **_: Any) -> bool:
        """Of all that is watched, most is the echo of our own writes."""
        meta = event["object"]["metadata"]
        key = meta["namespace"], meta["name"]
        return event["type"] == "DELETED" or not listener.knows_credential(key, meta["uid"], meta["resourceVersion"])

    @kopf.on.event(GROUP, VERSION, "usercredentials", registry=registry, when=tells_something)
    async def credential(event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        with _readable(body):
            parsed = UserCredential.model_validate(event["object"])
            listener.lost_credential(parsed) if event["type"] == "DELETED" else listener.saw_credential(parsed)

    return registry


@contextlib.contextmanager
def _readable(body: kopf.Body) -> Any:
    try:
        yield
    except ValidationError:
        log.exception("object left out", extra={"object": f"{body['metadata'].get('namespace')}/{body['metadata'].get('name')}"})


async def serve(api: Api, listener: Listener, namespaces: Sequence[str], stop: asyncio.Event) -> None:
    """Watch until cancelled; no ``namespaces`` means all. Raises RuntimeError when kopf gives up.

    Not ``kopf.operator()``: at its end that cancels every task of the loop that began after it, a refresh in flight included.
    """
    _quiet()
    tasks = await kopf.spawn_tasks(
        registry=registered(api, listener),
        settings=_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )
    _take_signals_back(stop)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        raise RuntimeError("kopf has ended")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _take_signals_back(stop: asyncio.Event) -> None:
    """Kopf takes SIGTERM and SIGINT for itself; we end in our own order."""
    with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread: kopf did not take them either
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)


def _quiet() -> None:
    """Kopf tells of each handler's success, and hangs objects of its own to the records, which are no JSON."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    objects = logging.getLogger("kopf.objects")
    if _without_extras not in objects.filters:
        objects.addFilter(_without_extras)


def _without_extras(record: logging.LogRecord) -> bool:
    for name in [name for name in vars(record) if name.startswith("k8s_") or name == "settings"]:
        delattr(record, name)
    return True


class _NothingKept(kopf.DiffBaseStorage):
    """Kopf would copy each object to compare it with its last version, which no handler of ours asks for."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass


class _NoProgress(kopf.ProgressStorage):
    """Kopf would copy each object to take its own marks out of it, which it makes for other handlers than ours."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass

    def purge(self, **_: Any) -> None:
        pass

    def touch(self, **_: Any) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # no rights to list namespaces or CustomResourceDefinitions are needed
    settings.watching.server_timeout = SERVER_TIMEOUT
    settings.watching.client_timeout = CLIENT_TIMEOUT
    settings.watching.connect_timeout = CONNECT_TIMEOUT
    settings.watching.chunk_size = 500
    settings.persistence.diffbase_storage = _NothingKept()
    settings.persistence.progress_storage = _NoProgress()
    settings.queueing.idle_timeout = 0.1  # each idle worker is a task that is kept for so long
    return settings


async def connection(api: Api) -> kopf.ConnectionInfo:
    """The official client's connection, for kopf."""
    configuration = api.client.configuration
    header = await configuration.get_api_key_with_prefix("BearerToken")
    scheme, _, token = (header or "").strip().rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        expiration=datetime.now(UTC) + LOGIN_LASTS,
    )
