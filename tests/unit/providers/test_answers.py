from datetime import UTC, datetime, timedelta

import pytest

from cube_oauth.providers.answers import HTTPAnswer, lifetime, refuse, retry_after, token_answer
from cube_oauth.providers.errors import ProviderError

NOW = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)

LIFETIMES = {
    "a number": (3600, HOUR),
    "text": ("3600", HOUR),
    "text with spaces": (" 3600 ", HOUR),
    "a fraction": (3600.5, HOUR + timedelta(seconds=0.5)),
    "missing": (None, None),
    "zero": (0, None),
    "zero as text": ("0", None),
    "negative": (-1, None),
    "negative as text": ("-5", None),
    "a word": ("never", None),
    "true": (True, None),
    "a list": ([3600], None),
    "ten years is held to one": (315_360_000, timedelta(days=365)),
    "a point in time": (1_795_000_000, None),
    "a point in time as text": ("1795000000", None),
    "absurd": (10**400, None),
    "absurd as text": ("9" * 5000, None),
    "infinite": (float("inf"), None),
    "not a number": (float("nan"), None),
    "an exponent as text": ("1e3", None),
    "an exponent": (1e20, None),
    "with its unit": ("3600s", None),
}


@pytest.mark.parametrize(("said", "expected"), LIFETIMES.values(), ids=LIFETIMES.keys())
def test_lifetime(said, expected):
    assert lifetime(said) == expected


RETRIES = {
    "missing": (None, None),
    "seconds": ("120", timedelta(minutes=2)),
    "now": ("0", timedelta(0)),
    "a date": ("Mon, 23 Nov 2026 18:00:30 GMT", timedelta(seconds=30)),
    "a date that is over": ("Mon, 23 Nov 2026 17:00:00 GMT", timedelta(0)),
    "a week is held to a day": ("604800", timedelta(days=1)),
    "a far date is held to a day": ("Mon, 23 Nov 2099 18:00:00 GMT", timedelta(days=1)),
    "nonsense": ("soon", None),
    "absurd": ("9" * 5000, None),
    "negative": ("-5", None),
    "a year that no calendar has": ("Mon, 23 Nov 99999 18:00:00 GMT", None),
    "a time zone that no place has": ("Mon, 23 Nov 2026 18:00:30 +99999999999999999999", None),
}


@pytest.mark.parametrize(("header", "expected"), RETRIES.values(), ids=RETRIES.keys())
def test_retry_after(header, expected):
    assert retry_after(header, NOW) == expected


def answer(body, status=200, content_type="application/json"):
    return HTTPAnswer(status, content_type, body if isinstance(body, bytes) else body.encode())


def test_a_full_answer_is_read():
    found = token_answer(
        answer(
            '{"access_token": "a", "refresh_token": "r", "id_token": "i", "expires_in": "600", "token_type": "bearer",'
            ' "refresh_token_expires_in": 7776000, "scope": "sql offline_access", "username": "ALICE"}'
        )
    )
    assert found.access_token.get_secret_value() == "a"
    assert found.refresh_token.get_secret_value() == "r"
    assert found.id_token.get_secret_value() == "i"
    assert found.expires_in == timedelta(minutes=10)
    assert found.refresh_token_expires_in == timedelta(days=90)
    assert found.scopes == ("sql", "offline_access")
    assert found.token_type == "bearer"


def test_a_minimal_answer_is_read():
    found = token_answer(answer('{"access_token": "a"}'))
    assert (found.refresh_token, found.id_token, found.expires_in, found.scopes) == (None, None, None, ())


READABLE = {
    "JSON that calls itself HTML": ('{"access_token": "a"}', "text/html"),
    "JSON with a byte order mark": ('\ufeff{"access_token": "a"}', "application/json"),
    "a form": ("access_token=a&scope=repo&token_type=bearer", "application/x-www-form-urlencoded"),
    "a form that calls itself text": ("access_token=a&expires=5183999", "text/plain"),
    "a form without a type": ("access_token=a", ""),
    "JSON in Latin-1": ('{"access_token": "a", "name": "Jos\u00e9"}'.encode("latin-1"), "application/json"),
    "a form in Latin-1": ("access_token=a&name=Jos\u00e9".encode("latin-1"), ""),
    "a token beside a number that is too long to be read": (
        f'{{"access_token": "a", "expires_in": {"9" * 5000}}}',
        "application/json",
    ),
    "a token beside an error": ('{"access_token": "a", "error": "odd"}', "application/json"),
    "a token beside nulls": ('{"access_token": "a", "error": null, "refresh_token": null}', "application/json"),
    "an empty refresh token": ('{"access_token": "a", "refresh_token": ""}', "application/json"),
}


