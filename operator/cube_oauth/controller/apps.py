"""OAuthApps: whether people can connect, where to, and with which client secret."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cube_oauth.controller import status
from cube_oauth.controller.absence import gone
from cube_oauth.controller.blame import Blame
from cube_oauth.controller.inventory import Key, key_of, others_wrote
from cube_oauth.kube.api import OAUTH_APPS, SECRETS, Api, KubeError
from cube_oauth.lifecycle.accounts import CONDITION as ACCOUNT
from cube_oauth.lifecycle.apps import FORBIDDEN, NOT_FOUND, Problem, client_secret
from cube_oauth.lifecycle.decide import bound, origin
from cube_oauth.lifecycle.deposits import TRIED
from cube_oauth.providers import (
    ClientCredentials,
    Discovery,
    Endpoints,
    Kind,
    ProviderError,
    ServerMetadata,
    data_source_of,
    needs_discovery,
    resolve_app,
)
from cube_oauth.resources.meta import Condition, settle
from cube_oauth.resources.oauthapp import ClientAuthentication, OAuthApp, OAuthAppStatus, SecretKeyReference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import SecretStr

    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.events import Events
    from cube_oauth.controller.inventory import Inventory
    from cube_oauth.resources.secrets import Reference, TokenRecord
    from cube_oauth.settings import Installation

log = logging.getLogger(__name__)

LOOK_AGAIN_NOT_READY = timedelta(seconds=5)
LOOK_AGAIN_READY = timedelta(seconds=60)
FRESH = timedelta(seconds=60)
"""How long a client secret that was read is used without reading it again."""

REDISCOVER = timedelta(hours=1)
READY, READY_SENTENCE = "Ready", "People can connect."

PROVIDER_AVAILABLE = "ProviderAvailable"
"""The condition that is there, as False, while a provider is in trouble."""

SIDECARS_CURRENT = "SidecarsCurrent"
"""The condition that is there, as False, while pods that resolve the app's credentials have an old sidecar."""
OUTDATED_SIDECAR = "OutdatedSidecar"

TROUBLE = 3
"""So many requests in a row must fail before it is said at the app: a single one is no news."""

FORMER = 256
"""How many clients are remembered after their OAuthApp is gone or changed, so that their tokens can be revoked."""

ClientKey = tuple[str, str, str]
"""An OAuthApp's UID, the client ID, and the token endpoint's origin."""


class AppNotReadyError(Exception):
    """The OAuthApp cannot be used now; its condition says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True)
class Client:
    """All that a request to an app's provider needs."""

    endpoints: Endpoints
    credentials: ClientCredentials


@dataclass(frozen=True)
class Finding:
    """What was found out about one OAuthApp."""

    version: tuple[str, int]
    """The app's UID and generation: what was found out counts for these."""
    found_at: datetime
    endpoints: Endpoints | None = None
    provisional: bool = False
    """The endpoints were taken from the status, which does not hold everything: ask the provider before using them."""
    secret: SecretStr | None = None
    problem: Problem | None = None

    @property
    def fingerprint(self) -> str:
        """Changes with whatever an administrator can correct."""
        secret = self.secret.get_secret_value() if self.secret else ""
        return hashlib.sha256(f"{self.version}/{secret}".encode()).hexdigest()


