"""A broker in this process against a real API server, with exactly the rights that it needs, and what surrounds it."""

import asyncio
import json
import ssl
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import yaml
from pydantic import SecretStr

from cube_oauth import broker
from cube_oauth.kube.api import OAUTH_APPS, SECRETS, USER_CREDENTIALS, Api
from cube_oauth.resources.keyring import Keyring
from cube_oauth.resources.meta import ObjectMeta, rfc3339
from cube_oauth.resources.names import RESOLVER_AUDIENCE
from cube_oauth.resources.secrets import Reference, TokenRecord, TokenSecret
from tests.parts.certificates import self_made
from tests.parts.processes import free_port

CANARY = "canary-token-of-"
RBAC = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: broker, namespace: TENANT}}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRole
  metadata: {name: broker-TENANT}
  rules:
  - {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRoleBinding
  metadata: {name: broker-TENANT}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: broker-TENANT}
  subjects: [{kind: ServiceAccount, name: broker, namespace: TENANT}]
- apiVersion: rbac.authorization.k8s.io/v1
  kind: Role
  metadata: {name: broker, namespace: TENANT}
  rules:
  - {apiGroups: [cubeoauth.dev], resources: [oauthapps, usercredentials], verbs: [list, watch]}
  - {apiGroups: [cubeoauth.dev], resources: [usercredentials/status], verbs: [patch]}
  - {apiGroups: [apps], resources: [replicasets], verbs: [get]}
  - {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleBinding
  metadata: {name: broker, namespace: TENANT}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: broker}
  subjects: [{kind: ServiceAccount, name: broker, namespace: TENANT}]
- {apiVersion: v1, kind: Namespace, metadata: {name: TENANT-tokens}}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: Role
  metadata: {name: broker, namespace: TENANT-tokens}
  rules: [{apiGroups: [""], resources: [secrets], verbs: [list, watch]}]
- apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleBinding
  metadata: {name: broker, namespace: TENANT-tokens}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: broker}
  subjects: [{kind: ServiceAccount, name: broker, namespace: TENANT}]
"""
"""What the broker may do, and no more: the tests run it with exactly this."""


def now():
    return datetime.now(UTC)


PATIENCE = 60
"""Seconds."""

TLS_CLOSE_SECONDS = 0.25
"""aiohttp closes TLS connections a moment after their session (its documentation, "Graceful shutdown")."""


def told(caplog):
    """All log records of a test; at its end, ``caplog.records`` are those of the end alone."""
    return [record for phase in ("setup", "call", "teardown") for record in caplog.get_records(phase)]


async def eventually(attempt):
    """Until the attempt gives something; what it gave."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if found := await attempt():
                return found
            await asyncio.sleep(0.01)


