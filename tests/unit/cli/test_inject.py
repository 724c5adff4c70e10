"""``kubectl cube-oauth inject`` and ``uninject``."""

import difflib
import io
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cube_oauth.cli import main
from cube_oauth.cli.manifests import templates
from cube_oauth.injection.facts import Settings
from cube_oauth.injection.inject import inject as inject_pod
from cube_oauth.injection.jsonpatch import apply
from cube_oauth.injection.layout import SIDECAR

TEMPLATE = {
    "metadata": {"labels": {"cubeoauth.dev/inject": "true"}},
    "spec": {"containers": [{"name": "cube", "image": "cubejs/cube"}]},
}
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n"
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
def command(tmp_path, monkeypatch, capsysbinary):
    """Runs a command on text: exit code, what it wrote, what it said."""
    (tmp_path / "ca.pem").write_text(CERTIFICATE)
    settings = ("--image", "i:1", "--broker-url", "https://b", "--ca-file", str(tmp_path / "ca.pem"))

    def run(verb, text, *more):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        code = main([verb, "-f", "-", *(settings if verb == "inject" else ()), *more])
        captured = capsysbinary.readouterr()
        return code, captured.out.decode(), captured.err.decode()

    return run


@pytest.fixture
def inject(command):
    def run(*documents, more=()):
        code, out, said = command("inject", yaml.safe_dump_all(documents), *more)
        return code, list(yaml.safe_load_all(out)), said

    return run


def template_of(document):
    spec = document["spec"]
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return spec.get("template", {"spec": spec})["spec"]


@pytest.mark.parametrize("kind", ["Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Rollout"])
def test_every_kind_with_a_pod_template_is_injected(inject, kind):
    code, [document], _ = inject(workload(kind))
    assert code == 0
    assert template_of(document)["initContainers"][0]["name"] == SIDECAR


def test_a_template_in_a_place_that_only_its_own_kind_knows_is_injected(inject):
    """Its pods would go without, and nobody would hear of it: KEDA's jobs, Kubernetes's own PodTemplate."""
    scaled = {"kind": "ScaledJob", "metadata": {"name": "cube"}, "spec": {"jobTargetRef": {"template": TEMPLATE}}}
    code, documents, said = inject(scaled, {"kind": "PodTemplate", "metadata": {"name": "cube"}, "template": TEMPLATE})
    assert (code, said) == (0, "ScaledJob cube: Injected\nPodTemplate cube: Injected\n")
    assert documents[0]["spec"]["jobTargetRef"]["template"]["spec"]["initContainers"]
    assert documents[1]["template"]["spec"]["initContainers"]


def test_containers_of_what_is_no_pod_are_left_alone(inject):
    """Prometheus's own have ``spec.containers``; kustomize's commonLabels put our label on everything."""
    document = workload("Pod") | {"kind": "Prometheus"}
    assert inject(document) == (0, [document], "")


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


def test_what_kubectl_would_not_read_as_text_is_in_quotes(command, tmp_path):
    """``y`` is a boolean for it, and ``1e3`` a number."""
    account = {"secretRef": {"name": "1e3"}, "env": {"CUBEJS_DB_PASS": "y"}}
    (tmp_path / "apps.yaml").write_text(yaml.safe_dump({**APP, "spec": {**APP["spec"], "serviceAccount": account}}))
    _, after, _ = command("inject", LABELLED, "--apps-file", str(tmp_path / "apps.yaml"))
    assert "name: '1e3'\n" in after
    assert "key: 'y'\n" in after


