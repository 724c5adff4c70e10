"""Who may be connected by an authorization, and which client secret an app may use."""

import base64

import pytest
from pydantic import SecretStr

from cube_oauth.lifecycle.apps import client_secret
from cube_oauth.lifecycle.authorize import SENTENCES, Refused, refused, subject_refused
from cube_oauth.resources.secrets import Grant, Reference
from tests.unit.lifecycle.samples import MINUTE, NOW, TOKEN_URL, app, credential

WITH_SECRET = {"clientSecretRef": {"name": "client", "key": "clientSecret"}}


def grant(**changes):
    return Grant(
        **{
            "credential": Reference(namespace="team", name="trino-alice", uid="uid-1"),
            "app": Reference(namespace="team", name="trino", uid="uid-app"),
            "username": "alice",
            "groups": ("analysts",),
            "code": "code",
            "redirect_uri": "https://portal.example.com/callback/team/trino",
            "token_url": TOKEN_URL,
            "client_id": "cube",
            "issued_at": NOW - MINUTE,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("what", "given", "to", "expected"),
    [
        ("everybody may when nobody is named", grant(), app(), None),
        ("a named person may", grant(), app(access={"users": ["alice"]}), None),
        ("a member of a named group may", grant(), app(access={"groups": ["analysts"]}), None),
        ("nobody else may", grant(), app(access={"users": ["bob"], "groups": ["admins"]}), Refused.NOT_PERMITTED),
        ("usernames are compared byte for byte", grant(), app(access={"users": ["Alice"]}), Refused.NOT_PERMITTED),
        ("after ten minutes it is too late", grant(issued_at=NOW - 11 * MINUTE), app(), Refused.TOO_LATE),
        ("the app is gone", grant(), None, Refused.APP_NOT_FOUND),
        (
            "an app of the same name is another app",
            grant(app=Reference(namespace="team", name="trino", uid="another")),
            app(),
            Refused.APP_NOT_FOUND,
        ),
        ("a grant for another person", grant(username="bob"), app(), Refused.ANOTHER_PERSON),
        ("the client changed meanwhile", grant(client_id="former"), app(), Refused.APP_CHANGED),
        ("the endpoint changed meanwhile", grant(token_url="https://former.example.com/token"), app(), Refused.APP_CHANGED),
    ],
)
def test_refused(what, given, to, expected):
    assert refused(given, credential(), to, NOW) == expected


def test_a_duplicate_is_refused():
    assert refused(grant(), credential(), app(), NOW, duplicate=True) is Refused.DUPLICATE


@pytest.mark.parametrize(
    ("what", "rule", "subject", "expected"),
    [
        ("nothing is asked", {"source": "None"}, None, None),
        ("the same person", {"source": "IDToken"}, "alice", None),
        ("another person", {"source": "IDToken"}, "bob", Refused.SUBJECT_DIFFERS),
        ("another spelling is another person", {"source": "IDToken"}, "Alice", Refused.SUBJECT_DIFFERS),
        ("nobody is named", {"source": "AccessToken"}, None, Refused.SUBJECT_MISSING),
        ("any person will do", {"source": "IDToken", "mustMatchUsername": False}, "bob", None),
    ],
)
def test_subject(what, rule, subject, expected):
    assert subject_refused(app(subject=rule), "alice", subject) == expected


@pytest.mark.parametrize("reason", Refused)
def test_every_refusal_has_a_sentence_that_says_what_to_do(reason):
    assert SENTENCES[reason].count(".") >= 2


def secret(labels=None, **data):
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"labels": {"cubeoauth.dev/oauth-client": "trino"} if labels is None else labels}, "data": encoded}


@pytest.mark.parametrize(
    ("what", "found", "expected"),
    [
        ("there is none", None, "ClientSecretNotFound"),
        ("it does not consent", secret({}, clientSecret="s"), "ClientSecretNotConsented"),
        ("it consents to another", secret({"cubeoauth.dev/oauth-client": "x"}, clientSecret="s"), "ClientSecretNotConsented"),
        ("it has another key", secret(password="s"), "ClientSecretKeyMissing"),
        ("it is empty", secret(clientSecret=""), "ClientSecretKeyMissing"),
    ],
)
def test_a_client_secret_is_not_used_when(what, found, expected):
    assert client_secret(app(**WITH_SECRET), found).reason == expected


def test_a_client_secret_that_consents_is_used_without_the_line_break_of_an_editor():
    assert client_secret(app(**WITH_SECRET), secret(clientSecret="s3cret\n")) == SecretStr("s3cret")
