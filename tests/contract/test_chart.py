"""The chart: what it asks for, that it renders the same twice, and that it grants no more than it says."""

import copy
import dataclasses
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from cube_oauth.portal.limits import LimitSettings
from cube_oauth.portal.session import SessionLimits
from cube_oauth.portal.settings import PortalSettings
from tests.cluster import ClusterError, binaries
from tests.cluster.commands import run

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/cube-oauth-operator"
FIVE = yaml.safe_load((ROOT / "examples/values.yaml").read_text())


def render(values, *flags, release="cube-oauth"):
    helm = binaries.ensure(("helm",))["helm"]
    command = [helm, "template", release, CHART, "--namespace", "cube-oauth", "--values", "-", *flags]
    return run(command, text_in=yaml.safe_dump(values))


def objects(values):
    return [item for item in yaml.safe_load_all(render(values)) if item]


def rules(rendered, name, namespace=None):
    kind = "Role" if namespace else "ClusterRole"
    found = [
        item
        for item in rendered
        if item["kind"] == kind and item["metadata"]["name"] == name and item["metadata"].get("namespace") == namespace
    ]
    assert len(found) == 1, f"{kind} {name} in {namespace}"
    return found[0]["rules"]


def without(path):
    values = copy.deepcopy(FIVE)
    part = values
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    return values


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (("portal", "url"), "portal.url must be"),
        (("login", "issuer"), "login.issuer must be"),
        (("login", "clientID"), "login.clientID must be"),
        (("namespaces",), "namespaces must list"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_a_missing_value_is_asked_for_in_a_sentence(path, says):
    with pytest.raises(ClusterError, match=says):
        render(without(path))


def test_an_http_portal_is_refused():
    with pytest.raises(ClusterError, match="https://"):
        render({**FIVE, "portal": {"url": "http://connect.example.com"}})


def test_a_proxy_takes_the_place_of_the_log_in_and_not_both():
    proxy = {"proxy": {"addresses": ["10.1.2.3/32"]}}
    assert "CUBE_OAUTH_PROXY_ADDRESSES" in render({**FIVE, "login": proxy})
    with pytest.raises(ClusterError, match="only one of them"):
        render({**FIVE, "login": {**FIVE["login"], **proxy}})


def test_keys_and_tokens_are_kept_apart():
    with pytest.raises(ClusterError, match="kept apart"):
        render({**FIVE, "tokenNamespace": {"name": "cube-oauth"}})


@pytest.mark.parametrize("url", ["https://connect.example.com/portal", "https://connect.example.com?x", "https://"])
def test_a_portal_below_a_path_is_refused(url):
    with pytest.raises(ClusterError, match="without a path"):
        render({**FIVE, "portal": {"url": url}})


def test_tokens_are_in_no_namespace_where_somebody_is_at_home():
    with pytest.raises(ClusterError, match="must be none of namespaces"):
        render({**FIVE, "namespaces": ["analytics", "cube-oauth-tokens"]})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"namespaces": "analytics"}, "at '/namespaces': got string, want array"),
        ({"certManager": {"enabled": "false"}}, "at '/certManager/enabled': got string, want boolean"),
        ({"image": {"tag": 20261127}}, "at '/image/tag': got number, want string"),  # would become 2.0261127e+07
        ({"webhook": {"failurePolicy": "ignore"}}, "at '/webhook/failurePolicy': value must be one of 'Fail', 'Ignore'"),
        ({"webhook": {"timeoutSeconds": 31}}, "at '/webhook/timeoutSeconds': maximum: got 31, want 30"),
        ({"broker": {"replica": 2}}, "at '/broker': additional properties 'replica' not allowed"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "/".join(value),
)
def test_a_value_that_cannot_be_is_refused_instead_of_overlooked(values, says):
    with pytest.raises(ClusterError, match=re.escape(says)):
        render({**FIVE, **values})


