from datetime import UTC, datetime

import pytest

from cube_oauth.portal.languages import LANGUAGES
from cube_oauth.portal.overview import Ready, card, version
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.usercredential import State, UserCredential

from .conftest import NOW, app_of, credential_of

ENGLISH = LANGUAGES["en"]
LATER, MUCH_LATER = "2026-11-23T13:00:00Z", "2027-02-03T13:00:00Z"
EARLIER, LONG_AGO = "2026-11-22T11:00:00Z", "2026-02-03T13:00:00Z"
FAILED = {"type": "Authorized", "status": "False", "reason": "InvalidGrant"}
WAITS = {"type": "Authorized", "status": "Unknown", "reason": "Unreachable"}


def shown(status=None, spec=None, app=None):
    credential = None if status is None else UserCredential.model_validate(credential_of(spec=spec, status=status))
    found = card(OAuthApp.model_validate(app or app_of()), credential, NOW)
    return found, ". ".join(ENGLISH.plain(text) for text in (found.words.sentence, found.words.hint))


def active(reason):
    return {"type": "Active", "status": "False", "reason": reason, "message": "m"}


CASES = {
    "nobody has connected": (None, "Pending", "Not connected", ("Authorize",)),
    "a resource without a status": ({}, "Pending", "Not connected", ("Authorize",)),
    "renewed without an end": (
        {"state": "Active", "expiresAt": LATER, "refreshAt": LATER, "subject": "alice@idp"},
        "Active",
        "Connected as alice@idp. Renewed by itself",
        ("Reconnect", "Disconnect"),
    ),
    "renewed until the refresh token ends": (
        {"state": "Active", "expiresAt": LATER, "refreshAt": LATER, "signInEndsAt": MUCH_LATER},
        "Active",
        "Connected as alice, until 3 Feb. Renewed by itself; then you reconnect.",
        ("Reconnect", "Disconnect"),
    ),
    "not renewed": (
        {"state": "Active", "expiresAt": LATER},
        "Active",
        "Connected as alice, until today, 13:00 UTC. It cannot be renewed",
        ("Reconnect", "Disconnect"),
    ),
    "active, but over by now": (
        {"state": "Active", "expiresAt": EARLIER},
        "Expired",
        "Expired yesterday, 11:00 UTC: reconnect",
        ("Reconnect", "Disconnect"),
    ),
    "expired long ago": (
        {"state": "Expired", "expiresAt": LONG_AGO},
        "Expired",
        "Expired 3 Feb 2026: reconnect",
        ("Reconnect", "Disconnect"),
    ),
    "revoked at the provider": ({"state": "Revoked"}, "Revoked", "Ended: reconnect", ("Reconnect", "Disconnect")),
    "nobody used it for a while": (
        {"state": "Expired", "expiresAt": EARLIER, "conditions": [active("Idle")]},
        "Expired",
        "Connected, not in use. It is renewed with the next question",
        ("Reconnect", "Disconnect"),
    ),
    "the provider is away": (
        {"state": "Expired", "expiresAt": EARLIER, "conditions": [active("RefreshDelayed")]},
        "Expired",
        "Being renewed. The provider does not renew it just now.",
        ("Reconnect", "Disconnect"),
    ),
    "a suspension is over": (
        {"state": "Revoked", "conditions": [active("SuspensionEnded")]},
        "Revoked",
        "Ended: reconnect. It was withdrawn on our side",
        ("Reconnect", "Disconnect"),
    ),
    "the provider is away while somebody connects": (
        {"conditions": [{**WAITS, "lastTransitionTime": "2026-11-23T11:51:00Z"}]},
        "Pending",
        "Being connected. You have authorized it, but the connection is not made yet. The provider cannot be reached.",
        ("Authorize",),
    ),
    "the provider is away while somebody connects again": (
        {"state": "Expired", "expiresAt": EARLIER, "conditions": [{**WAITS, "lastTransitionTime": "2026-11-23T11:59:00Z"}]},
        "Expired",
        "Being connected. ",
        ("Reconnect", "Disconnect"),
    ),
    "nothing came of an authorization, and nobody said so": (
        {"conditions": [{**WAITS, "lastTransitionTime": "2026-11-23T11:50:00Z"}]},
        "Pending",
        "Not connected. You are asked",
        ("Authorize",),
    ),
    "the last attempt failed": (
        {"state": "Pending", "conditions": [FAILED]},
        "Pending",
        "Not connected. The last attempt did not succeed. The provider did not accept the authorization code. Connect again.",
        ("Authorize",),
    ),
    "expired, and the last attempt failed": (
        {"state": "Expired", "conditions": [FAILED]},
        "Expired",
        "The provider did not accept the authorization code. Connect again.",
        ("Reconnect", "Disconnect"),
    ),
}


