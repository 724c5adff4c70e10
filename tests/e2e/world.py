"""The demo's world on a cluster: a provider, a warehouse, the operator by its chart, and a Cube with one label."""

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Any

from tests.cluster import Cluster, ClusterError, binaries, images
from tests.cluster.commands import run
from tests.cluster.images import Image
from tests.cluster.progress import step
from tests.parts import certificates, cube, provider, warehouse, web
from tests.parts.images import ImageContent

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = Path(__file__).parent / "manifests"
CHART = ROOT / "charts/cube-oauth-operator"
RELEASE = "cube-oauth"
NAMESPACES = ("identity", "warehouse", "analytics", RELEASE)
PORTAL_PORT, PROVIDER_PORT, CUBE_PORT, CONTROL_PORT = 30443, 30444, 30400, 30910
SERVICE_ACCOUNT = "cube-service-account"
PEOPLE = ("alice", "bob", "carol")
PART_PACKAGES = ("libstdc++6", "openjdk-17-jre-headless")


@dataclass(frozen=True)
class Images:
    """The names under which the cluster knows the images."""

    operator: str
    provider: str
    warehouse: str
    cube: str


def make_images() -> dict[str, Image]:
    """Build what is not in the cache: the operator's image from its Dockerfile, the parts' from packages."""
    parts_base = images.base_image(*PART_PACKAGES)

    def part(name: str, content: ImageContent) -> Image:
        return images.layered(
            f"localhost/cube-oauth-{name}", parts_base, content.folders, content.command, content.env, str(content.user)
        )

    return {
        "operator": operator_image(),
        "provider": part("provider", provider.image_content()),
        "warehouse": part("warehouse", warehouse.image_content()),
        "cube": part("cube", cube.image_content()),
    }


def operator_image() -> Image:
    """The operator's image, built from the project's Dockerfile."""
    return images.from_dockerfile(ROOT, images.base_image(), "localhost/cube-oauth-operator")


def in_cluster(cluster: Cluster) -> Images:
    """Bring the images to the cluster. One that pulls its images gets them from IMAGE_REPOSITORY (see CONTRIBUTING)."""
    if repository := os.environ.get("IMAGE_REPOSITORY"):
        tag = os.environ.get("IMAGE_TAG", "dev")
        return Images(*(f"{repository}/cube-oauth-{name}:{tag}" for name in ("operator", "provider", "warehouse", "cube")))
    made = make_images()
    for image in made.values():
        with step(f"importing {image.ref}"):
            cluster.load_image(image.archive)
    return Images(**{name: image.ref for name, image in made.items()})


