"""Service accounts: copied from a Secret that consents, or fetched by a client of the provider; published to Cube's pods and hooks.

What is published lies in the token namespace (encrypted, where the broker reads it for the hooks) and, unless the Secret that is
named lies beside Cube anyway, in a Secret of ours beside Cube (for pods that start).
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pydantic import SecretStr

from cube_oauth.controller.apps import AppNotReadyError, Client
from cube_oauth.controller.inventory import Key, key_of
from cube_oauth.controller.rollouts import Rolled
from cube_oauth.controller.sources import Sources
from cube_oauth.kube.api import SECRETS, Api, KubeError, Object
from cube_oauth.kube.watch import Mirror
from cube_oauth.lifecycle import accounts
from cube_oauth.lifecycle.accounts import DELAYED, NOT_WATCHED, PUBLISHED, TARGET_FORBIDDEN, TARGET_TAKEN, WITHDRAWS, about
from cube_oauth.lifecycle.apps import Problem
from cube_oauth.lifecycle.decide import origin
from cube_oauth.providers import ClientCredentials, Kind, ProviderError, account_endpoints, account_env
from cube_oauth.resources.accounts import AccountSecret, is_target, target_secret, values_from_text, values_to_text
from cube_oauth.resources.keyring import SealError
from cube_oauth.resources.meta import rfc3339
from cube_oauth.resources.names import KIND_LABEL, account_secret_name, target_secret_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from cube_oauth.controller.apps import Apps
    from cube_oauth.controller.budget import Backoff, Budget
    from cube_oauth.controller.calls import Calls
    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.events import Events
    from cube_oauth.controller.inventory import Inventory
    from cube_oauth.controller.keys import Keys
    from cube_oauth.controller.rollouts import Rollouts
    from cube_oauth.providers import ProviderClient, TokenAnswer
    from cube_oauth.resources.oauthapp import AccountClient, AccountReference, OAuthApp

log = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(seconds=60)
LOOK_AGAIN_AT_PROBLEM = timedelta(seconds=5)
REQUEST = timedelta(seconds=10)
FORBIDDEN = 403


@dataclass(frozen=True)
class Refusal:
    """The provider refused the client: it is asked again after a pause, or at once when something was corrected."""

    problem: Problem
    fingerprint: str
    retry_at: datetime


class NotPublishedError(Exception):
    """The account cannot be published; the condition says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Accounts:
    """Looks after the service accounts of all OAuthApps; its keys are those of the apps."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        inventory: Inventory,
        apps: Apps,
        provider: ProviderClient,
        calls: Calls,
        keys: Keys,
        budget: Budget,
        backoff: Backoff,
        events: Events,
        clock: Clock,
        rollouts: Rollouts,
        found: Callable[[Key], None],
        may_watch: Callable[[Key], bool] = lambda _: True,
    ) -> None:
        """``found(key)`` looks at the account of an app. ``may_watch(source)``: whether the chart permits to watch a Secret."""
        self._api = api
        self._namespace = namespace
        self._inventory = inventory
        self._apps = apps
        self._provider = provider
        self._calls = calls
        self._keys = keys
        self._budget = budget
        self._backoff = backoff
        self._events = events
        self._clock = clock
        self._rollouts = rollouts
        self._rolled: dict[Key, str] = {}
        """By app, the version of its account that no pod is behind."""
        self._replaced: dict[Key, datetime] = {}
        """By app, when its target was given other values than pods may have begun with."""
        self._refusals: dict[Key, Refusal] = {}
        self._weather: dict[Key, tuple[str, str]] = {}
        """What was in the way last, in a sentence, and the fingerprint of what was asked."""
        self._said: dict[Key, str] = {}
        self.sources = Sources(api, found, may_watch)
        self.mirror: Mirror[AccountSecret] = Mirror(
            api,
            SECRETS,
            AccountSecret.from_kubernetes,
            namespace=namespace,
            label_selector=f"{KIND_LABEL}=account",
            changed=lambda _, new, old: found((old.record.app.namespace, old.record.app.name)) if old and not new else None,
        )

    async def reconcile(self, key: Key) -> datetime | None:
        """Look at the account of one app, do what is due; when to look again."""
        app = self._inventory.apps.get(key)
        account = app.spec.service_account if app else None
        ref = account.secret_ref if account else None
        self.sources.follow(key, (ref.namespace or key[0], ref.name) if ref else None)
        await self._remove_others(key, app)
        if app is None or account is None or not account_env(app):
            await self._forget(key, app)
            return None
        if not self._apps.known(key):
            return None  # whoever looks at the app calls
        try:
            if ref is not None:
                return await self._copy(app, ref)
            assert account.client_credentials is not None  # noqa: S101 - one of the two, the API server says
            return await self._fetch(app, account.client_credentials)
        except NotPublishedError as failure:
            await self._refuse(app, failure.problem)
            return self._clock.now() + LOOK_AGAIN_AT_PROBLEM

    # ---- copied

    async def _copy(self, app: OAuthApp, ref: AccountReference) -> datetime | None:
        source, now = self.sources.get((ref.namespace or app.metadata.namespace, ref.name)), self._clock.now()
        if source is None:
            return None  # the watch calls
        beside = not accounts.foreign(app, ref)
        if beside and not source.permitted:  # pods read it when they start, and we do not know whether it is still the same
            await self._drop(app)
            self._say(app, about(NOT_WATCHED, target=ref.name), ready=True, secret=ref.name)
            return now + LOOK_AGAIN
        values = accounts.copied_values(app, ref, account_env(app), source)
        if isinstance(values, Problem):
            raise NotPublishedError(values)
        if not beside:
            await self._write_target(app, await self._target(app), values)
        await self._publish(app, values, target=None if beside else target_secret_name(app.metadata.name), fetched=False)
        holder = ref.name if beside else target_secret_name(app.metadata.name)
        self._say(app, about(PUBLISHED, target=holder), ready=True, secret=holder)
        return await self._roll(app, holder, now + LOOK_AGAIN)

    # ---- fetched

    async def _fetch(self, app: OAuthApp, own: AccountClient) -> datetime | None:
        target, client = await self._target(app), await self._client(app, own)
        wanted = _asked(client, own)
        values = self._opened(self._stored(app))
        at = accounts.due(app, self._stored(app), wanted, opens=values is not None)
        again = None
        if at is None or at <= self._clock.now():
            again = await self._ask(app, own, client, wanted)
            values = self._opened(self._stored(app))
        if values:  # the one before serves until it ends
            values = dict.fromkeys(account_env(app), next(iter(values.values())))
            await self._write_target(app, target, values)
            await self._publish(app, values, target=target_secret_name(app.metadata.name), fetched=True)
        if again is not None:
            return self._delayed(app, again)
        self._fetched(app)
        at = accounts.due(app, self._stored(app), wanted, opens=True)
        again = min(self._clock.now() + LOOK_AGAIN, at or self._clock.now())
        return await self._roll(app, target_secret_name(app.metadata.name), again)

    async def _client(self, app: OAuthApp, own: AccountClient) -> Client:
        """The client with its secret as it is now. Raises NotPublishedError, KubeError."""
        ref = own.client_secret_ref or app.spec.client_secret_ref
        assert ref is not None  # noqa: S101 - the API server says so
        try:
            endpoints = account_endpoints(app, await self._apps.endpoints(key_of(app.metadata)))
        except AppNotReadyError as failure:
            raise NotPublishedError(failure.problem) from None
        except ProviderError as problem:
            raise NotPublishedError(Problem(problem.reason, problem.message)) from None
        secret = await self._apps.secret(app, ref)
        if isinstance(secret, Problem):
            raise NotPublishedError(secret)
        return Client(endpoints, ClientCredentials(own.client_id or app.spec.client_id, secret))

    async def _ask(self, app: OAuthApp, own: AccountClient, client: Client, wanted: str) -> datetime | None:
        """Fetch a token and write it; None when there is a new one, else when to try again. Raises NotPublishedError, KubeError."""
        key, now, fingerprint = key_of(app.metadata), self._clock.now(), _fingerprint(client, wanted)
        place, name = origin(client.endpoints.token_url), _name(key)
        refusal = self._refusals.get(key)
        if refusal and refusal.fingerprint == fingerprint and refusal.retry_at > now:
            raise NotPublishedError(refusal.problem)
        if key in self._weather and self._weather[key][1] != fingerprint:
            self._backoff.succeeded(name)  # something was corrected: an address, for one
        pause = self._backoff.not_before(name, place) if refusal is None else None
        turn = pause or self._budget.reserve(place, app.spec.refresh.requests_per_second, name, now, urgent=True, app=key)
        if turn > now:
            return turn
        self._budget.spend(name)
        request = self._provider.client_credentials(client.endpoints, client.credentials, own.parameters, within=REQUEST)
        try:
            answer = await self._calls.make("client_credentials", key, place, request)
        except ProviderError as problem:
            return self._failed(app, problem, place, fingerprint)
        self._backoff.succeeded(name)
        await self._keep(app, answer, wanted, now)
        return None

    def _failed(self, app: OAuthApp, problem: ProviderError, place: str, fingerprint: str) -> datetime:
        """The weather passes. Anything else is said at the app, and tried again when something was corrected, or later."""
        key, now = key_of(app.metadata), self._clock.now()
        log.info("service account not fetched", extra={**_where(app), "reason": problem.reason})
        if problem.kind is not Kind.WEATHER:
            said = Problem(problem.reason, problem.message)
            self._refusals[key] = Refusal(said, fingerprint, self._backoff.failed(_name(key), now))
            raise NotPublishedError(said)
        self._weather[key] = problem.message, fingerprint
        pause = self._backoff.failed(_name(key), now, accounts.longest_pause(self._stored(app)).total_seconds())
        return max(pause, self._backoff.hold(place, now + problem.retry_after)) if problem.retry_after else pause

    async def _keep(self, app: OAuthApp, answer: TokenAnswer, wanted: str, sent: datetime) -> None:
        """Write a token; its lifetime began surely not before it was asked for."""
        values = dict.fromkeys(account_env(app), answer.access_token.get_secret_value())
        secret = accounts.published(app, self._stored(app), values, sent, target_secret_name(app.metadata.name))
        secret = accounts.fetched(secret, wanted, answer.expires_in, app.spec.default_token_lifetime_seconds)
        await self._write(replace(secret, values=self._sealed(secret, values)))
        log.info("service account fetched", extra={**_where(app), "revision": secret.record.revision})

    def _fetched(self, app: OAuthApp) -> None:
        key, target = key_of(app.metadata), target_secret_name(app.metadata.name)
        self._refusals.pop(key, None)
        self._weather.pop(key, None)
        self._say(app, about(PUBLISHED, target=target), ready=True, secret=target)

    def _delayed(self, app: OAuthApp, again: datetime) -> datetime:
        """Nothing is said while the token before serves; then it is looked at again when that ends."""
        stored, now = self._stored(app), self._clock.now()
        ends = stored.record.expires_at if stored and stored.values else None
        if ends is not None and ends > now:
            return min(again, ends)
        problem, _ = self._weather.get(key_of(app.metadata), ("", ""))
        if problem:
            target = target_secret_name(app.metadata.name) if stored else None
            self._say(app, about(DELAYED, detail=problem), ready=False, secret=target)
        return again

    # ---- what is published

    async def _publish(self, app: OAuthApp, values: Mapping[str, str], target: str | None, *, fetched: bool) -> None:
        """Bring the values to the broker, if they are others than those that are there."""
        stored = self._stored(app)
        if stored and stored.record.target and target is None:
            await self._remove_target(app.metadata.name, app.metadata.namespace)
        if self._opened(stored) == values and stored:
            if stored.record.target == target and not self._keys.access.stale(stored.values, stored.record.owner):
                return
            same = replace(stored, record=stored.record.model_copy(update={"target": target}))
            await self._write(replace(same, values=self._sealed(same, values)))
            return
        if stored and fetched:
            secret = accounts.spread(stored, values)
        else:
            secret = accounts.published(app, stored, values, self._clock.now(), target)
        await self._write(replace(secret, values=self._sealed(secret, values)))
        log.info("service account changed", extra={**_where(app), "revision": secret.record.revision})

    async def _roll(self, app: OAuthApp, secret: str, again: datetime) -> datetime:
        """Restart what reads the Secret, has no hook and asks for it; when to look again, sooner while some wait for their turn."""
        key, stored = key_of(app.metadata), self._stored(app)
        if stored is None or (stored.record.revision == 1 and key not in self._replaced):
            return again  # before the first there was nothing that a pod could have begun with
        record = stored.record
        version = f"{app.metadata.name}-{record.revision} of {rfc3339(record.issued_at)}"  # an account made anew counts from 1
        if self._rolled.get(key) == version:
            return again
        since = max(record.issued_at, self._replaced.get(key, record.issued_at))
        rolled = await self._rollouts.roll(app.metadata.namespace, secret, since, version)
        if rolled is Rolled.OUT:
            self._rolled[key] = version
        return min(again, self._clock.now() + LOOK_AGAIN_AT_PROBLEM) if rolled is Rolled.WAITING else again

    async def _refuse(self, app: OAuthApp, problem: Problem) -> None:
        """Say why the account is not as it should be; one that may not be used any more is withdrawn."""
        stored = self._stored(app)
        if stored and problem.reason in WITHDRAWS:
            problem = await self._withdraw(app, stored, problem)
        self._say(app, problem, ready=False, secret=stored.record.target if stored else None)

    async def _withdraw(self, app: OAuthApp, stored: AccountSecret, problem: Problem) -> Problem:
        """Take it back from the hooks, and from the pods as soon as that can be done; what to say."""
        if stored.values is not None:
            await self._write(accounts.withdrawn(stored, problem.reason, self._clock.now()))
            log.warning("service account withdrawn", extra={**_where(app), "reason": problem.reason})
        try:
            if stored.record.target:
                await self._write_target(app, await self._target(app), {})
        except NotPublishedError as failure:
            return failure.problem
        return problem

    def _say(self, app: OAuthApp, said: Problem, *, ready: bool, secret: str | None) -> None:
        key = key_of(app.metadata)
        known = next((one.reason for one in app.status.conditions if one.type == accounts.CONDITION), None)
        before, self._said[key] = self._said.get(key, known), said.reason
        self._apps.account(key, accounts.condition(app, said, ready=ready), secret)
        if before == said.reason:
            return
        log.log(logging.INFO if ready else logging.WARNING, "service account", extra={**_where(app), "reason": said.reason})
        if ready:
            self._events.normal("OAuthApp", app.metadata, f"{accounts.EVENT}{said.reason}", said.message)
        else:
            self._events.warning("OAuthApp", app.metadata, said.reason, said.message)

    # ---- the Secret in the token namespace

    def _stored(self, app: OAuthApp) -> AccountSecret | None:
        found = self.mirror.get((self._namespace, account_secret_name(app.metadata.uid)))
        return found if found and found.record.app.uid == app.metadata.uid else None

    def _opened(self, stored: AccountSecret | None) -> dict[str, str] | None:
        """The values; None when there are none, or their key is not there: then they are copied or fetched anew."""
        if stored is None or stored.values is None:
            return None
        try:
            return values_from_text(self._keys.access.open(stored.values, stored.record.owner).get_secret_value())
        except SealError:
            return None

    def _sealed(self, secret: AccountSecret, values: Mapping[str, str]) -> str:
        return self._keys.access.seal(SecretStr(values_to_text(values)), secret.record.owner)

    async def _write(self, secret: AccountSecret) -> None:
        """By compare-and-swap: a conflict means that the copy lags behind, and is tried again. Raises KubeError."""
        body = secret.to_kubernetes(self._namespace)
        if secret.resource_version:
            self.mirror.put(await self._api.replace(SECRETS, body))
        else:
            self.mirror.put(await self._api.create(SECRETS, body, self._namespace))

    async def _delete(self, stored: AccountSecret) -> None:
        await self._api.delete(SECRETS, stored.name, self._namespace)
        self.mirror.discard((self._namespace, stored.name))

    # ---- the Secret beside Cube

    async def _target(self, app: OAuthApp) -> Object | None:
        """What is there under the target's name, if it is ours. Raises NotPublishedError, KubeError."""
        name = target_secret_name(app.metadata.name)
        try:
            found = await self._api.get(SECRETS, name, app.metadata.namespace)
        except KubeError as error:
            raise _forbidden(error, name) from error
        if found is not None and not is_target(found, app.metadata.name):
            raise NotPublishedError(about(TARGET_TAKEN, target=name))
        return found

    async def _write_target(self, app: OAuthApp, known: Object | None, values: Mapping[str, str]) -> None:
        """Create it, or replace just the version that is ``known``; nothing when it is so already."""
        wanted = target_secret(app, values)
        if known is not None and _same(known, wanted):
            return
        try:
            if known is None:
                await self._api.create(SECRETS, wanted, app.metadata.namespace)
            else:
                wanted["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
                await self._api.replace(SECRETS, wanted)
        except KubeError as error:
            raise _forbidden(error, target_secret_name(app.metadata.name)) from error
        if known is not None and (known.get("data") or {}) != wanted["data"]:
            self._replaced[key_of(app.metadata)] = self._clock.now()

    async def _remove_target(self, app: str, namespace: str) -> None:
        """If it is there and ours. The garbage collector does the same when the OAuthApp is deleted."""
        found = await self._api.get(SECRETS, target_secret_name(app), namespace)
        if found is not None and is_target(found, app):
            await self._api.delete(SECRETS, target_secret_name(app), namespace, uid=found["metadata"]["uid"])

    # ---- the end

    async def _remove_others(self, key: Key, app: OAuthApp | None) -> None:
        """What was made for an OAuthApp of this name that is surely gone. Raises KubeError."""
        for stored in tuple(self.mirror.objects.values()):
            record = stored.record
            if (record.app.namespace, record.app.name) != key or (app and record.app.uid == app.metadata.uid):
                continue
            if await self._apps.gone(record.app):
                if record.target and app is None:
                    await self._remove_target(record.app.name, record.app.namespace)
                await self._delete(stored)
                log.info("service account removed", extra={"namespace": key[0], "app": key[1]})

    async def _forget(self, key: Key, app: OAuthApp | None) -> None:
        """The app has no account any more, or none that we know."""
        for known in (self._refusals, self._weather, self._said, self._rolled, self._replaced):
            known.pop(key, None)
        self._backoff.succeeded(_name(key))
        self._budget.leave(_name(key))
        if app:
            await self._drop(app)
        self._apps.account(key, None, None)

    async def _drop(self, app: OAuthApp) -> None:
        """Remove what was made for an app that is there."""
        if stored := self._stored(app):
            if stored.record.target:
                await self._remove_target(app.metadata.name, app.metadata.namespace)
            await self._delete(stored)


def _asked(client: Client, own: AccountClient) -> str:
    endpoints = client.endpoints
    return accounts.asked(client.credentials.client_id, endpoints.token_url, endpoints.scopes, own.parameters)


def _fingerprint(client: Client, wanted: str) -> str:
    """Changes with whatever an administrator can correct."""
    secret = client.credentials.secret.get_secret_value() if client.credentials.secret else ""
    return hashlib.sha256(f"{wanted}/{client.endpoints.client_authentication}/{secret}".encode()).hexdigest()


def _name(key: Key) -> tuple[str, str, str]:
    """Of an account in the budget and among the pauses, beside those of credentials."""
    return ("account", *key)


def _same(known: Object, wanted: Object) -> bool:
    meta = known["metadata"]
    labelled = wanted["metadata"]["labels"].items() <= (meta.get("labels") or {}).items()
    owned = [one["uid"] for one in meta.get("ownerReferences") or ()] == [wanted["metadata"]["ownerReferences"][0]["uid"]]
    return labelled and owned and (known.get("data") or {}) == wanted["data"]


def _forbidden(error: KubeError, target: str) -> Exception:
    return NotPublishedError(about(TARGET_FORBIDDEN, target=target)) if error.status == FORBIDDEN else error


def _where(app: OAuthApp) -> dict[str, str]:
    return {"namespace": app.metadata.namespace, "app": app.metadata.name}
