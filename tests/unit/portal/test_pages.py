import re
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import TCPSite

import cube_oauth.portal
from cube_oauth.kube.api import KubeError
from cube_oauth.portal.portal import Portal
from cube_oauth.portal.reasontexts import ENGLISH_REASONS
from cube_oauth.portal.routes import application
from cube_oauth.portal.server import runner_of
from cube_oauth.portal.session import SessionLimits
from cube_oauth.portal.texts import ENGLISH

from .conftest import BROWSER, refused, settings_of

ALL = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "
    "img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
}
PAGES = [
    "/",
    "/connect/analytics/trino",
    "/connect/analytics/nothing",
    "/callback/analytics/trino?state=x&code=canary",
    "/login",
    "/login?next=/connect/analytics/trino",
    "/login/callback?state=x",
    "/nothing",
    "/static/portal.css",
    "/static/nothing",
    "/static/..%2f..%2fpages.py",
    "/logout",
]


@pytest.mark.parametrize("logged_in", [True, False], ids=["logged in", "logged out"])
@pytest.mark.parametrize("path", PAGES)
async def test_every_answer_has_the_headers(browser, world, path, logged_in):
    world.add_app()
    if logged_in:
        browser.log_in()
    answer = await browser.get(path)
    assert {name: answer.headers.get(name) for name in ALL} == ALL
    cacheable = answer.status == 200 and path.startswith("/static/")
    assert ("immutable" if cacheable else "no-store") in answer.headers["Cache-Control"]
    assert "canary" not in answer.html


async def test_a_failure_has_the_headers_and_says_nothing_of_itself(browser, world, monkeypatch):
    monkeypatch.setattr(world.cluster, "apps", lambda: 1 / 0)
    answer = await browser.log_in().get("/")
    assert (answer.status, refused(answer)) == (500, "Failure")
    assert {name: answer.headers.get(name) for name in ALL} == ALL
    assert "division" not in answer.html


@pytest.mark.parametrize("path", ["/callback/analytics/trino?state=x&code=y", "/login/callback?state=x&code=y"])
async def test_a_callback_tells_nobody_where_it_came_from(browser, path):
    answer = await browser.get(path)
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "<form" not in answer.html  # with that policy, older browsers send no usable Origin


async def test_a_page_with_forms_lets_the_browser_say_where_they_come_from(browser):
    assert (await browser.log_in().get("/")).headers["Referrer-Policy"] == "same-origin"


async def test_without_https_nobody_is_told_to_use_it(world):
    portal = Portal(settings_of("http://localhost:8000"), world.cluster, world.cookies, world.log_in)
    async with TestClient(TestServer(application(portal))) as client:
        answer = await client.get("/")
        assert answer.status == 200
        assert "Strict-Transport-Security" not in answer.headers


async def test_nothing_runs_and_nothing_comes_from_elsewhere(browser, world):
    world.add_app()
    browser.log_in()
    for path in ("/", "/connect/analytics/trino"):
        html = (await browser.get(path)).html
        assert not re.search(r"\son\w+=|\sstyle=|javascript:", html)
        assert re.fullmatch(r'<script defer src="/static/portal.js\?v=\w+"></script>', "".join(re.findall(r"<script.*", html)))
        assert re.findall(r'(?:src|href|action)="(?!/)[^#"]+', html) == []


async def test_names_from_the_cluster_are_escaped(browser, world):
    hostile = '<img src=x onerror=alert(1)>"&'
    world.add_app(spec={"displayName": hostile})
    world.add_app("broken", ready="False", message=hostile)
    world.add_credential(status={"state": "Active", "subject": hostile})
    browser.log_in()
    for path in ("/", "/connect/analytics/trino"):
        html = (await browser.get(path)).html
        assert "<img src=x" not in html
        assert "&lt;img src=x" in html


async def test_a_text_may_hold_braces(browser, world):
    world.add_app(spec={"displayName": "{why} {0} {title.__class__}"})
    assert "{why} {0} {title.__class__}" in (await browser.log_in().get("/")).html


def thirty_apps(world):
    for number in range(30):
        world.add_app(f"app-{number}", spec={"displayName": f"Warehouse {number}"})
        world.add_credential("alice", f"app-{number}", name=f"c{number}", status={"state": "Active", "subject": "alice"})