class World:
    """Everything that the story happens in. Built by ``build`` on a cluster that is up; gone with the cluster.

    Args:
        cluster: one that is up.
        folder: for certificates and screenshots.
        token_seconds: lifetime of people's access tokens.
    """

    def __init__(self, cluster: Cluster, folder: Path, token_seconds: int = 60) -> None:
        self.cluster = cluster
        self.folder = folder
        self.token_seconds = token_seconds
        self.portal_url = f"https://{cluster.address}:{PORTAL_PORT}"
        self.issuer = f"https://{cluster.address}:{PROVIDER_PORT}"
        self.cube_url = f"http://{cluster.address}:{CUBE_PORT}"
        self.control = provider.Control(f"http://{cluster.address}:{CONTROL_PORT}")

    # ---- building

    def build(self, names: Images) -> None:
        """Deploy everything, in the order in which a person would, and wait until it is there."""
        self.namespaces()
        with step("deploying the OpenID provider and Trino"):
            self._deploy_provider(names.provider)
            self._deploy_warehouse(names.warehouse)
        with step("installing the operator with its Helm chart"):
            self.install(names.operator)
        with step("deploying Cube with the documented cube.js and one label"):
            self._deploy_cube(names.cube)

    def namespaces(self) -> None:
        """Make those that everything lies in."""
        for namespace in NAMESPACES:
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    @cached_property
    def certificate(self) -> certificates.Certificate:
        """One certificate for the demo's servers, and its own authority."""
        found = self.folder / "tls"
        if (found / "tls.key").exists():
            return certificates.Certificate(cert=found / "tls.crt", key=found / "tls.key", ca=found / "tls.crt")
        return certificates.self_made(found, self.cluster.address, "provider.identity.svc", "trino.warehouse.svc")

    def _deploy_provider(self, image: str) -> None:
        self._tls_secret("identity", "tls")
        self.secret("identity", "provider", {"config": json.dumps(self._provider_configuration())})
        self._manifest("provider", provider_image=image, provider_port=PROVIDER_PORT, control_port=CONTROL_PORT)
        self.rollout("identity", "provider")

    def _provider_configuration(self) -> dict[str, Any]:
        return provider.configuration(
            self.issuer,
            clients=[
                provider.log_in_client("cube-portal", self._word("log-in"), [f"{self.portal_url}/login/callback"]),
                provider.app_client(
                    "cube-trino",
                    [f"{self.portal_url}/callback/analytics/trino"],
                    client_secret=self._word("client"),
                    client_name="Cube",
                ),
                provider.service_client(SERVICE_ACCOUNT, self._word("service")),
            ],
            users=PEOPLE,
            tls=("/tls/tls.crt", "/tls/tls.key"),
            control=("0.0.0.0", provider.CONTAINER_CONTROL_PORT),
            access_token_seconds=self.token_seconds,
        )

    def _deploy_warehouse(self, image: str) -> None:
        self._tls_secret("warehouse", "tls")
        env = warehouse.environment(
            issuer=self.issuer, jwks=f"{self.issuer}/jwks", jwks_ca="/tls/tls.crt", tls=("/tls/tls.crt", "/tls/tls.key")
        )
        self._manifest("warehouse", warehouse_image=image, warehouse_env=_env(env))
        self.rollout("warehouse", "trino")

    def install(self, image: str) -> None:
        """``helm upgrade --install`` with the values that a person would set."""
        self._tls_secret(RELEASE, "portal-tls")
        self.secret(RELEASE, "portal-login", {"clientSecret": self._word("log-in")})
        self._ca(RELEASE)
        repository, _, tag = image.rpartition(":")
        values = {
            "portal": {
                "url": self.portal_url,
                "tlsSecretName": "portal-tls",
                "service": {"type": "NodePort", "port": 443, "nodePort": PORTAL_PORT},
            },
            "login": {"issuer": self.issuer, "clientID": "cube-portal", "clientSecret": {"name": "portal-login"}},
            "namespaces": ["analytics"],
            "provider": {"caConfigMap": {"name": "demo-ca"}},
            "image": {"repository": repository, "tag": tag},
        }
        self.helm("upgrade", "--install", RELEASE, str(CHART), "--wait", "--timeout", "180s", values=values)

    def helm(self, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
        """Run Helm in the release's namespace."""
        command = [binaries.ensure(("helm",))["helm"], "--kubeconfig", self.cluster.kubeconfig, "--namespace", RELEASE, *arguments]
        return run([*command, "--values", "-"] if values else command, text_in=json.dumps(values) if values else None)

    def _deploy_cube(self, image: str) -> None:
        self._ca("analytics")
        self.secret("analytics", "trino-oauth", {"clientSecret": self._word("client")}, {"cubeoauth.dev/oauth-client": "trino"})
        self.secret("analytics", "trino-service-account", {"token": self.service_account_token()})
        self._manifest("oauthapp", issuer=self.issuer)
        self.wait_for("analytics", "oauthapp/trino", "Ready")
        env = {"CUBEJS_API_SECRET": cube.API_SECRET} | cube.warehouse_environment(
            host="trino.warehouse.svc", port=warehouse.CONTAINER_PORT, ca="/ca/ca.crt", token=None, user=SERVICE_ACCOUNT
        )
        self._manifest("cube", cube_image=image, cube_env=_env(env), cube_port=CUBE_PORT)
        self.rollout("analytics", "cube")

    def service_account_token(self) -> str:
        """The service account's own token, as an administrator would get it once (client credentials, 24 h)."""
        form = {"grant_type": "client_credentials", "client_id": SERVICE_ACCOUNT, "client_secret": self._word("service")}
        body = "&".join(f"{key}={value}" for key, value in form.items()).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = web.request("POST", f"{self.issuer}/token", body=body, headers=headers, ca=self.certificate.ca)
        return answer.json()["access_token"]

    # ---- asking

    def whoami(self, username: str, *, seconds: float = 120) -> str:
        """As whom the warehouse sees this person's query: its own answer, past every cache."""
        return cube.whoami(self.cube_url, None, {"sub": username}, seconds=seconds)

    def credential(self, username: str) -> dict[str, Any] | None:
        """This person's UserCredential, or None."""
        listed = json.loads(self.cluster.kubectl("get", "usercredentials", "-n", "analytics", "-o", "json"))["items"]
        return next((item for item in listed if item["spec"]["username"] == username), None)

    def revision(self, username: str) -> int:
        """How many access tokens this person's credential has had."""
        found = self.credential(username)
        return found["status"]["revision"] if found else 0

    def ends(self, username: str) -> str:
        """When this person's access token ends, as the credential says it; empty while there is none."""
        found = self.credential(username)
        return found["status"].get("expiresAt", "") if found else ""

    def lasting(self, username: str, seconds: int = 60) -> None:
        """From now on access tokens live so long; returns when this person has got such a one."""
        self.control.lifetimes(accessToken=seconds)
        eventually(f"a token of {seconds} s", lambda: self.ends(username) > timestamp(seconds * 3 // 4), 90)

    def restarts(self) -> int:
        """How often a container of ours or of Cube's was restarted or a pod replaced, since ``remember_pods``."""
        now = self._pods()
        replaced = len(set(self._known) - set(now))
        return replaced + sum(count - self._known.get(pod, 0) for pod, count in now.items())

    def remember_pods(self) -> None:
        """Count restarts from here."""
        self._known = self._pods()

    def _pods(self) -> dict[str, int]:
        found = {}
        for namespace in ("analytics", RELEASE):
            for pod in json.loads(self.cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]:
                status = pod["status"]
                containers = status.get("containerStatuses", []) + status.get("initContainerStatuses", [])
                found[pod["metadata"]["uid"]] = sum(container["restartCount"] for container in containers)
        return found

    def logs(self) -> str:
        """Everything that Cube, the sidecar and the operator have written so far."""
        return "".join(
            self.cluster.kubectl("logs", "-n", namespace, "--selector", selector, "--all-containers", "--tail=-1")
            for namespace, selector in (("analytics", "app=cube"), (RELEASE, "app.kubernetes.io/name=cube-oauth-operator"))
        )

    # ---- doing

    def apply(self, resource: Mapping[str, Any]) -> None:
        """Server-side apply."""
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text_in=json.dumps(resource))

    def secret(self, namespace: str, name: str, data: Mapping[str, str], labels: Mapping[str, str] | None = None) -> None:
        """Make a Secret, or change it."""
        metadata = {"name": name, "namespace": namespace, "labels": dict(labels or {})}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(data)})

    def rollout(self, namespace: str, name: str) -> None:
        """Wait until a Deployment is rolled out; say what its pods say when it is not."""
        try:
            self.cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=180s", timeout=200)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self.explain(namespace)}") from error

    def wait_for(self, namespace: str, what: str, condition: str, seconds: int = 120) -> None:
        """Wait for a condition of a resource."""
        try:
            self.cluster.kubectl("wait", what, "-n", namespace, f"--for=condition={condition}", f"--timeout={seconds}s")
        except ClusterError as error:
            raise ClusterError(f"{error}\n{self.cluster.kubectl('get', what, '-n', namespace, '-o', 'yaml')}") from error

    def explain(self, namespace: str) -> str:
        """What a person would look at when something there does not start."""
        said = []
        for command in (["get", "pods,events", "-n", namespace, "-o", "wide"], ["describe", "pods", "-n", namespace]):
            with suppress(ClusterError):
                said.append(self.cluster.kubectl(*command)[-4000:])
        return "\n".join(said)

    def kill_controller(self) -> None:
        """End the controller's pod at once, as a lost node would, and wait for its successor."""
        selector = "app.kubernetes.io/component=controller"
        self.cluster.kubectl("delete", "pod", "-n", RELEASE, "--selector", selector, "--grace-period=0", "--force")
        self.rollout(RELEASE, f"{RELEASE}-controller")

    def scale(self, component: str, replicas: int) -> None:
        """Set the number of replicas of one of the operator's processes, and wait until it is so."""
        name = f"{RELEASE}-{component}"
        self.cluster.kubectl("scale", f"deployment/{name}", "-n", RELEASE, f"--replicas={replicas}")
        self.rollout(RELEASE, name)
        if not replicas:
            selector = f"app.kubernetes.io/component={component}"
            self.cluster.kubectl("wait", "pod", "-n", RELEASE, "--selector", selector, "--for=delete", "--timeout=110s")

    # ---- small things

    def _manifest(self, name: str, **values: Any) -> None:
        text = Template((MANIFESTS / f"{name}.yaml").read_text()).substitute({key: str(value) for key, value in values.items()})
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text_in=text)

    def _tls_secret(self, namespace: str, name: str) -> None:
        self.secret(namespace, name, {"tls.crt": self.certificate.cert.read_text(), "tls.key": self.certificate.key.read_text()})

    def _ca(self, namespace: str) -> None:
        metadata = {"name": "demo-ca", "namespace": namespace}
        data = {"ca.crt": self.certificate.ca.read_text()}
        self.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})

    def _word(self, name: str) -> str:
        """A secret word of this world, made once and kept beside the certificates."""
        path = self.folder / "words" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24))
        return path.read_text()


def eventually(what: str, check: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until ``check`` gives something true, and return it; TimeoutError says what did not come."""
    until = time.monotonic() + seconds
    while not (found := check()):
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)
    return found


def timestamp(seconds: float = 0) -> str:
    """The time in so many seconds, as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def _env(values: Mapping[str, str]) -> str:
    return json.dumps([{"name": name, "value": value} for name, value in values.items()])
