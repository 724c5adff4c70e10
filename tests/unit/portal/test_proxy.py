"""A proxy in front of the portal says who somebody is."""

import dataclasses
from ipaddress import ip_network

import pytest

from cube_oauth.portal.settings import Admins, ProxySettings

from .conftest import refused

HERE = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
ALICE = {"X-Forwarded-User": "alice", "X-Forwarded-Groups": "analysts, platform"}
BOB = {"X-Forwarded-User": "bob"}
FORM = {"Sec-Fetch-Site": "same-origin"}


def through(world, networks=HERE):
    proxy = ProxySettings(networks, "X-Forwarded-User", "X-Forwarded-Groups")
    world.portal.settings = dataclasses.replace(world.portal.settings, proxy=proxy, log_in=None, admins=Admins((), ("platform",)))
    world.portal.log_in = None
    world.add_app(spec={"access": {"groups": ["analysts"]}})


@pytest.fixture
def proxied(browser, world):
    through(world)
    return browser


async def test_the_proxy_says_who_it_is_and_with_which_groups(proxied):
    page = await proxied.get("/", headers=ALICE)
    assert "alice" in page.html
    assert "data-app" in page.html
    assert proxied.session.groups == ()
    assert (await proxied.get("/admin/apps", headers=ALICE)).status == 200


async def test_headers_from_anywhere_else_are_not_believed(browser, world):
    through(world, (ip_network("192.0.2.0/24"),))
    answer = await browser.get("/", headers=ALICE)
    assert (answer.status, refused(answer)) == (403, "NotThroughProxy")
    assert "data-app" not in answer.html
    assert not browser.cookies


async def test_headers_are_nothing_where_no_proxy_was_stated(browser, world):
    assert "alice" not in (await browser.get("/", headers=ALICE)).html


@pytest.mark.parametrize("headers", [{}, {"X-Forwarded-User": ""}, {"X-Forwarded-User": "a b"}], ids=["none", "empty", "no name"])
async def test_a_cookie_alone_is_nobody(proxied, headers):
    await proxied.get("/", headers=ALICE)
    answer = await proxied.get("/", headers=headers)
    assert refused(answer) == "Nameless"
    assert "data-app" not in answer.html


@pytest.mark.parametrize("names", [("alice", "bob"), ("bob,alice",)], ids=["two lines", "joined on the way"])
async def test_a_name_that_is_there_twice_names_nobody(proxied, names):
    """A proxy that does not strip the browser's own header sends both, as seen with oauth2-proxy: joined."""
    answer = await proxied.client.get("/", headers=[("X-Forwarded-User", name) for name in names])
    assert answer.status == 401


async def test_a_browser_that_keeps_no_cookies_is_told_so(proxied, world):
    """Each of its requests would begin another session, so that no form would ever be of the session that it is sent in."""
    await proxied.get("/", headers=ALICE)
    token = proxied.token()
    proxied.cookies.clear()
    answer = await proxied.post("/connect/analytics/trino", {"token": token}, headers={**FORM, **ALICE})
    assert refused(answer) == "NoCookies"


async def test_another_person_in_the_same_browser_has_a_session_of_their_own(proxied, world):
    await proxied.get("/", headers=ALICE)
    stolen = proxied.token()
    await proxied.get("/", headers=BOB)
    assert proxied.session.username == "bob"
    answer = await proxied.post("/connect/analytics/trino", {"token": stolen}, headers={**FORM, **BOB})
    assert refused(answer) == "ForeignForm"


async def test_forms_work_with_the_session_of_the_same_person(proxied):
    await proxied.get("/", headers=ALICE)
    answer = await proxied.post("/connect/analytics/trino", headers={**FORM, **ALICE})
    assert answer.status == 200
    assert len(proxied.pending) == 1


async def test_any_number_of_groups_fits(proxied):
    many = ",".join(f"group-{number:040}" for number in range(150))
    page = await proxied.get("/", headers={**ALICE, "X-Forwarded-Groups": f"{many},analysts"})
    assert "data-app" in page.html


async def test_a_page_that_is_looked_at_twice_writes_its_cookie_once(proxied):
    assert "Set-Cookie" in (await proxied.get("/", headers=ALICE)).headers
    assert "Set-Cookie" not in (await proxied.get("/", headers=ALICE)).headers


async def test_groups_that_changed_count_at_once(proxied):
    await proxied.get("/", headers=ALICE)
    page = await proxied.get("/", headers={"X-Forwarded-User": "alice"})
    assert "data-app" not in page.html
    assert (await proxied.get("/admin/apps", headers={"X-Forwarded-User": "alice"})).status == 404


async def test_there_is_no_logging_in_or_out_here(proxied):
    page = await proxied.get("/", headers=ALICE)
    assert "/logout" not in page.html
    assert (await proxied.get("/login", headers=ALICE)).headers["Location"] == "/"
    assert (await proxied.get("/login/callback", headers=ALICE)).status == 400
