"""The clusters themselves: other tests rely on them, and people on their leaving nothing behind."""

import base64
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import (
    ClusterError,
    ControlPlane,
    Existing,
    Node,
    available,
    binaries,
    certificates,
    cluster_for,
    images,
    local,
    paths,
    pip_settings,
    processes,
    state,
)

# ---- names, programs, processes


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a b", "-a", "a" * 41])
def test_a_name_which_is_no_safe_folder_is_refused(name):
    with pytest.raises(ValueError, match="no cluster name"):
        paths.cluster_folder(name)


def test_a_change_of_one_components_sources_builds_only_that_one_again(tmp_path, monkeypatch):
    shutil.copytree(paths.SOURCES, tmp_path / "sources")
    monkeypatch.setattr(paths, "SOURCES", tmp_path / "sources")
    before = {component.name: component.key() for component in binaries.COMPONENTS}
    with (tmp_path / "sources" / "etcd" / "go.sum").open("a") as file:
        file.write("\n")
    after = {component.name: component.key() for component in binaries.COMPONENTS}
    assert {name for name in before if before[name] != after[name]} == {"etcd"}


def _fake(folder: Path, name: str, version: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho 'Kubernetes {version}'\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(("version", "accepted"), [("v1.30.0", True), ("v1.36.3", True), ("v1.29.9", False), ("nonsense", False)])
def test_assets_from_elsewhere_serve_from_kubernetes_1_30_on(tmp_path, monkeypatch, version, accepted):
    for name in ("etcd", "kube-apiserver", "kubectl"):
        _fake(tmp_path, name, version)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    names = ("etcd", "kube-apiserver", "kubectl")
    if accepted:
        assert binaries.ensure(names) == {name: tmp_path / name for name in names}
    else:
        with pytest.raises(ClusterError, match=r"older than 1\.30"):
            binaries.ensure(names)


def test_incomplete_assets_are_refused_by_name(tmp_path, monkeypatch):
    _fake(tmp_path, "etcd", "v1.36.3")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    with pytest.raises(ClusterError, match="holds no kube-apiserver, kubectl"):
        binaries.ensure(binaries.CONTROL_PLANE)


@pytest.mark.parametrize(("present", "used"), [(binaries.CONTROL_PLANE, True), (binaries.CONTROL_PLANE[1:], False)])
def test_the_path_serves_only_with_all_programs_of_a_control_plane(tmp_path, monkeypatch, present, used):
    for name in present:
        _fake(tmp_path, name, "v1.36.3")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    expected = {name: tmp_path / name for name in binaries.CONTROL_PLANE} if used else {}
    assert binaries._elsewhere(binaries.CONTROL_PLANE) == expected


def test_a_process_whose_id_was_used_again_is_not_signalled(tmp_path):
    victim = processes.start("sleep", ["sleep", "60"], tmp_path / "log")
    impostor = processes.Process("sleep", victim.pid, victim.started - 1, victim.boot)
    impostor.stop()
    assert victim.alive()
    victim.stop()
    assert not victim.alive()


def test_a_listener_is_told_from_another_process_on_the_same_port(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        stranger = processes.start("sleep", ["sleep", "60"], tmp_path / "log")
        try:
            assert processes.taken("127.0.0.1", port)
            assert processes.listens(processes.me(), port)
            assert not processes.listens(stranger, port)
        finally:
            stranger.stop()


# ---- which cluster


def test_an_existing_cluster_replaces_the_node_but_not_the_control_plane(monkeypatch):
    monkeypatch.setenv("CONTEXT", "staging")
    assert isinstance(cluster_for("node", "demo"), Existing)
    assert isinstance(cluster_for("control-plane", "api"), ControlPlane)
    monkeypatch.delenv("CONTEXT")
    assert isinstance(cluster_for("node", "demo"), Node)


def test_an_existing_cluster_says_where_its_images_must_be():
    with pytest.raises(ClusterError, match="IMAGE_REPOSITORY"):
        Existing("staging").load_image(Path("cube.tar"))


# ---- images


def _names(image: images.Image) -> list[list[str]]:
    with tarfile.open(image.archive) as archive:
        layers = json.load(archive.extractfile("manifest.json"))[0]["Layers"]
        found = []
        for layer in layers:
            with tarfile.open(fileobj=archive.extractfile(layer)) as content:
                found.append(content.getnames())
        return found


@pytest.fixture
def image_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_an_image_has_one_layer_for_each_source_at_its_path(image_cache):
    tree = image_cache / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "b").write_text("b")
    (tree / "a").write_text("a")
    with tarfile.open(image_cache / "some.tar", "w") as archive:
        archive.add(tree / "a", "./lib/a")
    (image_cache / "program").write_text("#!/bin/sh\n")
    sources = [(tree, "/opt/tree"), (image_cache / "some.tar", "/usr"), (image_cache / "program", "/bin/program")]
    base = images.layered("localhost/base:1", None, sources[:1], ["/a"], {"A": "1", "B": "1"}, "1000")
    image = images.layered("localhost/x", base, sources[1:], ["/b"], {"B": "2"})
    assert _names(image) == [["opt/tree", "opt/tree/a", "opt/tree/deep", "opt/tree/deep/b"], ["usr/lib/a"], ["bin/program"]]
    config = images._config_of(image)
    assert config["Cmd"] == ["/b"]
    assert config["User"] == "1000"
    assert config["Env"][1:] == ["A=1", "B=2"]


def test_the_same_content_gives_the_same_image_and_other_content_another(image_cache):
    def build(folder: str, text: str) -> str:
        (image_cache / folder).mkdir()
        (image_cache / folder / "file").write_text(text)
        return images.layered("localhost/x", None, [(image_cache / folder, "/opt")], ["/a"]).ref

    first = build("one", "text")
    assert first == build("two", "text")
    assert first != build("three", "other")


def test_of_old_archives_two_stay(image_cache):
    for number in range(4):
        (image_cache / "file").write_text("x" * number)
        images.layered("localhost/x", None, [(image_cache / "file", "/file")], ["/a"])
    assert len(list(images.folder().glob("x-*.tar"))) == 2


def test_pips_environment_reaches_a_build_as_a_file(tmp_path, monkeypatch):
    (tmp_path / "authority.pem").write_text("")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "authority.pem"))
    mounts = {str(target): source for source, target in pip_settings.mounts(tmp_path)}
    assert "index-url = https://index.example/simple" in mounts["/etc/pip.conf"].read_text()
    assert str(tmp_path / "authority.pem") in mounts


