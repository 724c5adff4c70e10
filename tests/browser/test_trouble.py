"""What a person meets when something else fails: a provider that is away, a session that ends; and what is ended is ended there."""

import socket
import threading
from contextlib import contextmanager, suppress

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import cramped, obstacles
from tests.browser.people import PHONE
from tests.browser.world import TENANT
from tests.control_plane.harness import eventually
from tests.parts.processes import free_port

SALES = f"{TENANT}/sales"
CLIENT = {"client_id": "warehouse-app", "client_secret": "app secret"}
SESSION = "__Host-cube-oauth-session"
AWAY = {"refused": "The provider cannot be reached.", "no such host": "host name does not resolve"}


@pytest.fixture
def sales(world):
    """Makes the app Sales; it is gone afterwards, with what it left."""
    yield lambda **spec: world.add_app("sales", displayName="Sales", **spec)
    world.cluster.kubectl("delete", "--ignore-not-found", "oauthapp/sales", "secret/sales-client", "-n", TENANT)


@contextmanager
def forwarded(port, to):
    """Whoever connects to ``port`` talks to ``to``."""

    def pipe(source, target):
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve():
        with suppress(OSError):
            while True:
                near, far = server.accept()[0], socket.create_connection(("127.0.0.1", to))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=pipe, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield


def nowhere(how):
    return free_port() if how == "refused" else None


def address(port):
    return f"https://127.0.0.1:{port}" if port else "https://provider.invalid"


def look(someone, gallery, name):
    """A picture, and nothing in anybody's way, on a desktop and on a phone."""
    for size in (someone.page.viewport_size, PHONE):
        someone.page.set_viewport_size(size)
        someone.screenshot(gallery / f"{name}-{size['width']}.png")
        assert cramped(someone.page) + obstacles(someone.page) == [], name


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", AWAY)
def test_a_token_endpoint_that_is_away_after_the_consent(world, alice, sales, gallery, how):
    """The person consented; only the controller notices. The page says so, and goes on by itself once the provider is back."""
    port = nowhere(how)
    sales(authorizationURL=f"{world.provider.issuer}/auth", tokenURL=f"{address(port)}/token")
    alice.begin(SALES)
    alice.consent()
    entry = alice.app(SALES)
    expect(alice.page.get_by_role("status")).to_contain_text("You have authorized Sales")
    expect(entry).to_contain_text("Being connected")
    expect(entry).to_contain_text(AWAY[how])
    expect(entry).to_contain_text("It is tried again")
    look(alice, gallery, f"token-endpoint-{how.replace(' ', '-')}")
    if port:
        with forwarded(port, world.provider.port):
            expect(entry).to_have_attribute("data-state", "Active")


@pytest.mark.parametrize("how", AWAY)
def test_a_provider_that_is_away_when_an_app_is_set_up(world, alice, sales, gallery, how):
    sales(ready=False, issuerURL=address(nowhere(how)))
    entry = alice.app(SALES)
    expect(entry).to_contain_text("Not available")
    expect(entry).to_contain_text(AWAY[how])
    expect(entry.get_by_role("button")).to_have_count(0)
    alice.page.goto(f"{world.url}/connect/{SALES}")
    expect(alice.page.get_by_role("main")).to_contain_text(AWAY[how])
    expect(alice.page.get_by_role("main").get_by_role("button")).to_have_count(0)
    look(alice, gallery, f"discovery-{how.replace(' ', '-')}")


@pytest.mark.parametrize("how", AWAY)
def test_a_log_in_provider_that_is_away(world, person, gallery, how):
    someone = person()
    with world.another_portal(LOGIN_ISSUER=address(nowhere(how))) as url:
        someone.page.goto(url)
        someone.page.get_by_role("link", name="Log in").click()
        assert someone.refused() == "LogInUnavailable"
        expect(someone.page.get_by_role("heading", name="Logging in is not possible just now")).to_be_visible()
        expect(someone.page.get_by_role("link", name="Log in")).to_be_visible()
        look(someone, gallery, f"log-in-{how.replace(' ', '-')}")