def test_a_refusal_names_the_object_and_writes_nothing(inject):
    template = {**TEMPLATE, "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}}
    code, documents, said = inject(workload("Deployment", template))
    assert (code, documents) == (1, [])
    assert "Deployment cube: annotation cubeoauth.dev/container" in said


def test_all_that_cannot_be_injected_is_named_at_once_and_nothing_is_said_to_be_injected(inject):
    template = {**TEMPLATE, "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}}
    code, documents, said = inject(workload("Deployment"), workload("StatefulSet", template), workload("Job", template))
    assert (code, documents) == (1, [])
    assert [line.partition(": annotation")[0] for line in said.splitlines()] == ["error: StatefulSet cube", "error: Job cube"]


@pytest.mark.parametrize("verb", ["inject", "uninject"])
def test_what_is_no_pod_at_all_is_refused_in_a_sentence(command, verb):
    sidecar = "      initContainers: [{name: cube-oauth-resolver}]\n"
    code, out, said = command(verb, f"{LABELLED}        env: [[]]\n{sidecar}")
    assert (code, out) == (1, "")
    assert said == "error: Deployment cube: this is no pod that Kubernetes knows\n"


def test_warnings_go_to_stderr(inject):
    template = {**TEMPLATE, "spec": {"containers": [{"name": "cube", "envFrom": [{"secretRef": {"name": "s"}}]}]}}
    code, _, said = inject(workload("Deployment", template))
    assert code == 0
    assert "warning: Deployment cube: container cube: if envFrom (s) has NODE_OPTIONS" in said


def test_what_became_of_each_object_is_said(command):
    text = yaml.safe_dump_all([workload("Deployment"), workload("CronJob")])
    _, once, said = command("inject", text)
    assert said == "Deployment cube: Injected\nCronJob cube: Injected\n"
    assert command("inject", once)[2] == "Deployment cube: AlreadyInjected\nCronJob cube: AlreadyInjected\n"
    assert command("uninject", once)[2] == "Deployment cube: Uninjected\nCronJob cube: Uninjected\n"


def test_a_label_on_the_object_itself_is_warned_about(inject):
    document = workload("Deployment", {"metadata": {}, "spec": {"containers": [{"name": "cube"}]}})
    document["metadata"]["labels"] = TEMPLATE["metadata"]["labels"]
    code, [after], said = inject(document)
    assert (code, after) == (0, document)
    assert "the label cubeoauth.dev/inject stands on the object itself; it belongs in the pod template" in said


# --- the text: comments, order and layout

TEXTS = sorted((Path(__file__).resolve().parents[2] / "cases" / "manifests").glob("*"))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_only_lines_are_added_and_taking_them_out_gives_the_same_bytes(command, path):
    before = path.read_bytes().decode()
    code, after, said = command("inject", before)
    assert (code, "Injected" in said) == (0, True), said
    assert command("inject", after)[:2] == (0, after), "injecting twice"
    assert command("uninject", after)[:2] == (0, before)
    assert command("uninject", before)[:2] == (0, before)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_the_text_says_what_the_webhooks_patch_says(command, path):
    """The manifest, read as data, and injected as data: the same as the edited text."""
    settings = Settings(image="i:1", broker_url="https://b", ca=CERTIFICATE)
    expected = list(yaml.safe_load_all(path.read_text()))
    for document in expected:
        for template in templates(document):
            template.manifest.update(apply(template.manifest, inject_pod(template.manifest, settings, None, offline=True).patch))
    assert list(yaml.safe_load_all(command("inject", path.read_bytes().decode())[1])) == expected


def test_comments_and_order_stay(command):
    text = (TEXTS[0].parent / "deployment.yaml").read_text()
    after = command("inject", text)[1].splitlines()
    changed = [line.strip("- ") for line in difflib.ndiff(text.splitlines(), after) if line[0] == "-"]
    assert changed == [
        "annotations: {}",
        "{name: NODE_OPTIONS, value: --max-old-space-size=4096} # half of the limit",
        "volumeMounts: []",
    ]
    value = "--max-old-space-size=4096 --require=/run/cube-oauth/hook.cjs"
    assert f"{' ' * 22}- {{name: NODE_OPTIONS, value: {value}}} # half of the limit" in after


def test_what_an_anchor_stands_for_is_not_changed_behind_its_back(command):
    text = """
kind: List
items:
- kind: Deployment
  metadata: {name: cube}
  spec:
    template: &cube
      metadata: {labels: {cubeoauth.dev/inject: "true"}}
      spec: {containers: [{name: cube, image: cubejs/cube}]}
- {kind: Deployment, metadata: {name: worker}, spec: {template: *cube}}
"""
    code, out, said = command("inject", text)
    assert (code, out) == (1, "")
    assert "write out what" in said


LABELLED = """kind: Deployment
metadata: {name: cube}
spec:
  template:
    metadata:
      labels: {cubeoauth.dev/inject: "true"}
    spec:
      containers:
      - name: cube
"""
AROUND = {
    "BOM": f"\ufeff{LABELLED}",
    "CRLF": LABELLED.replace("\n", "\r\n"),
    "directive": f"%YAML 1.1\n---\n{LABELLED}...\n---\n# cubeoauth.dev/inject, but only a comment\n---\n\n---\n{LABELLED}",
    "two kinds of line ends": f"kind: Service\r\n---\n{LABELLED}",
    "two kinds of line ends in one document": LABELLED.replace("\n", "\r\n", 2),
    "tag": LABELLED.replace('"true"', "!!str true"),
    "merge key": f"x-common: &labels {{a: b}}\n{LABELLED}".replace("{cubeoauth", "{<<: *labels, cubeoauth"),
    "no newline": LABELLED.rstrip("\n"),
    "comments": f"# why\n{LABELLED}# the end",
    "dashes": f"{LABELLED}      initContainers:\n      # before\n      - # on a line of its own\n        name: x\n",
    "tabs": LABELLED.replace("- name: cube", "- name:\tcube\t# a name\t")
    + "        env:\n        - name:\tNODE_OPTIONS\n          value:\t$(X)\n",
}


@pytest.mark.parametrize("text", AROUND.values(), ids=AROUND)
def test_whatever_is_around_it_only_lines_are_added(command, text):
    code, after, said = command("inject", text)
    assert (code, "Deployment cube: Injected" in said) == (0, True), said
    before, lines = text.splitlines(keepends=True), after.splitlines(keepends=True)
    assert [line for line in before if line not in lines] in ([], [before[-1]])
    assert command("inject", after)[:2] == (0, after)
    assert command("uninject", after)[:2] == (0, text)


def test_a_label_without_quotes_is_refused_instead_of_overlooked(command):
    code, out, said = command("inject", LABELLED.replace('"true"', "true"))
    assert (code, out) == (1, "")
    assert 'Deployment cube: label cubeoauth.dev/inject must be "true" or "false", in quotes; it is True' in said


JSON = json.dumps(workload("Deployment"))
STREAMS = {
    "a line each": f"{JSON}\n{JSON}\n",
    "one behind the other": f"{JSON}{JSON}",
    "indented by tabs": json.dumps(workload("Deployment"), indent="\t") * 2,
    "slashes escaped": f"{JSON.replace('/', chr(92) + '/')}\n\n {JSON}",
    "a surrogate pair": JSON.replace('"cube"', '"cube", "x": "\\ud83d\\ude00"') * 2,
}


@pytest.mark.parametrize("text", STREAMS.values(), ids=STREAMS)
def test_json_objects_one_after_the_other_are_a_stream(command, text):
    """As jq writes them, and as kubectl takes them."""
    code, after, said = command("inject", text)
    assert (code, said) == (0, "Deployment cube: Injected\n" * 2)
    assert command("inject", after)[:2] == (0, after)
    assert command("uninject", after)[:2] == (0, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{LABELLED}        env: [{{name: A}}]\n        env: [{{name: B}}]\n", "env stands there more than once; keep one"),
        (f"{LABELLED}        env: &e\n        - {{name: A}}\n      x: *e\n", "write out what it stands for"),
        (
            f"{LABELLED}        env:\n        - name: NODE_OPTIONS\n          value: &v --a\n      x: *v\n",
            "write out what it stands for",
        ),
        (f"{LABELLED}        args:\n        - |\n          last", "put a newline behind it"),
    ],
    ids=["twice", "an anchor on a list", "an anchor on a value", "no end"],
)
def test_what_cannot_be_changed_in_its_layout_is_refused_and_named(command, text, says):
    code, out, said = command("inject", text)
    assert (code, out) == (1, "")
    assert said.startswith("error: Deployment cube: ")
    assert says in said


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.generate],  # each example runs two commands: shrinking one would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    env=st.lists(st.sampled_from(["A", "B", "NODE_OPTIONS"]), unique=True, max_size=3),
    extra=st.sets(st.sampled_from(["volumes", "initContainers", "annotations", "volumeMounts"])),
    flow=st.sampled_from([None, True, False]),
    indent=st.sampled_from([2, 4]),
    comments=st.randoms(use_true_random=False),
)
def test_whatever_the_layout_injecting_and_uninjecting_gives_the_original(command, env, extra, flow, indent, comments):
    container = {
        "name": "cube",
        "image": "cubejs/cube",
        **({"env": [{"name": name, "value": "--x"} for name in env]} if env else {}),
    }
    metadata = {"labels": {"cubeoauth.dev/inject": "true"}, **({"annotations": {"a": "b"}} if "annotations" in extra else {})}
    spec = {"containers": [container], **{key: [{"name": "x"}] for key in ("volumes", "initContainers") if key in extra}}
    container |= {"volumeMounts": [{"name": "x", "mountPath": "/x"}]} if "volumeMounts" in extra else {}
    text = yaml.safe_dump(workload("Deployment", {"metadata": metadata, "spec": spec}), default_flow_style=flow, indent=indent)
    text = "".join(f"{line}  # why\n" if comments.random() < 0.3 else f"{line}\n" for line in text.splitlines())
    code, after, said = command("inject", text)
    assert code == 0, said
    assert template_of(yaml.safe_load(after))["initContainers"][0]["name"] == SIDECAR
    assert command("uninject", after)[:2] == (0, text)


