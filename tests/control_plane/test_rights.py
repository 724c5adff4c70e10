"""The rights that the chart grants are exactly those that are used, by the word of the API server's audit log.

Controller, broker and portal run as their own service accounts with what the chart renders, and everything that they can do is done
once: first as installed with the example's values, then with everything that brings further rights. A request that is denied fails
the test, and so does a permission (verb, resource, namespace, name) that nobody made use of.
"""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from cube_oauth.controller.certificates import Certificates
from cube_oauth.kube.api import Api
from tests.cluster import ControlPlane
from tests.control_plane.harness import APPS, CREDENTIALS, PATIENCE, SECRETS, SERVICE_SECRET, Installation, KubeApi, eventually
from tests.control_plane.rights import PORTAL, PROCESSES, RELEASE, Installed, Permission
from tests.control_plane.workloads import Workloads
from tests.parts.certificates import self_made
from tests.parts.provider import Provider, app_client, service_client

pytestmark = [pytest.mark.control_plane, pytest.mark.timeout(900)]

NAME = "rights"
TENANT, SYSTEM, TOKENS, VAULT = (f"{NAME}-{part}" for part in ("tenant", "system", "tokens", "vault"))
VALUES = {
    "portal": {"url": PORTAL},
    "login": {"proxy": {"addresses": ["127.0.0.1/32"]}},
    "namespaces": [TENANT],
    "tokenNamespace": {"name": TOKENS, "create": False},
    "provider": {"allowedAddresses": ["127.0.0.0/8"]},
    "keys": {"announceSeconds": 1},
}
EVERYTHING = {
    "admins": {"groups": ["platform"]},
    "restarts": {"enabled": True},
    "serviceAccounts": {"enabled": True, "sources": {TENANT: ["beside"], VAULT: ["shared"]}},
}
"""The values that bring further rights."""

UNNAMED = ("sales", "local", "remote", "unnamed", "fetched")
"""Apps that are there when only the client Secret of another is named."""

REVIEWS = "/apis/authorization.k8s.io/v1"
LISTS = {"list", "watch", "deletecollection"}
OLD = "v1 cubeoauth/operator:old"


class World:
    """An installation, and everybody who makes use of it."""

    def __init__(self, cluster, provider, folder):
        self.kube, self.provider = KubeApi(cluster), provider
        self.team = Installation(self.kube, cluster, provider, folder, NAME)
        """What administrators and people do in the tenant's namespace."""
        self.installed = Installed(self.kube, cluster, folder, SYSTEM, VALUES)
        self.workloads, self.brokers = Workloads(self.kube, TENANT), Workloads(self.kube, SYSTEM)

    def start(self, process, **env):
        running = self.installed.start(process, **env)
        self.team.controllers.append(running)
        eventually(running.active if process == "controller" else lambda: running.page("/readyz")[0] == 200, say=self.team.tell)
        return running

    def revoked(self):
        """How many times the present controller had something revoked."""
        lines = self.installed.running["controller"].lines()
        return len([line for line in lines if (line["message"], line.get("reason")) == ("revocation", "Revoked")])

    def until(self, true, seconds=PATIENCE):
        return eventually(true, seconds, self.team.tell)

    def connect(self, username, app):
        """Through the portal, until the controller has redeemed the code: the portal waits for it only for a while."""
        before = self.team.status(username, app).get("revision", 0)
        self.installed.person(username).connect(TENANT, app, self.provider.ca)
        self.team.until(username, app, lambda status: status.get("revision", 0) > before and status["state"] == "Active")

    def told(self, reason):
        return [event["regarding"]["name"] for event in self.team.events() if event["reason"] == reason]


KINDS = ("Deployment", "StatefulSet", "DaemonSet")


def cubes_of_before(world):
    """Workloads whose pods have an old sidecar: nobody injects yet."""
    world.kube.create("/api/v1/nodes", {"metadata": {"name": "nowhere"}})  # a DaemonSet wants one
    for kind in KINDS:
        world.workloads.create(f"cube-{kind.lower()}", kind)
    world.workloads.injected(OLD.removeprefix("v1 "), *(f"cube-{kind.lower()}" for kind in KINDS))


