"""The HTTPS API for resolvers (docs/reference/protocols.md)."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web

from cube_oauth.broker.changes import ENVIRONMENT
from cube_oauth.broker.environment import Environment
from cube_oauth.broker.questions import AccountRejection, Question, Refusal, Rejection, apps_of, bad_request
from cube_oauth.kube.api import KubeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from cube_oauth.broker.callers import Reviewer, Workload
    from cube_oauth.broker.changes import Changes, Message, Stream
    from cube_oauth.broker.files import Certificate
    from cube_oauth.broker.metrics import Metrics
    from cube_oauth.broker.service import Service
    from cube_oauth.settings import Address

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger(__name__)

MAX_BODY = 1 << 20
KEEP_ALIVE_SECONDS = 90.0
"""Longer than the resolver keeps a connection, so that it is the one to close."""
SHUTDOWN_SECONDS = 3.0
BEARER = "Bearer "


class Api:
    """Reads requests, asks the service, writes answers."""

    def __init__(self, service: Service, reviewer: Reviewer, changes: Changes, certificate: Certificate, metrics: Metrics) -> None:
        self._service = service
        self._reviewer = reviewer
        self._changes = changes
        self._certificate = certificate
        self._metrics = metrics

    @asynccontextmanager
    async def serving(self, address: Address) -> AsyncIterator[None]:
        """Serve until the context ends."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/v1/resolve", self._guarded("resolve", self._resolve))
        app.router.add_post("/v1/invalidate", self._guarded("invalidate", self._invalidate))
        app.router.add_post("/v1/invalidate-account", self._guarded("invalidate-account", self._invalidate_account))
        app.router.add_get("/v1/changes", self._guarded("changes", self._follow))
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, *address, ssl_context=self._certificate.context).start()
            yield
        finally:
            self._changes.close()
            await runner.cleanup()

    def _guarded(self, method: str, handler: Handler) -> Handler:
        """Every refusal as JSON with a reason; every outcome counted."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                response = await handler(request)
            except Refusal as refusal:
                self._metrics.requests.labels(method, refusal.reason).inc()
                return web.json_response({"reason": refusal.reason, "message": refusal.message}, status=refusal.status)
            self._metrics.requests.labels(method, "OK").inc()
            return response

        return answer

    async def _resolve(self, request: web.Request) -> web.Response:
        workload = await self._workload(request)
        return web.json_response(await self._service.resolve(workload, Question.read(await _body(request))))

    async def _invalidate(self, request: web.Request) -> web.Response:
        workload = await self._workload(request)
        body = await _body(request)
        return web.json_response(await self._service.invalidate(workload, Question.read(body), Rejection.read(body)))

    async def _invalidate_account(self, request: web.Request) -> web.Response:
        workload = await self._workload(request)
        rejection = AccountRejection.read(await _body(request))
        return web.json_response(await self._service.invalidate_account(workload, rejection))

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        workload = await self._workload(request)
        self._service.check(workload)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        apps = apps_of([word for word in request.query.get("apps", "").split(",") if word])
        with self._changes.stream(workload.namespace) as stream, self._metrics.streams.track_inprogress():
            await response.prepare(request)
            await _write(response, {"type": "hello", "ca": self._certificate.ca, "asOf": self._service.as_of(workload)})
            stream.put(ENVIRONMENT)
            try:
                async for line in self._lines(stream, workload, apps):
                    await _write(response, line)
            except ConnectionError:
                pass  # the resolver has gone
        return response

    async def _lines(self, stream: Stream, workload: Workload, apps: frozenset[str] | None) -> AsyncIterator[Message]:
        """What waits in a stream; service accounts as they are now, if that is not what was sent before."""
        sent = Environment()
        async for message in stream.messages():
            if message["type"] == "changed":
                yield {**message, "asOf": self._service.as_of(workload)}
            elif message is not ENVIRONMENT:
                yield message
            elif (now := self._service.environment(workload, apps)) != sent:
                sent = now
                yield {**message, **now.to_json()}

    async def _workload(self, request: web.Request) -> Workload:
        header = request.headers.get("Authorization", "")
        if not header.startswith(BEARER):
            raise Refusal(401, "Unauthenticated", "a bearer token is needed: the pod's projected token for this broker")
        try:
            workload = await self._reviewer.workload(header.removeprefix(BEARER))
        except KubeError as error:
            log.warning("a token could not be reviewed", extra={"error": str(error)})
            raise Refusal(503, "NotReady", "the API server cannot be asked whose token this is; try again") from None
        if workload is None:
            raise Refusal(401, "Unauthenticated", "the bearer token is not valid here: it has ended, or is for another audience")
        return workload


async def _body(request: web.Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        raise bad_request("the body must be JSON") from None  # the cause would quote it


async def _write(response: web.StreamResponse, message: dict[str, Any]) -> None:
    await response.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
