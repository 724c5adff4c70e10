"""Golden files: each case in tests/cases/injection is a pod template before and after.

``UPDATE_CASES=1 pytest tests/unit/injection`` writes the second half anew; read the difference before committing it.
"""

import copy
import os
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import yaml

from cube_oauth.injection import layout
from cube_oauth.injection.checks import Reason
from cube_oauth.injection.facts import App, Settings
from cube_oauth.injection.inject import inject
from cube_oauth.injection.jsonpatch import apply
from cube_oauth.injection.node_options import REQUIRE
from cube_oauth.injection.uninject import uninject

CASES = Path(__file__).resolve().parents[2] / "cases" / "injection"
SETTINGS = Settings(image="registry.example/cube-oauth:1", broker_url="https://broker.cube-oauth.svc:8443", ca="PEM")
TRINO = App("trino", "trino", "trino-service", (("CUBEJS_DB_TRINO_TOKEN", "token"),))
LABEL = {"cubeoauth.dev/inject": "true"}


def pod(*containers, annotations=None, **spec):
    metadata = {"labels": dict(LABEL), **({"annotations": annotations} if annotations else {})}
    return {
        "metadata": metadata,
        "spec": {"containers": [dict(c) for c in containers or ({"name": "cube", "image": "cubejs/cube"},)], **spec},
    }


def injected(manifest, settings=SETTINGS, apps=(TRINO,), **how):
    outcome = inject(manifest, settings, apps, **how)
    assert outcome.refusal is None, outcome.refusal
    return apply(manifest, outcome.patch), outcome


def sidecar(manifest):
    return manifest["spec"]["initContainers"][0]


def variables(manifest, index=0):
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in manifest["spec"]["containers"][index]["env"]}


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_case(path):
    before, *_ = yaml.safe_load_all(path.read_text())
    after, outcome = injected(before)
    if os.environ.get("UPDATE_CASES"):
        comment = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
        path.write_text(
            comment + yaml.safe_dump_all([before, after, {"warnings": list(outcome.warnings)}], sort_keys=False, width=120)
        )
    _, expected, said = yaml.safe_load_all(path.read_text())
    assert after == expected
    assert list(outcome.warnings) == said["warnings"]


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_injecting_what_was_injected_changes_nothing(path):
    before, *_ = yaml.safe_load_all(path.read_text())
    after, _ = injected(before)
    again = inject(after, SETTINGS, [TRINO])
    assert (again.reason, again.patch) == (Reason.ALREADY_INJECTED, ())


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_uninjecting_gives_what_was_before(path):
    before, *_ = yaml.safe_load_all(path.read_text())
    after, _ = injected(before)
    assert apply(after, uninject(after)) == before
    assert uninject(before) == ()


def test_the_manifest_itself_is_not_touched():
    before = pod()
    kept = copy.deepcopy(before)
    injected(before)
    assert before == kept


def test_a_pod_without_the_label_is_left_alone():
    assert inject({"metadata": {}, "spec": {}}, SETTINGS, []).reason is Reason.NOT_REQUESTED


def test_a_label_that_says_false_is_no_request():
    manifest = pod()
    manifest["metadata"]["labels"]["cubeoauth.dev/inject"] = "false"
    assert inject(manifest, SETTINGS, []).reason is Reason.NOT_REQUESTED


# --- which container


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([("anything", "x/y")], 0),
        ([("proxy", "envoy"), ("cube", "x/y")], 1),
        ([("proxy", "envoy"), ("api", "cubejs/cube:v1.7")], 1),
        ([("cube", "x/y"), ("store", "cubejs/cubestore")], 0),
    ],
)
def test_the_obvious_container_is_cube(names, chosen):
    after, _ = injected(pod(*({"name": name, "image": image} for name, image in names)))
    assert [("env" in container) for container in after["spec"]["containers"]] == [index == chosen for index in range(len(names))]


def test_the_annotation_chooses_the_container():
    after, _ = injected(pod({"name": "cube"}, {"name": "other"}, annotations={"cubeoauth.dev/container": "other"}))
    assert "env" not in after["spec"]["containers"][0]
    assert variables(after, 1)["NODE_OPTIONS"] == REQUIRE


def refusal(manifest, reason, apps=(), settings=SETTINGS):
    outcome = inject(manifest, settings, apps)
    assert (outcome.reason, outcome.patch) == (reason, ())
    return outcome.refusal


