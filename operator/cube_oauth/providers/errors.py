"""The one place that sorts a provider's errors: whose it is, its stable reason, and what to do next.

Three tables (``BY_CODE``, ``BY_DESCRIPTION``, ``BY_STATUS``) lead to one list of reasons (``REASONS``); the reference page is
generated from them. Messages are our own words: what a provider answers never reaches a status, an event or a log.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

LARGEST_ANSWER = 1024 * 1024
"""Bytes of an answer that are read, after decompression."""


class Kind(StrEnum):
    """Whose error it is."""

    USER = "User"
    """The person must authorize again."""
    APP = "App"
    """The OAuthApp (or the registration at the provider) must be corrected; credentials are left alone."""
    WEATHER = "Weather"
    """Nobody's: it is tried again later."""


@dataclass(frozen=True)
class Reason:
    """One row of the reference page: a stable CamelCase word, whose error it is, and a sentence with the next action."""

    word: str
    kind: Kind
    message: str


class ProviderError(Exception):
    """A provider could not be asked, or did not give what it was asked for.

    ``message`` holds neither the provider's words nor any token. ``retry_after`` is the provider's wish (RFC 9110, section
    10.2.3), when it said one. ``sent`` is False only when the request surely never reached the provider: then a refresh token
    was not redeemed.
    """

    def __init__(self, kind: Kind, reason: str, message: str, *, retry_after: timedelta | None = None, sent: bool = True) -> None:
        super().__init__(message)
        self.kind = kind
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.sent = sent

    def __repr__(self) -> str:
        return f"ProviderError({self.kind.value}, {self.reason}, {self.message!r})"


def error(reason: Reason, *, retry_after: timedelta | None = None, sent: bool = True) -> ProviderError:
    """The exception for a row of the table."""
    return ProviderError(reason.kind, reason.word, reason.message, retry_after=retry_after, sent=sent)


_AGAIN = "The person authorizes again in the portal."
_STAYS = "A sign-in that is there stays, and goes on by itself once the policy permits it: it is tried again, ever less often."

# --- the user's
INVALID_GRANT = Reason(
    "InvalidGrant",
    Kind.USER,
    f"The provider says that this authorization is over (expired, revoked, or used already). {_AGAIN}",
)
INTERACTION_REQUIRED = Reason(
    "InteractionRequired",
    Kind.USER,
    f"The provider wants the person to log in or to consent again, for example by a conditional access policy. {_AGAIN} {_STAYS}",
)
ACCESS_DENIED = Reason(
    "AccessDenied",
    Kind.USER,
    "The provider denied access to this person. Ask the provider's administrator to permit the application for them; whoever was "
    f"just connecting authorizes again in the portal. {_STAYS}",
)
SUBJECT_CHANGED = Reason(
    "SubjectChanged",
    Kind.USER,
    "The provider renewed this sign-in for somebody else than the person who authorized (OpenID Connect Core, section 12.2); what "
    f"it gave was revoked. {_AGAIN}",
)
TOKEN_NOT_EXCHANGED = Reason(
    "TokenNotExchanged",
    Kind.USER,
    "The warehouse does not give its own token for the provider's (spec.tokenExchange). It has to know this person, and to trust "
    "the provider and the token's audience. A sign-in stays and is tried again; whoever is just connecting connects again.",
)

