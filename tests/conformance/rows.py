"""The providers that the conformance suite runs through: one row each.

To add one, write what an administrator writes (``spec``: ``{url}`` is the emulated provider's address), how the provider behaves
where that differs from the RFCs (``behaves``, see ``emulator.Behaviour``), and what is expected of us. Every test in
``test_conformance.py`` runs for it. Where the quirks come from stands in docs/reference/providers.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tests.conformance.emulator import Behaviour

USERNAME = "alice@example.com"
"""The person in the portal, and at the provider."""


@dataclass(frozen=True)
class Row:
    """One provider."""

    spec: Mapping[str, Any]
    behaves: Behaviour = field(default_factory=Behaviour)
    subject: str | None = USERNAME
    """The name that the provider gives; None: it says nothing, and that is accepted."""
    lifetime: timedelta | None = timedelta(minutes=10)
    refresh_token: bool = True
    exchanged: bool = False


OPENID = {"id_token": {"email": "{person}"}, "needs_scope": "offline_access", "discovery": "openid"}
BY_ISSUER = {"issuerURL": "{url}"}
BY_URLS = {"authorizationURL": "{url}/authorize", "tokenURL": "{url}/token", "revocationURL": "{url}/revoke"}
RESOURCE = {"resource": "https://warehouse.example.com"}
HOUR = timedelta(hours=1)

ROWS: dict[str, Row] = {
    "generic OpenID provider, by its issuer": Row(BY_ISSUER, Behaviour(**OPENID)),
    "generic OAuth provider, by its endpoints": Row(BY_URLS, subject=None),
    "oidc": Row({"provider": {"name": "oidc"}, **BY_ISSUER}, Behaviour(**OPENID, refresh="single-use", pkce="required")),
    "oauth2 that answers with forms and commas, and 200 for errors (GitHub)": Row(
        {"provider": {"name": "oauth2"}, **BY_URLS, "scopes": ["repo", "user"], "scopeSeparator": "Comma"},
        Behaviour(scope_separator=",", answers="form", over={"error": "bad_refresh_token"}, over_status=200, refresh="single-use"),
        subject=None,
    ),
    "Databricks with refresh tokens of single use and an end of the session": Row(
        {"provider": {"name": "databricks", "parameters": {"host": "dbc.example.com"}}},
        Behaviour(
            needs_scope="offline_access",
            refresh="single-use",
            session=3,
            access_token={"sub": "{person}", "iss": "https://dbc.example.com/oidc", "aud": "workspace"},
            over={"error": "invalid_request", "error_description": "Refresh token is invalid"},
            expires_in=3600,
        ),
        lifetime=HOUR,
    ),
    "Databricks for a public client": Row(
        {"provider": {"name": "databricks", "parameters": {"host": "dbc.example.com"}}, "clientSecretRef": None},
        Behaviour(authentication="none", pkce="required", needs_scope="offline_access", access_token={"sub": "{person}"}),
    ),
    "Snowflake, whose names are in capitals": Row(
        {"provider": {"name": "snowflake", "parameters": {"account": "my_org-acct"}}},
        Behaviour(needs_scope="refresh_token", says={"username": "{local}", "refresh_token_expires_in": 7776000}, expires_in=599),
        subject="ALICE",
        lifetime=timedelta(seconds=599),
    ),
    "Snowflake with refresh tokens of single use, whose names are addresses": Row(
        {"provider": {"name": "snowflake", "parameters": {"account": "acct"}}},
        Behaviour(needs_scope="refresh_token", refresh="single-use", says={"username": "{PERSON}"}),
        subject="ALICE@EXAMPLE.COM",
    ),
    "Google, whose refresh token comes once": Row(
        {"provider": {"name": "google"}},
        Behaviour(
            authentication="post",
            needs={"access_type": "offline", "prompt": "consent"},
            id_token={"email": "{person}", "email_verified": True},
            expires_in=3599,
        ),
        lifetime=timedelta(seconds=3599),
    ),
    "Entra, whose old refresh tokens stay valid": Row(
        {"provider": {"name": "entra", "parameters": {"tenant": "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"}}},
        Behaviour(
            authentication="post", needs_scope="offline_access", refresh="renewed", id_token={"preferred_username": "{person}"}
        ),
    ),
    "Okta, by discovery": Row(
        {"provider": {"name": "okta", "parameters": {"host": "example.okta.com", "authorizationServer": "default"}}},
        Behaviour(
            needs_scope="offline_access", discovery="openid", refresh="single-use", id_token={"preferred_username": "{person}"}
        ),
    ),
    "Trino's provider": Row(
        {"provider": {"name": "trino"}, **BY_ISSUER}, Behaviour(**OPENID, access_token={"sub": "{person}", "aud": "trino"})
    ),
    "Dremio, which exchanges the provider's token": Row(
        {"provider": {"name": "dremio", "parameters": {"host": "dremio.example.com"}}, **BY_ISSUER},
        Behaviour(**OPENID, refresh="single-use"),
        lifetime=timedelta(seconds=3599),
        exchanged=True,
    ),
    "Dex, whose refresh tokens are single-use, and dead ones a bad request": Row(
        {**BY_ISSUER, "subject": {"claim": "email"}},
        Behaviour(
            **OPENID,
            refresh="single-use",
            over={
                "error": "invalid_request",
                "error_description": "Refresh token is invalid or has already been claimed by another client.",
            },
        ),
    ),
    "Zitadel, which describes dead refresh tokens by keys": Row(
        BY_ISSUER,
        Behaviour(
            **OPENID,
            refresh="single-use",
            over={"error": "invalid_request", "error_description": "Errors.OIDCSession.RefreshTokenInvalid"},
        ),
    ),
    "Ory Hydra, whose used refresh tokens are a 401": Row(
        BY_ISSUER, Behaviour(**OPENID, refresh="single-use", over={"error": "token_inactive"}, over_status=401)
    ),
    "Auth0, which denies access to a client with a wrong secret": Row(
        BY_ISSUER,
        Behaviour(**OPENID, refresh="single-use", stranger={"error": "access_denied", "error_description": "Unauthorized"}),
    ),
    # --- knobs
    "PKCE off": Row({**BY_URLS, "pkce": False}, Behaviour(pkce="unknown"), subject=None),
    "requests as JSON": Row({**BY_URLS, "requestFormat": "JSON"}, Behaviour(requests="json"), subject=None),
    "client authentication in the body": Row(
        {**BY_URLS, "clientAuthentication": "post"}, Behaviour(authentication="post"), subject=None
    ),
    "client authentication in the body, by discovery": Row(BY_ISSUER, Behaviour(**OPENID, authentication="post")),
    "client authentication in the body of a JSON request": Row(
        {**BY_URLS, "clientAuthentication": "post", "requestFormat": "JSON"},
        Behaviour(authentication="post", requests="json"),
        subject=None,
    ),
    "client authentication by a key": Row(
        {**BY_URLS, "clientAuthentication": "private_key_jwt"},
        Behaviour(authentication="private_key_jwt"),
        subject=None,
    ),
    "client authentication by a key, for the issuer (Auth0, Zitadel)": Row(
        {**BY_ISSUER, "clientAuthentication": "private_key_jwt", "clientAssertionAudience": "Issuer"},
        Behaviour(**OPENID, authentication="private_key_jwt", assertion_for="issuer"),
    ),
    "discovery as OAuth servers have it (RFC 8414)": Row(
        BY_ISSUER, Behaviour(discovery="oauth", needs_scope="offline_access"), None
    ),
    "an answer that names its issuer (RFC 9207)": Row(BY_ISSUER, Behaviour(**OPENID, iss="right", iss_announced=True)),
    "a resource that must be named (RFC 8707)": Row(
        {**BY_URLS, "authorizationParameters": RESOURCE, "tokenParameters": RESOURCE, "refreshParameters": RESOURCE},
        Behaviour(resource=RESOURCE["resource"]),
        subject=None,
    ),
    "an opaque token, and userinfo": Row(
        {**BY_ISSUER, "subject": {"source": "UserInfo"}},
        Behaviour(**{**OPENID, "id_token": {}}, knows={"preferred_username": "{person}"}),
    ),
    "an opaque token, and introspection (RFC 7662)": Row(
        {**BY_ISSUER, "subject": {"source": "Introspection"}},
        Behaviour(discovery="oauth", needs_scope="offline_access", knows={"username": "{person}"}),
    ),
    "a token exchange with the same server": Row(
        {**BY_ISSUER, "tokenExchange": {"tokenURL": "{url}/token"}},
        Behaviour(**OPENID),
        lifetime=timedelta(seconds=3599),
        exchanged=True,
    ),
    # --- what providers say of a token's lifetime
    "a lifetime as text": Row(BY_URLS, Behaviour(expires_in="600"), None),
    "no lifetime": Row(BY_URLS, Behaviour(expires_in=None), None, lifetime=None),
    "a lifetime of nothing": Row(BY_URLS, Behaviour(expires_in=0), None, lifetime=None),
    "a lifetime that is a point in time": Row(BY_URLS, Behaviour(expires_in=1795521600), None, lifetime=None),
    "a lifetime of a century": Row(BY_URLS, Behaviour(expires_in=100_000_000), None, lifetime=timedelta(days=365)),
    "a lifetime that is no number": Row(BY_URLS, Behaviour(expires_in="soon"), None, lifetime=None),
    "no refresh token, since nobody asked for it": Row(
        {**BY_ISSUER, "scopes": ["openid"]}, Behaviour(**OPENID), refresh_token=False
    ),
}