async def test_a_page_with_thirty_apps_is_small_on_the_way(browser, world):
    thirty_apps(world)
    browser.log_in()
    page, *files = [await browser.get(path) for path in ("/", "/static/portal.css", "/static/portal.js")]
    assert page.html.count("data-app=") == 30
    assert sum(int(answer.headers["Content-Length"]) for answer in (page, *files)) < 8 * 1024


@pytest.mark.parametrize("header", ["identity", "gzip;q=0", "br, *;q=0.5", ""])
async def test_nothing_is_packed_for_who_cannot_unpack_it(browser, world, header):
    thirty_apps(world)
    browser.log_in()
    for path in ("/", "/static/portal.css"):
        answer = await browser.get(path, headers={"Accept-Encoding": header})
        assert (answer.status, answer.headers.get("Content-Encoding")) == (200, None)


async def test_what_a_request_brings_is_never_packed_together_with_the_page(browser, world):
    """Else a length would say how much of it is like the page (BREACH)."""
    world.add_app()
    browser.log_in()
    assert (await browser.get("/connect/analytics/trino")).headers["Content-Encoding"] == "gzip"
    for answer in (
        await browser.get("/connect/analytics/trino?return_to=https://bi.example.com"),
        await browser.get("/?x"),
        await browser.post("/connect/analytics/trino"),
    ):
        assert "Content-Encoding" not in answer.headers


async def test_only_apps_that_the_person_may_connect_are_shown(browser, world):
    world.add_app("open")
    world.add_app("ours", spec={"access": {"groups": ["analysts"]}})
    world.add_app("theirs", spec={"access": {"users": ["bob"]}})
    html = (await browser.log_in("alice", ["analysts"]).get("/")).html
    assert re.findall(r'data-app="([^"]+)"', html) == ["analytics/open", "analytics/ours"]


async def test_somebody_else_s_connection_is_not_shown(browser, world):
    world.add_app()
    world.add_credential("bob", status={"state": "Active", "subject": "bob"})
    html = (await browser.log_in("alice").get("/")).html
    assert 'data-state="Pending"' in html
    assert "bob" not in html


async def test_the_oldest_of_two_credentials_is_shown(browser, world):
    world.add_app()
    world.add_credential(name="younger", status={"state": "Active"}, created=world.now)
    world.later(days=-1)
    world.add_credential(name="older", status={"state": "Expired"}, created=world.now)
    world.later(days=1)
    assert 'data-state="Expired"' in (await browser.log_in().get("/")).html


async def test_without_a_log_in_there_is_a_link_and_nothing_of_the_apps(browser, world):
    world.add_app()
    answer = await browser.get("/")
    assert 'href="/login"' in answer.html
    assert "data-app" not in answer.html
    assert not browser.cookies


async def test_a_deep_link_leads_through_the_log_in_and_back(browser, world):
    world.add_app()
    away = await browser.get("/connect/analytics/trino")
    assert (away.status, away.headers["Location"]) == (303, "/login?next=/connect/analytics/trino")
    await browser.get(away.headers["Location"])
    back = await browser.get(f"/login/callback?state={browser.pending[-1].state}&code=c")
    assert back.headers["Location"] == "/connect/analytics/trino"


async def test_nothing_is_shown_before_the_lists_are_there(browser, world):
    world.cluster._apps[0].synced.clear()
    answer = await browser.log_in().get("/")
    assert (answer.status, refused(answer)) == (503, "ClusterUnavailable")


async def test_a_session_ends_in_the_browser_too(browser, world):
    browser.log_in()
    world.later(hours=1)
    answer = await browser.get("/")
    assert 'href="/login"' in answer.html
    assert not browser.cookies


async def test_sessions_end_when_the_installation_says_so(browser, world):
    world.cookies.limits = SessionLimits(idle=timedelta(minutes=5), absolute=timedelta(minutes=12))
    browser.log_in()
    for _ in range(2):
        world.later(minutes=4)
        assert 'action="/logout"' in (await browser.get("/")).html
    world.later(minutes=4)
    assert 'href="/login"' in (await browser.get("/")).html, "the absolute limit"
    browser.log_in()
    world.later(minutes=5)
    assert 'href="/login"' in (await browser.get("/")).html, "the idle limit"