async def certificates_of_before(world, cluster):
    """An authority and a certificate that are to be renewed now."""
    installation = SimpleNamespace(namespace=SYSTEM, named=lambda suffix: f"{RELEASE}-{suffix}")
    settings = SimpleNamespace(installation=installation, broker_service=f"{RELEASE}-broker", webhook=None)
    async with Api.connect(str(cluster.kubeconfig)) as api:
        for days in (489, 22):
            moment = datetime.now(UTC) - timedelta(days=days)
            await Certificates(api, settings, SimpleNamespace(now=lambda moment=moment: moment)).reconcile()


def everybody_starts(world):
    world.start("controller", CUBE_OAUTH_EXTRA_CA_FILE=str(world.provider.ca))
    for secret, folder in (("broker-tls", "tls"), ("keys-access", "access-ring"), ("keys-cookie", "cookie-ring")):
        world.installed.mount(secret, folder)
    world.start("broker")
    world.start("portal", CUBE_OAUTH_EXTRA_CA_FILE=str(world.provider.ca))


def people_connect_use_and_leave(world):
    team, installed = world.team, world.installed
    team.app()
    world.provider.control.lifetimes(accessToken=8)
    world.connect("alice", "trino")
    team.until("alice", "trino", lambda status: status.get("revision", 0) >= 2)
    world.provider.control.lifetimes(accessToken=600)
    world.connect("alice", "trino")
    known = world.until(lambda: installed.resolve(TENANT, "alice")["trino"].get("revision"))
    installed.resolve(TENANT, "alice", dataSource="trino", revision=known)
    team.until("alice", "trino", lambda status: status.get("demand", {}).get("lastUsedAt"))
    team.until("alice", "trino", lambda status: status["revision"] > known)

    somebody_touches_a_token_while_it_is_refreshed(world)
    world.connect("bob", "trino")
    world.kube.patch(f"{CREDENTIALS.format(TENANT)}/{team.look('bob')['metadata']['name']}", {"spec": {"suspend": True}})
    team.until("bob", "trino", lambda status: status["state"] == "Revoked")
    installed.person("alice").post(f"/disconnect/{TENANT}/trino")
    team.app("lake")
    world.connect("carol", "lake")
    world.kube.delete(f"{APPS.format(TENANT)}/lake")
    world.until(lambda: world.revoked() == 3)


def somebody_touches_a_token_while_it_is_refreshed(world):
    known = world.team.look("alice")
    revision, name = known["status"]["revision"], known["metadata"]["name"]
    world.provider.control.delay(1, 5)  # long enough to find the claim, and shorter than the controller's patience
    world.kube.patch(f"{CREDENTIALS.format(TENANT)}/{name}/status", {"status": {"demand": {"rejectedRevision": revision}}})
    world.until(lambda: world.team.token("alice").claim)
    path = f"{SECRETS.format(TOKENS)}/token-{known['metadata']['uid']}"
    world.kube.patch(path, {"metadata": {"annotations": {"somebody": "was here"}}})
    world.team.until("alice", "trino", lambda status: status["revision"] > revision)


def a_service_account_beside_cube_is_not_watched(world):
    """Nobody named its Secret, so nobody asks for it, and the status says what to do."""
    world.team.app("unnamed", serviceAccount={"secretRef": {"name": "unnamed"}, "env": {"CUBEJS_DB_USER": "user"}})
    world.until(lambda: world.team.condition("ServiceAccountReady", "unnamed")["reason"] == "NotWatched")


def keys_are_rotated(world):
    paths = [f"{SECRETS.format(SYSTEM)}/{RELEASE}-keys-{ring}" for ring in ("access", "refresh", "grant", "cookie")]
    public = f"/api/v1/namespaces/{SYSTEM}/configmaps/{RELEASE}-grant-key"
    before = world.kube.get(public)["data"]
    for path in paths:
        world.kube.patch(path, {"metadata": {"annotations": {"cubeoauth.dev/rotate": "now"}}})
    for path in paths:
        world.until(lambda path=path: "cubeoauth.dev/rotate" not in world.kube.get(path)["metadata"]["annotations"])
    world.until(lambda: world.kube.get(public)["data"] != before)


