"""Where no provider can be: addresses that are refused at connection time, after DNS, for literal addresses as well.

Whoever may write an OAuthApp chooses hosts that the operator calls; without this he could reach the node's metadata service
or a port on localhost through it. Private ranges are permitted: many providers are inside a company.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiohttp import AddrInfoType

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address

REFUSED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network (RFC 1122): Linux connects it to localhost
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, with the metadata services of most clouds
        "100.100.100.200/32",  # metadata: Alibaba
        "168.63.129.16/32",  # the host of an Azure machine
        "192.0.0.192/32",  # metadata: Oracle
        "224.0.0.0/4",
        "240.0.0.0/4",  # reserved, and broadcast
        "::/128",
        "::1/128",
        "fe80::/10",
        "fd00:ec2::254/128",  # metadata: AWS
        "fd20:ce::254/128",  # metadata: Google
        "ff00::/8",
    )
)
"""What is never called, unless it is allowed by name."""

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052
_COMPATIBLE = ip_network("::/96")  # RFC 4291, section 2.5.5.1
_LOW_32_BITS = 0xFFFFFFFF


class AddressRefusedError(OSError):
    """The address is one that is never called. The text is the same for all of them, so that they are recognized together."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "an address that is never called")


def _meanings(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 address inside it, when it is one of the IPv6 forms that lead to IPv4."""
    yield address
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped or address.sixtofour:
        yield address.ipv4_mapped or address.sixtofour  # type: ignore[misc]
    if address in _NAT64 or address in _COMPATIBLE:
        yield IPv4Address(int(address) & _LOW_32_BITS)


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def refused(address: Address, allowed: tuple[Network, ...] = ()) -> bool:
    """Whether ``address`` is never called. ``allowed`` networks are permitted whatever they are."""
    meanings = tuple(_meanings(address))
    if any(_within(meaning, allowed) for meaning in meanings):
        return False
    return any(_within(meaning, REFUSED) for meaning in meanings)


def guarded_sockets(allowed: tuple[Network, ...] = ()) -> Callable[[AddrInfoType], socket.socket]:
    """A socket factory for aiohttp's connector: it is asked for each address right before the connection is made.

    Raises AddressRefusedError (aiohttp wraps it into ClientConnectorError) instead of giving a socket.
    """

    def new_socket(info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, target = info
        if refused(ip_address(str(target[0])), allowed):
            raise AddressRefusedError
        return socket.socket(family=family, type=kind, proto=protocol)

    return new_socket
