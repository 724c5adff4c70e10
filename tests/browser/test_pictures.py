"""The pictures in README and docs, made anew by ``make pictures``: the real portal, with people and apps as there may be."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cube_oauth.kube.api import OAUTH_APPS, USER_CREDENTIALS
from tests.browser.people import PHONE, Person, chromium
from tests.browser.test_looks import cookie_of
from tests.unit.portal.conftest import app_of, credential_of
from tests.unit.portal.served import running

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
"""The time on the pictures, so that a picture differs only when its page does."""
LARGEST = 150 * 1024
"""Bytes: a picture is a detail of a page."""
ALICE, PAULA = "alice@example.com", "paula@example.com"
DESKTOP, LOW_PHONE = {"width": 1180, "height": 400}, {**PHONE, "height": 400}
"""As high as what is on the page, no higher."""
APPS = {
    "databricks": ("Databricks", {"provider": {"name": "databricks", "parameters": {"host": "adb-1.azuredatabricks.net"}}}),
    "bigquery": ("BigQuery", {"provider": {"name": "google"}}),
    "snowflake": ("Snowflake", {"provider": {"name": "snowflake", "parameters": {"account": "example-eu"}}}),
    "trino": ("Sales lake", {}),
    "finance": ("Finance", {"access": {"groups": ["platform"]}}),
}
ARGO = {"annotations": {"argocd.argoproj.io/tracking-id": "warehouses:x"}}
PICTURES = {
    "connected-apps": "/",
    "oauth-apps": "/admin/apps",
    "oauth-app-new": "/admin/apps/new?preset=databricks",
}


def at(**delta):
    return (NOW + timedelta(**delta)).isoformat()


def active(subject, **status):
    demand = {"lastUsedAt": at(minutes=-3)}
    known = {"expiresAt": at(minutes=50), "refreshAt": at(minutes=35), "lastRefreshedAt": at(minutes=-12), "demand": demand}
    return {"state": "Active", "subject": subject, **known, **status}


def furnish(place):
    for name, (title, spec) in APPS.items():
        counts = {"active": len(name), "expired": 1, "pending": 2}
        status = {"dataSource": name, "credentials": counts}
        refused = {"ready": "False", "reason": "InvalidClient"} if name == "finance" else {}
        made = app_of(
            name, spec={"displayName": title, "clientSecretRef": {"name": f"{name}-client"}, **spec}, status=status, **refused
        )
        place.api.put(OAUTH_APPS, {**made, "metadata": {**made["metadata"], **(ARGO if name == "snowflake" else {})}})
    states = {
        "databricks": active(ALICE, signInEndsAt=at(days=68), scopes=["all-apis", "offline_access"]),
        "bigquery": active(ALICE, signInEndsAt=at(days=3)),
        "snowflake": {
            "state": "Expired",
            "expiresAt": at(days=-1),
            "lastRefreshedAt": at(days=-1, hours=-1),
            "demand": {"lastUsedAt": at(days=-1)},
        },
    }
    for app, status in states.items():
        place.api.put(USER_CREDENTIALS, credential_of(ALICE, app, name=f"{app}-alice", status=status))


@pytest.fixture(scope="module")
def place():
    with running("https://connect.example.com", clock=lambda: NOW) as made:
        furnish(made)
        yield made


@pytest.fixture(scope="module")
def browser(place):
    with chromium() as running_browser:
        yield running_browser


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of(browser, place, gallery, name, phone):
    dark = name == "connected-apps" and phone
    who = (PAULA, ("platform",)) if name.startswith("oauth") else (ALICE,)
    with Person(browser, size=LOW_PHONE if phone else DESKTOP, dark=dark, zone="Europe/Berlin") as someone:
        someone.page.clock.set_fixed_time(NOW)
        someone.context.add_cookies([cookie_of(place, *who)])
        someone.page.goto(place.url + PICTURES[name])
        picture = someone.screenshot(gallery / f"{name}{'-phone' if phone else ''}.png", full_page=True)
    assert picture.stat().st_size < LARGEST


def test_every_picture_is_made_here_and_shown_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {name for page in pages for name in re.findall(r"images/([\w-]+\.png)", page.read_text())}
    made = {f"{name}{suffix}.png" for name in PICTURES for suffix in ("", "-phone")}
    assert shown == made == {picture.name for picture in (ROOT / "docs/images").iterdir()}
