from datetime import UTC, datetime, timedelta

import pytest

from cube_oauth.portal.session import MOST_PENDING, PENDING_AGE, Pending, PendingList, Session, SessionLimits, own_page

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LIMITS = SessionLimits(idle=timedelta(minutes=7), absolute=timedelta(hours=3))


def pending(**more):
    return Pending(purpose="connect", began=int(NOW.timestamp()), namespace="analytics", app="trino", **more)


def test_a_session_ends_after_the_idle_limit():
    session = Session.begin("alice", (), NOW)
    assert session.alive(NOW + LIMITS.idle - SECOND, LIMITS)
    assert not session.alive(NOW + LIMITS.idle, LIMITS)


def test_a_session_that_is_used_goes_on():
    session = Session.begin("alice", (), NOW).touched(NOW + LIMITS.idle - SECOND)
    assert session.alive(NOW + LIMITS.idle + SECOND, LIMITS)


def test_a_session_ends_after_the_absolute_limit_however_much_it_is_used():
    session, end = Session.begin("alice", (), NOW), NOW + LIMITS.absolute
    assert session.touched(end - SECOND).alive(end - SECOND, LIMITS)
    assert not session.touched(end).alive(end, LIMITS)


def test_a_short_idle_limit_is_counted_from_the_last_use_all_the_same():
    session, limits = Session.begin("alice", (), NOW), SessionLimits(idle=timedelta(minutes=1))
    assert session.due(NOW + timedelta(seconds=15), limits)
    assert not session.due(NOW + timedelta(seconds=15), LIMITS)


def test_a_form_belongs_to_one_session():
    one, other = Session.begin("alice", (), NOW), Session.begin("alice", (), NOW)
    token = one.new_form_token()
    assert one.owns(token)
    assert not one.owns(other.new_form_token())
    assert not any(one.owns(wrong) for wrong in ("", "é", "=", token[:-4], token[4:]))
    assert one.id not in token


def test_a_form_s_token_is_never_the_same_twice():
    session = Session.begin("alice", (), NOW)
    tokens = {session.new_form_token() for _ in range(8)}
    assert len({token[:8] for token in tokens}) == len({token[-8:] for token in tokens}) == 8
    assert all(session.owns(token) for token in tokens)


@pytest.mark.parametrize("path", ["/", "/connect/analytics/trino", "/connect/a/b.c-d"])
def test_our_own_pages_may_be_next(path):
    assert own_page(path) == path


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%2f/evil.example",
        "/connect/../../evil",
        "/connect/../x",
        "/connect/a/..",
        "/connect/./b",
        "/connect/a/b/../../..//evil.example",
        "/connect/a/b?x=//evil.example",
        "/connect/a/b#//evil.example",
        "/connect/a/b\n",
        "\t//evil.example",
        "javascript:alert(1)",
        "/login",
        "/logout",
        "/callback/a/b",
        "connect/a/b",
    ],
)
def test_nothing_else_may_be_next(path):
    assert own_page(path) == "/"


def test_an_answer_is_found_by_its_state_and_what_it_was_for():
    item = pending()
    found = PendingList(items=(pending(), item))
    assert found.find(item.state, "connect", "analytics", "trino") == item
    assert found.find(item.state, "connect", "analytics", "lake") is None
    assert found.find(item.state, "connect", "other", "trino") is None
    assert found.find(item.state, "login") is None
    assert found.find("", "connect", "analytics", "trino") is None
    assert found.find("é", "connect", "analytics", "trino") is None


def test_an_authorization_may_be_answered_for_ten_minutes():
    assert pending().fresh(NOW + PENDING_AGE - SECOND)
    assert not pending().fresh(NOW + PENDING_AGE)


def test_only_so_many_are_under_way_and_the_oldest_goes():
    found = PendingList()
    for number in range(MOST_PENDING + 2):
        found = found.plus(pending(state=f"state-{number}"), NOW)
    assert [item.state for item in found.items] == [f"state-{number}" for number in range(2, MOST_PENDING + 2)]


def test_the_overaged_are_dropped_first():
    found = PendingList().plus(pending(), NOW).plus(pending(state="new"), NOW + PENDING_AGE)
    assert [item.state for item in found.items] == ["new"]


def test_states_are_long_and_never_the_same():
    states = {pending().state for _ in range(100)}
    assert len(states) == 100
    assert all(len(state) >= 32 for state in states)
