"""The streams of changes."""

import asyncio

import pytest

from cube_oauth.broker import changes
from cube_oauth.broker.changes import ENVIRONMENT, EVERYBODY, HEARTBEAT, MAX_WAITING, Changes


async def take(stream, number):
    messages = stream.messages()
    async with asyncio.timeout(10):
        return [await anext(messages) for _ in range(number)]


async def test_each_namespace_hears_its_own():
    all_streams = Changes()
    with all_streams.stream("team") as team, all_streams.stream("other") as other:
        all_streams.changed("team", "alice")
        all_streams.changed("other", None)
        all_streams.changed("team", "bob", rotated=True)
        rotated = {"type": "changed", "username": "bob", "rotated": True}
        assert await take(team, 2) == [{"type": "changed", "username": "alice"}, rotated]
        assert await take(other, 1) == [EVERYBODY]


async def test_a_reader_that_does_not_keep_up_is_told_once_that_everybody_changed():
    all_streams = Changes()
    with all_streams.stream("team") as stream:
        all_streams.everywhere({"type": "ca", "ca": "PEM"})
        for number in range(MAX_WAITING):
            all_streams.changed("team", f"user-{number}")
        last = {"type": "changed", "username": f"user-{MAX_WAITING - 1}"}
        assert await take(stream, 3) == [{"type": "ca", "ca": "PEM"}, EVERYBODY, last]


async def test_a_service_account_is_news_in_its_namespace_and_is_not_lost_when_a_reader_does_not_keep_up():
    all_streams = Changes()
    with all_streams.stream("team") as team, all_streams.stream("other") as other:
        for _ in range(3):
            all_streams.account_changed("team")
        for number in range(MAX_WAITING):
            all_streams.changed("team", f"user-{number}")
        all_streams.changed("other", None)
        assert (await take(team, 3))[:2] == [EVERYBODY, ENVIRONMENT]
        assert await take(other, 1) == [EVERYBODY]


async def test_silence_is_filled_with_heartbeats(monkeypatch):
    monkeypatch.setattr(changes, "HEARTBEAT_SECONDS", 0)
    with Changes().stream("team") as stream:
        assert await take(stream, 2) == [HEARTBEAT, HEARTBEAT]


async def test_a_closed_stream_ends_after_what_waits():
    all_streams = Changes()
    with all_streams.stream("team") as stream:
        all_streams.changed("team", "alice")
        all_streams.close()
        assert [message async for message in stream.messages()] == [{"type": "changed", "username": "alice"}]


async def test_a_stream_that_ended_is_forgotten():
    all_streams = Changes()
    with pytest.raises(RuntimeError), all_streams.stream("team"):
        raise RuntimeError
    assert len(all_streams) == 0
