"""What every answer says to the browser, and how a form is told from a forged one. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""No provider is in ``form-action``: browsers hold every redirect after a form to it, and providers redirect where they like.
So no form leads to a provider; a page of ours does (``leave.html``)."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
"""Defaults: an answer may have set its own. ``no-referrer`` everywhere would make browsers send ``Origin: null`` with our forms."""

HSTS = "max-age=31536000"


def headers(*, https: bool) -> dict[str, str]:
    """The headers of every answer."""
    return {**HEADERS, **({"Strict-Transport-Security": HSTS} if https else {})}


def sent_by_us(request_headers: Mapping[str, str], origin: str) -> bool:
    """Whether the browser says that a form came from a page of ours (Fetch Metadata; ``Origin``, RFC 6454).

    Either header may be missing, and ``Origin`` is ``null`` after some privacy settings; one of them has to say yes, none no.
    """
    site, given = request_headers.get("Sec-Fetch-Site"), request_headers.get("Origin")
    if site is not None and site != "same-origin":
        return False
    if given is not None and given != "null" and given.lower() != origin:
        return False
    return site == "same-origin" or (given is not None and given.lower() == origin)
