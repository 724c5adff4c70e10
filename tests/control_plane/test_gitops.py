"""Nothing that the operator does is drift: what Helm, kubectl, Flux and Argo CD do, on a real API server beside our controller.

Helm and kubectl are the real ones. Argo CD's three-way difference is kubectl's (gitops-engine uses that code), so `kubectl diff`
and `apply` stand in for it. Flux is a few lines here that do what its kustomize-controller documents: a dry run of a server-side
apply tells whether to apply, and what was applied before and is no longer in Git is deleted.
"""

import copy
import json
import os
import subprocess
from types import SimpleNamespace

import pytest
import yaml

from cube_oauth.controller.restarts import Outdated, Restarts
from cube_oauth.kube.api import Api
from cube_oauth.resources.names import credential_name
from tests.cluster import binaries
from tests.control_plane.harness import CREDENTIALS, ROOT, condition, eventually
from tests.control_plane.workloads import Workloads
from tests.parts.health import argo, kstatus

pytestmark = pytest.mark.control_plane

CHART = ROOT / "charts/cube-oauth-operator"
VALUES = yaml.safe_load((ROOT / "examples/values.yaml").read_text())
SERVER_SIDE = "application/apply-patch+yaml"


class Release:
    """The chart and an application, as a repository holds them, and our controller beside the API server."""

    def __init__(self, installation, kubectl):
        self.installation, self.kubectl = installation, kubectl
        self.namespace = installation.system
        self.webhook = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/cube-oauth-{self.namespace}"
        installation.portal = f"system:serviceaccount:{self.namespace}:cube-oauth-portal"
        values = {**VALUES, "namespaces": [installation.tenant], "tokenNamespace": {"name": installation.tokens}}
        self.values = installation.folder / "values.yaml"
        self.values.write_text(yaml.safe_dump(values))

    def helm(self, *arguments):
        helm = binaries.ensure(("helm",))["helm"]
        home = {"HOME": str(self.installation.folder), "PATH": os.environ["PATH"]}
        command = [str(helm), *arguments, "--namespace", self.namespace]
        environment = {**home, "KUBECONFIG": str(self.installation.cluster.kubeconfig)}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=120).stdout

    def rendered(self):
        return self.helm("template", "cube-oauth", str(CHART), "--values", str(self.values))

    def application(self):
        """An OAuthApp and two people."""
        spec = {"issuerURL": self.installation.provider.issuer, "clientID": "cube", "clientSecretRef": {"name": "trino-client"}}
        spec |= {"scopes": ["openid", "offline_access", "query"]}
        app = {"apiVersion": "cubeoauth.dev/v1alpha1", "kind": "OAuthApp", "metadata": self._meta("trino"), "spec": spec}
        return [app, *(self.credential(username) for username in ("alice", "bob"))]

    def credential(self, username):
        spec = {"username": username, "oauthAppRef": {"name": "trino"}}
        meta = self._meta(credential_name("trino", username))
        return {"apiVersion": "cubeoauth.dev/v1alpha1", "kind": "UserCredential", "metadata": meta, "spec": spec}

    def _meta(self, name):
        return {"name": name, "namespace": self.installation.tenant}

    def start(self):
        """The controller of this release, once it is active."""
        self.installation.client_secret("trino", "canary-client-secret-1")
        return self.installation.start(CUBE_OAUTH_WEBHOOK=f"cube-oauth-{self.namespace}")

    def settled(self):
        """Until all is written: by the operator the caBundle and the statuses, by Kubernetes what it notes at Deployments."""
        kube, tenant = self.installation.kube, self.installation.tenant

        def written():
            hooks = kube.get(self.webhook)["webhooks"]
            people = kube.items(CREDENTIALS.format(tenant))
            deployments = kube.items(f"/apis/apps/v1/namespaces/{self.namespace}/deployments")
            return (
                all(one["status"].get("observedGeneration") for one in deployments)
                and hooks[0]["clientConfig"].get("caBundle")
                and self.installation.ready()["status"] == "True"
                and all(condition(person, "Ready")["status"] == "True" for person in people)
            )

        eventually(written, say=self.installation.tell)

    def everything(self):
        """The text of all that Git holds."""
        return "\n---\n".join([self.rendered(), *(yaml.safe_dump(item) for item in self.application())])


@pytest.fixture
def release(installation, kubectl):
    made = Release(installation, kubectl)
    yield made
    installation.end()
    text = [part for part in made.rendered().split("\n---\n") if "kind: CustomResourceDefinition" not in part]
    kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", input="\n---\n".join(text), check=False)


def without_what_the_server_keeps(manifest):
    """As it is for comparisons: no status, no bookkeeping."""
    kept = {key: value for key, value in copy.deepcopy(manifest).items() if key != "status"}
    for field in ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"):
        kept["metadata"].pop(field, None)
    return kept


