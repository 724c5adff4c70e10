import asyncio
import gc
import logging

import pytest

from cube_oauth.portal import streams
from cube_oauth.portal.session import SESSION_COOKIE

PATIENCE = 10
"""Seconds until what must be told has to be."""


class Listening:
    """A page's stream of events, as a browser reads it."""

    def __init__(self, answer):
        self.answer = answer

    async def next(self):
        """The version that comes next."""
        async with asyncio.timeout(PATIENCE):
            while True:
                line = (await self.answer.content.readline()).decode()
                if line.startswith("data: "):
                    return line.removeprefix("data: ").strip()
                assert line, "the stream has ended"

    async def changed(self, before):
        """The next version that is another one."""
        async with asyncio.timeout(PATIENCE):
            while (version := await self.next()) == before:
                continue
            return version

    async def ended(self):
        await asyncio.wait_for(self.answer.read(), 10)


@pytest.fixture
async def listen(browser):
    opened = []

    async def start(who):
        answer = await who.client.get("/events", headers={"Cookie": f"{SESSION_COOKIE}={who.cookies.get(SESSION_COOKIE, '')}"})
        opened.append(answer)
        return Listening(answer)

    yield start
    for answer in opened:
        answer.close()


def version_of(answer):
    return answer.html.partition('data-live="')[2].partition('"')[0]


async def test_the_first_event_is_the_version_of_the_page(browser, world, listen):
    world.add_app()
    page = await browser.log_in().get("/")
    assert await (await listen(browser)).next() == version_of(page)


async def test_each_change_of_what_the_person_sees_is_told(browser, world, listen):
    world.add_app()
    following = await listen(browser.log_in())
    seen = [await following.next()]
    world.add_credential(status={"state": "Active"})
    seen.append(await following.next())
    world.add_app(ready="False", reason="InvalidClient")
    seen.append(await following.next())
    assert len(set(seen)) == 3
    assert version_of(await browser.get("/")) == seen[-1]


async def test_another_reason_why_an_app_cannot_be_used_is_told(browser, world, listen):
    world.add_app(ready="False", reason="ClientSecretNotFound")
    following = await listen(browser.log_in())
    before = await following.next()
    world.add_app(ready="False", reason="InvalidClient")
    assert await following.next() != before
    assert "does not accept the client" in (await browser.get("/")).html


async def test_that_a_connection_ends_soon_is_told_when_it_becomes_so(browser, world, listen, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.live.BEAT", 0.01)
    world.add_app()
    ends = {"refreshAt": "2026-11-23T13:00:00Z", "signInEndsAt": "2026-11-30T12:01:00Z"}
    world.add_credential(status={"state": "Active", **ends})
    following = await listen(browser.log_in())
    before = await following.next()
    assert 'class="warning"' not in (await browser.get("/")).html
    world.later(minutes=2)
    await following.changed(before)
    assert 'class="warning"' in (await browser.get("/")).html


async def test_what_was_told_is_told_again_for_a_page_that_came_from_a_replica_that_was_behind(browser, world, listen, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.live.BEAT", 0.01)
    world.add_app()
    following = await listen(browser.log_in())
    assert await following.next() == await following.next()


async def test_somebody_else_s_change_is_not_told(browser, world, listen):
    world.add_app()
    following = await listen(browser.log_in())
    await following.next()
    world.add_credential("bob", name="bob", status={"state": "Active"})
    world.add_app(status={"credentials": {"active": 1}})  # the app's count of everybody
    world.add_credential("alice", name="alice", status={"state": "Active"})
    assert await following.next() == version_of(await browser.get("/"))


async def test_what_ends_by_the_clock_is_told(browser, world, listen, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.live.BEAT", 0.01)
    world.add_app()
    world.add_credential(status={"state": "Active", "expiresAt": "2026-11-23T12:01:00Z"})
    following = await listen(browser.log_in())
    before = await following.next()
    world.later(minutes=2)
    await following.changed(before)


async def test_nobody_is_told_without_a_session(browser, listen):
    assert (await listen(browser)).answer.status == 204


async def test_a_stream_ends_with_its_session(browser, world, listen, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.live.BEAT", 0.01)
    following = await listen(browser.log_in())
    await following.next()
    world.later(hours=1)
    await following.ended()


async def test_following_a_page_is_no_sign_of_life(browser, world, listen):
    browser.log_in()
    world.later(minutes=20)
    before = dict(browser.cookies)
    await (await listen(browser)).next()
    await browser.get("/", headers={"X-Live": "1"})
    assert browser.cookies == before
    await browser.get("/")
    assert browser.cookies != before


async def test_a_page_that_is_asked_for_anew_takes_no_notice_from_the_one_that_it_is_for(browser, world):
    """The script shows only the list: what was done in another tab is told there."""
    world.add_app()
    world.add_credential(status={"state": "Active"})
    await browser.log_in().post("/disconnect/analytics/trino")
    await browser.get("/", headers={"X-Live": "1"})
    assert "is disconnected" in (await browser.get("/")).html


async def test_nothing_is_kept_of_who_looked_here_once(browser, world, listen, monkeypatch):
    """Where no app changes for months, nothing else would make room."""
    monkeypatch.setattr("cube_oauth.portal.live.BEAT", 0.01)
    for username in ("alice", "bob"):
        following = await listen(browser.log_in(username))
        await following.next()
        world.later(hours=1)
        await following.ended()
    assert not await asyncio.create_task(world.cluster.until(lambda: False, "carol", 0.01))
    gc.collect()
    assert len(world.cluster._bells) == 0


async def test_one_person_takes_only_so_many_places(browser, other_browser, listen, monkeypatch):
    monkeypatch.setattr(streams, "MOST_PER_PERSON", 2)
    alice, bob = browser.log_in("alice"), other_browser.log_in("bob")
    first, _ = await listen(alice), await listen(alice)
    assert (await listen(alice)).answer.status == 204
    assert (await listen(bob)).answer.status == 200
    first.answer.close()


async def test_a_process_has_only_so_many_places(browser, other_browser, world, listen):
    world.portal.streams._most = 1
    await listen(browser.log_in("alice"))
    assert (await listen(other_browser.log_in("bob"))).answer.status == 204


async def test_a_place_is_free_again_when_the_stream_has_ended(browser, world, listen, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.live.BEAT", 0.01)
    monkeypatch.setattr(streams, "MOST_PER_PERSON", 1)
    following = await listen(browser.log_in())
    await following.next()
    world.later(hours=1)
    await following.ended()
    assert (await listen(browser.log_in())).answer.status == 200


async def test_whoever_closes_the_page_frees_the_place_and_leaves_no_error(browser, world, listen, monkeypatch, caplog):
    monkeypatch.setattr("cube_oauth.portal.live.BEAT", 0.01)
    following = await listen(browser.log_in())
    await following.next()
    following.answer.close()
    await asyncio.wait(world.portal.streams._tasks, timeout=10)
    assert not world.portal.streams._tasks
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_the_end_of_the_process_ends_the_streams(browser, world, listen):
    following = await listen(browser.log_in())
    await following.next()
    await world.portal.streams.close()
    await following.ended()
