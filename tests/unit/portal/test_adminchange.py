"""Changing and deleting OAuth apps, over HTTP."""

import dataclasses
import html
import logging
import re

import pytest

from cube_oauth.kube.api import OAUTH_APPS, KubeError
from cube_oauth.portal.settings import Admins

from .conftest import refused

APP = "/admin/apps/analytics/trino"
EDIT, DELETE = f"{APP}/edit", f"{APP}/delete"
ARGO = {"annotations": {"argocd.argoproj.io/tracking-id": "warehouse:x"}}
SPEC = {"displayName": "Trino", "clientSecretRef": {"name": "trino-client"}, "scopes": ["openid"], "fallback": "Deny"}


@pytest.fixture
def admin(browser, world, monkeypatch):
    for limit in ("admin.PATIENCE", "cluster.LAG"):
        monkeypatch.setattr(f"cube_oauth.portal.{limit}", 0.05)
    world.portal.settings = dataclasses.replace(world.portal.settings, admins=Admins(groups=("platform",)))
    world.add_app(spec=SPEC)
    return browser.log_in("paula", ["platform"])


@pytest.fixture
def people(world):
    for name in ("alice", "bob"):
        world.add_credential(name, name=name, status={"state": "Active", "subject": name})
    world.add_credential("carol", name="carol", status={"state": "Pending"})
    world.add_credential("dave", name="dave", spec={"suspend": True}, status={"state": "Revoked"})
    world.add_credential("erin", "lake", name="elsewhere", status={"state": "Active"})


def app(world):
    return world.api.objects.get(("oauthapps", "analytics", "trino"))


def kept_by_argo(world):
    world.api.put(OAUTH_APPS, {**app(world), "metadata": {**app(world)["metadata"], **ARGO}})


def shown(page):
    """The form as a browser would send it back."""
    fields = dict(re.findall(r'<select[^>]* name="(\w+)">.*?<option selected>([^<]*)', page))
    for tag in re.findall(r"<input[^>]*>", page):
        attributes = {name: html.unescape(value) for name, value in re.findall(r'(\w+)="([^"]*)"', tag)}
        if "name" in attributes and (attributes.get("type") != "checkbox" or " checked" in tag):
            fields[attributes["name"]] = attributes.get("value", "")
    return fields


async def form(admin, path=EDIT):
    answer = await admin.get(path)
    assert answer.status == 200
    return shown(answer.html)


async def save(admin, typed, **more):
    return await admin.post(EDIT, {**typed, "action": "save", **more})


def audited(caplog):
    return [record for record in caplog.records if record.name == "cube_oauth.audit"]


# ---- changing


async def test_the_form_holds_what_the_app_says_and_no_secret(admin):
    typed = await form(admin)
    assert (typed["title"], typed["client_id"], typed["scopes"]) == ("Trino", "client", "openid")
    assert (typed["issuer"], typed["client_secret"]) == ("https://idp.example.com", "")


async def test_a_change_is_written_and_the_rest_stays(admin, world, caplog):
    typed = await form(admin)
    with caplog.at_level(logging.INFO):
        answer = await save(admin, typed, title="The lake", scopes="openid query")
    assert (answer.status, answer.headers["Location"]) == (303, APP)
    assert app(world)["spec"] == {
        **SPEC,
        "clientID": "client",
        "issuerURL": "https://idp.example.com",
        "displayName": "The lake",
        "scopes": ["openid", "query"],
    }
    (record,) = audited(caplog)
    assert (record.message, record.username, record.namespace, record.app) == ("app changed", "paula", "analytics", "trino")
    assert record.fields == ["displayName", "scopes"]
    assert "is changed" in (await admin.get(APP)).html
    assert world.deposits() == []


async def test_nothing_typed_is_nothing_written(admin, world):
    answer = await save(admin, await form(admin))
    assert answer.status == 303
    assert ("patch", "oauthapps") not in world.api.calls
    assert "nothing was changed" in (await admin.get(APP)).html


