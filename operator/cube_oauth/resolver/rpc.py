"""JSON-RPC 2.0 over the unix socket, one object a line (docs/reference/protocols.md)."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cube_oauth.resolver import files
from cube_oauth.resolver.answers import Caller
from cube_oauth.resolver.errors import BadParametersError, InvalidRequestError, MethodNotFoundError, ParseError, RpcError
from cube_oauth.resolver.metrics import HOOK_COUNTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from cube_oauth.resolver.metrics import Metrics
    from cube_oauth.resolver.service import Resolver

log = logging.getLogger(__name__)

MAX_LINE = 1 << 20
MAX_PENDING = 1024
"""Requests of one connection that wait for the broker; more are read when one is answered."""
MAX_UNREAD = 4 << 20
"""Bytes that a hook has not read; more, and its connection is closed, which tells it to forget everything."""
MAX_REQUEST_ID = 200
WORD = re.compile("[A-Za-z]{1,40}")

CLOSE_SECONDS = 2.0


class Server:
    """Serves any number of hooks."""

    def __init__(self, resolver: Resolver, metrics: Metrics) -> None:
        self._resolver = resolver
        self._metrics = metrics
        self._connections: set[Connection] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self, path: str) -> AsyncIterator[None]:
        """Listen until the context ends, then close every connection."""
        server = await asyncio.start_unix_server(self._serve, sock=files.listen(path), limit=MAX_LINE)
        self._resolver.listeners.add(self._changed)
        self._resolver.environment.listeners.add(self._environment_changed)
        try:
            yield
        finally:
            self._resolver.listeners.discard(self._changed)
            self._resolver.environment.listeners.discard(self._environment_changed)
            server.close()
            for connection in tuple(self._connections):
                connection.close()
            if self._serving:
                await asyncio.wait(self._serving, timeout=CLOSE_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio started it
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        connection = Connection(reader, writer, self._resolver, self._metrics)
        self._connections.add(connection)
        self._metrics.gauge("hooks", len(self._connections))
        if self._resolver.environment.now.values:
            connection.write(self._environment())
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self._metrics.gauge("hooks", len(self._connections))
            connection.close()

    def _environment(self) -> bytes:
        return _line({"jsonrpc": "2.0", "method": "env", "params": self._resolver.environment.now.to_json()})

    def _environment_changed(self) -> None:
        for connection in tuple(self._connections):
            connection.write(self._environment())

    def _changed(self, username: str | None) -> None:
        params = {} if username is None else {"username": username}
        line = _line({"jsonrpc": "2.0", "method": "changed", "params": params})
        for connection in tuple(self._connections):
            connection.write(line)


class Connection:
    """One hook."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, resolver: Resolver, metrics: Metrics) -> None:
        self._reader = reader
        self._writer = writer
        self._resolver = resolver
        self._metrics = metrics
        self._pending: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Read requests until the hook closes, or writes a line that is too long."""
        try:
            while line := await self._reader.readline():
                self._take(line)
                if len(self._pending) >= MAX_PENDING:
                    await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
        except ValueError:  # the reader's limit: what follows cannot be told apart any more
            self._refuse(None, InvalidRequestError(f"a line must not be longer than {MAX_LINE} bytes"))
        except OSError:
            pass  # the hook has gone

    def close(self) -> None:
        """Close, and end what is still waiting."""
        for task in self._pending:
            task.cancel()
        self._writer.close()

    def write(self, line: bytes) -> None:
        """Write a line, unless the hook has stopped reading: then close."""
        if self._writer.transport.get_write_buffer_size() > MAX_UNREAD:
            log.warning("a hook does not read; its connection is closed")
            self._writer.transport.abort()
        elif not self._writer.is_closing():
            self._writer.write(line)

    def _take(self, line: bytes) -> None:
        request_id = None
        try:
            request = _message(line)
            if "id" not in request:
                self._count(request)
                return
            request_id = _id(request)
            self._dispatch(request_id, request["method"], request.get("params"))
        except RpcError as error:
            self._metrics.request("invalid", error.reason)
            self._refuse(request_id, error)

    def _dispatch(self, request_id: Any, method: str, params: Any) -> None:
        caller: Caller | None = None
        if method == "resolve":
            caller = Caller.read(params)
            known = self._resolver.remembered(caller)
            if known is not None:  # without a task: the answer is there
                self._done(method, "memory", params)
                self._answer(request_id, known)
                return
            answer = self._resolver.resolve(caller)
        elif method == "invalidate":
            caller = Caller.read(params)
            answer = self._resolver.invalidate(caller, *_refused_token(params, "dataSource"))
        elif method == "invalidateAccount":
            answer = self._resolver.invalidate_account(*_refused_token(params, "variable"))
        else:
            raise MethodNotFoundError("there are the methods resolve, invalidate and invalidateAccount")
        task = asyncio.create_task(self._answer_later(request_id, method, params, answer))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    def _count(self, notification: dict[str, Any]) -> None:
        """What happened in Cube since the hook last told; there is no other notification."""
        for kind, what, times in _counts(notification):
            self._metrics.hook(kind, what, times)

    async def _answer_later(self, request_id: Any, method: str, params: dict[str, Any], answer: Awaitable[bytes]) -> None:
        try:
            self._answer(request_id, await answer)
            self._done(method, "broker", params)
        except RpcError as error:
            self._done(method, error.reason, params)
            self._refuse(request_id, error)
        except Exception as error:  # noqa: BLE001 - a hook must never wait for an answer that does not come
            where = traceback.format_tb(error.__traceback__)  # without the message: it could quote what was sent
            log.error("a request failed", extra={"error": type(error).__name__, "where": where})  # noqa: TRY400
            self._done(method, RpcError.reason, params)
            self._refuse(request_id, RpcError(f"internal error: {type(error).__name__}"))

    def _done(self, method: str, outcome: str, params: dict[str, Any]) -> None:
        """Counted, and at level DEBUG logged: no name and no value, only Cube's own ID of the request."""
        self._metrics.request(method, outcome)
        if log.isEnabledFor(logging.DEBUG):
            request_id = str(params.get("requestID", ""))[:MAX_REQUEST_ID]
            log.debug("request of a hook", extra={"method": method, "outcome": outcome, "requestID": request_id})

    def _answer(self, request_id: Any, result: bytes) -> None:
        self.write(b'{"jsonrpc":"2.0","id":%s,"result":%s}\n' % (json.dumps(request_id).encode(), result))

    def _refuse(self, request_id: Any, error: RpcError) -> None:
        shown = {"code": error.code, "message": error.message, "data": {"reason": error.reason}}
        self.write(_line({"jsonrpc": "2.0", "id": request_id, "error": shown}))


