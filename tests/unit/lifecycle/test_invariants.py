"""Whatever happens, in whatever order: what must hold all the same."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from cube_oauth.lifecycle.decide import DropAccessToken, Refresh, Wait, decide, state_of
from cube_oauth.lifecycle.publish import claimed, ended, granted, refreshed, status, without_access_token
from cube_oauth.lifecycle.timing import refresh_at
from cube_oauth.resources.secrets import Claim
from cube_oauth.resources.usercredential import State
from tests.unit.lifecycle.samples import NOW, SECOND, TOKEN_URL, credential, issued, observed, token

seconds = st.integers(min_value=-10_000, max_value=10_000).map(lambda number: timedelta(seconds=number))
lifetimes = st.none() | st.integers(min_value=1, max_value=10**10).map(lambda number: timedelta(seconds=number))
answers = st.builds(
    issued,
    expires_in=st.none() | st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=5000)),
    refresh_token=st.none() | st.just("rotated"),
    refresh_token_expires_in=st.none() | st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=9000)),
)
claims = st.none() | seconds.map(lambda offset: Claim(id="theirs", refresh_token_hash="h", deadline=NOW + offset))
tokens = st.none() | st.builds(
    token,
    age=seconds,
    lifetime=st.integers(min_value=1, max_value=10_000).map(lambda number: number * SECOND),
    access=st.none() | st.just("sealed-access"),
    refresh=st.none() | st.just("sealed-refresh"),
    claim=claims,
    ended=st.none() | st.sampled_from(["Revoked", "SubjectChanged"]),
    denied=st.none() | st.just("InteractionRequired"),
    denied_at=st.none() | seconds.map(lambda offset: NOW + offset),
    client_id=st.sampled_from(["cube", "former"]),
    revision=st.integers(min_value=1, max_value=1000),
    refreshed_for_rejection=st.none() | st.integers(min_value=1, max_value=1000),
)
worlds = st.builds(
    observed,
    credential=st.builds(credential, suspend=st.booleans(), rejected=st.none() | st.integers(min_value=1, max_value=1000)),
    app_ready=st.booleans(),
    token=tokens,
    duplicate=st.booleans(),
    not_before=st.none() | seconds.map(lambda offset: NOW + offset),
    decipherable=st.booleans(),
)


@given(worlds)
def test_an_ended_token_is_never_active(seen):
    state, _ = state_of(seen, NOW)
    if state is State.ACTIVE:
        assert seen.token.access_token is not None
        assert seen.token.record.expires_at > NOW


@given(worlds)
def test_nothing_is_redeemed_while_somebody_else_may_be_redeeming(seen):
    if isinstance(decide(seen, NOW), Refresh):
        claim = seen.token.claim
        assert claim is None or claim.deadline <= NOW
        assert seen.token.refresh_token is not None
        assert seen.token.record.client_id == "cube"


@given(worlds)
def test_who_waits_waits_for_a_moment_that_is_still_to_come(seen):
    match decide(seen, NOW):
        case Wait(until):
            assert until is None or until > NOW
        case DropAccessToken():
            assert isinstance(decide(type(seen)(**{**vars(seen), "token": without_access_token(seen.token)}), NOW), Wait | Refresh)


@given(worlds)
def test_an_access_token_is_looked_at_again_no_later_than_at_its_end(seen):
    decision = decide(seen, NOW)
    if isinstance(decision, Wait) and seen.token is not None and seen.token.access_token is not None:
        assert decision.until <= seen.token.record.expires_at


@given(worlds)
def test_every_world_has_a_status_that_can_be_written(seen):
    shown = status(seen, "https://portal.example.com", NOW)
    assert {one.type for one in shown.conditions} >= {"Ready", "Active"}
    assert all(one.message for one in shown.conditions)
    assert "sealed" not in shown.model_dump_json()


@given(st.lists(st.tuples(st.sampled_from(["refresh", "grant", "claim", "end", "drop"]), answers), max_size=20))
def test_the_revision_only_grows_and_a_refresh_token_is_never_overwritten_with_nothing(story):
    stored = token()
    for what, answer in story:
        before = stored
        if what == "refresh":
            stored = refreshed(stored, answer, 3600)
            assert stored.refresh_token == (answer.refresh_token or before.refresh_token)
            assert stored.record.revision == before.record.revision + 1
        elif what == "grant":
            stored = granted(observed(token=stored), answer, "another", TOKEN_URL, None)
            assert stored.record.revision == before.record.revision + 1
        else:
            stored = {
                "claim": lambda now: claimed(now, Claim(id="c", refresh_token_hash="h", deadline=NOW)),
                "end": lambda now: ended(now, "Revoked"),
                "drop": without_access_token,
            }[what](stored)
            assert stored.record.revision == before.record.revision
        assert stored.record.expires_at > stored.record.issued_at


@given(st.integers(min_value=1, max_value=10**7), st.integers(min_value=10, max_value=95), st.text(min_size=1))
def test_a_refresh_is_due_within_the_lifetime(lifetime, percent, uid):
    record = token(age=timedelta(0), lifetime=timedelta(seconds=lifetime)).record
    assert record.issued_at < refresh_at(record, percent, uid) <= record.expires_at
