"""The chart, its processes as their own service accounts with exactly what it grants, and what the API server says they did."""

import base64
import html
import http.client
import json
import os
import re
import ssl
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import yaml

from tests.cluster import binaries
from tests.cluster.commands import run
from tests.control_plane.harness import PATIENCE, ROOT, Controller, KubeApi, eventually
from tests.parts.processes import free_port
from tests.parts.provider import PASSWORD, sign_in

CHART = ROOT / "charts/cube-oauth-operator"
RELEASE = "cube-oauth"
PORTAL = "https://connect.example.com"
PROCESSES = ("controller", "broker", "portal")
DENIED = 403
"""By RBAC, or by an admission plugin that speaks of rights."""
DECISION = "authorization.k8s.io/decision"


class Permission(NamedTuple):
    """One verb on one resource, for one process: what a rule grants, or what was asked for."""

    process: str
    namespace: str
    """``*``: in all of them, or of the cluster."""
    group: str
    resource: str
    verb: str
    name: str
    """``*``: of any name."""

    def covers(self, asked: "Permission") -> bool:
        return all(mine in ("*", theirs) for mine, theirs in zip(self, asked, strict=True))


def granted(objects: list[dict[str, Any]]) -> set[Permission]:
    """Every permission that the chart's Roles and ClusterRoles give to its service accounts, one by one."""

    def key(kind: str, item: dict[str, Any], name: str) -> tuple[str, str, str]:
        return kind, item["metadata"].get("namespace", "*"), name

    rules = {key(item["kind"], item, item["metadata"]["name"]): item["rules"] for item in objects if item["kind"].endswith("Role")}
    return {
        Permission(subject["name"].removeprefix(f"{RELEASE}-"), item["metadata"].get("namespace", "*"), group, resource, verb, name)
        for item in objects
        if item["kind"].endswith("RoleBinding")
        for subject in item["subjects"]
        for rule in rules[key(item["roleRef"]["kind"], item, item["roleRef"]["name"])]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", ["*"])
    }


class Audit:
    """The API server's audit log, as far as our service accounts are in it."""

    def __init__(self, log: Path, namespace: str) -> None:
        self._log = log
        self._prefix = f"system:serviceaccount:{namespace}:{RELEASE}-"
        self._skipped = 0

    def skip(self) -> None:
        """Only what comes from now on counts."""
        self._skipped = self._log.stat().st_size

    def _events(self) -> list[tuple[Permission, dict[str, Any]]]:
        with self._log.open("rb") as log:
            log.seek(self._skipped)
            events = [json.loads(line) for line in log if line.endswith(b"\n")]
        ours = [event for event in events if event["user"]["username"].startswith(self._prefix) and "objectRef" in event]
        return [(self._asked(event), event) for event in ours]

    def _asked(self, event: dict[str, Any]) -> Permission:
        what = event["objectRef"]
        resource = "/".join(part for part in (what["resource"], what.get("subresource")) if part)
        process = event["user"]["username"].removeprefix(self._prefix)
        namespace, group, name = (what.get(part, "") for part in ("namespace", "apiGroup", "name"))
        return Permission(process, namespace, group, resource, event["verb"], name)

    def denied(self) -> set[Permission]:
        """What one of our processes asked for and did not get."""
        return {asked for asked, event in self._events() if event.get("responseStatus", {}).get("code") == DENIED}

    def used(self) -> set[Permission]:
        """What they asked for and were allowed, whether or not there was anything."""
        return {asked for asked, event in self._events() if event["annotations"].get(DECISION) == "allow"} - self.denied()

    def unused(self, permissions: set[Permission]) -> set[Permission]:
        """Those of ``permissions`` that nobody made use of, nor does within a minute: an effect is seen before it is in the log."""
        until = time.monotonic() + PATIENCE
        while (left := self._left(permissions)) and time.monotonic() < until:
            time.sleep(0.5)
        return left

    def _left(self, permissions: set[Permission]) -> set[Permission]:
        used = self.used()
        return {permission for permission in permissions if not any(permission.covers(asked) for asked in used)}


