"""Clocks two minutes wrong: controller, broker and sidecar as processes, each with a clock of its own, beside a real provider."""

import json
import socket
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from cube_oauth.resources.names import RESOLVER_AUDIENCE
from tests.control_plane import clocks
from tests.control_plane.clocks import WrongClock
from tests.control_plane.harness import ROOT, condition, eventually
from tests.parts import web
from tests.parts.certificates import self_made
from tests.parts.processes import Process, free_port

pytestmark = [pytest.mark.control_plane, clocks.needed]
WRONG = timedelta(minutes=2)
RIGHT = timedelta(0)


class Cube:
    """Broker and sidecar, and what Cube's hook asks for."""

    def __init__(self, installation, kubectl, folder, broker, sidecar):
        """``broker`` and ``sidecar``: by how much their clocks are ahead."""
        self._installation, self._folder = installation, folder
        self._running = ExitStack()
        certificate = self_made(folder / "tls", "localhost", "127.0.0.1")
        (folder / "tls" / "ca.crt").write_text(certificate.cert.read_text())
        (folder / "ring.json").write_text(installation.ring("access").to_json())
        token = kubectl("create", "token", "default", "-n", installation.tenant, f"--audience={RESOLVER_AUDIENCE}").stdout
        (folder / "token").write_text(token.strip())
        api = free_port()
        self._start(
            "broker",
            broker,
            CUBE_OAUTH_LISTEN_API=f"127.0.0.1:{api}",
            CUBE_OAUTH_LISTEN_WEBHOOK=f"127.0.0.1:{free_port()}",
            CUBE_OAUTH_TLS_DIR=str(folder / "tls"),
            CUBE_OAUTH_ACCESS_RING_FILE=str(folder / "ring.json"),
            CUBE_OAUTH_SIDECAR_IMAGE="registry.example/cube-oauth:1",
        )
        self._start(
            "resolver",
            sidecar,
            CUBE_OAUTH_SOCKET=str(folder / "resolver.sock"),
            CUBE_OAUTH_HOOK=str(folder / "hook.cjs"),
            CUBE_OAUTH_BROKER_URL=f"https://127.0.0.1:{api}",
            CUBE_OAUTH_CA=certificate.cert.read_text(),
            CUBE_OAUTH_TOKEN_FILE=str(folder / "token"),
        )

    def _start(self, name, ahead, **env):
        port = free_port()
        clock = WrongClock(self._folder / f"{name}.clock", ahead)
        settings = {**self._installation.env, **env, **clock.env, "CUBE_OAUTH_LISTEN": f"127.0.0.1:{port}"}
        command = [sys.executable, "-m", "cube_oauth", name]
        process = self._running.enter_context(Process(name, command, log=self._folder / f"{name}.log", env=settings, cwd=ROOT))
        process.wait_until(lambda: web.answers(f"http://127.0.0.1:{port}/readyz"), seconds=60)

    def ask(self, method="resolve", **more):
        """What the sidecar says about alice."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self._folder / "resolver.sock"))
            caller = {"username": "alice", "issuer": None, "assertion": None}
            line = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"caller": caller, **more}}
            connection.sendall(json.dumps(line).encode() + b"\n")
            with connection.makefile() as lines:
                answer = next(found for found in map(json.loads, lines) if found.get("id") == 1)
        result = answer.get("result", {"credentials": {}})
        return result["credentials"].get("trino", {"status": "unknown", **answer.get("error", {})})

    def until(self, status):
        """What it says once alice's credential is so."""

        def now():
            entry = self.ask()
            return entry if entry["status"] == status else None

        return eventually(now, say=lambda: f"{self.ask()} {self._installation.tell()}")

    def end(self):
        self._running.close()


@pytest.fixture
def processes(installation, kubectl, tmp_path):
    """Starts all three: by how much the clocks of controller, broker and sidecar are ahead."""
    running = []

    def start(controller=RIGHT, broker=RIGHT, sidecar=RIGHT, **spec):
        started = installation.start(**WrongClock(tmp_path / "controller.clock", controller).env)
        installation.app(**spec)
        running.append(Cube(installation, kubectl, tmp_path, broker, sidecar))
        return started, running[-1]

    yield start
    for one in running:
        one.end()


def ends(entry):
    return datetime.fromisoformat(entry["expiresAt"])


@pytest.mark.parametrize("wrong", [WRONG, -WRONG], ids=["ahead", "behind"])
def test_a_controller_whose_clock_is_wrong_serves_tokens_of_ten_minutes_and_renews_them(installation, provider, processes, wrong):
    provider.control.lifetimes(accessToken=600)
    _, cube = processes(controller=wrong)
    installation.connect("alice")
    entry = cube.until("active")
    by_its_clock = ends(entry) - datetime.now(UTC) - timedelta(minutes=10)
    assert abs(by_its_clock - wrong) < WRONG / 2  # its clock was wrong indeed, and it is the one that counts
    entry = cube.ask("invalidate", dataSource="trino", revision=1)
    assert (entry["status"], entry["revision"]) == ("active", 2)
    assert installation.status("alice")["state"] == "Active"
    assert provider.control.stats()["redeemedTwice"] == 0


@pytest.mark.parametrize("who", ["broker", "sidecar"])
def test_whoever_is_ahead_never_serves_what_has_ended_by_its_clock(installation, provider, processes, who):
    provider.control.lifetimes(accessToken=100)
    _, cube = processes(**{who: WRONG})
    installation.connect("alice")
    entry = cube.until("expired")
    assert "accessToken" not in entry
    assert installation.status("alice")["state"] == "Active"  # nobody else thinks so: a gap, in which the service account serves
    provider.control.lifetimes(accessToken=600)
    installation.connect("alice")
    assert cube.until("active")["accessToken"]


def test_whoever_is_behind_serves_too_long_only_while_no_controller_says_that_it_has_ended(installation, provider, processes):
    provider.control.lifetimes(accessToken=25)  # time enough to be seen, and to end the controller
    controller, cube = processes(broker=-WRONG, sidecar=-WRONG, scopes=["openid", "query"])
    installation.connect("alice")
    entry = cube.until("active")
    controller.terminate()
    eventually(lambda: datetime.now(UTC) > ends(entry) + timedelta(seconds=1))
    late = cube.ask()
    assert (late["status"], late["accessToken"]) == ("active", entry["accessToken"])  # the warehouse refuses it
    installation.start()
    assert "accessToken" not in cube.until("expired")
    assert condition(installation.look("alice"), "Active")["reason"] == "NoRefreshToken"


def test_what_the_warehouse_refuses_is_renewed_for_a_broker_and_a_sidecar_that_are_behind(installation, provider, processes):
    provider.control.lifetimes(accessToken=600)
    _, cube = processes(broker=-WRONG, sidecar=-WRONG)
    installation.connect("alice")
    cube.until("active")
    assert cube.ask("invalidate", dataSource="trino", revision=1)["revision"] == 2
    assert time.time() < ends(cube.ask()).timestamp()
