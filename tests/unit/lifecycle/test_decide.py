"""What is done with a credential, and what its state is called: one line a case."""

from dataclasses import replace

import pytest

from cube_oauth.lifecycle.decide import DropAccessToken, Refresh, Wait, Withdraw, decide, origin, state_of
from cube_oauth.lifecycle.publish import denied, withdrawn, without_access_token
from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.lifecycle.timing import refresh_at
from cube_oauth.resources.secrets import Reference
from cube_oauth.resources.usercredential import State
from tests.unit.lifecycle.samples import HOUR, MINUTE, NOW, SECOND, app, claim, credential, observed, token

DUE = token(age=50 * MINUTE)
FORMER = Reference(namespace="team", name="trino", uid="uid-of-the-former")
OVER = token(age=2 * HOUR)
DENIED = denied(token(), "AccessDenied", NOW)
DROPPED = token(age=2 * HOUR, access=None)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("without a token there is nothing to do", (observed(token=None), Wait)),
        ("a fresh token waits", (observed(), Wait)),
        ("a token that is due is refreshed", (observed(token=DUE), Refresh)),
        ("an ended access token is dropped before anything else", (observed(token=OVER), DropAccessToken)),
        ("after that the refresh token is still redeemed", (observed(token=DROPPED), Refresh)),
        ("somebody else's claim is waited for", (observed(token=token(age=50 * MINUTE, claim=claim(20))), Wait)),
        ("an old claim is no obstacle", (observed(token=token(age=50 * MINUTE, claim=claim(-1))), Refresh)),
        (
            "our own claim is no obstacle once its request is over",
            (observed(token=token(age=50 * MINUTE, claim=claim(20, "ours")), released_claim="ours"), Refresh),
        ),
        ("a pause is kept", (observed(token=DUE, not_before=NOW + MINUTE), Wait)),
        ("a pause that is over is no obstacle", (observed(token=DUE, not_before=NOW - SECOND), Refresh)),
        ("a suspended credential's tokens are withdrawn", (observed(token=DUE, credential=credential(suspend=True)), Withdraw)),
        ("ended ones too", (observed(token=OVER, credential=credential(suspend=True)), Withdraw)),
        ("once", (observed(token=token(access=None, refresh=None), credential=credential(suspend=True)), Wait)),
        ("a claim does not protect them", (observed(token=token(claim=claim(20)), credential=credential(suspend=True)), Withdraw)),
        ("a duplicate is not refreshed", (observed(token=DUE, duplicate=True), Wait)),
        ("without its app a credential's tokens are withdrawn", (observed(token=DUE, app=None), Withdraw)),
        (
            "without its app there may be nothing left to withdraw",
            (observed(token=token(access=None, refresh=None), app=None), Wait),
        ),
        ("an app of the same name is another app", (observed(token=token(app=FORMER)), Withdraw)),
        ("while the app is not ready nothing is refreshed", (observed(token=DUE, app_ready=False), Wait)),
        ("a token of another client is not sent", (observed(token=token(age=50 * MINUTE, client_id="former")), Wait)),
        (
            "a token of another endpoint is not sent",
            (observed(token=token(age=50 * MINUTE, token_url="https://former.example.com/token")), Wait),
        ),
        ("a sign-in that is over is not refreshed", (observed(token=token(age=50 * MINUTE, ended="Revoked")), Wait)),
        ("without a refresh token nothing is refreshed", (observed(token=token(age=50 * MINUTE, refresh=None)), Wait)),
        ("what cannot be deciphered is not refreshed", (observed(token=DUE, decipherable=False), Wait)),
        ("a token that the warehouse refused is refreshed at once", (observed(credential=credential(rejected=5)), Refresh)),
        ("an older refusal means nothing", (observed(credential=credential(rejected=4)), Wait)),
        (
            "one refusal forces one refresh",
            (observed(credential=credential(rejected=5), token=token(refreshed_for_rejection=5)), Wait),
        ),
        ("whom a policy refused is not asked for at once", (observed(token=DENIED), Wait)),
        ("but is in time", (observed(token=denied(DUE, "AccessDenied", NOW - 15 * MINUTE)), Refresh)),
        (
            "not even when the warehouse refuses what is left",
            (observed(credential=credential(rejected=5), token=DENIED), Wait),
        ),
        ("nor when the access token is lost", (observed(token=without_access_token(DENIED)), Wait)),
        ("a username that names nobody is not refreshed", (observed(token=DUE, credential=credential("a b")), Wait)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_decide(what, expected):
    seen, kind = expected
    assert isinstance(decide(seen, NOW), kind)


def test_a_refusal_is_named_in_the_decision():
    assert decide(observed(credential=credential(rejected=5)), NOW) == Refresh(for_rejection=5)


def test_a_token_that_cannot_be_refreshed_is_looked_at_when_it_ends():
    seen = observed(token=token(refresh=None))
    assert decide(seen, NOW) == Wait(seen.token.record.expires_at)


def test_a_claim_beyond_the_tokens_end_is_not_waited_for_longer_than_to_that_end():
    seen = observed(token=token(age=50 * MINUTE, claim=claim(3600)))
    assert decide(seen, NOW) == Wait(seen.token.record.expires_at)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("without a token: pending", (observed(token=None), State.PENDING, Reason.NOT_CONNECTED)),
        ("without a token and app: pending", (observed(token=None, app_ready=False), State.PENDING, Reason.APP_NOT_READY)),
        ("with a token: active", (observed(), State.ACTIVE, Reason.ACTIVE)),
        ("a failed refresh does not end a token", (observed(token=token(ended="Revoked")), State.ACTIVE, Reason.ACTIVE)),
        ("an app that is not ready does not end a token", (observed(app_ready=False), State.ACTIVE, Reason.ACTIVE)),
        ("an ended token that can still be renewed: delayed", (observed(token=OVER), State.EXPIRED, Reason.REFRESH_DELAYED)),
        ("while the app cannot be used as well", (observed(token=OVER, app_ready=False), State.EXPIRED, Reason.REFRESH_DELAYED)),
        ("the sign-in ended with its time", (observed(token=token(access=None, ended="Expired")), State.EXPIRED, Reason.EXPIRED)),
        (
            "a suspension that is over asks for a new sign-in",
            (observed(token=withdrawn(token(), Reason.SUSPENDED)), State.REVOKED, Reason.SUSPENSION_ENDED),
        ),
        (
            "an app that was created anew asks for a new sign-in",
            (observed(token=withdrawn(token(), Reason.APP_NOT_FOUND)), State.REVOKED, Reason.APP_REPLACED),
        ),
        (
            "without its app a withdrawn credential says that",
            (observed(token=withdrawn(token(), Reason.APP_NOT_FOUND), app=None), State.PENDING, Reason.APP_NOT_FOUND),
        ),
        (
            "ended and refused for good: revoked",
            (observed(token=token(access=None, ended="Revoked")), State.REVOKED, Reason.REVOKED),
        ),
        (
            "ended and the provider wants a log-in: expired, with its reason",
            (observed(token=denied(OVER, "InteractionRequired", NOW)), State.EXPIRED, "InteractionRequired"),
        ),
        ("while it lasts, a refusal does not end a token", (observed(token=DENIED), State.ACTIVE, Reason.ACTIVE)),
        (
            "denied, and the client changed: that is in the way now",
            (
                observed(token=denied(token(access=None, client_id="former"), "AccessDenied", NOW)),
                State.EXPIRED,
                Reason.CLIENT_CHANGED,
            ),
        ),
        (
            "ended for want of a refresh token",
            (observed(token=token(access=None, refresh=None)), State.EXPIRED, Reason.NO_REFRESH_TOKEN),
        ),
        (
            "ended after the client changed",
            (observed(token=token(access=None, client_id="former")), State.EXPIRED, Reason.CLIENT_CHANGED),
        ),
        ("suspended: revoked", (observed(credential=credential(suspend=True)), State.REVOKED, Reason.SUSPENDED)),
        ("a duplicate: pending", (observed(duplicate=True), State.PENDING, Reason.DUPLICATE)),
        ("no app: pending", (observed(app=None), State.PENDING, Reason.APP_NOT_FOUND)),
        ("lost keys: pending", (observed(decipherable=False), State.PENDING, Reason.UNDECIPHERABLE)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_state(what, expected):
    seen, state, reason = expected
    assert state_of(seen, NOW) == (state, reason)


def test_the_refresh_time_does_not_depend_on_when_it_is_asked_for():
    record = token().record
    assert refresh_at(record, 70, "uid-1") == refresh_at(record, 70, "uid-1")


def test_credentials_of_one_moment_are_not_refreshed_in_one_moment():
    record = token().record
    assert len({refresh_at(record, 70, f"uid-{number}") for number in range(100)}) > 50


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://IDP.example.com/token", "https://idp.example.com:443"),
        ("https://idp.example.com:443/other", "https://idp.example.com:443"),
        ("https://idp.example.com:8443/token", "https://idp.example.com:8443"),
        ("http://idp.example.com/token", "http://idp.example.com:80"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url, expected):
    assert origin(url) == expected


def test_an_app_with_another_path_at_the_same_origin_is_the_same_place():
    seen = observed(token=DUE, app=app(tokenURL="https://idp.example.com/v2/token"))
    assert isinstance(decide(seen, NOW), Refresh)


def test_a_lifetime_of_seconds_makes_no_storm_of_refreshes():
    record = token(age=0 * SECOND, lifetime=3 * SECOND).record
    assert refresh_at(record, 10, "uid-1") == record.issued_at + 2 * SECOND


@pytest.mark.parametrize(
    ("what", "seen", "reason"),
    [
        ("suspended", observed(credential=credential(suspend=True)), Reason.SUSPENDED),
        ("the app is gone", observed(app=None), Reason.APP_NOT_FOUND),
        ("the app is another one", observed(token=token(app=FORMER)), Reason.APP_NOT_FOUND),
        ("both", observed(app=None, credential=credential(suspend=True)), Reason.APP_NOT_FOUND),
    ],
)
def test_tokens_are_withdrawn_for_a_reason(what, seen, reason):
    assert decide(seen, NOW) == Withdraw(reason)


def test_the_clock_of_whoever_wrote_a_claim_does_not_matter_once_we_have_seen_it():
    for deadline in (-90, 30, 150):  # two minutes behind, right, two minutes ahead
        seen = observed(token=token(age=50 * MINUTE, claim=claim(deadline)), claim_seen_at=NOW - 29 * SECOND)
        assert decide(seen, NOW) == Wait(NOW + SECOND)
        assert isinstance(decide(replace(seen, claim_seen_at=NOW - 30 * SECOND), NOW), Refresh)
