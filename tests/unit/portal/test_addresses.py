import re
from ipaddress import ip_network

import pytest

from cube_oauth.portal.addresses import Allowed, client_address, customer, way_back, within

PLACES = [Allowed.read("https://bi.example.com/dashboards"), Allowed.read("https://wiki.example.com:8443")]
GOOD = [
    "https://bi.example.com/dashboards",
    "https://bi.example.com/dashboards/",
    "https://bi.example.com/dashboards/7?filter=a%20b&x=https://evil.example#top",
    "https://BI.example.com/dashboards/7",
    "https://wiki.example.com:8443",
    "https://wiki.example.com:8443/any/page",
    "https://bi.example.com:443/dashboards",
    "https://bi.example.com/dashboards/a..b/...;x/100%25",
]
BAD = [
    None,
    "",
    "/dashboards",
    "//bi.example.com/dashboards",
    "https:bi.example.com/dashboards",
    "http://bi.example.com/dashboards",
    "https://bi.example.com/",
    "https://bi.example.com/dashboards-evil",
    "https://bi.example.com/Dashboards",
    "https://bi.example.com/dashboards/../admin",
    "https://bi.example.com/dashboards/%2e%2E/admin",
    "https://bi.example.com/dashboards/./x",
    "https://bi.example.com/dashboards/..%2fadmin",
    "https://bi.example.com/dashboards/..%5Cadmin",
    "https://bi.example.com/dashboards/%252e%252e/admin",
    "https://bi.example.com/dashboards/..;/admin",
    "https://bi.example.com:/dashboards",
    "https://wiki.example.com:8443:443/",
    "https:///bi.example.com/dashboards",
    "https://bi.example.com?/dashboards",
    "https://bi.example.com%2eevil.example/dashboards",
    "https://bi\u3002example.com/dashboards",
    "https://bi.example.com/dashboards\r\nSet-Cookie: x=y",
    "https://bi.example.com.evil.example/dashboards",
    "https://bi.example.com@evil.example/dashboards",
    "https://me@bi.example.com/dashboards",
    "https://bi.example.com:444/dashboards",
    "https://bi.example.com\\@evil.example/dashboards",
    "https://bi.example.com/dashboards\\..\\x",
    "https://bi.example.com/dashboards/\n",
    "https://bi.example.com/dash\tboards",
    " https://bi.example.com/dashboards",
    "https://bi.example.com/dashboards/ä",
    "https://wiki.example.com/",
    "https://[::1/dashboards",
    "javascript:alert(1)//bi.example.com/dashboards",
    "https://bi.example.com/dashboards/" + "x" * 1024,
]


@pytest.mark.parametrize("address", GOOD)
def test_a_listed_place_and_what_lies_below_it_is_a_way_back(address):
    assert way_back(address, PLACES) == address


@pytest.mark.parametrize("address", BAD)
def test_nothing_else_is_a_way_back(address):
    assert way_back(address, PLACES) is None


def test_nothing_is_a_way_back_where_nothing_is_listed():
    assert way_back(GOOD[0], ()) is None


@pytest.mark.parametrize(
    "text", ["", "bi.example.com", "ftp://bi.example.com", "https://", "https://me@x.example", "https://x.example?a"]
)
def test_what_is_listed_has_to_be_an_address(text):
    with pytest.raises(ValueError, match=re.escape(text) + "$"):
        Allowed.read(text)


PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
HOPS = {
    "nobody in between": ("192.0.2.7", [], "192.0.2.7"),
    "a header from just anybody": ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),
    "through one proxy": ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
    "through two proxies": ("10.0.0.1", ["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
    "in two headers": ("10.0.0.1", ["192.0.2.7", "fd00::1"], "192.0.2.7"),
    "what the client made up stands before": ("10.0.0.1", ["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
    "all of them proxies": ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    "no address": ("10.0.0.1", ["unknown"], "unknown"),
    "with a port": ("10.0.0.1", ["192.0.2.7:50112"], "192.0.2.7"),
    "a proxy with a port": ("10.0.0.1", ["192.0.2.7, 10.0.0.2:443"], "192.0.2.7"),
    "in brackets": ("10.0.0.1", ["[2001:db8::7]"], "2001:db8::7"),
    "in brackets with a port": ("10.0.0.1", ["[2001:db8::7]:443"], "2001:db8::7"),
    "IPv4 within IPv6": ("::ffff:10.0.0.1", ["192.0.2.7, ::ffff:10.0.0.2"], "192.0.2.7"),
    "an empty one": ("10.0.0.1", ["192.0.2.7,"], ""),
    "no peer": (None, ["192.0.2.7"], ""),
}


@pytest.mark.parametrize(("peer", "header", "client"), HOPS.values(), ids=HOPS)
def test_who_sent_a_request(peer, header, client):
    assert client_address(peer, header, PROXIES) == client


def test_an_ipv6_customer_is_one_whatever_address_is_chosen():
    assert customer("2001:db8::7") == customer("2001:db8::ffff:1") != customer("2001:db8:0:1::7")
    assert (customer("192.0.2.7"), customer("::ffff:192.0.2.7"), customer("unknown")) == ("192.0.2.7", "192.0.2.7", "unknown")


@pytest.mark.parametrize("address", [None, "", "unix:", "10.0.0.1:80", "11.0.0.1"])
def test_what_is_no_address_of_a_network_is_not_within(address):
    assert not within(address, PROXIES)
