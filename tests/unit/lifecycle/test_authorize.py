"""Who may be connected by an authorization, and which client secret an app may use."""

import base64

import pytest
from pydantic import SecretStr

from cube_oauth.lifecycle.apps import client_secret
from cube_oauth.lifecycle.authorize import CONNECTED, SENTENCES, Identified, Refused, SubjectRule, identified, refused
from cube_oauth.resources.oauthapp import SecretKeyReference, SubjectSource, UsernameMatch
from cube_oauth.resources.secrets import Grant, Reference
from tests.unit.lifecycle.samples import MINUTE, NOW, TOKEN_URL, app, credential

CLIENT = SecretKeyReference(name="client")


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
        ("the portal's clock is two minutes ahead", grant(issued_at=NOW + 2 * MINUTE), app(), None),
        ("or two minutes behind", grant(issued_at=NOW - 3 * MINUTE), app(), None),
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


ID_TOKEN, NONE = SubjectSource.ID_TOKEN, SubjectSource.NONE
EXACT, IGNORE_CASE, LOCAL_PART, LOCAL_PART_IGNORE_CASE = UsernameMatch
ANY = ("preferred_username", "email", "sub")
DIFFERS, MISSING = Identified(None, Refused.SUBJECT_DIFFERS), Identified(None, Refused.SUBJECT_MISSING)
UNKNOWN = Identified(word="SubjectUnknown")


def rule(claims=ANY, matches=(EXACT,), source=ID_TOKEN, **more):
    return SubjectRule(source, claims, matches, **more)


@pytest.mark.parametrize(
    ("what", "asked", "said", "expected"),
    [
        ("nothing is asked", rule(source=NONE), {"sub": "bob"}, Identified()),
        ("the same person", rule(), {"sub": "alice"}, Identified("alice")),
        ("any of the claims may be the name", rule(), {"preferred_username": "a.l", "sub": "alice"}, Identified("alice")),
        ("only the claim that is named counts", rule(("email",)), {"email": "a@example.com", "sub": "alice"}, DIFFERS),
        ("another person", rule(), {"sub": "bob"}, DIFFERS),
        ("another spelling is another person", rule(), {"sub": "Alice"}, DIFFERS),
        (
            "an email that nobody verified is nobody's name",
            rule(),
            {"email": "alice", "email_verified": False, "sub": "7"},
            DIFFERS,
        ),
        ("the same as text", rule(), {"email": "alice", "email_verified": "false"}, MISSING),
        ("an email counts when nothing is said about it", rule(), {"email": "alice"}, Identified("alice")),
        ("a name that is no text is none", rule(), {"sub": ["alice"], "email": ""}, MISSING),
        ("nobody is named where somebody should be", rule(), {}, MISSING),
        ("a silent provider is accepted, and that is said", rule(), None, UNKNOWN),
        ("a silent provider is refused where the app expects it to speak", rule(stated=True), None, MISSING),
        ("any person will do", rule(must_match=False), {"sub": "bob"}, Identified("bob")),
        (
            "any person will do, but the same is named first",
            rule(must_match=False),
            {"email": "x", "sub": "alice"},
            Identified("alice"),
        ),
        ("nobody at all will do as well", rule(must_match=False, stated=True), None, UNKNOWN),
    ],
)
def test_who_authorized(what, asked, said, expected):
    assert identified(asked, "alice", said) == expected


@pytest.mark.parametrize(
    ("match", "name", "username", "same"),
    [
        (EXACT, "alice@example.com", "alice@example.com", True),
        (EXACT, "ALICE@EXAMPLE.COM", "alice@example.com", False),
        (IGNORE_CASE, "ALICE@EXAMPLE.COM", "alice@example.com", True),
        (IGNORE_CASE, "ALICE", "alice@example.com", False),
        (IGNORE_CASE, "\u212aim", "kim", False),  # the Kelvin sign is no k
        (IGNORE_CASE, "stra\u00dfe", "STRASSE", False),
        (LOCAL_PART, "alice", "alice@example.com", True),
        (LOCAL_PART, "alice", "alice", True),
        (LOCAL_PART, "ALICE", "alice@example.com", False),
        (LOCAL_PART, "alice@example.com", "alice@example.com", False),
        (LOCAL_PART, "al", "alice@example.com", False),
        (LOCAL_PART_IGNORE_CASE, "ALICE", "alice@example.com", True),
        (LOCAL_PART_IGNORE_CASE, "BOB", "alice@example.com", False),
        (LOCAL_PART_IGNORE_CASE, "alice@other.example.com", "alice@example.com", False),
    ],
)
def test_a_name_is_the_username_when(match, name, username, same):
    expected = Identified(name) if same else DIFFERS
    assert identified(rule(("sub",), (match,)), username, {"sub": name}) == expected


def test_of_several_ways_to_compare_one_suffices():
    snowflakes = rule(("username",), (IGNORE_CASE, LOCAL_PART_IGNORE_CASE))
    for name in ("ALICE", "ALICE@EXAMPLE.COM"):
        assert identified(snowflakes, "alice@example.com", {"username": name}) == Identified(name)


def test_what_went_well_is_said_in_a_sentence():
    assert set(CONNECTED) == {Identified().word, UNKNOWN.word}


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
    assert client_secret("trino", CLIENT, found).reason == expected


def test_a_client_secret_that_consents_is_used_without_the_line_break_of_an_editor():
    assert client_secret("trino", CLIENT, secret(clientSecret="s3cret\n")) == SecretStr("s3cret")
