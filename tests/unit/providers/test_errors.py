import re

import pytest

from cube_oauth.providers.errors import BY_CODE, BY_CODE_AND_STATUS, BY_DESCRIPTION, BY_STATUS, REASONS, Kind, sort

SORTED = {
    "a dead refresh token is the user's": (400, "invalid_grant", None, "InvalidGrant", Kind.USER),
    "GitHub's name for it, with 200": (200, "bad_refresh_token", None, "InvalidGrant", Kind.USER),
    "invalid_grant with the wrong status": (401, "invalid_grant", None, "InvalidGrant", Kind.USER),
    "Databricks' description for it": (400, "invalid_request", "Refresh token is invalid", "InvalidGrant", Kind.USER),
    "the same with a full stop": (400, "invalid_request", "Refresh token is invalid.", "InvalidGrant", Kind.USER),
    "Dex' description for it": (
        400,
        "invalid_request",
        "Refresh token is invalid or has already been claimed by another client.",
        "InvalidGrant",
        Kind.USER,
    ),
    "Dex' description with names": (
        400,
        "invalid_request",
        "clientID cube refresh token (ID x) is invalid or has already been claimed by another client.",
        "InvalidGrant",
        Kind.USER,
    ),
    "Dex' description of one that has lapsed": (400, "invalid_request", "Refresh token expired.", "InvalidGrant", Kind.USER),
    "Dex' description of a dead code": (400, "invalid_request", "Invalid or expired code parameter.", "InvalidGrant", Kind.USER),
    "a request without a refresh token at Dex": (
        400,
        "invalid_request",
        "No refresh token is found in request.",
        "InvalidRequest",
        Kind.APP,
    ),
    "a conditional access policy": (400, "interaction_required", None, "InteractionRequired", Kind.USER),
    "a conditional access policy at Entra": (400, "invalid_grant", "AADSTS50076: basic_action", "InteractionRequired", Kind.USER),
    "one that the person can do nothing about": (400, "invalid_grant", "AADSTS53003: message_only", "AccessDenied", Kind.USER),
    "Entra's sign-in frequency": (400, "interaction_required", "AADSTS70043 token_expired", "InvalidGrant", Kind.USER),
    "Google's session control": (400, "invalid_grant", "reauth related error (invalid_rapt)", "InteractionRequired", Kind.USER),
    "access denied": (403, "access_denied", None, "AccessDenied", Kind.USER),
    "a wrong client secret is the app's": (401, "invalid_client", None, "InvalidClient", Kind.APP),
    "a wrong client secret with 400": (400, "invalid_client", None, "InvalidClient", Kind.APP),
    "a wrong client secret without a body": (401, None, None, "InvalidClient", Kind.APP),
    "a client without the right": (400, "unauthorized_client", None, "UnauthorizedClient", Kind.APP),
    "a wrong secret at Keycloak": (401, "unauthorized_client", "Invalid client credentials", "InvalidClient", Kind.APP),
    "a wrong secret at Auth0": (401, "access_denied", "Unauthorized", "InvalidClient", Kind.APP),
    "a used or revoked refresh token at Ory Hydra": (401, "token_inactive", None, "InvalidGrant", Kind.USER),
    "a dead refresh token at Atlassian": (403, "unauthorized_client", "refresh_token is invalid", "InvalidGrant", Kind.USER),
    "Zitadel's description of a dead refresh token": (
        400,
        "invalid_request",
        "Errors.OIDCSession.RefreshTokenInvalid",
        "InvalidGrant",
        Kind.USER,
    ),
    "Zitadel's former one": (400, "invalid_request", "Errors.User.RefreshToken.Invalid", "InvalidGrant", Kind.USER),
    "Zitadel's description of a dead code": (400, "invalid_request", "Errors.User.Code.Invalid", "InvalidGrant", Kind.USER),
    "a person who was deactivated at Zitadel": (400, "invalid_request", "Errors.User.NotActive", "AccessDenied", Kind.USER),
    "a person who may not have an offline token at Keycloak": (400, "not_allowed", None, "AccessDenied", Kind.USER),
    "a grant type that is not known": (400, "unsupported_grant_type", None, "UnsupportedGrantType", Kind.APP),
    "a scope that is not granted": (400, "invalid_scope", None, "InvalidScope", Kind.APP),
    "any other malformed request": (400, "invalid_request", "whatever", "InvalidRequest", Kind.APP),
    "a wrong path": (404, None, None, "EndpointNotFound", Kind.APP),
    "a redirect": (302, None, None, "Redirected", Kind.APP),
    "too many requests": (429, None, None, "RateLimited", Kind.WEATHER),
    "too many requests, whatever the body says": (429, "invalid_grant", None, "RateLimited", Kind.WEATHER),
    "a broken provider": (500, None, None, "ProviderUnavailable", Kind.WEATHER),
    "a broken provider that blames the client": (503, "invalid_client", None, "ProviderUnavailable", Kind.WEATHER),
    "a broken provider with 400": (400, "temporarily_unavailable", None, "ProviderUnavailable", Kind.WEATHER),
    "an unknown code": (400, "teapot", None, "RefusedWithoutReason", Kind.WEATHER),
    "a firewall": (403, None, None, "RefusedWithoutReason", Kind.WEATHER),
    "an unknown code with 200": (200, "teapot", None, "UnreadableAnswer", Kind.WEATHER),
}


@pytest.mark.parametrize(("status", "code", "description", "reason", "kind"), SORTED.values(), ids=SORTED.keys())
def test_sorted(status, code, description, reason, kind):
    found = sort(status, code, description)
    assert (found.word, found.kind) == (reason, kind)


def test_reasons_are_unique_camel_case_words_with_a_sentence():
    words = [reason.word for reason in REASONS]
    assert len(set(words)) == len(words)
    assert all(re.fullmatch(r"([A-Z][a-z]*)+", word) for word in words)
    assert all(reason.message.endswith(".") for reason in REASONS)


def test_the_tables_lead_only_to_listed_reasons():
    for table in (BY_CODE, BY_CODE_AND_STATUS, BY_DESCRIPTION, BY_STATUS):
        assert set(table.values()) <= set(REASONS)


def test_the_users_and_the_apps_errors_say_what_to_do():
    verbs = re.compile(
        r"authorize|Compare|Ask for|has to know|Check|Write|Register|Enable|Correct|Set|Revoke|needs|must hold|does not hold"
    )
    for reason in REASONS:
        assert reason.kind is Kind.WEATHER or verbs.search(reason.message), reason.word


def test_no_bare_status_is_ever_the_users():
    assert {sort(status, None).kind for status in range(100, 600)} == {Kind.APP, Kind.WEATHER}