def pods_are_injected_and_refused(world):
    twice = [{"name": name, "image": "x"} for name in "ab"]

    def refused():
        return "unclear" in world.told("ContainerUnclear")

    world.workloads.create("unclear", containers=twice)
    world.until(refused)
    # the controller looks once a minute
    world.until(lambda: set(world.told("OutdatedSidecar")) == {f"cube-{kind.lower()}" for kind in KINDS}, 2 * PATIENCE)


def administrators_make_apps(world):
    paula, path = world.installed.person("paula", "platform"), f"/admin/apps/{TENANT}/sales"
    form = {"preset": "generic", "namespace": TENANT, "title": "Sales", "name": "sales", "client_id": "cube"}
    form |= {"issuer": world.provider.issuer, "scopes": "openid offline_access query", "action": "create"}
    paula.post("/admin/apps/new", **form, client_secret="wrong")
    world.until(lambda: world.kube.get(f"{SECRETS.format(TENANT)}/sales-client"))
    before = world.kube.get(f"{SECRETS.format(TENANT)}/sales-client")["data"]
    paula.post(f"{path}/secret", client_secret="canary-client-secret-1")
    world.until(lambda: world.kube.get(f"{SECRETS.format(TENANT)}/sales-client")["data"] != before)
    changed = {**form, "title": "Sales figures", "action": "save"}
    paula.post(f"{path}/edit", **changed, version=paula.seen(f"{path}/edit"))
    paula.post("/admin/apps/new", **{**form, "name": "passing", "public": "yes"})
    passing = f"/admin/apps/{TENANT}/passing"
    paula.post(f"{passing}/delete", confirm="passing", version=paula.seen(f"{passing}/delete"))
    paula.post(f"{path}/test")
    world.until(lambda: world.team.ready("sales")["status"] == "True")
    world.connect("alice", "sales")
    paula.post(f"{path}/revoke", all="yes")
    world.until(lambda: world.revoked() == 1)


def service_accounts_are_copied_changed_and_removed(world):
    consent = {"cubeoauth.dev/service-account-namespaces": TENANT}
    for namespace, name in ((TENANT, "beside"), (VAULT, "shared")):
        body = {"metadata": {"name": name, "annotations": consent}, "stringData": {"password": "one"}}
        world.kube.create(SECRETS.format(namespace), body)
    for app, ref in (("local", {"name": "beside"}), ("remote", {"name": "shared", "namespace": VAULT})):
        world.team.app(app, serviceAccount={"secretRef": ref, "env": {"CUBEJS_DB_PASS": "password"}})
    target = f"{SECRETS.format(TENANT)}/remote-service-account"
    before = world.until(lambda: world.kube.get(target))["data"]
    world.kube.patch(f"{SECRETS.format(VAULT)}/shared", {"stringData": {"password": "two"}})
    world.until(lambda: world.kube.get(target)["data"] != before)
    world.kube.patch(f"{APPS.format(TENANT)}/remote", {"spec": {"serviceAccount": None}})
    world.until(lambda: world.kube.get(target) is None)


def a_service_accounts_token_is_refused(world):
    world.team.client_secret("account", SERVICE_SECRET, consent="fetched")
    own = {"clientID": "warehouse-account", "clientSecretRef": {"name": "account-client"}, "scopes": ["query"]}
    world.team.app("fetched", serviceAccount={"clientCredentials": own, "env": {"TOKEN": "accessToken"}})
    refused = {"variable": "TOKEN", "revision": 1}
    world.until(lambda: world.installed.post(TENANT, "/v1/invalidate-account", refused)["expected"])
    assert world.kube.get(f"{APPS.format(TENANT)}/fetched")["status"]["demand"] == {"rejectedRevision": 1}
    world.kube.patch(f"{APPS.format(TENANT)}/fetched", {"spec": {"serviceAccount": None}})
    world.until(lambda: world.kube.get(f"{SECRETS.format(TENANT)}/fetched-service-account") is None)


def workloads_that_ask_are_restarted(world):
    """The brokers' Deployment is rolled out, and so is each that was restarted before the next: with the kubelet's word for it."""
    for kind in KINDS:
        asks = {"metadata": {"annotations": {"cubeoauth.dev/restart-when-outdated": "true"}}}
        world.kube.patch(world.workloads.path(kind, f"cube-{kind.lower()}"), asks)

    def restarted():
        world.brokers.run("app.kubernetes.io/component=broker")
        world.workloads.run("cubeoauth.dev/inject=true")
        templates = [world.workloads.get(kind, f"cube-{kind.lower()}")["spec"]["template"] for kind in KINDS]
        return all("restarted.cubeoauth.dev/sidecar" in template["metadata"].get("annotations", {}) for template in templates)

    world.start("controller", CUBE_OAUTH_EXTRA_CA_FILE=str(world.provider.ca))
    world.until(restarted, 2 * PATIENCE)


