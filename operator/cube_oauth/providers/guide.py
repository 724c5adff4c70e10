"""What the table of presets cannot say: what to register at each provider, and what to expect of it. For the reference page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cube_oauth.resources.oauthapp import Preset

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Guide:
    """One provider, for the administrator who registers a client there."""

    register: str
    lifetimes: str
    single_use: str
    """Whether a refresh token works once."""
    quirks: tuple[str, ...] = ()
    example: tuple[str, ...] = ()
    """Lines of ``spec`` beside the client."""
    sources: tuple[str, ...] = ()


_BY_ISSUER = ("issuerURL: https://idp.example.com",)
_WEB_CLIENT = "A web application (authorization code, refresh token) with the redirect URI of `status.redirectURI`."
_AS_CONFIGURED = "as the provider is configured"

GUIDES: Mapping[Preset, Guide] = {
    Preset.GENERIC: Guide(
        register=_WEB_CLIENT,
        lifetimes=_AS_CONFIGURED,
        single_use="either",
        quirks=(
            "Either `issuerURL` or both `authorizationURL` and `tokenURL`; `oidc` and `oauth2` say which of the two is meant.",
        ),
        example=_BY_ISSUER,
    ),
    Preset.OIDC: Guide(
        register=_WEB_CLIENT,
        lifetimes=_AS_CONFIGURED,
        single_use="either",
        quirks=(
            "The discovery document's `issuer` must be `issuerURL`, byte for byte.",
            "`private_key_jwt` signs for the token endpoint; some (Auth0, Zitadel) want `clientAssertionAudience: Issuer`.",
            "Dex and Zitadel call a dead refresh token or code a bad request (`invalid_request`); the description tells, and it is sorted as "
            "`InvalidGrant`. Ory Hydra up to 2.2 calls a used or revoked one `token_inactive`, with 401: sorted alike.",
            "Auth0 answers a wrong client secret with `access_denied` and 401: sorted as `InvalidClient`, so nobody has to sign in again.",
            "Many give a refresh token only for `offline_access`, and some only with `authorizationParameters: {prompt: consent}`.",
        ),
        example=("provider: {name: oidc}", *_BY_ISSUER),
        sources=("https://openid.net/specs/openid-connect-discovery-1_0.html", "https://www.rfc-editor.org/rfc/rfc8414"),
    ),
    Preset.OAUTH2: Guide(
        register=_WEB_CLIENT,
        lifetimes=_AS_CONFIGURED,
        single_use="either",
        quirks=(
            "No scope is asked for unless `scopes` says so.",
            "Without an ID token nobody is compared (`SubjectUnknown`), unless `subject` names a place: `UserInfo`, `Introspection`, "
            "`AccessToken` or `TokenAnswer`.",
            "For those who differ from the RFC: `scopeSeparator: Comma`, `requestFormat: JSON`, `pkce: false`, `clientAuthentication`, "
            "`authorizationParameters`, `tokenParameters`, `refreshParameters`. Answers as JSON and as forms are both read.",
        ),
        example=(
            "provider: {name: oauth2}",
            "authorizationURL: https://login.example.com/authorize",
            "tokenURL: https://login.example.com/token",
        ),
    ),
    Preset.DATABRICKS: Guide(
        register="In the account console: Settings, App connections, Add connection; redirect URL `status.redirectURI`, scopes SQL or "
        "all APIs. A client secret is optional (without `clientSecretRef` the client is public).",
        lifetimes="access token 60 min (5 to 1440), refresh token 7 days (5 min to 90 days)",
        single_use="where `enable_single_use_refresh_tokens` is on (default for some apps); then the session has an absolute end",
        quirks=(
            "`offline_access` is needed for a refresh token; for queries alone, `scopes: [sql, offline_access]` suffices.",
            "A dead refresh token is `invalid_request` with the description “Refresh token is invalid”; it is sorted as `InvalidGrant`.",
            "The access token's `sub` is the user's address; its case is ignored.",
            "A change of the app there may take 30 minutes.",
        ),
        example=("provider: {name: databricks, parameters: {host: dbc-0123abcd-4567.cloud.databricks.com}}",),
        sources=(
            "https://docs.databricks.com/aws/en/integrations/enable-disable-oauth",
            "https://docs.databricks.com/aws/en/integrations/single-use-tokens",
            "https://docs.databricks.com/api/o-auth/v1/create-custom-o-auth-app-integration.md",
            "https://databrickslabs.github.io/partner-architecture/isv-partners/lakehouse-patterns/access-auth/oauth-reference",
        ),
    ),
    Preset.SNOWFLAKE: Guide(
        register="`CREATE SECURITY INTEGRATION … TYPE = OAUTH OAUTH_CLIENT = CUSTOM OAUTH_CLIENT_TYPE = 'CONFIDENTIAL' "
        "OAUTH_REDIRECT_URI = '<status.redirectURI>' OAUTH_ISSUE_REFRESH_TOKENS = TRUE`; then `SYSTEM$SHOW_OAUTH_CLIENT_SECRETS`.",
        lifetimes="access token 10 min, refresh token 90 days (1 to 90)",
        single_use="where the integration has them on; then a refresh also ends the access tokens from before it",
        quirks=(
            "`refresh_token` is the scope that gives a refresh token; `session:role:ANALYST` chooses a role.",
            "ACCOUNTADMIN, SECURITYADMIN, ORGADMIN and GLOBALORGADMIN are refused.",
            "Underscores of the account become hyphens in the host.",
            "Client ID and secret hold `+`, `/` and `=`; Snowflake decodes both halves of `basic` as RFC 6749 has it, so they are sent encoded.",
            "The answer to a code has a field `username`. Names that were not quoted are stored in capitals and are often the part "
            "before the @ alone, so both are accepted without regard to case; `subject: {match: IgnoreCase}` narrows that.",
        ),
        example=("provider: {name: snowflake, parameters: {account: myorg-my_account}}",),
        sources=(
            "https://docs.snowflake.com/en/user-guide/oauth-custom",
            "https://docs.snowflake.com/en/user-guide/oauth-snowflake-overview",
            "https://github.com/speakeasy-api/gram/pull/4848",
        ),
    ),
    Preset.GOOGLE: Guide(
        register="In the Cloud console: an OAuth client of the type Web application; the consent screen In production, or Internal.",
        lifetimes="access token 1 hour; refresh token until 6 months unused, 7 days while the consent screen is in Testing",
        single_use="no; it comes only with the answer to a consent, and is kept",
        quirks=(
            "`access_type=offline` and `prompt=consent` are sent: without them there is no refresh token.",
            "There is a limit of refresh tokens for each user and client; the oldest ends without a word.",
            "The person is `email` of the ID token, unless `email_verified` is false.",
        ),
        example=("provider: {name: google}",),
        sources=("https://developers.google.com/identity/protocols/oauth2/web-server#offline",),
    ),
    Preset.ENTRA: Guide(
        register="An app registration with a redirect URI of the platform Web (not single-page application), a client secret, and the "
        "API permission of the data source.",
        lifetimes="access token 60 to 90 min, refresh token 90 days (24 hours, fixed, for single-page applications)",
        single_use="no; a new one comes with each use and the old one stays valid",
        quirks=(
            "The data source is a scope: `scopes: [openid, profile, offline_access, 2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/.default]` "
            "is Azure Databricks.",
            "Conditional access runs at each refresh; when it wants the person, the reason is `InteractionRequired`, when it blocks them "
            "`AccessDenied`. Once the policy is corrected, the sign-in goes on by itself.",
            "`preferred_username` needs the scope `profile`, and may be changed by administrators; where that matters, name people by "
            "`oid` in the portal and set `subject: {source: IDToken, claim: oid}`.",
            "There is no revocation endpoint: disconnecting removes our tokens, the grant stays at Entra.",
        ),
        example=("provider: {name: entra, parameters: {tenant: 6f0d2c1e-1111-4222-8333-444455556666}}",),
        sources=(
            "https://learn.microsoft.com/en-us/entra/identity-platform/refresh-tokens",
            "https://learn.microsoft.com/en-us/entra/identity-platform/id-token-claims-reference",
        ),
    ),
    Preset.OKTA: Guide(
        register="An OIDC Web Application with the grants Authorization Code and Refresh Token.",
        lifetimes=_AS_CONFIGURED + " (access token 1 hour by default)",
        single_use="where the app's refresh token is set to rotate",
        quirks=(
            "With `authorizationServer` the tokens are for that server's audience; without it, for Okta itself.",
            "The ID token that comes beside an access token is thin, but has `preferred_username` when `profile` is asked for.",
        ),
        example=("provider: {name: okta, parameters: {host: example.okta.com, authorizationServer: default}}",),
        sources=("https://support.okta.com/help/s/article/Okta-Groups-or-Attribute-Missing-from-Id-Token",),
    ),
    Preset.TRINO: Guide(
        register="At the OpenID provider that Trino's coordinator trusts (`http-server.authentication.type=oauth2` or `jwt`): a client "
        "whose access tokens are JWTs for Trino's audience.",
        lifetimes=_AS_CONFIGURED,
        single_use="either",
        quirks=(
            "Trino takes the principal from `sub` unless `principal-field` says otherwise, and maps it to a user. The name beside the "
            "token must be that user: choose with `subject.claim` what `userCredentials.trino.subject` holds.",
        ),
        example=("provider: {name: trino}", *_BY_ISSUER),
        sources=(
            "https://trino.io/docs/current/security/jwt.html",
            "https://trino.io/docs/current/security/oauth2.html",
            "https://trino.io/docs/current/security/user-mapping.html",
        ),
    ),
    Preset.DREMIO: Guide(
        register="At an OpenID provider: a client whose access tokens are JWTs. In Dremio: that provider as an external token provider, "
        "with the tokens' audience and the claim that holds the Dremio username.",
        lifetimes="Dremio's token 1 hour; the provider's as it is configured",
        single_use="as the provider has it; Dremio's own refresh token is not asked for",
        quirks=(
            "The provider's access token is exchanged at `https://{host}/oauth/token` (RFC 8693) at each refresh; what people's queries "
            "get is Dremio's own token. `tokenExchange: {subjectToken: IDToken}` exchanges the ID token instead, where the provider "
            "repeats it at a refresh.",
            "The client's secret is not sent to Dremio.",
        ),
        example=("provider: {name: dremio, parameters: {host: dremio.example.com}}", *_BY_ISSUER),
        sources=(
            "https://docs.dremio.com/dremio-cloud/api/oauth-token",
            "https://docs.dremio.com/current/reference/api/oauth-token",
            "https://docs.dremio.com/current/security/authentication/external-token",
        ),
    ),
}
"""One for each preset."""