def buttons(found):
    authorize = ("Reconnect" if found.reconnect else "Authorize",) if found.authorize else ()
    return (*authorize, *(("Disconnect",) if found.disconnect else ()))


@pytest.mark.parametrize(("status", "state", "words", "wanted"), CASES.values(), ids=CASES)
def test_the_state_in_words(status, state, words, wanted):
    found, text = shown(status)
    assert found.state is State(state)
    assert words in text
    assert buttons(found) == wanted


def test_a_suspended_connection_has_no_button():
    found, text = shown({"state": "Revoked"}, spec={"suspend": True})
    assert "suspended" in text
    assert buttons(found) == ()


NOT_READY = {
    "the controller said why": (app_of(ready="False", reason="InvalidClient"), "does not accept the client's ID, secret"),
    "the controller has not looked yet": (app_of(status={"observedGeneration": None}), "Being set up"),
    "the spec changed since": (app_of(generation=2), "Being set up"),
    "no condition": (app_of(status={"conditions": []}), "Being set up"),
    "no endpoint": (app_of(status={"authorizationURL": None}), "Being set up"),
}


@pytest.mark.parametrize(("app", "words"), NOT_READY.values(), ids=NOT_READY)
def test_an_app_that_is_not_ready_has_no_button_to_authorize(app, words):
    found, text = shown(None, app=app)
    assert words in text
    assert buttons(found) == ()
    assert found.ready is (Ready.SOON if words == "Being set up" else Ready.NO)


def test_who_is_connected_can_disconnect_from_an_app_that_is_not_ready():
    found, text = shown({"state": "Active", "expiresAt": LATER}, app=app_of(ready="False"))
    assert "Connected as alice" in text
    assert buttons(found) == ("Disconnect",)


def test_times_are_for_machines_too():
    assert datetime(2026, 11, 23, 12, 0, tzinfo=UTC) == NOW
    found, _ = shown({"state": "Active", "expiresAt": LATER})
    assert f'<time datetime="{LATER}">' in ENGLISH.render(found.words.sentence)


# ---- what else is known

SOON, NOT_SOON = "2026-11-29T13:00:00Z", "2026-12-01T13:00:00Z"
RENEWED = {"state": "Active", "expiresAt": LATER, "refreshAt": LATER}


def words(texts):
    return [text if isinstance(text, str) else ENGLISH.plain(text) for text in texts]


def test_a_connection_that_ends_soon_is_warned_of_and_reconnecting_is_what_one_came_for():
    found, _ = shown({**RENEWED, "signInEndsAt": SOON})
    assert ENGLISH.plain(found.warning) == "This connection ends 29 Nov. Reconnect now, and nothing is interrupted."
    assert found.urgent


@pytest.mark.parametrize(
    "status",
    [
        {**RENEWED, "signInEndsAt": NOT_SOON},
        RENEWED,
        {"state": "Active", "expiresAt": LATER},
        {"state": "Expired", "signInEndsAt": SOON},
    ],
    ids=["not soon", "never", "not renewed at all", "ended already"],
)
def test_nothing_else_is_warned_of(status):
    found, _ = shown(status)
    assert found.warning is None


def test_when_it_was_renewed_and_used():
    status = {**RENEWED, "lastRefreshedAt": "2026-11-23T11:00:00Z", "demand": {"lastUsedAt": "2026-11-20T11:00:00Z"}}
    assert words(shown(status)[0].facts) == ["Renewed today, 11:00 UTC", "Last used 20 Nov"]
    assert words(shown(RENEWED)[0].facts) == ["Not used yet"]
    assert shown(None)[0].facts == ()


def test_what_it_may_do_is_what_was_granted():
    assert words(shown({**RENEWED, "scopes": ["openid", "sql"]})[0].scopes) == ["Know who you are there", "sql"]
    assert words(shown(RENEWED)[0].scopes) == ["Know who you are there", "query"]
    assert shown({"state": "Expired"})[0].scopes == ()


def test_a_preset_s_own_words_come_first():
    databricks = app_of(spec={"provider": {"name": "databricks"}})
    assert words(shown({**RENEWED, "scopes": ["sql"]}, app=databricks)[0].scopes) == ["Run SQL in Databricks as you"]


def test_the_version_stays_while_nothing_that_is_shown_changes():
    def now(app, **status):
        credential = UserCredential.model_validate(credential_of(status=status))
        return version([card(OAuthApp.model_validate(app), credential, NOW)])

    one = now(app_of(), state="Active")
    assert now(app_of(status={"credentials": {"active": 7}}), state="Active") == one
    assert now(app_of(generation=2), state="Active") != one
    assert now(app_of(ready="False"), state="Active") != one
    assert now(app_of(), state="Expired") != one
    assert now(app_of(), state="Active", expiresAt=EARLIER) != one