def test_the_schema_has_the_values_and_no_others():
    schema = json.loads((CHART / "values.schema.json").read_text())
    parents = {"global", "enabled"}  # what a chart that has this one as a dependency sets

    def check(part, known, path):
        assert set(part) | (parents if not path else set()) == set(known), path or "at the top"
        for key, value in part.items():
            found = known[key].get("properties") or schema["definitions"].get(known[key].get("$ref", "").split("/")[-1], {}).get(
                "properties"
            )
            if found and value:  # an empty one is free to have any of them
                check(value, found, f"{path}/{key}")

    check(yaml.safe_load((CHART / "values.yaml").read_text()), schema["properties"], "")


def test_large_numbers_are_written_out():
    """Numbers of a file are floating ones for Helm, and a template writes them as 1e+06."""
    many = 3_000_000
    values = {**FIVE, "sidecar": {"outageSeconds": many}, "keys": {"announceSeconds": many, "rotateAfterDays": many}}
    assert render(values).count(f'value: "{many}"') == 3


def test_a_namespace_that_stands_there_twice_is_rendered_once():
    assert len(objects({**FIVE, "namespaces": ["analytics", "analytics"]})) == len(objects(FIVE))


def test_a_dot_in_the_releases_name_is_in_no_name_of_a_service():
    rendered = yaml.safe_load_all(render(FIVE, release="cube-oauth.eu"))
    names = [item["metadata"]["name"] for item in rendered if item and item["kind"] == "Service"]
    assert names == ["cube-oauth-eu-broker", "cube-oauth-eu-portal"]


def test_rendering_twice_gives_the_same_bytes():
    assert render(FIVE) == render(FIVE)


def test_rendering_asks_no_cluster_and_rolls_no_dice():
    """`helm template | kubectl apply` in a pipeline gives what `helm upgrade` gives."""
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    asked = ("lookup ", ".Capabilities", ".Release.IsUpgrade", ".Release.IsInstall", "rand", "genCA", "genSigned", "uuidv4", "now ")
    assert [word for word in asked if word in templates] == []


INGRESS = {**FIVE, "portal": {**FIVE["portal"], "ingress": {"enabled": True}}}


@pytest.mark.parametrize("values", [FIVE, INGRESS], ids=["five", "ingress"])
def test_nothing_empty_is_rendered_that_the_api_server_would_drop(values):
    """`kubectl apply` would report a change each time."""

    def empty(part, path=""):
        if part in (None, {}, []) or (part == "" and path.endswith("/value")):
            yield path
        for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
            yield from empty(value, f"{path}/{key}")

    for item in objects(values):
        if item["kind"] != "CustomResourceDefinition":
            assert list(empty(item)) == [], item["metadata"]["name"]


def test_the_five_values_of_the_example_are_all_that_is_needed():
    kinds = {item["kind"] for item in objects(FIVE)}
    assert {"Deployment", "Service", "MutatingWebhookConfiguration", "CustomResourceDefinition"} <= kinds


def test_what_uninstalling_would_take_from_people_is_kept_by_every_tool():
    kept = {
        "helm.sh/resource-policy": "keep",
        "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
        "kustomize.toolkit.fluxcd.io/prune": "disabled",
    }
    found = [item for item in objects(FIVE) if "helm.sh/resource-policy" in item["metadata"].get("annotations", {})]
    assert sorted(item["kind"] for item in found) == ["CustomResourceDefinition", "CustomResourceDefinition", "Namespace"]
    assert all(item["metadata"]["annotations"] == kept for item in found)


def test_no_template_makes_a_secret():
    assert "Secret" not in {item["kind"] for item in objects(FIVE)}


def test_the_portal_may_create_secrets_and_never_read_one():
    rendered = objects(FIVE)
    assert rules(rendered, "cube-oauth-portal", "cube-oauth-tokens") == [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
    ]
    for namespace, name in (("cube-oauth", "cube-oauth-portal"), ("analytics", "cube-oauth-portal-tenant")):
        assert all("secrets" not in rule["resources"] for rule in rules(rendered, name, namespace))


ADMINS = {**FIVE, "admins": {"groups": ["platform"]}}


def policies(values):
    return {item["metadata"]["name"]: item for item in objects(values) if item["kind"] == "ValidatingAdmissionPolicy"}


