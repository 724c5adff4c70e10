"""The OAuth client: every request to a provider is made here.

authlib prepares the requests, aiohttp carries them. Nothing is stored and nothing is logged; whoever calls decides.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlencode

from authlib.oauth2.rfc6749.parameters import prepare_token_request
from authlib.oauth2.rfc7009 import prepare_revoke_token_request
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet
from pydantic import SecretStr

from cube_oauth.providers.answers import HTTPAnswer, TokenAnswer, json_object, refuse, token_answer
from cube_oauth.providers.authentication import ClientCredentials, authenticated
from cube_oauth.providers.errors import (
    EXCHANGE_FAILED,
    INVALID_CLIENT,
    INVALID_METADATA,
    INVALID_REQUEST,
    REFUSED_WITHOUT_REASON,
    SUBJECT_ENDPOINT_MISSING,
    SUBJECT_NOT_TOLD,
    SUBJECT_TOKEN_MISSING,
    TOKEN_NOT_EXCHANGED,
    UNREADABLE_ANSWER,
    Kind,
    ProviderError,
    error,
    sort,
)
from cube_oauth.providers.identity import IdentityError, signed_claims
from cube_oauth.providers.transport import Transport
from cube_oauth.resources.oauthapp import RequestFormat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from cube_oauth.providers.endpoints import Endpoints
    from cube_oauth.providers.presets import Exchange

_OK = 200
_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a grant type
_TOKEN_TYPES = {
    "AccessToken": "urn:ietf:params:oauth:token-type:access_token",
    "IDToken": "urn:ietf:params:oauth:token-type:id_token",
}
_PROTOCOL = frozenset(
    (
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "client_secret",
        "code",
        "code_verifier",
        "grant_type",
        "redirect_uri",
        "refresh_token",
    )
)


def _form(grant_type: str, extra: Mapping[str, str], **own: str | None) -> str:
    """A token request's body (RFC 6749, section 4.1.3). What the protocol sets wins over ``extra``."""
    kept = {name: value for name, value in extra.items() if name not in _PROTOCOL and name not in own}
    return str(prepare_token_request(grant_type, urlencode(kept), **own))


def _subject_url(endpoints: Endpoints) -> str:
    if endpoints.subject_url is None:
        raise error(SUBJECT_ENDPOINT_MISSING, sent=False)
    return endpoints.subject_url


def _claims(answer: HTTPAnswer) -> dict[str, Any]:
    """The claims in an answer. A refusal is about this token here, not about the client's registration: no reason to stop it."""
    if answer.status != _OK:
        reason = sort(answer.status, None)
        passes = reason.kind is Kind.WEATHER and reason is not REFUSED_WITHOUT_REASON
        raise error(reason if passes else SUBJECT_NOT_TOLD, retry_after=answer.retry_after)
    found = json_object(answer.body)
    if found is None:
        raise error(UNREADABLE_ANSWER)
    return found


def _signed(answer: HTTPAnswer, jwks: KeySet, issuer: str | None) -> dict[str, Any]:
    """Userinfo as a JWT (section 5.3.2). Somebody else's counts as if the provider had said nothing."""
    try:
        claims = signed_claims(SecretStr(answer.body.decode("ascii", "replace").strip()), jwks)
    except IdentityError:
        raise error(SUBJECT_NOT_TOLD) from None
    if claims.get("iss", issuer) != issuer:
        raise error(SUBJECT_NOT_TOLD)
    return claims


def _public_key(found: Any) -> Key | None:
    """A published key; None for one that cannot be used: of a kind that nobody knows yet, or broken (RFC 7517, section 5)."""
    try:
        return JWKRegistry.import_key(found)
    except (JoseError, ValueError, KeyError, TypeError, AttributeError):
        return None


