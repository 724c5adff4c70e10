"""Addresses, compared with what the installation lists: where people may be sent back to, and who a request is from. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

Network = IPv4Network | IPv6Network
_USUAL_PORTS = {"https": ":443", "http": ":80"}
_WITH_PORT = re.compile(r"^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::\d+)?$")
"""How some proxies (Azure's) write an address in ``X-Forwarded-For``."""

LONGEST = 1024
"""Characters of an address to go back to: it travels in a cookie."""
_PRINTABLE = re.compile(r"[!-\[\]-~]+")
"""ASCII without spaces, control characters and the backslash, which browsers read as a slash."""


def origin(url: str) -> str:
    """Scheme, host and port as browsers write them in ``Origin``: in lower case, the scheme's usual port left out (RFC 6454)."""
    parts = urlsplit(url)
    given = parts.netloc.lower()
    host = given.removesuffix(_USUAL_PORTS.get(parts.scheme, ""))
    return f"{parts.scheme}://{given if ':' in host.rpartition(']')[2] else host}"


@dataclass(frozen=True)
class Allowed:
    """One listed address: an origin, and the path below which everything is allowed."""

    origin: str
    path: str

    @classmethod
    def read(cls, text: str) -> Self:
        """``https://host[:port][/path]``. Raises ValueError."""
        parts = urlsplit(text)
        if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError(text)
        return cls(origin(text), parts.path.rstrip("/") + "/")

    def holds(self, address: str) -> bool:
        """Whether ``address`` lies here. A path that leads upwards does not, however it is written."""
        path = urlsplit(address).path
        return origin(address) == self.origin and not _climbs(path) and f"{path}/".startswith(self.path)


def _climbs(path: str) -> bool:
    """Whether a path leads upwards for some server: written in percents once or twice, with backslashes, or before a semicolon."""
    plain = unquote(unquote(path))
    return any(part.partition(";")[0] in (".", "..") for part in re.split(r"[/\\]", plain))


def way_back(address: str | None, allowed: Sequence[Allowed]) -> str | None:
    """``address`` when people may be sent there, otherwise None: a link to the portal never leads to just any site."""
    if not address or len(address) > LONGEST or not _PRINTABLE.fullmatch(address):
        return None
    try:
        return address if any(place.holds(address) for place in allowed) else None
    except ValueError:  # urlsplit, of a broken IPv6 address
        return None


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text or "")
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def within(address: str | None, networks: Sequence[Network]) -> bool:
    """Whether an IP address lies in one of these networks. IPv4 within IPv6 is IPv4 (RFC 4291, section 2.5.5.2)."""
    found = _address(address)
    return found is not None and any(found in network for network in networks)


def client_address(peer: str | None, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """Who sent a request: the last address in ``X-Forwarded-For`` that no trusted proxy has, if a trusted proxy brought it."""
    hops = [_WITH_PORT.sub(r"\1\2", hop.strip()) for line in forwarded_for for hop in line.split(",")]
    address = peer or ""
    while hops and within(address, trusted):
        address = hops.pop()
    return address


def customer(address: str) -> str:
    """Whose address this is: an IPv6 customer has at least the 64 bits of an interface to choose from (RFC 4291, section 2.5.1)."""
    found = _address(address)
    return str(ip_network((found, 64), strict=False) if isinstance(found, IPv6Address) else found or address)
