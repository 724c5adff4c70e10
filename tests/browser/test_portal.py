"""The portal as a person meets it: a real Chromium, a real OpenID provider, a real API server, the real controller."""

from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.people import PHONE
from tests.browser.world import TENANT, TOKENS

TRINO, LAKE = f"{TENANT}/trino", f"{TENANT}/lake"


def credentials(world):
    return world.get("usercredentials", "-n", TENANT)["items"]


def grants(world):
    return world.get("secrets", "-n", TOKENS, "-l", "cubeoauth.dev/kind=grant")["items"]


def answer_of(someone, app=TRINO):
    """Consent as the browser would, but stop before the provider's answer is opened; gives its address."""
    someone.begin(app)
    form = someone.page.locator("#consent").get_attribute("action")
    request, at = someone.context.request, urljoin(someone.page.url, form)
    answer = request.post(at, form={"decision": "allow"}, max_redirects=0)
    while True:
        at = urljoin(at, answer.headers["location"])
        if at.startswith(someone.portal):
            return at
        answer = request.get(at, max_redirects=0)


def test_alice_connects_and_is_told_so(world, alice):
    entry = alice.app(TRINO)
    expect(entry).to_have_attribute("data-state", "Pending")
    expect(entry).to_contain_text("Not connected")
    alice.connect(TRINO)
    expect(alice.page.get_by_role("status")).to_contain_text("Trino is connected")
    expect(entry).to_contain_text("Connected as alice")
    expect(entry).to_contain_text("Renewed by itself")
    (credential,) = credentials(world)
    assert (credential["spec"]["username"], credential["spec"]["oauthAppRef"]) == ("alice", {"name": "trino"})
    assert credential["status"]["state"] == "Active"
    assert grants(world) == []
    alice.page.reload()
    expect(alice.page.get_by_role("status")).to_have_count(0)


def test_a_deep_link_leads_through_the_log_in_and_back(world, person):
    someone = person()
    someone.page.goto(f"{world.url}/connect/{TRINO}")
    someone.sign_in("alice", "let me in")
    expect(someone.page.get_by_role("heading", name="Connect Trino")).to_be_visible()
    someone.page.get_by_role("button", name="Authorize").click()
    someone.consent()
    expect(someone.app(TRINO)).to_have_attribute("data-state", "Active")


def test_everything_works_without_javascript(person):
    someone = person("alice", javascript=False)
    someone.connect(TRINO)
    someone.disconnect(TRINO)


def test_a_denied_consent_says_what_happened_and_connects_nothing(world, alice):
    alice.connect(TRINO, allow=False)
    assert alice.refused() == "AccessDenied"
    expect(alice.page.get_by_role("main")).not_to_contain_text("the user said no")
    assert credentials(world) == []
    alice.page.get_by_role("link", name="Start again").click()
    expect(alice.page.get_by_role("heading", name="Connect Trino")).to_be_visible()


def test_reconnecting_replaces_the_connection(world, alice):
    alice.connect(TRINO)
    before = credentials(world)[0]["status"]["revision"]
    alice.connect(TRINO)
    expect(alice.page.get_by_role("status")).to_contain_text("Trino is connected")
    (credential,) = credentials(world)
    assert credential["status"]["revision"] == before + 1


def test_disconnecting_removes_the_credential_and_revokes_at_the_provider(world, alice):
    alice.connect(TRINO)
    alice.disconnect(TRINO)
    expect(alice.page.get_by_role("status")).to_contain_text("revoked")
    assert credentials(world) == []
    expect(alice.app(TRINO).get_by_role("button", name="Authorize")).to_be_visible()


def test_an_answer_counts_once(world, alice):
    address = answer_of(alice)
    kept = alice.context.cookies()
    alice.page.goto(address)
    expect(alice.app(TRINO)).to_have_attribute("data-state", "Active")
    alice.page.goto(address)
    assert alice.refused() == "StateUnknown"
    alice.context.add_cookies(kept)
    alice.page.goto(address)
    assert alice.refused() in {"Replayed", "GrantRefused"}  # before, or after the controller has removed the first grant
    assert len(credentials(world)) == 1


def test_an_answer_for_another_browser_is_refused(world, alice, person):
    address = answer_of(alice)
    bob = person("bob")
    bob.page.goto(address)
    assert bob.refused() == "StateUnknown"
    assert credentials(world) == []
    alice.page.goto(address)
    expect(alice.app(TRINO)).to_have_attribute("data-state", "Active")


def test_an_answer_for_another_app_is_refused(world, alice):
    address = answer_of(alice, LAKE)
    alice.page.goto(address.replace("/lake?", "/trino?"))
    assert alice.refused() == "StateUnknown"
    assert credentials(world) == []


def test_an_answer_of_another_issuer_is_refused(world, alice):
    parts = urlsplit(answer_of(alice))
    assert parse_qs(parts.query)["iss"] == [world.provider.issuer]
    query = "&".join(pair for pair in parts.query.split("&") if not pair.startswith("iss="))
    alice.page.goto(f"{world.url}{parts.path}?{query}&iss=https%3A%2F%2Fevil.example")
    assert alice.refused() == "AnswerInvalid"
    assert credentials(world) == []


