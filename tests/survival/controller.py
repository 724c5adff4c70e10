"""A controller that breaks where it is told to. The production code knows nothing of it: stable seams are wrapped from outside."""

import asyncio
import hashlib
import itertools
import json
import os
import random
import signal
import sys
import time
from asyncio import selector_events
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp

from cube_oauth import __main__
from cube_oauth.controller import process
from cube_oauth.controller.clock import Clock
from cube_oauth.controller.credentials import Credentials
from cube_oauth.controller.rotation import Rotation
from cube_oauth.kube.api import Api
from cube_oauth.kube.lease import Lease
from cube_oauth.providers import Transport
from tests.survival.journal import Journal
from tests.survival.plan import Fault, Plan
from tests.survival.steps import Driven

assert process  # imported here so that the fork server has it

APPLICATION_DATA = b"\x17"
"""The type of a TLS record that holds a request (RFC 8446, section 5.1), not a handshake."""

LAST_LOOK = 2
"""The transport looks at the time as it begins, and once more before the first byte."""

WRITES = ("PUT", "POST", "PATCH")
ASKS_PROVIDER = 0

PROVIDER_FAULTS = {
    "503": {"status": 503},
    "429": {"status": 429, "retryAfter": 1},
    "served after 3 s": {"delayMs": 3_000},
    "connection cut, not served": {"cut": True},
    "served, answer lost": {"loseAnswer": True},
    "silent for 12 s, not served": {"delayMs": 12_000},
}
UNREACHABLE = "no connection"


@dataclass
class Refresh:
    """One refresh under way in this process."""

    number: int
    """From 1."""
    uid: str
    fault: Fault | None
    steps: int = 0
    calls: int = 0
    looks: int = 0
    """How often the transport has looked at the time: as it begins, and last before it sends."""
    checked: int = 0
    """When the time that the claim leaves was looked at last, in ns."""
    redeeming: bool = False
    sent: bool = False
    answered: bool = False


CURRENT: ContextVar[Refresh | None] = ContextVar("CURRENT", default=None)


class Breaking:
    """Wraps the seams, and breaks what the plan says."""

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self._plan = plan
        self._journal = journal
        self._numbers = itertools.count(1)
        self._done = False

    def install(self) -> None:
        """From now on."""
        for seam, name, wrapper in (
            (Credentials, "reconcile", self._reconcile),
            (Rotation, "refresh", self._refresh),
            (Api, "request", self._request),
            (Api, "_send", self._send),
            (Transport, "__init__", self._transport),
            (Transport, "post", self._post),
            (Clock, "now", self._now),
            (selector_events._SelectorSocketTransport, "write", self._write),
        ):
            setattr(seam, name, _wrapped(getattr(seam, name), wrapper))
        if self._plan.always_leads:
            Lease.hold = _work  # type: ignore[method-assign]

    # ---- the refresh

    async def _reconcile(self, original: Callable[..., Any], credentials: Any, key: Any) -> Any:
        CURRENT.set(None)
        result = await Driven(original(credentials, key), self._step)
        self._end()
        return result

    async def _refresh(self, original: Callable[..., Any], rotation: Any, observed: Any, *more: Any) -> None:
        self._end()  # a reconcile refreshes more than once when it was overtaken, and looks again
        faults, number = self._plan.faults, next(self._numbers)
        fault = faults[(number - 1) % len(faults)] if faults else None
        refresh = Refresh(number, observed.credential.metadata.uid, fault)
        CURRENT.set(refresh)
        self._note(refresh, "begun")
        await original(rotation, observed, *more)
        if refresh.answered:
            self._note(refresh, "written")  # at the latest: it was found to be there although the write was not answered

    def _end(self) -> None:
        """The refresh is over, and its outcome published."""
        refresh = CURRENT.get()
        if refresh is None:
            return
        self._note(refresh, "ended")
        if refresh.number == self._plan.refresh and self._plan.number is signal.SIGKILL:
            os.kill(os.getpid(), signal.SIGKILL)

    def _step(self, place: str, woken: bool) -> None:
        refresh = CURRENT.get()
        if refresh is None:
            return
        refresh.steps += not woken
        plan = self._plan
        if plan.number is None or self._done or (refresh.number, refresh.steps, woken) != (plan.refresh, plan.step, plan.woken):
            return
        self._signal(refresh, place, woken=woken)

    def _signal(self, refresh: Refresh, place: str, *, woken: bool) -> None:
        number = self._plan.number
        if number is None or self._done:
            return
        self._done = True
        self._note(refresh, number.name, place=place, woken=woken)
        os.kill(os.getpid(), number)
        self._note(refresh, "continued")

    # ---- requests to the API server

    async def _request(self, original: Callable[..., Any], api: Any, method: str, path: str, **more: Any) -> Any:
        refresh = CURRENT.get()
        if refresh and self._plan.api_patience:
            more["request_timeout"] = self._plan.api_patience
        answer = await original(api, method, path, **more)
        if refresh and refresh.answered and method in WRITES and "/secrets" in path:
            self._note(refresh, "written")
        return answer

    async def _send(self, original: Callable[..., Any], api: Any, method: str, path: str, *more: Any) -> Any:
        refresh = CURRENT.get()
        kind = self._api_fault(refresh, method, path) if refresh else None
        if kind is None:
            return await original(api, method, path, *more)
        return await API_FAULTS[kind](lambda: original(api, method, path, *more), lambda: _meddle(original, api, path))

    def _api_fault(self, refresh: Refresh, method: str, path: str) -> str | None:
        refresh.calls += 1
        fault = refresh.fault
        if self._plan.storm and random.random() < self._plan.storm:
            kind = random.choice(list(API_FAULTS))
        elif fault and fault.call <= refresh.calls < fault.call + fault.times:
            kind = fault.kind
        else:
            return None
        self._note(refresh, "fault", kind=kind, call=f"{method} {_plural(path)}", number=refresh.calls)
        return kind

    # ---- the request to the provider

    def _transport(self, original: Callable[..., Any], transport: Any, **settings: Any) -> None:
        original(transport, **{**settings, "clock": self._look})

    def _look(self) -> datetime:
        """The transport's clock, which it reads last before it sends."""
        refresh, now = CURRENT.get(), datetime.now(UTC) + timedelta(seconds=self._plan.clock_ahead)
        if refresh:
            refresh.checked = time.perf_counter_ns()
            refresh.looks += refresh.redeeming
            if self._plan.after_check and refresh.looks == LAST_LOOK and refresh.number == self._plan.refresh:
                self._signal(refresh, "between the last check and the first byte", woken=False)
        return now

    async def _post(self, original: Callable[..., Any], transport: Any, url: str, body: str, headers: Any, *more: Any) -> Any:
        refresh, form = CURRENT.get(), parse_qs(body)
        if refresh is None or form.get("grant_type") != ["refresh_token"]:
            return await original(transport, url, body, headers, *more)
        kind = refresh.fault.kind if refresh.fault and refresh.fault.call == ASKS_PROVIDER else None
        token = hashlib.sha256(form["refresh_token"][0].encode()).hexdigest()
        self._note(refresh, "redeeming", token=token, fault=kind)
        refresh.redeeming = True
        try:
            answer = await original(transport, *_broken(kind, url, body, headers), *more)
        finally:
            refresh.redeeming = False
        refresh.answered = answer.status == 200
        self._note(refresh, "answered" if refresh.answered else "refused")
        if self._plan.answered and refresh.number == self._plan.refresh:
            self._signal(refresh, "with the answer in hand", woken=False)
        return answer

    def _write(self, original: Callable[..., Any], transport: Any, data: Any) -> None:
        refresh = CURRENT.get()
        if refresh and refresh.redeeming and not refresh.sent and data[:1] == APPLICATION_DATA:
            refresh.sent = True
            self._note(refresh, "sent", since_check=time.perf_counter_ns() - refresh.checked)
        original(transport, data)

    def _now(self, original: Callable[..., Any], clock: Any) -> Any:
        return original(clock) + timedelta(seconds=self._plan.clock_ahead)

    def _note(self, refresh: Refresh, event: str, **more: Any) -> None:
        self._journal.write(refresh.number, event, uid=refresh.uid, **more)


