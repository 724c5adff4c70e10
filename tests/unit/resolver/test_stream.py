"""What a line of the broker's stream does."""

import asyncio
from types import SimpleNamespace

import pytest

from cube_oauth.resolver import stream


class Upstream:
    """Says its lines, then nothing more."""

    def __init__(self, *lines):
        self.lines = lines
        self.trusted = []
        self.said = asyncio.Event()

    def trust(self, ca):
        self.trusted.append(ca)

    async def changes(self):
        for line in self.lines:
            yield line
        self.said.set()
        await asyncio.Event().wait()


class Resolver:
    def __init__(self):
        self.told = []
        self.environment = SimpleNamespace(take=lambda new: self.told.append(("env", new.values, new.revisions)))

    def connected(self):
        self.told.append("connected")

    def rotated(self, username):
        self.told.append(("rotated", username))

    def changed(self, username):
        self.told.append(("changed", username))


async def after(*lines):
    upstream, resolver = Upstream(*lines), Resolver()
    following = asyncio.create_task(stream.follow(upstream, resolver))
    async with asyncio.timeout(10):
        await upstream.said.wait()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return upstream, resolver


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"type": "hello"}, ["connected"]),
        ({"type": "changed", "username": "alice"}, [("changed", "alice")]),
        ({"type": "changed", "username": "alice", "rotated": True}, [("rotated", "alice")]),
        ({"type": "changed"}, [("changed", None)]),
        ({"type": "changed", "rotated": True}, [("changed", None)]),
        ({"type": "changed", "username": 1, "rotated": True}, [("changed", 1)]),
        ({"type": "env", "values": {"A": "x", "B": None}}, [("env", {"A": "x", "B": None}, {})]),
        ({"type": "env", "values": {"A": "x"}, "revisions": {"A": 3, "B": "no"}}, [("env", {"A": "x"}, {"A": 3})]),
        ({"type": "env"}, []),
        ({"type": "heartbeat"}, []),
        ({"type": "of a newer broker"}, []),
    ],
)
async def test_only_a_newer_token_of_a_named_person_is_a_rotation(line, told):
    _, resolver = await after(line)
    assert resolver.told == told


async def test_the_authority_is_trusted_before_anything_else_is_done():
    upstream, _ = await after({"type": "hello", "ca": "first"}, {"type": "ca", "ca": "second"})
    assert upstream.trusted == ["first", "second"]
