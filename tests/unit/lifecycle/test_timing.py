"""When a token is refreshed, kept alive while nobody uses it, and announced to end."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cube_oauth.lifecycle.decide import DropAccessToken, Refresh, Wait, decide, state_of
from cube_oauth.lifecycle.publish import SIGN_IN_ENDING, refreshed, status
from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.lifecycle.timing import KEEP_ALIVE_SHORTEST, SHORTEST, again_at, keep_alive_at, next_refresh, warning
from cube_oauth.resources.meta import rfc3339
from cube_oauth.resources.oauthapp import Refresh as Rule
from cube_oauth.resources.usercredential import State
from tests.unit.lifecycle.samples import HOUR, MINUTE, NOW, SECOND, app, credential, issued, observed, token

DAY = timedelta(days=1)
TEN_MINUTES = app(refresh={"onlyWhileUsedSeconds": 600})


def used(ago):
    return credential(demand={"lastUsedAt": rfc3339(NOW - ago)})


def signed_in(ago, **more):
    return token(**{"signed_in_at": NOW - ago, **more})


DUE = {"age": 50 * MINUTE}
LAPSED = {"age": 3 * HOUR, "access": None}


@pytest.mark.parametrize(
    ("what", "seen", "expected"),
    [
        ("without the option it is refreshed, used or not", observed(token=signed_in(30 * DAY, **DUE)), Refresh()),
        (
            "with it, while it is used",
            observed(app=TEN_MINUTES, credential=used(MINUTE), token=signed_in(30 * DAY, **DUE)),
            Refresh(),
        ),
        (
            "a sidecar serves from memory for as long as a token lasts: no use within its lifetime is none seen",
            observed(app=TEN_MINUTES, credential=used(50 * MINUTE), token=signed_in(30 * DAY, **DUE)),
            Refresh(),
        ),
        (
            "a sign-in counts as a use",
            observed(app=TEN_MINUTES, token=signed_in(50 * MINUTE, **DUE)),
            Refresh(),
        ),
        (
            "unused it waits for its end",
            observed(app=TEN_MINUTES, credential=used(2 * HOUR), token=signed_in(30 * DAY, **DUE)),
            Wait(NOW + 10 * MINUTE),
        ),
        (
            "an ended access token is dropped, used or not",
            observed(app=TEN_MINUTES, credential=used(5 * HOUR), token=signed_in(30 * DAY, age=3 * HOUR)),
            DropAccessToken(),
        ),
        (
            "the next query wakes it, and somebody waits for it",
            observed(app=TEN_MINUTES, credential=used(SECOND), token=signed_in(30 * DAY, **LAPSED)),
            Refresh(woken=True),
        ),
        (
            "also when the broker's clock is two minutes behind",
            observed(app=TEN_MINUTES, credential=used(121 * SECOND), token=signed_in(30 * DAY, **LAPSED)),
            Refresh(woken=True),
        ),
        (
            "or two minutes ahead",
            observed(app=TEN_MINUTES, credential=used(-119 * SECOND), token=signed_in(30 * DAY, **LAPSED)),
            Refresh(woken=True),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_only_while_used(what, seen, expected):
    assert decide(seen, NOW) == expected


def test_an_idle_credential_is_kept_alive_well_before_its_refresh_token_lapses():
    ends = NOW + 27 * DAY
    idle = observed(
        app=TEN_MINUTES,
        credential=used(2 * DAY),
        token=signed_in(3 * DAY, age=3 * DAY, access=None, refresh_token_expires_at=ends),
    )
    due = decide(idle, NOW).until
    assert NOW + 18 * DAY <= due <= ends - 6 * DAY
    assert isinstance(decide(idle, due), Refresh)


def test_one_whose_refresh_token_ends_nobody_knows_when_is_kept_alive_every_day():
    idle = observed(app=TEN_MINUTES, credential=used(5 * HOUR), token=signed_in(3 * DAY, **LAPSED))
    assert decide(idle, NOW) == Wait(NOW - 3 * HOUR + DAY)


def test_an_idle_credential_is_no_persons_problem_and_says_so():
    seen = observed(app=TEN_MINUTES, credential=used(5 * HOUR), token=signed_in(3 * DAY, **LAPSED))
    assert state_of(seen, NOW) == (State.EXPIRED, Reason.IDLE)
    condition = next(one for one in status(seen, "https://portal", NOW).conditions if one.type == "Active")
    assert "nobody has to do anything" in condition.message


def test_a_refresh_token_that_ends_before_its_access_token_is_redeemed_in_time():
    short = token(age=0 * SECOND, lifetime=DAY, refresh_token_expires_at=NOW + 5 * MINUTE)
    due = next_refresh(short.record, Rule(), None, "uid-1", NOW)
    assert NOW < due < NOW + 5 * MINUTE


@given(st.integers(0, 10**7), st.integers(1, 10**7), st.booleans())
def test_whatever_ends_first_is_refreshed_before_it_ends_and_not_at_once(refresh_seconds, access_seconds, idle):
    ends = NOW + timedelta(seconds=refresh_seconds)
    record = token(age=0 * SECOND, lifetime=timedelta(seconds=access_seconds), refresh_token_expires_at=ends).record
    rule = Rule(only_while_used_seconds=600 if idle else None)
    due = next_refresh(record, rule, None, "uid-1", NOW)
    assert due <= ends or ends <= NOW + KEEP_ALIVE_SHORTEST
    assert due >= NOW + min(SHORTEST, record.expires_at - NOW)
    assert keep_alive_at(record, "uid-1") == keep_alive_at(record, "uid-1")


@pytest.mark.parametrize("said", [-DAY, 0 * SECOND, 1 * SECOND, 20 * SECOND])
def test_a_refresh_token_that_outlives_the_end_that_was_said_makes_no_storm(said):
    """The provider said its end at the sign-in, and takes it still: each refresh would be due at once."""
    record = token(age=0 * SECOND, refresh_token_expires_at=NOW + said, refresh_token_rolls=False).record
    assert next_refresh(record, Rule(), None, "uid-1", NOW) > NOW + 30 * MINUTE


@pytest.mark.parametrize(
    ("what", "lasted", "pause"),
    [
        ("just renewed: a quarter of an hour", 50 * MINUTE, 15 * MINUTE),
        ("for hours: a quarter of them", 8 * HOUR, 2 * HOUR),
        ("for a month: a day", 30 * DAY, DAY),
    ],
)
def test_whom_a_policy_refuses_is_asked_for_ever_less_often(what, lasted, pause):
    record = token(age=lasted, denied="AccessDenied", denied_at=NOW).record
    moments = {again_at(record, f"uid-{number}") - NOW for number in range(50)}
    assert all(pause * 0.9 <= moment <= pause for moment in moments)
    assert len(moments) > 25, "they do not all ask together"


# ---- announcing the end

FIXED = {"refresh_token_rolls": False}


def ending(seen, now=NOW):
    return next((one for one in status(seen, "https://portal", now).conditions if one.type == SIGN_IN_ENDING), None)


@pytest.mark.parametrize(
    ("what", "left", "lasts", "record", "expected"),
    [
        ("a month before: nothing", 30 * DAY, 90 * DAY, FIXED, None),
        ("a week before", 7 * DAY, 90 * DAY, FIXED, "WithinAWeek"),
        ("a day before", 1 * DAY, 90 * DAY, FIXED, "WithinADay"),
        ("a second before", SECOND, 90 * DAY, FIXED, "WithinADay"),
        ("of a sign-in of ten days, a week is no news", 7 * DAY, 10 * DAY, FIXED, None),
        ("but a day is", 1 * DAY, 10 * DAY, FIXED, "WithinADay"),
        ("a sign-in of a working day is not announced to end", HOUR, 10 * HOUR, FIXED, None),
        ("an end that moves with each refresh is no end", HOUR, 90 * DAY, {"refresh_token_rolls": True}, None),
        ("an end that may move is not announced", HOUR, 90 * DAY, {}, None),
    ],
)
def test_the_end_of_a_sign_in_is_announced(what, left, lasts, record, expected):
    seen = signed_in(lasts - left, refresh_token_expires_at=NOW + left, **record)
    assert warning(seen, NOW) == expected
    condition = ending(observed(token=seen))
    assert (condition and condition.reason) == expected


def test_it_is_announced_with_a_sentence_that_says_what_to_do():
    seen = signed_in(60 * DAY, refresh_token_expires_at=NOW + DAY, **FIXED)
    message = ending(observed(token=seen)).message
    assert rfc3339(NOW + DAY) in message
    assert "authorizes again" in message


def test_nothing_is_announced_when_the_end_is_not_known():
    assert ending(observed(token=signed_in(60 * DAY, **FIXED))) is None
    assert ending(observed(token=signed_in(60 * DAY, refresh=None, refresh_token_expires_at=NOW + DAY, **FIXED))) is None


def test_each_announcement_is_woken_for():
    """However long the access token lasts."""
    ends = NOW + 30 * DAY
    seen = observed(token=signed_in(60 * DAY, age=0 * SECOND, lifetime=29 * DAY, refresh_token_expires_at=ends, **FIXED))
    seen = observed(token=seen.token, not_before=NOW + 29 * DAY)
    assert decide(seen, NOW) == Wait(ends - 7 * DAY)
    assert decide(seen, ends - 7 * DAY) == Wait(ends - DAY)


@pytest.mark.parametrize(
    ("what", "answer", "rolls", "end"),
    [
        ("each refresh begins the refresh token's life anew", {"refresh_token_expires_in": 30 * DAY}, True, NOW + 30 * DAY),
        ("the end stays where it is", {"refresh_token_expires_in": 20 * DAY}, False, NOW + 20 * DAY),
        (
            "the end stays but for a rounding",
            {"refresh_token_expires_in": 20 * DAY + 3 * SECOND},
            False,
            NOW + 20 * DAY + 3 * SECOND,
        ),
        ("the same token stays, with its end", {"refresh_token": None}, False, NOW + 20 * DAY),
        ("another token, whose end nobody says", {}, None, None),
    ],
)
def test_whether_an_end_moves_is_learnt_from_the_first_refresh(what, answer, rolls, end):
    before = token(age=50 * MINUTE, refresh_token_expires_at=NOW + 20 * DAY)
    after = refreshed(before, issued(**answer), 3600).record
    assert (after.refresh_token_rolls, after.refresh_token_expires_at) == (rolls, end)


@pytest.mark.parametrize("known", [None, True, False])
@pytest.mark.parametrize("moved", [-2 * SECOND, 2 * SECOND])
def test_answers_that_come_soon_after_each_other_tell_nothing_of_it(known, moved):
    """One of the requests took two seconds longer than the other."""
    before = token(age=3 * SECOND, refresh_token_expires_at=NOW + 20 * DAY, refresh_token_rolls=known)
    after = refreshed(before, issued(refresh_token_expires_in=20 * DAY + moved), 3600).record
    assert (after.refresh_token_rolls, after.refresh_token_expires_at) == (known, NOW + 20 * DAY + moved)


# ---- clocks two minutes off


@pytest.mark.parametrize("skew", [-120 * SECOND, 120 * SECOND])
def test_a_reader_whose_clock_is_two_minutes_off_serves_tokens_of_ten_minutes_and_more_without_a_gap(skew):
    """The broker and the sidecars judge by their own clocks; the controller has refreshed long before."""
    for minutes in range(10, 90, 5):
        made = token(age=0 * SECOND, lifetime=minutes * MINUTE)
        refreshed_at = next_refresh(made.record, Rule(), None, "uid-1", NOW)
        assert state_of(observed(token=made), refreshed_at + skew)[0] is State.ACTIVE


def test_a_reader_whose_clock_is_behind_withholds_a_token_of_which_it_knows_that_it_ended_two_minutes_late_and_no_later():
    made = token(age=HOUR, refresh=None)
    assert state_of(observed(token=made), NOW - 120 * SECOND)[0] is State.ACTIVE
    assert state_of(observed(token=made), NOW)[0] is State.EXPIRED