def test_when_it_is_not_obvious_the_candidates_are_named():
    sentence = refusal(pod({"name": "a", "image": "x"}, {"name": "b", "image": "y"}), Reason.CONTAINER_UNCLEAR)
    assert "choose one of: a, b" in sentence
    assert "cubeoauth.dev/container" in sentence


def test_an_annotation_that_names_no_container_is_refused():
    sentence = refusal(pod(annotations={"cubeoauth.dev/container": "kube"}), Reason.CONTAINER_UNCLEAR)
    assert "kube" in sentence
    assert "choose one of: cube" in sentence


def test_a_registry_of_that_name_is_not_cube():
    neither = pod({"name": "a", "image": "cube.example.com/x"}, {"name": "b", "image": "cube/y:1"})
    assert "choose one of: a, b" in refusal(neither, Reason.CONTAINER_UNCLEAR)
    second = pod({"name": "a", "image": "cube.example.com:443/proxy@sha256:cube"}, {"name": "b", "image": "y/my-cube:1"})
    after, _ = injected(second)
    assert "env" in after["spec"]["containers"][1]


# --- refusals


@pytest.mark.parametrize("label", ["True", "yes", "", True])
def test_a_label_that_means_neither_yes_nor_no_is_refused(label):
    manifest = pod()
    manifest["metadata"]["labels"]["cubeoauth.dev/inject"] = label
    assert f'must be "true" or "false", in quotes; it is {label}' in refusal(manifest, Reason.LABEL_UNCLEAR)


@pytest.mark.parametrize("spec", [{"os": {"name": "windows"}}, {"nodeSelector": {"kubernetes.io/os": "windows"}}])
def test_a_windows_pod_is_refused(spec):
    assert "runs on Linux only" in refusal(pod(**spec), Reason.PLATFORM_UNSUPPORTED)


def test_the_mirror_of_a_static_pod_is_refused():
    assert "a static pod" in refusal(pod(annotations={"kubernetes.io/config.mirror": "x"}), Reason.PLATFORM_UNSUPPORTED)


@pytest.mark.parametrize(
    ("what", "changed", "says"),
    [
        ("replaced", lambda env: [*env[1:], {"name": "NODE_OPTIONS", "value": "--agent"}], "container cube has not --require="),
        ("from another source", lambda env: [*env[1:], {"name": "NODE_OPTIONS", "valueFrom": {}}], "container cube has not"),
        ("overridden by a later one", lambda env: [*env, {"name": "NODE_OPTIONS"}], "container cube has not"),
        ("taken out", lambda env: [], "no container has the hook's variables"),
    ],
)
def test_a_pod_with_the_sidecar_whose_hook_another_tool_has_put_out_of_work_is_refused(what, changed, says):
    after, _ = injected(pod({"name": "cube", "env": [{"name": "NODE_OPTIONS", "value": "--agent"}]}))
    cube = after["spec"]["containers"][0]
    cube["env"] = changed(cube["env"])
    assert says in refusal(after, Reason.INJECTION_INCOMPLETE)


def test_what_another_tool_adds_to_an_injected_pod_is_no_matter():
    after, _ = injected(pod())
    [options] = [item for item in after["spec"]["containers"][0]["env"] if item["name"] == "NODE_OPTIONS"]
    options["value"] += " --require=/otel/autoinstrumentation.js"
    after["spec"]["containers"].insert(0, {"name": "istio-proxy"})
    assert inject(after, SETTINGS, [TRINO]).reason is Reason.ALREADY_INJECTED


def test_every_reason_is_explained():
    page = (CASES.parents[2] / "docs" / "injection.md").read_text()
    assert [reason for reason in Reason if f"`{reason}`" not in page] == []


def test_two_apps_with_one_data_source_are_both_named():
    sentence = refusal(pod(), Reason.DATA_SOURCE_TWICE, [TRINO, App("other", "trino")])
    assert "OAuthApps other and trino both have data source trino" in sentence


def test_the_apps_annotation_resolves_that_conflict():
    after, _ = injected(pod(annotations={"cubeoauth.dev/apps": "trino"}), apps=[TRINO, App("other", "trino")])
    assert {"name": "CUBE_OAUTH_APPS", "value": "trino"} in sidecar(after)["env"]


def test_two_service_accounts_for_one_variable_are_both_named():
    other = App("other", "warehouse", "s", (("CUBEJS_DB_TRINO_TOKEN", "k"),))
    sentence = refusal(pod(), Reason.VARIABLE_TWICE, [TRINO, other])
    assert "other and trino both set CUBEJS_DB_TRINO_TOKEN" in sentence


