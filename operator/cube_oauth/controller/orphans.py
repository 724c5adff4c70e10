"""Token Secrets whose UserCredential is gone: revoked at the provider, then removed. No finalizers: deleting never waits for us."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cube_oauth.controller.apps import AppNotReadyError, Client
from cube_oauth.controller.revoke import former_client
from cube_oauth.kube.api import USER_CREDENTIALS, Api
from cube_oauth.lifecycle.decide import bound
from cube_oauth.providers import ProviderError
from cube_oauth.resources.oauthapp import ClientAuthentication

if TYPE_CHECKING:
    from cube_oauth.controller.apps import Apps
    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.inventory import Inventory
    from cube_oauth.controller.revoke import Revoker
    from cube_oauth.controller.tokens import TokenStore
    from cube_oauth.resources.secrets import Reference, TokenSecret

log = logging.getLogger(__name__)

ATTEMPTS = 4
PAUSES = (timedelta(seconds=1), timedelta(seconds=5), timedelta(seconds=20))


class Orphans:
    """Removes what nobody owns any more; its keys are the UIDs of credentials."""

    def __init__(self, api: Api, inventory: Inventory, apps: Apps, tokens: TokenStore, revoker: Revoker, clock: Clock) -> None:
        self._api = api
        self._inventory = inventory
        self._apps = apps
        self._tokens = tokens
        self._revoker = revoker
        self._clock = clock
        self._attempts: dict[str, int] = {}

    async def reconcile(self, uid: str) -> datetime | None:
        """Revoke and remove the tokens of a credential that is surely gone; when to try again."""
        token = self._tokens.get(uid)
        if token is None or not await self._gone(token.record.credential):
            self._attempts.pop(uid, None)
            return None
        attempt = self._attempts[uid] = self._attempts.get(uid, 0) + 1
        if not await self._revoked(token) and attempt < ATTEMPTS:
            return self._clock.now() + PAUSES[attempt - 1]
        await self._tokens.delete(token)
        self._attempts.pop(uid, None)
        record = token.record
        where = {"namespace": record.app.namespace, "app": record.app.name, "credential": record.credential.name}
        log.info("tokens of a deleted credential removed", extra={**where, "reason": "CredentialGone"})
        return None

    async def _gone(self, reference: Reference) -> bool:
        """Whether the API server says so now, while it serves the kind. A KubeError is raised, and never means gone."""
        found = await self._api.get(USER_CREDENTIALS, reference.name, reference.namespace)
        if found is not None:
            return bool(found["metadata"]["uid"] != reference.uid)
        await self._api.list(USER_CREDENTIALS, reference.namespace, limit="1")
        return True

    async def _revoked(self, token: TokenSecret) -> bool:
        """Whether nothing is left to revoke. Best effort: the person's tokens are withheld anyway."""
        secret = self._revoker.stored(token)
        if token.record.revocation_url is None or secret is None:
            return True
        app = (token.record.app.namespace, token.record.app.name)
        return await self._revoker.revoke(await self._client(token), secret, app)

    async def _client(self, token: TokenSecret) -> Client:
        """The client whose tokens these are, if the OAuthApp is still that client."""
        record = token.record
        app = self._inventory.apps.get((record.app.namespace, record.app.name))
        if app is not None and bound(record, app):
            try:
                client = await self._apps.client((record.app.namespace, record.app.name))
                return former_client(record, client.credentials, client.endpoints.client_authentication)
            except (AppNotReadyError, ProviderError):
                pass
        return former_client(record, None, ClientAuthentication.NONE)
