"""An installation without pods: a control plane, and our processes beside it as subprocesses, for measurements and tests."""

import asyncio
import base64
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from cube_oauth.kube.api import OAUTH_APPS, SECRETS, Api, Resource
from cube_oauth.kube.api import USER_CREDENTIALS as CREDENTIALS
from cube_oauth.resources.keyring import Keyring
from cube_oauth.resources.kinds import crds
from cube_oauth.resources.names import credential_name
from cube_oauth.resources.secrets import Reference, TokenRecord, TokenSecret
from tests.cluster import Cluster
from tests.parts.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE, SYSTEM, TOKENS, NAME = "analytics", "cube-oauth", "cube-oauth-tokens", "cube-oauth"
AT_A_TIME = 20


class Installation:
    """Namespaces, CRDs and one OAuthApp on a control plane, and how to start our processes for it."""

    def __init__(self, cluster: Cluster, folder: Path, token_url: str = "https://127.0.0.1:1/token") -> None:
        self.cluster = cluster
        self.folder = folder
        self.token_url = token_url
        self._http = _connection(cluster, folder)

    def prepare(self) -> None:
        """The CRDs, the namespaces, and an OAuthApp ``trino``."""
        self.cluster.kubectl("apply", "--server-side", "-f", "-", text_in="---\n".join(json.dumps(crd) for crd in crds().values()))
        self.cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
        for namespace in (NAMESPACE, SYSTEM, TOKENS):
            self.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        self.app()

    def app(self) -> None:
        """The OAuthApp ``trino``."""
        self.create(
            f"/apis/cubeoauth.dev/v1alpha1/namespaces/{NAMESPACE}/oauthapps",
            {
                "apiVersion": "cubeoauth.dev/v1alpha1",
                "kind": "OAuthApp",
                "metadata": {"name": "trino"},
                "spec": {
                    "authorizationURL": self.token_url.replace("/token", "/authorize"),
                    "tokenURL": self.token_url,
                    "clientID": "cube",
                    "clientAuthentication": "none",
                    "refresh": {"requestsPerSecond": 1000},
                },
            },
        )

    def environment(self, **more: str) -> dict[str, str]:
        """The settings of a process, as the chart would write them."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT / "operator"),
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "CUBE_OAUTH_NAME": NAME,
            "CUBE_OAUTH_NAMESPACE": SYSTEM,
            "CUBE_OAUTH_TOKEN_NAMESPACE": TOKENS,
            "CUBE_OAUTH_NAMESPACES": NAMESPACE,
            "CUBE_OAUTH_PORTAL_URL": "https://portal.example.com",
            "CUBE_OAUTH_BROKER_SERVICE": f"{NAME}-broker",
            "CUBE_OAUTH_ALLOWED_ADDRESSES": "127.0.0.0/8",
            **more,
        }

    @contextmanager
    def process(self, name: str, **env: str) -> Iterator["Running"]:
        """One of our processes, until the block ends."""
        port = free_port()
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "cube_oauth", name],
                env=self.environment(CUBE_OAUTH_LISTEN=f"127.0.0.1:{port}", **env),
                stdout=output,
                stderr=output,
            )
        running = Running(child, port, log)
        try:
            yield running
        finally:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def ring(self, suffix: str) -> Keyring:
        """A key ring that the controller made."""
        secret = self.get(f"/api/v1/namespaces/{SYSTEM}/secrets/{NAME}-keys-{suffix}")
        return Keyring.from_json(base64.b64decode(secret["data"]["ring"]).decode())

    def connect(self, *usernames: str, lifetime: timedelta, refreshable: bool = True, token: str = "access-" + "x" * 900) -> None:
        """People who are connected already, with fresh tokens; needs the controller's key rings."""
        issued = datetime.now(UTC).replace(microsecond=0)
        made = self._make(CREDENTIALS, NAMESPACE, [_credential(username) for username in usernames])
        app = self.get(f"{OAUTH_APPS.path(NAMESPACE, 'trino')}")["metadata"]
        access, refresh = self.ring("access"), self.ring("refresh")
        secrets = []
        for credential in made:
            username = credential["spec"]["username"]
            record = TokenRecord(
                credential=_reference(credential["metadata"]),
                app=_reference(app),
                username=username,
                token_url=self.token_url,
                client_id="cube",
                grant=f"grant-of-{username}",
                revision=1,
                issued_at=issued,
                expires_at=issued + lifetime,
            )
            sealed = refresh.seal(SecretStr(f"refresh-{username}"), record.owner) if refreshable else None
            secret = TokenSecret(record, None, access.seal(SecretStr(token), record.owner), sealed)
            secrets.append(secret.to_kubernetes(TOKENS))
        self._make(SECRETS, TOKENS, secrets)

    def unrelated(self, number: int) -> None:
        """Secrets that are none of ours, where ours are."""
        data = {"data": base64.b64encode(b"x" * 500).decode()}
        for namespace in (NAMESPACE, TOKENS):
            self._make(SECRETS, namespace, [{"metadata": {"name": f"unrelated-{one}"}, "data": data} for one in range(number // 2)])

    def _make(self, resource: Resource, namespace: str, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """All of them, several at a time: one after the other would take minutes for thousands."""

        async def make() -> list[dict[str, Any]]:
            turn = asyncio.Semaphore(AT_A_TIME)
            async with Api.connect(str(self.cluster.kubeconfig)) as api:

                async def one(body: dict[str, Any]) -> dict[str, Any]:
                    async with turn:
                        return await api.create(resource, body, namespace)

                return await asyncio.gather(*map(one, bodies))

        return asyncio.run(make())

    def settle(self, seconds: float = 300) -> None:
        """Wait until the controller has published every credential as active."""
        until = time.monotonic() + seconds
        while any((item.get("status") or {}).get("state") != "Active" for item in self.credentials()):
            if time.monotonic() > until:
                raise RuntimeError("the controller did not settle on the credentials")
            time.sleep(0.5)

    def age(self, by: timedelta) -> None:
        """Make all stored tokens older, while no controller runs: what was fresh is then due, with nothing else to be told."""
        for item in self.items(f"/api/v1/namespaces/{TOKENS}/secrets"):
            token = TokenSecret.from_kubernetes(item)
            older = {name: getattr(token.record, name) - by for name in ("issued_at", "expires_at")}
            aged = replace(token, record=token.record.model_copy(update=older))
            self._ask("PUT", f"/api/v1/namespaces/{TOKENS}/secrets/{token.name}", aged.to_kubernetes(TOKENS))

    def items(self, path: str) -> list[dict[str, Any]]:
        """The items of a list."""
        return self.get(path)["items"]

    def credentials(self) -> list[dict[str, Any]]:
        """All UserCredentials."""
        return self.items(CREDENTIALS.path(NAMESPACE))

    def get(self, path: str) -> dict[str, Any]:
        """GET as the administrator."""
        return self._ask("GET", path)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST as the administrator; kubectl would be far too slow for thousands."""
        return self._ask("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PATCH (RFC 7396) as the administrator."""
        return self._ask("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE as the administrator."""
        return self._ask("DELETE", path)

    def writes(self, *resources: str) -> int:
        """How many requests to write these resources the API server has had; by default, whatever a controller may write."""
        names = "|".join(resources or ("oauthapps", "usercredentials", "secrets", "events"))
        write = re.compile(rf'apiserver_request_total{{(?=.*resource="({names})")(?!.*verb="(GET|LIST|WATCH)")')
        self._http.request("GET", "/metrics")
        lines = self._http.getresponse().read().decode().splitlines()
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if write.match(line))

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        self._http.request(method, path, json.dumps(body) if body else None, {"Content-Type": content_type})
        answer = self._http.getresponse()
        content = json.loads(answer.read())
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.get('message')}")
        return content


def _credential(username: str) -> dict[str, Any]:
    return {
        "apiVersion": "cubeoauth.dev/v1alpha1",
        "kind": "UserCredential",
        "metadata": {"name": credential_name("trino", username)},
        "spec": {"username": username, "oauthAppRef": {"name": "trino"}},
    }


def _reference(meta: Mapping[str, Any]) -> Reference:
    return Reference(namespace=NAMESPACE, name=meta["name"], uid=meta["uid"])


class Running:
    """A process of ours."""

    def __init__(self, child: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.child = child
        self.port = port
        self.log = log

    def wait_ready(self, seconds: float = 120) -> None:
        """Until ``/readyz`` is green."""
        until = time.monotonic() + seconds
        while not self.ready():
            if self.child.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"not ready:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.01)

    def ready(self) -> bool:
        """Whether ``/readyz`` is green now."""
        http = http_client(self.port)
        try:
            http.request("GET", "/readyz")
            return http.getresponse().status == 200
        except OSError:
            return False
        finally:
            http.close()

    def metric(self, name: str, label: str = "") -> int:
        """The sum of a counter over its labels, of those that have ``label``; 0 while it cannot be asked."""
        http = http_client(self.port)
        try:
            http.request("GET", "/metrics")
            lines = http.getresponse().read().decode().splitlines()
        except OSError:
            return 0
        finally:
            http.close()
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith(f"{name}{{") and label in line)

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident memory in MiB."""
        [line] = [line for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024


def http_client(port: int) -> http.client.HTTPConnection:
    """A connection to a port of this machine."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=5)


def _connection(cluster: Cluster, folder: Path) -> http.client.HTTPSConnection:
    """To the API server, as the administrator."""
    view = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "-o", "json"))
    server, user = view["clusters"][0]["cluster"], view["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(server["certificate-authority-data"]).decode())
    pair = folder / "administrator.pem"
    pair.touch(mode=0o600)
    pair.write_bytes(base64.b64decode(user["client-key-data"]) + base64.b64decode(user["client-certificate-data"]))
    context.load_cert_chain(pair)
    address = urlsplit(server["server"])
    return http.client.HTTPSConnection(address.hostname or "", address.port, context=context, timeout=60)