def test_without_administrators_nobody_may_create_apps_or_client_secrets():
    rendered = objects(FIVE)
    assert rules(rendered, "cube-oauth-portal-tenant", "analytics")[0]["verbs"] == ["list", "watch"]
    for rule in rules(rendered, "cube-oauth-controller-tenant", "analytics"):
        assert "secrets" not in rule["resources"] or rule["verbs"] == ["get"]
    assert len(policies(FIVE)) == 2


def test_administrators_bring_the_rights_and_the_policies_that_hold_them():
    rendered = objects(ADMINS)
    verbs = rules(rendered, "cube-oauth-portal-tenant", "analytics")[0]["verbs"]
    assert verbs == ["list", "watch", "get", "create", "patch", "delete"]
    verbs = [
        rule["verbs"] for rule in rules(rendered, "cube-oauth-controller-tenant", "analytics") if "secrets" in rule["resources"]
    ]
    assert verbs == [["get"], ["create", "update"]]
    bound = {item["spec"]["policyName"] for item in rendered if item["kind"] == "ValidatingAdmissionPolicyBinding"}
    assert bound == set(policies(ADMINS))
    assert len(bound) == 4


def test_the_portal_reads_its_session_and_its_limits_from_the_values():
    """By the names that the process reads, which a template makes of the values' names."""
    values = {**FIVE, "portal": {**FIVE["portal"], "session": {"idleSeconds": 600}, "limits": {"personBurst": 9}}}
    (portal,) = [item for item in objects(values) if item["kind"] == "Deployment" and item["metadata"]["name"].endswith("-portal")]
    env = {one["name"]: one["value"] for one in portal["spec"]["template"]["spec"]["containers"][0]["env"] if "value" in one}
    settings = PortalSettings.read({**env, "CUBE_OAUTH_COOKIE_RING_FILE": "ring"})
    assert settings.session == SessionLimits(idle=timedelta(minutes=10))
    assert settings.limits == LimitSettings(person_burst=9)
    limits = {name for name in env if "_LIMIT_" in name or "_SESSION_" in name}
    assert len(limits) == len(dataclasses.fields(LimitSettings)) + len(dataclasses.fields(SessionLimits))


def test_the_broker_has_no_right_to_the_keys():
    rendered = objects(FIVE)
    roles = [item for item in rendered if item["kind"] == "Role" and "broker" in item["metadata"]["name"]]
    assert "cube-oauth" not in {role["metadata"]["namespace"] for role in roles}
    assert rules(rendered, "cube-oauth-broker", "cube-oauth-tokens")[0]["verbs"] == ["list", "watch"]


