"""A session that ends while a long form is open takes nothing with it that was typed, but the client secret."""

import dataclasses
import html
import re

import pytest

from cube_oauth.kube.api import OAUTH_APPS
from cube_oauth.portal.kept import AGAIN
from cube_oauth.portal.settings import Admins

from .conftest import BROWSER, refused
from .test_adminchange import shown

SECRET = "canary-secret"
APP = "/admin/apps/analytics/trino"
NEW, EDIT = "/admin/apps/new", f"{APP}/edit"
HOSTILE = '"><script>alert(1)</script>'
TYPED = {
    NEW: {
        "preset": "databricks",
        "namespace": "analytics",
        "title": f"Sales {HOSTILE}",
        "name": "sales",
        "parameter-host": "adb-1.azuredatabricks.net",
        "client_id": "cube",
        "scopes": "sql offline_access",
        "client_secret": SECRET,
        "action": "create",
    },
    EDIT: {
        "title": f"Trino {HOSTILE}",
        "issuer": "https://idp.example.com",
        "client_id": "another",
        "scopes": "openid other",
        "client_secret": SECRET,
        "action": "save",
    },
}
FIELDS = {
    path: {name: value for name, value in typed.items() if name not in ("client_secret", "action")} for path, typed in TYPED.items()
}
PATHS = pytest.mark.parametrize("path", TYPED)


@pytest.fixture
def admin(browser, world, monkeypatch):
    for limit in ("admin.PATIENCE", "cluster.LAG"):
        monkeypatch.setattr(f"cube_oauth.portal.{limit}", 0.05)
    world.portal.settings = dataclasses.replace(world.portal.settings, admins=Admins(groups=("platform",)))
    world.add_app(spec={"displayName": "Trino", "clientSecretRef": {"name": "trino-client"}})
    return browser.log_in("paula", ["platform"])


def touched(world):
    return [call for call in world.api.calls if call[0] != "get"]


def kept(answer):
    assert (answer.status, refused(answer)) in ((401, "TypingKept"), (403, "TypingKept"))
    (address,) = re.findall(r'<form class="actions" method="post" action="([^"]+)"', answer.html)
    fields = {name: value for name, value in shown(answer.html).items() if name != "token"}
    return address, fields


@PATHS
async def test_what_was_typed_comes_back_after_the_log_in(admin, world, path):
    before = shown((await admin.get(path)).html)
    world.later(hours=1)
    over = await admin.post(path, {**before, **TYPED[path]})
    assert SECRET not in over.html
    assert HOSTILE not in over.html
    assert 'href="/login" target="_blank"' in over.html
    address, fields = kept(over)
    assert address == path + AGAIN
    assert FIELDS[path].items() <= fields.items()

    admin.log_in("paula", ["platform"])
    again = await admin._request("POST", address, headers=BROWSER, data=fields)
    assert (again.status, touched(world)) == (200, [])
    assert "Your session had ended" in again.html
    assert HOSTILE not in again.html
    form = shown(again.html)
    assert FIELDS[path].items() <= form.items()
    assert form["client_secret"] == ""
    done = await admin.post(path, {**form, **TYPED[path], "agreed": "yes"})
    assert done.status == 303, html.unescape(done.html)
    assert touched(world)


@PATHS
async def test_whoever_goes_on_before_the_log_in_still_has_it(admin, world, path):
    world.later(hours=1)
    address, fields = kept(await admin.post(path, TYPED[path]))
    assert kept(await admin._request("POST", address, headers=BROWSER, data=fields)) == (address, fields)


@PATHS
async def test_a_new_session_in_another_tab_does_not_lose_it_either(admin, world, path):
    token = admin.token()
    over = await admin.log_in("paula", ["platform"]).post(path, {**TYPED[path], "token": token})
    assert 'href="/login"' not in over.html
    assert kept(over)[0] == path + AGAIN
    assert touched(world) == []


@PATHS
async def test_what_only_shows_is_for_our_own_pages_and_for_administrators(admin, world, path):
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for address in (path, path + AGAIN):
        answer = await admin._request("POST", address, headers=foreign, data=TYPED[path])
        assert (answer.status, refused(answer)) == (403, "ForeignForm")
        assert "canary" not in answer.html
        assert "adb-1" not in answer.html
    nobody = await admin.log_in("alice").post(path + AGAIN, FIELDS[path])
    assert (nobody.status, refused(nobody)) == (404, "NotFound")
    assert touched(world) == []


async def test_what_only_shows_never_saves_whatever_is_sent(admin, world):
    for path, typed in TYPED.items():
        answer = await admin.post(path + AGAIN, {**typed, "agreed": "yes"})
        assert answer.status == 200
        assert SECRET not in answer.html
    assert touched(world) == []


async def test_an_app_that_was_deleted_meanwhile_can_be_made_of_what_was_typed(admin, world):
    before = shown((await admin.get(EDIT)).html)
    world.later(hours=1)
    address, fields = kept(await admin.post(EDIT, {**before, **TYPED[EDIT]}))
    del world.api.objects["oauthapps", "analytics", "trino"]
    world.api._mirror(OAUTH_APPS, {"namespace": "analytics", "name": "trino"}, None)
    answer = await admin.log_in("paula", ["platform"])._request("POST", address, headers=BROWSER, data=fields)
    assert answer.status == 409
    assert FIELDS[EDIT].items() <= shown(answer.html).items()


async def test_a_change_by_somebody_else_meanwhile_is_still_noticed(admin, world):
    before = shown((await admin.get(EDIT)).html)
    world.later(hours=1)
    address, fields = kept(await admin.post(EDIT, {**before, **TYPED[EDIT]}))
    world.api.change(
        OAUTH_APPS, "trino", "analytics", {"displayName": "Theirs", "clientID": "client", "issuerURL": "https://idp.example.com"}
    )
    admin.log_in("paula", ["platform"])
    form = shown((await admin._request("POST", address, headers=BROWSER, data=fields)).html)
    saved = await admin.post(EDIT, {**form, "action": "save", "agreed": "yes", "client_secret": SECRET})
    assert saved.status == 409
    assert "Somebody changed this app" in saved.html


async def test_a_short_form_is_not_kept_and_leads_on_from_the_log_in(admin, world):
    world.later(hours=1)
    over = await admin.post("/connect/analytics/trino", {"return_to": "https://bi.example.com/d?x=1"})
    assert refused(over) == "SessionOver"
    assert (
        'href="/login?next=/connect/analytics/trino%3Freturn_to%3Dhttps%253A%252F%252Fbi.example.com%252Fd%253Fx%253D1"'
        in over.html
    )
    await admin.get("/login", params={"next": "/connect/analytics/trino?return_to=https%3A%2F%2Fbi.example.com%2Fd%3Fx%3D1"})
    assert admin.pending[-1].next == "/connect/analytics/trino?return_to=https%3A%2F%2Fbi.example.com%2Fd%3Fx%3D1"