@pytest.mark.usefixtures("people")
async def test_a_changed_client_is_said_with_what_it_does_and_wants_a_yes(admin, world, caplog):
    typed = await form(admin)
    answer = await save(admin, typed, client_id="other")
    assert answer.status == 422
    assert "Everybody who is connected (2) will have to sign in again" in answer.html
    assert shown(answer.html)["client_id"] == "other"
    assert app(world)["spec"]["clientID"] == "client"
    with caplog.at_level(logging.INFO):
        answer = await save(admin, shown(answer.html), agreed="yes")
    assert answer.status == 303
    assert app(world)["spec"]["clientID"] == "other"
    assert audited(caplog)[0].signed_out == 2
    assert "Whoever is connected (2) has to sign in again" in (await admin.get(APP)).html


async def test_where_nobody_is_connected_no_yes_is_wanted(admin, world):
    page = await admin.get(EDIT)
    assert 'name="agreed"' not in page.html
    assert (await save(admin, shown(page.html), client_id="other")).status == 303
    assert app(world)["spec"]["clientID"] == "other"


async def test_a_new_client_secret_goes_to_the_controller_alone(admin, world, caplog):
    typed = await form(admin)
    with caplog.at_level(logging.INFO):
        answer = await save(admin, typed, client_id="other", client_secret="canary-secret")
    assert answer.status == 303
    (deposit,) = world.deposits()
    assert (deposit.value, deposit.secret_name) == ("canary-secret", "trino-client")
    assert [record.message for record in audited(caplog)] == ["app changed", "client secret changed"]
    page = await admin.get(APP)
    assert "canary" not in str([vars(record) for record in caplog.records]) + page.html + str(world.api.objects)


async def test_the_client_secret_that_is_there_is_never_sent_elsewhere(admin, world):
    typed = {**await form(admin), "issuer": "https://other.example.com"}
    answer = await save(admin, typed)
    assert answer.status == 422
    assert "type the one that belongs there" in answer.html
    assert app(world)["spec"]["issuerURL"] == "https://idp.example.com"
    assert (await save(admin, typed, client_secret="canary-secret")).status == 303
    (deposit,) = world.deposits()
    name = app(world)["spec"]["clientSecretRef"]["name"]
    assert deposit.secret_name == name != "trino-client"


async def test_a_public_client_can_be_given_a_secret_and_a_client_can_become_public(admin, world):
    typed = await form(admin)
    assert (await save(admin, typed, public="yes")).status == 303
    assert "clientSecretRef" not in app(world)["spec"]
    public = await form(admin)
    del public["public"]
    assert (await save(admin, public)).status == 422
    assert (await save(admin, public, client_secret="canary-secret")).status == 303
    assert app(world)["spec"]["clientSecretRef"] == {"name": "trino-client"}


@pytest.mark.parametrize("wrong", [{"title": ""}, {"client_id": ""}, {"issuer": "http://x"}, {"token_url": "https://x:99999/"}])
async def test_a_mistake_comes_back_with_what_was_typed(admin, world, wrong):
    answer = await save(admin, await form(admin), client_secret="canary-secret", **wrong)
    assert answer.status == 422
    assert 'aria-invalid="true"' in answer.html
    assert "canary" not in answer.html
    assert app(world)["spec"]["displayName"] == "Trino"


async def test_what_somebody_else_changed_meanwhile_is_said_and_nothing_typed_is_lost(admin, world):
    typed = await form(admin)
    world.api.change(OAUTH_APPS, "trino", "analytics", {**app(world)["spec"], "displayName": "Theirs"})
    answer = await save(admin, typed, title="Mine", scopes="openid mine")
    assert answer.status == 409
    assert "Somebody changed this app after you opened this page" in answer.html
    assert "The app now says: Theirs" in answer.html
    again = shown(answer.html)
    assert (again["title"], again["scopes"]) == ("Mine", "openid mine")
    assert app(world)["spec"]["displayName"] == "Theirs"
    assert (await save(admin, again)).status == 303
    assert app(world)["spec"]["displayName"] == "Mine"


async def test_a_change_between_looking_and_writing_is_noticed(admin, world):
    typed = await form(admin)

    def meanwhile():
        world.api.before_write = lambda: None
        world.api.change(OAUTH_APPS, "trino", "analytics", {**app(world)["spec"], "displayName": "Theirs"})

    world.api.before_write = meanwhile
    answer = await save(admin, typed, title="Mine")
    assert answer.status == 409
    assert shown(answer.html)["title"] == "Mine"
    assert app(world)["spec"]["displayName"] == "Theirs"