def _message(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ParseError("the line is no JSON") from None  # the cause would quote the line
    if not isinstance(request, dict) or request.get("jsonrpc") != "2.0" or not isinstance(request.get("method"), str):
        raise InvalidRequestError('a request is an object with "jsonrpc": "2.0" and a method')
    return request


def _id(request: dict[str, Any]) -> int | str:
    request_id = request["id"]
    if not isinstance(request_id, int | str):
        raise InvalidRequestError("a request's id is a number or a string")
    return request_id


def _counts(notification: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Kind, what and how often; words only, because they become labels."""
    params = notification.get("params")
    if notification["method"] != "count" or not isinstance(params, dict):
        raise InvalidRequestError("the only notification to the resolver is count; a request needs an id")
    kinds = {kind: counts for kind, counts in params.items() if kind in HOOK_COUNTS and isinstance(counts, dict)}
    found = [(kind, what, times) for kind, counts in kinds.items() for what, times in counts.items()]
    if not all(WORD.fullmatch(what) and isinstance(times, int) and times >= 0 for _, what, times in found):
        raise BadParametersError("params of count are whole numbers by word")
    return found


def _refused_token(params: Any, key: str) -> tuple[str, int]:
    """Which token: ``key`` says what it is for."""
    given = params if isinstance(params, dict) else {}
    name, revision = given.get(key), given.get("revision")
    if not isinstance(name, str) or not isinstance(revision, int):
        raise BadParametersError(f"params.{key} must be a string and params.revision a whole number")
    return name, revision


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
