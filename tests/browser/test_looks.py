"""How pages look with what a real cluster seldom has all at once: many apps, long names, every state, other scripts.

The portal and the browser are real; the objects are made up, since a controller would put its own status in their place.
"""

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from cube_oauth.kube.api import OAUTH_APPS, USER_CREDENTIALS
from cube_oauth.portal import live
from cube_oauth.portal.portal import utc_now
from cube_oauth.portal.session import SESSION_COOKIE
from tests.browser.accessibility import cramped, obstacles
from tests.browser.people import PHONE, Person, chromium
from tests.unit.portal.conftest import app_of, credential_of
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


def cookie_of(place, username, groups=()):
    value, _ = place.session(username, groups)
    return {"name": SESSION_COOKIE, "value": value, "url": place.url.replace("http", "https"), "secure": True}


def log_in(place, someone, username, groups=()):
    someone.context.add_cookies([cookie_of(place, username, groups)])
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


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", ["en-GB", "de-DE"])
def test_the_pages_in_between(browser, place, gallery, size, dark, language):
    """That lead on at once, or say what went wrong, or that a session is over."""
    place.clear()
    place.app("Trino", 1)
    with Person(browser, size=size, dark=dark, language=language) as someone:

        def seen(name):
            assert name in ("leave", "logged-out") or someone.refused(), name
            look = f"{language[:2]}-{'phone' if size else 'desktop'}-{'dark' if dark else 'light'}"
            sound(someone, gallery / f"{name}-{look}.png")

        someone.portal = place.url
        someone.page.goto(f"{place.url}/nothing")
        seen("not-found")
        log_in(place, someone, "paula", ("platform",))
        someone.context.route("https://idp.example.com/**", lambda route: route.fulfill(status=204))  # and so the page stays
        someone.page.locator("[form=authorize]").click()
        someone.page.wait_for_url("**/connect/**")
        seen("leave")
        someone.page.goto(f"{place.url}/callback/analytics/app-01?state=x&error=access_denied")
        seen("foreign-answer")
        someone.page.goto(f"{place.url}/admin/apps/new?preset=databricks")
        someone.page.locator("[name=title]").fill("Sales")
        someone.context.clear_cookies()
        someone.page.locator("[value=check]").click()
        seen("typing-kept")
        log_in(place, someone, "paula", ("platform",))
        someone.page.locator(".account button").click()
        seen("logged-out")


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


def test_what_changes_on_the_page_leaves_the_rest_as_it_is(browser, place):
    """The focus where it is, what was opened open, the order that of the titles; also when apps come and go."""
    place.clear()
    for number, title in enumerate(("Lake", "Trino", "Zoo")):
        place.app(title, number)
    place.api.put(USER_CREDENTIALS, credential_of("alice", "app-01", name="two", status={**CONNECTED, "scopes": ["query"]}))
    with Person(browser) as someone:
        log_in(place, someone, "alice")
        focused = someone.app("analytics/app-02").get_by_role("button", name="Authorize")
        someone.page.get_by_text("What it may do").click()
        focused.focus()
        place.while_served(USER_CREDENTIALS, credential_of("alice", "app-00", status=CONNECTED))
        expect(someone.app("analytics/app-00")).to_have_attribute("data-state", "Active")
        expect(someone.app("analytics/app-01").locator("details")).to_have_attribute("open", "")
        place.while_served(OAUTH_APPS, app_of("app-03", spec={"displayName": "Oracle"}))
        expect(someone.page.get_by_role("heading", level=2)).to_have_text(["Lake", "Oracle", "Trino", "Zoo"])
        place.while_served(OAUTH_APPS, app_of("app-01", spec={"displayName": "Aurora", "access": {"users": ["bob"]}}))
        expect(someone.page.get_by_role("heading", level=2)).to_have_text(["Lake", "Oracle", "Zoo"])
        place.while_served(OAUTH_APPS, app_of("app-01", spec={"displayName": "Trino"}))
        expect(someone.page.get_by_role("heading", level=2)).to_have_text(["Lake", "Oracle", "Trino", "Zoo"])
        expect(focused).to_be_focused()
        ids = someone.page.evaluate("[...document.querySelectorAll('[id]')].map(({ id }) => id)")
        assert len(ids) == len(set(ids))


def test_the_first_app_appears_by_itself_and_the_last_one_goes(browser, place):
    place.clear()
    with Person(browser) as someone:
        log_in(place, someone, "alice")
        expect(someone.page.get_by_role("main")).to_contain_text("There is no app")
        place.while_served(OAUTH_APPS, app_of("app-01", spec={"displayName": "Trino"}))
        expect(someone.app("analytics/app-01")).to_be_visible(timeout=15_000)
        place.while_served(OAUTH_APPS, app_of("app-01", spec={"displayName": "Trino", "access": {"users": ["bob"]}}))
        expect(someone.page.locator("[data-app]")).to_have_count(0, timeout=15_000)


@pytest.fixture
def alice(browser, place):
    """She looks at her page, where one app is."""
    place.clear()
    place.app("Trino", 1)
    with Person(browser) as someone:
        log_in(place, someone, "alice")
        yield someone


