"""The webhook harms nobody: pods are created in a loop while certificates rotate and brokers are replaced one by one.

No node runs here, so a TCP balancer stands in for the Service (a new connection goes to one of the replicas that are in it), and
this test for the kubelet (it puts a changed Secret into a replica's folder). API server, webhook configuration, certificates and
brokers are real.
"""

import asyncio
import json
import os
import random
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import yaml

from cube_oauth.controller.certificates import Certificates
from cube_oauth.kube.api import SECRETS
from cube_oauth.resources.secrets import decode
from tests.cluster import binaries
from tests.cluster.commands import run
from tests.control_plane.brokers import Running, eventually, new_tenant
from tests.control_plane.harness import ROOT, KubeApi

pytestmark = pytest.mark.control_plane

SERVICE = "cube-oauth-broker"
POD = {"metadata": {"generateName": "cube-", "labels": {"cubeoauth.dev/inject": "true"}}}
POD["spec"] = {"containers": [{"name": "cube", "image": "cubejs/cube"}]}


class Balancer:
    """The Service: each new connection to one of ``replicas``, chosen at random; what is connected stays so."""

    def __init__(self):
        self.replicas = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _connected(self, reader, writer):
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", random.choice(self.replicas))
        except (OSError, IndexError):
            writer.close()
            return
        await asyncio.gather(self._pump(reader, inner_writer), self._pump(inner_reader, writer))

    async def _pump(self, source, sink):
        with suppress(OSError):
            while chunk := await source.read(65536):
                sink.write(chunk)
                await sink.drain()
        sink.close()


class Broker:
    """A replica: a process of its own with its own copy of the mounted Secret."""

    def __init__(self, tenant, folder, secret):
        folder.mkdir()
        self.running = Running(tenant, folder, [tenant.namespace])
        self.port = self.running.ports[2]
        self.project(secret)
        command = (sys.executable, "-m", "cube_oauth", "broker")
        variables = {**os.environ, **self.running.variables, "PYTHONPATH": str(ROOT / "operator")}
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)

    def project(self, secret):
        """As the kubelet does."""
        folder = self.running.certificate.cert.parent
        for name, value in secret.items():
            (folder / name).write_text(value)

    async def serves(self, certificate):
        """Once new connections get this certificate."""
        wanted = ssl.PEM_cert_to_DER_cert(certificate)

        async def served():
            found = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", self.port))
            return ssl.PEM_cert_to_DER_cert(found) == wanted

        await eventually(served)


class Creation:
    """Creates pods one after another (dry runs, so that nothing piles up), until it is told to stop."""

    def __init__(self, kube, namespace):
        self.made, self.failed = 0, []
        self._kube, self._path, self._stop = kube, f"/api/v1/namespaces/{namespace}/pods?dryRun=All", threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                assert "initContainers" in self._kube.create(self._path, POD)["spec"]
            except (RuntimeError, AssertionError) as error:
                self.failed.append(str(error))
            self.made += 1

    async def goes_on(self, pods=20):
        """Until so many more were created."""
        until = self.made + pods

        async def enough():
            return self.made >= until

        await eventually(enough)

    def stop(self):
        self._stop.set()
        self._thread.join()


def configuration(tenant, port):
    """The chart's own, with the balancer's port."""
    helm, chart, values = binaries.ensure(("helm",))["helm"], ROOT / "charts/cube-oauth-operator", ROOT / "examples/values.yaml"
    command = [helm, "template", "cube-oauth", chart, "-n", tenant.namespace, "-f", values]
    rendered = run([*command, "--set", f"namespaces={{{tenant.namespace}}}", "--show-only", "templates/webhook.yaml"])
    found = yaml.safe_load(rendered)
    found["webhooks"][0]["clientConfig"]["service"]["port"] = port
    return found


@pytest.fixture
async def tenant(control_plane, kubectl, namespace, tmp_path):
    async with new_tenant(control_plane, kubectl, namespace, tmp_path) as made:
        made.kubeconfig = made.broker_kubeconfig()
        yield made


@pytest.fixture
async def service(tenant, kubectl):
    """The Service and the chart's webhook, before anybody serves."""
    async with Balancer() as balancer:
        found = configuration(tenant, balancer.port)
        name = {"name": SERVICE, "namespace": tenant.namespace}
        external = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": name,
            "spec": {"type": "ExternalName", "externalName": "localhost"},
        }
        kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [found, external]}))
        balancer.configuration = found["metadata"]["name"]
        yield balancer
        kubectl("delete", "mutatingwebhookconfiguration", balancer.configuration)


