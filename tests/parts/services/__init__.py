"""Services that cannot run here, as far as their log-in: each says afterwards which credential it was shown.

They compare credentials by hash and keep none. What is theirs is the protocol and the words of a refusal; as for SQL, a service
answers every column that Cube asks for with the name of whoever it let in.
"""

import functools
import gzip
import hashlib
import http.server
import json
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.parts.certificates import issued

REDIRECT = Path(__file__).with_name("redirect.cjs")  # preloaded, it sends a service's own host name to us
UNKNOWN = "nobody we know"


def digest(credential: str) -> str:
    return hashlib.sha256(credential.encode()).hexdigest()


@dataclass(frozen=True)
class LogIn:
    """Somebody showed a credential: whose it was, what kind, and whatever else came with it."""

    who: str
    kind: str
    accepted: bool
    about: dict[str, str] = field(default_factory=dict)


@dataclass
class Reply:
    """What goes back: JSON unless `body` is bytes."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """An endpoint for the length of a `with` block, with TLS when it has names of its own.

    Args:
        folder: Gets certificate and key.
        names: The host names of the certificate, besides 127.0.0.1.
    """

    def __init__(self, folder: Path, *names: str):
        self.certificate = issued(folder, "127.0.0.1", "localhost", *names)
        self.log_ins: list[LogIn] = []
        self.statements: list[tuple[str, str]] = []
        self.said: list[str] = []  # what must not be in anybody's log: session tokens
        self._holders: dict[str, str] = {}
        self._refusals: dict[str, Any] = {}
        self._once: dict[str, Any] = {}

    def __enter__(self) -> Self:
        handler = functools.partial(_Handler, self)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.cert, self.certificate.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def knows(self, credential: str, who: str) -> None:
        """Let in whoever shows this, under that name."""
        self._holders[digest(credential)] = who

    def refuses(self, credential: str, how: Any) -> None:
        """From now on answer whoever shows this with one of the service's own refusals."""
        self._refusals[digest(credential)] = how

    def fails_next(self, who: str, how: Any) -> None:
        """Answer the next statement of this person with a failure."""
        self._once[who] = how

    def logged_in(self, who: str, *, accepted: bool | None = None) -> int:
        """Count the log-ins of a person."""
        return sum(each.who == who and accepted in {None, each.accepted} for each in self.log_ins)

    def shown(self, credential: str, kind: str, **about: str) -> tuple[str, Any]:
        """Note a log-in; return whose it is, and the refusal if it is one."""
        key = digest(credential)
        who = self._holders.get(key, UNKNOWN)
        refusal = self._refusals.get(key) or (self.unknown if who == UNKNOWN else None)
        self.log_ins.append(LogIn(who, kind, refusal is None, about))
        return who, refusal

    unknown: Any = None  # the refusal of a credential that nobody has

    def failure(self, who: str, statement: str) -> Any:
        """Note a statement; return how it fails, if it does."""
        self.statements.append((who, statement))
        return self._once.pop(who, None) if columns(statement) else None

    def answer(self, request: Request) -> Reply:
        raise NotImplementedError


def columns(statement: str) -> list[str]:
    """Return the names that Cube gave to what it asks for; none for a statement of the driver's own."""
    return list(dict.fromkeys(re.findall(r"\b[a-z]+__[a-z_]+\b", re.split(r"\sFROM\b", statement, maxsplit=1)[0])))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, service: Service, *rest: Any):
        self.service = service
        super().__init__(*rest)

    def _serve(self) -> None:
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        reply = self.service.answer(Request(self.command, self.path, headers, body))
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in ({"Content-Type": "application/json"} | reply.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the standard library's names

    def log_message(self, *_args: object) -> None:
        pass


def until(true: Callable[[], bool], *, seconds: float = 60) -> bool:
    """Wait until it is true; say whether it became so."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
