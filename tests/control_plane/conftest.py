"""One API server for the session with our kinds installed, and a namespace for each test."""

import subprocess
import uuid
from pathlib import Path

import pytest

from tests.cluster import ControlPlane, binaries
from tests.control_plane.harness import CLIENTS, REDIRECT_URI, SERVICE_KEYS, SERVICE_SECRET, Installation, KubeApi, eventually
from tests.parts.certificates import self_made
from tests.parts.provider import Provider, app_client, service_client

CRDS = Path(__file__).resolve().parents[2] / "crds"


@pytest.fixture(scope="session")
def control_plane():
    with ControlPlane(f"tests-{uuid.uuid4().hex[:8]}") as cluster:
        for crd in sorted(CRDS.glob("*.yaml")):
            cluster.kubectl("apply", "--server-side", "-f", str(crd))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        yield cluster


@pytest.fixture(scope="session")
def kubectl(control_plane):
    """kubectl as the administrator; ``check=False`` gives the process instead of raising."""
    program = binaries.ensure(binaries.CONTROL_PLANE)["kubectl"]
    command = [str(program), "--kubeconfig", str(control_plane.kubeconfig), "--cache-dir", str(control_plane.folder / "kubectl")]

    def run(*arguments, input=None, check=True):  # noqa: A002 - as subprocess names it
        return subprocess.run([*command, *arguments], input=input, check=check, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def namespace(kubectl):
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    eventually(lambda: kubectl("get", "serviceaccount", "default", "-n", name, check=False).returncode == 0)  # made a moment later
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def provider_certificate(tmp_path_factory):
    return self_made(tmp_path_factory.mktemp("provider-tls"), "127.0.0.1")


@pytest.fixture(scope="session")
def shared_provider(tmp_path_factory, provider_certificate):
    with Provider(clients=_clients(), certificate=provider_certificate, folder=tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture
def remembering_provider(tmp_path, provider_certificate):
    """One that asks a person for consent once, and makes one grant of all sign-ins of a browser."""
    settings = {"clients": _clients(), "certificate": provider_certificate, "folder": tmp_path / "remembering"}
    with Provider(**settings, remember_consent=True) as running:
        yield running


def _clients():
    people = [app_client(name, [REDIRECT_URI], client_secret=secret) for name, secret in CLIENTS.items()]
    jwks = {"keys": [key.as_dict(private=False) for key in SERVICE_KEYS]}
    by_key = {"subject": "cube-service-account", "token_endpoint_auth_method": "private_key_jwt", "jwks": jwks}
    by_secret = service_client("warehouse-account", SERVICE_SECRET, subject="cube-service-account")
    return [*people, by_secret, service_client("warehouse-key", **by_key)]


@pytest.fixture
def provider(shared_provider):
    """The provider, healthy and with nobody signed in."""
    shared_provider.control.heal()
    shared_provider.control.lifetimes(accessToken=60, refreshToken=86_400, signIn=0, clientCredentials=86_400)
    shared_provider.control.revoke()
    shared_provider.control.reset_stats()
    return shared_provider


@pytest.fixture
def installation(control_plane, provider, tmp_path):
    made = Installation(KubeApi(control_plane), control_plane, provider, tmp_path, f"test-{uuid.uuid4().hex[:8]}")
    yield made
    made.end()
