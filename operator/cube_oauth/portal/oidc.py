"""Who somebody is: OpenID Connect's code flow with PKCE and nonce (OpenID Connect Core, section 3.1; RFC 9700)."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from cube_oauth.portal.refusals import RefusedError
from cube_oauth.portal.session import Pending
from cube_oauth.portal.texts import Text, say
from cube_oauth.providers import (
    CallbackError,
    ClientCredentials,
    Discovery,
    Endpoints,
    IdentityError,
    Kind,
    ProviderClient,
    ProviderError,
    authorization_url,
    endpoints_of,
    log_out_url,
    new_verifier,
    read_callback,
    verify_id_token,
)
from cube_oauth.resources.usercredential import username_fault

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cube_oauth.portal.settings import LogInSettings
    from cube_oauth.providers import TokenAnswer

log = logging.getLogger(__name__)

CALLBACK = "/login/callback"
AGAIN = "/login"


@dataclass(frozen=True)
class Person:
    """Who the provider says it is."""

    username: str
    groups: tuple[str, ...]


def claim_at(claims: object, path: str) -> object:
    """The claim at a dotted path; where names have dots in them, it is found, too. The same rule as in Cube's hook."""
    if not isinstance(claims, dict):
        return None
    if path in claims:
        return claims[path]
    dots = (place for place, letter in enumerate(path) if letter == ".")
    found = (claim_at(claims.get(path[:dot]), path[dot + 1 :]) for dot in dots)
    return next((value for value in found if value is not None), None)


def read_person(claims: Mapping[str, Any], settings: LogInSettings) -> Person:
    """The person in an ID token's claims. Raises RefusedError when they hold no usable username."""
    username = claim_at(claims, settings.username_claim)
    if not isinstance(username, str):
        raise RefusedError("Nameless", 403, retry=AGAIN, why=say("nameless.claim", claim=settings.username_claim))
    if settings.username_claim == "email" and str(claims.get("email_verified")).lower() == "false":
        raise RefusedError("Nameless", 403, retry=AGAIN, why=say("nameless.unverified"))
    if fault := username_fault(username):
        raise RefusedError("Nameless", 403, retry=AGAIN, why=Text(f"username.{fault}"))
    groups = claim_at(claims, settings.groups_claim)
    listed = groups if isinstance(groups, list) else [groups]
    return Person(username, tuple(group for group in listed if isinstance(group, str)))


class LogIn:
    """The log-in provider."""

    def __init__(self, settings: LogInSettings, client: ProviderClient, redirect_uri: str) -> None:
        self.settings = settings
        self._client = client
        self._discovery = Discovery(client)
        self._redirect_uri = redirect_uri

    async def begin(self, next_page: str, now: datetime) -> tuple[Pending, str]:
        """A new log-in, and where to send the browser. Raises RefusedError when the provider cannot be asked."""
        verifier, nonce = new_verifier(), secrets.token_urlsafe(24)
        pending = Pending(
            purpose="login", nonce=nonce, verifier=verifier.get_secret_value(), began=int(now.timestamp()), next=next_page
        )
        url = authorization_url(
            await self.endpoints(),
            self.settings.client_id,
            redirect_uri=self._redirect_uri,
            state=pending.state,
            nonce=nonce,
            code_verifier=verifier,
        )
        return pending, url

    async def finish(self, query: Mapping[str, str], pending: Pending, now: datetime) -> Person:
        """Who came back. Raises RefusedError."""
        endpoints = await self.endpoints()
        try:
            code = read_callback(query, pending.state, endpoints.issuer, iss_required=endpoints.iss_required)
            claims = await self._claims(endpoints, code, pending, now)
        except CallbackError as error:
            raise _refused_by_person(error) from error
        except ProviderError as error:
            raise _refused_by_provider(error) from error
        except IdentityError as error:
            raise RefusedError("LogInFailed", 403, retry=AGAIN, reason=error.reason) from error
        return read_person(claims, self.settings)

    async def endpoints(self) -> Endpoints:
        """From discovery. Raises RefusedError."""
        try:
            metadata = await self._discovery.metadata(self.settings.issuer)
        except ProviderError as error:
            raise _refused_by_provider(error) from error
        return endpoints_of(metadata, self.settings.scopes, confidential=self.settings.client_secret_file is not None)

    async def log_out_url(self) -> str | None:
        """Where to log out at the provider, too; None where it has no such address, or cannot be asked now."""
        try:
            metadata = await self._discovery.metadata(self.settings.issuer)
        except ProviderError:
            return None
        return log_out_url(metadata.end_session_url, self.settings.client_id) if metadata.end_session_url else None

    async def _claims(self, endpoints: Endpoints, code: SecretStr, pending: Pending, now: datetime) -> dict[str, Any]:
        answer = await self._client.exchange_code(
            endpoints,
            ClientCredentials(self.settings.client_id, self._secret()),
            code=code,
            redirect_uri=self._redirect_uri,
            code_verifier=SecretStr(pending.verifier or ""),
        )
        if answer.id_token is None or endpoints.jwks_url is None:
            raise RefusedError("LogInFailed", 502, retry=AGAIN, reason="NoIDToken")
        claims = verify_id_token(
            answer.id_token,
            await self._client.fetch_jwks(endpoints.jwks_url),
            issuer=self.settings.issuer,
            client_id=self.settings.client_id,
            nonce=pending.nonce,
            now=now,
        )
        return await self._completed(endpoints, answer, claims)

    async def _completed(self, endpoints: Endpoints, answer: TokenAnswer, claims: dict[str, Any]) -> dict[str, Any]:
        """With what only the userinfo endpoint says: many an ID token holds hardly more than ``sub`` (section 5.4).

        Without a username nobody is logged in; without groups, somebody who has none.
        """
        named, grouped = (claim_at(claims, path) is not None for path in (self.settings.username_claim, self.settings.groups_claim))
        if endpoints.subject_url is None or (named and grouped):
            return claims
        try:
            said = await self._client.userinfo(endpoints, answer.access_token)
        except ProviderError as error:
            if not named:
                raise
            log.warning("the userinfo endpoint does not say which groups somebody has", extra={"reason": error.reason})
            return claims
        if said.get("sub") != claims["sub"]:
            raise IdentityError("SubjectDiffers")
        return {**said, **claims}

    def _secret(self) -> SecretStr | None:
        """Read each time: a mounted Secret may be rotated."""
        file = self.settings.client_secret_file
        return SecretStr(file.read_text().strip()) if file else None


def _refused_by_person(error: CallbackError) -> RefusedError:
    word = {"AccessDenied": "LogInDenied", "LoginRequired": "LogInDenied", "ProviderUnavailable": "LogInUnavailable"}
    return RefusedError(word.get(error.reason, "LogInFailed"), 403, retry=AGAIN, reason=error.reason)


def _refused_by_provider(error: ProviderError) -> RefusedError:
    log.warning("the log-in provider cannot be asked", extra={"reason": error.reason})
    if error.kind is Kind.WEATHER:
        return RefusedError("LogInUnavailable", 503, retry=AGAIN, reason=error.reason)
    return RefusedError("LogInFailed", 502, retry=AGAIN, reason=error.reason)
