"""The portal as a person meets it: a real Chromium, a real OpenID provider, a real API server, the real controller."""

import http.client
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import cramped, obstacles
from tests.browser.people import PHONE
from tests.browser.world import HOST, TENANT, TOKENS

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


def test_alice_connects_and_is_told_so(world, alice, gallery):
    entry = alice.app(TRINO)
    expect(entry).to_have_attribute("data-state", "Pending")
    expect(entry).to_contain_text("Not connected")
    alice.connect(TRINO)
    expect(alice.page.get_by_role("status")).to_contain_text("Trino is connected")
    expect(entry).to_contain_text("Connected as alice")
    expect(entry).to_contain_text("Renewed by itself")
    alice.screenshot(gallery / "connected.png")
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
    expect(alice.page).to_have_url(alice.portal + "/")  # no page between that would lead on again, or ask to send a form again
    expect(alice.page.get_by_role("heading", name="Connected apps")).to_be_visible()
    alice.connect(TRINO)


@pytest.mark.usefixtures("impatient")
def test_a_provider_that_is_slow_after_the_consent_is_waited_for(world, alice):
    """The portal says that it takes a moment; the page shows by itself when it is done."""
    world.provider.control.delay(1, 6)
    try:
        alice.begin(TRINO)
        alice.consent()
        expect(alice.page.get_by_role("status")).to_contain_text("The connection is being made")
        expect(alice.app(TRINO)).to_have_attribute("data-state", "Active")
    finally:
        world.provider.control.heal()


def test_without_cookies_somebody_is_told_so(world, person):
    someone = person()
    someone.page.goto(world.url)
    someone.page.get_by_role("link", name="Log in").click()
    someone.context.clear_cookies(domain=HOST)
    someone.sign_in("alice", "let me in")
    someone.page.wait_for_url(lambda url: url.startswith(world.url))
    assert someone.refused() == "NoCookies"


def test_a_session_that_ends_at_the_provider_is_begun_anew_and_nothing_is_lost(alice):
    alice.begin(TRINO)
    alice.context.clear_cookies(name="__Host-cube-oauth-session")
    alice.consent()
    assert alice.refused() == "SessionOver"
    alice.page.get_by_role("link", name="Start again").click()
    alice.page.get_by_role("button", name="Authorize").click()  # the provider still knows who it is
    alice.consent()
    expect(alice.app(TRINO)).to_have_attribute("data-state", "Active")


def test_after_logging_out_the_apps_are_gone(world, alice):
    alice.log_out()
    expect(alice.page.locator("[data-app]")).to_have_count(0)
    assert "__Host-cube-oauth-session" not in alice.cookies()
    alice.page.go_back()
    alice.page.reload()
    expect(alice.page.locator("[data-app]")).to_have_count(0)


def test_logging_out_at_the_provider_too(alice):
    alice.log_out()
    alice.page.get_by_role("link", name="Log out at").click()
    alice.page.get_by_role("button", name="sign me out").click()
    alice.page.get_by_role("heading", name="Sign-out Success").wait_for()
    alice.page.goto(alice.portal)
    alice.page.get_by_role("link", name="Log in").click()
    expect(alice.page.locator("#log-in")).to_be_visible()


def test_an_app_that_is_not_ready_says_why_and_has_no_button(world, alice):
    world.apply(world.app("finance", displayName="Finance warehouse"))
    world.cluster.kubectl("wait", "--for=condition=Ready=false", "oauthapp/finance", "-n", TENANT, "--timeout=120s")
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


def press(someone, name):
    """Go to what is called so with the Tab key alone, and press it."""
    for _ in range(12):
        someone.page.keyboard.press("Tab")
        if someone.page.evaluate("document.activeElement.textContent.trim()") == name:
            someone.page.keyboard.press("Enter")
            return
    raise AssertionError(f"no Tab leads to {name}")


def test_a_keyboard_is_enough(alice):
    press(alice, "Skip to the content")
    press(alice, "Authorize")
    alice.page.wait_for_url(lambda url: not url.startswith(alice.portal))
    alice.consent()
    connected = alice.page.locator('[data-state="Active"]')
    expect(connected).to_have_count(1)
    press(alice, "Disconnect")
    expect(alice.page.get_by_role("heading", name="Disconnect")).to_be_visible()
    press(alice, "Disconnect")
    expect(alice.page.get_by_role("status")).to_contain_text("is disconnected")


def test_nothing_secret_is_logged(world, alice):
    address = answer_of(alice)
    alice.page.goto(address)
    expect(alice.app(TRINO)).to_have_attribute("data-state", "Active")
    query = parse_qs(urlsplit(address).query)
    log = world.portal_log()
    assert '"message": "connected"' in log
    for hidden in (query["code"][0], query["state"][0], "log-in secret", *(cookie["value"] for cookie in alice.context.cookies())):
        assert hidden not in log


