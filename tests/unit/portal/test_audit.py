"""Whoever does something is named in the audit log, with what it was about, and with nothing secret."""

import dataclasses
import logging

import pytest

from cube_oauth.portal.routes import application
from cube_oauth.portal.settings import Admins

from .conftest import BROWSER
from .test_adminchange import shown

APP, ADMIN = "/connect/analytics/trino", "/admin/apps/analytics/trino"
NEW = {"action": "create", "preset": "generic", "namespace": "analytics", "title": "Sales", "issuer": "https://i.example.com"}
CANARY = "canary-secret"


async def typed(browser, path):
    return shown((await browser.get(path)).html)


async def log_in(browser):
    browser.cookies.clear()
    await browser.get("/login")
    await browser.get("/login/callback", params={"state": browser.pending[-1].state, "code": CANARY})


async def connect(browser):
    state = await browser.begin()
    return await browser.get("/callback/analytics/trino", params={"state": state, "code": CANARY})


async def by_program(browser):
    headers = {**BROWSER, "X-Form-Token": browser.token()}
    return await browser._request("DELETE", "/api/apps/analytics/trino", headers=headers)


async def change(browser):
    await browser.post(f"{ADMIN}/edit", {**await typed(browser, f"{ADMIN}/edit"), "action": "save", "title": "Other"})


async def delete(browser):
    await browser.post(f"{ADMIN}/delete", {**await typed(browser, f"{ADMIN}/delete"), "confirm": "trino"})


DONE = {
    "GET /login/callback": (log_in, ["logged in"]),
    "POST /logout": (lambda browser: browser.post("/logout"), ["logged out"]),
    "GET /callback/{namespace}/{app}": (connect, ["connected"]),
    "POST /connect/{namespace}/{app}": (lambda browser: browser.post(APP), []),  # nothing is done before the provider answers
    "POST /disconnect/{namespace}/{app}": (lambda browser: browser.post("/disconnect/analytics/trino"), ["disconnected"]),
    "DELETE /api/apps/{namespace}/{app}": (by_program, ["disconnected"]),
    "POST /admin/apps/new": (
        lambda browser: browser.post("/admin/apps/new", {**NEW, "client_id": "c", "client_secret": CANARY}),
        ["app created", "client secret changed"],
    ),
    "POST /admin/apps/new/again": (lambda browser: browser.post("/admin/apps/new/again", NEW), []),  # only shows what was typed
    "POST /admin/apps/{namespace}/{app}/edit": (change, ["app changed"]),
    "POST /admin/apps/{namespace}/{app}/edit/again": (lambda browser: browser.post(f"{ADMIN}/edit/again", NEW), []),
    "POST /admin/apps/{namespace}/{app}/delete": (delete, ["revoked", "app deleted"]),
    "POST /admin/apps/{namespace}/{app}/revoke": (lambda browser: browser.post(f"{ADMIN}/revoke", {"all": "yes"}), ["revoked"]),
    "POST /admin/apps/{namespace}/{app}/secret": (
        lambda browser: browser.post(f"{ADMIN}/secret", {"client_secret": CANARY}),
        ["client secret changed"],
    ),
    "POST /admin/apps/{namespace}/{app}/test": (lambda browser: browser.post(f"{ADMIN}/test"), ["app tested"]),
}


@pytest.fixture
def paula(browser, world, monkeypatch):
    for limit in ("admin.PATIENCE", "cluster.LAG"):
        monkeypatch.setattr(f"cube_oauth.portal.{limit}", 0.01)
    world.portal.settings = dataclasses.replace(world.portal.settings, admins=Admins(users=("paula",)))
    world.log_in.says = dataclasses.replace(world.log_in.says, username="paula")
    world.add_app(spec={"clientSecretRef": {"name": "trino-client"}})
    world.add_credential("paula", status={"state": "Active"})
    world.controller(state="Active", revision=1)
    return browser.log_in("paula")


@pytest.mark.parametrize(("act", "said"), DONE.values(), ids=DONE)
async def test_what_somebody_does_is_written_down_with_who_it_was(paula, caplog, act, said):
    with caplog.at_level(logging.INFO):
        await act(paula)
    records = [record for record in caplog.records if record.name == "cube_oauth.audit"]
    assert [record.message for record in records] == said
    assert {record.username for record in records} <= {"paula"}
    assert all({"namespace", "app"} <= set(vars(record)) for record in records if not record.message.startswith("logged"))
    everything = str([vars(record) for record in caplog.records if record.name.startswith("cube_oauth")])
    assert CANARY not in everything
    for item in paula.pending:
        assert item.state not in everything


def test_nothing_that_changes_something_is_forgotten_here(world):
    routes = application(world.portal).router.routes()
    changing = {
        f"{route.method} {route.resource.canonical}" for route in routes if route.method in ("POST", "DELETE", "PUT", "PATCH")
    }
    assert changing == {name for name in DONE if not name.startswith("GET")}
