"""The JavaScript half of Cube's SQL API, as its native half calls it; the Postgres wire itself is native and not here."""

import json
from collections.abc import Mapping
from typing import Any

from tests.parts import web
from tests.parts.cube import Cube

META = {"protocol": "postgres", "apiType": "sql", "appName": "psql"}


def log_in(cube: Cube, user: str, password: str | None) -> dict[str, Any]:
    """Open a session: what `checkSqlAuth` says to this user and password, `error` or `result`.

    `method` is what a client that sends its password in clear text (over TLS) makes Cube ask for.
    """
    request = {"protocol": "postgres", "method": "password"}
    return call(cube, "checkSqlAuth", {"request": {"id": "sql-1", "meta": META} | request, "user": user, "password": password})


def load(cube: Cube, context: Mapping[str, Any], query: Mapping[str, Any], *, streaming: bool = False) -> dict[str, Any]:
    """Run one statement in a session with this security context: `rows` or `error`."""
    session = {"user": "x", "superuser": False, "securityContext": context}
    request = {"id": "sql-1", "meta": META}
    extra = {"request": request, "session": session, "query": {"measures": []} | dict(query), "queryKey": [1], "sqlQuery": None}
    return call(cube, "sqlApiLoad", extra | {"streaming": streaming, "cacheMode": "stale-if-slow"})


def call(cube: Cube, function: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Call one of the functions that Cube registers with its native half."""
    body = json.dumps({"fn": function, "extra": extra}).encode()
    url = f"http://127.0.0.1:{cube.environment['CUBE_NATIVE_SQL_PROBE']}"
    return web.request("POST", url, body=body, timeout=60).json()
