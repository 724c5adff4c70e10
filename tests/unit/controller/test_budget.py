"""How fast a provider is asked."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cube_oauth.controller.budget import Backoff, Budget
from tests.unit.controller.clocks import START

SECOND = timedelta(seconds=1)
A, B = "https://a.example.com:443", "https://b.example.com:443"


def test_who_comes_first_asks_at_once():
    assert Budget().reserve(A, 10, "k", START) <= START


def test_a_thousand_at_once_are_spread_over_their_budget():
    budget = Budget()
    moments = sorted(budget.reserve(A, 10, number, START) for number in range(1000))
    assert timedelta(seconds=99) < moments[-1] - moments[0] < timedelta(seconds=101)


@given(st.lists(st.floats(min_value=0, max_value=5), min_size=1, max_size=100), st.integers(min_value=1, max_value=50))
def test_no_second_has_more_than_the_budget_and_what_a_pause_allows(pauses, rate):
    budget, now, moments = Budget(), START, []
    for number, pause in enumerate(pauses):
        now += pause * SECOND
        moments.append(max(now, budget.reserve(A, rate, number, now)))
    for moment in moments:
        assert sum(moment <= other < moment + SECOND for other in moments) <= rate + rate / 10 + 1


def test_one_provider_does_not_slow_another():
    budget = Budget()
    for number in range(100):
        budget.reserve(A, 1, number, START)
    assert budget.reserve(B, 1, "k", START) <= START


def test_who_asks_again_keeps_the_place_in_the_line():
    budget = Budget()
    budget.reserve(A, 1, "first", START)
    mine = budget.reserve(A, 1, "mine", START)
    budget.reserve(A, 1, "third", START)
    assert budget.reserve(A, 1, "mine", START) == mine


def test_the_next_request_needs_another_place():
    budget = Budget()
    mine = budget.reserve(A, 1, "mine", START)
    budget.spend("mine")
    assert budget.reserve(A, 1, "mine", START) > mine


@pytest.mark.parametrize("urgent", [False, True])
def test_who_leaves_the_line_puts_nobody_off(urgent):
    budget = Budget()
    budget.reserve(A, 1, "first", START)
    budget.reserve(A, 1, "leaves", START, urgent=urgent)
    mine = budget.reserve(A, 1, "mine", START)
    budget.leave("leaves")
    budget.leave("somebody unknown")
    assert budget.reserve(A, 1, "mine", START) == mine


def test_a_place_that_nobody_came_for_is_given_up():
    budget = Budget()
    budget.reserve(A, 1, "mine", START)
    later = START + timedelta(hours=1)
    assert budget.reserve(A, 1, "mine", later) > later - SECOND


def test_pauses_grow_and_end_with_success():
    backoff = Backoff()
    assert backoff.not_before("k") is None
    pauses = [(backoff.failed("k", START) - START).total_seconds() for _ in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 30
    backoff.succeeded("k")
    assert backoff.not_before("k") is None


def test_the_latest_pause_counts():
    backoff = Backoff()
    backoff.hold("k", START + SECOND)
    backoff.hold(A, START + 9 * SECOND)
    backoff.hold(A, START + 3 * SECOND)
    assert backoff.not_before("k", A) == START + 9 * SECOND
