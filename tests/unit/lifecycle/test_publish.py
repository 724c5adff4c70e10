"""What is written after the network."""

from datetime import timedelta

import pytest

from cube_oauth.lifecycle.publish import claimed, denied, ended, granted, refreshed, status, without_access_token
from cube_oauth.resources.meta import Condition
from cube_oauth.resources.usercredential import State
from tests.unit.lifecycle.samples import HOUR, MINUTE, NOW, app, claim, credential, issued, observed, token

URL = "https://portal.example.com/connect/team/trino"


def active(seen):
    return next(one for one in status(seen, URL, NOW).conditions if one.type == "Active")


def test_an_answer_without_a_refresh_token_keeps_the_old_one():
    assert refreshed(token(), issued(refresh_token=None), 3600).refresh_token == "sealed-refresh"


def test_a_rotated_refresh_token_takes_the_place_of_the_old_one():
    assert refreshed(token(), issued(), 3600).refresh_token == "new-refresh"


def test_a_refresh_ends_the_claim_and_keeps_the_sign_in():
    after = refreshed(claimed(token(), claim(20)), issued(), 3600)
    assert after.claim is None
    assert after.record.grant == "one"


@pytest.mark.parametrize(
    ("what", "expires_in", "expected"),
    [
        ("as the provider says", timedelta(seconds=90), timedelta(seconds=90)),
        ("the app's default when the provider says nothing", None, timedelta(seconds=1800)),
        ("at least a second", timedelta(milliseconds=1), timedelta(seconds=1)),
        ("at most a year", timedelta(days=4000), timedelta(days=365)),
    ],
)
def test_a_lifetime_is(what, expires_in, expected):
    record = refreshed(token(), issued(expires_in=expires_in), 1800).record
    assert record.expires_at - record.issued_at == expected


def test_a_new_sign_in_keeps_nothing_of_the_old_one_but_the_count():
    old = token(ended="Revoked", subject="former", refreshed_for_rejection=5)
    after = granted(observed(token=old), issued(), "two", "https://idp.example.com/token", None)
    assert (after.record.revision, after.record.grant, after.record.ended, after.record.subject) == (6, "two", None, None)
    assert after.record.refreshed_for_rejection is None
    assert after.resource_version == old.resource_version


def test_the_first_sign_in_has_revision_one():
    assert granted(observed(token=None), issued(), "one", "https://idp.example.com/token", None).record.revision == 1


def test_a_sign_in_that_is_over_keeps_its_access_token_until_its_end():
    over = ended(token(), "Revoked")
    assert (over.access_token, over.refresh_token, over.record.ended) == ("sealed-access", None, "Revoked")
    assert status(observed(token=over), URL, NOW).state is State.ACTIVE


def test_a_status_says_when_and_where_and_nothing_secret():
    shown = status(observed(), URL, NOW)
    assert (shown.state, shown.revision, shown.authorize_url, shown.demand) == (State.ACTIVE, 5, URL, None)
    assert NOW < shown.refresh_at < shown.expires_at
    assert "sealed" not in shown.model_dump_json()


def test_ready_says_reconciled_so_that_nothing_waits_for_a_person():
    ready = next(one for one in status(observed(token=None), URL, NOW).conditions if one.type == "Ready")
    assert ready.status == "True"


@pytest.mark.parametrize(
    ("what", "seen", "words"),
    [
        ("no refresh token", observed(token=token(refresh=None)), "until 2026-11-23T12:50:00Z. After that: The provider gave no"),
        ("no refresh token, once more", observed(token=token(refresh=None)), "offline_access"),
        ("a policy of the provider", observed(token=denied(token(), "InteractionRequired", NOW)), "wants the person to log in"),
        ("a sign-in that is over", observed(token=ended(token(), "Revoked")), "authorizes again"),
        ("an app that cannot be used", observed(app_ready=False), "Ready condition says why"),
        ("a changed client", observed(token=token(client_id="former")), "client ID or token endpoint changed"),
    ],
)
def test_the_last_token_says_why_it_is_the_last(what, seen, words):
    condition = active(seen)
    assert condition.status == "True"
    assert words in condition.message


@pytest.mark.parametrize("age", [10 * MINUTE, HOUR + MINUTE], ids=["while it lasts", "and after that"])
def test_whom_a_policy_refuses_is_not_promised_to_be_renewed(age):
    refused = token(age=age, refresh_token_expires_at=NOW + 90 * HOUR, refresh_token_rolls=False)
    shown = status(observed(token=denied(refused, "AccessDenied", NOW)), URL, NOW)
    assert (shown.refresh_at, shown.sign_in_ends_at) == (None, refused.record.expires_at)


def test_a_message_holds_the_address_to_open():
    message = active(observed(token=None)).message
    assert (URL in message, "status.authorizeURL" in message) == (True, False)


def test_a_message_names_the_app_that_is_in_the_way():
    assert "kubectl describe oapp trino" in active(observed(token=None, app_ready=False)).message


@pytest.mark.parametrize("access", ["sealed-access", None], ids=["until it is tidied up", "and after that"])
def test_when_the_last_token_ended_is_said(access):
    over = token(access=access, refresh=None, age=HOUR + MINUTE)
    assert status(observed(token=over), URL, NOW).sign_in_ends_at == NOW - MINUTE


def test_how_the_last_authorization_went_is_kept():
    told = Condition(type="Authorized", status="False", reason="SubjectDiffers", message="m", last_transition_time=NOW - HOUR)
    kept = status(observed(credential=credential(conditions=[told])), URL, NOW).conditions
    assert told in kept


def test_a_condition_that_did_not_change_keeps_its_time():
    before = status(observed(), URL, NOW - MINUTE)
    after = status(observed(credential=credential(conditions=before.conditions)), URL, NOW)
    assert {one.last_transition_time for one in after.conditions} == {NOW - MINUTE}


def test_what_has_ended_is_kept_nowhere():
    assert without_access_token(token()).access_token is None


def test_nothing_can_be_granted_without_an_app():
    with pytest.raises(ValueError, match="OAuthApp"):
        granted(observed(app=None), issued(), "one", app().spec.token_url, None)