@pytest.mark.parametrize("more", [("--ca-file", "/nowhere"), ("--apps-file", "/nowhere")])
def test_a_file_that_is_not_there_is_an_error_of_its_own(inject, more):
    code, documents, said = inject(workload("Pod"), more=more)
    assert (code, documents) == (2, [])
    assert "/nowhere" in said


def test_what_the_chart_would_set_for_all_sidecars_can_be_set_here(inject):
    template = {**TEMPLATE, "metadata": {**TEMPLATE["metadata"], "annotations": {"cubeoauth.dev/username-claim": "email"}}}
    flags = ("--username-claims", "upn, email", "--image-pull-policy", "Always", "--outage-seconds", "60")
    code, [document], said = inject(workload("Job", template), more=(*flags, "--resources", '{"requests": {"cpu": 1}}'))
    assert code == 0, said
    [sidecar] = template_of(document)["initContainers"]
    assert sidecar["imagePullPolicy"] == "Always"
    assert sidecar["resources"] == {"requests": {"cpu": "1"}, "limits": {}}
    assert {"name": "CUBE_OAUTH_OUTAGE_SECONDS", "value": "60"} in sidecar["env"]
    assert {"name": "CUBE_OAUTH_USERNAME_CLAIM", "value": "email"} in template_of(document)["containers"][0]["env"]


def test_a_key_is_never_written_into_a_manifest(inject, tmp_path):
    (tmp_path / "tls.key").write_text(f"{CERTIFICATE}-----BEGIN PRIVATE KEY-----\n")
    code, documents, said = inject(workload("Pod"), more=("--ca-file", str(tmp_path / "tls.key")))
    assert (code, documents) == (2, [])
    assert "must hold certificates in PEM, and no key" in said


def test_a_second_file_is_not_overlooked(command):
    with pytest.raises(SystemExit) as ended:
        command("uninject", LABELLED, "-f", "other.yaml")
    assert ended.value.code == 2
