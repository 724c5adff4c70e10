"""One HTTP request with the standard library: no redirects are followed and no status is an exception."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode(errors="replace")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


def request(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    ca: Path | None = None,
    timeout: float = 30,
) -> Answer:
    """Make one request, trusting `ca` (PEM) alone when given; raises OSError when there is no answer."""
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca))
    opener = urllib.request.build_opener(_NoRedirects, https, urllib.request.ProxyHandler({}))
    wanted = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)
    try:
        with opener.open(wanted, timeout=timeout) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, refusal.headers, refusal.read())


def answers(url: str, *, ca: Path | None = None) -> bool:
    """Say whether the address answers 200."""
    try:
        return request("GET", url, ca=ca, timeout=5).status == 200
    except OSError:
        return False