def _wrapped(original: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    """``wrapper`` gets the original as its first argument."""
    return lambda *arguments, **named: wrapper(original, *arguments, **named)


def _plural(path: str) -> str:
    return path.partition("/namespaces/")[2].split("/")[1]


async def _work(_: Any, work: Callable[[], Awaitable[None]], __: Any) -> None:
    await work()


def _broken(kind: str | None, url: str, body: str, headers: Any) -> tuple[str, str, Any]:
    if kind == UNREACHABLE:
        return "https://127.0.0.1:9/token", body, headers
    return url, body, {**headers, "X-Fault": json.dumps(PROVIDER_FAULTS[kind])} if kind else headers


# ---- how a request to the API server fails

Go = Callable[[], Awaitable[aiohttp.ClientResponse]]


class _Refusal:
    """An answer of the API server's, as far as ``Api`` looks at it."""

    def __init__(self, status: int) -> None:
        self.status = status

    async def read(self) -> bytes:
        return json.dumps({"kind": "Status", "reason": "Injected"}).encode()

    def release(self) -> None:
        pass


def _refuse(status: int) -> Callable[[Go, Go], Awaitable[Any]]:
    async def refuse(*_: Go) -> Any:
        return _Refusal(status)

    return refuse


async def _served(go: Go) -> None:
    """Let the server do it, and hear nothing of it."""
    answer = await go()
    await answer.read()
    answer.release()


async def _cut_before(*_: Go) -> Any:
    raise aiohttp.ServerDisconnectedError


async def _cut_after(go: Go, _: Go) -> Any:
    await _served(go)
    raise aiohttp.ServerDisconnectedError


async def _hang_before(*_: Go) -> Any:
    await asyncio.Event().wait()


async def _hang_after(go: Go, _: Go) -> Any:
    await _served(go)
    await asyncio.Event().wait()


async def _meddled(go: Go, meddle: Go) -> Any:
    await _served(meddle)
    return await go()


async def _meddle(send: Callable[..., Any], api: Any, path: str) -> Any:
    """Somebody else writes the same object."""
    body = {"metadata": {"annotations": {"somebody": str(time.time_ns())}}}
    return await send(api, "PATCH", path.removesuffix("/status"), None, body, "application/merge-patch+json", 15)


API_FAULTS: dict[str, Callable[[Go, Go], Awaitable[Any]]] = {
    "500": _refuse(500),
    "429": _refuse(429),
    "409 without a cause": _refuse(409),
    "somebody else writes first": _meddled,
    "connection cut before": _cut_before,
    "connection cut after it was done": _cut_after,
    "hangs, not done": _hang_before,
    "hangs, done": _hang_after,
}


def run(env: dict[str, str], plan: Plan, journal: Path, log: Path) -> None:
    """The whole process: ``cube-oauth controller``, broken as planned. For a process that was forked."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    Breaking(plan, Journal(journal)).install()
    sys.exit(__main__.main(["controller"]))
