"""The pod webhook behind a real API server: what it does to pods of every shape, and whom it tells."""

import asyncio
import base64
import json
from pathlib import Path

import pytest
import yaml

from cube_oauth import cli
from cube_oauth.broker import files
from tests.control_plane.brokers import eventually, new_tenant, running_broker

pytestmark = pytest.mark.control_plane

CASES = Path(__file__).resolve().parents[1] / "cases" / "injection"


@pytest.fixture
async def tenant(control_plane, kubectl, namespace, tmp_path):
    async with new_tenant(control_plane, kubectl, namespace, tmp_path) as made:
        yield made


@pytest.fixture
async def broker(tenant, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LOOK_SECONDS", 0.05)
    async with running_broker(tenant, tmp_path, monkeypatch) as running:
        yield running


@pytest.fixture
async def app(tenant):
    return await tenant.app()


def webhook(broker, tenant):
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": f"inject-{tenant.namespace}"},
        "webhooks": [
            {
                "name": "inject.cubeoauth.dev",
                "clientConfig": {"url": broker.webhook, "caBundle": base64.b64encode(broker.ca.encode()).decode()},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "objectSelector": {"matchExpressions": [{"key": "cubeoauth.dev/inject", "operator": "Exists"}]},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": tenant.namespace}},
                "failurePolicy": "Fail",
                "sideEffects": "NoneOnDryRun",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


@pytest.fixture
def admitted(broker, tenant, kubectl):
    """Create a pod through the API server: (manifest as stored, or None; what kubectl said)."""
    configuration = webhook(broker, tenant)
    kubectl("apply", "-f", "-", input=json.dumps(configuration))

    async def create(manifest, *flags):
        arguments = ("create", "-n", tenant.namespace, "-f", "-", "-o", "json", *flags)
        answer = await asyncio.to_thread(kubectl, *arguments, input=json.dumps(manifest), check=False)
        return (json.loads(answer.stdout) if answer.returncode == 0 else None), answer.stderr

    async def settled(text="cube-oauth-resolver"):
        """The API server reads webhook configurations with a delay, and the broker whatever puts ``text`` into a pod."""

        async def injects():
            made, _ = await create(cube_pod("probe"), "--dry-run=server")
            return made and text in json.dumps(made["spec"])

        await eventually(injects)

    create.settled = settled
    yield create
    kubectl("delete", "mutatingwebhookconfiguration", configuration["metadata"]["name"])


def cube_pod(name, *containers, annotations=None):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"cubeoauth.dev/inject": "true"}, "annotations": annotations or {}},
        "spec": {
            "containers": [*containers]
            or [{"name": "cube", "image": "cubejs/cube", "env": [{"name": "NODE_OPTIONS", "value": "--a"}]}]
        },
    }


async def says(admitted, words):
    """Whether the API server says so of a pod by now: it hears of labels, quotas and limits with a delay."""
    return words in (await admitted(cube_pod("probe"), "--dry-run=server"))[1]


def by_name(items):
    return {item["name"]: item for item in items}


async def test_a_labelled_pod_comes_out_injected(tenant, broker, admitted):
    await tenant.app(serviceAccount={"secretRef": {"name": "service"}, "env": {"CUBEJS_DB_PASS": "password"}})
    await admitted.settled("CUBEJS_DB_PASS")
    made, said = await admitted(cube_pod("cube"))
    assert made, said
    sidecar = made["spec"]["initContainers"][0]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("cube-oauth-resolver", "Always")
    assert by_name(sidecar["env"])["CUBE_OAUTH_CA"]["value"] == broker.ca
    cube = made["spec"]["containers"][0]
    env = by_name(cube["env"])
    assert env["NODE_OPTIONS"]["value"] == "--a --require=/run/cube-oauth/hook.cjs"
    assert env["CUBEJS_DB_PASS"]["valueFrom"]["secretKeyRef"] == {"name": "service", "key": "password"}
    assert made["metadata"]["annotations"]["cubeoauth.dev/injected"] == "v1 registry.example/cube-oauth:1"
    assert 'cube_oauth_broker_admissions_total{reason="Injected"}' in await broker.metrics()


async def test_the_sidecar_gets_no_token_for_the_kubernetes_api(tenant, admitted):
    await admitted.settled()
    made, said = await admitted(cube_pod("cube"))
    assert made, said
    sidecar = by_name(made["spec"]["initContainers"][0]["volumeMounts"])
    assert set(sidecar) == {"cube-oauth", "cube-oauth-token"}
    cube = by_name(made["spec"]["containers"][0]["volumeMounts"])
    assert any(name.startswith("kube-api-access-") for name in cube), "the premise: Cube has one"
    assert "cube-oauth-token" not in cube