class Apps:
    """Looks after all OAuthApps."""

    def __init__(
        self,
        api: Api,
        installation: Installation,
        inventory: Inventory,
        discovery: Discovery,
        events: Events,
        clock: Clock,
        schedule: Callable[[Key, datetime | None], None],
        changed: Callable[[Key], None],
        saw: Callable[[OAuthApp], None],
    ) -> None:
        """``schedule(key, when)`` looks at an app again; ``changed(key)`` says that its credentials may be decided otherwise.

        ``saw(app)`` is as if the watch told.
        """
        self._api = api
        self._installation = installation
        self._inventory = inventory
        self._discovery = discovery
        self._events = events
        self._clock = clock
        self._schedule = schedule
        self._changed = changed
        self._saw = saw
        self._findings: dict[Key, Finding] = {}
        self._blames: defaultdict[Key, Blame] = defaultdict(Blame)
        self._locks: dict[Key, asyncio.Lock] = {}
        self._told: dict[Key, tuple[Problem | None, str]] = {}
        self._troubles: dict[Key, tuple[int, Problem]] = {}
        self._clients: OrderedDict[ClientKey, Client] = OrderedDict()
        self._tried: dict[Key, Condition] = {}
        self._old_sidecars: dict[Key, str] = {}
        self._sidecars_seen: set[str | None] = set()
        """The namespaces that were looked at (None: all of them); of the others the status says what was known."""
        self._accounts: dict[Key, tuple[Condition | None, str | None]] = {}
        self._started = clock.now()
        self._memory: tuple[dict[Key, Any], ...] = (
            self._findings,
            self._blames,
            self._locks,
            self._told,
            self._troubles,
            self._tried,
        )

    # ---- questions

    def known(self, key: Key) -> bool:
        """Whether this app was looked at."""
        return key in self._findings

    def ready(self, key: Key) -> bool:
        """Whether endpoints and client secret are known. A client that the provider refuses is not asked about here."""
        finding = self._findings.get(key)
        return finding is not None and finding.problem is None

    def not_before(self, key: Key, credential: Key) -> datetime | None:
        """While the provider refuses the client: when to try again with this credential."""
        return self._blames[key].not_before(credential) if key in self._blames else None

    async def client(self, key: Key) -> Client:
        """The app's endpoints and client, with a secret read not long ago. Raises AppNotReadyError, ProviderError, KubeError."""
        app = self._inventory.apps.get(key)
        if app is None:
            raise AppNotReadyError(NOT_FOUND)
        async with self._locks.setdefault(key, asyncio.Lock()):
            finding = await self._fresh(app, self._findings.get(key))
        if finding.problem:
            raise AppNotReadyError(finding.problem)
        assert finding.endpoints is not None  # noqa: S101 - without a problem they are known
        return Client(finding.endpoints, ClientCredentials(app.spec.client_id, finding.secret))

    async def endpoints(self, key: Key) -> Endpoints:
        """Where the app's provider is, whether or not the app's own client can be used. Raises as ``client`` does."""
        app = self._inventory.apps.get(key)
        if app is None:
            raise AppNotReadyError(NOT_FOUND)
        async with self._locks.setdefault(key, asyncio.Lock()):
            finding = await self._fresh(app, self._findings.get(key))
        if finding.endpoints is None:
            assert finding.problem is not None  # noqa: S101 - else they are known
            raise AppNotReadyError(finding.problem)
        return finding.endpoints

    async def secret(self, app: OAuthApp, reference: SecretKeyReference) -> SecretStr | Problem:
        """A client secret as it is now, if it consents to this app's use. Raises KubeError."""
        return await self._read_secret(app.metadata.name, reference, app.metadata.namespace)

    async def client_of(self, record: TokenRecord) -> Client | None:
        """The client that a stored token belongs to; None when nothing is known but its ID. Raises KubeError.

        As it is now, as it was last known here, or with the Secret that it used, if that is still there and consents.
        """
        key = (record.app.namespace, record.app.name)
        app = self._inventory.apps.get(key)
        if app is not None and app.metadata.uid == record.app.uid and bound(record, app):
            try:
                return await self.client(key)
            except (AppNotReadyError, ProviderError):
                pass
        known = self._clients.get((record.app.uid, record.client_id, origin(record.token_url)))
        return known or await self._left_behind(record)

    async def _left_behind(self, record: TokenRecord) -> Client | None:
        if record.client_secret is None:
            return None
        secret = await self._read_secret(record.app.name, record.client_secret, record.app.namespace)
        if isinstance(secret, Problem):
            return None
        method = record.client_authentication or ClientAuthentication.BASIC
        endpoints = Endpoints("", record.token_url, revocation_url=record.revocation_url, client_authentication=method)
        return Client(endpoints, ClientCredentials(record.client_id, secret))

    async def gone(self, reference: Reference) -> bool:
        """Whether an OAuthApp is surely gone. Raises KubeError."""
        return await gone(self._api, OAUTH_APPS, reference)

    def _note(self, app: OAuthApp, finding: Finding) -> None:
        key = key_of(app.metadata)
        self._findings[key] = finding
        if finding.endpoints and not finding.problem:
            former = (app.metadata.uid, app.spec.client_id, origin(finding.endpoints.token_url))
            self._clients[former] = Client(finding.endpoints, ClientCredentials(app.spec.client_id, finding.secret))
            self._clients.move_to_end(former)
            while len(self._clients) > max(FORMER, 2 * len(self._findings)):
                self._clients.popitem(last=False)

    async def _fresh(self, app: OAuthApp, known: Finding | None) -> Finding:
        """A finding that is complete and not old; ``known`` if it is."""
        young = known is not None and self._clock.now() - known.found_at <= FRESH and known.version == _version(app)
        if known and young and not known.provisional and not known.problem:
            return known
        issuer = needs_discovery(app)
        if issuer and (known is None or known.provisional):
            await self._discovery.metadata(issuer)  # raises the weather's error, which examining would bridge
        finding = await self._examine(app, use_status=False)
        key = key_of(app.metadata)
        self._note(app, finding)
        if known is None or known.fingerprint != finding.fingerprint or known.problem != finding.problem:
            self._schedule(key, None)
        return finding

    # ---- what requests to the provider showed

    def refused(self, key: Key, error: ProviderError, credential: Key | None = None) -> None:
        """The provider refused the client or the request: say so at the app, and leave its credentials alone.

        ``credential`` is whose refresh it was; None: a sign-in, in which a person has a hand, and which holds up no refresh.
        """
        client = self._fingerprint(key)
        if client is not None:
            self._blames[key].refused(error, client, self._clock.now(), credential)
            self._schedule(key, None)

    def blames_one(self, key: Key, error: ProviderError, credential: Key) -> bool:
        """Whether a refused refresh is about one credential only."""
        return self._blames[key].is_credentials(error, self._fingerprint(key), credential)

    def blames_person(self, key: Key, uid: str) -> bool:
        """Whether a refused sign-in is about the person only."""
        return self._blames[key].is_persons(self._fingerprint(key), uid)

    def accepted(self, key: Key, credential: Key | None = None) -> None:
        """The provider accepted the client: at a refresh of ``credential``, or at a sign-in."""
        if self._blames[key].accepted(self._fingerprint(key), credential):
            self._schedule(key, None)
            self._changed(key)

    def _fingerprint(self, key: Key) -> str | None:
        finding = self._findings.get(key)
        return finding.fingerprint if finding else None

    def in_trouble(self, key: Key, error: ProviderError) -> None:
        """The provider did not answer as a provider should."""
        failures = self._troubles[key][0] + 1 if key in self._troubles else 1
        self._troubles[key] = (failures, Problem(error.reason, error.message))
        if failures == TROUBLE:
            self._schedule(key, None)

    def answered(self, key: Key) -> None:
        """The provider answered."""
        if self._troubles.pop(key, (0,))[0] >= TROUBLE:
            self._schedule(key, None)

    def tried(self, key: Key, outcome: Condition) -> None:
        """An administrator had the app tried."""
        self._tried[key] = outcome
        self._schedule(key, None)

    def sidecars(self, namespace: str | None, old: Mapping[Key, str]) -> None:
        """Whose pods have old sidecars, in a namespace that was looked at (None: in all), with a sentence for each app."""
        self._sidecars_seen.add(namespace)
        before = {key: text for key, text in self._old_sidecars.items() if namespace in (None, key[0])}
        for key in before.keys() - old.keys():
            del self._old_sidecars[key]
        self._old_sidecars.update(old)
        for key, app in self._inventory.apps.items():
            if namespace in (None, key[0]) and old.get(key) != _message(app, SIDECARS_CURRENT):
                self._schedule(key, None)

    def account(self, key: Key, said: Condition | None, secret: str | None) -> None:
        """What is to be said of an app's service account, and the Secret beside Cube that holds it."""
        if self._accounts.get(key, (None, None)) != (said, secret):
            self._accounts[key] = (said, secret)
            self._schedule(key, None)

    # ---- reconciling

    async def reconcile(self, key: Key) -> datetime | None:
        """Look at one app, write its status if it differs; when to look again."""
        app, before = self._inventory.apps.get(key), self._findings.get(key)
        if app is None or (before and before.version[0] != app.metadata.uid):  # gone, and perhaps another of its name is there
            for known in self._memory:
                known.pop(key, None)
            before = None
        if app is None:
            return None
        finding = await self._examine(app, use_status=before is None or before.provisional)
        self._note(app, finding)
        self._blames[key].looked_at(finding.fingerprint, self._clock.now())
        await self._publish(app, finding)
        decides = (finding.problem, finding.fingerprint)
        if self._told.get(key) != decides:  # only now: the status that was just written decides as well
            self._told[key] = decides
            self._changed(key)
        waits_for_somebody = finding.problem is not None or self._blames[key].refusal is not None
        return self._clock.now() + (LOOK_AGAIN_NOT_READY if waits_for_somebody else LOOK_AGAIN_READY)

    async def _examine(self, app: OAuthApp, *, use_status: bool) -> Finding:
        """Endpoints first, then the client secret; the first problem counts. In bad weather the endpoints stay as they were."""
        finding, known = Finding(_version(app), self._clock.now()), self._findings.get(key_of(app.metadata))
        try:
            metadata, provisional = await self._metadata(app, use_status=use_status)
            finding = replace(finding, endpoints=resolve_app(app, metadata), provisional=provisional)
        except ProviderError as error:
            if error.kind is not Kind.WEATHER or not known or not known.endpoints or known.version != finding.version:
                return replace(finding, problem=Problem(error.reason, error.message))
            finding = replace(finding, endpoints=known.endpoints, provisional=known.provisional)
        secret = await self._client_secret(app)
        return replace(finding, problem=secret) if isinstance(secret, Problem) else replace(finding, secret=secret)

    async def _metadata(self, app: OAuthApp, *, use_status: bool) -> tuple[ServerMetadata | None, bool]:
        """The discovery document, and whether it is only what the status remembers of it.

        After a restart the status will do until the first request, so that a restart asks no provider anything.
        """
        issuer = needs_discovery(app)
        if issuer is None:
            return None, False
        remembered = _remembered(app) if use_status and self._clock.now() - self._started < REDISCOVER else None
        return (remembered, True) if remembered else (await self._discovery.metadata(issuer), False)

    async def _client_secret(self, app: OAuthApp) -> SecretStr | Problem | None:
        reference = app.spec.client_secret_ref
        return await self._read_secret(app.metadata.name, reference, app.metadata.namespace) if reference else None

    async def _read_secret(self, app: str, reference: SecretKeyReference, namespace: str) -> SecretStr | Problem:
        try:
            found = await self._api.get(SECRETS, reference.name, namespace)
        except KubeError as error:
            if error.status == 403:  # noqa: PLR2004
                return FORBIDDEN
            raise
        return client_secret(app, reference, found)

    async def _publish(self, app: OAuthApp, finding: Finding) -> None:
        key = key_of(app.metadata)
        refusal = self._blames[key].refusal
        problem = finding.problem or (refusal.problem if refusal else None)
        wanted = self._status(app, finding, problem)
        written = wanted.to_json()
        if written == app.status.model_copy(update={"demand": None}).to_json():  # the broker's
            return
        answer = OAuthApp.model_validate(await status.write(self._api, OAUTH_APPS, "OAuthApp", app.metadata, written))
        self._saw(answer) if others_wrote(answer, app) else self._inventory.take_app(answer)
        before = next((condition for condition in app.status.conditions if condition.type == "Ready"), None)
        if before is None or before.reason != (problem.reason if problem else READY):
            self._tell(app, problem)

    def _tell(self, app: OAuthApp, problem: Problem | None) -> None:
        where = {"namespace": app.metadata.namespace, "app": app.metadata.name}
        if problem:
            log.warning("OAuthApp not ready", extra={**where, "reason": problem.reason})
            self._events.warning("OAuthApp", app.metadata, problem.reason, problem.message)
        else:
            log.info("OAuthApp ready", extra={**where, "reason": READY})
            self._events.normal("OAuthApp", app.metadata, READY, READY_SENTENCE)

    def _status(self, app: OAuthApp, finding: Finding, problem: Problem | None) -> OAuthAppStatus:
        key = key_of(app.metadata)
        endpoints = finding.endpoints
        account, account_secret = self._account(key, app)
        ready = Condition(
            type="Ready",
            status="False" if problem else "True",
            reason=problem.reason if problem else READY,
            message=problem.message if problem else READY_SENTENCE,
            observed_generation=app.metadata.generation,
        )
        return OAuthAppStatus(
            observed_generation=app.metadata.generation,
            redirect_uri=self._installation.redirect_uri(*key),
            data_source=data_source_of(app),
            issuer=endpoints.issuer if endpoints else None,
            authorization_url=endpoints.authorization_url if endpoints else None,
            token_url=endpoints.token_url if endpoints else None,
            revocation_url=endpoints.revocation_url if endpoints else None,
            subject_url=endpoints.subject_url if endpoints else None,
            token_exchange_url=endpoints.exchange.token_url if endpoints and endpoints.exchange else None,
            issuer_in_answers=(endpoints.iss_required or None) if endpoints else None,
            scopes=list(endpoints.scopes) or None if endpoints else None,
            authorization_parameters=dict(endpoints.authorization_parameters) or None if endpoints else None,
            service_account_secret=account_secret,
            credentials=self._inventory.counts(key),
            conditions=(
                *settle(
                    (ready, *account, *self._trouble(key, app), *self._sidecars(key, app)), app.status.conditions, self._clock.now()
                ),
                *self._last_trial(key, app),
            ),
        )

    def _trouble(self, key: Key, app: OAuthApp) -> tuple[Condition, ...]:
        failures, problem = self._troubles.get(key, (0, None))
        if problem is None or failures < TROUBLE:
            return ()
        known = next((one for one in app.status.conditions if one.type == PROVIDER_AVAILABLE), None)
        if known:
            return (known,)  # its reason may change with each request; the first one says enough
        generation = app.metadata.generation
        return (
            Condition(
                type=PROVIDER_AVAILABLE,
                status="False",
                reason=problem.reason,
                message=problem.message,
                observed_generation=generation,
            ),
        )

    def _sidecars(self, key: Key, app: OAuthApp) -> tuple[Condition, ...]:
        message = self._old_sidecars.get(key)
        if not self._sidecars_seen & {None, key[0]}:
            message = _message(app, SIDECARS_CURRENT)
        if message is None:
            return ()
        return (
            Condition(
                type=SIDECARS_CURRENT,
                status="False",
                reason=OUTDATED_SIDECAR,
                message=message,
                observed_generation=app.metadata.generation,
            ),
        )

    def _account(self, key: Key, app: OAuthApp) -> tuple[tuple[Condition, ...], str | None]:
        """As it was said last, by us or by whoever was active before."""
        if app.spec.service_account is None:
            return (), None
        if key in self._accounts:
            said, secret = self._accounts[key]
            return ((said,) if said else ()), secret
        known = tuple(one for one in app.status.conditions if one.type == ACCOUNT)
        return known, app.status.service_account_secret

    def _last_trial(self, key: Key, app: OAuthApp) -> tuple[Condition, ...]:
        known = self._tried.get(key) or next((one for one in app.status.conditions if one.type == TRIED), None)
        return (known,) if known else ()


def _message(app: OAuthApp, kind: str) -> str | None:
    """What a condition of the app says; None when it is not there."""
    return next((one.message for one in app.status.conditions if one.type == kind), None)


def _version(app: OAuthApp) -> tuple[str, int]:
    return app.metadata.uid, app.metadata.generation


def _remembered(app: OAuthApp) -> ServerMetadata | None:
    """What the status says about the endpoints, if it was written for this very spec."""
    known = app.status
    if known.observed_generation != app.metadata.generation or not (known.authorization_url and known.token_url):
        return None
    return ServerMetadata(
        issuer=known.issuer or "",
        authorization_url=known.authorization_url,
        token_url=known.token_url,
        revocation_url=known.revocation_url,
        userinfo_url=known.subject_url,
        introspection_url=known.subject_url,
        iss_in_answers=known.issuer_in_answers is True,
    )
