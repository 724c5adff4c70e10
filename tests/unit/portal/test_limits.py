import dataclasses
from ipaddress import ip_network

import pytest

from cube_oauth.portal import limits
from cube_oauth.portal.limits import Limit

from .conftest import refused


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_so_many_at_once_and_then_so_many_a_second(clock):
    limit = Limit(0.5, 3, clock)
    assert [limit.wait("alice") for _ in range(4)] == [0, 0, 0, 2]
    clock.now = 2.0
    assert [limit.wait("alice") for _ in range(2)] == [0, 2]


def test_everybody_has_a_limit_of_their_own(clock):
    limit = Limit(1, 1, clock)
    assert [limit.wait(key) for key in ("alice", "bob", "alice")] == [0, 0, 1]


def test_a_long_rest_permits_no_more_than_the_burst(clock):
    limit = Limit(1, 2, clock)
    limit.wait("alice")
    clock.now = 1000.0
    assert [limit.wait("alice") for _ in range(3)] == [0, 0, 1]


def test_the_longest_away_is_forgotten(clock, monkeypatch):
    monkeypatch.setattr(limits, "MOST_KEYS", 2)
    limit = Limit(1, 1, clock)
    for key in ("alice", "bob", "carol"):
        limit.wait(key)
    assert (limit.wait("bob"), limit.wait("alice")) == (1, 0)


@pytest.fixture
def one_each(world, clock):
    world.portal.limits.people = Limit(1, 1, clock)
    world.portal.limits.addresses = Limit(1, 1, clock)


@pytest.mark.usefixtures("one_each")
async def test_one_person_s_forms_are_limited_and_nobody_else_s(browser, other_browser, world):
    world.add_app()
    alice, bob = browser.log_in("alice"), other_browser.log_in("bob")
    assert (await alice.post("/connect/analytics/trino")).status == 200
    answer = await alice.post("/connect/analytics/trino")
    assert (answer.status, refused(answer), answer.headers["Retry-After"]) == (429, "TooMany", "1")
    assert len(alice.pending) == 1
    assert (await bob.post("/connect/analytics/trino")).status == 200


@pytest.mark.usefixtures("one_each")
async def test_looking_is_not_limited(browser, world):
    world.add_app()
    browser.log_in()
    assert {(await browser.get(path)).status for path in ("/", "/connect/analytics/trino") * 3} == {200}


@pytest.mark.usefixtures("one_each")
@pytest.mark.parametrize("path", ["/login", "/login/callback?state=x", "/callback/analytics/trino?state=x"])
async def test_logging_in_is_limited_by_address(browser, world, path):
    proxies = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    world.portal.settings = dataclasses.replace(world.portal.settings, trusted_proxies=proxies)
    one, other = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    assert (await browser.get(path, headers=one)).status != 429
    assert (await browser.get(path, headers=one)).status == 429
    assert (await browser.get(path, headers=other)).status != 429


@pytest.mark.usefixtures("one_each")
async def test_a_header_makes_nobody_another_person(browser):
    await browser.get("/login", headers={"X-Forwarded-For": "192.0.2.1"})
    assert (await browser.get("/login", headers={"X-Forwarded-For": "192.0.2.2"})).status == 429