EXTERNAL = {
    "enabled": True,
    "volumes": {process: {"csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True}} for process in ("controller", "broker")},
    "podAnnotations": {"portal": {"vault.hashicorp.com/agent-inject": "true"}},
}


def test_with_rings_from_outside_nobody_may_read_or_make_one_in_the_cluster():
    for more in ({}, {"certManager": {"enabled": True, "issuerRef": {"name": "ca"}}}):
        rendered = objects({**FIVE, **more, "keys": {"external": EXTERNAL}})
        named = [rule for rule in rules(rendered, "cube-oauth-controller", "cube-oauth") if "secrets" in rule["resources"]]
        assert "keys-" not in str(named)
        assert all(rule["resourceNames"] for rule in named if rule["verbs"] != ["create"]), "no names would mean all of them"
        assert "keys-" not in str([item for item in rendered if item["kind"] == "Deployment"])


def test_each_process_gets_its_own_rings_from_outside():
    pods = {
        item["metadata"]["name"].removeprefix("cube-oauth-"): item["spec"]["template"]
        for item in objects({**FIVE, "keys": {"external": EXTERNAL}})
        if item["kind"] == "Deployment"
    }
    settings = {
        process: {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]} for process, pod in pods.items()
    }
    assert settings["controller"]["CUBE_OAUTH_KEYS_DIR"] == "/etc/cube-oauth/keys"
    assert settings["broker"]["CUBE_OAUTH_ACCESS_RING_FILE"] == "/etc/cube-oauth/keys/access"
    assert settings["portal"]["CUBE_OAUTH_COOKIE_RING_FILE"] == "/etc/cube-oauth/keys/cookie"
    mounted = {
        process: [one for one in pod["spec"]["containers"][0]["volumeMounts"] if one["name"] == "keys"]
        for process, pod in pods.items()
    }
    assert mounted["controller"] == mounted["broker"] == [{"name": "keys", "mountPath": "/etc/cube-oauth/keys", "readOnly": True}]
    assert mounted["portal"] == []
    assert pods["portal"]["metadata"]["annotations"]["vault.hashicorp.com/agent-inject"] == "true"
    assert "vault" not in str(pods["broker"]["metadata"])


def test_the_broker_is_never_given_the_ring_of_refresh_tokens():
    [broker] = [one for one in objects(FIVE) if one["kind"] == "Deployment" and one["metadata"]["name"] == "cube-oauth-broker"]
    secrets = {one["secret"]["secretName"] for one in broker["spec"]["template"]["spec"]["volumes"] if "secret" in one}
    assert secrets == {"cube-oauth-broker-tls", "cube-oauth-keys-access"}


def test_nobody_lists_secrets_outside_the_token_namespace():
    for item in objects(FIVE):
        if item["kind"] in ("Role", "ClusterRole") and item["metadata"].get("namespace") != "cube-oauth-tokens":
            for rule in item["rules"]:
                if "secrets" in rule["resources"]:
                    assert not {"list", "watch", "*"} & set(rule["verbs"]), item["metadata"]["name"]


def test_secrets_that_hold_service_accounts_are_watched_by_name_where_they_are_and_nowhere_else():
    rendered = objects({**FIVE, "serviceAccounts": {"sources": {"vault": ["warehouse"]}}})
    assert rules(rendered, "cube-oauth-controller-sources", "vault") == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["warehouse"], "verbs": ["list", "watch"]}
    ]
    assert [role["metadata"]["namespace"] for role in rendered if role["metadata"]["name"] == "cube-oauth-controller-sources"] == [
        "vault",
        "vault",
    ]
    assert all(
        "secrets" not in str(role) for role in rendered if role["metadata"].get("namespace") == "vault" and "broker" in str(role)
    )


def test_the_controller_writes_secrets_beside_cube_only_where_service_accounts_are_enabled_and_a_policy_holds_it():
    enabled = {**FIVE, "serviceAccounts": {"enabled": True}}
    tenant = rules(objects(enabled), "cube-oauth-controller-tenant", "analytics")
    assert [rule["verbs"] for rule in tenant if "secrets" in rule["resources"]] == [["get"], ["create", "update", "delete"]]
    [(name, policy)] = [(name, one) for name, one in policies(enabled).items() if name.endswith("-secrets")]
    assert policy["spec"]["matchConstraints"]["resourceRules"][0]["operations"] == ["CREATE", "UPDATE", "DELETE"]
    bound = {item["spec"]["policyName"] for item in objects(enabled) if item["kind"] == "ValidatingAdmissionPolicyBinding"}
    assert name in bound


def test_named_client_secrets_are_all_that_can_be_read():
    tenant = rules(objects({**FIVE, "clientSecretNames": ["trino-oauth"]}), "cube-oauth-controller-tenant", "analytics")
    [secrets] = [rule for rule in tenant if "secrets" in rule["resources"]]
    assert secrets == {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["trino-oauth"], "verbs": ["get"]}


def test_rights_in_all_namespaces_have_to_be_chosen():
    assert not [item for item in objects(FIVE) if item["kind"] == "ClusterRole" and "tenant" in item["metadata"]["name"]]
    everywhere = objects({**FIVE, "namespaces": ["*"]})
    assert len([item for item in everywhere if item["kind"] == "ClusterRole" and "tenant" in item["metadata"]["name"]]) == 3


