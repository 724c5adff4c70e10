"""Revoking at the provider (RFC 7009), for tokens that nobody will use any more.

What is to be revoked is written down first, as a Secret in the token namespace; so it outlives this process, an outage of the
provider, and whatever was deleted meanwhile: the credential, the OAuthApp, its client Secret, the whole tenant namespace.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING

from cube_oauth.controller.apps import Client
from cube_oauth.controller.queue import full_jitter
from cube_oauth.kube.api import SECRETS, KubeError
from cube_oauth.kube.watch import Mirror
from cube_oauth.lifecycle import revoke
from cube_oauth.lifecycle.decide import origin
from cube_oauth.providers import ClientCredentials, Endpoints, ProviderError
from cube_oauth.resources.keyring import SealError
from cube_oauth.resources.names import KIND_LABEL, revocation_secret_name
from cube_oauth.resources.oauthapp import ClientAuthentication, Refresh
from cube_oauth.resources.secrets import RevocationSecret

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pydantic import SecretStr

    from cube_oauth.controller.apps import Apps
    from cube_oauth.controller.budget import Backoff, Budget
    from cube_oauth.controller.calls import Calls
    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.inventory import Inventory, Key
    from cube_oauth.controller.keys import Keys
    from cube_oauth.controller.metrics import Metrics
    from cube_oauth.controller.tokens import TokenStore
    from cube_oauth.kube.api import Api
    from cube_oauth.providers import ProviderClient
    from cube_oauth.resources.secrets import TokenRecord, TokenSecret

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts to write something down."""

REVOKED = "Revoked"
NO_ENDPOINT = "NoEndpoint"
GIVEN_UP = "GivenUp"
UNDECIPHERABLE = "UndecipherableToken"
NEVER_USED = "NotGivenUpAfterAll"
FINAL = (REVOKED, UNDECIPHERABLE, "UnsupportedTokenType")
"""Outcomes after which there is nothing to be tried again."""