async def test_a_session_in_use_is_renewed(browser, world):
    browser.log_in()
    for _ in range(4):
        world.later(minutes=20)
        assert 'action="/logout"' in (await browser.get("/")).html


async def test_cookies_are_for_this_host_over_https_and_no_script(browser):
    answer = await browser.get("/login")
    (line,) = answer.headers.getall("Set-Cookie")
    assert line.startswith("__Host-")
    assert {"HttpOnly", "Secure", "Path=/", "SameSite=Lax"} <= set(line.split("; "))
    assert "Domain" not in line


async def test_the_api_server_s_failure_is_a_page(browser, world):
    world.add_app()
    browser.log_in()
    state = await browser.begin()
    world.api.broken = KubeError(503, "ServiceUnavailable", "POST")
    answer = await browser.get(f"/callback/analytics/trino?state={state}&code=c")
    assert (answer.status, refused(answer)) == (503, "ClusterUnavailable")


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded; charset=nonsense",
        "application/x-www-form-urlencoded; charset=utf-16",
        "application/json",
        "nonsense",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/logout", "/connect/analytics/trino", "/api/apps/analytics/trino"])
async def test_a_form_that_is_none_is_no_failure_of_ours(browser, world, path, kind):
    world.add_app()
    browser.log_in()
    method = "DELETE" if path.startswith("/api/") else "POST"
    answer = await browser._request(method, path, headers={**BROWSER, "Content-Type": kind}, data=b"x")
    assert refused(answer) in ("BadRequest", "ForeignForm") or answer.headers["Content-Type"].startswith("application/problem")
    assert 400 <= answer.status < 500


ODD = "--x\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: odd\r\n\r\nb\r\n--x--"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Encoding": "gzip", "Content-Type": "application/x-www-form-urlencoded"}, b"token=x"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, ODD.encode()),
    ],
    ids=["not packed", "an unknown encoding"],
)
async def test_a_form_that_cannot_be_unpacked_is_no_failure_of_ours(browser, headers, body):
    answer = await browser.log_in()._request("POST", "/logout", headers={**BROWSER, **headers}, data=body)
    assert (answer.status, refused(answer)) == (400, "BadRequest")


async def test_cookies_of_the_domain_above_and_long_codes_keep_nobody_out(world):
    """Ours may take nearly 8 KB together; aiohttp reads no more of a header than that unless told to."""
    runner = runner_of(world.portal)
    await runner.setup()
    site = TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (host, port), *_ = runner.addresses
    try:
        async with ClientSession() as client:
            cookies = {"Cookie": f"ours={'x' * 7900}; theirs={'y' * 8000}"}
            for path in ("/", f"/login/callback?state=x&code={'c' * 12_000}"):
                async with client.get(f"http://{host}:{port}{path}", headers=cookies) as answer:
                    assert "Content-Security-Policy" in answer.headers, await answer.text()
    finally:
        await runner.cleanup()


async def test_an_enormous_form_is_refused(browser):
    answer = await browser.log_in().post("/logout", {"x": "x" * 100_000}, BROWSER)
    assert answer.status == 413
    assert browser.session is not None


def test_every_refusal_has_its_texts():
    folder = Path(cube_oauth.portal.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    words = set(re.findall(r'RefusedError\(\s*"(\w+)"', source)) | {"AnswerInvalid", "ProviderRefused", "NotFound", "BadRequest"}
    words |= set(re.findall(r'"\w+": "(\w+)"', source.partition("_WORDS = {")[2].partition("}")[0]))
    assert len(words) > 15
    for word in words:
        assert {f"refused.{word}.title", f"refused.{word}.body"} <= set(ENGLISH), word


def test_every_text_is_used():
    folder = Path(cube_oauth.portal.__file__).parent
    sources = [
        path.read_text()
        for path in (*folder.glob("*.py"), *folder.glob("templates/*"))
        if path.name not in ("texts.py", "german.py", "germanreasons.py")
    ]
    unused = [
        key
        for key in ENGLISH
        if key not in ENGLISH_REASONS
        and not key.startswith(("refused.", "scope.", "disconnect.then.", "delete.then."))
        and not any(f'"{key}"' in text for text in sources)
    ]
    assert unused == []