def test_a_claim_that_the_administrator_did_not_allow_is_refused():
    manifest = pod(annotations={"cubeoauth.dev/username-claim": "nickname"})
    assert "sub, email" in refusal(manifest, Reason.CLAIM_NOT_ALLOWED, settings=replace(SETTINGS, username_claims=("email",)))


def test_an_allowed_claim_is_taken():
    manifest = pod(annotations={"cubeoauth.dev/username-claim": "email"})
    after, _ = injected(manifest, replace(SETTINGS, username_claims=("email",)))
    assert variables(after)["CUBE_OAUTH_USERNAME_CLAIM"] == "email"


@pytest.mark.parametrize(
    "manifest",
    [
        pod(volumes=[{"name": "cube-oauth", "emptyDir": {}}]),
        pod({"name": "cube", "volumeMounts": [{"name": "x", "mountPath": "/run/cube-oauth/"}]}),
        pod({"name": "cube", "volumeMounts": [{"name": "x", "mountPath": "/run//cube-oauth/below"}]}),
        pod({"name": "cube", "env": [{"name": "CUBE_OAUTH_SOCKET", "value": "/tmp/mine"}]}),
    ],
    ids=["volume", "mount", "mount below", "variable"],
)
def test_a_name_that_injection_needs_is_not_overwritten(manifest):
    assert "rename or remove it" in refusal(manifest, Reason.NAME_TAKEN)


def test_a_container_of_the_sidecars_name_is_refused():
    manifest = pod({"name": "cube", "image": "cubejs/cube"}, {"name": layout.SIDECAR})
    assert "container of a name that injection needs" in refusal(manifest, Reason.NAME_TAKEN)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"hostNetwork": True}, "ClusterFirstWithHostNet"),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirst"}, "ClusterFirstWithHostNet"),
        ({"dnsPolicy": "Default"}, "ClusterFirst"),
    ],
)
def test_a_pod_that_would_not_find_the_broker_is_refused(spec, wanted):
    assert f"set dnsPolicy: {wanted}" in refusal(pod(**spec), Reason.BROKER_UNRESOLVABLE)
    injected(pod(**spec), replace(SETTINGS, broker_url="https://broker.example.com"))


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_a_port_that_another_container_has_is_refused_until_another_is_chosen(kind):
    manifest = pod({"name": "cube", "image": "cubejs/cube"})
    manifest["spec"].setdefault(kind, []).append({"name": "exporter", "ports": [{"containerPort": layout.HEALTH_PORT}]})
    sentence = refusal(manifest, Reason.PORT_UNUSABLE)
    assert "cubeoauth.dev/health-port must choose another port" in sentence
    assert "9102" in sentence
    manifest["metadata"]["annotations"] = {"cubeoauth.dev/health-port": "9103"}
    after, _ = injected(manifest)
    assert sidecar(after)["ports"][0]["containerPort"] == sidecar(after)["livenessProbe"]["httpGet"]["port"] == 9103
    assert {"name": "CUBE_OAUTH_LISTEN", "value": ":9103"} in sidecar(after)["env"]


@pytest.mark.parametrize("port", ["80", "65536", "http"])
def test_a_port_that_the_sidecar_cannot_have_is_refused(port):
    manifest = pod(annotations={"cubeoauth.dev/health-port": port})
    assert f"from 1024 to 65535; it is {port}" in refusal(manifest, Reason.PORT_UNUSABLE)


def test_the_same_port_of_udp_is_another():
    injected(pod({"name": "cube", "ports": [{"containerPort": layout.HEALTH_PORT, "protocol": "UDP"}]}))


def test_an_annotation_without_quotes_in_a_manifest_is_read_as_text():
    after, _ = injected(pod(annotations={"cubeoauth.dev/health-port": 9103}), offline=True)
    assert sidecar(after)["ports"][0]["containerPort"] == 9103


@pytest.mark.parametrize("spec", [{"shareProcessNamespace": True}, {"hostPID": True}])
def test_processes_that_neighbours_see_are_warned_about(spec):
    _, outcome = injected(pod(**spec))
    assert any("see each other's processes" in warning for warning in outcome.warnings)


def test_node_options_that_a_command_sets_are_warned_about():
    _, outcome = injected(pod({"name": "cube", "command": ["sh", "-c", "NODE_OPTIONS=--inspect exec node server.js"]}))
    assert any("sets NODE_OPTIONS in its command" in warning for warning in outcome.warnings)


def test_pre_aggregations_for_everybody_are_warned_about():
    _, outcome = injected(pod({"name": "cube", "env": [{"name": "CUBEJS_ROLLUP_ONLY", "value": "true"}]}))
    assert any("built as the service account" in warning for warning in outcome.warnings)


