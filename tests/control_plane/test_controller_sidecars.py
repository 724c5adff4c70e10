"""Deployments with old sidecars are told, and counted."""

import json

import pytest

from tests.control_plane.harness import eventually

pytestmark = pytest.mark.control_plane


def test_a_deployment_whose_pods_have_an_old_sidecar_is_told_once_how_to_restart_it(installation, kubectl):
    kube, tenant = installation.kube, installation.tenant
    labels = {"app": "cube", "cubeoauth.dev/inject": "true"}
    metadata = {"labels": labels, "annotations": {"cubeoauth.dev/injected": "v1 registry/operator:1"}}
    template = {"metadata": metadata, "spec": {"containers": [{"name": "cube", "image": "cubejs/cube"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "cube"}}, "template": template}
    kube.create(f"/apis/apps/v1/namespaces/{tenant}/deployments", {"metadata": {"name": "cube"}, "spec": spec})
    eventually(lambda: len(kube.items(f"/api/v1/namespaces/{tenant}/pods")) == 2)
    controller = installation.start(CUBE_OAUTH_SIDECAR_IMAGE="registry/operator:2")

    def told():
        return [event for event in installation.events() if event["reason"] == "OutdatedSidecar"]

    [event] = eventually(told, say=installation.tell)
    assert (event["regarding"]["kind"], event["regarding"]["name"], event["type"]) == ("Deployment", "cube", "Warning")
    assert event["note"] == (
        "2 of its pods have the sidecar v1 registry/operator:1, and new ones get v1 registry/operator:2; "
        f"kubectl rollout restart deployment/cube -n {tenant}"
    )
    described = kubectl("events", "-n", tenant, "--for=deployment/cube", "-o", "json")
    assert any(item["reason"] == "OutdatedSidecar" for item in json.loads(described.stdout)["items"]), "where people look"
    assert f'cube_oauth_controller_outdated_sidecars{{namespace="{tenant}"}} 2.0' in controller.page("/metrics")[1]


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
