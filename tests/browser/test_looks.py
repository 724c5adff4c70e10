"""How pages look with what a real cluster seldom has all at once: many apps, long names, every state, other scripts.

The portal and the browser are real; the objects are made up, since a controller would put its own status in their place.
"""

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from cube_oauth.kube.api import USER_CREDENTIALS
from cube_oauth.portal.portal import utc_now
from cube_oauth.portal.session import SESSION_COOKIE
from tests.browser.accessibility import obstacles
from tests.browser.people import PHONE, Person, chromium
from tests.unit.portal.conftest import credential_of
from tests.unit.portal.served import running

NOW = utc_now()
ENDLESS = "Warehouse-of-the-whole-group-with-a-name-that-nobody-can-break-anywhere-and-that-is-80-x"
SCOPE = "https://www.googleapis.com/auth/cloud-platform.read-only/and/a/path/that/does/not/end/for/a/long/while"


def when(**delta):
    return (NOW + timedelta(**delta)).isoformat()


def active(reason, **status):
    return {"conditions": [{"type": "Active", "status": "False", "reason": reason, "message": "m"}], **status}


REFUSED = {"conditions": [{"type": "Authorized", "status": "False", "reason": "SubjectDiffers", "message": "m"}]}
CONNECTED = {
    "state": "Active",
    "lastRefreshedAt": when(hours=-1),
    "expiresAt": when(hours=1),
    "demand": {"lastUsedAt": when(minutes=-3)},
}
STATES = {
    "Renewed": {**CONNECTED, "refreshAt": when(minutes=20)},
    "Until": {**CONNECTED, "refreshAt": when(minutes=20), "signInEndsAt": when(days=71)},
    "Ends soon": {**CONNECTED, "refreshAt": when(minutes=20), "signInEndsAt": when(days=3)},
    "Last token": CONNECTED,
    "Many scopes": {**CONNECTED, "refreshAt": when(minutes=20), "scopes": [f"{SCOPE}{number}" for number in range(8)]},
    "Expired": {"state": "Expired", "expiresAt": when(days=-1)},
    "Expired long ago": {"state": "Expired", "expiresAt": when(days=-400)},
    "Expired and refused": {"state": "Expired", "expiresAt": when(days=-2), **REFUSED},
    "Idle": active("Idle", state="Expired", expiresAt=when(days=-1)),
    "Delayed": active("RefreshDelayed", state="Expired", expiresAt=when(minutes=-4)),
    "Revoked": active("Revoked", state="Revoked"),
    "Withdrawn": active("SuspensionEnded", state="Revoked"),
    "Refused": {"state": "Pending", **REFUSED},
    ENDLESS: {**CONNECTED, "refreshAt": when(minutes=20), "subject": f"{'x' * 180}@example.com"},
    "倉庫データベース": {**CONNECTED, "refreshAt": when(minutes=20), "subject": "山田太郎"},
    "مستودع البيانات": {**CONNECTED, "refreshAt": when(minutes=20), "subject": "عبدالله@example.com"},
}
BROKEN = {
    "No secret": "ClientSecretNotFound",
    "Wrong client": "InvalidClient",
    "Provider down": "ProviderUnavailable",
    "New reason": "Unheard",
}


def log_in(place, someone, username, groups=()):
    cookie = {"name": SESSION_COOKIE, "value": place.session(username, groups)[0], "url": place.url.replace("http", "https")}
    someone.context.add_cookies([{**cookie, "secure": True}])
    someone.portal = place.url
    someone.page.goto(f"{place.url}/")


@pytest.fixture(scope="module")
def place():
    with running() as made:
        yield made


@pytest.fixture(scope="module")
def browser(place):
    with chromium() as running_browser:
        yield running_browser


