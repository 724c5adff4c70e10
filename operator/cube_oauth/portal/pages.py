"""HTML from templates; everything that is not from the catalogue is escaped."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context

from cube_oauth.portal.preferences import accepts
from cube_oauth.portal.texts import Text, say

if TYPE_CHECKING:
    from jinja2.runtime import Context

    from cube_oauth.portal.refusals import RefusedError
    from cube_oauth.portal.visit import Visit

HERE = Path(__file__).parent
STATIC = {"portal.css": "text/css", "portal.js": "text/javascript", "icon.svg": "image/svg+xml"}
FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class StaticFile:
    """A file that never changes under its address: the address holds its hash."""

    body: bytes
    packed: bytes
    """The same, gzip."""
    content_type: str
    version: str


def _static(name: str, content_type: str) -> StaticFile:
    body = (HERE / "static" / name).read_bytes()
    return StaticFile(body, gzip.compress(body, mtime=0), content_type, hashlib.sha256(body).hexdigest()[:12])


def takes_gzip(request: web.Request) -> bool:
    """Whether the browser unpacks what is packed."""
    return accepts(request.headers.get("Accept-Encoding"), "gzip")


def pack(request: web.Request, response: web.StreamResponse) -> None:
    """Pages are sent packed, unless the request brought something that may stand in them.

    Then their length would say how much of it is like the rest of the page (BREACH). For the same reason the form token, the only
    secret in them, is never the same twice.
    """
    if response.content_type != "text/html" or request.method != "GET" or request.query_string:
        return
    response.headers["Vary"] = "Accept-Encoding"
    if takes_gzip(request):
        response.enable_compression(web.ContentCoding.gzip)


@pass_context
def _words(context: Context, value: object) -> object:
    """Whatever a template puts out: a text in the page's language."""
    return context["language"].render(value)


class Pages:
    """Renders the templates and serves the static files."""

    def __init__(self) -> None:
        self._files = {name: _static(name, content_type) for name, content_type in STATIC.items()}
        self._jinja = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            finalize=_words,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.globals.update(say=say, static=self._address)

    def page(self, template: str, visit: Visit, *, status: int = 200, private: bool = False, **values: object) -> web.Response:
        """One page. ``private``: its address holds what nobody else may learn, so it is told to nobody (``Referrer-Policy``)."""
        session = visit.session
        common = {
            "session": session,
            "form_token": session.new_form_token() if session else "",
            "language": visit.language,
            "admin": visit.admin,
            "proxied": visit.proxied,
        }
        html = self._jinja.get_template(template).render(private=private, **common, **values)
        headers = {"Referrer-Policy": "no-referrer"} if private else None
        return web.Response(text=html, content_type="text/html", charset="utf-8", status=status, headers=headers)

    def refusal(self, error: RefusedError, visit: Visit, *, private: bool = False) -> web.Response:
        """The page of a refusal."""
        response = self.page(
            "refused.html",
            visit,
            status=error.status,
            private=private,
            title=Text(f"refused.{error.word}.title", error.values),
            body=Text(f"refused.{error.word}.body", error.values),
            word=error.word,
            kept=error.kept,
            retry=error.retry,
            retry_text=say("retry.login" if (error.retry or "").startswith("/login") else "retry.connect"),
        )
        if error.wait:
            response.headers["Retry-After"] = str(error.wait)
        return response

    async def static(self, request: web.Request) -> web.Response:
        """A static file."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        headers = {"Cache-Control": FOREVER, "Vary": "Accept-Encoding"}
        if not takes_gzip(request):
            return web.Response(body=file.body, content_type=file.content_type, headers=headers)
        return web.Response(body=file.packed, content_type=file.content_type, headers={**headers, "Content-Encoding": "gzip"})

    def _address(self, name: str) -> str:
        return f"/static/{name}?v={self._files[name].version}"