def owned(manifest):
    """Whatever the operator owns of an object: (manager, subresource, fields)."""
    entries = manifest["metadata"]["managedFields"]
    return [
        (entry["manager"], entry.get("subresource"), entry["fieldsV1"])
        for entry in entries
        if entry["manager"].startswith(("cube-oauth", "kopf"))
    ]


def test_with_helm_an_upgrade_changes_nothing_that_the_operator_wrote_and_uninstalling_leaves_what_it_says(release):
    chart, values = str(CHART), str(release.values)
    release.helm("install", "cube-oauth", chart, "--values", values, "--take-ownership", "--force-conflicts")
    release.start()
    release.kubectl("apply", "-f", "-", input="\n---\n".join(yaml.safe_dump(item) for item in release.application()))
    release.settled()
    kube = release.installation.kube
    webhook = kube.get(release.webhook)
    before = _live(release)
    for _ in range(2):
        release.helm("upgrade", "cube-oauth", chart, "--values", values)
        assert _live(release) == before
    assert (
        kube.get(release.webhook)["webhooks"][0]["clientConfig"]["caBundle"] == webhook["webhooks"][0]["clientConfig"]["caBundle"]
    )
    [(_, _, fields)] = owned(kube.get(release.webhook))
    assert str(fields).count("f:") - str(fields).count("f:webhooks") - str(fields).count("f:clientConfig") == 2, fields
    assert "f:caBundle" in str(fields)

    said = release.helm("uninstall", "cube-oauth")
    assert said.count("[CustomResourceDefinition]") == 2
    assert f"[Namespace] {release.installation.tokens}" in said
    release.installation.end()
    assert len(kube.items(CREDENTIALS.format(release.installation.tenant))) == 2, "what people have stays"
    for person in kube.items(CREDENTIALS.format(release.installation.tenant)):
        kube.delete(f"{CREDENTIALS.format(release.installation.tenant)}/{person['metadata']['name']}")
    assert kube.items(CREDENTIALS.format(release.installation.tenant)) == [], "and goes without the operator"


def _live(release):
    """Every object of the release, without statuses."""
    text = release.helm("get", "manifest", "cube-oauth")
    found = json.loads(release.kubectl("get", "-f", "-", "-o", "json", input=text).stdout)["items"]
    assert len(found) > 20
    return [without_what_the_server_keeps(item) for item in found]


@pytest.mark.parametrize("flags", [(), ("--server-side", "--field-manager=argocd-controller")], ids=["three-way", "server-side"])
def test_with_kubectl_or_argo_cd_repeated_reconciles_find_no_difference(release, flags):
    text = release.everything()
    release.kubectl("apply", *flags, *(("--force-conflicts",) if flags else ()), "-f", "-", input=text)
    release.start()
    release.settled()
    release.installation.connect("alice")
    for _ in range(2):
        difference = release.kubectl("diff", *flags, *(("--force-conflicts",) if flags else ()), "-f", "-", input=text, check=False)
        assert (difference.returncode, difference.stdout) == (0, ""), difference.stderr
    applied = release.kubectl("apply", *flags, *(("--force-conflicts",) if flags else ()), "-f", "-", input=text)
    assert flags or [line for line in applied.stdout.splitlines() if not line.endswith("unchanged")] == []
    live = release.installation.look("alice")
    assert live["status"]["state"] == "Active"
    assert [(manager, subresource) for manager, subresource, _ in owned(live)] == [("cube-oauth-controller", "status")]
    assert not live["metadata"].get("finalizers")


