"""Workloads with old sidecars are told and counted, the OAuthApp says so, and those that ask for it are restarted one by one."""

import json
from types import SimpleNamespace

import pytest

from cube_oauth.controller.inventory import Inventory
from cube_oauth.controller.restarts import Restarts
from cube_oauth.controller.sidecars import Sidecars
from cube_oauth.kube.api import Api
from cube_oauth.settings import Installation
from tests.control_plane.harness import APPS, eventually
from tests.control_plane.workloads import Workloads

pytestmark = pytest.mark.control_plane

OLD, NEW = "registry/operator:1", "registry/operator:2"
ASKS = {"cubeoauth.dev/restart-when-outdated": "true"}


@pytest.fixture
def workloads(installation):
    return Workloads(installation.kube, installation.tenant)


def test_a_deployment_whose_pods_have_an_old_sidecar_is_told_once_how_to_restart_it(installation, workloads, kubectl):
    tenant = installation.tenant
    workloads.create("cube", replicas=2)
    workloads.injected(OLD, "cube", count=2)
    controller = installation.start(CUBE_OAUTH_SIDECAR_IMAGE=NEW)

    def told():
        return [event for event in installation.events() if event["reason"] == "OutdatedSidecar"]

    [event] = eventually(told, say=installation.tell)
    assert (event["regarding"]["kind"], event["regarding"]["name"], event["type"]) == ("Deployment", "cube", "Warning")
    assert event["note"] == (
        f"2 of its pods have the sidecar v1 {OLD}, and new ones get v1 {NEW}; kubectl rollout restart deployment/cube -n {tenant}"
    )
    described = kubectl("events", "-n", tenant, "--for=deployment/cube", "-o", "json")
    assert any(item["reason"] == "OutdatedSidecar" for item in json.loads(described.stdout)["items"]), "where people look"
    assert f'cube_oauth_controller_outdated_sidecars{{namespace="{tenant}"}} 2.0' in controller.page("/metrics")[1]


def test_the_oauth_apps_of_old_sidecars_say_so_in_their_status(installation, workloads):
    workloads.create("cube")
    workloads.create("narrow", "StatefulSet", template={"cubeoauth.dev/apps": "other"})
    workloads.injected(OLD, "cube", "narrow")
    before = installation.start()
    installation.app()
    installation.app("other", "other")
    before.terminate()
    controller = installation.start(CUBE_OAUTH_SIDECAR_IMAGE=NEW)

    def said(app):
        found = installation.condition("SidecarsCurrent", app)
        return found["message"] if (found["status"], found["reason"]) == ("False", "OutdatedSidecar") else ""

    eventually(lambda: "runs in pods of Deployment cube;" in said("trino"), say=installation.tell)
    eventually(lambda: "runs in pods of Deployment cube, StatefulSet narrow;" in said("other"), say=installation.tell)
    assert installation.ready()["status"] == "True", "people can connect all the same"
    controller.terminate()
    path = f"{APPS.format(installation.tenant)}/trino"
    version = installation.kube.get(path)["metadata"]["resourceVersion"]
    again = installation.start(CUBE_OAUTH_SIDECAR_IMAGE=NEW)
    eventually(lambda: "cube_oauth_controller_outdated_sidecars{" in again.page("/metrics")[1], say=installation.tell)
    again.terminate()
    assert installation.kube.get(path)["metadata"]["resourceVersion"] == version, "a restart has nothing new to say"


class Look:
    """The controller's look at sidecars, when the test wants it."""

    def __init__(self, api, kube, installation):
        known = Installation("co", installation.system, installation.tokens, (installation.tenant,), "https://portal.example.com")
        settings = SimpleNamespace(installation=known, sidecar_image=NEW)
        self.told, self._tenant = [], installation.tenant
        events = SimpleNamespace(normal=self._tell, warning=self._tell)
        metrics = SimpleNamespace(count_outdated_sidecars=lambda namespace, pods: list(pods))
        restarts = Restarts(api, events, enabled=True)
        self._sidecars = Sidecars(api, settings, Inventory(), restarts, events, metrics, found=lambda namespace, sentences: None)

    def _tell(self, kind, meta, reason, note, *, api_version):
        self.told.append((kind, meta.name, reason))

    async def __call__(self):
        return await self._sidecars.reconcile(self._tenant)


@pytest.fixture
async def look(installation, control_plane):
    async with Api.connect(str(control_plane.kubeconfig)) as api:
        yield Look(api, installation.kube, installation)


