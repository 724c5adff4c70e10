"""Addresses, compared with what the installation lists: where people may be sent back to, and who a request is from. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

Network = IPv4Network | IPv6Network

LONGEST = 1024
"""Characters of an address to go back to: it travels in a cookie."""
_PRINTABLE = re.compile(r"[!-\[\]-~]+")
"""ASCII without spaces, control characters and the backslash, which browsers read as a slash."""


@dataclass(frozen=True)
class Allowed:
    """One listed address: an origin, and the path below which everything is allowed."""

    scheme: str
    netloc: str
    path: str

    @classmethod
    def read(cls, text: str) -> Self:
        """``https://host[:port][/path]``. Raises ValueError."""
        parts = urlsplit(text)
        if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(text)
        return cls(parts.scheme, parts.netloc.lower(), parts.path.rstrip("/") + "/")

    def holds(self, address: str) -> bool:
        """Whether ``address`` lies here. A path that leads upwards does not, however it is written."""
        parts = urlsplit(address)
        climbs = any(unquote(part) in (".", "..") for part in parts.path.split("/"))
        same = (parts.scheme, parts.netloc.lower()) == (self.scheme, self.netloc)
        return same and not climbs and f"{parts.path}/".startswith(self.path)


def way_back(address: str | None, allowed: Sequence[Allowed]) -> str | None:
    """``address`` when people may be sent there, otherwise None: a link to the portal never leads to just any site."""
    if not address or len(address) > LONGEST or not _PRINTABLE.fullmatch(address):
        return None
    try:
        return address if any(place.holds(address) for place in allowed) else None
    except ValueError:  # urlsplit, of a broken IPv6 address
        return None


def within(address: str | None, networks: Sequence[Network]) -> bool:
    """Whether an IP address lies in one of these networks."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return False
    return any(found in network for network in networks)


def client_address(peer: str | None, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """Who sent a request: the last address in ``X-Forwarded-For`` that no trusted proxy has, if a trusted proxy brought it."""
    hops = [hop.strip() for line in forwarded_for for hop in line.split(",")]
    address = peer or ""
    while hops and within(address, trusted):
        address = hops.pop()
    return address
