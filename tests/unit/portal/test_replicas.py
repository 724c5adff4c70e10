"""Several replicas without stickiness: whatever one began, another continues."""

import pytest
from aiohttp.test_utils import TestClient, TestServer

from cube_oauth.portal.portal import Portal
from cube_oauth.portal.routes import application


@pytest.fixture
async def other_replica(world):
    portal = Portal(world.portal.settings, world.cluster, world.cookies, world.log_in, clock=lambda: world.now)
    async with TestClient(TestServer(application(portal))) as client:
        yield client


@pytest.fixture
def moving(browser, other_replica):
    """A browser whose every request goes to the other replica than the one before."""
    replicas = [browser.client, other_replica]
    request = browser._request

    async def in_turn(*args, **kwargs):
        browser.client = replicas[0]
        replicas.reverse()
        return await request(*args, **kwargs)

    browser._request = in_turn
    return browser


async def test_a_person_logs_in_connects_and_disconnects_across_replicas(moving, world):
    world.add_app()
    world.controller(state="Active", revision=1)
    await moving.get("/login")
    await moving.get("/login/callback", params={"state": moving.pending[-1].state, "code": "c"})
    assert "Connected apps" in (await moving.get("/")).html
    state = await moving.begin()
    answer = await moving.get("/callback/analytics/trino", params={"state": state, "code": "c"})
    assert answer.status == 303
    assert "is connected" in (await moving.get("/")).html
    assert (await moving.post("/disconnect/analytics/trino")).status == 303
    assert "is disconnected" in (await moving.get("/")).html


async def test_an_answer_counts_once_in_all_replicas_together(moving, world):
    world.add_app()
    world.controller(state="Active", revision=1)
    state = await moving.log_in().begin()
    kept = dict(moving.cookies)
    await moving.get("/callback/analytics/trino", params={"state": state, "code": "c"})
    moving.cookies = kept
    answer = await moving.get("/callback/analytics/trino", params={"state": state, "code": "c"})
    assert 'data-refused="Replayed"' in answer.html
