"""A dashboard sends somebody here, and the person comes back there."""

import dataclasses
from urllib.parse import quote

import pytest

from cube_oauth.portal.addresses import Allowed

from .conftest import refused

DASHBOARD = "https://bi.example.com/dashboards/7?filter=a%20b#top"
EVIL = "https://evil.example/dashboards/7"
PAGE = "/connect/analytics/trino"
CALLBACK = "/callback/analytics/trino"


def link(back=DASHBOARD):
    return f"{PAGE}?return_to={quote(back, safe='')}"


@pytest.fixture
def alice(browser, world):
    world.portal.settings = dataclasses.replace(
        world.portal.settings, return_to=(Allowed.read("https://bi.example.com/dashboards"),)
    )
    world.add_app()
    return browser.log_in("alice")


async def come_back(alice, **query):
    return await alice.get(CALLBACK, params={"state": alice.pending[-1].state, "code": "c", **query})


async def test_after_connecting_one_is_where_one_was(alice, world):
    world.controller(state="Active", revision=1)
    page = await alice.get(link())
    assert "Then you go back to bi.example.com" in page.html
    assert "filter=a%20b#top" in page.html
    await alice.post(PAGE, {"return_to": DASHBOARD})
    answer = await come_back(alice)
    assert (answer.status, answer.headers["Location"]) == (303, DASHBOARD)
    assert "is connected" not in (await alice.get("/")).html, "told much later"


@pytest.mark.parametrize("back", [EVIL, "//evil.example", "javascript:alert(1)", "/logout"])
async def test_nobody_is_sent_to_an_address_that_is_not_listed(alice, world, back):
    world.controller(state="Active", revision=1)
    page = await alice.get(link(back))
    assert page.status == 200
    assert "evil.example" not in page.html
    await alice.post(PAGE, {"return_to": back})
    assert (await come_back(alice)).headers["Location"] == "/"


async def test_who_is_connected_already_is_led_back_at_once(alice, world):
    world.add_credential(status={"state": "Active"})
    page = await alice.get(link())
    assert 'href="https://bi.example.com/dashboards/7?filter=a%20b#top">Back to bi.example.com' in page.html


async def test_the_way_back_survives_the_log_in(alice):
    alice.cookies.clear()
    away = await alice.get(link())
    assert away.headers["Location"].startswith("/login?next=")
    await alice.get(away.headers["Location"])
    answer = await alice.get(f"/login/callback?state={alice.pending[-1].state}&code=c")
    assert answer.headers["Location"] == link()
    assert "Then you go back to bi.example.com" in (await alice.get(answer.headers["Location"])).html


async def test_the_way_back_survives_a_refusal(alice):
    await alice.post(PAGE, {"return_to": DASHBOARD})
    answer = await come_back(alice, error="access_denied")
    assert refused(answer) == "AccessDenied"
    assert f'href="{link()}"' in answer.html


async def test_while_the_connection_is_being_made_the_page_leads_back(alice):
    await alice.post(PAGE, {"return_to": DASHBOARD})
    assert (await come_back(alice)).headers["Location"] == "/"
    page = await alice.get("/")
    assert "is being made" in page.html
    assert 'href="https://bi.example.com/dashboards/7' in page.html


async def test_a_form_without_it_leads_to_the_apps(alice, world):
    world.controller(state="Active", revision=1)
    await alice.post(PAGE)
    assert (await come_back(alice)).headers["Location"] == "/"
    assert "is connected" in (await alice.get("/")).html
