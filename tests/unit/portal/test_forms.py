import pytest

from cube_oauth.portal.security import sent_by_us
from cube_oauth.portal.session import SESSION_COOKIE

from .conftest import BROWSER, ORIGIN, refused

HEADERS = {
    "both say ours": (BROWSER, True),
    "no Fetch Metadata": ({"Origin": ORIGIN}, True),
    "an Origin in capitals": ({"Origin": ORIGIN.upper()}, True),
    "an Origin hidden by privacy": ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True),
    "no Origin": ({"Sec-Fetch-Site": "same-origin"}, True),
    "neither": ({}, False),
    "hidden, and no Fetch Metadata": ({"Origin": "null"}, False),
    "another site": ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, False),
    "another site with our Origin": ({"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN}, False),
    "a sister site": ({"Sec-Fetch-Site": "same-site", "Origin": "https://wiki.example.com"}, False),
    "a sandboxed frame": ({"Sec-Fetch-Site": "cross-site", "Origin": "null"}, False),
    "another Origin alone": ({"Origin": "https://evil.example"}, False),
    "another port": ({"Origin": f"{ORIGIN}:8443"}, False),
    "our name as a prefix": ({"Origin": f"{ORIGIN}.evil.example"}, False),
    "without TLS": ({"Origin": ORIGIN.replace("https", "http")}, False),
    "they contradict each other": ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, False),
    "typed by hand": ({"Sec-Fetch-Site": "none"}, False),
}
FORMS = ["/connect/analytics/trino", "/disconnect/analytics/trino", "/logout"]


@pytest.mark.parametrize(("headers", "ours"), HEADERS.values(), ids=HEADERS)
def test_where_a_form_came_from(headers, ours):
    assert sent_by_us(headers, ORIGIN) is ours


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_from_another_site_changes_nothing(browser, world, path):
    world.add_app()
    world.add_credential()
    answer = await browser.log_in().post(path, headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"})
    assert (answer.status, refused(answer)) == (403, "ForeignForm")
    assert browser.session
    assert not browser.pending
    assert len(world.credentials()) == 1


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("token", ["", "x", "é"])
async def test_a_form_without_this_session_s_token_changes_nothing(browser, world, path, token):
    world.add_app()
    world.add_credential()
    answer = await browser.log_in().post(path, {"token": token})
    assert (answer.status, refused(answer)) == (403, "ForeignForm")
    assert browser.session
    assert not browser.pending
    assert len(world.credentials()) == 1


async def test_a_token_of_another_session_of_the_same_person_is_refused(browser, other_browser, world):
    world.add_app()
    stolen = other_browser.log_in().token()
    answer = await browser.log_in().post("/logout", {"token": stolen})
    assert refused(answer) == "ForeignForm"


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_after_the_session_s_end_says_so(browser, world, path):
    world.add_app()
    world.add_credential()
    browser.log_in()
    world.later(hours=1)
    answer = await browser.post(path)
    assert (answer.status, refused(answer)) == (401, "SessionOver")
    assert 'href="/login' in answer.html
    assert len(world.credentials()) == 1


@pytest.mark.parametrize("path", FORMS)
async def test_a_link_does_what_a_form_does_never(browser, world, path):
    world.add_app()
    world.add_credential()
    await browser.log_in().get(path)
    assert browser.session
    assert not browser.pending
    assert len(world.credentials()) == 1


async def test_logging_out_forgets_the_session(browser):
    answer = await browser.log_in().post("/logout")
    assert (answer.status, answer.headers["Location"]) == (303, "/logged-out")
    assert SESSION_COOKIE not in browser.cookies