class ProviderClient:
    """Talks to all providers of the process; an async context manager, to be opened once.

    Every method raises ProviderError, and only that, when the provider cannot be asked or refuses.
    """

    def __init__(self, transport: Transport | None = None) -> None:
        self._transport = transport or Transport()

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._transport.__aexit__(*problem)

    async def exchange_code(
        self,
        endpoints: Endpoints,
        client: ClientCredentials,
        *,
        code: SecretStr,
        redirect_uri: str,
        code_verifier: SecretStr | None,
        within: timedelta | None = None,
    ) -> TokenAnswer:
        """Exchange an authorization code (RFC 6749, section 4.1.3; RFC 7636, section 4.5). A code works once.

        ``within`` replaces the total timeout.
        """
        body = _form(
            "authorization_code",
            endpoints.token_parameters,
            redirect_uri=redirect_uri,
            code=code.get_secret_value(),
            code_verifier=code_verifier.get_secret_value() if code_verifier else None,
        )
        return await self._token(endpoints, client, body, within)

    async def refresh(
        self,
        endpoints: Endpoints,
        client: ClientCredentials,
        refresh_token: SecretStr,
        *,
        within: timedelta | None = None,
    ) -> TokenAnswer:
        """Redeem a refresh token (RFC 6749, section 6), which may work once. ``within`` replaces the total timeout."""
        body = _form("refresh_token", endpoints.refresh_parameters, refresh_token=refresh_token.get_secret_value())
        return await self._token(endpoints, client, body, within)

    async def exchange_token(
        self, endpoints: Endpoints, client: ClientCredentials, answer: TokenAnswer, *, within: timedelta | None = None
    ) -> TokenAnswer:
        """The provider's answer with the warehouse's access token in the place of its own (RFC 8693, section 2).

        Lifetime and scopes are those of the new token; the refresh token stays the provider's. Without ``endpoints.exchange`` the
        answer is given back as it is.
        """
        exchange = endpoints.exchange
        if exchange is None:
            return answer
        token = answer.id_token if exchange.subject_token == "IDToken" else answer.access_token  # noqa: S105 - which one
        if token is None:
            raise error(SUBJECT_TOKEN_MISSING, sent=False)
        body = _form(
            _TOKEN_EXCHANGE,
            {},
            subject_token=token.get_secret_value(),
            subject_token_type=exchange.subject_token_type or _TOKEN_TYPES[exchange.subject_token],
            requested_token_type=exchange.requested_token_type,
            audience=exchange.audience,
            resource=exchange.resource,
            scope=" ".join(exchange.scopes) or None,
        )
        found = await self._exchanged(endpoints, client, exchange, body, within)
        return replace(answer, access_token=found.access_token, expires_in=found.expires_in, scopes=found.scopes or exchange.scopes)

    async def _exchanged(
        self, endpoints: Endpoints, client: ClientCredentials, exchange: Exchange, body: str, within: timedelta | None
    ) -> TokenAnswer:
        """What the warehouse answers. What it has against this token is about one person, and does not end the sign-in."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if exchange.authenticated:
            headers, body = authenticated(endpoints, client, exchange.token_url, body)
        answer = await self._transport.post(exchange.token_url, body, headers, within)
        try:
            return token_answer(answer)
        except ProviderError as problem:
            if problem.kind is Kind.WEATHER:
                raise
            refused = problem
        if refused.kind is Kind.USER or refused.reason == INVALID_REQUEST.word:  # section 2.2.2
            raise error(TOKEN_NOT_EXCHANGED)
        raise ProviderError(refused.kind, refused.reason, f"{EXCHANGE_FAILED} {refused.message}")

    async def client_credentials(
        self,
        endpoints: Endpoints,
        client: ClientCredentials,
        parameters: Mapping[str, str] | None = None,
        *,
        within: timedelta | None = None,
    ) -> TokenAnswer:
        """A token for the client itself (RFC 6749, section 4.4), for the scopes of ``endpoints``."""
        body = _form("client_credentials", parameters or {}, scope=endpoints.scope_separator.join(endpoints.scopes))
        return await self._token(endpoints, client, body, within)

    async def revoke(self, endpoints: Endpoints, client: ClientCredentials, token: SecretStr, hint: str = "refresh_token") -> None:
        """Revoke a token (RFC 7009). Nothing is done when the provider has no endpoint for that (``revocation_url``).

        A provider that says the token is not valid (any more) has done what was asked for.
        """
        url = endpoints.revocation_url
        if url is None:
            return
        body, _ = prepare_revoke_token_request(token.get_secret_value(), hint)
        answer = await self._post(endpoints, client, url, str(body), None)
        try:
            refuse(answer)
        except ProviderError as problem:
            if problem.kind is not Kind.USER:
                raise

    async def userinfo(self, endpoints: Endpoints, access_token: SecretStr, *, within: timedelta | None = None) -> dict[str, Any]:
        """The claims of whoever the access token is for (OpenID Connect Core, section 5.3), as JSON or as a signed JWT."""
        bearer = {"Authorization": f"Bearer {access_token.get_secret_value()}"}
        answer = await self._transport.get(_subject_url(endpoints), bearer, within)
        if answer.status == _OK and answer.content_type == "application/jwt" and endpoints.jwks_url:
            return _signed(answer, await self.fetch_jwks(endpoints.jwks_url), endpoints.issuer)
        return _claims(answer)

    async def introspect(
        self, endpoints: Endpoints, client: ClientCredentials, access_token: SecretStr, *, within: timedelta | None = None
    ) -> dict[str, Any]:
        """What the provider knows of an access token (RFC 7662, section 2.2). ``active`` says whether it counts."""
        body = urlencode({"token": access_token.get_secret_value(), "token_type_hint": "access_token"})
        return _claims(await self._post(endpoints, client, _subject_url(endpoints), body, within))

    async def document(self, url: str) -> dict[str, Any]:
        """A JSON object that anybody may read: a discovery document, a key set."""
        answer = await self._transport.get(url)
        if answer.status != _OK:
            reason = sort(answer.status, None)
            raise error(REFUSED_WITHOUT_REASON if reason is INVALID_CLIENT else reason, retry_after=answer.retry_after)
        found = json_object(answer.body)
        if found is None:
            raise error(UNREADABLE_ANSWER)
        return found

    async def status_of(self, url: str) -> int:
        """The HTTP status with which an address answers a browser that nobody is logged in with."""
        return (await self._transport.get(url)).status

    async def fetch_jwks(self, jwks_url: str) -> KeySet:
        """The provider's public keys (RFC 7517, section 5). Not kept: a log-in is rare, and keys rotate."""
        found: Any = await self.document(jwks_url)
        listed = found.get("keys")
        keys = [key for one in listed if (key := _public_key(one))] if isinstance(listed, list) else []
        if not keys:
            raise error(UNREADABLE_ANSWER)
        return KeySet(keys)

    def checked_url(self, url: object) -> str:
        """``url`` when it is one that can be asked. Raises ProviderError (the app's, ``InvalidMetadata``) otherwise."""
        if isinstance(url, str) and self._transport.permits(url):
            return url
        raise error(INVALID_METADATA)

    async def _post(
        self, endpoints: Endpoints, client: ClientCredentials, url: str, body: str, within: timedelta | None
    ) -> HTTPAnswer:
        headers, signed = authenticated(endpoints, client, url, body)
        return await self._transport.post(url, signed, headers, within)

    async def _token(self, endpoints: Endpoints, client: ClientCredentials, body: str, within: timedelta | None) -> TokenAnswer:
        headers, signed = authenticated(endpoints, client, endpoints.token_url, body)
        if endpoints.request_format is RequestFormat.JSON:
            headers["Content-Type"], signed = "application/json", json.dumps(dict(parse_qsl(signed, keep_blank_values=True)))
        answer = await self._transport.post(endpoints.token_url, signed, headers, within)
        return token_answer(answer, endpoints.scope_separator)