def test_the_portal_may_restart_between_redirect_and_answer(world, alice):
    alice.begin(TRINO)
    world.restart_portal()
    alice.consent()
    expect(alice.app(TRINO)).to_have_attribute("data-state", "Active")


def test_two_people_do_not_see_each_other(world, alice, person):
    bob = person("bob", size=PHONE)
    alice.begin(TRINO)
    bob.begin(TRINO)
    alice.consent()
    bob.consent()
    expect(alice.app(TRINO)).to_contain_text("Connected as alice")
    expect(bob.app(TRINO)).to_contain_text("Connected as bob")
    bob.disconnect(TRINO)
    assert alice.state(TRINO) == "Active"


def test_two_tabs_of_one_person(alice):
    alice.begin(TRINO)
    first, alice.page = alice.page, alice.context.new_page()
    alice.connect(LAKE)
    second, alice.page = alice.page, first
    alice.consent()
    expect(alice.app(TRINO)).to_have_attribute("data-state", "Active")
    second.reload()
    expect(second.locator(f'[data-app="{TRINO}"]')).to_have_attribute("data-state", "Active")


def test_going_back_from_the_provider_and_starting_again(alice):
    alice.begin(TRINO)
    alice.page.go_back()
    alice.connect(TRINO)


def test_after_logging_out_the_apps_are_gone(world, alice):
    alice.log_out()
    expect(alice.page.locator("[data-app]")).to_have_count(0)
    assert "__Host-cube-oauth-session" not in alice.cookies()
    alice.page.go_back()
    alice.page.reload()
    expect(alice.page.locator("[data-app]")).to_have_count(0)


def test_an_app_that_is_not_ready_says_why_and_has_no_button(world, alice):
    world.apply(world.app("finance", displayName="Finance warehouse"))
    world.cluster.kubectl("wait", "--for=condition=Ready=false", "oauthapp/finance", "-n", TENANT, "--timeout=30s")
    try:
        alice.page.reload()
        entry = alice.app(f"{TENANT}/finance")
        expect(entry).to_contain_text("There is no Secret finance-client")
        expect(entry.get_by_role("button")).to_have_count(0)
    finally:
        world.cluster.kubectl("delete", "oauthapp/finance", "-n", TENANT)


def test_access_by_group(world, alice, person):
    world.add_app("ours", access={"groups": ["analysts"]})
    try:
        alice.page.reload()
        expect(alice.app(f"{TENANT}/ours")).to_be_visible()
        bob = person("bob")
        expect(bob.app(TRINO)).to_be_visible()
        expect(bob.app(f"{TENANT}/ours")).to_have_count(0)
    finally:
        world.cluster.kubectl("delete", "oauthapp/ours", "-n", TENANT)


def test_the_browser_reports_nothing_against_the_policy(alice):
    said = []
    alice.page.on("console", lambda message: said.append(message.text))
    alice.page.on("requestfailed", lambda request: said.append(f"{request.url}: {request.failure}"))
    alice.connect(TRINO)
    alice.page.goto(f"{alice.portal}/connect/{TRINO}")
    alice.disconnect(TRINO)
    # a page that leads on at once may leave its icon unread: that is "net::ERR_ABORTED"
    assert [text for text in said if "Content Security Policy" in text or text.endswith(": csp")] == []


def test_cookies_are_secure(alice):
    cookies = [cookie for name, cookie in alice.cookies().items() if name.startswith("__Host-")]
    assert cookies
    assert all(cookie["httpOnly"] and cookie["secure"] and cookie["sameSite"] == "Lax" for cookie in cookies)


@pytest.mark.parametrize("key", ["Tab"])
def test_a_keyboard_is_enough(alice, key):
    alice.page.keyboard.press(key)
    expect(alice.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    alice.page.keyboard.press("Enter")
    reached = []
    for _ in range(6):
        alice.page.keyboard.press(key)
        reached.append(alice.page.evaluate("document.activeElement.textContent.trim()"))
    assert "Authorize" in reached


def test_nothing_secret_is_logged(world, alice):
    address = answer_of(alice)
    alice.page.goto(address)
    expect(alice.app(TRINO)).to_have_attribute("data-state", "Active")
    query = parse_qs(urlsplit(address).query)
    log = world.portal_log()
    assert '"message": "connected"' in log
    for hidden in (query["code"][0], query["state"][0], "log-in secret", *(cookie["value"] for cookie in alice.context.cookies())):
        assert hidden not in log


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pictures_for_the_readme_and_no_sideways_scrolling(world, person, gallery, size, dark):
    someone = person("alice", dark=dark, size=PHONE if size == "phone" else None)
    name = f"{size}-{'dark' if dark else 'light'}"
    someone.connect(TRINO)
    someone.screenshot(gallery / f"connected-apps-{name}.png")
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not someone.page.evaluate(wide)
    someone.page.goto(f"{world.url}/connect/{LAKE}")
    someone.screenshot(gallery / f"connect-{name}.png")
    assert not someone.page.evaluate(wide)
