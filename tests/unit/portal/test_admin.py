import dataclasses
import logging

import pytest

from cube_oauth.kube.api import OAUTH_APPS, KubeError
from cube_oauth.portal.settings import Admins

from .conftest import ORIGIN, credential_of, refused

APPS = "/admin/apps"
TYPED = {
    "action": "create",
    "preset": "generic",
    "namespace": "analytics",
    "title": "Sales",
    "issuer": "https://idp.example.com",
    "client_id": "cube",
    "client_secret": "canary-secret",
}
PAGES = [APPS, f"{APPS}/new", f"{APPS}/new?preset=databricks", f"{APPS}/analytics/trino"]
FORMS = [f"{APPS}/new", f"{APPS}/analytics/trino/test", f"{APPS}/analytics/trino/revoke", f"{APPS}/analytics/trino/secret"]
ARGO = {"annotations": {"argocd.argoproj.io/tracking-id": "warehouse:x"}}


@pytest.fixture
def admin(browser, world, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.admin.PATIENCE", 0.05)
    world.portal.settings = dataclasses.replace(world.portal.settings, admins=Admins(users=("root",), groups=("platform",)))
    world.add_app(spec={"clientSecretRef": {"name": "trino-client"}}, status={"credentials": {"active": 2, "expired": 1}})
    return browser.log_in("paula", ["platform"])


def apps(world):
    return {name: body for (plural, _, name), body in world.api.objects.items() if plural == "oauthapps"}


def kept_by_argo(world):
    (body,) = apps(world).values()
    world.api.put(OAUTH_APPS, {**body, "metadata": {**body["metadata"], **ARGO}})


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("who", [("root", ()), ("paula", ("platform", "x"))], ids=["by name", "by group"])
async def test_administrators_see_the_pages(admin, path, who):
    answer = await admin.log_in(*who).get(path)
    assert answer.status == 200
    assert "OAuth apps" in answer.html


@pytest.mark.parametrize("path", PAGES)
async def test_to_everybody_else_the_pages_do_not_exist(admin, path):
    for somebody in (admin.log_in("alice", ["analysts"]), admin):
        answer = await somebody.get(path)
        assert (answer.status, refused(answer)) == (404, "NotFound")
        assert "OAuth apps" not in answer.html
        admin.cookies.clear()


@pytest.mark.parametrize("path", FORMS)
async def test_nobody_else_changes_anything(admin, world, path):
    world.add_credential(status={"state": "Active"})
    answer = await admin.log_in("alice").post(path, {**TYPED, "all": "yes"})
    assert (answer.status, refused(answer)) == (404, "NotFound")
    assert (len(apps(world)), len(world.credentials()), world.deposits()) == (1, 1, [])


@pytest.mark.parametrize("path", FORMS)
async def test_a_forged_form_changes_nothing(admin, world, path):
    world.add_credential(status={"state": "Active"})
    assert refused(await admin.post(path, {**TYPED, "all": "yes", "token": "x"})) in ("ForeignForm", "TypingKept")
    assert (len(apps(world)), len(world.credentials()), world.deposits()) == (1, 1, [])


async def test_without_the_setting_there_are_no_administrators(browser, world):
    assert (await browser.log_in("root", ["platform"]).get(APPS)).status == 404


async def test_the_list_says_how_each_app_is(admin, world):
    world.add_app("broken", ready="False", reason="InvalidClient")
    html = (await admin.get(APPS)).html
    assert "2 connected, 1 expired" in html
    assert "does not accept the client&#39;s ID, secret" in html


async def test_the_redirect_uri_is_there_before_the_app(admin, world):
    answer = await admin.post(f"{APPS}/new", {**TYPED, "action": "check"})
    assert f"{ORIGIN}/callback/analytics/sales" in answer.html
    assert len(apps(world)) == 1


async def test_creating_an_app_hands_its_secret_to_the_controller_alone(admin, world, caplog):
    with caplog.at_level(logging.INFO):
        answer = await admin.post(f"{APPS}/new", TYPED)
    assert (answer.status, answer.headers["Location"]) == (303, f"{APPS}/analytics/sales")
    app = apps(world)["sales"]
    assert app["spec"]["clientSecretRef"] == {"name": "sales-client"}
    assert app["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "cube-oauth-operator"}
    (deposit,) = world.deposits()
    assert (deposit.value, deposit.secret_name, deposit.app.uid) == ("canary-secret", "sales-client", app["metadata"]["uid"])
    records = [record for record in caplog.records if record.name == "cube_oauth.audit"]
    said = [(record.message, record.username, record.app) for record in records]
    assert said == [("app created", "paula", "sales"), ("client secret changed", "paula", "sales")]
    page = await admin.get(answer.headers["Location"])
    assert "Sales is created" in page.html
    everything = str([vars(record) for record in caplog.records]) + page.html + str(world.api.objects)
    assert "canary-secret" not in everything


async def test_a_public_client_needs_no_secret(admin, world):
    await admin.post(f"{APPS}/new", {**TYPED, "public": "yes", "client_secret": ""})
    assert "sales" in apps(world)
    assert world.deposits() == []


async def test_a_new_app_has_its_page_however_late_the_watch_is(admin, world):
    world.api.lag = 0.05
    answer = await admin.post(f"{APPS}/new", {**TYPED, "public": "yes", "client_secret": ""})
    assert "Sales is created" in (await admin.get(answer.headers["Location"])).html


@pytest.mark.parametrize("wrong", [{"client_id": ""}, {"client_secret": ""}, {"title": "Trino", "name": "trino"}])
async def test_a_form_with_a_mistake_comes_back_without_the_secret(admin, world, wrong):
    answer = await admin.post(f"{APPS}/new", {**TYPED, **wrong})
    assert answer.status == 422
    assert 'aria-invalid="true"' in answer.html
    assert "canary-secret" not in answer.html
    assert (len(apps(world)), world.deposits()) == (1, [])


async def test_what_the_cluster_refuses_is_said(admin, world):
    world.api.refuses = OAUTH_APPS
    answer = await admin.post(f"{APPS}/new", TYPED)
    assert answer.status == 422
    assert "Nothing was created" in answer.html


async def test_copying_as_yaml_makes_nothing(admin, world):
    answer = await admin.post(f"{APPS}/new", {**TYPED, "action": "yaml"})
    assert "kind: OAuthApp" in answer.html
    assert "kubectl create -n analytics secret generic sales-client" in answer.html
    assert "canary-secret" not in answer.html
    assert (len(apps(world)), world.deposits()) == (1, [])


@pytest.mark.parametrize("path", [f"{APPS}/new?preset=nothing", f"{APPS}/analytics/nothing"])
async def test_what_does_not_exist(admin, path):
    assert (await admin.get(path)).status == 404


async def test_a_client_secret_is_replaced(admin, world):
    answer = await admin.post(f"{APPS}/analytics/trino/secret", {"client_secret": "canary-secret"})
    assert answer.status == 303
    (deposit,) = world.deposits()
    assert (deposit.value, deposit.secret_name) == ("canary-secret", "trino-client")


async def test_what_a_gitops_tool_keeps_is_shown_with_where_it_comes_from_and_not_changed(admin, world):
    kept_by_argo(world)
    page = await admin.get(f"{APPS}/analytics/trino")
    assert "Kept by Argo CD, application warehouse" in page.html
    assert "/secret" not in page.html
    answer = await admin.post(f"{APPS}/analytics/trino/secret", {"client_secret": "canary-secret"})
    assert (answer.status, refused(answer)) == (409, "KeptElsewhere")
    assert world.deposits() == []


# ---- a trial


def tried(world, name="trino", **said):
    """The controller's answer to a deposit."""

    def answer(_):
        body = apps(world)[name]
        outcome = {"type": "Tried", "reason": "Tried", "message": "", "lastTransitionTime": world.now.isoformat(), **said}
        others = [one for one in body.get("status", {}).get("conditions", ()) if one["type"] != "Tried"]
        conditions = [*others, outcome]
        world.api.put(OAUTH_APPS, {**body, "status": {**body.get("status", {}), "conditions": conditions}})

    world.api.on_grant = answer


async def test_a_trial_says_how_it_went(admin, world):
    tried(world, status="False", reason="InvalidClient")
    answer = await admin.post(f"{APPS}/analytics/trino/test")
    assert answer.status == 303
    page = await admin.get(f"{APPS}/analytics/trino")
    assert "something is wrong" in page.html
    assert "does not accept the client&#39;s ID, secret" in page.html
    (deposit,) = world.deposits()
    assert deposit.value is None


async def test_after_creating_an_app_the_page_says_how_it_went_with_its_secret(admin, world, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.admin.PATIENCE", 10)
    tried(world, "sales", status="False", reason="InvalidClient")
    answer = await admin.post(f"{APPS}/new", TYPED)
    page = await admin.get(answer.headers["Location"])
    assert "Sales is created" in page.html
    assert "something is wrong" in page.html


async def test_a_second_trial_in_the_same_second_is_not_waited_for(admin, world):
    tried(world, status="True")
    for _ in range(2):
        await admin.post(f"{APPS}/analytics/trino/test")
        assert "is being tested" not in (await admin.get(f"{APPS}/analytics/trino")).html


async def test_a_trial_that_takes_long_is_waited_for_on_the_page(admin, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.admin.PATIENCE", 0.01)
    await admin.post(f"{APPS}/analytics/trino/test")
    assert "is being tested" in (await admin.get(f"{APPS}/analytics/trino")).html


# ---- who is connected


@pytest.fixture
def people(world):
    for name in ("alice", "bob", "carol"):
        world.add_credential(name, name=name, status={"state": "Active", "subject": name})
    world.add_credential("dave", name="dave", spec={"suspend": True}, status={"state": "Revoked"})
    world.add_credential("alice", "lake", name="elsewhere")


def left(world):
    return sorted(body["metadata"]["name"] for body in world.credentials())


@pytest.mark.usefixtures("people")
async def test_who_is_connected_is_listed_and_searched(admin):
    page = await admin.get(f"{APPS}/analytics/trino")
    assert page.html.count("data-person=") == 4
    found = await admin.get(f"{APPS}/analytics/trino?q=Ali")
    assert found.html.count("data-person=") == 1


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("chosen", "stay"),
    [
        ({"credential": ["alice"]}, ["bob", "carol", "dave", "elsewhere"]),
        ({"credential": ["alice", "bob"]}, ["carol", "dave", "elsewhere"]),
        ({"all": "yes"}, ["dave", "elsewhere"]),
        ({}, ["alice", "bob", "carol", "dave", "elsewhere"]),
        ({"credential": ["elsewhere", "dave", "nobody"]}, ["alice", "bob", "carol", "dave", "elsewhere"]),
    ],
    ids=["one", "several", "all", "none", "what may not be ended here"],
)
async def test_connections_are_ended(admin, world, caplog, chosen, stay):
    with caplog.at_level(logging.INFO, "cube_oauth.audit"):
        answer = await admin.post(f"{APPS}/analytics/trino/revoke", chosen)
    assert answer.status == 303
    assert left(world) == stay
    assert len([record for record in caplog.records if record.message == "revoked"]) == 5 - len(stay)


async def test_what_was_ended_is_not_on_the_next_page_however_late_the_watch_is(admin, world):
    world.add_credential("alice", name="alice", status={"state": "Active"})
    world.api.lag = 0.05
    await admin.post(f"{APPS}/analytics/trino/revoke", {"credential": ["alice"]})
    assert "data-person=" not in (await admin.get(f"{APPS}/analytics/trino")).html


async def test_whom_another_administrator_has_suspended_just_now_stays_suspended(admin, world, caplog, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.cluster.LAG", 0.01)
    world.change_behind_the_watch(credential_of(name="alice"), spec={**credential_of()["spec"], "suspend": True})
    with caplog.at_level(logging.INFO, "cube_oauth.audit"):
        answer = await admin.post(f"{APPS}/analytics/trino/revoke", {"credential": ["alice"]})
    assert (answer.status, left(world)) == (303, ["alice"])
    assert "revoked" not in [record.message for record in caplog.records]
    assert "so no connection to trino was ended" in (await admin.get(f"{APPS}/analytics/trino")).html


async def test_who_was_revoked_before_the_api_server_failed_is_in_the_audit_log(admin, world, caplog, monkeypatch):
    for name in ("alice", "bob"):
        world.add_credential(name, name=name, status={"state": "Active"})
    delete = world.api.delete

    async def failing(resource, name, *where, **more):
        if name == "bob":
            raise KubeError(503, "ServiceUnavailable", "DELETE")
        return await delete(resource, name, *where, **more)

    monkeypatch.setattr(world.api, "delete", failing)
    with caplog.at_level(logging.INFO, "cube_oauth.audit"):
        await admin.post(f"{APPS}/analytics/trino/revoke", {"all": "yes"})
    assert [record.of for record in caplog.records if record.message == "revoked"] == ["alice"]


async def test_only_so_many_people_are_on_a_page(admin, world, monkeypatch):
    monkeypatch.setattr("cube_oauth.portal.admin.MOST_ROWS", 2)
    for number in range(5):
        world.add_credential(f"user-{number}", name=f"c{number}")
    page = await admin.get(f"{APPS}/analytics/trino")
    assert page.html.count("data-person=") == 2
    assert "And 3 more" in page.html


async def test_groups_that_make_an_administrator_are_kept_in_a_full_cookie(browser, world, admin):
    from cube_oauth.portal.oidc import Person  # noqa: PLC0415

    admin.cookies.clear()
    world.log_in.says = Person("paula", (*(f"group-{number:040}" for number in range(200)), "platform"))
    await browser.get("/login")
    await browser.get("/login/callback", params={"state": browser.pending[-1].state, "code": "c"})
    assert browser.session.groups == ("platform",)
