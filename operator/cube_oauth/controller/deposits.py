"""What administrators asked for in the portal: a client secret put beside its OAuthApp, and the app tried. Nothing of it stays."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pydantic import ValidationError

from cube_oauth.kube.api import OAUTH_APPS, SECRETS, Api, Object
from cube_oauth.kube.watch import Mirror
from cube_oauth.lifecycle.apps import Problem
from cube_oauth.lifecycle.deposits import overtaken, placed, recent, wanted
from cube_oauth.resources.keyring import SealError
from cube_oauth.resources.meta import ObjectMeta
from cube_oauth.resources.names import KIND_LABEL
from cube_oauth.resources.oauthapp import OAuthApp
from cube_oauth.resources.secrets import ClientDeposit, decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.events import Events
    from cube_oauth.controller.inventory import Key
    from cube_oauth.controller.keys import Keys
    from cube_oauth.controller.trials import Trials

log = logging.getLogger(__name__)


class Deposits:
    """Moves client secrets to their places."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        keys: Keys,
        events: Events,
        clock: Clock,
        found: Callable[[Key], None],
        saw: Callable[[OAuthApp], None],
        trials: Trials,
    ) -> None:
        """``found(key)`` looks at a deposit; ``saw(app)`` takes an app over that the watch may not have brought yet."""
        self._api = api
        self._keys = keys
        self._events = events
        self._clock = clock
        self._saw = saw
        self._trials = trials
        self.mirror: Mirror[Object] = Mirror(
            api,
            SECRETS,
            lambda secret: secret,
            namespace=namespace,
            label_selector=f"{KIND_LABEL}=client",
            changed=lambda key, new, _: found(key) if new else None,
        )

    async def reconcile(self, key: Key) -> datetime | None:
        """Move one. Whatever becomes of it, it does not stay."""
        secret = self.mirror.get(key)
        if secret is None:
            return None
        deposit = self._opened(secret)
        if deposit is not None:  # of two the API server's clock says which is the later one: those of two portals may differ
            typed_at = ObjectMeta.model_validate(secret["metadata"]).creation_timestamp or deposit.issued_at
            await self._serve(deposit.model_copy(update={"issued_at": typed_at}))
        await self._api.delete(SECRETS, key[1], key[0], uid=secret["metadata"]["uid"])
        self.mirror.discard(key)
        return None

    def _opened(self, secret: Object) -> ClientDeposit | None:
        try:
            sealed = decode(secret).get("client", "")
            return ClientDeposit.model_validate_json(self._keys.grant.open(sealed).get_secret_value())
        except (SealError, ValidationError):
            log.warning("a client secret cannot be read; removed", extra={"secret": secret["metadata"]["name"]})
            return None

    async def _serve(self, deposit: ClientDeposit) -> None:
        found = await self._api.get(OAUTH_APPS, deposit.app.name, deposit.app.namespace)
        app = OAuthApp.model_validate(found) if found else None
        if app is None or not recent(deposit, app, self._clock.now()):
            log.warning("came too late, or for another app; removed", extra=_where(deposit))
            return
        problem = await self._place(deposit, app) if wanted(deposit, app) else None
        self._saw(app)
        await self._trials.run(app, problem)

    async def _place(self, deposit: ClientDeposit, app: OAuthApp) -> Problem | None:
        """Why it was not put there, or None."""
        existing = await self._api.get(SECRETS, deposit.secret_name, deposit.app.namespace)
        body = placed(deposit, existing)
        if isinstance(body, Problem):
            self._events.warning("OAuthApp", app.metadata, body.reason, body.message)
            return body
        if overtaken(deposit, existing):
            log.info("a client secret that was typed later is there; removed", extra=_where(deposit))
            return None
        await self._write(body, new=existing is None)
        log.info("client secret placed", extra=_where(deposit))
        return None

    async def _write(self, body: Object, *, new: bool) -> None:
        if new:
            await self._api.create(SECRETS, body, body["metadata"]["namespace"])
        else:
            await self._api.replace(SECRETS, body)


def _where(deposit: ClientDeposit) -> dict[str, str]:
    return {"namespace": deposit.app.namespace, "app": deposit.app.name}