async def test_injecting_an_injected_pod_changes_nothing(tenant, broker, admitted):
    await admitted.settled()
    made, said = await admitted(cube_pod("one"))
    assert made, said
    copy = {**made, "metadata": {**cube_pod("two")["metadata"], "annotations": made["metadata"]["annotations"]}}
    again, said = await admitted(copy)
    assert again, said
    assert again["spec"] == made["spec"]


async def test_each_review_closes_its_connection(broker):
    """An API server would keep it, even to a replica that is about to end."""
    review = {
        "uid": "1",
        "operation": "CREATE",
        "userInfo": {"username": "somebody"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "object": cube_pod("cube"),
        "dryRun": True,
    }
    async with broker.session(None) as session, session.post(broker.webhook, json={"request": review}) as answer:
        assert (await answer.json())["response"]["allowed"]
        assert answer.headers["Connection"] == "close"


async def test_a_refusal_reaches_the_person_as_a_sentence(tenant, admitted):
    await admitted.settled()
    made, said = await admitted(cube_pod("cube", {"name": "a", "image": "x"}, {"name": "b", "image": "y"}))
    assert made is None
    assert (
        "annotation cubeoauth.dev/container is needed, because it is not obvious which container is Cube; choose one of: a, b"
        in said
    )


async def test_a_label_that_means_neither_yes_nor_no_reaches_the_webhook_and_is_refused(tenant, admitted):
    await admitted.settled()
    mistyped = cube_pod("cube")
    mistyped["metadata"]["labels"]["cubeoauth.dev/inject"] = "yes"
    made, said = await admitted(mistyped)
    assert made is None
    assert 'label cubeoauth.dev/inject must be "true" or "false", in quotes; it is yes' in said


async def test_a_warning_reaches_the_person(tenant, app, admitted):
    await admitted.settled()
    made, said = await admitted(cube_pod("cube", annotations={"cubeoauth.dev/apps": "elsewhere"}))
    assert made
    assert "Warning: annotation cubeoauth.dev/apps: no OAuthApp elsewhere in this namespace" in said


async def test_restricted_pod_security_accepts_the_sidecar(tenant, admitted, kubectl):
    await admitted.settled()
    kubectl("label", "namespace", tenant.namespace, "pod-security.kubernetes.io/enforce=restricted")
    await eventually(lambda: says(admitted, "violates PodSecurity"))
    security = {"runAsNonRoot": True, "runAsUser": 1000, "allowPrivilegeEscalation": False}
    security |= {"capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}
    made, said = await admitted(cube_pod("cube", {"name": "cube", "image": "x", "securityContext": security}))
    assert made, said
    assert made["spec"]["initContainers"][0]["name"] == "cube-oauth-resolver"


async def test_what_the_plugin_writes_is_what_the_webhook_would_have_made(tenant, broker, admitted, kubectl, tmp_path, capsys):
    await admitted.settled()
    (tmp_path / "ca.pem").write_text(broker.ca)
    (tmp_path / "pod.json").write_text(json.dumps(cube_pod("cube")))
    arguments = ["--image", "registry.example/cube-oauth:1", "--broker-url", "https://co-broker.cube-oauth.svc:8443"]
    assert cli.main(["inject", "-f", str(tmp_path / "pod.json"), *arguments, "--ca-file", str(tmp_path / "ca.pem")]) == 0
    offline = capsys.readouterr().out
    flags = ("-n", tenant.namespace, "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-")
    spec = json.loads(kubectl("create", *flags, input=offline).stdout)["spec"]
    made, said = await admitted(cube_pod("cube"), "--dry-run=server")
    assert made, said
    token = by_name(made["spec"]["volumes"]).keys() - by_name(spec["volumes"]).keys()
    assert all(name.startswith("kube-api-access-") for name in token), "only the API server's random name may differ"
    assert [container["name"] for container in spec["initContainers"]] == ["cube-oauth-resolver"]
    assert spec["initContainers"] == made["spec"]["initContainers"]
    assert spec["containers"][0]["env"] == made["spec"]["containers"][0]["env"]


# --- pods of every shape


YOUNG = {"pod-level-resources": 34}
"""Shapes that an API server knows since this minor version."""


def shapes(minor):
    """The pods of the golden files that an API server of this minor version knows."""
    for path in sorted(path for path in CASES.glob("*.yaml") if YOUNG.get(path.stem, 0) <= minor):
        manifest = next(iter(yaml.safe_load_all(path.read_text())))
        manifest["spec"].pop("serviceAccountName", None)
        yield {"apiVersion": "v1", "kind": "Pod", **manifest, "metadata": {"name": path.stem, **manifest["metadata"]}}


async def test_the_api_server_accepts_every_shape_and_restricted_pod_security_has_nothing_against_the_sidecar(
    tenant, admitted, kubectl
):
    await admitted.settled()
    kubectl("label", "namespace", tenant.namespace, "pod-security.kubernetes.io/warn=restricted")
    await eventually(lambda: says(admitted, "would violate PodSecurity"))
    minor = int(json.loads(kubectl("version", "-o", "json").stdout)["serverVersion"]["minor"].rstrip("+"))
    pods = {"apiVersion": "v1", "kind": "List", "items": list(shapes(minor))}
    flags = ("-n", tenant.namespace, "--dry-run=server", "-o", "jsonpath={.spec.initContainers[*].name}{'\\n'}", "-f", "-")
    answer = await asyncio.to_thread(kubectl, "create", *flags, input=json.dumps(pods), check=False)
    assert answer.returncode == 0, answer.stderr
    assert [line.split()[0] for line in answer.stdout.splitlines()] == ["cube-oauth-resolver"] * len(pods["items"])
    violations = [
        line for line in answer.stderr.splitlines() if "would violate PodSecurity" in line and "host namespaces" not in line
    ]
    assert violations, "the premise: most of the shapes are not restricted themselves"
    assert not [line for line in violations if "cube-oauth-resolver" in line]


async def test_a_quota_on_limits_and_a_limit_range_have_nothing_against_the_sidecar(tenant, admitted, kubectl):
    await admitted.settled()
    hard = {f"{part}.{what}": "2" if what == "cpu" else "2Gi" for part in ("requests", "limits") for what in ("cpu", "memory")}
    limits = [{"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "max": {"cpu": "1", "memory": "1Gi"}}]
    quota = {"kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": "q"}, "spec": {"hard": hard}}
    kubectl("create", "-n", tenant.namespace, "-f", "-", input=json.dumps(quota))

    async def counted():
        found = json.loads((await asyncio.to_thread(kubectl, "get", "quota", "q", "-n", tenant.namespace, "-o", "json")).stdout)
        return found["status"].get("used", {}).get("limits.cpu") == "0"

    await eventually(counted)
    await eventually(lambda: says(admitted, "must specify limits"))
    made, said = await admitted(cube_pod("without-limits"))
    assert made is None
    assert "must specify limits.cpu for: cube;" in said, "Cube has none, the sidecar has"
    limited = {"kind": "LimitRange", "apiVersion": "v1", "metadata": {"name": "l"}, "spec": {"limits": limits}}
    kubectl("create", "-n", tenant.namespace, "-f", "-", input=json.dumps(limited))

    async def defaulted():
        made, _ = await admitted(cube_pod("cube"), "--dry-run=server")
        return made

    made = await eventually(defaulted)
    assert made["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    assert made["spec"]["initContainers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "96Mi"}


# --- who is told


def deployment(name, template):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"cubeoauth.dev/inject": "true"}}, "template": template},
    }