SIZES = [pytest.param(None, id="desktop"), pytest.param(PHONE, id="phone")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_has_an_obstacle_or_scrolls_sideways_and_pictures_of_all(world, person, gallery, size, dark):
    someone = person(dark=dark, size=size)
    look = f"{'phone' if size else 'desktop'}-{'dark' if dark else 'light'}"

    def see(name, path=None):
        if path:
            someone.page.goto(world.url + path)
        someone.screenshot(gallery / f"{name}-{look}.png", full_page=name.startswith("oauth"))
        assert cramped(someone.page) + obstacles(someone.page) == [], name

    see("welcome", "/")
    someone.log_in(world.url, "paula", "let me in")
    someone.connect(TRINO)
    see("connected-apps")
    someone.page.locator("summary").first.click()
    see("what-it-may-do")
    see("connect", f"/connect/{LAKE}")
    see("connected-already", f"/connect/{TRINO}?return_to={world.elsewhere}")
    see("disconnect", f"/disconnect/{TRINO}")
    see("refused", "/nothing")
    see("oauth-apps", "/admin/apps")
    see("oauth-app", f"/admin/apps/{TRINO}")
    see("oauth-app-edit", f"/admin/apps/{TRINO}/edit")
    someone.page.get_by_label("Client ID").fill("another")
    someone.page.get_by_role("button", name="Save").click()
    see("oauth-app-edit-mistakes")
    someone.page.get_by_role("button", name="Copy as YAML").click()
    see("oauth-app-change-yaml")
    see("oauth-app-delete", f"/admin/apps/{TRINO}/delete")
    see("oauth-app-new", "/admin/apps/new?preset=databricks")
    someone.page.get_by_role("button", name="Check").click()
    see("oauth-app-mistakes")
    see("oauth-app-generic", "/admin/apps/new")
    someone.page.get_by_label("Name", exact=True).fill("Sales")
    someone.page.get_by_label("Issuer URL").fill("https://idp.example.com")
    someone.page.get_by_label("Client ID").fill("cube")
    someone.page.get_by_role("button", name="Copy as YAML").click()
    see("oauth-app-yaml")


def test_a_state_changes_on_the_page_by_itself(world, alice):
    alice.connect(TRINO)
    other = alice.context.new_page()
    other.goto(world.url + "/")
    entry = other.locator(f'[data-app="{TRINO}"]')
    other.get_by_text("What it may do").click()
    (credential,) = credentials(world)
    world.cluster.kubectl("delete", "usercredential", credential["metadata"]["name"], "-n", TENANT)
    expect(entry).to_have_attribute("data-state", "Pending")
    expect(alice.app(TRINO)).to_have_attribute("data-state", "Pending")


def test_times_are_in_the_reader_s_zone(person):
    someone = person("alice", zone="Asia/Kolkata")
    someone.connect(TRINO)
    time = someone.app(TRINO).locator("time").first
    clock = "new Date(document.querySelector('time').dateTime).toLocaleTimeString('en-GB', {timeStyle: 'short'})"
    assert time.text_content() == f"today, {someone.page.evaluate(clock)}"
    without = person("alice", zone="Asia/Kolkata", javascript=False)
    without.connect(TRINO)
    assert without.app(TRINO).locator("time").first.text_content().endswith(" UTC")


def test_a_dashboard_s_link_leads_back_to_the_dashboard(world, person):
    someone, dashboard = person(), f"{world.elsewhere}/openid-configuration?dashboard=7#top"
    someone.page.goto(f"{world.url}/connect/{TRINO}?return_to={quote(dashboard, safe='')}")
    someone.sign_in("alice", "let me in")
    someone.page.get_by_role("button", name="Authorize").click()
    someone.page.locator("#allow").click()
    someone.page.wait_for_url(dashboard)
    assert someone.state(TRINO) == "Active"


def test_an_administrator_makes_an_app_and_somebody_connects_to_it(world, person, alice):
    paula = person("paula")
    page = paula.page
    page.get_by_role("link", name="OAuth apps").click()
    page.get_by_role("link", name="Add").click()
    page.get_by_label("Name", exact=True).fill("Sales")
    expect(page.locator("#redirect")).to_have_text(f"{world.url}/callback/{TENANT}/sales")
    page.get_by_label("Issuer URL").fill(world.provider.issuer)
    page.get_by_label("Client ID").fill("warehouse-app")
    page.get_by_label("Client Secret").fill("app secret")
    page.get_by_label("Scopes").fill("openid offline_access query")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_contain_text("Sales is created")
    try:
        expect(page.get_by_text("nothing is wrong")).to_be_visible()  # it was tried at once, with its secret
        world.cluster.kubectl("wait", "--for=condition=Ready", "oauthapp/sales", "-n", TENANT, "--timeout=120s")
        page.get_by_role("button", name="Test").click()
        expect(page.get_by_text("nothing is wrong")).to_be_visible()
        alice.connect(f"{TENANT}/sales")
        page.reload()
        expect(page.locator('[data-person="alice"]')).to_contain_text("Connected as alice")
        page.get_by_label("alice").check()
        page.get_by_role("button", name="Revoke those selected").click()
        expect(page.locator('[data-person="alice"]')).to_have_count(0)
        expect(alice.app(f"{TENANT}/sales")).to_have_attribute("data-state", "Pending")
        assert "app secret" not in world.portal_log()
        assert world.get("secrets", "-n", TOKENS, "-l", "cubeoauth.dev/kind=client")["items"] == []
    finally:
        world.cluster.kubectl("delete", "--ignore-not-found", "oauthapp/sales", "secret/sales-client", "-n", TENANT)


def test_an_administrator_changes_an_app_and_deletes_it(world, person, alice):
    """Without a script, as everything here; what it did is seen by the person who was connected."""
    sales = f"{TENANT}/sales"
    world.add_app("sales", displayName="Sales")
    try:
        alice.connect(sales)
        paula = person("paula", javascript=False)
        page = paula.page
        page.goto(f"{world.url}/admin/apps/{sales}")
        page.get_by_role("link", name="Change", exact=True).click()
        expect(page.get_by_text("Connected now: 1.")).to_be_visible()
        page.get_by_label("Name", exact=True).fill("Sales and more")
        page.get_by_label("Client ID").fill("another-app")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Everybody who is connected (1) will have to sign in again")).to_be_visible()
        page.get_by_label("may have to sign in again").check()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status")).to_contain_text("Whoever is connected (1) has to sign in again")
        expect(page.locator("[data-oauth-app]")).to_have_attribute("data-ready", "true")  # nobody has to reload to see it
        expect(alice.app(sales)).to_contain_text("Sales and more")
        expect(alice.app(sales)).to_contain_text("It cannot be renewed")
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete").click()
        page.get_by_label("Type sales to confirm").fill("sales")
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("status")).to_contain_text("Sales and more is deleted")
        expect(alice.app(sales)).to_have_count(0)
        assert [one["metadata"]["name"] for one in credentials(world) if one["spec"]["oauthAppRef"]["name"] == "sales"] == []
    finally:
        world.cluster.kubectl("delete", "--ignore-not-found", "oauthapp/sales", "secret/sales-client", "-n", TENANT)


