"""A service account that rotates under load, with all parts real but the pod: API server, provider, Trino, Cube with the hook.

ROTATION_LIFETIME and ROTATION_SECONDS (how long a token lives, how long this goes on) make it longer than the suite has time for.
"""

import base64
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from cube_oauth.resources.names import RESOLVER_AUDIENCE
from tests.control_plane.brokers import Running
from tests.control_plane.harness import ROOT, SECRETS, SERVICE_SECRET, eventually
from tests.parts import cube as cubes
from tests.parts import web
from tests.parts.cube import Cube, LoadError
from tests.parts.processes import free_port
from tests.parts.warehouse import RefusedError, Warehouse

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(900)]
HOOK = ROOT / "operator/cube_oauth/injection/hook.cjs"
SERVICE, VARIABLE = "cube-service-account", "CUBEJS_DB_TRINO_TOKEN"
LIFETIME, SECONDS = (float(os.environ.get(name, usual)) for name, usual in (("ROTATION_LIFETIME", "9"), ("ROTATION_SECONDS", "25")))
WORKERS = 6


@pytest.fixture
def started(tmp_path):
    """Starts a process of ours, with its log; ends them all."""
    with ExitStack() as ending:

        def start(process, env, ready):
            log = ending.enter_context((tmp_path / f"{process}.log").open("ab"))
            common = {name: os.environ[name] for name in ("PATH", "HOME")} | {"PYTHONPATH": str(ROOT / "operator")}
            child = subprocess.Popen(
                [sys.executable, "-m", "cube_oauth", process], env=common | env, stdout=log, stderr=log, cwd=ROOT
            )
            ending.callback(child.wait)
            ending.callback(child.terminate)
            eventually(lambda: web.answers(ready), say=lambda: (tmp_path / f"{process}.log").read_text()[-3000:])

        yield start


@pytest.fixture
def account(installation, provider):
    """An app whose service account lives for a moment."""
    provider.control.lifetimes(clientCredentials=LIFETIME)
    installation.start()
    installation.client_secret("account", SERVICE_SECRET, consent="trino")
    own = {"clientID": "warehouse-account", "clientSecretRef": {"name": "account-client"}, "scopes": ["query"]}
    installation.app(serviceAccount={"clientCredentials": own, "env": {VARIABLE: "accessToken"}})
    return eventually(lambda: token(installation), say=installation.tell)


def token(installation):
    """What a pod that starts now is given."""
    found = installation.kube.get(f"{SECRETS.format(installation.tenant)}/trino-service-account")
    return found and base64.b64decode(found["data"][VARIABLE]).decode()


@pytest.fixture
def sidecar(installation, account, control_plane, kubectl, started, tmp_path):
    """The broker, and the resolver with a pod's token: gives the hook's environment."""
    kept = SimpleNamespace(ring=installation.ring("access"), kubeconfig=control_plane.kubeconfig, tokens=installation.tokens)
    broker = Running(kept, tmp_path, [installation.tenant])
    started("broker", broker.variables, f"http://127.0.0.1:{broker.ports[0]}/readyz")
    pod = kubectl("create", "token", "default", "-n", installation.tenant, f"--audience={RESOLVER_AUDIENCE}").stdout.strip()
    (tmp_path / "token").write_text(pod)
    port = free_port()
    variables = {
        "CUBE_OAUTH_SOCKET": str(tmp_path / "resolver.sock"),
        "CUBE_OAUTH_HOOK": str(tmp_path / "hook.cjs"),
        "CUBE_OAUTH_BROKER_URL": broker.url,
        "CUBE_OAUTH_CA": broker.ca,
        "CUBE_OAUTH_TOKEN_FILE": str(tmp_path / "token"),
        "CUBE_OAUTH_LISTEN": f"127.0.0.1:{port}",
    }
    started("resolver", variables, f"http://127.0.0.1:{port}/healthz")
    return {"CUBE_OAUTH_SOCKET": variables["CUBE_OAUTH_SOCKET"], "CUBE_OAUTH_USERNAME_CLAIM": "username"}


def test_a_service_account_that_rotates_under_load_fails_no_query_and_restarts_nothing(
    installation, provider, account, sidecar, tmp_path
):
    with ExitStack() as running:
        trino = running.enter_context(Warehouse(issuer=provider.issuer, jwks_ca=provider.ca, folder=tmp_path / "trino"))
        first = token(installation)
        env = cubes.warehouse_environment(host="127.0.0.1", port=trino.port, ca=str(trino.ca), token=first, user=SERVICE)
        cube = running.enter_context(
            Cube(env=env | sidecar | {"CUBE_OAUTH_SERVICE_ACCOUNT": VARIABLE}, preload=HOOK, folder=tmp_path)
        )
        seen, outcomes, over = {first}, Counter(), threading.Event()

        def ask(username):
            while not over.is_set():
                try:
                    outcomes[cube.whoami(username)] += 1
                except (LoadError, TimeoutError, OSError) as error:
                    outcomes[f"{type(error).__name__}: {error}"] += 1

        workers = [threading.Thread(target=ask, args=(name,)) for name in (None, "carol") * (WORKERS // 2)]
        for worker in workers:
            worker.start()
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or len(seen) < 3:
            seen.add(token(installation))
            time.sleep(0.1)
        over.set()
        for worker in workers:
            worker.join()
        with pytest.raises(RefusedError):
            trino.query(first, "SELECT 1")
        assert cube.whoami(None) == SERVICE
        print(f"{len(seen)} tokens, {outcomes.total()} queries, {dict(outcomes)}")
        assert set(outcomes) == {SERVICE}
        log = cube.log.read_text()
        assert log.count("the hook is in Cube") == 1, "one start"
        assert log.count("the service account rotated") >= len(seen) - 2
        assert not any(value in log for value in seen)
        assert not any(value in path.read_text() for value in seen for path in tmp_path.glob("*.log"))