def brokers(installation, image):
    """The brokers' Deployment, rolled out (it has no replicas) with this sidecar."""
    found = Workloads(installation.kube, installation.system)
    env = [{"name": "CUBE_OAUTH_SIDECAR_IMAGE", "value": image}]
    if found.get("Deployment", "co-broker"):
        installation.kube.delete(found.path("Deployment", "co-broker"))
    found.create("co-broker", replicas=0, containers=[{"name": "broker", "image": "broker", "env": env}])
    found.available("Deployment", "co-broker", 0)


async def test_those_that_ask_are_restarted_one_after_the_other_once_and_when_the_webhook_injects_the_new_sidecar(
    installation, workloads, look
):
    names = ("a", "b", "c")
    for name in names:
        workloads.create(name, annotations=ASKS if name != "c" else None)
    workloads.injected(OLD, *names)
    for name in names:
        workloads.available("Deployment", name)
    before = {name: workloads.get("Deployment", name) for name in names}

    assert await look()
    brokers(installation, OLD)
    assert await look()
    assert workloads.restarted(*names) == {}, "in the middle of an upgrade, new pods would get the old sidecar"
    brokers(installation, NEW)

    assert await look()
    assert workloads.restarted(*names) == {"a": f"v1 {NEW}"}
    for _ in range(2):  # its new pod is there, but does not run yet
        eventually(lambda: len(workloads.pods("a")) == 2)
        assert await look()
        assert workloads.restarted(*names) == {"a": f"v1 {NEW}"}
    workloads.injected(NEW, "a")
    workloads.available("Deployment", "a")
    eventually(lambda: len(workloads.pods("a")) == 1)
    assert await look()
    assert workloads.restarted(*names) == {"a": f"v1 {NEW}", "b": f"v1 {NEW}"}

    eventually(lambda: len(workloads.pods("b")) == 2)
    workloads.injected(OLD, "b")  # whatever the reason: its new pod has the old sidecar again
    workloads.available("Deployment", "b")
    after = {name: workloads.get("Deployment", name)["metadata"]["generation"] for name in names}
    assert not await look()
    assert {name: workloads.get("Deployment", name)["metadata"]["generation"] for name in names} == after, "never in a loop"
    assert workloads.get("Deployment", "c")["spec"] == before["c"]["spec"], "it does not ask"
    assert [told for told in look.told if told[2] == "Restarted"] == [
        (*told, "Restarted") for told in (("Deployment", "a"), ("Deployment", "b"))
    ]

    live = workloads.get("Deployment", "a")
    [ours] = [entry["fieldsV1"] for entry in live["metadata"]["managedFields"] if entry["manager"] == "cube-oauth-restarts"]
    annotation = {"f:restarted.cubeoauth.dev/sidecar": {}}
    assert ours["f:spec"]["f:template"]["f:metadata"]["f:annotations"] | {".": {}} == annotation | {".": {}}
    assert list(ours) == ["f:spec"], "nothing else is ours"
    live["spec"]["template"]["metadata"].pop("annotations")
    assert live["spec"] == before["a"]["spec"]


async def test_what_was_injected_in_a_pipeline_is_not_restarted_and_told_to_be_injected_anew(installation, workloads, look):
    workloads.create("cube", annotations=ASKS, template={"cubeoauth.dev/injected": f"v1 {OLD}"})
    eventually(lambda: workloads.pods("cube"))
    brokers(installation, NEW)
    assert not await look()
    assert workloads.restarted("cube") == {}
    assert look.told == [("Deployment", "cube", "OutdatedSidecar")]


def test_a_deployment_with_the_label_on_itself_only_is_told_where_it_belongs(installation):
    kube, tenant = installation.kube, installation.tenant
    template = {"metadata": {"labels": {"app": "cube"}}, "spec": {"containers": [{"name": "cube", "image": "cubejs/cube"}]}}
    spec = {"selector": {"matchLabels": {"app": "cube"}}, "template": template}
    metadata = {"name": "cube", "labels": {"cubeoauth.dev/inject": "true"}}
    before = kube.create(f"/apis/apps/v1/namespaces/{tenant}/deployments", {"metadata": metadata, "spec": spec})
    installation.start()

    def told():
        return [event for event in installation.events() if event["reason"] == "LabelMisplaced"]

    [event] = eventually(told, say=installation.tell)
    assert event["regarding"]["name"] == "cube"
    assert "it belongs in spec.template.metadata.labels" in event["note"]
    after = kube.get(f"/apis/apps/v1/namespaces/{tenant}/deployments/cube")
    assert after["metadata"]["generation"] == before["metadata"]["generation"], "nothing is written into it"