@pytest.mark.parametrize(("body", "content_type"), READABLE.values(), ids=READABLE.keys())
def test_readable(body, content_type):
    found = token_answer(answer(body, 200, content_type))
    assert found.access_token.get_secret_value() == "a"
    assert found.refresh_token is None


def test_keycloaks_name_for_the_refresh_tokens_lifetime_is_known():
    assert token_answer(answer('{"access_token": "a", "refresh_expires_in": 1800}')).refresh_token_expires_in == HOUR / 2
    assert token_answer(answer('{"access_token": "a", "refresh_expires_in": 0}')).refresh_token_expires_in is None


UNREADABLE = {
    "nothing": ("", "application/json"),
    "HTML": ("<html><body>access_token=a</body></html>", "text/html"),
    "a form that calls itself HTML": ("access_token=a", "text/html"),
    "a list": ('["access_token"]', "application/json"),
    "a number for a token": ('{"access_token": 5}', "application/json"),
    "an empty token": ('{"access_token": ""}', "application/json"),
    "a token with a line break": ('{"access_token": "a\\r\\nX-Evil: 1"}', "application/json"),
    "a sentence in a token's place (Casdoor)": (
        '{"access_token": "error: token is expired by 23m58s", "refresh_token": ""}',
        "application/json",
    ),
    "a token with a letter that no header can hold": ('{"access_token": "\u00e9"}', "application/json"),
    "no UTF-8": (b"\xff\xfe{}", "application/json"),
    "JSON that is cut off": ('{"access_token": "a"', "application/json"),
    "JSON that is too deep": ("[" * 200_000, "application/json"),
    "more fields than a form can have": ("&".join(f"f{n}=1" for n in range(100)) + "&access_token=a", ""),
}


@pytest.mark.parametrize(("body", "content_type"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable(body, content_type):
    with pytest.raises(ProviderError) as caught:
        token_answer(answer(body, 200, content_type))
    assert (caught.value.kind, caught.value.reason) == ("Weather", "UnreadableAnswer")


def test_tokens_in_an_answer_that_is_no_success_do_not_count():
    with pytest.raises(ProviderError) as caught:
        token_answer(answer('{"access_token": "a"}', 500))
    assert caught.value.reason == "ProviderUnavailable"


ERRORS = {
    "an object without a code of OAuth's": ('{"error": {"code": 403, "status": "PERMISSION_DENIED"}}', 403, "RefusedWithoutReason"),
    "an object with one": ('{"error": {"code": "invalid_grant", "message": "over"}}', 400, "InvalidGrant"),
    "an object with one as its type": ('{"error": {"code": 190, "type": "invalid_grant"}}', 400, "InvalidGrant"),
    "an object with 200": ('{"error": {"code": "invalid_grant"}}', 200, "InvalidGrant"),
    "in capitals": ('{"error": "INVALID_GRANT"}', 400, "InvalidGrant"),
    "in spaces": ('{"error": " invalid_grant "}', 400, "InvalidGrant"),
    "in an answer that says it is none (Slack)": ('{"ok": false, "error": "invalid_refresh_token"}', 200, "InvalidGrant"),
    "in Latin-1": (
        '{"error": "invalid_grant", "error_description": "abgelaufen f\u00fcr immer"}'.encode("latin-1"),
        400,
        "InvalidGrant",
    ),
    "with Entra's suberror": ('{"error": "invalid_grant", "suberror": "basic_action"}', 400, "InteractionRequired"),
    "with Google's error_subtype": ('{"error": "invalid_grant", "error_subtype": "invalid_rapt"}', 400, "InteractionRequired"),
    "a number": ('{"error": 7}', 400, "RefusedWithoutReason"),
    "a list": ('{"error": ["invalid_grant"]}', 400, "RefusedWithoutReason"),
}


@pytest.mark.parametrize(("body", "status", "reason"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error(body, status, reason):
    with pytest.raises(ProviderError) as caught:
        token_answer(answer(body, status))
    assert caught.value.reason == reason


@pytest.mark.parametrize("body", ['{"error": {"message": "down"}}', '{"error": 7}'])
def test_no_error_is_taken_for_success(body):
    with pytest.raises(ProviderError):
        refuse(answer(body))


def test_a_name_in_latin_1_is_the_persons():
    assert token_answer(answer('{"access_token": "a", "username": "Jos\u00e9"}'.encode("latin-1"))).said["username"] == "Jos\u00e9"