async def test_people_who_connect_meanwhile_are_no_conflict(admin, world):
    typed = await form(admin)

    def status():
        world.api.before_write = lambda: None
        world.api.change(OAUTH_APPS, "trino", "analytics")

    world.api.before_write = status
    assert (await save(admin, typed, title="Mine")).status == 303
    assert app(world)["spec"]["displayName"] == "Mine"


async def test_an_app_that_was_deleted_meanwhile_can_be_made_anew_from_what_was_typed(admin, world):
    typed = await form(admin)
    await world.api.delete(OAUTH_APPS, "trino", "analytics", uid="uid-trino")
    answer = await save(admin, typed, title="Mine")
    assert answer.status == 409
    assert "Somebody deleted this app" in answer.html
    again = shown(answer.html)
    assert (again["title"], again["name"]) == ("Mine", "trino")
    answer = await admin.post("/admin/apps/new", {**again, "namespace": "analytics", "action": "create", "client_secret": "x"})
    assert answer.status == 303
    assert app(world)["spec"]["displayName"] == "Mine"


@pytest.mark.parametrize("broken", [KubeError(503, "ServiceUnavailable", "GET"), KubeError(0, "TimeoutError", "GET")])
async def test_a_cluster_that_does_not_answer_loses_nothing_that_was_typed(admin, world, broken):
    typed = await form(admin)
    world.api.broken = broken
    answer = await save(admin, typed, title="Mine")
    assert answer.status == 503
    assert "What you typed is still here" in answer.html
    world.api.broken = None
    assert (await save(admin, shown(answer.html))).status == 303
    assert app(world)["spec"]["displayName"] == "Mine"


async def test_what_the_cluster_refuses_is_said(admin, world):
    typed = await form(admin)
    world.api.refuses = OAUTH_APPS
    answer = await save(admin, typed, title="Mine")
    assert answer.status == 422
    assert "Nothing was changed" in html.unescape(answer.html)
    assert shown(answer.html)["title"] == "Mine"


async def test_a_client_secret_that_does_not_arrive_is_said(admin, world, monkeypatch):
    async def lost(*_):
        raise KubeError(503, "ServiceUnavailable", "POST")

    monkeypatch.setattr(world.cluster, "have_tried", lost)
    answer = await save(admin, await form(admin), title="Mine", client_secret="canary-secret")
    assert answer.status == 303
    assert "did not reach the cluster" in (await admin.get(APP)).html


# ---- what a GitOps tool keeps


@pytest.mark.usefixtures("people")
async def test_what_is_kept_elsewhere_is_not_changed_but_copied_as_yaml(admin, world):
    kept_by_argo(world)
    page = await admin.get(EDIT)
    assert "Kept by Argo CD, application warehouse" in page.html
    assert ('value="save"' in page.html, 'name="client_secret"' in page.html) == (False, False)
    typed = {**shown(page.html), "client_id": "other"}
    answer = await save(admin, typed)
    assert answer.status == 409
    assert shown(answer.html)["client_id"] == "other"
    answer = await admin.post(EDIT, {**typed, "action": "yaml"})
    assert "  clientID: other\n" in answer.html
    assert "Everybody who is connected (2) will have to sign in again" in answer.html
    assert app(world)["spec"]["clientID"] == "client"


async def test_an_app_that_is_taken_over_meanwhile_is_not_changed(admin, world):
    typed = await form(admin)

    def taken():
        world.api.before_write = lambda: None
        kept_by_argo(world)
        world.api.change(OAUTH_APPS, "trino", "analytics")

    world.api.before_write = taken
    answer = await save(admin, typed, title="Mine")
    assert answer.status == 409
    assert "Kept by Argo CD" in answer.html
    assert app(world)["spec"]["displayName"] == "Trino"


async def test_what_is_kept_elsewhere_is_not_deleted(admin, world):
    typed = {**await form(admin, DELETE), "confirm": "trino"}
    kept_by_argo(world)
    assert refused(await admin.get(DELETE)) == "KeptElsewhere"
    assert refused(await admin.post(DELETE, typed)) == "KeptElsewhere"
    assert app(world)
    assert DELETE not in (await admin.get(APP)).html