@pytest.mark.parametrize("path", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_warning_is_short_enough_to_arrive_whole(path):
    before, *_ = yaml.safe_load_all(path.read_text())
    assert all(len(warning) <= 256 for how in (True, False) for warning in injected(before, offline=how)[1].warnings)


# --- NODE_OPTIONS and other variables


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"value": "--max-old-space-size=4096"}, f"--max-old-space-size=4096 {REQUIRE}"),
        ({"value": ""}, REQUIRE),
        ({}, REQUIRE),
    ],
)
def test_node_options_are_appended_to(before, after):
    manifest, _ = injected(pod({"name": "cube", "env": [{"name": "NODE_OPTIONS", **before}]}))
    assert variables(manifest)["NODE_OPTIONS"] == after


def test_of_two_node_options_the_last_counts_as_for_the_kubelet():
    env = [{"name": "NODE_OPTIONS", "value": "--a"}, {"name": "NODE_OPTIONS", "value": "--b"}]
    manifest, _ = injected(pod({"name": "cube", "env": env}))
    assert variables(manifest)["NODE_OPTIONS"] == f"--b {REQUIRE}"


def test_node_options_from_elsewhere_are_expanded_by_the_kubelet():
    source = {"configMapKeyRef": {"name": "node", "key": "options"}}
    after, _ = injected(pod({"name": "cube", "env": [{"name": "NODE_OPTIONS", "valueFrom": source}]}))
    env = after["spec"]["containers"][0]["env"]
    names = [item["name"] for item in env]
    assert env[names.index("CUBE_OAUTH_NODE_OPTIONS")]["valueFrom"] == source
    assert variables(after)["NODE_OPTIONS"] == f"$(CUBE_OAUTH_NODE_OPTIONS) {REQUIRE}"
    assert names.index("CUBE_OAUTH_NODE_OPTIONS") < names.index("NODE_OPTIONS")


def kubelet(env, present, env_from=()):
    """``makeEnvironmentVariables`` of the kubelet (pkg/kubelet/kubelet_pods.go), for what is at stake here."""
    found = {key: value for source in env_from for (name, key), value in present.items() if name == source["configMapRef"]["name"]}
    for item in env:
        if reference := next(iter(item.get("valueFrom", {}).values()), None):
            if (reference["name"], reference["key"]) not in present:
                assert reference["optional"]
                continue
            found[item["name"]] = present[reference["name"], reference["key"]]
        else:
            found[item["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found.get(match[1], match[0]), item["value"])
    return found


@pytest.mark.parametrize(
    ("present", "options"),
    [
        ({}, f" {REQUIRE}"),
        ({("settings", "NODE_OPTIONS"): "--a"}, f"--a {REQUIRE}"),
        ({("settings", "NODE_OPTIONS"): "--a", ("more", "OPTIONS"): "--b"}, f"--b {REQUIRE}"),
    ],
    ids=["absent", "in one source", "in both: the last counts"],
)
def test_node_options_of_env_from_are_kept_wherever_they_are(present, options):
    sources = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "more"}, "prefix": "NODE_"}]
    after, outcome = injected(pod({"name": "cube", "envFrom": sources}), apps=())
    assert kubelet(after["spec"]["containers"][0]["env"], present)["NODE_OPTIONS"] == options
    assert not any("NODE_OPTIONS" in warning for warning in outcome.warnings)


@pytest.mark.parametrize(("present", "options"), [({}, f" {REQUIRE}"), ({("node", "options"): "--a"}, f"--a {REQUIRE}")])
def test_an_optional_source_of_node_options_may_be_absent(present, options):
    source = {"configMapKeyRef": {"name": "node", "key": "options", "optional": True}}
    manifest = pod({"name": "cube", "env": [{"name": "NODE_OPTIONS", "valueFrom": source}]})
    after, _ = injected(manifest, apps=())
    assert kubelet(after["spec"]["containers"][0]["env"], present)["NODE_OPTIONS"] == options
    _, outcome = injected(manifest, offline=True)
    assert any("remove optional" in warning for warning in outcome.warnings)


