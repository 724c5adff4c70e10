import base64
import hashlib
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from multidict import MultiDict
from pydantic import SecretStr

from cube_oauth.providers import CallbackError, Endpoints, authorization_url, new_verifier, read_callback
from cube_oauth.providers.authorization import BY_ERROR, REFUSALS

ISSUER = "https://idp.example.com"
ENDPOINTS = Endpoints("https://idp.example.com/authorize", "https://idp.example.com/token", scopes=("openid", "sql"))
HERE = "https://portal.example.com/callback/ns/app"


def sent(endpoints=ENDPOINTS, **more):
    """The parameters of an authorization request; each must stand there once."""
    url = authorization_url(endpoints, "the client", **{"redirect_uri": HERE, "state": "s", **more})
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}


def test_the_request_says_what_the_rfc_wants():
    assert sent() == {
        "response_type": "code",
        "client_id": "the client",
        "redirect_uri": HERE,
        "scope": "openid sql",
        "state": "s",
    }


def test_pkce_sends_the_hash_of_the_verifier():
    verifier = new_verifier()
    expected = base64.urlsafe_b64encode(hashlib.sha256(verifier.get_secret_value().encode()).digest()).decode().rstrip("=")
    parameters = sent(code_verifier=verifier)
    assert (parameters["code_challenge"], parameters["code_challenge_method"]) == (expected, "S256")


def test_a_nonce_is_sent_when_there_is_one():
    assert sent(nonce="n")["nonce"] == "n"


def test_without_scopes_none_are_asked_for():
    assert "scope" not in sent(Endpoints("https://h.example/a", "https://h.example/t"))


def test_scopes_may_be_separated_by_commas():
    assert sent(Endpoints("https://h.example/a", "https://h.example/t", scopes=("a", "b"), scope_separator=","))["scope"] == "a,b"


def test_parameters_of_the_provider_are_sent_and_the_callers_win():
    endpoints = Endpoints("https://h.example/a", "https://h.example/t", authorization_parameters={"prompt": "consent", "hd": "x"})
    parameters = sent(endpoints, extra={"prompt": "none"})
    assert (parameters["prompt"], parameters["hd"]) == ("none", "x")


def test_nothing_replaces_what_the_protocol_sets():
    wrong = {"state": "x", "response_type": "token", "redirect_uri": "https://evil.example", "code_challenge_method": "plain"}
    endpoints = Endpoints("https://h.example/a", "https://h.example/t", authorization_parameters={**wrong, "scope": "all"})
    parameters = sent(endpoints, extra=wrong, code_verifier=new_verifier())
    assert parameters["state"] == "s"
    assert (parameters["response_type"], parameters["redirect_uri"]) == ("code", HERE)
    assert parameters["code_challenge_method"] == "S256"
    assert "scope" not in parameters


def test_a_query_in_the_endpoint_is_kept():
    assert sent(Endpoints("https://h.example/a?tenant=1", "https://h.example/t"))["tenant"] == "1"


def test_verifiers_are_long_permitted_and_different():
    first, second = new_verifier(), new_verifier()
    assert first != second
    assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", first.get_secret_value())
    assert first.get_secret_value() not in repr(first)


def test_the_code_is_read():
    code = read_callback({"code": "the-code", "state": "s", "session_state": "x"}, "s", None)
    assert code.get_secret_value() == "the-code"
    assert "the-code" not in repr(code)


@pytest.mark.parametrize("required", [True, False])
def test_the_right_issuer_is_welcome(required):
    assert read_callback({"code": "c", "state": "s", "iss": ISSUER}, "s", ISSUER, iss_required=required)


def test_an_issuer_that_nobody_expects_is_ignored():
    assert read_callback({"code": "c", "state": "s", "iss": ISSUER}, "s", None)


HOSTILE = "<script>alert(1)</script> call +1 555 0100"
REFUSED = {
    "another state": ({"code": "c", "state": "other"}, "StateDiffers"),
    "no state": ({"code": "c"}, "StateDiffers"),
    "a state that is not ASCII": ({"code": "c", "state": "\u00e9\udcff"}, "StateDiffers"),
    "an error with another state": ({"error": "access_denied", "state": "other"}, "StateDiffers"),
    "two states": (MultiDict([("state", "s"), ("state", "t"), ("code", "c")]), "RepeatedParameter"),
    "two codes": (MultiDict([("state", "s"), ("code", "c"), ("code", "d")]), "RepeatedParameter"),
    "another issuer": ({"code": "c", "state": "s", "iss": "https://evil.example"}, "IssuerDiffers"),
    "another issuer's error": ({"error": "access_denied", "state": "s", "iss": "https://evil.example"}, "IssuerDiffers"),
    "an issuer with a slash more": ({"code": "c", "state": "s", "iss": ISSUER + "/"}, "IssuerDiffers"),
    "an empty issuer": ({"code": "c", "state": "s", "iss": ""}, "IssuerDiffers"),
    "no code": ({"state": "s"}, "CodeMissing"),
    "an empty code": ({"state": "s", "code": ""}, "CodeMissing"),
    "a person who declined": ({"state": "s", "error": "access_denied", "error_description": HOSTILE}, "AccessDenied"),
    "a session that ended": ({"state": "s", "error": "login_required"}, "LoginRequired"),
    "a provider in trouble": ({"state": "s", "error": "server_error", "error_uri": "https://evil.example"}, "ProviderUnavailable"),
    "a wrong scope": ({"state": "s", "error": "invalid_scope", "error_description": HOSTILE}, "AppMisconfigured"),
    "an error nobody knows": ({"state": "s", "error": HOSTILE}, "AppMisconfigured"),
    "a code beside an error": ({"state": "s", "code": "c", "error": "access_denied"}, "AccessDenied"),
}


@pytest.mark.parametrize(("query", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(query, reason):
    with pytest.raises(CallbackError) as caught:
        read_callback(query, "s", ISSUER)
    assert caught.value.reason == reason
    shown = str(caught.value) + repr(caught.value)
    assert "script" not in shown
    assert "evil" not in shown


def test_a_missing_issuer_is_refused_when_the_provider_always_sends_one():
    with pytest.raises(CallbackError) as caught:
        read_callback({"code": "c", "state": "s"}, "s", ISSUER, iss_required=True)
    assert caught.value.reason == "IssuerDiffers"


def test_every_known_error_leads_to_a_listed_reason():
    assert set(BY_ERROR.values()) <= set(REFUSALS)
    assert len({refusal.reason for refusal in REFUSALS}) == len(REFUSALS)


def test_the_verifier_is_not_in_the_url():
    verifier = SecretStr("canary" * 10)
    assert "canary" not in authorization_url(ENDPOINTS, "c", redirect_uri=HERE, state="s", code_verifier=verifier)