# ---- deleting


def left(world):
    return sorted(body["metadata"]["name"] for body in world.credentials())


@pytest.mark.usefixtures("people")
async def test_deleting_says_what_it_will_do_and_to_how_many(admin):
    page = html.unescape((await admin.get(DELETE)).html)
    assert "Everybody who is connected (2) is disconnected, and their tokens are revoked" in page
    assert "Without the app nothing refuses it" in page  # spec.fallback is Deny


@pytest.mark.usefixtures("people")
async def test_a_deletion_that_is_confirmed_disconnects_everybody_and_removes_the_app(admin, world, caplog):
    typed = await form(admin, DELETE)
    with caplog.at_level(logging.INFO):
        answer = await admin.post(DELETE, {**typed, "confirm": "trino"})
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/apps")
    assert app(world) is None
    assert left(world) == ["dave", "elsewhere"]  # what is suspended stays so, and another app's people
    said = [(record.message, getattr(record, "of", None)) for record in audited(caplog)]
    assert said == [("revoked", "alice"), ("revoked", "bob"), ("revoked", "carol"), ("app deleted", None)]
    assert audited(caplog)[-1].disconnected == 2
    assert "Trino is deleted" in (await admin.get("/admin/apps")).html
    last = [call for call in world.api.calls if call[0] == "delete"][-1]
    assert last == ("delete", "oauthapps")  # its people first: while it is there, the provider is known


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("typed", ["", "Trino", "lake", "analytics/trino"])
async def test_a_deletion_that_is_not_confirmed_does_nothing(admin, world, typed):
    answer = await admin.post(DELETE, {**await form(admin, DELETE), "confirm": typed})
    assert answer.status == 422
    assert "write exactly trino here" in answer.html
    assert app(world)
    assert len(left(world)) == 5


@pytest.mark.usefixtures("people")
async def test_an_app_that_somebody_changed_meanwhile_is_looked_at_again_before_it_is_deleted(admin, world):
    typed = await form(admin, DELETE)
    world.api.change(OAUTH_APPS, "trino", "analytics", {**app(world)["spec"], "displayName": "Theirs"})
    answer = await admin.post(DELETE, {**typed, "confirm": "trino"})
    assert answer.status == 409
    assert "so nothing was deleted" in answer.html
    assert len(left(world)) == 5
    assert (await admin.post(DELETE, {**shown(answer.html), "confirm": "trino"})).status == 303


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("change", ["changed", "taken over"])
async def test_an_app_that_somebody_changes_while_its_people_are_disconnected_is_not_deleted(admin, world, change):
    world.api.change(OAUTH_APPS, "trino", "analytics")  # and so it has a version
    typed = await form(admin, DELETE)

    def meanwhile():
        world.api.before_write = lambda: None
        if change == "changed":
            world.api.change(OAUTH_APPS, "trino", "analytics", {**app(world)["spec"], "displayName": "Theirs"})
        else:
            kept_by_argo(world)
            world.api.change(OAUTH_APPS, "trino", "analytics")

    world.api.before_write = meanwhile
    answer = await admin.post(DELETE, {**typed, "confirm": "trino"})
    assert answer.status == 409
    assert app(world)


@pytest.mark.usefixtures("people")
async def test_counts_that_go_down_while_people_are_disconnected_are_no_conflict(admin, world):
    world.api.change(OAUTH_APPS, "trino", "analytics")  # and so it has a version
    typed = await form(admin, DELETE)
    world.api.before_write = lambda: app(world) and world.api.change(OAUTH_APPS, "trino", "analytics")
    delete = world.api.delete

    async def before_the_app_too(resource, *where, **more):
        if resource is OAUTH_APPS:
            world.api.before_write = lambda: None
        return await delete(resource, *where, **more)

    world.api.delete = before_the_app_too
    assert (await admin.post(DELETE, {**typed, "confirm": "trino"})).status == 303
    assert app(world) is None


async def test_an_app_that_is_gone_is_gone(admin, world):
    typed = await form(admin, DELETE)
    await world.api.delete(OAUTH_APPS, "trino", "analytics", uid="uid-trino")
    assert refused(await admin.post(DELETE, {**typed, "confirm": "trino"})) == "NoSuchApp"