# --- the app's
INVALID_CLIENT = Reason(
    "InvalidClient",
    Kind.APP,
    "The provider does not accept the client's ID, secret or way of authentication. Compare spec.clientID, the Secret that "
    "spec.clientSecretRef names, and spec.clientAuthentication with the registration at the provider.",
)
UNAUTHORIZED_CLIENT = Reason(
    "UnauthorizedClient",
    Kind.APP,
    "The provider does not permit this client to use this grant. Enable authorization code and refresh token for the "
    "client at the provider.",
)
UNSUPPORTED_GRANT_TYPE = Reason(
    "UnsupportedGrantType",
    Kind.APP,
    "The provider's token endpoint does not know this grant type. Check spec.tokenURL, and what the provider's "
    "registration of the client permits.",
)
INVALID_SCOPE = Reason(
    "InvalidScope",
    Kind.APP,
    "The provider does not grant the scopes asked for. Compare spec.scopes with what the provider permits for the client.",
)
INVALID_TARGET = Reason(
    "InvalidTarget",
    Kind.APP,
    "The provider does not know the resource asked for (RFC 8707). Correct the parameter resource or audience in "
    "spec.authorizationParameters, spec.tokenParameters and spec.refreshParameters.",
)
INVALID_REQUEST = Reason(
    "InvalidRequest",
    Kind.APP,
    "The provider calls the request malformed. Check spec.tokenParameters, spec.refreshParameters, spec.pkce and "
    "spec.clientAuthentication against the provider's documentation.",
)
REDIRECT_URI_MISMATCH = Reason(
    "RedirectURIMismatch",
    Kind.APP,
    "The provider does not know our redirect URI. Register status.redirectURI of the OAuthApp at the provider, exactly.",
)
UNSUPPORTED_TOKEN_TYPE = Reason(
    "UnsupportedTokenType",
    Kind.APP,
    "The provider does not revoke this type of token (RFC 7009, section 2.2.1). Revoke the authorization at the provider.",
)
ENDPOINT_NOT_FOUND = Reason(
    "EndpointNotFound",
    Kind.APP,
    "There is nothing at this address of the provider that answers such requests. Check spec.tokenURL (or spec.issuerURL, "
    "or the preset's parameters).",
)
REDIRECTED = Reason(
    "Redirected",
    Kind.APP,
    "The provider's endpoint redirects elsewhere, and credentials are never sent along. Write the final address into "
    "spec.tokenURL (or spec.issuerURL, or the preset's parameters).",
)
ADDRESS_REFUSED = Reason(
    "AddressRefused",
    Kind.APP,
    "The provider's host has a loopback, link-local, metadata or multicast address, which is never called. Write the "
    "provider's real host, or have the operator's administrator allow the address.",
)
INVALID_URL = Reason(
    "InvalidURL",
    Kind.APP,
    "An address of the provider is no absolute https:// URL. Correct the URLs in spec, or what the provider's discovery "
    "document says.",
)
INVALID_CLIENT_SECRET = Reason(
    "InvalidClientSecret",
    Kind.APP,
    "The client secret cannot be used for spec.clientAuthentication: private_key_jwt needs a private key (PEM or JWK, RSA "
    "or EC), basic and post need a secret.",
)
ISSUER_DIFFERS = Reason(
    "IssuerDiffers",
    Kind.APP,
    "The provider's discovery document names another issuer. Write spec.issuerURL exactly as the document's issuer has it; "
    "a slash at the end counts (OpenID Connect Discovery, section 4.3).",
)
INVALID_METADATA = Reason(
    "InvalidMetadata",
    Kind.APP,
    "The provider's discovery document lacks an endpoint, or names one that is no https:// URL. Set spec.authorizationURL "
    "and spec.tokenURL instead of spec.issuerURL.",
)
INVALID_PARAMETERS = Reason(
    "InvalidParameters",
    Kind.APP,
    "spec.provider.parameters does not hold what the preset needs to know.",
)
ENDPOINT_MISSING = Reason(
    "EndpointMissing",
    Kind.APP,
    "It is not known where to authorize. Set spec.issuerURL, or both spec.authorizationURL and spec.tokenURL, or choose a "
    "preset in spec.provider.name.",
)
SUBJECT_ENDPOINT_MISSING = Reason(
    "SubjectEndpointMissing",
    Kind.APP,
    "It is not known where to ask who authorized, as spec.subject.source wants it. Set spec.subject.url, or spec.issuerURL of a "
    "provider whose discovery document names its userinfo_endpoint (or introspection_endpoint).",
)
SUBJECT_TOKEN_MISSING = Reason(
    "SubjectTokenMissing",
    Kind.APP,
    "The provider's answer holds no ID token that could be exchanged. Ask for the scope openid in spec.scopes, or set "
    "spec.tokenExchange.subjectToken: AccessToken (some providers give an ID token only at the first sign-in).",
)
SUBJECT_NOT_TOLD = Reason(
    "SubjectNotTold",
    Kind.APP,
    "The provider does not tell with this access token who authorized. Ask for the scope openid in spec.scopes, or set another "
    "spec.subject.source.",
)