def test_the_first_paint_needs_little_and_nothing_from_elsewhere(alice):
    alice.connect(TRINO)
    weights = alice.weigh(f"{alice.portal}/")
    assert {urlsplit(url).netloc for url in weights} == {urlsplit(alice.portal).netloc}
    assert {"/", "/static/portal.css"} <= {urlsplit(url).path for url in weights}
    assert sum(weight for url, weight in weights.items() if not url.endswith(".svg")) < 14 * 1024


@pytest.fixture(scope="module")
def proxied(world):
    """The portal behind a real oauth2-proxy, and the port at which it would answer without."""
    with world.behind_oauth2_proxy() as port:
        yield port


@pytest.mark.usefixtures("proxied")
def test_behind_oauth2_proxy_people_log_in_there_connect_and_disconnect(world, person):
    someone = person()
    someone.portal = world.proxied_url
    someone.page.goto(f"{world.proxied_url}/")
    someone.sign_in("paula", "let me in")
    expect(someone.page.get_by_text("Logged in as paula")).to_be_visible()
    expect(someone.page.get_by_role("link", name="OAuth apps")).to_be_visible()  # its groups, by the header
    expect(someone.page.get_by_role("button", name="Log out")).to_have_count(0)
    someone.connect(TRINO)
    (credential,) = credentials(world)
    assert (credential["spec"]["username"], credential["status"]["state"]) == ("paula", "Active")
    other = someone.context.new_page()
    other.goto(f"{world.proxied_url}/")
    someone.disconnect(TRINO)
    expect(other.locator(f'[data-app="{TRINO}"]')).to_have_attribute("data-state", "Pending")  # events come through it, too


@pytest.mark.usefixtures("proxied")
def test_a_browser_s_own_headers_make_nobody_somebody_else(world, person):
    alice = person()
    alice.context.set_extra_http_headers({"X-Forwarded-User": "bob", "X-Forwarded-Groups": "platform"})
    alice.page.goto(f"{world.proxied_url}/")
    alice.sign_in("alice", "let me in")
    expect(alice.page.get_by_text("Logged in as alice")).to_be_visible()
    expect(alice.page.get_by_role("link", name="OAuth apps")).to_have_count(0)


def test_headers_from_anywhere_but_the_proxy_are_refused(proxied):
    """The same request from the proxy's address is believed, so it is the address that decides."""
    for source, status in (("127.0.0.1", 200), ("127.0.0.2", 403)):
        connection = http.client.HTTPConnection("127.0.0.1", proxied, timeout=30, source_address=(source, 0))
        connection.request("GET", "/", headers={"X-Forwarded-User": "bob"})
        answer = connection.getresponse()
        page = answer.read().decode()
        connection.close()
        assert (answer.status, "Logged in as <strong>bob" in page) == (status, status == 200)