# ---- a control plane


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane("test-contract", audit_log=True) as cluster:
        yield cluster


def _eventually(attempt: Callable[[], object], seconds: float = 60) -> None:
    """Repeats an attempt until it raises nothing and returns anything but False."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if attempt() is not False:
                return
        except (ClusterError, OSError):
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _leftovers(name: str) -> list[str]:
    """Processes, mounts and control groups which mention a cluster."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"/clusters/{name}/".encode() in words:
                found.append(words.decode().replace("\0", " "))
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/cube-oauth-{name}*")]
    return found


@pytest.mark.control_plane
def test_a_stopped_control_plane_leaves_nothing():
    cluster = ControlPlane("test-leaves-nothing")
    with cluster:
        ports = vars(cluster.state.ports).values()
        assert len(_leftovers(cluster.name)) >= 3
        assert all(processes.taken("127.0.0.1", port) for port in ports)
    assert _leftovers(cluster.name) == []
    assert not cluster.folder.exists()
    assert not any(processes.taken("127.0.0.1", port) for port in ports)


@pytest.mark.control_plane
def test_a_taken_port_is_refused_and_nothing_is_started():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        cluster = ControlPlane("test-taken", api_port=port)
        with pytest.raises(ClusterError, match=f"port {port} .* is taken"):
            cluster.up()
    assert _leftovers(cluster.name) == []
    assert not cluster.folder.exists()


@pytest.mark.control_plane
def test_a_port_lost_between_the_check_and_the_start_is_noticed(monkeypatch):
    monkeypatch.setattr(processes, "taken", lambda address, port: False)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        cluster = ControlPlane("test-lost", api_port=listener.getsockname()[1])
        with pytest.raises(ClusterError, match="apiserver ended while waiting"):
            cluster.up()
    assert _leftovers(cluster.name) == []


@pytest.mark.control_plane
def test_two_control_planes_run_side_by_side_and_know_nothing_of_each_other(control_plane):
    with ControlPlane("test-second") as second:
        second.kubectl("create", "namespace", "only-here")
        assert "only-here" not in control_plane.kubectl("get", "namespaces")


