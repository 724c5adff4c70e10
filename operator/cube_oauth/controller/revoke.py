"""Revoking at the provider (RFC 7009): best effort, for tokens that nobody will use."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cube_oauth.controller.apps import Client
from cube_oauth.providers import ClientCredentials, Endpoints, ProviderClient, ProviderError
from cube_oauth.resources.keyring import SealError
from cube_oauth.resources.oauthapp import ClientAuthentication

if TYPE_CHECKING:
    from pydantic import SecretStr

    from cube_oauth.controller.inventory import Key
    from cube_oauth.controller.keys import Keys
    from cube_oauth.controller.metrics import Metrics
    from cube_oauth.resources.secrets import TokenRecord, TokenSecret

log = logging.getLogger(__name__)

REVOKED = "Revoked"


class Revoker:
    """Revokes, counts and says in one line how it went."""

    def __init__(self, provider: ProviderClient, keys: Keys, metrics: Metrics) -> None:
        self._provider = provider
        self._keys = keys
        self._metrics = metrics

    async def revoke(self, client: Client, token: SecretStr, app: Key) -> bool:
        """Whether the provider has revoked it, or has no way to."""
        reason = REVOKED
        try:
            await self._provider.revoke(client.endpoints, client.credentials, token)
        except ProviderError as problem:
            reason = problem.reason
        self._metrics.revocations.labels(*app, reason).inc()
        log.info("revocation", extra={"namespace": app[0], "app": app[1], "reason": reason})
        return reason == REVOKED

    def stored(self, token: TokenSecret) -> SecretStr | None:
        """The token whose revocation ends the sign-in: the refresh token, else the access token; None when none can be read."""
        try:
            if token.refresh_token:
                return self._keys.refresh.open(token.refresh_token, token.record.owner)
            if token.access_token:
                return self._keys.access.open(token.access_token, token.record.owner)
        except SealError:
            log.warning("a stored token cannot be opened, so it is not revoked", extra={"secret": token.name})
        return None


def former_client(record: TokenRecord, credentials: ClientCredentials | None, method: ClientAuthentication) -> Client:
    """The client that a stored token belongs to, at the endpoints it came from; without credentials as a public client."""
    endpoints = Endpoints(
        authorization_url="",
        token_url=record.token_url,
        revocation_url=record.revocation_url,
        client_authentication=method if credentials else ClientAuthentication.NONE,
    )
    return Client(endpoints, credentials or ClientCredentials(record.client_id))
