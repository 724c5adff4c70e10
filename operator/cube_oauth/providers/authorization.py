"""The two ends of the browser's round trip: the authorization request, and what comes back. Pure but for randomness."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cube_oauth.providers.endpoints import Endpoints

_VERIFIER_BYTES = 48
_OWN = frozenset(
    (
        "client_id",
        "client_secret",
        "code",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
        "grant_type",
        "nonce",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
    )
)


class CallbackError(Exception):
    """What came back to the redirect URI is no authorization. The message is ours: a provider's could be anybody's."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __repr__(self) -> str:
        return f"CallbackError({self.reason}, {self.message!r})"


@dataclass(frozen=True)
class Refusal:
    """One row of the callback's reasons: a stable word, and a sentence for the person who stands before it."""

    reason: str
    message: str


STATE_DIFFERS = Refusal(
    "StateDiffers",
    "This answer does not belong to a connection that you started in this browser. Start again from the portal.",
)
ISSUER_DIFFERS = Refusal(
    "IssuerDiffers",
    "This answer does not come from the provider that you were sent to. Start again; if it happens again, tell your "
    "administrator (spec.issuerURL of the OAuthApp).",
)
REPEATED_PARAMETER = Refusal("RepeatedParameter", "The provider's answer says something twice. Start again from the portal.")
CODE_MISSING = Refusal("CodeMissing", "The provider's answer holds no authorization code. Start again from the portal.")
ACCESS_DENIED = Refusal(
    "AccessDenied",
    "The provider did not permit the connection: either you declined, or your account lacks the right. Start again, or ask "
    "the provider's administrator.",
)
LOGIN_REQUIRED = Refusal("LoginRequired", "The provider wants you to log in or to consent first. Start again and follow its pages.")
UNAVAILABLE = Refusal("ProviderUnavailable", "The provider has a problem of its own at the moment. Try again later.")
MISCONFIGURED = Refusal(
    "AppMisconfigured",
    "The provider does not accept how this app asks. Tell your administrator: client ID, redirect URI and scopes of the "
    "OAuthApp must match the registration at the provider.",
)

REFUSALS: tuple[Refusal, ...] = (
    STATE_DIFFERS,
    ISSUER_DIFFERS,
    REPEATED_PARAMETER,
    CODE_MISSING,
    ACCESS_DENIED,
    LOGIN_REQUIRED,
    UNAVAILABLE,
    MISCONFIGURED,
)

BY_ERROR: Mapping[str, Refusal] = {
    # RFC 6749, section 4.1.2.1
    "access_denied": ACCESS_DENIED,
    "server_error": UNAVAILABLE,
    "temporarily_unavailable": UNAVAILABLE,
    # OpenID Connect Core, section 3.1.2.6
    "account_selection_required": LOGIN_REQUIRED,
    "consent_required": LOGIN_REQUIRED,
    "interaction_required": LOGIN_REQUIRED,
    "login_required": LOGIN_REQUIRED,
}
"""By the ``error`` of the answer; every other one is ``AppMisconfigured``."""


def new_verifier() -> SecretStr:
    """A PKCE code verifier: 64 characters, 384 bits (RFC 7636, section 4.1)."""
    return SecretStr(secrets.token_urlsafe(_VERIFIER_BYTES))


def authorization_url(
    endpoints: Endpoints,
    client_id: str,
    *,
    redirect_uri: str,
    state: str,
    nonce: str | None = None,
    code_verifier: SecretStr | None = None,
    extra: Mapping[str, str] | None = None,
) -> str:
    """Where to send the browser (RFC 6749, section 4.1.1; RFC 7636, section 4.3).

    Without ``code_verifier`` there is no PKCE, without ``nonce`` none is asked for. ``extra`` overrides the endpoints'
    authorization parameters; what the protocol sets itself overrides both.
    """
    wanted = {**endpoints.authorization_parameters, **(extra or {})}
    url = add_params_to_uri(endpoints.authorization_url, [(name, value) for name, value in wanted.items() if name not in _OWN])
    own = {"nonce": nonce} if nonce else {}
    if code_verifier:
        challenge = create_s256_code_challenge(code_verifier.get_secret_value())
        own |= {"code_challenge": challenge, "code_challenge_method": "S256"}
    scope = endpoints.scope_separator.join(endpoints.scopes)
    return str(prepare_grant_uri(url, client_id, "code", redirect_uri, scope, state, **own))


def log_out_url(end_session_url: str, client_id: str) -> str:
    """Where to send a browser to log out at the provider (RP-Initiated Logout 1.0, section 2).

    No ID token goes along: addresses are logged and remembered. So the provider asks the person first.
    """
    return str(add_params_to_uri(end_session_url, [("client_id", client_id)]))


def _same(given: str | None, expected: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def _refusal(query: Mapping[str, str], expected_state: str, expected_issuer: str | None, *, iss_required: bool) -> Refusal | None:
    """The first check that fails. The state comes first: before it, nothing in the query is known to be meant for us."""
    if not _same(query.get("state"), expected_state):
        return STATE_DIFFERS
    names = [name for name, _ in query.items()]  # only a multidict's items have a repeated name twice
    if len(names) != len(set(names)):
        return REPEATED_PARAMETER
    issuer = query.get("iss")
    if (issuer is None and iss_required) or (issuer is not None and expected_issuer and issuer != expected_issuer):
        return ISSUER_DIFFERS
    if query.get("error"):
        return BY_ERROR.get(query["error"], MISCONFIGURED)
    return None if query.get("code") else CODE_MISSING


def read_callback(
    query: Mapping[str, str], expected_state: str, expected_issuer: str | None, *, iss_required: bool = False
) -> SecretStr:
    """The authorization code in the query of the redirect URI (RFC 6749, section 4.1.2; RFC 9207, section 2.4).

    Raises CallbackError. An ``iss`` is compared whenever it is there and the issuer is known. ``query`` may be a multidict:
    a repeated parameter is refused (RFC 6749, section 3.1).
    """
    refusal = _refusal(query, expected_state, expected_issuer, iss_required=iss_required)
    if refusal:
        raise CallbackError(refusal.reason, refusal.message)
    return SecretStr(query["code"])
