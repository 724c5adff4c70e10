"""An installation without pods: our controller as a subprocess beside a real API server and a real provider."""

import base64
import hashlib
import http.client
import json
import os
import re
import secrets
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc.jwk import ECKey, RSAKey
from pydantic import SecretStr

from cube_oauth.resources.keyring import Keyring, SealingKey
from cube_oauth.resources.meta import ObjectMeta
from cube_oauth.resources.names import CLIENT_CONSENT_LABEL, credential_name, grant_secret_name
from cube_oauth.resources.secrets import Grant, Reference, TokenSecret, decode, grant_secret
from tests.parts.processes import free_port
from tests.parts.provider import PASSWORD, Provider, sign_in

ROOT = Path(__file__).resolve().parents[2]
REDIRECT_URI = "https://portal.example.com/callback"
CLIENTS = {"cube": "canary-client-secret-1", "other": "canary-client-secret-2"}
SERVICE_SECRET = "canary-service-secret"
"""Of the client warehouse-account, whose own token is somebody's service account."""
SERVICE_KEYS = [ECKey.generate_key("P-256", {"use": "sig"}), RSAKey.generate_key(2048, {"use": "sig"})]
"""Of the client warehouse-key, which has no secret: both are registered, as while a key is rotated."""
APPS = "/apis/cubeoauth.dev/v1alpha1/namespaces/{}/oauthapps"
CREDENTIALS = "/apis/cubeoauth.dev/v1alpha1/namespaces/{}/usercredentials"
SECRETS = "/api/v1/namespaces/{}/secrets"
PATIENCE = 60


def eventually(what: Callable[[], Any], seconds: float = PATIENCE, say: Callable[[], Any] = lambda: "") -> Any:
    """What ``what`` gives once it is true; fails with ``say()`` when it does not become so."""
    until = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > until:
            raise AssertionError(f"did not come true in {seconds} s\n{say()}")
        time.sleep(0.05)
    return found


