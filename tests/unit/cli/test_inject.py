"""``kubectl cube-oauth inject``."""

import io

import pytest
import yaml

from cube_oauth.cli import main
from cube_oauth.injection.layout import SIDECAR

TEMPLATE = {
    "metadata": {"labels": {"cubeoauth.dev/inject": "true"}},
    "spec": {"containers": [{"name": "cube", "image": "cubejs/cube"}]},
}
APP = {
    "apiVersion": "cubeoauth.dev/v1alpha1",
    "kind": "OAuthApp",
    "metadata": {"name": "trino"},
    "spec": {
        "issuerURL": "https://idp",
        "clientID": "c",
        "serviceAccount": {"secretRef": {"name": "service"}, "env": {"CUBEJS_DB_PASS": "password"}},
    },
}


def workload(kind, template=TEMPLATE):
    spec = {"template": template} if kind != "CronJob" else {"jobTemplate": {"spec": {"template": template}}}
    return {"kind": kind, "metadata": {"name": "cube"}, **(template if kind == "Pod" else {"spec": spec})}


@pytest.fixture
def inject(tmp_path, monkeypatch, capsys):
    (tmp_path / "ca.pem").write_text("PEM")

    def run(*documents, more=()):
        monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump_all(documents)))
        code = main(
            ["inject", "-f", "-", "--image", "i:1", "--broker-url", "https://b", "--ca-file", str(tmp_path / "ca.pem"), *more]
        )
        captured = capsys.readouterr()
        return code, list(yaml.safe_load_all(captured.out)), captured.err

    return run


def template_of(document):
    spec = document["spec"]
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return spec.get("template", {"spec": spec})["spec"]


@pytest.mark.parametrize("kind", ["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"])
def test_every_kind_with_a_pod_template_is_injected(inject, kind):
    code, [document], _ = inject(workload(kind))
    assert code == 0
    assert template_of(document)["initContainers"][0]["name"] == SIDECAR


def test_lists_and_several_documents_keep_their_order(inject):
    other = {"kind": "Service", "metadata": {"name": "x"}}
    code, documents, _ = inject(other, {"kind": "List", "items": [other, workload("Deployment")]})
    assert (code, documents[0]) == (0, other)
    assert documents[1]["items"][0] == other
    assert template_of(documents[1]["items"][1])["initContainers"]


def test_what_does_not_ask_for_it_stays_as_it_is(inject):
    document = workload("Deployment", {"metadata": {}, "spec": {"containers": []}})
    assert inject(document)[:2] == (0, [document])


def test_injecting_the_output_changes_nothing(inject):
    _, once, _ = inject(workload("Deployment"))
    assert inject(*once)[1] == once


def test_apps_of_a_file_give_the_service_account(inject, tmp_path):
    (tmp_path / "apps.yaml").write_text(yaml.safe_dump(APP))
    _, [document], _ = inject(workload("Deployment"), more=("--apps-file", str(tmp_path / "apps.yaml")))
    env = {item["name"]: item for item in template_of(document)["containers"][0]["env"]}
    assert env["CUBEJS_DB_PASS"]["valueFrom"] == {"secretKeyRef": {"name": "service", "key": "password"}}


def test_a_refusal_names_the_object_and_writes_nothing(inject):
    template = {**TEMPLATE, "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}}
    code, documents, said = inject(workload("Deployment", template))
    assert (code, documents) == (1, [])
    assert "Deployment cube: annotation cubeoauth.dev/container" in said


def test_warnings_go_to_stderr(inject):
    template = {**TEMPLATE, "spec": {"containers": [{"name": "cube", "envFrom": [{"secretRef": {"name": "s"}}]}]}}
    code, _, said = inject(workload("Deployment", template))
    assert code == 0
    assert "warning: Deployment cube: container cube: if envFrom (s) has NODE_OPTIONS" in said


@pytest.mark.parametrize("more", [("--ca-file", "/nowhere"), ("--apps-file", "/nowhere")])
def test_a_file_that_is_not_there_is_an_error_of_its_own(inject, more):
    code, documents, said = inject(workload("Pod"), more=more)
    assert (code, documents) == (2, [])
    assert "/nowhere" in said
