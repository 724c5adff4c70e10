"""Which credentials a pod gets, and why: one line a case."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from cube_oauth.broker.answer import Found, behind, counting, decide, entries, may_resolve, oldest_first
from cube_oauth.resources.keyring import Keyring, binding
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.secrets import Reference, TokenRecord, TokenSecret
from cube_oauth.resources.usercredential import UserCredential, UserCredentialStatus

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RING, NEWER = Keyring.generate(), Keyring.generate()


def app(name="trino", *, ready=True, created="2026-01-01T00:00:00Z", deleted=None, namespace="team", **spec):
    condition = {"type": "Ready", "status": "True" if ready else "False", "reason": "x"}
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{name}",
        "creationTimestamp": created,
        "deletionTimestamp": deleted,
    }
    spec = {"issuerURL": "https://idp.example.com", "clientID": "cube", **spec}
    return OAuthApp.model_validate({"metadata": metadata, "spec": spec, "status": {"conditions": [condition]}})


def credential(username="alice", *, uid="uid-1", created="2026-01-01T00:00:00Z", deleted=None, suspend=False, app="trino"):
    metadata = {"name": f"{app}-{uid}", "namespace": "team", "uid": uid, "creationTimestamp": created, "deletionTimestamp": deleted}
    return UserCredential.model_validate(
        {"metadata": metadata, "spec": {"username": username, "oauthAppRef": {"name": app}, "suspend": suspend}}
    )


def token(*, owner=None, ring=RING, **changes):
    record = TokenRecord(
        **{
            "credential": Reference(namespace="team", name="trino-uid-1", uid="uid-1"),
            "app": Reference(namespace="team", name="trino", uid="uid-trino"),
            "username": "alice",
            "token_url": "https://idp.example.com/token",
            "client_id": "cube",
            "grant": "g",
            "revision": 3,
            "issued_at": NOW - timedelta(hours=1),
            "expires_at": NOW + timedelta(hours=1),
            **changes,
        }
    )
    return TokenSecret(record, None, ring.seal(SecretStr("the-token"), owner or record.owner), "refresh")


def found(**changes):
    return replace(Found(app(), "trino", "https://portal/connect/team/trino", credential(), token()), **changes)


def test_an_active_token_is_given_away_with_what_the_hook_needs():
    assert decide(found(token=token(subject="alice@warehouse")), RING, NOW).to_json() == {
        "status": "active",
        "reason": "Active",
        "accessToken": "the-token",
        "expiresAt": "2026-11-23T13:00:00Z",
        "subject": "alice@warehouse",
        "revision": 3,
        "grant": "g",
        "authorizeURL": "https://portal/connect/team/trino",
        "fallback": "ServiceAccount",
    }


OTHER = Reference(namespace="team", name="x", uid="uid-2")
FORMER = Reference(namespace="team", name="trino", uid="uid-of-the-former")
CASES = {
    "no credential": (found(credential=None, token=None), "missing", "NotConnected"),
    "no credential and the app is not ready": (found(app=app(ready=False), credential=None, token=None), "missing", "AppNotReady"),
    "not authorized yet": (found(token=None), "missing", "NotConnected"),
    "not authorized yet and the app is not ready": (found(app=app(ready=False), token=None), "missing", "AppNotReady"),
    "suspended": (found(credential=credential(suspend=True)), "revoked", "Suspended"),
    "ended this second": (found(token=token(expires_at=NOW)), "expired", "Expired"),
    "revoked at the provider": (found(token=token(expires_at=NOW, ended="Revoked")), "revoked", "Revoked"),
    "refused by the provider in its own words": (found(token=token(expires_at=NOW, ended="InvalidGrant")), "expired", "Expired"),
    "the client changed": (found(token=token(expires_at=NOW, client_id="old")), "expired", "Expired"),
    "the token of another credential": (found(token=token(credential=OTHER)), "missing", "NotConnected"),
    "the token of a former app of this name": (found(token=token(app=FORMER)), "missing", "NotConnected"),
    "the token of another app": (found(token=token(app=OTHER)), "missing", "NotConnected"),
    "the token of another namespace's app": (found(app=app(namespace="other")), "missing", "NotConnected"),
    "the token of another person": (found(token=token(username="bob")), "missing", "NotConnected"),
    "sealed for somebody else": (
        found(token=token(owner=binding("team", "trino", "uid-2", "bob"))),
        "missing",
        "UndecipherableToken",
    ),
    "sealed with another ring": (found(token=token(ring=Keyring.generate())), "missing", "UndecipherableToken"),
    "the access token was dropped": (found(token=replace(token(), access_token=None)), "expired", "Expired"),
}


@pytest.mark.parametrize(("case", "status", "reason"), CASES.values(), ids=CASES)
def test_no_token_is_given_away_when(case, status, reason):
    answer = decide(case, RING, NOW).to_json()
    assert (answer["status"], answer["reason"]) == (status, reason)
    assert not {"accessToken", "expiresAt", "subject", "revision", "grant"} & set(answer)
    assert answer["authorizeURL"]


def test_a_token_stays_active_while_the_app_cannot_be_used():
    assert decide(found(app=app(ready=False)), RING, NOW).status == "active"


def test_a_token_never_shows_in_a_representation():
    assert "the-token" not in repr(decide(found(), RING, NOW))


@pytest.mark.parametrize(("accounts", "caller", "may"), [([], "any", True), (["cube"], "cube", True), (["cube"], "other", False)])
def test_an_app_may_be_kept_to_service_accounts(accounts, caller, may):
    assert may_resolve(app(resolvers={"serviceAccounts": accounts}), caller) is may


def test_an_app_that_is_being_deleted_is_gone():
    assert not may_resolve(app(deleted="2026-11-23T12:00:00Z"), "any")


def test_of_two_apps_with_one_data_source_the_older_counts():
    new, old = app("a", created="2026-02-01T00:00:00Z"), app("b")
    both = [found(app=one, data_source="trino", credential=None) for one in oldest_first([new, old])]
    assert entries(both, RING, NOW)["trino"].found.app is old


def test_of_two_credentials_the_oldest_counts_and_one_being_deleted_does_not():
    deleted = credential(uid="0", deleted="2026-11-23T12:00:00Z")
    old, new = credential(uid="2"), credential(uid="1", created="2026-02-01T00:00:00Z")
    assert counting([new, deleted, old]) is old
    assert counting([deleted]) is None


TOKEN_URL = "https://idp.example.com/token"
SPARING = app(refresh={"onlyWhileUsedSeconds": 600}, tokenURL=TOKEN_URL)
LAPSED = replace(token(issued_at=NOW - timedelta(hours=3), expires_at=NOW - timedelta(hours=2)), access_token=None)


def asked_for(ago):
    used = {"demand": {"lastUsedAt": NOW - ago}}
    return credential().model_copy(update={"status": UserCredentialStatus.model_validate(used)})


@pytest.mark.parametrize(
    ("what", "case", "reason", "awaited"),
    [
        ("nobody has used it", found(app=SPARING, token=LAPSED), "Idle", True),
        (
            "another query has just woken it",
            found(app=SPARING, token=LAPSED, credential=asked_for(timedelta(seconds=1))),
            "Expired",
            True,
        ),
        (
            "it was woken, and did not come",
            found(app=SPARING, token=LAPSED, credential=asked_for(timedelta(minutes=1))),
            "Expired",
            False,
        ),
        ("the app refreshes always", found(app=app(tokenURL=TOKEN_URL), token=LAPSED), "Expired", False),
        ("the sign-in is over", found(app=SPARING, token=replace(LAPSED, refresh_token=None)), "Expired", False),
        ("it is suspended", found(app=SPARING, token=LAPSED, credential=credential(suspend=True)), "Suspended", False),
        ("there is a token", found(app=SPARING), "Active", False),
    ],
)
def test_a_query_waits_for_a_token_that_was_let_lapse(what, case, reason, awaited):
    entry = decide(case, RING, NOW)
    assert (entry.reason, entry.awaited) == (reason, awaited)


def seen_by_the_controller(state):
    return credential().model_copy(update={"status": UserCredentialStatus(state=state)})


BEHIND = {
    "a key that has not come here yet": (found(credential=seen_by_the_controller("Active"), token=token(ring=NEWER)), True),
    "a key that the controller does not have either": (
        found(credential=seen_by_the_controller("Pending"), token=token(ring=NEWER)),
        False,
    ),
    "a token of somebody else": (
        found(credential=seen_by_the_controller("Active"), token=token(owner=binding("team", "trino", "uid-2", "bob"))),
        False,
    ),
    "a key that is there": (found(credential=seen_by_the_controller("Active")), False),
}


@pytest.mark.parametrize(("case", "expected"), BEHIND.values(), ids=BEHIND)
def test_a_replica_knows_whether_it_is_behind_the_controller_for(case, expected):
    assert behind([decide(case, RING, NOW)], RING) is expected
