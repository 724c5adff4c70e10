"""Cubes before one PostgreSQL, and how people ask them: for measurements with queries that the warehouse really answers."""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp

from tests.hook.resolver import FakeResolver, active
from tests.parts import cube as cubes
from tests.parts.postgres import Postgres

ROOT = Path(__file__).parents[2]
HOOK = ROOT / "operator/cube_oauth/injection/hook.cjs"
PROJECT = ROOT / "tests/hook/sources"


@contextmanager
def warehouse(folder: Path, *people: str) -> Iterator[tuple[Postgres, FakeResolver, str]]:
    """A PostgreSQL, a resolver by which these people are connected to it, and the token that is the same for all of them."""
    with Postgres() as postgres, FakeResolver(folder / "resolver.sock") as resolver:
        token = postgres.token(*people)
        for username in people:
            resolver.set(username, postgres=active(token))
        yield postgres, resolver, token


def hook_environment(socket: Path) -> dict[str, str]:
    """What the hook reads."""
    return {"CUBE_OAUTH_SOCKET": str(socket), "CUBE_OAUTH_USERNAME_CLAIM": "username"}


@asynccontextmanager
async def session(url: str, username: str):
    """A client of Cube's REST API that is this person."""
    headers = {"Authorization": cubes.api_token(username, {"sub": username}), "Content-Type": "application/json"}
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(url, headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as client:
        yield client


async def load(client: aiohttp.ClientSession, *, cached: bool = False) -> tuple[str, float]:
    """As whom the warehouse saw a query, or the error's text; and the seconds of the last request."""
    nonce = {"member": "whoami.nonce", "operator": "notEquals", "values": [uuid.uuid4().hex]}
    body = json.dumps({"query": {"dimensions": ["whoami.who"], "filters": [] if cached else [nonce]}})
    while True:
        began = time.perf_counter()
        async with client.post("/cubejs-api/v1/load", data=body) as answer:
            content: Mapping = await answer.json()
        took = time.perf_counter() - began
        if content.get("error") != "Continue wait":
            return content["data"][0]["whoami.who"] if "data" in content else str(content["error"]), took
