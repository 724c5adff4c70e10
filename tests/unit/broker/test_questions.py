"""What a resolver may ask."""

import base64
import json

import pytest

from cube_oauth.broker.questions import Question, Refusal, Rejection


def jwt(**claims):
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.signature"


def ask(username="alice", **caller):
    return Question.read({"caller": {"username": username, **caller}})


@pytest.mark.parametrize(
    "caller",
    [
        {},
        {"assertion": None},
        {"assertion": "no JWT at all"},
        {"assertion": "a.b.c"},
        {"assertion": jwt(sub="alice"), "issuer": None},
        {"assertion": jwt(sub="1", user={"names": ["x", "alice"]}, iss="https://idp"), "issuer": "https://idp"},
    ],
)
def test_a_caller_is_believed_when_nothing_contradicts(caller):
    assert ask(**caller) == Question("alice", None)


@pytest.mark.parametrize(
    "caller",
    [
        {"assertion": jwt(sub="bob")},
        {"assertion": jwt(sub="Alice")},
        {"assertion": jwt(alice="bob")},
        {"assertion": jwt(sub="alice", iss="https://other"), "issuer": "https://idp"},
        {"assertion": jwt(sub="alice"), "issuer": "https://idp"},
    ],
)
def test_an_assertion_about_somebody_else_is_a_mismatch(caller):
    with pytest.raises(Refusal) as refused:
        ask(**caller)
    assert (refused.value.status, refused.value.reason) == (403, "CallerMismatch")
    assert "bob" not in refused.value.message


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"caller": []},
        {"caller": {"username": 1}},
        {"caller": {"username": ""}},
        {"caller": {"username": "a b"}},
        {"caller": {"username": "e\u0301ve"}},
        {"caller": {"username": "alice", "issuer": 1}},
        {"caller": {"username": "alice", "assertion": {}}},
        {"caller": {"username": "alice"}, "apps": "trino"},
        {"caller": {"username": "alice"}, "apps": ["a"] * 65},
        {"caller": {"username": "alice"}, "apps": [1]},
        {"caller": {"username": "alice"}, "asOf": 7},
        {"caller": {"username": "alice"}, "asOf": {"tokens": "7"}},
    ],
)
def test_what_has_the_wrong_shape_is_refused(body):
    with pytest.raises(Refusal) as refused:
        Question.read(body)
    assert refused.value.status == 400


def test_apps_narrow_and_an_empty_list_does_not():
    assert Question.read({"caller": {"username": "a"}, "apps": ["x", "y"]}).apps == {"x", "y"}
    assert Question.read({"caller": {"username": "a"}, "apps": []}).apps is None


@pytest.mark.parametrize("body", [{}, {"dataSource": "a"}, {"dataSource": 1, "revision": 1}, {"dataSource": "a", "revision": "1"}])
def test_a_rejection_names_data_source_and_revision(body):
    with pytest.raises(Refusal):
        Rejection.read(body)


def test_whoever_is_not_named_may_be_asked_about():
    assert Question.read({"caller": None, "apps": ["x"]}) == Question(None, frozenset({"x"}))
