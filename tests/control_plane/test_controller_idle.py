"""A credential that nobody has used is not refreshed, and the next query has its token all the same."""

import json
import ssl
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.control_plane.harness import ROOT, SECRETS, condition, eventually
from tests.parts.certificates import self_made
from tests.parts.processes import free_port

pytestmark = pytest.mark.control_plane
SPARING = {"onlyWhileUsedSeconds": 600, "requestsPerSecond": 1000}


PATIENT = """
import sys
from cube_oauth import __main__
from cube_oauth.broker import service
service.WAKE_SECONDS = 20
sys.exit(__main__.main(["broker"]))
"""
"""A broker that gives the controller of a busy machine more time than a query has."""


@contextmanager
def broker(installation, kubectl, folder, *command):
    """A broker process beside the controller; gives what resolves a person's credential, and how many seconds it took."""
    tls, ring, ports = self_made(folder / "broker-tls", "127.0.0.1"), folder / "ring.json", [free_port() for _ in range(3)]
    (folder / "broker-tls" / "ca.crt").write_text(tls.cert.read_text())
    ring.write_text(installation.ring("access").to_json())
    env = {
        **installation.env,
        "CUBE_OAUTH_LISTEN": f"127.0.0.1:{ports[0]}",
        "CUBE_OAUTH_LISTEN_API": f"127.0.0.1:{ports[1]}",
        "CUBE_OAUTH_LISTEN_WEBHOOK": f"127.0.0.1:{ports[2]}",
        "CUBE_OAUTH_TLS_DIR": str(folder / "broker-tls"),
        "CUBE_OAUTH_ACCESS_RING_FILE": str(ring),
        "CUBE_OAUTH_SIDECAR_IMAGE": "registry.example/cube-oauth:1",
    }
    account = ("-n", installation.tenant)
    kubectl("create", "serviceaccount", "cube", *account)
    token = kubectl("create", "token", "cube", *account, "--audience=broker.cubeoauth.dev").stdout.strip()
    context = ssl.create_default_context(cadata=tls.cert.read_text())

    def resolve(username):
        body = json.dumps({"caller": {"username": username, "assertion": None}}).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"https://127.0.0.1:{ports[1]}/v1/resolve", body, headers)
        began = time.monotonic()
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return json.loads(answer.read())["credentials"]["trino"], time.monotonic() - began

    def ready():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    with (folder / "broker.log").open("wb") as log:
        how = command or ("-m", "cube_oauth", "broker")
        child = subprocess.Popen([sys.executable, *how], env=env, stdout=log, stderr=log, cwd=ROOT)
    try:
        eventually(ready, say=(folder / "broker.log").read_text)
        yield resolve
    finally:
        child.terminate()
        child.wait(30)


def let_lapse(installation, username):
    """As if nobody had asked for a day."""
    token, day = installation.token(username), timedelta(days=1)
    now = datetime.now(UTC)
    times = {"signed_in_at": now - day, "issued_at": now - timedelta(hours=2), "expires_at": now - timedelta(hours=1)}
    lapsed = replace(token, record=token.record.model_copy(update=times), access_token=None)
    installation.kube.ask("PUT", f"{SECRETS.format(installation.tokens)}/{token.name}", lapsed.to_kubernetes(installation.tokens))


@pytest.fixture
def idle(installation):
    first = installation.start()
    installation.app(refresh=SPARING)
    installation.connect("alice")
    first.terminate()
    let_lapse(installation, "alice")
    installation.start()
    eventually(lambda: condition(installation.look("alice"), "Active")["reason"] == "Idle", say=installation.tell)
    return installation


def test_the_next_query_gets_a_token_and_not_the_service_account(idle, provider, kubectl, tmp_path):
    assert "refresh_token" not in provider.control.stats()["issued"]
    with broker(idle, kubectl, tmp_path, "-c", PATIENT) as resolve:
        entry, seconds = resolve("alice")
        print(f"an idle credential was there after {seconds:.3f} s")
        assert (entry["status"], entry["revision"]) == ("active", 2)
        assert entry["accessToken"] == idle.plain("alice")[0]
    idle.until("alice", "trino", lambda status: status["state"] == "Active" and status["demand"]["lastUsedAt"])
    assert provider.control.stats()["issued"]["refresh_token"] == 1


def test_when_no_token_comes_in_time_the_answer_does(idle, provider, kubectl, tmp_path):
    provider.control.fail(10_000, status=503)
    with broker(idle, kubectl, tmp_path) as resolve:
        entry, _ = resolve("alice")
        assert entry["status"] == "expired"
        assert "accessToken" not in entry
        provider.control.heal()
        assert eventually(lambda: resolve("alice")[0]["status"] == "active", say=idle.tell)