def counts(world, token):
    """Whether the provider itself still takes a refresh token for one (RFC 7662)."""
    return world.provider.post("/token/introspection", token=token, **CLIENT).json()["active"]


def dead(world, token):
    eventually(lambda: not counts(world, token))
    refused = world.provider.token(grant_type="refresh_token", refresh_token=token, **CLIENT)
    assert (refused.status, refused.json()["error"]) == (400, "invalid_grant")


def test_after_disconnecting_the_refresh_token_is_dead_at_the_provider(world, alice, sales):
    sales()
    alice.connect(SALES)
    token = world.refresh_token("alice", "sales")
    assert counts(world, token)
    alice.disconnect(SALES)
    dead(world, token)


def test_after_an_app_was_deleted_everybody_s_refresh_token_is_dead_at_the_provider(world, person, alice, sales):
    sales()
    bob, paula = person("bob"), person("paula")
    for someone in (alice, bob):
        someone.connect(SALES)
    tokens = [world.refresh_token(name, "sales") for name in ("alice", "bob")]
    assert all(counts(world, token) for token in tokens)
    page = paula.page
    page.goto(f"{world.url}/admin/apps/{SALES}/delete")
    page.get_by_label("Type sales to confirm").fill("sales")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_contain_text("Sales is deleted")
    for token in tokens:
        dead(world, token)


def test_after_revoking_one_person_the_others_stay_connected_at_the_provider(world, person, alice, sales):
    sales()
    bob, paula = person("bob"), person("paula")
    for someone in (alice, bob):
        someone.connect(SALES)
    hers, his = (world.refresh_token(name, "sales") for name in ("alice", "bob"))
    page = paula.page
    page.goto(f"{world.url}/admin/apps/{SALES}")
    page.get_by_label("alice").check()
    page.get_by_role("button", name="Revoke those selected").click()
    expect(page.locator('[data-person="alice"]')).to_have_count(0)
    dead(world, hers)
    assert counts(world, his)


@pytest.mark.parametrize("javascript", [True, False], ids=["with a script", "without"])
def test_a_session_that_ends_while_an_app_is_described(world, person, gallery, javascript):
    paula = person("paula", javascript=javascript)
    page = paula.page
    page.goto(f"{world.url}/admin/apps/new")
    page.get_by_label("Name", exact=True).fill("Sales")
    page.get_by_label("Issuer URL").fill(world.provider.issuer)
    page.get_by_label("Client ID").fill("warehouse-app")
    page.get_by_label("Client Secret").fill("app secret")
    page.get_by_label("Scopes").fill("openid offline_access query")
    paula.context.clear_cookies(name=SESSION)
    page.get_by_role("button", name="Create").click()
    assert paula.refused() == "TypingKept"
    assert "app secret" not in page.content()
    if javascript:
        look(paula, gallery, "typing-kept")
    with paula.context.expect_page() as opened:
        page.get_by_role("link", name="Log in").click()
    opened.value.get_by_role("heading", name="Connected apps").wait_for()  # the provider still knows who it is
    opened.value.close()
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert")).to_contain_text("Your session had ended")
    expect(page.get_by_label("Client Secret")).to_have_value("")
    expect(page.get_by_label("Issuer URL")).to_have_value(world.provider.issuer)
    page.get_by_label("Client Secret").fill("app secret")
    page.get_by_role("button", name="Create").click()
    try:
        expect(page.get_by_role("status")).to_contain_text("Sales is created")
        expect(page.get_by_text("nothing is wrong")).to_be_visible()
        assert "app secret" not in world.portal_log()
    finally:
        world.cluster.kubectl("delete", "--ignore-not-found", "oauthapp/sales", "secret/sales-client", "-n", TENANT)