@pytest.mark.control_plane
def test_a_cluster_whose_owner_ended_is_removed_by_the_next_start(control_plane):
    script = "import os; from tests.cluster import ControlPlane; ControlPlane('test-abandoned').up(); os._exit(0)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
    abandoned = local.find("test-abandoned")
    assert abandoned.state.abandoned()
    _eventually(lambda: abandoned.answers("/readyz"))
    with ControlPlane("test-sweeper"):
        assert _leftovers("test-abandoned") == []


@pytest.mark.control_plane
def test_an_api_server_comes_back_with_its_data_on_the_same_port(control_plane):
    control_plane.kubectl("create", "configmap", "kept")
    address = control_plane.url
    control_plane.stop_apiserver()
    with pytest.raises(ClusterError, match="refused"):
        control_plane.kubectl("get", "configmap", "kept")
    control_plane.start_apiserver()
    assert control_plane.url == address
    control_plane.kubectl("get", "configmap", "kept")


@pytest.mark.control_plane
def test_a_paused_api_server_hangs_until_it_is_resumed(control_plane):
    control_plane.pause_apiserver()
    with pytest.raises(ClusterError, match="took more than 2 s"):
        control_plane.kubectl("get", "namespaces", timeout=2)
    control_plane.resume_apiserver()
    control_plane.kubectl("get", "namespaces")


_THING = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.cluster.example"},
    "spec": {
        "group": "cluster.example",
        "scope": "Namespaced",
        "names": {"kind": "Thing", "plural": "things"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"size": {"type": "integer"}},
                                "x-kubernetes-validations": [{"rule": "self.size > 0", "message": "too small"}],
                            }
                        },
                    }
                },
            }
        ],
    },
}


@pytest.mark.control_plane
def test_custom_resources_are_validated_by_their_rules(control_plane):
    def thing(size: int) -> str:
        document = {"apiVersion": "cluster.example/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": {"size": size}}
        return control_plane.kubectl("apply", "-f", "-", text_in=json.dumps(document))

    control_plane.kubectl("apply", "-f", "-", text_in=json.dumps(_THING))
    _eventually(lambda: thing(1))
    with pytest.raises(ClusterError, match="too small"):
        thing(0)


@pytest.mark.control_plane
def test_a_service_account_token_passes_review_for_its_audience_only_and_is_audited(control_plane):
    token = control_plane.kubectl("create", "token", "default", "--audience=broker", "--duration=10m").strip()

    def review(audience: str) -> dict:
        spec = {"token": token, "audiences": [audience]}
        document = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        arguments = ("create", "--raw", "/apis/authentication.k8s.io/v1/tokenreviews", "-f", "-")
        return json.loads(control_plane.kubectl(*arguments, text_in=json.dumps(document)))["status"]

    assert review("broker")["user"]["username"] == "system:serviceaccount:default:default"
    assert not review("portal").get("authenticated")
    log = control_plane.audit_log.read_text()
    assert "tokenreviews" in log
    assert token not in log


@contextmanager
def _webhook(folder: Path) -> Iterator[tuple[str, str]]:
    """An HTTPS server which labels what it is asked about; its URL and the certificate to trust."""
    authority = certificates.Authority.make(folder)
    authority.server("hook", "hook", ["127.0.0.1"])

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            patch = [{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]
            response = {
                "uid": request["uid"],
                "allowed": True,
                "patchType": "JSONPatch",
                "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
            }
            body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "hook.crt", folder / "hook.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/", base64.b64encode((folder / "ca.crt").read_bytes()).decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.control_plane
def test_a_webhook_of_this_machine_is_called_by_url(control_plane, tmp_path):
    with _webhook(tmp_path) as (url, bundle):
        hook = {
            "name": "label.cluster.example",
            "clientConfig": {"url": url, "caBundle": bundle},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "label"},
            "webhooks": [hook],
        }
        control_plane.kubectl("apply", "-f", "-", text_in=json.dumps(configuration))
        create = ("create", "configmap", "any", "--dry-run=server", "--output=jsonpath={.metadata.labels.seen}")
        _eventually(lambda: control_plane.kubectl(*create) == "yes")
        control_plane.kubectl("delete", "mutatingwebhookconfiguration", "label")


# ---- a node

_node = pytest.mark.skipif(available() is not None, reason=str(available()))

