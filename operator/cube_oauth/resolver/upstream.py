"""The broker, over HTTPS with keep-alive. httpx2 is loaded by ``open``, after the socket is there."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import ssl
from typing import TYPE_CHECKING, Any

from cube_oauth.resolver.errors import BadParametersError, BrokerUnreachableError, ForbiddenError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from cube_oauth.resolver.answers import Caller
    from cube_oauth.resolver.settings import ResolverSettings

log = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0
RESOLVE_SECONDS = 5.0
INVALIDATE_SECONDS = 13.0
"""The broker waits up to 10 s for a forced refresh."""
SILENCE_SECONDS = 15.0
"""A stream without even a heartbeat for this long is dead."""
MESSAGE_CHARACTERS = 300
OK, BAD_REQUEST, UNAUTHENTICATED, FORBIDDEN = 200, 400, 401, 403


class Upstream:
    """Requests to the broker; each raises BrokerUnreachableError or ForbiddenError."""

    def __init__(self, settings: ResolverSettings) -> None:
        self._settings = settings
        self._ca = settings.ca
        self._opened = asyncio.Event()
        self._http: Any = None
        self.as_of: Any = None
        """What the stream said last of how much its replica knows: another one must know as much, or say that it does not."""
        self._client: httpx2.AsyncClient
        self._former: list[httpx2.AsyncClient] = []
        """Trust an authority of before; the stream may still use one of them."""

    async def open(self) -> None:
        """Load httpx2 (in a thread: the socket is already served) and make the client."""
        self._http = await asyncio.to_thread(importlib.import_module, "httpx2")
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of each request
        self._client = self._new_client(self._ca)
        self._opened.set()

    async def close(self) -> None:
        """Close all connections."""
        if self._opened.is_set():
            await self._close_former()
            await self._client.aclose()

    async def _close_former(self) -> None:
        while self._former:
            await self._former.pop().aclose()

    def trust(self, ca: str) -> None:
        """Use another CA bundle for connections from now on; the stream keeps its own until it ends."""
        if ca == self._ca:
            return
        try:
            client = self._new_client(ca)
        except ssl.SSLError:
            log.exception("the broker sent a CA bundle that cannot be read; the old one stays")
            return
        self._former.append(self._client)
        self._client, self._ca = client, ca
        log.info("the broker's CA bundle changed")

    def _new_client(self, ca: str) -> httpx2.AsyncClient:
        client: httpx2.AsyncClient = self._http.AsyncClient(
            base_url=self._settings.broker_url,
            verify=ssl.create_default_context(cadata=ca),
            trust_env=False,
            limits=self._http.Limits(max_connections=32, max_keepalive_connections=8, keepalive_expiry=60),
        )
        return client

    async def resolve(self, caller: Caller) -> bytes:
        """A person's credentials, as the broker's JSON."""
        return await self._post("/v1/resolve", {"caller": caller.to_json()}, RESOLVE_SECONDS)

    async def invalidate(self, caller: Caller, data_source: str, revision: int) -> bytes:
        """The same after the warehouse refused ``revision``; at most 10 s."""
        body = {"caller": caller.to_json(), "dataSource": data_source, "revision": revision}
        return await self._post("/v1/invalidate", body, INVALIDATE_SECONDS)

    async def invalidate_account(self, variable: str, revision: int) -> bool:
        """Tell that the warehouse refused a service account's token; whether another one is to be expected."""
        answer = _object(await self._post("/v1/invalidate-account", {"variable": variable, "revision": revision}, RESOLVE_SECONDS))
        return bool(answer.get("expected"))

    async def changes(self) -> AsyncIterator[dict[str, Any]]:
        """The lines of one stream, until it ends. Raises BrokerUnreachableError, also when it fell silent."""
        await self._opened.wait()
        client = self._client
        apps = {"apps": ",".join(self._settings.apps)} if self._settings.apps else {}
        try:
            async with client.stream(
                "GET", "/v1/changes", params=apps, headers=self._headers(), timeout=self._timeout(SILENCE_SECONDS)
            ) as response:
                if response.status_code != OK:
                    raise _refusal(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    yield _object(line)
        except (self._http.TransportError, self._http.StreamError, OSError, ValueError) as error:
            raise BrokerUnreachableError(f"the stream ended: {type(error).__name__}") from error
        finally:
            await self._close_former()

    async def _post(self, path: str, body: dict[str, Any], seconds: float) -> bytes:
        await self._opened.wait()
        if self._settings.apps:
            body["apps"] = self._settings.apps
        if self.as_of is not None:
            body["asOf"] = self.as_of
        try:
            response = await self._send(path, body, seconds)
        except (self._http.TransportError, OSError) as error:
            raise BrokerUnreachableError(f"the broker cannot be reached: {type(error).__name__}") from error
        if response.status_code != OK:
            raise _refusal(response.status_code, response.content)
        return response.content

    async def _send(self, path: str, body: dict[str, Any], seconds: float) -> httpx2.Response:
        """Once more when a kept connection turned out to be closed: the broker was replaced in between."""
        for last in (False, True):
            try:
                return await self._client.post(path, json=body, headers=self._headers(), timeout=self._timeout(seconds))
            except (self._http.ReadError, self._http.WriteError, self._http.RemoteProtocolError):
                if last:
                    raise
        raise AssertionError

    def _timeout(self, read: float) -> httpx2.Timeout:
        timeout: httpx2.Timeout = self._http.Timeout(RESOLVE_SECONDS, connect=CONNECT_SECONDS, read=read)
        return timeout

    def _headers(self) -> dict[str, str]:
        """With the token as it is now: the kubelet replaces the file before the token ends."""
        with open(self._settings.token_file, encoding="ascii") as file:  # noqa: PTH123 - pathlib is not loaded
            return {"Authorization": f"Bearer {file.read().strip()}"}


def _object(line: str | bytes) -> dict[str, Any]:
    parsed = json.loads(line)
    if not isinstance(parsed, dict):
        raise ValueError("a line of the stream is no object")  # noqa: TRY004 - unreadable, like a line that is no JSON
    return parsed


def _refusal(status: int, body: bytes) -> Exception:
    """The broker's refusal; its sentences are ours and hold no token."""
    try:
        message = str(json.loads(body)["message"])[:MESSAGE_CHARACTERS]
    except (ValueError, KeyError, TypeError):
        message = f"the broker answered {status}"
    if status in (UNAUTHENTICATED, FORBIDDEN):
        return ForbiddenError(message)
    return BadParametersError(message) if status == BAD_REQUEST else BrokerUnreachableError(message)
