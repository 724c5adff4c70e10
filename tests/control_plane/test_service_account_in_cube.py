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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from cube_oauth.resources.accounts import AccountSecret
from cube_oauth.resources.names import RESOLVER_AUDIENCE
from tests.control_plane.brokers import Running
from tests.control_plane.harness import ROOT, SECRETS, SERVICE_SECRET, eventually
from tests.hook import drivers
from tests.parts import cube as cubes
from tests.parts import web
from tests.parts.cube import Cube, LoadError
from tests.parts.processes import free_port
from tests.parts.services import digest
from tests.parts.services.clickhouse import REFUSED, ClickHouse
from tests.parts.warehouse import RefusedError, Warehouse

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(900)]
HOOK = ROOT / "operator/cube_oauth/injection/hook.cjs"
SERVICE, VARIABLE = "cube-service-account", "CUBEJS_DB_TRINO_TOKEN"
LIFETIME, SECONDS = (
    float(os.environ.get(name, usual)) for name, usual in (("ROTATION_LIFETIME", "15"), ("ROTATION_SECONDS", "25"))
)
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
def account(request, installation, provider):
    """An app whose service account lives for a moment; or, beside a warehouse that can revoke it, for long."""
    provider.control.lifetimes(clientCredentials=3600 if "clickhouse" in request.fixturenames else LIFETIME)
    installation.start()
    installation.client_secret("account", SERVICE_SECRET, consent="trino")
    own = {"clientID": "warehouse-account", "clientSecretRef": {"name": "account-client"}, "scopes": ["query"]}
    soon = {"percentOfLifetime": 40}  # so that a busy machine has seconds to bring the next token to Cube
    installation.app(serviceAccount={"clientCredentials": own, "env": {VARIABLE: "accessToken"}}, refresh=soon)
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
        until = time.monotonic() + max(SECONDS, LIFETIME + 1)  # the first token is over then
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


class Trusting(ClickHouse):
    """Lets the service account in with whatever the provider gave it, but for tokens that were revoked."""

    def shown(self, credential, kind, **about):
        if digest(credential) not in self._refusals:
            self.knows(credential, SERVICE)
        return super().shown(credential, kind, **about)

    def revoked(self):
        """How often such a token was shown all the same."""
        return self.logged_in(SERVICE, accepted=False)


@pytest.fixture
def clickhouse(account, sidecar, tmp_path):
    """Cube and a warehouse that can revoke a token."""
    project = drivers.project(tmp_path / "project", ROOT / "tests/control_plane")
    (project / "cube.js").write_text(CONFIGURATION)
    with Trusting(tmp_path / "clickhouse") as service:
        env = {"CUBEJS_DB_TYPE": "clickhouse", "CLICKHOUSE_PORT": str(service.port), VARIABLE: account}
        socket = SimpleNamespace(path=sidecar["CUBE_OAUTH_SOCKET"])
        env["CUBE_OAUTH_SERVICE_ACCOUNT"] = VARIABLE
        with drivers.cube(project, socket, tmp_path, env, {}, service.certificate.ca) as cube:
            yield SimpleNamespace(service=service, cube=cube)


CONFIGURATION = f"""
const server = {{ type: 'clickhouse', protocol: 'https:', host: '127.0.0.1', port: Number(process.env.CLICKHOUSE_PORT) }};
module.exports = {{ driverFactory: () => ({{ ...server, username: '{SERVICE}', password: process.env.{VARIABLE} }}) }};
"""


def age(installation, by=timedelta(minutes=1)):
    """A minute passes since the token was fetched: of a quite young one the operator would fetch no other."""
    [found] = installation.stored("account")
    secret = AccountSecret.from_kubernetes(found)
    record = secret.record.model_copy(update={"issued_at": secret.record.issued_at - by})
    path = f"{SECRETS.format(installation.tokens)}/{secret.name}"
    installation.kube.ask("PUT", path, replace(secret, record=record).to_kubernetes(installation.tokens))


def test_a_token_that_the_warehouse_revokes_is_replaced_once_for_all_queries_and_soon_afterwards_not_again(
    installation, provider, clickhouse
):
    service, cube = clickhouse.service, clickhouse.cube
    first = token(installation)
    assert cube.whoami(None) == SERVICE
    age(installation)
    provider.control.reset_stats()
    service.refuses(first, REFUSED)
    with ThreadPoolExecutor(WORKERS) as pool:
        assert list(pool.map(lambda _: cube.whoami(None), range(4 * WORKERS))) == [SERVICE] * 4 * WORKERS
    second = eventually(lambda: (now := token(installation)) != first and now, say=installation.tell)  # Cube hears of it first
    assert provider.control.stats()["issued"]["client_credentials"] == 1
    age(installation, -timedelta(minutes=1))  # it stays quite young, however long the queries take
    seen = service.revoked()
    service.refuses(second, REFUSED)
    for _ in range(5):
        with pytest.raises(LoadError):
            cube.whoami(None)
    assert provider.control.stats()["issued"]["client_credentials"] == 1
    assert service.revoked() - seen <= 5, "and the warehouse is not logged in to again and again"
    said = cube.said()
    assert not any(value in said for value in (first, second))
