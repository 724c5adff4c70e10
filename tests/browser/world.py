"""Around the portal, all of it real: an API server, an OpenID provider, the controller and the portal as processes."""

import base64
import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

from cube_oauth.resources.keyring import Keyring
from cube_oauth.resources.kinds import crds
from cube_oauth.resources.names import token_secret_name
from cube_oauth.resources.secrets import TokenSecret, decode
from tests.cluster import ControlPlane, binaries
from tests.parts import provider, web
from tests.parts.certificates import self_made
from tests.parts.processes import Process, free_port

ROOT = Path(__file__).resolve().parents[2]
SYSTEM, TOKENS, TENANT = "cube-oauth", "cube-oauth-tokens", "analytics"
HOST = "portal.localhost"
"""Every browser takes it to this machine, and it is another site than the provider's address."""

PROXIED_HOST = "proxied.localhost"
PATIENCE = 30
"""Seconds that the portal waits for the controller and the watch; a browser waits longer (people.py)."""
AGAIN = 'while :; do "$0" "$@"; sleep 1; done'
"""As in a pod: a controller that was paused for too long to keep its Lease ends, and is started again."""

RIGHTS = """
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: portal, namespace: cube-oauth}}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: Role
  metadata: {name: portal, namespace: analytics}
  rules:
  - {apiGroups: [cubeoauth.dev], resources: [oauthapps], verbs: [get, list, watch, create, patch, delete]}
  - {apiGroups: [cubeoauth.dev], resources: [usercredentials], verbs: [get, list, watch, create, delete]}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: Role
  metadata: {name: portal, namespace: cube-oauth-tokens}
  rules:
  - {apiGroups: [""], resources: [secrets], verbs: [create]}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: Role
  metadata: {name: portal, namespace: cube-oauth}
  rules:
  - {apiGroups: [""], resources: [configmaps], resourceNames: [test-grant-key], verbs: [get]}
"""
"""What the portal may do, and no more: the tests run it with exactly this."""