@pytest.mark.parametrize("flags", [(), ("--server-side", "--field-manager=argocd-controller")], ids=["three-way", "server-side"])
async def test_a_restart_that_a_workload_asks_for_is_no_difference_and_no_tool_takes_it_back(installation, kubectl, flags):
    template = {"metadata": {"labels": {"app": "cube"}}, "spec": {"containers": [{"name": "cube", "image": "cubejs/cube"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "cube"}}, "template": template}
    meta = {"name": "cube", "namespace": installation.tenant, "annotations": {"cubeoauth.dev/restart-when-outdated": "true"}}
    text = yaml.safe_dump({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})
    kubectl("apply", *flags, "-f", "-", input=text)
    Workloads(installation.kube, installation.tenant).available("Deployment", "cube", 0)
    async with Api.connect(str(installation.cluster.kubeconfig)) as api:
        restarts = Restarts(api, SimpleNamespace(normal=lambda *_, **__: None), enabled=True)
        [cube] = await restarts.workloads(installation.tenant)
        assert await restarts.restart(installation.tenant, [Outdated(cube, "sidecar", "v2")])

    def annotations():
        found = installation.kube.get(f"/apis/apps/v1/namespaces/{installation.tenant}/deployments/cube")
        return found["spec"]["template"]["metadata"]["annotations"]

    assert annotations() == {"restarted.cubeoauth.dev/sidecar": "v2"}
    difference = kubectl("diff", *flags, "-f", "-", input=text, check=False)
    assert (difference.returncode, difference.stdout) == (0, ""), difference.stderr
    kubectl("apply", *flags, "-f", "-", input=text)
    assert annotations() == {"restarted.cubeoauth.dev/sidecar": "v2"}


class Flux:
    """Applies a set of objects, and prunes what it applied before."""

    def __init__(self, kube):
        self._kube, self._inventory = kube, {}

    def reconcile(self, desired):
        """The names of what was changed."""
        changes, paths = [], {self._path(item): item for item in desired}
        for path, item in paths.items():
            live = self._kube.get(path)
            wanted = self._apply(path, item, dry_run=True)
            if live is None or without_what_the_server_keeps(live) != without_what_the_server_keeps(wanted):
                self._apply(path, item)
                changes.append(item["metadata"]["name"])
        for path in self._inventory.keys() - paths.keys():
            self._kube.delete(path)
            changes.append(self._inventory[path]["metadata"]["name"])
        self._inventory = paths
        return changes

    def _apply(self, path, item, *, dry_run=False):
        query = f"?fieldManager=kustomize-controller&force=true{'&dryRun=All' if dry_run else ''}"
        return self._kube.ask("PATCH", path + query, item, SERVER_SIDE)

    @staticmethod
    def _path(item):
        plural = {"OAuthApp": "oauthapps", "UserCredential": "usercredentials"}[item["kind"]]
        return f"/apis/{item['apiVersion']}/namespaces/{item['metadata']['namespace']}/{plural}/{item['metadata']['name']}"


def test_with_flux_people_in_git_and_people_of_the_portal_live_side_by_side_and_pruning_revokes(release, provider):
    installation = release.installation
    release.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=release.rendered())
    release.start()
    flux, git = Flux(installation.kube), release.application()
    assert sorted(flux.reconcile(git)) == sorted(item["metadata"]["name"] for item in git)
    release.settled()
    pending = installation.status("bob")
    assert (pending["state"], pending["authorizeURL"][:8]) == ("Pending", "https://")
    installation.connect("alice")  # declared in Git
    git = [item for item in git if item["spec"].get("username") != "bob"]
    assert flux.reconcile(git) == [credential_name("trino", "bob")]
    installation.connect("bob")  # made by the portal
    assert len(provider.control.grants()) == 2
    assert flux.reconcile(git) == flux.reconcile(git) == []

    without_alice = [item for item in git if item["spec"].get("username") != "alice"]
    assert flux.reconcile(without_alice) == [credential_name("trino", "alice")]
    eventually(lambda: [grant["username"] for grant in provider.control.grants()] == ["bob"], say=installation.tell)
    assert len(installation.stored("token")) == 1
    assert flux.reconcile(without_alice) == []
    assert installation.status("bob")["state"] == "Active"


# --- health


def test_health_says_what_is_the_deployers_business_and_waits_for_no_person(release):
    installation, kube = release.installation, release.installation.kube
    installation.start()
    installation.app("broken", secret=False, clientSecretRef={"name": "nowhere"})
    installation.app()
    installation.credential("alice")
    installation.credential("alice", name="twice")
    path = f"/apis/cubeoauth.dev/v1alpha1/namespaces/{installation.tenant}"
    installation.until("alice", "trino", lambda status: status.get("state") == "Pending")
    eventually(lambda: condition(kube.get(f"{path}/usercredentials/twice"), "Ready")["status"] == "False", say=installation.tell)
    eventually(lambda: "no Secret nowhere" in installation.ready("broken")["message"], say=installation.tell)

    def both(kind, name):
        found = kube.get(f"{path}/{kind}/{name}")
        return kstatus(found), *argo(found)

    assert both("oauthapps", "trino")[:2] == ("Current", "Healthy")
    waiting, health, message = both("oauthapps", "broken")
    assert (waiting, health) == ("InProgress", "Degraded")
    assert "There is no Secret nowhere in this namespace" in message
    waiting, health, message = both("usercredentials", credential_name("trino", "alice"))
    assert (waiting, health) == ("Current", "Healthy")
    assert message.startswith("Pending: ")
    assert both("usercredentials", "twice")[1] == "Degraded"
    new = {"kind": "OAuthApp", "metadata": {"generation": 1, "name": "new"}}
    assert argo(new) == ("Progressing", "Waiting for the controller.")
