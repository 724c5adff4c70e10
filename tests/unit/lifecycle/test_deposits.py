import base64
from datetime import UTC, datetime, timedelta

import pytest

from cube_oauth.lifecycle.apps import Problem
from cube_oauth.lifecycle.deposits import LONGEST_AGE, TRIED, placed, recent, trial, wanted
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.secrets import ClientDeposit, Reference

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DEPOSIT = ClientDeposit(
    app=Reference(namespace="analytics", name="trino", uid="uid"),
    secret_name="trino-client",
    key="clientSecret",
    value="canary",
    issued_at=NOW,
)
OURS = {"app.kubernetes.io/managed-by": "cube-oauth-operator", "cubeoauth.dev/oauth-client": "trino"}


def app(uid="uid", reference=None):
    spec = {"clientID": "x", "clientSecretRef": reference if reference is not None else {"name": "trino-client"}}
    return OAuthApp.model_validate({"metadata": {"name": "trino", "namespace": "analytics", "uid": uid}, "spec": spec})


def existing(labels):
    return {"metadata": {"name": "trino-client", "resourceVersion": "7", "labels": labels}}


def test_a_secret_is_for_the_very_app_it_was_typed_for():
    assert recent(DEPOSIT, app(), NOW)
    assert not recent(DEPOSIT, app("made anew"), NOW)
    assert not recent(DEPOSIT, None, NOW)
    assert wanted(DEPOSIT, app())
    assert not wanted(DEPOSIT, app(reference={"name": "another"}))
    assert not wanted(DEPOSIT, app(reference={"name": "trino-client", "key": "another"}))


def test_a_secret_that_was_long_on_its_way_is_not_used():
    assert recent(DEPOSIT, app(), NOW + LONGEST_AGE)
    assert not recent(DEPOSIT, app(), NOW + LONGEST_AGE + timedelta(seconds=1))


def test_who_only_wants_a_trial_has_no_secret_put_anywhere():
    assert not wanted(DEPOSIT.model_copy(update={"value": None}), app())


@pytest.mark.parametrize(("problem", "status"), [(None, "True"), (Problem("InvalidClient", "The secret is wrong."), "False")])
def test_a_trial_is_told_with_its_time(problem, status):
    said = trial(app(), problem, NOW)
    assert (said.type, said.status, said.last_transition_time) == (TRIED, status, NOW)


def test_it_consents_and_goes_with_its_app():
    body = placed(DEPOSIT, None)
    assert body["metadata"]["labels"] == OURS
    assert body["metadata"]["ownerReferences"][0]["uid"] == "uid"
    assert base64.b64decode(body["data"]["clientSecret"]) == b"canary"


def test_one_that_was_made_here_is_replaced_in_the_version_that_was_read():
    assert placed(DEPOSIT, existing(OURS))["metadata"]["resourceVersion"] == "7"


@pytest.mark.parametrize(
    "labels", [None, {}, {"cubeoauth.dev/oauth-client": "trino"}, {**OURS, "cubeoauth.dev/oauth-client": "lake"}]
)
def test_somebody_else_s_is_left_alone(labels):
    answer = placed(DEPOSIT, existing(labels))
    assert isinstance(answer, Problem)
    assert "canary" not in answer.message
