"""A person without a browser: goes through the provider's forms as plain HTTP, cookies kept."""

import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin


def sign_in(
    url: str,
    username: str,
    password: str,
    *,
    until: str,
    ca: Path | None = None,
    decision: str = "allow",
    cookies: CookieJar | None = None,
) -> str:
    """Follow an authorization request through log-in and consent.

    `decision` is what the person says when asked for consent: allow or deny. With the `cookies` of an earlier time the person comes
    back in the same browser. Returns the address that the provider
    finally redirects to, the first that starts with `until`; it is not opened.
    """
    person = _Person(ca, cookies)
    at, page = person.get(url, until)
    for _ in range(4):  # log-in and consent; more forms than that are a refusal
        if at.startswith(until):
            return at
        form = _form(page)
        answers = {"username": username, "password": password, "decision": decision}
        filled = {name: answers[name] for name in form.fields if name in answers}
        before = page
        at, page = person.get(urljoin(at, form.action), until, filled)
        if page == before:
            break
    raise RuntimeError(f"the provider stopped at {at}:\n{page[:2000]}")


class _Person:
    def __init__(self, ca: Path | None, cookies: CookieJar | None):
        self._stop = _Stop()
        # "localhost" and bare addresses are what tests are made of; cookies do not ask for more
        policy = DefaultCookiePolicy(strict_ns_domain=DefaultCookiePolicy.DomainLiberal)
        jar = CookieJar() if cookies is None else cookies
        jar.set_policy(policy)
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)),
            urllib.request.HTTPCookieProcessor(jar),
            urllib.request.ProxyHandler({}),
            self._stop,
        )

    def get(self, url: str, until: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """Open an address and follow redirects, but not the one to `until`; return the address and its page."""
        self._stop.until = until
        request = urllib.request.Request(url, data=urlencode(form).encode() if form is not None else None)
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.url, answer.read().decode()
        except _ArrivedError as arrived:
            return arrived.url, ""
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.url, refusal.read().decode()


class _ArrivedError(Exception):
    def __init__(self, url: str):
        super().__init__(url)
        self.url = url


class _Stop(urllib.request.HTTPRedirectHandler):
    until = ""

    def redirect_request(self, *request: Any) -> Any:
        url = request[-1]
        if url.startswith(self.until):
            raise _ArrivedError(url)
        return super().redirect_request(*request)


@dataclass
class _Form:
    action: str = ""
    fields: list[str] = field(default_factory=list)


class _FormParser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.form = _Form()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form":
            self.form.action = values.get("action") or ""
        elif tag in {"input", "button"} and values.get("name"):
            self.form.fields.append(values["name"])


def _form(page: str) -> _Form:
    parser = _FormParser()
    parser.feed(page)
    if not parser.form.action:
        raise RuntimeError(f"no form in:\n{page[:2000]}")
    return parser.form