class KubeApi:
    """JSON to the API server, as the administrator."""

    def __init__(self, cluster) -> None:
        keys = cluster.kubeconfig.parent
        context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        self._nobody = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        context.load_cert_chain(keys / "admin.crt", keys / "admin.key")
        self._address = urlsplit(cluster.url)
        self._context = context

    def ask(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", *, user: str | None = None
    ) -> Any:
        headers = {"Content-Type": content_type, **({"Impersonate-User": user} if user else {})}
        status, text = self._send(method, path, json.dumps(body) if body is not None else None, headers)
        if status == 404:
            return None
        content = json.loads(text)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {content.get('message')}")
        return content

    def answer(self, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of what somebody with this token is answered, instead of the administrator."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": kind, "Authorization": f"Bearer {token}"}
        status, text = self._send(method, path, json.dumps(body) if body is not None else None, headers, self._nobody)
        return status, json.loads(text)

    def _send(
        self, method: str, path: str, body: str | None, headers: dict[str, str], context: ssl.SSLContext | None = None
    ) -> tuple[int, str]:
        context = context or self._context
        connection = http.client.HTTPSConnection(self._address.hostname, self._address.port, context=context, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def writes(self) -> float:
        """How many requests to write our kinds the API server has had, those that changed nothing included."""
        lines = self._send("GET", "/metrics", None, {})[1].splitlines()
        ours = [line for line in lines if line.startswith("apiserver_request_total{") and 'group="cubeoauth.dev"' in line]
        others = "GET|LIST|WATCH|DELETECOLLECTION"  # the last empties the namespace of an earlier test, some time later
        return sum(float(line.split()[-1]) for line in ours if not re.search(f'verb="({others})"', line))

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def create(self, path: str, body: Any, *, user: str | None = None) -> Any:
        return self.ask("POST", path, body, user=user)

    def patch(self, path: str, body: Any) -> Any:
        return self.ask("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path: str) -> Any:
        return self.ask("DELETE", path)

    def items(self, path: str) -> list[Any]:
        return self.get(path)["items"]


class Controller:
    """One controller process, or another of ours by name."""

    def __init__(self, env: dict[str, str], log: Path, command: str = "controller") -> None:
        self.port = free_port()
        self.log = log
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "cube_oauth", command],
                env={**env, "CUBE_OAUTH_LISTEN": f"127.0.0.1:{self.port}"},
                stdout=output,
                stderr=output,
                cwd=ROOT,
            )

    def page(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()
        except OSError:
            return 0, ""

    def active(self) -> bool:
        return "cube_oauth_controller_leader 1.0" in self.page("/metrics")[1] and self.page("/readyz")[0] == 200

    def standing_by(self) -> bool:
        return "cube_oauth_controller_leader 0.0" in self.page("/metrics")[1] and self.page("/readyz")[0] == 200

    def lines(self) -> list[dict[str, Any]]:
        whole = self.log.read_text().rpartition("\n")[0]  # the last one may be half written
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def kill(self) -> None:
        """Without a chance to do anything."""
        self.child.kill()
        self.child.wait()

    def terminate(self) -> None:
        """In order; fails when it does not end cleanly."""
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(40) == 0, self.log.read_text()[-4000:]

    def end(self) -> None:
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()


class Installation:
    """Three namespaces, an app, and what people and administrators do there."""

    def __init__(self, kube: KubeApi, cluster, provider: Provider, folder: Path, name: str) -> None:
        self.kube = kube
        self.cluster = cluster
        self.provider = provider
        self.folder = folder
        self.tenant, self.system, self.tokens = (f"{name}-{part}" for part in ("tenant", "system", "tokens"))
        self.controllers: list[Controller] = []
        self.cookies: CookieJar | None = None
        """Of one browser that everybody uses; by default each sign-in has its own."""
        self.portal: str | None = None
        """Who hands in grants, where the chart's policy lets nobody else."""
        for namespace in (self.tenant, self.system, self.tokens):
            kube.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        account = f"/api/v1/namespaces/{self.tenant}/serviceaccounts/default"
        eventually(lambda: kube.get(account))  # Kubernetes makes it a moment later: no pod, and no token, without it

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "TZ": "America/New_York",  # the Lease is in UTC all the same
            "PYTHONPATH": str(ROOT / "operator"),
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "CUBE_OAUTH_NAME": "co",
            "CUBE_OAUTH_NAMESPACE": self.system,
            "CUBE_OAUTH_TOKEN_NAMESPACE": self.tokens,
            "CUBE_OAUTH_NAMESPACES": self.tenant,
            "CUBE_OAUTH_PORTAL_URL": "https://portal.example.com",
            "CUBE_OAUTH_BROKER_SERVICE": "co-broker",
            "CUBE_OAUTH_WEBHOOK": self.system,
            "CUBE_OAUTH_SERVICE_ACCOUNT_SOURCES": "*",
            "CUBE_OAUTH_ALLOWED_ADDRESSES": "127.0.0.0/8",
            "CUBE_OAUTH_EXTRA_CA_FILE": str(self.provider.ca),
        }

    def start(self, *, active: bool | None = True, **env: str) -> Controller:
        """A controller, once it is active, or once it stands by; None: not waited for."""
        controller = Controller({**self.env, **env}, self.folder / f"controller-{len(self.controllers)}.log")
        self.controllers.append(controller)
        if active is not None:
            eventually(controller.active if active else controller.standing_by, say=self.tell)
        return controller

    def tell(self) -> str:
        """What there is, for a failure's message."""
        logs = [f"--- {one.log.name}\n{one.log.read_text()[-6000:]}" for one in self.controllers]
        things = [self.cluster.kubectl("-n", self.tenant, "get", "oapp,ucred", "-o", "yaml") if self.cluster.healthy() else ""]
        return "\n".join([*things, *logs])

    def end(self) -> None:
        for controller in self.controllers:
            controller.end()

    # ---- administrators

    def app(self, name: str = "trino", client: str = "cube", *, secret: bool = True, **spec: Any) -> dict[str, Any]:
        """An OAuthApp, by default at the provider by discovery, with its client Secret; waits until it is ready."""
        if secret:
            self.client_secret(name, CLIENTS[client])
        made = self.kube.create(
            APPS.format(self.tenant),
            {
                "apiVersion": "cubeoauth.dev/v1alpha1",
                "kind": "OAuthApp",
                "metadata": {"name": name},
                "spec": {
                    "issuerURL": self.provider.issuer,
                    "clientID": client,
                    "clientSecretRef": {"name": f"{name}-client"},
                    "scopes": ["openid", "offline_access", "query"],
                    "refresh": {"requestsPerSecond": 1000},
                    **spec,
                },
            },
        )
        if secret:
            eventually(lambda: self.ready(name)["status"] == "True", say=self.tell)
        return made

    def client_secret(self, app: str, value: str, *, key: str = "clientSecret", consent: str | None = None) -> None:
        labels = {CLIENT_CONSENT_LABEL: app if consent is None else consent}
        body = {
            "metadata": {"name": f"{app}-client", "labels": labels},
            "data": {key: base64.b64encode(value.encode()).decode()},
        }
        path = SECRETS.format(self.tenant)
        if self.kube.get(f"{path}/{app}-client"):
            self.kube.ask("PUT", f"{path}/{app}-client", body)  # in one step: nobody finds it missing
        else:
            self.kube.create(path, body)

    def ready(self, app: str = "trino") -> dict[str, Any]:
        return self.condition("Ready", app)

    def condition(self, kind: str, app: str = "trino") -> dict[str, Any]:
        """An OAuthApp's condition."""
        return condition(self.kube.get(f"{APPS.format(self.tenant)}/{app}") or {}, kind)

    def counts(self, app: str = "trino") -> dict[str, int]:
        return self.kube.get(f"{APPS.format(self.tenant)}/{app}")["status"]["credentials"]

    def credential(self, username: str = "alice", app: str = "trino", name: str | None = None) -> dict[str, Any]:
        return self.kube.create(
            CREDENTIALS.format(self.tenant),
            {
                "apiVersion": "cubeoauth.dev/v1alpha1",
                "kind": "UserCredential",
                "metadata": {"name": name or credential_name(app, username)},
                "spec": {"username": username, "oauthAppRef": {"name": app}},
            },
        )

    def look(self, username: str = "alice", app: str = "trino") -> dict[str, Any]:
        return self.kube.get(f"{CREDENTIALS.format(self.tenant)}/{credential_name(app, username)}")

    def status(self, username: str = "alice", app: str = "trino") -> dict[str, Any]:
        return (self.look(username, app) or {}).get("status", {})

    def events(self) -> list[dict[str, Any]]:
        return self.kube.items(f"/apis/events.k8s.io/v1/namespaces/{self.tenant}/events")

    # ---- people

    def authorize(
        self, username: str = "alice", app: str = "trino", *, as_person: str | None = None, **change: Any
    ) -> dict[str, Any]:
        """What the portal does: the code flow at the provider, then a grant Secret. The credential is made if there is none."""
        credential = self.look(username, app) or self.credential(username, app)
        found = self.kube.get(f"{APPS.format(self.tenant)}/{app}")
        state, verifier, nonce = (secrets.token_urlsafe(32) for _ in range(3))
        code = self._code(found, state, verifier, nonce, as_person or username)
        grant = Grant(
            credential=_reference(credential),
            app=_reference(found),
            username=username,
            groups=("analysts",),
            code=code,
            code_verifier=verifier,
            redirect_uri=REDIRECT_URI,
            nonce=nonce,
            token_url=found["status"]["tokenURL"],
            client_id=found["spec"]["clientID"],
            issued_at=datetime.now(UTC),
        ).model_copy(update=change)
        sealed = self._sealing_key().seal(SecretStr(grant.model_dump_json(by_alias=True)))
        self.kube.create(SECRETS.format(self.tokens), grant_secret(grant_secret_name(state), self.tokens, sealed), user=self.portal)
        return credential

    def _code(self, app: dict[str, Any], state: str, verifier: str, nonce: str, person: str) -> str:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": app["spec"]["clientID"],
            "redirect_uri": REDIRECT_URI,
            "scope": " ".join(app["status"]["scopes"]),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "prompt": "consent",
        }
        url = f"{app['status']['authorizationURL']}?{urlencode(query)}"
        back = sign_in(url, person, PASSWORD, until=REDIRECT_URI, ca=self.provider.ca, cookies=self.cookies)
        return parse_qs(urlsplit(back).query)["code"][0]

    def _sealing_key(self) -> SealingKey:
        found = self.kube.get(f"/api/v1/namespaces/{self.system}/configmaps/co-grant-key")
        return SealingKey.from_json(found["data"]["ring"])

    def connect(self, username: str = "alice", app: str = "trino") -> dict[str, Any]:
        """Authorize, and wait until the credential is active with the new token and says so: that is written last."""
        before = self.status(username, app).get("revision", 0)
        credential = self.authorize(username, app)

        def connected(status: dict[str, Any]) -> bool:
            active = status.get("revision", 0) > before and status["state"] == "Active"
            return active and condition({"status": status}, "Authorized")["status"] == "True"

        self.until(username, app, connected)
        return credential

    def until(self, username: str, app: str, true: Callable[[dict[str, Any]], Any], seconds: float = PATIENCE) -> dict[str, Any]:
        """The status once ``true`` holds for it."""

        def now() -> dict[str, Any] | None:
            status = self.status(username, app)
            return status if true(status) else None

        return eventually(now, seconds, self.tell)

    # ---- what is stored

    def token(self, username: str = "alice", app: str = "trino") -> TokenSecret | None:
        uid = self.look(username, app)["metadata"]["uid"]
        found = self.kube.get(f"{SECRETS.format(self.tokens)}/token-{uid}")
        return TokenSecret.from_kubernetes(found) if found else None

    def plain(self, username: str = "alice", app: str = "trino") -> tuple[str | None, str | None]:
        """The stored access and refresh token."""
        token = self.token(username, app)
        rings = [self.ring("access"), self.ring("refresh")]
        values = [token.access_token, token.refresh_token]
        return tuple(
            ring.open(value, token.record.owner).get_secret_value() if value else None
            for ring, value in zip(rings, values, strict=True)
        )

    def ring(self, suffix: str) -> Keyring:
        secret = self.kube.get(f"{SECRETS.format(self.system)}/co-keys-{suffix}")
        return Keyring.from_json(decode(secret)["ring"])

    def age(self, by: timedelta, *names: str) -> None:
        """Move these times of all stored tokens into the past, while no controller runs."""
        for item in self.stored("token"):
            token = TokenSecret.from_kubernetes(item)
            known = {name: moment for name in names if (moment := getattr(token.record, name))}
            record = token.record.model_copy(update={name: moment - by for name, moment in known.items()})
            self.kube.ask(
                "PUT", f"{SECRETS.format(self.tokens)}/{token.name}", replace(token, record=record).to_kubernetes(self.tokens)
            )

    def stored(self, kind: str) -> list[dict[str, Any]]:
        return self.kube.items(f"{SECRETS.format(self.tokens)}?labelSelector=cubeoauth.dev/kind={kind}")


def condition(found: dict[str, Any], kind: str) -> dict[str, Any]:
    conditions = (found.get("status") or {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {"status": "", "reason": "", "message": ""})


def _reference(found: dict[str, Any]) -> Reference:
    meta = ObjectMeta.model_validate(found["metadata"])
    return Reference(namespace=meta.namespace, name=meta.name, uid=meta.uid)
