"""A sign-in that the provider lets nobody prolong is announced seven days and one day before its end, wherever one may look."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from cube_oauth.portal.languages import LANGUAGES
from cube_oauth.portal.overview import card
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.usercredential import UserCredential
from tests.control_plane.harness import APPS, CREDENTIALS, condition, eventually

pytestmark = pytest.mark.control_plane
DAY = 86_400
AHEAD = 20
"""Seconds between what the provider says and the threshold, so that it is crossed while we look, and not before we do.

A slow answer counts twice: it comes late, and the end that it says is counted from when it was asked for.
"""


def on_the_page(installation):
    """The portal's line about the end, or None."""
    app = OAuthApp.model_validate(installation.kube.get(f"{APPS.format(installation.tenant)}/trino"))
    shown = card(app, UserCredential.model_validate(installation.look("alice")), datetime.now(UTC))
    return shown.warning and LANGUAGES["en"].plain(shown.warning)


def refresh(installation, revision):
    """Have the token renewed, as when the data source refuses it; what the status says right after it."""
    name = installation.look("alice")["metadata"]["name"]
    path = f"{CREDENTIALS.format(installation.tenant)}/{name}/status"
    installation.kube.patch(path, {"status": {"demand": {"rejectedRevision": revision}}})
    return installation.until("alice", "trino", lambda status: status["revision"] == revision + 1)


def ending(status):
    return condition({"status": status}, "SignInEnding")["reason"]


def metric(controller, within):
    lines = controller.page("/metrics")[1].splitlines()
    ours = [line for line in lines if line.startswith("cube_oauth_controller_sign_ins_ending{") and f'"{within}"' in line]
    return [float(line.split()[-1]) for line in ours]


def test_the_end_of_a_sign_in_is_announced_as_each_threshold_passes(installation, provider):
    provider.control.lifetimes(accessToken=DAY / 24, signIn=20 * DAY)
    installation.start()
    installation.app()
    installation.connect("alice")
    installation.controllers[-1].terminate()
    installation.age(timedelta(days=20), "signed_in_at")  # one that lasts no longer than a week is not announced a week before
    installation.age(timedelta(minutes=5), "issued_at")  # whether its end moves is told by answers that are not near each other
    controller = installation.start()
    status = refresh(installation, 1)
    left = datetime.fromisoformat(status["signInEndsAt"]).timestamp() - time.time()
    assert 19 * DAY < left <= 20 * DAY
    assert (ending(status), on_the_page(installation)) == ("", None)
    for revision, days, within in ((2, 7, "WithinAWeek"), (3, 1, "WithinADay")):
        provider.control.end_in(days * DAY + AHEAD)  # the provider's administrator shortens its sessions
        before = refresh(installation, revision)
        assert ending(before) != within
        after = installation.until("alice", "trino", lambda status, within=within: ending(status) == within)
        assert after["revision"] == before["revision"]  # it was time that did it
        assert after["signInEndsAt"] in condition({"status": after}, "SignInEnding")["message"]
        eventually(lambda within=within: f"SignInEnding{within}" in reasons(installation), say=installation.tell)
        assert metric(controller, within) == [1.0]
        assert on_the_page(installation).startswith("This connection ends")
    assert metric(controller, "WithinAWeek") == [0.0]
    assert reasons(installation).count("SignInEndingWithinAWeek") == 1


def reasons(installation):
    return [event["reason"] for event in installation.events() if event["regarding"]["kind"] == "UserCredential"]
