"""What happens while a controller starts: between its first complete list and the moment from which it watches."""

import asyncio

import pytest

from cube_oauth.kube.api import OAUTH_APPS, USER_CREDENTIALS
from tests.unit.controller.clocks import StoppedClock
from tests.unit.controller.simulation import Provider, Running, Server, at_rest

APP, ALICE = OAUTH_APPS.path("team", "trino"), USER_CREDENTIALS.path("team", "trino-alice")
SPEC = {"tokenURL": "https://idp.example.com/token", "authorizationURL": "https://idp.example.com/a", "clientID": "cube"}


@pytest.fixture
async def starting(monkeypatch):
    """With a controller that has listed everything, and whose watches have not begun."""
    monkeypatch.setattr("cube_oauth.controller.engine.LOOK_AT_REFUSED", 0.01)
    monkeypatch.setattr("cube_oauth.controller.engine.FIRST_RESYNC", 0.05)
    clock = StoppedClock()
    made = Server(clock)
    made.put(APP, {"metadata": {"name": "trino", "namespace": "team"}, "spec": SPEC})
    made.put(
        ALICE,
        {
            "metadata": {"name": "trino-alice", "namespace": "team"},
            "spec": {"username": "alice", "oauthAppRef": {"name": "trino"}},
        },
    )
    running = Running(made, Provider(), clock, monkeypatch)
    await at_rest()
    while not running.controller.synced.is_set():
        running.gates.let(0)
        await at_rest()
    yield made, running.gates
    running.gates.let_all()
    await running.end()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - real time is what it waits for
            await asyncio.sleep(0.01)


def reason(api):
    conditions = api.objects[ALICE].get("status", {}).get("conditions", ())
    return next((one["reason"] for one in conditions if one["type"] == "Ready"), None)


async def test_an_app_that_is_deleted_meanwhile_is_missed_soon(starting):
    api, gates = starting
    api.remove(APP)
    gates.let_all()
    await until(lambda: reason(api) == "AppNotFound")
