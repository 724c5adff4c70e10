"""Token Secrets whose UserCredential is gone: set aside to be revoked, then removed. No finalizers: deleting never waits for us."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cube_oauth.controller.absence import gone
from cube_oauth.kube.api import USER_CREDENTIALS, Api, KubeError

if TYPE_CHECKING:
    from cube_oauth.controller.revoke import Revocations
    from cube_oauth.controller.tokens import TokenStore
    from cube_oauth.resources.secrets import TokenSecret

log = logging.getLogger(__name__)

REASON = "CredentialGone"


class Orphans:
    """Removes what nobody owns any more; its keys are the UIDs of credentials."""

    def __init__(self, api: Api, tokens: TokenStore, revocations: Revocations) -> None:
        self._api = api
        self._tokens = tokens
        self._revocations = revocations

    async def reconcile(self, uid: str) -> None:
        """Remove the tokens of a credential that is surely gone, and have them revoked."""
        token = self._tokens.get(uid)
        if token is None or not await gone(self._api, USER_CREDENTIALS, token.record.credential):
            return
        await self._revocations.set_aside(token, REASON)
        if await self._overtaken(token):
            await self.reconcile(uid)
            return
        self._revocations.removed(token)
        record = token.record
        where = {"namespace": record.app.namespace, "app": record.app.name, "credential": record.credential.name}
        log.info("tokens of a deleted credential removed", extra={**where, "reason": REASON})

    async def _overtaken(self, token: TokenSecret) -> bool:
        """Remove it, unless somebody wrote meanwhile: the answer of a refresh that was under way is to be revoked, too."""
        try:
            await self._tokens.delete(token)
        except KubeError as error:
            if not error.conflict:
                raise
            await self._tokens.reread(token.record.credential.uid)
            return True
        return False
