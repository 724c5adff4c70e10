"""Whoever is disconnected is disconnected at the provider: whatever was deleted, whoever was away, however long it takes."""

import base64
import ssl
import threading
from contextlib import contextmanager
from datetime import timedelta
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from tests.control_plane import clocks
from tests.control_plane.clocks import WrongClock
from tests.control_plane.harness import APPS, CLIENTS, CREDENTIALS, SECRETS, condition, eventually
from tests.parts.processes import free_port

pytestmark = pytest.mark.control_plane


def path(installation, credential):
    return f"{CREDENTIALS.format(installation.tenant)}/{credential['metadata']['name']}"


def delete_app(installation, name="trino"):
    installation.kube.delete(f"{APPS.format(installation.tenant)}/{name}")


def delete_client_secret(installation, name="trino"):
    installation.kube.delete(f"{SECRETS.format(installation.tenant)}/{name}-client")


def over(installation, provider):
    """Until the provider knows no sign-in any more, and nothing waits to be revoked."""
    eventually(lambda: provider.control.grants() == [], say=installation.tell)
    eventually(lambda: installation.stored("revocation") == [], say=installation.tell)


def reason(installation, username="alice"):
    return condition(installation.look(username), "Active")["reason"]


def test_suspending_revokes_and_removes_the_tokens_and_resuming_asks_for_a_new_sign_in(installation, provider):
    installation.start()
    installation.app()
    credential = installation.connect("alice")
    installation.kube.patch(path(installation, credential), {"spec": {"suspend": True}})
    installation.until("alice", "trino", lambda status: status["state"] == "Revoked")
    assert reason(installation) == "Suspended"
    over(installation, provider)
    assert installation.plain("alice") == (None, None)
    installation.kube.patch(path(installation, credential), {"spec": {"suspend": False}})
    eventually(lambda: reason(installation) == "SuspensionEnded", say=installation.tell)
    assert "authorizes again" in condition(installation.look("alice"), "Active")["message"]
    installation.connect("alice")
    assert installation.status("alice")["revision"] == 2


def test_an_app_that_is_deleted_with_its_secret_is_revoked_as_the_client_that_it_was(installation, provider):
    installation.start()
    installation.app()
    for person in ("alice", "bob"):
        installation.connect(person)
    delete_client_secret(installation)
    delete_app(installation)
    over(installation, provider)
    eventually(lambda: {reason(installation, person) for person in ("alice", "bob")} == {"AppNotFound"}, say=installation.tell)
    assert installation.plain("alice") == (None, None)
    installation.app()
    eventually(lambda: reason(installation) == "AppReplaced", say=installation.tell)
    installation.connect("alice")


def test_an_app_that_was_deleted_while_nobody_was_active_is_revoked_with_the_secret_that_it_left_behind(installation, provider):
    first = installation.start()
    installation.app()
    installation.connect("alice")
    first.terminate()
    delete_app(installation)
    installation.start()
    over(installation, provider)
    eventually(lambda: reason(installation) == "AppNotFound", say=installation.tell)


def test_an_app_that_was_created_anew_while_nobody_was_active_is_another_app(installation, provider):
    first = installation.start()
    installation.app()
    installation.connect("alice")
    first.terminate()
    delete_app(installation)
    delete_client_secret(installation)
    installation.start(active=None)
    installation.app()
    over(installation, provider)
    eventually(lambda: reason(installation) == "AppReplaced", say=installation.tell)


def test_everything_deleted_at_once_is_revoked(installation, provider):
    installation.start()
    installation.app()
    credential = installation.connect("alice")
    delete_client_secret(installation)
    delete_app(installation)
    installation.kube.delete(path(installation, credential))
    over(installation, provider)
    eventually(lambda: installation.stored("token") == [], say=installation.tell)