@pytest.fixture
def everything(place):
    place.clear()
    for number, (title, status) in enumerate(STATES.items()):
        place.app(title[:80], number)
        place.api.put(USER_CREDENTIALS, credential_of("alice", f"app-{number:02}", name=f"c{number}", status=status))
    place.app("Suspended", 50)
    place.api.put(USER_CREDENTIALS, credential_of("alice", "app-50", name="c50", spec={"suspend": True}))
    for number, (title, reason) in enumerate(BROKEN.items(), 60):
        place.app(title, number, ready="False", reason=reason)
    place.app("Being set up", 70, generation=2)
    for number in range(80, 90):
        place.app(f"Not connected {number}", number)
    return place


SIZES = [pytest.param(None, id="desktop"), pytest.param(PHONE, id="phone")]
PEOPLE = ["alice", "a" * 253, "山田太郎@例え.jp", "عبدالله", "alice.with.a.long.name@subsidiary.of.a.company.example.com"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", ["en-GB", "de-DE"])
def test_every_state_at_once_and_thirty_apps(browser, everything, gallery, size, language):
    with Person(browser, size=size, language=language) as someone:
        log_in(everything, someone, "alice")
        assert someone.page.locator("[data-app]").count() > 30
        sound(someone, gallery / f"states-{language[:2]}-{'phone' if size else 'desktop'}.png")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("username", PEOPLE, ids=range(len(PEOPLE)))
def test_whoever_somebody_is(browser, everything, gallery, size, username):
    with Person(browser, size=size) as someone:
        log_in(everything, someone, username, ("platform",))
        sound(someone, gallery / f"person-{PEOPLE.index(username)}-{'phone' if size else 'desktop'}.png", full=False)
        someone.page.goto(f"{everything.url}/connect/analytics/app-13?return_to=x")
        sound(someone, gallery / f"connect-{PEOPLE.index(username)}-{'phone' if size else 'desktop'}.png")


@pytest.mark.parametrize("size", SIZES)
def test_nothing_there(browser, place, gallery, size):
    place.clear()
    with Person(browser, size=size) as someone:
        log_in(place, someone, "alice", ("platform",))
        sound(someone, gallery / f"empty-{'phone' if size else 'desktop'}.png")
        someone.page.goto(f"{place.url}/admin/apps")
        sound(someone, gallery / f"empty-admin-{'phone' if size else 'desktop'}.png")


def test_with_many_apps_those_that_need_the_person_are_named_first(browser, everything):
    with Person(browser, size=PHONE) as someone:
        log_in(everything, someone, "alice")
        named = someone.page.locator(".attention a")
        assert sorted(named.all_inner_texts()) == [
            *("Ends soon", "Expired", "Expired and refused", "Expired long ago", "Revoked", "Withdrawn"),
        ]
        named.filter(has_text="Revoked").click()
        assert someone.page.url.endswith("#analytics.app-10")
        expect(someone.app("analytics/app-10")).to_be_in_viewport()


@pytest.mark.parametrize("size", SIZES)
def test_administrators_see_every_state_too(browser, everything, gallery, size):
    for name in ("bob", "山田太郎", "x" * 253, "عبدالله"):
        everything.api.put(USER_CREDENTIALS, credential_of(name, "app-13", name=f"p{len(name)}", status=CONNECTED))
    with Person(browser, size=size) as someone:
        log_in(everything, someone, "paula", ("platform",))
        for name, path in {
            "apps": "",
            "endless": "/analytics/app-13",
            "broken": "/analytics/app-60",
            "edit": "/analytics/app-13/edit",
            "delete": "/analytics/app-13/delete",
        }.items():
            someone.page.goto(f"{everything.url}/admin/apps{path}")
            sound(someone, gallery / f"admin-{name}-{'phone' if size else 'desktop'}.png")


def sound(someone, picture, *, full=True):
    """No obstacle, nothing to scroll sideways, nothing cut off."""
    assert urlsplit(someone.page.url).netloc == urlsplit(someone.portal).netloc
    someone.screenshot(picture, full_page=full)
    wide = someone.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{picture.name} is {wide} pixels too wide"
    assert obstacles(someone.page) == [], picture.name
