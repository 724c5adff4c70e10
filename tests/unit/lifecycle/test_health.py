"""What GitOps tools make of a credential in each of its states: nobody who deploys has to wait for a person."""

import pytest

from cube_oauth.lifecycle.publish import status
from cube_oauth.lifecycle.reasons import Reason
from tests.parts.health import argo, kstatus
from tests.unit.lifecycle.samples import MINUTE, NOW, credential, observed, token

OVER = token(age=61 * MINUTE)
AS_THEY_SHOULD_BE = {
    "not connected": (observed(token=None), "Pending", Reason.NOT_CONNECTED),
    "its app is not ready": (observed(token=None, app_ready=False), "Pending", Reason.APP_NOT_READY),
    "connected": (observed(), "Active", Reason.ACTIVE),
    "the last access token": (observed(token=token(ended="Revoked")), "Active", Reason.ACTIVE),
    "delayed": (observed(token=OVER), "Expired", Reason.REFRESH_DELAYED),
    "ended": (observed(token=token(access=None, ended="Expired")), "Expired", Reason.EXPIRED),
    "revoked": (observed(token=token(access=None, ended="Revoked")), "Revoked", Reason.REVOKED),
    "suspended": (observed(credential=credential(suspend=True)), "Revoked", Reason.SUSPENDED),
    "lost keys": (observed(decipherable=False), "Pending", Reason.UNDECIPHERABLE),
}
WRONG = {
    "no app": (observed(app=None), Reason.APP_NOT_FOUND),
    "a duplicate": (observed(duplicate=True), Reason.DUPLICATE),
    "a username that cannot be": (observed(credential=credential("a b")), Reason.INVALID_USERNAME),
}


def published(seen, **changes):
    found = status(seen, "https://portal.example.com/connect/team/trino", NOW).model_copy(update=changes)
    return {
        "kind": "UserCredential",
        "metadata": {"generation": seen.credential.metadata.generation},
        "status": found.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


@pytest.mark.parametrize(("seen", "state", "reason"), AS_THEY_SHOULD_BE.values(), ids=AS_THEY_SHOULD_BE)
def test_a_credential_is_healthy_in_each_of_its_states_and_says_so(seen, state, reason):
    found = published(seen)
    active = next(one for one in found["status"]["conditions"] if one["type"] == "Active")
    assert active["reason"] == reason
    assert argo(found) == ("Healthy", f"{state}: {active['message']}")
    assert kstatus(found) == "Current"


@pytest.mark.parametrize(("seen", "reason"), WRONG.values(), ids=WRONG)
def test_a_resource_that_is_wrong_is_not(seen, reason):
    found = published(seen)
    ready = next(one for one in found["status"]["conditions"] if one["type"] == "Ready")
    assert ready["reason"] == reason
    assert argo(found) == ("Degraded", ready["message"])
    assert kstatus(found) == "InProgress"


def test_what_the_controller_has_not_seen_yet_is_in_progress():
    for found in (published(observed(), observed_generation=2), {"kind": "UserCredential", "metadata": {"generation": 1}}):
        assert argo(found)[0] == "Progressing"