# --- the weather's
TIMEOUT = Reason("Timeout", Kind.WEATHER, "The provider did not answer in time. It is tried again.")
UNREACHABLE = Reason(
    "Unreachable",
    Kind.WEATHER,
    "The provider cannot be reached. It is tried again; if it stays so, check the host, the network policies and the proxy.",
)
HOST_NOT_FOUND = Reason(
    "HostNotFound",
    Kind.WEATHER,
    "The provider's host name does not resolve. It is tried again; if it stays so, check the host in the OAuthApp.",
)
CERTIFICATE_REFUSED = Reason(
    "CertificateRefused",
    Kind.WEATHER,
    "The provider's TLS certificate is not trusted. It is tried again; if the provider has a private certificate "
    "authority, give the operator its CA file.",
)
CONNECTION_LOST = Reason("ConnectionLost", Kind.WEATHER, "The connection to the provider broke. It is tried again.")
RATE_LIMITED = Reason(
    "RateLimited",
    Kind.WEATHER,
    "The provider asks to be called less often. It is tried again when the provider permits; if it stays so, lower "
    "spec.refresh.requestsPerSecond.",
)
PROVIDER_UNAVAILABLE = Reason("ProviderUnavailable", Kind.WEATHER, "The provider has an error of its own. It is tried again.")
REFUSED_WITHOUT_REASON = Reason(
    "RefusedWithoutReason",
    Kind.WEATHER,
    "The provider refused and did not say why in OAuth's terms. It is tried again; if it stays so, look whether a firewall "
    "or a network policy stands before the provider.",
)
UNREADABLE_ANSWER = Reason(
    "UnreadableAnswer",
    Kind.WEATHER,
    "The provider's answer holds neither a token nor an OAuth error. It is tried again; if it stays so, check spec.tokenURL.",
)
ANSWER_TOO_LARGE = Reason(
    "AnswerTooLarge",
    Kind.WEATHER,
    "The provider's answer is larger than 1 MiB and was not read. It is tried again; if it stays so, check spec.tokenURL.",
)

BY_POLICY = (INTERACTION_REQUIRED.word, ACCESS_DENIED.word)
"""Refusals that say nothing of the refresh token: it is as good as before, and works again once the policy permits it."""

EXCHANGE_FAILED = "The token exchange failed (spec.tokenExchange)."
"""Before the sentence of an error that the warehouse gave, not the provider."""

REASONS: tuple[Reason, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Reason))
"""All of them, in the order above: the user's, the app's, the weather's."""

BY_CODE: Mapping[str, Reason] = {
    # RFC 6749, section 5.2
    "invalid_grant": INVALID_GRANT,
    "invalid_client": INVALID_CLIENT,
    "unauthorized_client": UNAUTHORIZED_CLIENT,
    "unsupported_grant_type": UNSUPPORTED_GRANT_TYPE,
    "invalid_scope": INVALID_SCOPE,
    "invalid_request": INVALID_REQUEST,
    # RFC 6749, section 4.1.2.1, which some send from the token endpoint
    "access_denied": ACCESS_DENIED,
    "server_error": PROVIDER_UNAVAILABLE,
    "temporarily_unavailable": PROVIDER_UNAVAILABLE,
    "unsupported_response_type": UNSUPPORTED_GRANT_TYPE,
    # RFC 6750 and RFC 7009
    "invalid_token": INVALID_GRANT,
    "insufficient_scope": INVALID_SCOPE,
    "unsupported_token_type": UNSUPPORTED_TOKEN_TYPE,
    # RFC 8707
    "invalid_target": INVALID_TARGET,
    # OpenID Connect Core, section 3.1.2.6, and what Entra and Auth0 add
    "interaction_required": INTERACTION_REQUIRED,
    "login_required": INTERACTION_REQUIRED,
    "consent_required": INTERACTION_REQUIRED,
    "account_selection_required": INTERACTION_REQUIRED,
    "mfa_required": INTERACTION_REQUIRED,
    "invalid_resource": INVALID_TARGET,
    # names of their own for the same (GitHub, Slack and others)
    "bad_refresh_token": INVALID_GRANT,
    "invalid_refresh_token": INVALID_GRANT,
    "expired_token": INVALID_GRANT,
    "token_expired": INVALID_GRANT,
    "token_revoked": INVALID_GRANT,
    "bad_verification_code": INVALID_GRANT,
    "invalid_code": INVALID_GRANT,
    "incorrect_client_credentials": INVALID_CLIENT,
    "bad_client_secret": INVALID_CLIENT,
    "invalid_client_id": INVALID_CLIENT,
    "invalid_client_secret": INVALID_CLIENT,
    "redirect_uri_mismatch": REDIRECT_URI_MISMATCH,
    "invalid_redirect_uri": REDIRECT_URI_MISMATCH,
    "bad_redirect_uri": REDIRECT_URI_MISMATCH,
    "slow_down": RATE_LIMITED,
    "rate_limited": RATE_LIMITED,
    "ratelimited": RATE_LIMITED,
    "rate_limit_exceeded": RATE_LIMITED,
    "too_many_requests": RATE_LIMITED,
    "internal_error": PROVIDER_UNAVAILABLE,
    "internal_failure": PROVIDER_UNAVAILABLE,
    "not_allowed": ACCESS_DENIED,  # Keycloak: this person may not have an offline token
    "token_inactive": INVALID_GRANT,  # Ory Hydra up to 2.2 and others that are built on fosite, with 401
}
"""By the ``error`` of the answer, in lower case."""