@dataclass
class Tenant:
    """One namespace with its people, and the token namespace behind it."""

    namespace: str
    admin: Api
    ring: Keyring
    folder: Path
    kubectl: object
    kubeconfig: Path = field(init=False)

    @property
    def tokens(self):
        return f"{self.namespace}-tokens"

    async def app(self, name="trino", *, ready=True, **spec):
        body = {
            "apiVersion": "cubeoauth.dev/v1alpha1",
            "kind": "OAuthApp",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"issuerURL": "https://idp.example.com", "clientID": "cube", **spec},
        }
        created = await self.admin.create(OAUTH_APPS, body, self.namespace)
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "reason": "Ready",
            "message": "",
            "lastTransitionTime": rfc3339(now()),
        }
        return await self.admin.merge(
            OAUTH_APPS, created["metadata"]["name"], {"status": {"conditions": [condition]}}, self.namespace, "status"
        )

    async def credential(self, username, app="trino", name=None):
        body = {
            "apiVersion": "cubeoauth.dev/v1alpha1",
            "kind": "UserCredential",
            "metadata": {"name": name or f"{app}-{username}", "namespace": self.namespace},
            "spec": {"username": username, "oauthAppRef": {"name": app}},
        }
        return await self.admin.create(USER_CREDENTIALS, body, self.namespace)

    def record(self, credential, app, **changes):
        def reference(item):
            meta = ObjectMeta.model_validate(item["metadata"])
            return Reference(namespace=meta.namespace, name=meta.name, uid=meta.uid)

        fields = {
            "credential": reference(credential),
            "app": reference(app),
            "username": credential["spec"]["username"],
            "token_url": "https://idp.example.com/token",
            "client_id": "cube",
            "grant": "grant-1",
            "revision": 1,
            "subject": credential["spec"]["username"],
            "issued_at": now(),
            "expires_at": now() + timedelta(hours=1),
        }
        return TokenRecord(**{**fields, **changes})

    async def token(self, record, ring=None, owner=None):
        """Write the token Secret, as the controller would after each refresh."""
        value = SecretStr(f"{CANARY}{record.username}-{record.revision}")
        sealed = (ring or self.ring).seal(value, owner or record.owner)
        secret = TokenSecret(record, None, sealed, "unread").to_kubernetes(self.tokens)
        return await self.admin.apply(SECRETS, secret, field_manager="controller")

    async def demand(self, credential):
        """What the broker wrote."""
        found = await self.admin.get(USER_CREDENTIALS, credential["metadata"]["name"], self.namespace)
        return found.get("status", {}).get("demand", {})

    async def connected(self, username, app):
        """A person who has authorized."""
        credential = await self.credential(username, app["metadata"]["name"])
        await self.token(self.record(credential, app))
        return credential

    def pod_token(self, service_account="default", namespace=None, audience=RESOLVER_AUDIENCE):
        """As the kubelet would project it."""
        arguments = ("create", "token", service_account, "-n", namespace or self.namespace, f"--audience={audience}")
        return self.kubectl(*arguments).stdout.strip()

    def broker_kubeconfig(self):
        """For the broker's own service account: nothing beyond RBAC."""
        self.kubectl("apply", "-f", "-", input=RBAC.replace("TENANT", self.namespace))
        token = self.kubectl("create", "token", "broker", "-n", self.namespace).stdout.strip()
        config = yaml.safe_load(self.kubectl("config", "view", "--raw", "--minify").stdout)
        config["users"][0]["user"] = {"token": token}
        path = self.folder / "broker.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path


