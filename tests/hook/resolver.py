"""A resolver that does what a test says, speaking docs/reference/protocols.md over a unix socket."""

import contextlib
import json
import socketserver
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

Sources = dict[str, dict[str, Any]]
MISSING = {"status": "missing", "reason": "NotConnected", "fallback": "ServiceAccount"}


def active(token: str, **more: Any) -> dict[str, Any]:
    """Return an active credential that lasts an hour."""
    ends = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    own = {"status": "active", "reason": "Active", "accessToken": token, "expiresAt": ends, "revision": 1, "grant": "g1"}
    return own | {"authorizeURL": "https://portal.example/authorize", "fallback": "ServiceAccount"} | more


class FakeResolver:
    """Serves `sources` by username for the length of a `with` block; whoever is not in it has not connected.

    The sources of "" are for whoever is not named.
    """

    def __init__(self, path: Path):
        self.path = path
        self.sources: dict[str, Sources] = {}
        self.requests: list[dict[str, Any]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.on_invalidate: Callable[[dict[str, Any]], None] = lambda _params: None
        self._connections: list[Any] = []
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        self.path.unlink(missing_ok=True)
        resolver = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                resolver._connections.append(self.connection)
                for line in self.rfile:  # answers come in any order: a forced refresh holds up nobody else
                    request = json.loads(line)
                    threading.Thread(target=resolver._answer, args=(self.connection, request), daemon=True).start()

        self._server = socketserver.ThreadingUnixStreamServer(str(self.path), Connection)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.socket.close()
        for connection in self._connections:
            connection.close()

    def set(self, username: str, **sources: dict[str, Any]) -> None:
        """Give a person these credentials and tell the hook; "" is whoever is not named, who changes with everybody."""
        self.sources[username] = sources
        self._tell({"method": "changed", "params": {"username": username} if username else {}})

    def environment(self, values: dict[str, str]) -> None:
        """Say what service accounts fill in Cube's environment from now on."""
        self._tell({"method": "env", "params": {"values": values}})

    def asked(self, method: str, username: str) -> int:
        """Count the requests about a person."""
        return sum(request["method"] == method and _username(request) == username for request in self.requests)

    def _answer(self, connection: Any, request: dict[str, Any]) -> None:
        if request["method"] == "count":
            self.counts.update(
                {(kind, what): times for kind, counts in request["params"].items() for what, times in counts.items()}
            )
            return
        self.requests.append(request)
        if request["method"] == "invalidate":
            self.on_invalidate(request["params"])
        username = _username(request)
        result = ({"username": username} if username else {}) | {"credentials": self.sources.get(username, {"trino": MISSING})}
        self._send(connection, {"id": request["id"], "result": result})

    def _tell(self, message: dict[str, Any]) -> None:
        for connection in self._connections:
            self._send(connection, message)

    def _send(self, connection: Any, message: dict[str, Any]) -> None:
        with self._writing, contextlib.suppress(OSError):  # a Cube that has ended
            connection.sendall(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")


def _username(request: dict[str, Any]) -> str:
    return (request["params"]["caller"] or {"username": ""})["username"]
