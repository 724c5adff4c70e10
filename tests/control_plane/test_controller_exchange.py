"""A warehouse that gives its own token for the provider's (RFC 8693), with a provider whose refresh tokens work once."""

import itertools
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from tests.control_plane.harness import condition, eventually

pytestmark = pytest.mark.control_plane


class Warehouse:
    """Exchanges every token, except while it is told not to."""

    def __init__(self, tls):
        self.asked, self.failures, self.seconds, self._numbers = [], [], 60, itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls["cert"], tls["key"])
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}/oauth/token"

    def answer(self, form):
        self.asked.append(form)
        if self.failures:
            return self.failures.pop(0)
        return 200, {"access_token": f"warehouse-{next(self._numbers)}", "expires_in": self.seconds}

    def _handler(warehouse):  # noqa: N805 - self is the handler's
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                status, body = warehouse.answer({name: values[0] for name, values in form.items()})
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        return Handler

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def warehouse(provider):
    with Warehouse(provider.configuration["tls"]) as running:
        yield running


@pytest.fixture
def running(installation, warehouse):
    installation.start()
    early = {"percentOfLifetime": 10, "requestsPerSecond": 1000}
    installation.app(tokenExchange={"tokenURL": warehouse.url, "audience": "warehouse"}, refresh=early)
    return installation


def test_what_is_stored_is_the_warehouses_token_and_an_outage_of_it_costs_no_sign_in(running, warehouse, provider):
    warehouse.seconds = 30  # renewed after two or three
    running.connect("alice")
    assert running.plain("alice")[0].startswith("warehouse-")
    assert warehouse.asked[0]["audience"] == "warehouse"
    revision = running.status("alice")["revision"]
    warehouse.failures = [(503, {}), (400, {"error": "invalid_request"})]
    eventually(lambda: not warehouse.failures, say=running.tell)
    running.until("alice", "trino", lambda status: status["revision"] >= revision + 2 and status["state"] == "Active")
    stats = provider.control.stats()
    assert (stats["redeemedTwice"], stats["reuseDetected"]) == (0, 0)
    assert stats["issued"]["refresh_token"] >= revision + 3  # those that were exchanged, and the two that were not


def test_a_person_whom_the_warehouse_does_not_know_is_told_so_and_left_with_nothing(running, warehouse, provider):
    warehouse.failures = [(400, {"error": "invalid_request"})]
    running.authorize("alice")
    said = eventually(lambda: condition(running.look("alice"), "Authorized")["reason"], say=running.tell)
    assert said == "TokenNotExchanged"
    eventually(lambda: provider.control.grants() == [])
