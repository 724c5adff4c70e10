"""Killed at each await, refused at each request, doubled: a little of what ``make survive`` tries."""

import pytest

from tests.control_plane.harness import CLIENTS, REDIRECT_URI
from tests.parts.certificates import self_made
from tests.parts.provider import Provider, app_client
from tests.survival import trials
from tests.survival.table import Table
from tests.survival.world import World

pytestmark = pytest.mark.control_plane
PEOPLE = [f"person-{number}" for number in range(24)]


@pytest.fixture(scope="module")
def world(control_plane, tmp_path_factory):
    """People who are connected at a provider of their own."""
    folder = tmp_path_factory.mktemp("survival")
    clients = [app_client(name, [REDIRECT_URI], client_secret=secret) for name, secret in CLIENTS.items()]
    tls = self_made(folder / "tls", "127.0.0.1")
    with Provider(clients=clients, users=PEOPLE, certificate=tls, folder=folder / "provider") as provider:
        made = World(control_plane, provider, folder, "survival", PEOPLE)
        try:
            made.prepare()
            yield made
        finally:
            made.end()


@pytest.fixture
def table(world):
    """What the test tries; whoever lost a sign-in in the test before has another one."""
    world.heal()
    return Table()


def test_a_kill_at_any_await_of_a_refresh_loses_nothing_but_an_answer_on_its_way(world, table):
    awaits = trials.killed_at_each_await(world, table, "first refresh")
    assert table.problems == []
    assert awaits >= 4
    assert table.total().in_window >= 1  # who dies with the answer in his hands has lost it: the verdict does see a loss


def test_a_refresh_survives_whatever_becomes_of_its_requests(world, table):
    faults = [*trials.api_faults(3), *trials.provider_faults()]
    trials.refused(world, table, faults, 1, patience=3)
    assert table.problems == []
    assert {place.rpartition(": ")[2] for place in table.rows} >= {fault.kind for fault in faults}


def test_two_controllers_that_both_believe_they_lead_redeem_nothing_twice(world, table):
    trials.two_leaders(world, table, 50)
    assert table.problems == []


def test_an_answer_that_was_slept_over_is_kept_although_another_controller_has_claimed_what_it_cost(world, table):
    trials.paused_with_the_answer(world, table)
    assert table.problems == []
    assert len(table.rows) == 1


def test_no_token_is_in_any_log(world):
    assert world.leaks() == []