@contextmanager
def revocation_endpoint(port, certificate):
    """A provider's revocation endpoint; gives the forms that it was sent, and with which password."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            asked.append((form["token"][0], base64.b64decode(self.headers["Authorization"].split()[1]).decode()))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Answer) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        running = threading.Thread(target=server.serve_forever, args=(0.05,))
        running.start()
        yield asked
        server.shutdown()
        running.join()


def test_an_outage_of_the_provider_and_a_restart_cost_no_revocation(installation, provider, provider_certificate):
    first, port = installation.start(), free_port()
    installation.app(revocationURL=f"https://127.0.0.1:{port}/revoke")
    credential = installation.connect("alice")
    _, refresh_token = installation.plain("alice")
    delete_client_secret(installation)
    delete_app(installation)
    installation.kube.delete(path(installation, credential))

    def tried(controller):
        return any(line.get("reason") == "Unreachable" for line in controller.lines())

    eventually(lambda: tried(first), say=installation.tell)
    eventually(lambda: installation.stored("token") == [], say=installation.tell)
    first.terminate()
    second = installation.start()
    eventually(lambda: tried(second), say=installation.tell)
    with revocation_endpoint(port, provider_certificate) as asked:
        eventually(lambda: installation.stored("revocation") == [], say=installation.tell)
    assert asked == [(refresh_token, f"cube:{CLIENTS['cube']}")]
    assert refresh_token not in first.log.read_text() + second.log.read_text()


def attempts(controller, app, reason):
    """How often a revocation came to this, for one app."""
    lines = [line for line in controller.lines() if line.get("message") == "revocation" and line.get("app") == app]
    return len([line for line in lines if line["reason"] == reason])


@clocks.needed
def test_a_revocation_is_retried_for_days_until_it_is_taken_and_given_up_after_seven(
    installation, provider, provider_certificate, tmp_path
):
    """Two people leave while their providers' revocation endpoints are down; one comes back after six days, the other never."""
    clock, ports = WrongClock(tmp_path / "clock"), {"trino": free_port(), "other": free_port()}
    controller = installation.start(**clock.env)
    for (name, port), client in zip(ports.items(), CLIENTS, strict=True):
        installation.app(name, client, revocationURL=f"https://127.0.0.1:{port}/revoke")
        installation.kube.delete(path(installation, installation.connect("alice", name)))
    for name in ports:
        eventually(lambda name=name: attempts(controller, name, "Unreachable") >= 2, say=installation.tell)
    before = attempts(controller, "other", "Unreachable")
    with revocation_endpoint(ports["trino"], provider_certificate) as asked:
        clock.turn(timedelta(days=6))
        eventually(lambda: attempts(controller, "trino", "Revoked") == 1, say=installation.tell)
    assert len(asked) == 1
    eventually(lambda: attempts(controller, "other", "Unreachable") > before, say=installation.tell)
    assert len(installation.stored("revocation")) == 1
    clock.turn(timedelta(days=1))
    eventually(lambda: attempts(controller, "other", "GivenUp") == 1, say=installation.tell)
    assert installation.stored("revocation") == []
    assert 'reason="GivenUp"} 1.0' in controller.page("/metrics")[1]


def test_a_new_sign_in_ends_the_old_one_where_the_provider_keeps_them_apart(installation, provider):
    installation.start()
    installation.app(revokeReplaced="Always", refresh={"percentOfLifetime": 10, "requestsPerSecond": 1000})
    installation.connect("alice")
    before = {grant["id"] for grant in provider.control.grants()}
    installation.connect("alice")
    eventually(lambda: before.isdisjoint(grant["id"] for grant in provider.control.grants()), say=installation.tell)
    installation.until("alice", "trino", lambda status: status["revision"] > 2)
    assert provider.control.stats()["refused"] == {}


def test_a_sign_in_with_another_account_ends_the_old_one(installation, provider):
    installation.start()
    installation.app(subject={"source": "None"})
    installation.authorize("alice", as_person="bob")
    installation.until("alice", "trino", lambda status: status.get("revision") == 1)
    installation.connect("alice")
    eventually(lambda: [grant["username"] for grant in provider.control.grants()] == ["alice"], say=installation.tell)


def test_a_new_sign_in_of_the_same_session_survives_the_old_one(installation, remembering_provider):
    """This provider makes one grant of all sign-ins in one browser, and ends it with any of their tokens."""
    installation.provider, installation.cookies = remembering_provider, CookieJar()
    installation.start()
    installation.app(refresh={"percentOfLifetime": 10, "requestsPerSecond": 1000})
    for _ in range(2):
        installation.connect("alice")
    assert len(remembering_provider.control.grants()) == 1
    installation.until("alice", "trino", lambda status: status["revision"] > 2)
    assert remembering_provider.control.stats()["refused"] == {}