@pytest.mark.parametrize("path", ["/events", "/"])
def test_a_page_goes_on_after_a_proxy_had_nobody_to_ask(place, alice, path):
    """A browser never comes back by itself to a stream of events that was answered with a 502."""
    answers = iter([502])

    def sometimes(route):
        asked_anew = path == "/" and "x-live" not in route.request.headers  # the page as a whole would be lost
        status = 502 if asked_anew else next(answers, None)
        route.fulfill(status=status, body="<h1>Bad Gateway</h1>") if status else route.fallback()

    alice.page.route(f"{place.url}{path}", sometimes)
    if path == "/events":
        alice.page.reload()
    place.while_served(USER_CREDENTIALS, credential_of("alice", "app-01", status=CONNECTED))
    expect(alice.app("analytics/app-01")).to_have_attribute("data-state", "Active")
    assert next(answers, None) is None


def test_an_answer_that_comes_late_does_not_hide_a_newer_one(place, alice):
    held = []

    def hold_the_first(route):
        if held or "x-live" not in route.request.headers:
            return route.fallback()
        held.append((route, route.fetch()))  # what the page was then
        place.while_served(USER_CREDENTIALS, credential_of("alice", "app-01", status=CONNECTED))
        return None

    alice.page.route(f"{place.url}/", hold_the_first)
    place.while_served(OAUTH_APPS, app_of("app-02", spec={"displayName": "Lake"}))
    alice.page.wait_for_timeout(2000)  # long enough for a newer answer to come first, if it may
    [(route, answer)] = held
    route.fulfill(response=answer)
    expect(alice.app("analytics/app-02")).to_be_visible()
    alice.page.wait_for_timeout(500)
    expect(alice.app("analytics/app-01")).to_have_attribute("data-state", "Active")


def test_a_request_that_is_never_answered_does_not_hold_up_what_comes_after_it(place, alice):
    """A machine that is gone says so to nobody."""
    lost = []

    def lose_the_first(route):
        return route.fallback() if lost or "x-live" not in route.request.headers else lost.append(route)

    alice.page.add_init_script("const { timeout } = AbortSignal; AbortSignal.timeout = () => timeout.call(AbortSignal, 500)")
    alice.page.reload()
    alice.page.route(f"{place.url}/", lose_the_first)
    place.while_served(OAUTH_APPS, app_of("app-02", spec={"displayName": "Lake"}))
    alice.page.wait_for_timeout(500)
    place.while_served(USER_CREDENTIALS, credential_of("alice", "app-01", status=CONNECTED))
    expect(alice.app("analytics/app-01")).to_have_attribute("data-state", "Active", timeout=15_000)
    assert lost


def test_a_page_that_came_from_a_replica_that_was_behind_is_asked_for_once_more(place, alice, monkeypatch):
    """One replica tells of a change, and another, which has not heard of it, shows the page."""
    monkeypatch.setattr(live, "BEAT", 0.5)
    before = alice.page.evaluate("fetch('/').then((answer) => answer.text())")
    behind = iter([before])

    def first(route):
        body = next(behind, None) if "x-live" in route.request.headers else None
        route.fulfill(body=body, content_type="text/html") if body else route.fallback()

    alice.page.route(f"{place.url}/", first)
    place.while_served(USER_CREDENTIALS, credential_of("alice", "app-01", status=CONNECTED))
    expect(alice.app("analytics/app-01")).to_have_attribute("data-state", "Active", timeout=10_000)
    assert next(behind, None) is None


def test_whoever_is_logged_out_meanwhile_is_shown_that(place, alice):
    alice.context.clear_cookies()
    alice.page.route(f"{place.url}/events", lambda route: route.fulfill(status=204))
    alice.page.evaluate("follow(live)")
    expect(alice.page.get_by_text("Logged in as alice")).to_have_count(0)


def test_a_page_of_somebody_else_does_not_become_one_s_own(place, alice):
    """Two tabs: in the other one somebody else logged in meanwhile."""
    alice.context.clear_cookies()
    alice.context.add_cookies([cookie_of(place, "bob")])
    alice.page.evaluate("refresh(live)")
    expect(alice.page.get_by_text("Logged in as bob")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/admin/apps"])
def test_a_first_visit_to_thirty_apps_takes_less_than_14_kb(browser, everything, path):
    """Everything on the wire, headers included, but the icon: as much as a server sends before it has to wait for the browser."""
    with Person(browser) as someone:
        someone.context.add_cookies([cookie_of(everything, "paula", ("platform",))])
        weights = someone.weigh(everything.url + path)
        expect(someone.context.pages[-1].locator("li.app").nth(29)).to_be_attached()
    assert {path, "/static/portal.css", "/static/portal.js"} <= {urlsplit(url).path for url in weights}
    assert sum(weight for url, weight in weights.items() if not url.endswith(".svg")) < 14 * 1024


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
    """No obstacle, and everything fits, zoomed in, too."""
    assert urlsplit(someone.page.url).netloc == urlsplit(someone.portal).netloc
    someone.screenshot(picture, full_page=full)
    assert cramped(someone.page) + obstacles(someone.page) == [], picture.name
