"""People with browsers: what a test or the demo does in the portal, they do by clicking what a person would click.

with chromium() as browser, Person(browser) as alice:
    alice.log_in("https://portal.localhost:8000", "alice", "let me in")
    alice.connect("analytics/trino")
    assert alice.state("analytics/trino") == "Active"
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, Request, expect, sync_playwright

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
PATIENCE = 60_000
"""Milliseconds until what must appear has to be there; two cores may be busy."""

expect.set_options(timeout=PATIENCE)

_ARGUMENTS = (
    "--no-sandbox",  # tests run as root, and what is opened is our own
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
)


class NoBrowserError(RuntimeError):
    """There is no browser on this machine; the message says what to do."""


def executable() -> str:
    """The browser: CHROMIUM from the environment, or Debian's."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        raise NoBrowserError("chromium is missing: apt-get install --no-install-recommends chromium fonts-dejavu-core")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window; it ends with the block (and must, before asyncio is used in this thread again)."""
    program = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Person:
    """Somebody with a browser profile of their own.

    Args:
        browser: from `chromium`; several people may share it and know nothing of each other.
        size: DESKTOP or PHONE.
        dark: whether the person prefers dark pages.
        javascript: whether pages may run scripts.
        zone: the time zone, such as Asia/Kolkata; the machine's own by default.
        language: what the browser asks for.
    """

    def __init__(
        self,
        browser: Browser,
        *,
        size: dict[str, int] | None = None,
        dark: bool = False,
        javascript: bool = True,
        zone: str | None = None,
        language: str = "en-GB",
    ):
        self.context = browser.new_context(
            ignore_https_errors=True,  # the certificates are the tests' own
            viewport=size or DESKTOP,
            color_scheme="dark" if dark else "light",
            locale=language,
            java_script_enabled=javascript,
            timezone_id=zone,
        )
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.portal = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- what a person does

    def log_in(self, portal_url: str, username: str, password: str) -> None:
        """Open the portal, log in at the provider, and come back to Connected apps."""
        self.portal = portal_url.rstrip("/")
        self.page.goto(self.portal + "/")
        self.page.get_by_role("link", name="Log in").click()
        self.sign_in(username, password)
        self.page.get_by_role("heading", name="Connected apps").wait_for()

    def sign_in(self, username: str, password: str) -> None:
        """Fill in the provider's log-in form."""
        self.page.locator("#log-in [name=username]").fill(username)
        self.page.locator("#log-in [name=password]").fill(password)
        self.page.locator("#submit").click()

    def connect(self, app: str, *, username: str = "", password: str = "", allow: bool = True) -> None:
        """Authorize (or reconnect) `namespace/name` from Connected apps, and consent at the provider; or deny.

        With `username` the provider is expected to ask for a log-in of its own first.
        """
        self.begin(app)
        if username:
            self.sign_in(username, password)
        self.consent(allow=allow)
        if allow:
            expect(self.app(app)).to_have_attribute("data-state", "Active")

    def begin(self, app: str) -> None:
        """Press Authorize or Reconnect; the next page is the provider's."""
        self.home()
        self.app(app).get_by_role("button", name=re.compile("^(Authorize|Reconnect)$")).click()
        portal = urlsplit(self.portal).netloc
        self.page.wait_for_url(lambda url: urlsplit(url).netloc != portal)

    def consent(self, *, allow: bool = True) -> None:
        """Allow or deny at the provider, and come back to the portal."""
        self.page.locator("#allow" if allow else "#deny").click()
        self.page.wait_for_url(lambda url: url.startswith(self.portal))

    def disconnect(self, app: str) -> None:
        """Disconnect `namespace/name`: the list leads to a page that says what it will do, and has the button."""
        self.home()
        self.app(app).get_by_role("link", name="Disconnect").click()
        self.page.get_by_role("button", name="Disconnect").click()
        expect(self.app(app)).to_have_attribute("data-state", "Pending")

    def log_out(self) -> None:
        """Log out of the portal; the provider may still remember the person."""
        self.page.get_by_role("button", name="Log out").click()
        self.page.get_by_role("link", name="Log in").wait_for()

    # ---- what a person sees

    def home(self) -> None:
        """Open Connected apps, unless it is open already."""
        if self.page.url != self.portal + "/":
            self.page.goto(self.portal + "/")

    def weigh(self, url: str) -> dict[str, int]:
        """Open a page in a new tab; the bytes that came for each address, headers included, but for the stream that never ends."""
        page, requests = self.context.new_page(), list[Request]()
        page.on("request", lambda request: requests.append(request))  # noqa: PLW0108 - playwright takes no method of a list
        page.goto(url, wait_until="load")
        return {request.url: _weight(request) for request in requests if urlsplit(request.url).path != "/events"}

    def app(self, app: str) -> Locator:
        """The entry of `namespace/name` on the page."""
        return self.page.locator(f'[data-app="{app}"]')

    def state(self, app: str) -> str:
        """The state of `namespace/name` now: Active, Pending, Expired or Revoked."""
        self.page.goto(self.portal + "/")
        return self.app(app).get_attribute("data-state") or ""

    def refused(self) -> str:
        """The word of the refusal that the page shows; it is waited for."""
        return self.page.locator("[data-refused]").get_attribute("data-refused") or ""

    def cookies(self) -> dict[str, Any]:
        """The browser's cookies by name."""
        return {cookie["name"]: cookie for cookie in self.context.cookies()}

    def screenshot(self, path: Path, *, full_page: bool = False) -> Path:
        """Keep what the page looks like."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=full_page)
        return path

    def close(self) -> None:
        """Close the browser window and forget the profile."""
        self.context.close()


def _weight(request: Request) -> int:
    request.response().finished()
    sizes = request.sizes()
    return sizes["responseBodySize"] + sizes["responseHeadersSize"]