async def test_a_deployment_is_told_why_its_pods_are_refused_and_what_they_lack(tenant, admitted, kubectl):
    await admitted.settled()
    pod = cube_pod("x", {"name": "a", "image": "x"}, {"name": "b", "image": "y"})
    template = {"metadata": {"labels": pod["metadata"]["labels"]}, "spec": pod["spec"]}
    flags = ("-n", tenant.namespace, "-f", "-")
    kubectl("create", *flags, input=json.dumps(deployment("cube", template)))

    async def events():
        selector = "regarding.kind=Deployment,regarding.name=cube,reportingController=cubeoauth.dev/broker"
        answer = await asyncio.to_thread(
            kubectl,
            "get",
            "events.events.k8s.io",
            "-n",
            tenant.namespace,
            f"--field-selector={selector}",
            "-o",
            "json",
            check=False,
        )
        return [(item["type"], item["reason"], item["note"]) for item in json.loads(answer.stdout)["items"]]

    [(kind, reason, note)] = await eventually(events)
    assert (kind, reason) == ("Warning", "ContainerUnclear")
    assert "choose one of: a, b" in note
    template["spec"]["containers"] = template["spec"]["containers"][:1]
    kubectl("replace", *flags, input=json.dumps(deployment("cube", template)))

    async def two():
        return sorted(found) if len(found := await events()) > 1 else None

    told = await eventually(two)
    assert told[1][:2] == ("Warning", "InjectedWithWarnings")
    assert "no OAuthApp in this namespace yet" in told[1][2]