def test_the_webhook_sees_labelled_pods_at_creation_only():
    [configuration] = [item for item in objects(FIVE) if item["kind"] == "MutatingWebhookConfiguration"]
    [webhook] = configuration["webhooks"]
    selected = webhook["objectSelector"]["matchExpressions"][:2]
    assert [(one["key"], one["operator"], one.get("values")) for one in selected] == [
        ("cubeoauth.dev/inject", "Exists", None),
        ("cubeoauth.dev/inject", "NotIn", ["false"]),
    ]
    assert webhook["rules"][0]["operations"] == ["CREATE"]
    assert "caBundle" not in webhook["clientConfig"], "the controller's field; a template would render it anew each time"


def test_our_own_pods_are_excluded_whatever_labels_they_get():
    rendered = objects(FIVE)
    [configuration] = [item for item in rendered if item["kind"] == "MutatingWebhookConfiguration"]
    *_, excluded = configuration["webhooks"][0]["objectSelector"]["matchExpressions"]
    assert excluded["operator"] == "NotIn"
    templates = [item["spec"]["template"]["metadata"]["labels"] for item in rendered if item["kind"] == "Deployment"]
    assert [labels[excluded["key"]] for labels in templates] == excluded["values"] * 3


def test_failure_policy_and_timeout_are_values():
    [configuration] = [
        item
        for item in objects({**FIVE, "webhook": {"failurePolicy": "Ignore", "timeoutSeconds": 3}})
        if item["kind"] == "MutatingWebhookConfiguration"
    ]
    assert (configuration["webhooks"][0]["failurePolicy"], configuration["webhooks"][0]["timeoutSeconds"]) == ("Ignore", 3)


def test_more_than_one_broker_has_a_disruption_budget():
    assert not [item for item in objects(FIVE) if item["kind"] == "PodDisruptionBudget"]
    [budget] = [item for item in objects({**FIVE, "broker": {"replicas": 2}}) if item["kind"] == "PodDisruptionBudget"]
    assert budget["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("issuer", [{}, {"kind": "ClusterIssuer", "name": "company"}], ids=["own authority", "company's"])
def test_cert_manager_makes_the_certificate_and_then_the_controller_may_not(issuer):
    rendered = objects({**FIVE, "certManager": {"enabled": True, "issuerRef": issuer}})
    made = {item["metadata"]["name"]: item for item in rendered if item["kind"] == "Certificate"}
    certificate = made["cube-oauth-broker"]["spec"]
    assert certificate["secretName"] == "cube-oauth-broker-tls", "which the broker mounts"
    assert "cube-oauth-broker.cube-oauth.svc" in certificate["dnsNames"]
    authorities = [one["spec"]["privateKey"]["rotationPolicy"] for one in made.values() if one["spec"].get("isCA")]
    assert authorities == ([] if issuer else ["Never"]), "what trusts the former authority trusts the renewed one"
    issuers = [item["metadata"]["name"] for item in rendered if item["kind"] == "Issuer"]
    assert certificate["issuerRef"] == (issuer or {"kind": "Issuer", "name": "cube-oauth-broker"})
    assert bool(issuers) == (not issuer)
    [configuration] = [item for item in rendered if item["kind"] == "MutatingWebhookConfiguration"]
    assert configuration["metadata"]["annotations"] == {"cert-manager.io/inject-ca-from": "cube-oauth/cube-oauth-broker"}
    [controller] = [
        item for item in rendered if item["kind"] == "Deployment" and item["metadata"]["name"] == "cube-oauth-controller"
    ]
    variables = {variable["name"] for variable in controller["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert not variables & {"CUBE_OAUTH_BROKER_SERVICE", "CUBE_OAUTH_WEBHOOK"}
    assert not [item for item in rendered if item["kind"] == "ClusterRole" and item["metadata"]["name"].endswith("-controller")]
    assert "broker-tls" not in str(rules(rendered, "cube-oauth-controller", "cube-oauth"))


@pytest.mark.parametrize("process", ["controller", "broker", "portal"])
def test_every_pod_runs_under_restricted_pod_security(process):
    [deployment] = [
        item for item in objects(FIVE) if item["kind"] == "Deployment" and item["metadata"]["name"] == f"cube-oauth-{process}"
    ]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