class Running:
    """The broker, and somebody who asks it."""

    def __init__(self, tenant, folder, namespaces):
        self.tenant = tenant
        self.certificate = self_made(folder / "tls", "localhost", "127.0.0.1")
        (folder / "tls" / "ca.crt").write_text(self.certificate.cert.read_text())
        self.ring_file = folder / "ring.json"
        self.mount(tenant.ring)
        self.ports = [free_port() for _ in range(3)]
        self.variables = {
            "KUBECONFIG": str(tenant.kubeconfig),
            "CUBE_OAUTH_NAME": "co",
            "CUBE_OAUTH_NAMESPACE": "cube-oauth",
            "CUBE_OAUTH_TOKEN_NAMESPACE": tenant.tokens,
            "CUBE_OAUTH_NAMESPACES": ",".join(namespaces),
            "CUBE_OAUTH_PORTAL_URL": "https://portal.example.com",
            "CUBE_OAUTH_LISTEN": f"127.0.0.1:{self.ports[0]}",
            "CUBE_OAUTH_LISTEN_API": f"127.0.0.1:{self.ports[1]}",
            "CUBE_OAUTH_LISTEN_WEBHOOK": f"127.0.0.1:{self.ports[2]}",
            "CUBE_OAUTH_TLS_DIR": str(folder / "tls"),
            "CUBE_OAUTH_ACCESS_RING_FILE": str(self.ring_file),
            "CUBE_OAUTH_SIDECAR_IMAGE": "registry.example/cube-oauth:1",
        }

    def mount(self, ring):
        """As the kubelet does when a Secret has changed: nobody reads half of it."""
        new = self.ring_file.with_suffix(".new")
        new.write_text(ring.to_json())
        new.replace(self.ring_file)

    async def start(self):
        self._thread = _Thread(self.variables)
        ready = asyncio.create_task(self.ready())
        await asyncio.wait((self._thread.ended, ready), return_when=asyncio.FIRST_COMPLETED)
        if self._thread.ended.done():
            ready.cancel()
            self._thread.ended.result()
        await ready

    async def stop(self):
        self._thread.stop()
        await asyncio.wait_for(asyncio.shield(self._thread.ended), PATIENCE)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.ports[1]}"

    @property
    def ca(self):
        return self.certificate.cert.read_text()

    @property
    def webhook(self):
        return f"https://127.0.0.1:{self.ports[2]}/inject"

    async def ready(self):
        async with aiohttp.ClientSession() as session:

            async def answered():
                try:
                    async with session.get(f"http://127.0.0.1:{self.ports[0]}/readyz") as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(answered)

    async def metrics(self):
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.ports[0]}/metrics") as answer:
            return await answer.text()

    def session(self, token):
        context = ssl.create_default_context(cadata=self.ca)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return aiohttp.ClientSession(self.url, headers=headers, connector=aiohttp.TCPConnector(ssl=context))

    async def post(self, path, body, token):
        async with self.session(token) as session, session.post(path, json=body) as answer:
            return answer.status, await answer.json()

    async def resolve(self, username, token, **more):
        caller = {"username": username, "assertion": None}
        return await self.post("/v1/resolve", {"caller": caller, **more}, token)

    async def entry(self, username, token, data_source="trino"):
        status, answer = await self.resolve(username, token)
        assert status == 200, answer
        return answer["credentials"][data_source]

    async def eventually(self, username, token, wanted, data_source="trino"):
        """Until the answer has this status: the writer's change has to travel through the watch."""

        async def wanted_entry():
            found = await self.entry(username, token, data_source)
            return found if found["status"] == wanted else None

        return await eventually(wanted_entry)

    @asynccontextmanager
    async def changes(self, token):
        """The stream of changes: gives a function that waits for the next line that is no heartbeat; without ``asOf``."""
        async with self.session(token) as session, session.get("/v1/changes") as answer:
            assert answer.status == 200, await answer.text()

            async def following():
                async with asyncio.timeout(PATIENCE):
                    while (line := json.loads(await answer.content.readline()))["type"] == "heartbeat":
                        pass
                line.pop("asOf", None)
                return line

            yield following


@asynccontextmanager
async def new_tenant(control_plane, kubectl, namespace, folder):
    """With an administrator's connection to the API server."""
    async with Api.connect(str(control_plane.kubeconfig)) as admin:
        yield Tenant(namespace, admin, Keyring.generate(), folder, kubectl)
    await asyncio.sleep(TLS_CLOSE_SECONDS)
    kubectl("delete", "namespace", f"{namespace}-tokens", "--wait=false", "--ignore-not-found")


@asynccontextmanager
async def running_broker(tenant, folder, monkeypatch, namespaces=None):
    """A ready broker; its end is part of the test."""
    tenant.kubeconfig = tenant.broker_kubeconfig()
    monkeypatch.setenv("KUBECONFIG", str(tenant.kubeconfig))  # kopf reads it from there
    running = Running(tenant, folder, namespaces or [tenant.namespace])
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


class _Thread:
    """The broker in an event loop of its own: when kopf ends, it cancels every younger task of its loop."""

    def __init__(self, variables):
        self.ended = asyncio.get_running_loop().create_future()
        self._started = threading.Event()
        self._outer = asyncio.get_running_loop()
        self._variables = variables
        threading.Thread(target=self._run, daemon=True).start()
        self._started.wait()

    def _run(self):
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - the test shall have it, whatever it is
            self._outer.call_soon_threadsafe(self.ended.set_exception, error)
        else:
            self._outer.call_soon_threadsafe(self.ended.set_result, None)

    async def _main(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._started.set()
        await broker.run(self._variables, self._stop)
        await asyncio.sleep(TLS_CLOSE_SECONDS)

    def stop(self):
        if not self.ended.done():
            self._loop.call_soon_threadsafe(self._stop.set)