ENTRIES = {
    "a value": {"name": "NODE_OPTIONS", "value": "--literal"},
    "an empty value": {"name": "NODE_OPTIONS", "value": ""},
    "another variable": {"name": "OTHER", "value": "$(NODE_OPTIONS)"},
    "an optional key that is there": {
        "name": "NODE_OPTIONS",
        "valueFrom": {"configMapKeyRef": {"name": "node", "key": "options", "optional": True}},
    },
    "an optional key that is not": {
        "name": "NODE_OPTIONS",
        "valueFrom": {"secretKeyRef": {"name": "node", "key": "absent", "optional": True}},
    },
    "a key": {"name": "NODE_OPTIONS", "valueFrom": {"configMapKeyRef": {"name": "node", "key": "certain"}}},
}
PRESENT = {("node", "options"): "--optional", ("node", "certain"): "--certain"}


@pytest.mark.parametrize("of_env_from", [None, "--env-from"])
def test_whatever_several_node_options_come_to_without_the_hook_they_come_to_with_it(of_env_from):
    present = PRESENT | ({("settings", "NODE_OPTIONS"): of_env_from} if of_env_from else {})
    env_from = [{"configMapRef": {"name": "settings"}}]
    for names in (names for count in (1, 2, 3) for names in product(ENTRIES, repeat=count)):
        env = [ENTRIES[name] for name in names]
        before = kubelet(env, present, env_from).get("NODE_OPTIONS", "")
        manifest = pod({"name": "cube", "env": env, "envFrom": env_from})
        after, _ = injected(manifest, apps=())
        found = kubelet(after["spec"]["containers"][0]["env"], present, env_from)["NODE_OPTIONS"]
        assert found.split() == [*before.split(), REQUIRE], names
        assert apply(after, uninject(after)) == manifest, names


def test_a_source_whose_prefix_cannot_make_node_options_is_not_asked():
    after, _ = injected(pod({"name": "cube", "envFrom": [{"configMapRef": {"name": "x"}, "prefix": "CUBEJS_"}]}))
    assert variables(after)["NODE_OPTIONS"] == REQUIRE


def test_offline_node_options_that_may_be_in_env_from_are_warned_about():
    """Server-side apply refuses two variables of one name."""
    after, outcome = injected(pod({"name": "cube", "envFrom": [{"configMapRef": {"name": "settings"}}]}), offline=True)
    names = [item["name"] for item in after["spec"]["containers"][0]["env"]]
    assert len(names) == len(set(names))
    assert any("settings" in warning and "NODE_OPTIONS" in warning for warning in outcome.warnings)


def test_the_containers_own_variable_wins_over_the_service_account():
    after, _ = injected(pod({"name": "cube", "env": [{"name": "CUBEJS_DB_TRINO_TOKEN", "value": "mine"}]}))
    assert variables(after)["CUBEJS_DB_TRINO_TOKEN"] == "mine"


def test_the_service_account_comes_from_its_secret():
    after, _ = injected(pod())
    assert variables(after)["CUBEJS_DB_TRINO_TOKEN"] == {"secretKeyRef": {"name": "trino-service", "key": "token"}}


def test_an_app_that_the_annotation_leaves_out_gives_no_service_account():
    after, outcome = injected(pod(annotations={"cubeoauth.dev/apps": "elsewhere"}))
    assert "CUBEJS_DB_TRINO_TOKEN" not in variables(after)
    assert any("no OAuthApp elsewhere" in warning for warning in outcome.warnings)


def test_an_issuer_is_not_expanded():
    after, _ = injected(pod(annotations={"cubeoauth.dev/issuer": "https://$(HOST)/"}))
    assert variables(after)["CUBE_OAUTH_ISSUER"] == "https://$$(HOST)/"


# --- the sidecar


def test_the_sidecar_comes_first_and_stays():
    after, _ = injected(pod(initContainers=[{"name": "migrate"}]))
    assert [container["name"] for container in after["spec"]["initContainers"]] == [layout.SIDECAR, "migrate"]
    assert sidecar(after)["restartPolicy"] == "Always"


def test_cube_has_neither_the_sidecars_token_nor_a_writable_volume():
    after, _ = injected(pod())
    assert after["spec"]["containers"][0]["volumeMounts"] == [
        {"name": "cube-oauth", "mountPath": "/run/cube-oauth", "readOnly": True}
    ]


@pytest.mark.parametrize(
    ("pod_user", "setting", "user"), [(None, None, None), (0, None, 65532), (1000, None, None), (0, 2000, 2000)]
)
def test_the_sidecar_never_runs_as_root(pod_user, setting, user):
    spec = {} if pod_user is None else {"securityContext": {"runAsUser": pod_user}}
    after, _ = injected(pod(**spec), replace(SETTINGS, run_as_user=setting))
    security = sidecar(after)["securityContext"]
    assert security.get("runAsUser") == user
    assert security["runAsNonRoot"] is True