class Revocations:
    """Writes down what is to be revoked, and revokes it."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        inventory: Inventory,
        apps: Apps,
        tokens: TokenStore,
        provider: ProviderClient,
        calls: Calls,
        keys: Keys,
        budget: Budget,
        backoff: Backoff,
        metrics: Metrics,
        clock: Clock,
        found: Callable[[Key], None],
    ) -> None:
        """``found(key)`` looks at a revocation Secret."""
        self._api = api
        self._namespace = namespace
        self._inventory = inventory
        self._apps = apps
        self._tokens = tokens
        self._provider = provider
        self._calls = calls
        self._keys = keys
        self._budget = budget
        self._backoff = backoff
        self._metrics = metrics
        self._clock = clock
        self._found = found
        self._asking: set[Key] = set()
        self.mirror: Mirror[RevocationSecret] = Mirror(
            api,
            SECRETS,
            RevocationSecret.from_kubernetes,
            namespace=namespace,
            label_selector=f"{KIND_LABEL}=revocation",
            changed=lambda key, new, _: found(key) if new else None,
        )

    async def set_aside(self, token: TokenSecret, reason: str) -> None:
        """Write down that ``token`` is to be revoked: before it is removed from where it was. Raises KubeError."""
        client = await self._apps.client_of(token.record)
        method = client.endpoints.client_authentication if client else None
        secret = client.credentials.secret if client else None
        sealed = self._keys.refresh.seal(secret, token.record.owner) if secret else None
        audience = client.endpoints.assertion_audience if client else None
        wanted = revoke.set_aside(token, reason, method, sealed, self._clock.now(), audience)
        if wanted is None:
            if token.record.revocation_url is None:
                self._say(token, NO_ENDPOINT)
            return
        try:
            self.mirror.put(await self._api.create(SECRETS, wanted.to_kubernetes(self._namespace), self._namespace))
        except KubeError as error:
            if not error.conflict:  # written down before, by one who came no further
                raise

    async def give_back(self, token: TokenSecret, reason: str) -> None:
        """The same for tokens that exist nowhere else, however long that takes."""
        for failures in itertools.count(1):
            try:
                return await self.set_aside(token, reason)
            except KubeError as error:
                log.warning("a revocation is not written down; tried again", extra={"secret": token.name, "error": str(error)})
            await asyncio.sleep(full_jitter(failures, FIRST_PAUSE, LONGEST_PAUSE).total_seconds())
        raise AssertionError("unreachable")

    def removed(self, token: TokenSecret) -> None:
        """``token`` is not where it was any more: what was set aside can be revoked."""
        self._found(self._key(token))

    async def at_once(self, token: TokenSecret, reason: str) -> None:
        """Revoke what was never given to anybody; what does not succeed now is tried again later."""
        key = self._key(token)
        self._asking.add(key)
        try:
            await self.give_back(token, reason)
            if pending := self.mirror.get(key):
                await self._attempt(key, pending)
        finally:
            self._asking.discard(key)

    def _key(self, token: TokenSecret) -> Key:
        sealed = token.refresh_token or token.access_token or ""
        return self._namespace, revocation_secret_name(token.record.credential.uid, token.record.grant, sealed)

    async def reconcile(self, key: Key) -> datetime | None:
        """Look at one revocation Secret; when to look again."""
        pending, now = self.mirror.get(key), self._clock.now()
        if pending is None:
            self._forget(key)
            return None
        if key in self._asking:
            return now + revoke.SOON
        record = pending.record
        if revoke.in_use(record, self._tokens.get(record.token.credential.uid)):
            return await self._not_yet(pending, now)
        if record.until <= now:
            await self._done(pending, GIVEN_UP)
            return None
        turn = self._turn(key, pending, now)
        return turn if turn > now else await self._attempt(key, pending)

    async def _not_yet(self, pending: RevocationSecret, now: datetime) -> datetime | None:
        """The tokens are still where they were: about to be removed, or their remover died."""
        if now - pending.record.since < revoke.UNUSED:
            return now + max(revoke.SOON, (now - pending.record.since) / 2)
        await self._done(pending, NEVER_USED)
        return None

    def _turn(self, key: Key, pending: RevocationSecret, now: datetime) -> datetime:
        """When the provider may be asked: after a pause, and within its budget."""
        token = pending.record.token
        place, app = _place(token), (token.app.namespace, token.app.name)
        pause = self._backoff.not_before(key, place)
        if pause and pause > now:
            return pause
        known = self._inventory.apps.get(app)
        refresh = known.spec.refresh if known else Refresh()
        return self._budget.reserve(place, refresh.requests_per_second, key, now, app=app)

    async def _attempt(self, key: Key, pending: RevocationSecret) -> datetime | None:
        self._budget.spend(key)
        place, now = _place(pending.record.token), self._clock.now()
        reason = REVOKED
        try:
            await self._ask(pending)
        except SealError:
            reason = UNDECIPHERABLE
        except ProviderError as problem:
            reason = problem.reason
            if problem.retry_after:
                self._backoff.hold(place, now + problem.retry_after)
        if reason in FINAL:
            await self._done(pending, reason)
            return None
        self._say(pending, reason)
        return min(self._backoff.failed(key, now, longest=revoke.LONGEST_PAUSE.total_seconds()), pending.record.until)

    async def _ask(self, pending: RevocationSecret) -> None:
        secret = self._opened(pending)
        client = await self._client(pending)
        app, place = pending.record.token.app, _place(pending.record.token)
        request = self._provider.revoke(client.endpoints, client.credentials, secret, _hint(pending))
        await self._calls.make("revoke", (app.namespace, app.name), place, request)

    def _opened(self, pending: RevocationSecret) -> SecretStr:
        owner = pending.record.token.owner
        if pending.refresh_token:
            return self._keys.refresh.open(pending.refresh_token, owner)
        return self._keys.access.open(pending.access_token or "", owner)

    async def _client(self, pending: RevocationSecret) -> Client:
        """The client whose tokens these are: as the OAuthApp is now, else as it was, else without a secret; always where it was."""
        record = pending.record
        known = await self._apps.client_of(record.token)
        if known:
            endpoints = known.endpoints
            return _at(record.token, known.credentials, endpoints.client_authentication, endpoints.assertion_audience)
        stored = self._keys.refresh.open(pending.client_secret, record.token.owner) if pending.client_secret else None
        method = record.client_authentication if stored else ClientAuthentication.NONE
        return _at(record.token, ClientCredentials(record.token.client_id, stored), method, record.assertion_audience)

    async def _done(self, pending: RevocationSecret, reason: str) -> None:
        await self._api.delete(SECRETS, pending.name, self._namespace)
        key = (self._namespace, pending.name)
        self.mirror.discard(key)
        self._forget(key)
        self._say(pending, reason)

    def _forget(self, key: Key) -> None:
        self._backoff.succeeded(key)
        self._budget.spend(key)

    def _say(self, what: TokenSecret | RevocationSecret, outcome: str) -> None:
        token = what.record.token if isinstance(what, RevocationSecret) else what.record
        self._metrics.revocations.labels(token.app.namespace, token.app.name, outcome).inc()
        where = {"namespace": token.app.namespace, "app": token.app.name, "credential": token.credential.name}
        level = logging.WARNING if outcome in (GIVEN_UP, UNDECIPHERABLE) else logging.INFO
        log.log(level, "revocation", extra={**where, "reason": outcome})


def _hint(pending: RevocationSecret) -> str:
    return "refresh_token" if pending.refresh_token else "access_token"


def _place(record: TokenRecord) -> str:
    """Whose budget a revocation counts for: often, but not always, that of the token endpoint."""
    return origin(record.revocation_url or record.token_url)


def _at(record: TokenRecord, credentials: ClientCredentials, method: ClientAuthentication, audience: str | None) -> Client:
    """A client at the endpoints that its tokens came from."""
    endpoints = Endpoints(
        authorization_url="",
        token_url=record.token_url,
        revocation_url=record.revocation_url,
        client_authentication=method,
        assertion_audience=audience,
    )
    return Client(endpoints, credentials)