_PODS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      initContainers:
      - name: sidecar
        image: IMAGE
        restartPolicy: Always
        command: [sh, -c, "echo hello >/shared/side; echo tick; sleep 1000"]
        startupProbe: {exec: {command: [test, -e, /shared/side]}, periodSeconds: 1}
        volumeMounts: [{name: shared, mountPath: /shared}]
      containers:
      - name: app
        image: IMAGE
        command: [python3, -m, http.server, "8080", --directory, /shared]
        readinessProbe: {httpGet: {path: /side, port: 8080}, periodSeconds: 1}
        resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: 500m, memory: 128Mi}}
        volumeMounts: [{name: shared, mountPath: /shared}, {name: token, mountPath: /token}]
      volumes:
      - {name: shared, emptyDir: {medium: Memory}}
      - {name: token, projected: {sources: [{serviceAccountToken: {path: token, audience: broker, expirationSeconds: 600}}]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
"""

_CLIENT = """
apiVersion: batch/v1
kind: Job
metadata: {name: client}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: client
        image: IMAGE
        command: [python3, -c]
        args:
        - |
          import ssl, urllib.request
          account = "/var/run/secrets/kubernetes.io/serviceaccount"
          trust = ssl.create_default_context(cafile=account + "/ca.crt")
          namespace = open(account + "/namespace").read()
          def get(url, **more):
              return urllib.request.urlopen(url, timeout=10, **more).read().decode().strip()
          print([get("http://web." + namespace + ".svc.cluster.local/side") for _ in range(10)])
          print(get("https://kubernetes.default/version", context=trust))
          print(get("http://HOST/"))
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
"""


@contextmanager
def _server(address: str, answer: bytes) -> Iterator[str]:
    """An HTTP server of this machine; its address and port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{address}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _run_pods(node: Node, answer: str) -> None:
    """Pods with a sidecar, a service, name resolution, the API from a pod, and a server of this machine."""
    base = images.base_image()
    node.load_image(base.archive)
    with _server(node.host_address, answer.encode()) as host:
        node.kubectl("apply", "-f", "-", text_in=_PODS.replace("IMAGE", base.ref))
        node.kubectl("rollout", "status", "deployment/web", "--timeout=110s")
        node.kubectl("delete", "job", "client", "--ignore-not-found")
        node.kubectl("apply", "-f", "-", text_in=_CLIENT.replace("IMAGE", base.ref).replace("HOST", host))
        node.kubectl("wait", "--for=condition=complete", "job/client", "--timeout=110s")
    log = node.kubectl("logs", "job/client")
    assert log.count("hello") == 10
    assert '"gitVersion"' in log
    assert answer in log


def _rules() -> list[str]:
    found = [subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False).stdout]
    for command in ("iptables-save", "ip6tables-save"):
        if shutil.which(command):
            text = subprocess.run([command], capture_output=True, text=True, check=False).stdout
            found += [line for line in text.splitlines() if not line.startswith(("#", ":"))]
    return found


_SYSCTLS = (
    *("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv4.conf.all.route_localnet"),
    *("vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops"),
    *("kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes", "net.netfilter.nf_conntrack_max"),
)
_FIXED = ("/run/containerd", "/run/xtables.lock", "/var/lib/cni", "/var/lib/kubelet", "/var/lib/containerd", "/var/log/pods")


def _machine() -> dict[str, object]:
    """What a node may have touched of this machine."""
    settings = [Path("/proc/sys", *name.split(".")) for name in _SYSCTLS]
    links = json.loads(subprocess.run(["ip", "-json", "address"], capture_output=True, check=True).stdout)
    routes = subprocess.run(["ip", "route", "show", "table", "all"], capture_output=True, text=True, check=True).stdout
    return {
        "mounts": sorted(line.split(" ", 1)[1] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "links": [(link["ifname"], link["addr_info"] and [a["local"] for a in link["addr_info"]]) for link in links],
        "routes": routes,
        "rules": _rules(),
        "settings": [(str(path), path.read_text()) for path in settings if path.exists()],
        "groups": sorted(str(path) for path in Path("/sys/fs/cgroup").glob("*/cube-oauth*")),
        "fixed paths": [path for path in _FIXED if Path(path).exists()],
    }


def _inhabitants(namespace: str) -> list[str]:
    """Processes in a process namespace or, of a container, below it: those with its network or its mounts would be too."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str((entry / "ns" / "net").readlink()) == namespace:
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@_node
@pytest.mark.node
@pytest.mark.timeout(600)
def test_a_node_runs_pods_and_leaves_the_machine_as_it_was():
    images.base_image()
    Node("test-warm")._prepare()  # packages and programs are meant to stay
    before = _machine()
    node = Node("test-alone")
    with node:
        namespace = str(Path(f"/proc/{node.state.processes['init'].pid}/ns/net").readlink())
        _run_pods(node, "from this machine")
        assert len(_inhabitants(namespace)) >= 8
        _eventually(lambda: _get(f"http://{node.address}:30080/side") == "hello")
        assert "hello" in node.kubectl("exec", "deploy/web", "-c", "app", "--", "cat", "/shared/side")
        assert "tick" in node.kubectl("logs", "deploy/web", "-c", "sidecar")
        during = _machine()
        assert during["settings"] == before["settings"]
        assert during["rules"] == before["rules"]
        assert during["mounts"] == before["mounts"]
        assert during["groups"] != before["groups"]
    assert _inhabitants(namespace) == []
    assert _leftovers(node.name) == []
    assert not node.folder.exists()
    assert node.name not in state.all_states()
    after = _machine()
    assert {what: after[what] for what in before} == before


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode().strip()


@_node
@pytest.mark.node
@pytest.mark.timeout(600)
def test_two_nodes_run_at_once_and_one_outlives_the_other():
    with Node("test-first") as first:
        with Node("test-second") as second:
            assert first.address != second.address
            _run_pods(first, "for the first")
            _run_pods(second, "for the second")
            first.kubectl("delete", "deployment", "web")
            _eventually(lambda: _get(f"http://{second.address}:30080/side") == "hello")
        first.kubectl("delete", "service", "web")
        _run_pods(first, "once more")
        _eventually(lambda: _get(f"http://{first.address}:30080/side") == "hello")


@_node
@pytest.mark.node
def test_a_killed_supervisor_takes_everything_with_it_and_the_next_start_cleans_up():
    node = Node("test-killed")
    with node:
        namespace = str(Path(f"/proc/{node.state.processes['init'].pid}/ns/net").readlink())
        node.state.processes["supervisor"].stop()
        _eventually(lambda: _inhabitants(namespace) == [])
        assert not node.healthy()
        node.up(reuse=True)
        _eventually(node.healthy)
        started = node.state.processes["etcd"]
        assert Node("test-killed").up(reuse=True).state.processes["etcd"] == started


# ---- Dockerfiles


@_node
@pytest.mark.node
@pytest.mark.timeout(600)
def test_a_dockerfile_is_built_with_this_machines_pip_settings_which_the_image_forgets(tmp_path):
    (tmp_path / "app.py").write_text("print('hello from the image')\n")
    (tmp_path / "Dockerfile").write_text(
        textwrap.dedent("""\
        ARG BASE
        FROM ${BASE}
        ARG WHO
        RUN python3 -m venv /venv && /venv/bin/pip install --no-cache-dir idna && echo "$WHO" > /who
        COPY app.py /app.py
        USER 1000:1000
        CMD ["/venv/bin/python", "/app.py"]
        """)
    )
    image = images.from_dockerfile(tmp_path, images.base_image(), "localhost/cube-oauth-trial", {"WHO": str(tmp_path)}, ["."])
    again = images.from_dockerfile(tmp_path, images.base_image(), "localhost/cube-oauth-trial", {"WHO": str(tmp_path)}, ["."])
    assert again == image
    contents = _names(image)
    assert any("venv/lib/python3" in name and "idna" in name for layer in contents for name in layer)
    with tarfile.open(image.archive) as archive:
        for layer in json.load(archive.extractfile("manifest.json"))[0]["Layers"][1:]:
            with tarfile.open(fileobj=archive.extractfile(layer)) as content:
                baked = [info for info in content if info.name in {"etc/pip.conf", "etc/resolv.conf"} and info.size]
                assert baked == []
    (tmp_path / "app.py").write_text("print('changed')\n")
    other = images.from_dockerfile(tmp_path, images.base_image(), "localhost/cube-oauth-trial", {"WHO": str(tmp_path)}, ["."])
    assert other.ref != image.ref
    for built in (image, other):
        built.archive.unlink()