class World:
    """Everything, for the length of a `with` block."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port, self.health_port = free_port(), free_port()
        self.url = f"https://{HOST}:{self.port}"
        self.proxied_url = f"https://{PROXIED_HOST}:{free_port()}"
        self._starts = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.cluster = stack.enter_context(ControlPlane("browser"))
            self.provider = stack.enter_context(self._provider())
            self._furnish()
            self.controller = stack.enter_context(self._start_controller())
            self.portal = self._start_portal()
            stack.callback(lambda: self.portal.stop())  # noqa: PLW0108 - whichever runs then
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create or change objects as the cluster's administrator."""
        self.cluster.kubectl("apply", "--server-side", "-f", "-", text_in=json.dumps(_list(objects)))

    def get(self, *what: str) -> Any:
        """What `kubectl get` says, as JSON."""
        return json.loads(self.cluster.kubectl("get", "-o", "json", *what))

    def set_status(self, kind: str, name: str, status: dict[str, Any]) -> None:
        """Write into a status, as the controller would."""
        patch = json.dumps({"status": status})
        self.cluster.kubectl("patch", kind, name, "-n", TENANT, "--subresource=status", "--type=merge", "-p", patch)

    def add_app(self, name: str, *, ready: bool = True, **spec: Any) -> None:
        """An OAuthApp at the provider with its client secret; returns when people can connect, or it is said that they cannot."""
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": f"{name}-client", "namespace": TENANT, "labels": {"cubeoauth.dev/oauth-client": name}},
            "stringData": {"clientSecret": "app secret"},
        }
        self.apply(secret, self.app(name, **spec))
        self.cluster.kubectl("wait", f"--for=condition=Ready={ready}", f"oauthapp/{name}", "-n", TENANT, "--timeout=120s")

    def app(self, name: str, **spec: Any) -> dict[str, Any]:
        """An OAuthApp at the provider."""
        return {
            "apiVersion": "cubeoauth.dev/v1alpha1",
            "kind": "OAuthApp",
            "metadata": {"name": name, "namespace": TENANT},
            "spec": {
                "issuerURL": self.provider.issuer,
                "clientID": "warehouse-app",
                "clientSecretRef": {"name": f"{name}-client"},
                "scopes": ["openid", "offline_access", "query"],
                **spec,
            },
        }

    @property
    def elsewhere(self) -> str:
        """Where deep links may lead back to: another site with a page."""
        return f"{self.provider.issuer}/.well-known"

    def restart_portal(self, *, patience: float = PATIENCE) -> None:
        """Another replica takes over: nothing but the key ring is the same. ``patience``: seconds until a page goes on without."""
        self.portal.stop()
        self.portal = self._start_portal(patience)

    @contextmanager
    def another_portal(self, **changed: str) -> Iterator[str]:
        """A second portal, with other settings; gives its address."""
        port = free_port()
        mine = {
            **self._portal_settings(),
            "CUBE_OAUTH_LISTEN_PORTAL": f"127.0.0.1:{port}",
            "CUBE_OAUTH_PORTAL_URL": f"https://{HOST}:{port}",
        }
        mine |= {
            "CUBE_OAUTH_LISTEN": f"127.0.0.1:{free_port()}",
            **{f"CUBE_OAUTH_{name}": value for name, value in changed.items()},
        }
        with self._process("portal", self.folder / f"portal-another-{port}.log", mine) as portal:
            portal.wait_until(lambda: web.answers(f"http://{mine['CUBE_OAUTH_LISTEN']}/readyz"), seconds=60)
            yield mine["CUBE_OAUTH_PORTAL_URL"]

    def refresh_token(self, username: str, app: str) -> str:
        """A person's refresh token, as only the controller can open it."""
        credentials = self.get("usercredentials", "-n", TENANT)["items"]
        wanted = {"username": username, "oauthAppRef": {"name": app}}
        (uid,) = [one["metadata"]["uid"] for one in credentials if wanted.items() <= one["spec"].items()]
        token = TokenSecret.from_kubernetes(self.get("secret", token_secret_name(uid), "-n", TOKENS))
        ring = Keyring.from_json(decode(self.get("secret", "test-keys-refresh", "-n", SYSTEM))["ring"])
        return ring.open(token.refresh_token, token.record.owner).get_secret_value()

    @contextmanager
    def behind_oauth2_proxy(self) -> Iterator[int]:
        """A second portal, at ``proxied_url``, with a real oauth2-proxy in front of it; gives the portal's own port."""
        port = free_port()
        variables = self._portal_settings()
        mine = {name: value for name, value in variables.items() if "_LOGIN_" not in name and name != "CUBE_OAUTH_TLS_DIR"}
        mine |= {
            "CUBE_OAUTH_PORTAL_URL": self.proxied_url,
            "CUBE_OAUTH_LISTEN_PORTAL": f"0.0.0.0:{port}",
            "CUBE_OAUTH_LISTEN": f"127.0.0.1:{free_port()}",
            "CUBE_OAUTH_PROXY_ADDRESSES": "127.0.0.1/32",
        }
        with ExitStack() as stack:
            portal = stack.enter_context(self._process("portal", self.folder / "portal-proxied.log", mine))
            portal.wait_until(lambda: web.answers(f"http://{mine['CUBE_OAUTH_LISTEN']}/readyz"), seconds=60)
            proxy = stack.enter_context(self._oauth2_proxy(port))
            at = f"https://127.0.0.1:{urlsplit(self.proxied_url).port}"
            proxy.wait_until(lambda: web.answers(f"{at}/ping", ca=self.folder / "oauth2-proxy/tls.crt"), seconds=60)
            yield port

    def _oauth2_proxy(self, portal: int) -> Process:
        """With the settings of docs/portal.md; the rest is where things are in this test."""
        folder, program = self.folder / "oauth2-proxy", binaries.ensure(("oauth2-proxy",))["oauth2-proxy"]
        certificate = self_made(folder, PROXIED_HOST, "127.0.0.1")
        here = {
            "provider-ca-file": self.provider.ca,
            "oidc-issuer-url": self.provider.issuer,
            "redirect-url": f"{self.proxied_url}/oauth2/callback",
            "client-id": "oauth2-proxy",
            "client-secret": "proxy secret",
            "cookie-secret": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "upstream": f"http://127.0.0.1:{portal}/",
            "https-address": f"127.0.0.1:{urlsplit(self.proxied_url).port}",
            "tls-cert-file": certificate.cert,
            "tls-key-file": certificate.key,
        }
        flags = [f"--{name}={value}" for name, value in {**documented_flags(), **here}.items()]
        return Process("oauth2-proxy", [str(program), *flags], log=folder / "log", env={})

    def portal_log(self) -> str:
        """What every portal process of this world wrote."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("portal-*.log")))

    def metrics(self) -> str:
        """What Prometheus would see."""
        return web.request("GET", f"http://127.0.0.1:{self.health_port}/metrics").text

    def _provider(self) -> provider.Provider:
        portals = (self.url, self.proxied_url)
        callbacks = [f"{url}/callback/{TENANT}/{name}" for url in portals for name in ("trino", "lake", "sales")]
        return provider.Provider(
            clients=[
                provider.log_in_client("portal", "log-in secret", [f"{self.url}/login/callback"]),
                provider.log_in_client("oauth2-proxy", "proxy secret", [f"{self.proxied_url}/oauth2/callback"]),
                provider.app_client("warehouse-app", callbacks, client_secret="app secret", client_name="Cube"),
            ],
            users={"alice": ["analysts"], "bob": [], "paula": ["platform"]},
            access_token_seconds=3600,  # no test is as long: no token is refreshed in the middle of one
            folder=self.folder / "provider",
            certificate=self_made(self.folder / "provider-tls", "127.0.0.1"),
        )

    def _furnish(self) -> None:
        self.apply(*crds().values())
        self.cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        self.apply(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (SYSTEM, TOKENS, TENANT)))
        rights = yaml.safe_load(RIGHTS)
        self.apply(*rights, *(_binding(role) for role in rights if role["kind"] == "Role"))

    def _installation(self) -> dict[str, str]:
        """What controller and portal are both told."""
        return {
            "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}",
            "CUBE_OAUTH_NAME": "test",
            "CUBE_OAUTH_NAMESPACE": SYSTEM,
            "CUBE_OAUTH_TOKEN_NAMESPACE": TOKENS,
            "CUBE_OAUTH_NAMESPACES": TENANT,
            "CUBE_OAUTH_PORTAL_URL": self.url,
            "CUBE_OAUTH_EXTRA_CA_FILE": str(self.provider.ca),
            "CUBE_OAUTH_ALLOWED_ADDRESSES": "127.0.0.1/32",
        }

    def _portal_settings(self) -> dict[str, str]:
        certificate = self_made(self.folder / "portal-tls", HOST)
        secret = self.folder / "log-in-secret"
        secret.write_text("log-in secret\n")
        return {
            "KUBECONFIG": str(self._kubeconfig()),
            "CUBE_OAUTH_LISTEN_PORTAL": f"127.0.0.1:{self.port}",
            "CUBE_OAUTH_LISTEN": f"127.0.0.1:{self.health_port}",
            "CUBE_OAUTH_TLS_DIR": str(certificate.cert.parent),
            "CUBE_OAUTH_LOGIN_ISSUER": self.provider.issuer,
            "CUBE_OAUTH_LOGIN_CLIENT_ID": "portal",
            "CUBE_OAUTH_LOGIN_CLIENT_SECRET_FILE": str(secret),
            "CUBE_OAUTH_LOGIN_SCOPES": "openid",
            "CUBE_OAUTH_COOKIE_RING_FILE": str(self._cookie_ring()),
            "CUBE_OAUTH_RETURN_TO": self.elsewhere,
            "CUBE_OAUTH_ADMIN_GROUPS": "platform",
            "PATIENCE": str(PATIENCE),
        }

    def _cookie_ring(self) -> Path:
        """What a pod has mounted."""
        path = self.folder / "cookie-ring"
        encoded = self.get("secret", "test-keys-cookie", "-n", SYSTEM)["data"]["ring"]
        path.write_bytes(base64.b64decode(encoded))
        return path

    def _kubeconfig(self) -> Path:
        """The administrator's, with the portal's service account instead."""
        token = self.cluster.kubectl("create", "token", "portal", "-n", SYSTEM, "--duration=4h").strip()
        config = yaml.safe_load(self.cluster.kubeconfig.read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        path = self.folder / "portal.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    def _start_controller(self) -> Process:
        port = free_port()
        env = {"KUBECONFIG": str(self.cluster.kubeconfig), "CUBE_OAUTH_LISTEN": f"127.0.0.1:{port}"}
        process = self._process("controller", self.folder / "controller.log", env)
        keys = ("get", "secret/test-keys-cookie", "configmap/test-grant-key", "-n", SYSTEM, "--ignore-not-found", "-o", "name")
        process.wait_until(lambda: self.cluster.kubectl(*keys).count("test-") == 2, seconds=60)
        process.wait_until(lambda: web.answers(f"http://127.0.0.1:{port}/readyz"), seconds=60)
        return process

    def _start_portal(self, patience: float = PATIENCE) -> Process:
        self._starts += 1
        mine = {**self._portal_settings(), "PATIENCE": str(patience)}
        process = self._process("portal", self.folder / f"portal-{self._starts}.log", mine)
        process.wait_until(lambda: web.answers(f"http://127.0.0.1:{self.health_port}/readyz"), seconds=60)
        return process

    def _process(self, name: str, log: Path, env: dict[str, str]) -> Process:
        module = ["tests.browser.patient"] if name == "portal" else ["cube_oauth", name]
        command = [sys.executable, "-m", *module]
        if name == "controller":
            command = ["sh", "-c", AGAIN, *command]
        return Process(name, command, log=log, env=self._installation() | env)


def documented_flags() -> dict[str, str]:
    """What docs/portal.md says of oauth2-proxy, so that what is written there is what was seen to work."""
    lines = (ROOT / "docs/portal.md").read_text().splitlines()
    flags = (line.strip().removesuffix(" \\").partition("=") for line in lines if line.startswith("  --"))
    return {name.removeprefix("--"): value for name, _, value in flags}


def _list(objects: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}


def _binding(role: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": role["metadata"],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "portal", "namespace": SYSTEM}],
    }