class Authority:
    """The controller's certificates, at a time that the test chooses."""

    def __init__(self, tenant, service):
        self._tenant = tenant
        self._now = datetime.now(UTC)
        installation = SimpleNamespace(namespace=tenant.namespace, named=lambda suffix: f"cube-oauth-{suffix}")
        settings = SimpleNamespace(installation=installation, broker_service=SERVICE, webhook=service.configuration)
        self._certificates = Certificates(tenant.admin, settings, SimpleNamespace(now=lambda: self._moment))

    async def at(self, **before_now):
        """What the broker's Secret holds after a look at that time."""
        self._moment = self._now - timedelta(**before_now)
        await self._certificates.reconcile()
        return decode(await self._tenant.admin.get(SECRETS, f"{SERVICE}-tls", self._tenant.namespace))


async def test_rotation_and_a_rolling_upgrade_refuse_no_pod(control_plane, tenant, service, tmp_path):
    authority = Authority(tenant, service)
    await authority.at(days=489)
    secret = await authority.at(days=22)
    brokers = [Broker(tenant, tmp_path / name, secret) for name in "ab"]
    creation = None
    try:
        for broker in brokers:
            await broker.running.ready()
        service.replicas = [broker.port for broker in brokers]
        await _injecting(control_plane, tenant)
        creation = Creation(KubeApi(control_plane), tenant.namespace)
        await creation.goes_on()

        new_authority = await authority.at(days=1, hours=12)
        assert (new_authority["tls.crt"], new_authority["ca.crt"]) != (secret["tls.crt"], secret["ca.crt"])
        assert new_authority["tls.crt"] == secret["tls.crt"], "nothing is signed by an authority that nobody has heard of"
        await creation.goes_on()
        new_leaf = await authority.at(hours=8)
        assert new_leaf["tls.crt"] != secret["tls.crt"]
        for broker in brokers:  # one has the new certificate while the other has the old one
            broker.project(new_leaf)
            await broker.serves(new_leaf["tls.crt"])
            await creation.goes_on()

        for number, old in enumerate(list(brokers)):  # maxSurge 1, maxUnavailable 0, preStop
            brokers.append(Broker(tenant, tmp_path / f"new-{number}", new_leaf))
            await brokers[-1].running.ready()
            service.replicas = [*service.replicas, brokers[-1].port]
            await creation.goes_on()
            service.replicas = [port for port in service.replicas if port != old.port]
            await creation.goes_on()
            old.process.terminate()
            assert await asyncio.to_thread(old.process.wait, 60) == 0
            await creation.goes_on()
        assert creation.failed == []
        assert creation.made >= 180
    finally:
        if creation:
            creation.stop()
        for broker in brokers:
            broker.process.kill()
            broker.process.wait()


async def _injecting(control_plane, tenant):
    """The API server reads webhook configurations with a delay."""
    kube, path = KubeApi(control_plane), f"/api/v1/namespaces/{tenant.namespace}/pods?dryRun=All"

    async def injects():
        with suppress(RuntimeError):
            return "initContainers" in (await asyncio.to_thread(kube.create, path, POD))["spec"]

    await eventually(injects)


async def _created(kube, path, body):
    """Whether it could be: Kubernetes makes a namespace's service account with a delay, and no pod before it."""
    with suppress(RuntimeError):
        return await asyncio.to_thread(kube.create, path, body)


async def test_while_nobody_serves_other_pods_are_made_and_the_namespace_can_be_deleted(control_plane, tenant, service, kubectl):
    """failurePolicy Fail, and no broker: only a labelled pod's creation waits for one."""
    kube, namespace = KubeApi(control_plane), f"/api/v1/namespaces/{tenant.namespace}"
    other = {"metadata": {"name": "other"}, "spec": POD["spec"]}
    await eventually(lambda: _created(kube, f"{namespace}/pods", other))

    async def refused():
        try:
            await asyncio.to_thread(kube.create, f"{namespace}/pods?dryRun=All", POD)
        except RuntimeError as error:
            return str(error)

    assert 'failed calling webhook "inject.cubeoauth.dev"' in await eventually(refused)
    kube.patch(f"{namespace}/pods/other", {"metadata": {"labels": {"cubeoauth.dev/inject": "true"}}})
    kube.delete(namespace)

    async def gone():
        return kube.get(namespace) is None

    await eventually(gone)
    kubectl("create", "namespace", tenant.namespace)  # the fixtures delete it