class Installed:
    """A release of the chart in a control plane, whose processes run here."""

    def __init__(self, kube: KubeApi, cluster: Any, folder: Path, system: str, values: dict[str, Any]) -> None:
        self.kube, self.cluster, self.folder, self.system = kube, cluster, folder, system
        self.values = values
        self.audit = Audit(cluster.audit_log, system)
        self.objects: list[dict[str, Any]] = []
        self.running: dict[str, Controller] = {}
        self._starts, self._tokens = 0, dict[str, str]()
        self.ports = {name: free_port() for name in ("pages", "api", "webhook")}

    # ---- the chart

    def render(self, **values: Any) -> list[dict[str, Any]]:
        helm = binaries.ensure(("helm",))["helm"]
        command = [helm, "template", RELEASE, CHART, "--namespace", self.system, "--values", "-"]
        return [item for item in yaml.safe_load_all(run(command, text_in=yaml.safe_dump({**self.values, **values}))) if item]

    def apply(self, **values: Any) -> None:
        """The whole chart in place of what was rendered before; but the brokers' Service leads to this machine, and
        nobody knows cert-manager's kinds."""
        rendered = self.render(**values)
        before, self.objects = self.objects, [item for item in rendered if not item["apiVersion"].startswith("cert-manager.io")]
        there = [_identity(item) for item in self.objects]
        gone = [item for item in before if _identity(item) not in there]
        if gone:
            self.cluster.kubectl("delete", "-f", "-", text_in=_list(gone))
        items = [self._reachable(item) for item in self.objects]
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text_in=_list(items))

    def _reachable(self, item: dict[str, Any]) -> dict[str, Any]:
        item = json.loads(json.dumps(item))
        if item["kind"] == "MutatingWebhookConfiguration":
            item["webhooks"][0]["clientConfig"]["service"]["port"] = self.ports["webhook"]
        if item["kind"] == "Service" and item["metadata"]["name"] == f"{RELEASE}-broker":
            item["spec"] = {"type": "ExternalName", "externalName": "localhost"}
        return item

    def granted(self) -> set[Permission]:
        return granted(self.objects)

    # ---- its processes

    def token(self, process: str) -> str:
        """Of the process's service account."""
        if process not in self._tokens:
            arguments = ("create", "token", f"{RELEASE}-{process}", "-n", self.system, "--duration=1h")
            self._tokens[process] = self.cluster.kubectl(*arguments).strip()
        return self._tokens[process]

    def start(self, process: str, **env: str) -> Controller:
        """With the environment that the chart gives it, but for addresses and mounted files, until it is ready."""
        self.stop(process)
        self._starts += 1
        log = self.folder / f"{self._starts}-{process}.log"
        self.running[process] = Controller({**self._environment(process), **env}, log, process)
        return self.running[process]

    def stop(self, process: str) -> None:
        if known := self.running.pop(process, None):
            known.end()

    def end(self) -> None:
        for process in tuple(self.running):
            self.stop(process)

    def tell(self) -> str:
        """What there is, for a failure's message."""
        logs = [f"--- {one.log.name}\n{one.log.read_text()[-4000:]}" for one in self.running.values()]
        return "\n".join([self.cluster.kubectl("get", "oapp,ucred", "-A", "-o", "yaml"), *logs])

    def _environment(self, process: str) -> dict[str, str]:
        [deployment] = [
            item for item in self.objects if item["kind"] == "Deployment" and item["metadata"]["name"] == f"{RELEASE}-{process}"
        ]
        rendered = {item["name"]: item["value"] for item in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
        return {
            **rendered,
            **{name: str(self._mounted(value)) for name, value in rendered.items() if value.startswith("/etc/cube-oauth/")},
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "PYTHONPATH": str(ROOT / "operator"),
            "KUBECONFIG": str(self._kubeconfig(process)),
            "CUBE_OAUTH_LISTEN_PORTAL": f"127.0.0.1:{self.ports['pages']}",
            "CUBE_OAUTH_LISTEN_API": f"127.0.0.1:{self.ports['api']}",
            "CUBE_OAUTH_LISTEN_WEBHOOK": f"127.0.0.1:{self.ports['webhook']}",
        }

    def _kubeconfig(self, process: str) -> Path:
        config = yaml.safe_load(self.cluster.kubeconfig.read_text())
        config["users"] = [{"name": user["name"], "user": {"token": self.token(process)}} for user in config["users"]]
        path = self.folder / f"{process}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    def _mounted(self, path: str) -> Path:
        return self.folder / path.removeprefix("/etc/cube-oauth/")

    def mount(self, secret: str, folder: str) -> None:
        """As the kubelet does: a Secret of the release's namespace as files."""
        found = self.kube.get(f"/api/v1/namespaces/{self.system}/secrets/{RELEASE}-{secret}")
        (self.folder / folder).mkdir(exist_ok=True)
        for name, value in found["data"].items():
            (self.folder / folder / name).write_bytes(base64.b64decode(value))

    def ask(self, process: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of what the API server answers to this process's service account."""
        return self.kube.answer(self.token(process), method, path, body)

    # ---- who asks its processes

    def resolve(self, namespace: str, username: str, **more: Any) -> dict[str, Any]:
        """A person's credentials, or those after a rejection."""
        path = "/v1/invalidate" if more else "/v1/resolve"
        return self.post(namespace, path, {"caller": {"username": username, "assertion": None}, **more})["credentials"]

    def post(self, namespace: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """To the broker, as the sidecar of a pod of this namespace."""
        arguments = ("create", "token", "default", "-n", namespace, "--audience=broker.cubeoauth.dev")
        headers = {"Authorization": f"Bearer {self.cluster.kubectl(*arguments).strip()}", "Content-Type": "application/json"}
        context = ssl.create_default_context(cafile=str(self.folder / "tls/ca.crt"))
        context.check_hostname = False  # it is made for the Service's name
        connection = http.client.HTTPSConnection("127.0.0.1", self.ports["api"], context=context, timeout=30)
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status == 200, content
        return content

    def person(self, username: str, *groups: str) -> "Person":
        return Person(self.ports["pages"], username, groups)


def _identity(item: dict[str, Any]) -> tuple[str, ...]:
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _list(items: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


class Person:
    """At the portal, through a proxy that says who they are."""

    def __init__(self, port: int, username: str, groups: tuple[str, ...]) -> None:
        self._port, self._username, self._groups = port, username, groups
        self._cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, **form: str) -> tuple[int, str]:
        """Status and page; a form carries the session's token."""
        headers = {"X-Forwarded-User": self._username, "X-Forwarded-Groups": ",".join(self._groups), "Origin": PORTAL}
        headers["Cookie"] = self._cookie()
        body = None
        if method != "GET":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers["X-Form-Token"] = json.loads(self.ask("GET", "/api/session")[1])["formToken"]
            headers["Cookie"] = self._cookie()
            body = urlencode(form)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        for header in answer.headers.get_all("Set-Cookie") or ():
            name, _, value = header.partition(";")[0].partition("=")
            self._cookies[name] = value
        return answer.status, answer.read().decode()

    def _cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self._cookies.items())

    def post(self, path: str, **form: str) -> None:
        """A form that leads elsewhere."""
        status, page = self.ask("POST", path, **form)
        assert status == 303, page

    def seen(self, path: str) -> str:
        """The version of what a page shows, which its form says it is about; once the portal has heard of it."""
        version = re.compile(r'name="version" value="([^"]+)"')
        return eventually(lambda: version.search(self.ask("GET", path)[1])).group(1)

    def connect(self, namespace: str, app: str, ca: Path) -> None:
        """Through the provider and back; once the portal has heard of the app."""
        answers: list[tuple[int, str]] = []

        def begun() -> bool:
            answers.append(self.ask("POST", f"/connect/{namespace}/{app}"))
            return answers[-1][0] == http.HTTPStatus.OK

        eventually(begun, say=lambda: answers[-1])
        url = html.unescape(re.search(r'href="(https://127[^"]+)"', answers[-1][1]).group(1))
        back = urlsplit(sign_in(url, self._username, PASSWORD, until=PORTAL, ca=ca))
        status, page = self.ask("GET", f"{back.path}?{back.query}")
        assert status == 303, page