BY_CODE_AND_STATUS: Mapping[tuple[str, int], Reason] = {
    # Keycloak says so of a wrong secret; a client without the right is a 400 (RFC 6749, section 5.2)
    ("unauthorized_client", 401): INVALID_CLIENT,
    # Auth0 says so of a wrong secret or way of authentication; 401 is the RFC's status for that, and no person's
    ("access_denied", 401): INVALID_CLIENT,
}
"""By the ``error`` and the HTTP status, where the code alone says the wrong thing."""

BY_DESCRIPTION: Mapping[tuple[str, str], Reason] = {
    # Databricks (its own SDK tells it by the description, too)
    ("invalid_request", "refresh token is invalid"): INVALID_GRANT,
    # Dex; some versions with the names of client and token in between
    ("invalid_request", "has already been claimed by another client"): INVALID_GRANT,
    ("invalid_request", "refresh token expired"): INVALID_GRANT,
    ("invalid_request", "invalid or expired code"): INVALID_GRANT,
    # Zitadel, whose descriptions are keys such as Errors.OIDCSession.RefreshTokenInvalid
    ("invalid_request", "errors.oidcsession.refreshtokeninvalid"): INVALID_GRANT,
    ("invalid_request", "errors.user.refreshtoken."): INVALID_GRANT,
    ("invalid_request", "errors.user.code."): INVALID_GRANT,
    ("invalid_request", "errors.user.notactive"): ACCESS_DENIED,
    # Atlassian, with 403
    ("unauthorized_client", "refresh_token is invalid"): INVALID_GRANT,
    # Entra's suberror: what conditional access wants of the person, and what it says when the token is of no use any more
    ("invalid_grant", "basic_action"): INTERACTION_REQUIRED,
    ("invalid_grant", "additional_action"): INTERACTION_REQUIRED,
    ("invalid_grant", "consent_required"): INTERACTION_REQUIRED,
    ("invalid_grant", "user_password_expired"): INTERACTION_REQUIRED,
    ("invalid_grant", "message_only"): ACCESS_DENIED,
    ("interaction_required", "token_expired"): INVALID_GRANT,
    ("interaction_required", "bad_token"): INVALID_GRANT,
    # Google's error_subtype, when a Workspace limits how long its people stay signed in
    ("invalid_grant", "invalid_rapt"): INTERACTION_REQUIRED,
}
"""By ``error`` and words of what describes it (lower case), where the code alone says the wrong thing."""

BY_STATUS: Mapping[int, Reason] = {
    401: INVALID_CLIENT,
    404: ENDPOINT_NOT_FOUND,
    405: ENDPOINT_NOT_FOUND,
    408: TIMEOUT,
    410: ENDPOINT_NOT_FOUND,
    415: ENDPOINT_NOT_FOUND,
    425: RATE_LIMITED,
}
"""By the HTTP status, when the answer has no ``error`` that is known."""

_REDIRECTS = range(300, 400)
_CLIENT_ERRORS = range(400, 500)
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


def sort(status: int, code: str | None, description: str | None = None) -> Reason:
    """Which row an answer without a token belongs to.

    429 and 5xx are the weather's whatever the body says: a provider in trouble must not cost anybody a sign-in. Otherwise a
    known code decides, then the status. What remains of 4xx is the weather's as well, since a wrong "user" or "app" is
    harder to undo than one more try.
    """
    if status == _TOO_MANY_REQUESTS:
        return RATE_LIMITED
    if status >= _SERVER_ERROR:
        return PROVIDER_UNAVAILABLE
    code = (code or "").strip().lower()
    return _by_description(code, description) or BY_CODE_AND_STATUS.get((code, status)) or BY_CODE.get(code) or _by_status(status)


def _by_description(code: str, description: str | None) -> Reason | None:
    said = (description or "").lower()
    return next((reason for (about, words), reason in BY_DESCRIPTION.items() if code == about and words in said), None)


def _by_status(status: int) -> Reason:
    if status in _REDIRECTS:
        return REDIRECTED
    return BY_STATUS.get(status, REFUSED_WITHOUT_REASON if status in _CLIENT_ERRORS else UNREADABLE_ANSWER)