AS_INSTALLED = (
    people_connect_use_and_leave,
    a_service_account_beside_cube_is_not_watched,
    pods_are_injected_and_refused,
    keys_are_rotated,
)
WITH_MORE = (
    administrators_make_apps,
    service_accounts_are_copied_changed_and_removed,
    a_service_accounts_token_is_refused,
    workloads_that_ask_are_restarted,
)
"""Whatever brings a permission to the chart adds here what makes use of it."""


@pytest.fixture(scope="module")
def cluster():
    with ControlPlane(f"rights-{uuid.uuid4().hex[:8]}", audit_log=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def world(cluster, tmp_path_factory):
    """Before anybody has started."""
    folder = tmp_path_factory.mktemp("rights")
    callbacks = [f"{PORTAL}/callback/{TENANT}/{app}" for app in ("trino", "lake", "sales")]
    clients = [app_client("cube", callbacks, client_secret="canary-client-secret-1")]
    clients += [service_client("warehouse-account", SERVICE_SECRET)]
    users = {"alice": [], "bob": [], "carol": []}
    with Provider(
        clients=clients, users=users, certificate=self_made(folder / "provider-tls", "127.0.0.1"), folder=folder
    ) as provider:
        made = World(cluster, provider, folder)
        try:
            yield made
        finally:
            made.installed.end()


@pytest.fixture(scope="module")
def lived(world, cluster):
    """What was granted, denied and left unused, as installed and with everything."""
    installed, found = world.installed, SimpleNamespace()
    world.kube.create("/api/v1/namespaces", {"metadata": {"name": VAULT}})
    cubes_of_before(world)
    asyncio.run(certificates_of_before(world, cluster))
    installed.apply()
    everybody_starts(world)
    for use in AS_INSTALLED:
        use(world)
    found.as_installed = SimpleNamespace(granted=installed.granted(), unused=installed.audit.unused(installed.granted()))
    installed.apply(**EVERYTHING)
    everybody_starts(world)
    for use in WITH_MORE:
        use(world)
    found.with_more = SimpleNamespace(granted=installed.granted(), unused=installed.audit.unused(installed.granted()))
    found.denied = installed.audit.denied()
    return found


@pytest.fixture(scope="module")
def narrowed(lived, world):
    """What was denied and left unused where keys and certificates come from outside, and client Secrets are named."""
    installed = world.installed
    for ring in ("access", "refresh", "grant", "cookie"):
        installed.mount(f"keys-{ring}", "keys")
        (installed.folder / "keys/ring").rename(installed.folder / f"keys/{ring}")
    keys = {**VALUES["keys"], "external": {"enabled": True}}
    installed.apply(certManager={"enabled": True}, keys=keys, clientSecretNames=["trino-client"])
    world.installed.end()
    public = f"/api/v1/namespaces/{SYSTEM}/configmaps/{RELEASE}-grant-key"
    world.kube.delete(public)
    world.kube.delete(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{RELEASE}-controller")
    installed.audit.skip()
    everybody_starts(world)
    world.kube.patch(public, {"data": {"ring": "somebody's"}})
    world.until(lambda: world.kube.get(public)["data"]["ring"] != "somebody's")
    world.connect("alice", "trino")
    for app in UNNAMED:
        world.until(lambda app=app: world.team.ready(app)["reason"] == "ClientSecretForbidden")
    assert "clientSecretNames" in world.team.ready("sales")["message"]
    permissions = {permission for permission in installed.granted() if permission.namespace == SYSTEM}
    return SimpleNamespace(denied=installed.audit.denied(), unused=installed.audit.unused(permissions))


@pytest.fixture(scope="module")
def everywhere(narrowed, world):
    """What was denied where all namespaces were chosen."""
    installed = world.installed
    installed.apply(namespaces=["*"])
    world.installed.end()
    installed.audit.skip()
    everybody_starts(world)
    world.connect("alice", "trino")
    world.installed.resolve(TENANT, "alice")
    return SimpleNamespace(denied=installed.audit.denied())


def test_nothing_that_a_process_asks_for_is_denied(lived):
    assert lived.denied == set()


def test_as_installed_no_permission_is_left_unused(lived):
    assert lived.as_installed.unused == set()


def test_with_administrators_and_restarts_no_permission_is_left_unused(lived):
    assert lived.with_more.granted > lived.as_installed.granted
    assert lived.with_more.unused == set()


def test_keys_and_certificates_from_outside_leave_no_right_to_them_and_named_client_secrets_none_to_others(narrowed):
    assert narrowed.denied == {Permission("controller", TENANT, "", "secrets", "get", f"{app}-client") for app in UNNAMED}
    assert narrowed.unused == set()


def test_with_all_namespaces_nothing_is_denied(everywhere):
    assert everywhere.denied == set()


# --- what the API server says when it is asked


@pytest.fixture(scope="module", params=["as-installed", "with-more", "everywhere"])
def installed(request, lived, narrowed, everywhere, world):
    """The rights of three ways to install."""
    world.installed.end()
    world.installed.apply(**{"as-installed": {}, "with-more": EVERYTHING, "everywhere": {"namespaces": ["*"]}}[request.param])
    return world.installed


@pytest.mark.parametrize("process", PROCESSES)
def test_no_process_can_list_secrets_outside_the_token_namespace(installed, world, process):
    namespaces = [item["metadata"]["name"] for item in world.kube.items("/api/v1/namespaces")]
    assert {"default", "kube-system", SYSTEM, TENANT, TOKENS} <= set(namespaces)

    def may(verb, namespace):
        attributes = {"verb": verb, "resource": "secrets", **({"namespace": namespace} if namespace else {})}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        status, answer = installed.ask(process, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        assert status == 201
        return answer["status"]["allowed"]

    allowed = {(verb, namespace) for verb in (*LISTS, "*") for namespace in (*namespaces, "") if may(verb, namespace)}
    assert allowed == (set() if process == "portal" else {("list", TOKENS), ("watch", TOKENS)})


def test_the_rendered_rules_hold_no_wildcard_and_no_list_of_secrets_elsewhere(installed):
    permissions = installed.granted()
    assert not [one for one in permissions if "*" in (one.group, one.resource, one.verb)]
    unnamed = [one for one in permissions if one.resource == "secrets" and one.name == "*"]
    listed = {one.namespace for one in unnamed if one.verb in LISTS}
    assert listed == {TOKENS}


def secret(kind="Opaque", name="made-by-the-portal"):
    annotations = {"kubernetes.io/service-account.name": "default"}
    return {"metadata": {"name": name, "annotations": annotations}, "type": kind, "stringData": {"grant": "x"}}


OTHERS = ("Opaque", "cubeoauth.dev/token", "cubeoauth.dev/revocation", "kubernetes.io/service-account-token")


def test_the_portal_creates_secrets_of_the_one_type_in_the_one_namespace_and_does_nothing_else_with_them(installed, world):
    path = SECRETS.format(TOKENS)
    admins = any(one.process == "portal" and one.verb == "create" and one.resource == "oauthapps" for one in installed.granted())
    types = ["cubeoauth.dev/grant", *(["cubeoauth.dev/client"] if admins else [])]

    def asked(method, path, body=None):
        return installed.ask("portal", method, path, body)

    refusal = f"the portal may create Secrets of type {' or '.join(types)} only"
    for kind in {*OTHERS, "cubeoauth.dev/client"} - set(types):
        wanted = secret(kind)  # the API server takes a moment to know a policy
        world.until(lambda wanted=wanted: refusal in asked("POST", f"{path}?dryRun=All", wanted)[1].get("message", ""))
    for kind in types:
        name = f"made-{kind.partition('/')[2]}"
        assert asked("POST", path, secret(kind, name))[0] == 201
        for method, where in (("GET", f"{path}/{name}"), ("DELETE", f"{path}/{name}"), ("GET", path), ("DELETE", path)):
            assert asked(method, where)[0] == 403
        assert asked("PUT", f"{path}/{name}", secret(kind, name))[0] == 403
        world.kube.delete(f"{path}/{name}")
    for namespace in (SYSTEM, TENANT, "default", "kube-system"):
        assert asked("POST", SECRETS.format(namespace), secret("cubeoauth.dev/grant"))[0] == 403
    for process in ("controller", "broker"):
        assert installed.ask(process, "POST", path, secret("cubeoauth.dev/grant"))[0] in (403, 422)
    with pytest.raises(RuntimeError, match="only the portal may create"):  # not even an administrator hands in a grant
        world.kube.create(path, secret("cubeoauth.dev/grant"))


def test_the_broker_writes_the_demand_of_an_oauthapp_and_nothing_else_of_its_status(lived, narrowed, everywhere, world):
    world.installed.end()
    world.installed.apply(**EVERYTHING)
    path = f"{APPS.format(TENANT)}/fetched/status?dryRun=All"
    known = world.kube.get(f"{APPS.format(TENANT)}/fetched")["status"]

    def asked(**status):
        code, answer = world.installed.ask("broker", "PATCH", path, {"status": status})
        return code if code < 400 else (code, answer["message"].rpartition("denied request: ")[2])

    only = (422, "the broker may write status.demand of an OAuthApp only")
    world.until(lambda: asked(tokenURL="https://elsewhere.example.com/token") == only)
    assert asked(demand={"rejectedRevision": 7}) == 200
    assert asked(demand=None) == 200
    for field, value in known.items():
        if field != "demand":
            assert asked(**{field: None}) == only, field
            assert asked(demand={"rejectedRevision": 7}, **{field: value}) == 200, field
    assert asked(subjectURL="https://elsewhere.example.com", demand={"rejectedRevision": 7}) == only
    assert world.installed.ask("broker", "PATCH", path.replace("/status", ""), {"metadata": {"labels": {"a": "b"}}})[0] == 403


def test_the_controller_restarts_who_asks_and_changes_nothing_else_in_anybodys_workload(lived, narrowed, everywhere, world):
    world.installed.end()
    world.installed.apply(**EVERYTHING)
    world.kube.create(world.workloads.path("Deployment"), plain("silent"))
    asking = plain("asking")
    asking["metadata"]["annotations"] = {"cubeoauth.dev/restart-when-outdated": "true"}
    world.kube.create(world.workloads.path("Deployment"), asking)

    def asked(name, body, kind="Deployment"):
        path = f"{world.workloads.path(kind, name)}?dryRun=All"
        status, answer = world.installed.ask("controller", "PATCH", path, body)
        return status if status < 400 else (status, answer["message"].rpartition("denied request: ")[2])

    def annotated(**annotations):
        return {"spec": {"template": {"metadata": {"annotations": annotations}}}}

    restart = annotated(**{"restarted.cubeoauth.dev/sidecar": "v1 x"})
    asks = {"cubeoauth.dev/restart-when-outdated": "true"}
    only_who_asks = (422, "the controller may restart workloads with the annotation cubeoauth.dev/restart-when-outdated only")
    only_to_restart = (422, "the controller may change the annotation restarted.cubeoauth.dev/… of the pod template only")
    world.until(lambda: asked("silent", restart) == only_who_asks)
    assert asked("silent", {"metadata": {"annotations": asks}, **restart}) == only_who_asks
    assert asked("asking", restart) == 200
    for change in (
        {"spec": {"template": {"spec": {"containers": [{"name": "cube", "image": "evil"}]}}}},
        {"spec": {"template": {"spec": {"serviceAccountName": "default"}}}},
        {"spec": {"replicas": 7}},
        {"spec": {"template": {"metadata": {"labels": {"more": "x"}}}}},
        {"metadata": {"annotations": {"more": "x"}}},
        annotated(**{"cubeoauth.dev/username-claim": "email"}),
        annotated(**{"cubeoauth.dev/username-claim": None, "kept": "otherwise"}),
    ):
        assert asked("asking", change) == only_to_restart, change
    for kind in ("StatefulSet", "DaemonSet"):
        assert asked(f"cube-{kind.lower()}", restart, kind) == 200


def plain(name):
    template = {"metadata": {"labels": {"app": name}, "annotations": {"cubeoauth.dev/username-claim": "sub"}}}
    template["spec"] = {"containers": [{"name": "cube", "image": "cubejs/cube"}]}
    return {"metadata": {"name": name}, "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}}
