"""Grants: authorization codes that the portal left in the token namespace, exchanged once and removed.

Providers end a sign-in whose code comes twice (RFC 6749, section 4.1.2), so a claim is written before the exchange, and a token
that names its grant tells a successor that the exchange was done. Where somebody has to be asked once more (who authorized, or
for the warehouse's own token), the provider's answer is kept in the grant until then, sealed like a refresh token: a second
request may fail, the code is not redeemed again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import SecretStr, ValidationError

from cube_oauth.controller.apps import AppNotReadyError, Client
from cube_oauth.controller.inventory import app_key, key_of
from cube_oauth.controller.rotation import OVERTAKEN, REQUEST, hashed_claim, seal
from cube_oauth.kube.api import SECRETS, USER_CREDENTIALS, Api, KubeError
from cube_oauth.kube.watch import Mirror
from cube_oauth.lifecycle.authorize import (
    CODE_REFUSED,
    CONNECTED,
    DONE,
    LONGEST_AGE,
    SENTENCES,
    Identified,
    Refused,
    identified,
    refused,
)
from cube_oauth.lifecycle.decide import Observed, origin
from cube_oauth.lifecycle.publish import AUTHORIZED, granted, unwanted
from cube_oauth.lifecycle.revoke import replaced_is_revoked
from cube_oauth.providers import (
    IdentityError,
    Kind,
    ProviderError,
    TokenAnswer,
    restored,
    said_of_person,
    stored,
)
from cube_oauth.providers.errors import TIMEOUT, error
from cube_oauth.resources.keyring import SealError
from cube_oauth.resources.meta import Condition, ObjectMeta
from cube_oauth.resources.names import KIND_LABEL, digest
from cube_oauth.resources.secrets import Grant, decode, encode, owner
from cube_oauth.resources.usercredential import UserCredential

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.controller.apps import Apps
    from cube_oauth.controller.budget import Budget
    from cube_oauth.controller.calls import Calls
    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.credentials import Credentials
    from cube_oauth.controller.events import Events
    from cube_oauth.controller.inventory import Inventory, Key
    from cube_oauth.controller.keys import Keys
    from cube_oauth.controller.metrics import Metrics
    from cube_oauth.controller.revoke import Revocations
    from cube_oauth.controller.tokens import TokenStore
    from cube_oauth.kube.api import Object
    from cube_oauth.lifecycle.publish import Issued
    from cube_oauth.providers import ProviderClient
    from cube_oauth.resources.oauthapp import OAuthApp
    from cube_oauth.resources.secrets import TokenRecord, TokenSecret

log = logging.getLogger(__name__)

CLAIM = timedelta(seconds=20)
"""While it stands, nobody else redeems the code; longer than a request may take."""

MARGIN = timedelta(seconds=5)
"""The request is over this long before the claim is."""

TRY_AGAIN = timedelta(seconds=2)
REFUSED, REPLACED = "AuthorizationRefused", "Replaced"
"""Why the tokens of a sign-in are revoked."""


@dataclass(frozen=True)
class GrantSecret:
    """A grant Secret; what is in it is sealed for the controller."""

    meta: ObjectMeta
    sealed: str
    claimed_until: datetime | None
    """Until then nobody else redeems the code, and nobody tries again."""
    raw: Object
    answer: str | None = None
    """What the provider answered to the code, sealed; and when."""
    answered_at: datetime | None = None

    @classmethod
    def from_kubernetes(cls, secret: Object) -> Self:
        """Read a Secret; whatever is in it, so that damaged ones are removed, too."""
        data, meta = decode(secret), ObjectMeta.model_validate(secret["metadata"])
        claimed_until, answered_at = _moment(data.get("claimedUntil")), _moment(data.get("answeredAt"))
        return cls(meta, data.get("grant", ""), claimed_until, secret, data.get("answer"), answered_at)

    @property
    def grant_id(self) -> str:
        """Names this sign-in for ever; says nothing about the code or the state."""
        return digest("grant", self.meta.uid)

    def changed(self, **data: str) -> Object:
        """The Secret with other data, as a replacement of the version that was read."""
        return {**self.raw, "data": {**(self.raw.get("data") or {}), **encode(dict(data))}}


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _owner(grant: Grant) -> str:
    return owner(grant.app.namespace, grant.app.name, grant.credential.uid, grant.username)


@dataclass(frozen=True)
class Answered:
    """What the provider answered to the code."""

    tokens: TokenAnswer
    at: datetime


@dataclass(frozen=True)
class Order:
    """A grant that may be exchanged."""

    secret: GrantSecret
    grant: Grant
    credential: UserCredential
    app: OAuthApp

    @property
    def bound_to(self) -> str:
        """The owner that whatever is sealed for this credential is bound to."""
        return _owner(self.grant)

    @property
    def where(self) -> dict[str, str]:
        """For log lines."""
        meta = self.credential.metadata
        return {"namespace": meta.namespace, "app": self.app.metadata.name, "credential": meta.name}


class Grants:
    """Exchanges grants."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        inventory: Inventory,
        apps: Apps,
        tokens: TokenStore,
        credentials: Credentials,
        provider: ProviderClient,
        calls: Calls,
        keys: Keys,
        revocations: Revocations,
        budget: Budget,
        events: Events,
        metrics: Metrics,
        clock: Clock,
        found: Callable[[Key], None],
        decided: Callable[[Key], None],
        saw: Callable[[UserCredential], None],
    ) -> None:
        """``found(key)`` looks at a grant Secret; ``decided(key)`` looks at a credential.

        ``saw(credential)`` is as if the watch told.
        """
        self._api = api
        self._inventory = inventory
        self._apps = apps
        self._tokens = tokens
        self._credentials = credentials
        self._provider = provider
        self._calls = calls
        self._keys = keys
        self._revocations = revocations
        self._budget = budget
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._decided = decided
        self._saw = saw
        self._seen: dict[str, tuple[datetime, datetime]] = {}
        """By UID of a grant: until when it is claimed, and when that was first seen. A claim of our own is not among them."""
        self.mirror: Mirror[GrantSecret] = Mirror(
            api,
            SECRETS,
            GrantSecret.from_kubernetes,
            namespace=namespace,
            label_selector=f"{KIND_LABEL}=grant",
            changed=lambda key, new, old: found(key) if new else self._forget(old),
        )

    async def reconcile(self, key: Key) -> datetime | None:
        """Look at one grant Secret; when to look again."""
        secret, now = self.mirror.get(key), self._clock.now()
        if secret is None:
            return None
        if (claimed := self._claimed_until(secret, now)) and claimed > now:
            return claimed
        grant = self._opened(secret)
        credential = await self._credential(grant) if grant else None
        if grant is None or credential is None:
            if grant is not None:
                await self._revoke_kept(secret, grant)
            await self._remove(secret)
            return None
        return await self._consider(secret, grant, credential, now)

    def _claimed_until(self, secret: GrantSecret, now: datetime) -> datetime | None:
        """Until when nobody may redeem the code. How long another's claim stands is measured by our clock alone.

        Once it was redeemed, what is asked further may be asked twice.
        """
        if secret.claimed_until is None or secret.answer is not None:
            return secret.claimed_until
        known = self._seen.get(secret.meta.uid)
        if known is None or known[0] != secret.claimed_until:
            known = self._seen[secret.meta.uid] = secret.claimed_until, now
        return max(secret.claimed_until, known[1] + CLAIM)

    def _opened(self, secret: GrantSecret) -> Grant | None:
        try:
            return Grant.model_validate_json(self._keys.grant.open(secret.sealed).get_secret_value())
        except (SealError, ValidationError):
            log.warning("a grant cannot be read; removed", extra={"secret": secret.meta.name})
            return None

    async def _credential(self, grant: Grant) -> UserCredential | None:
        """The credential that the grant names, asked for now; None when it is gone or another one."""
        found = await self._api.get(USER_CREDENTIALS, grant.credential.name, grant.credential.namespace)
        if found is None or found["metadata"]["uid"] != grant.credential.uid:
            log.info("a grant's credential is gone; removed", extra={"namespace": grant.credential.namespace})
            return None
        credential = UserCredential.model_validate(found)
        self._saw(credential)
        return credential

    async def _consider(self, secret: GrantSecret, grant: Grant, credential: UserCredential, now: datetime) -> datetime | None:
        token = self._tokens.get(credential.metadata.uid)
        if token and token.record.grant == secret.grant_id:  # it was written, and what came after that failed
            await self._finish(secret, credential, None)
            return None
        app = self._inventory.apps.get(app_key(credential))
        problem = refused(grant, credential, app, now, duplicate=self._inventory.duplicate(credential))
        if problem is Refused.APP_NOT_FOUND and app is None and now - grant.issued_at < LONGEST_AGE / 10:
            return now + TRY_AGAIN  # both may be new, and the watch behind
        if problem or app is None:
            await self._revoke_kept(secret, grant)
            late = problem is Refused.TOO_LATE and secret.answer is not None
            await self._finish(secret, credential, Refused.INCOMPLETE if late else problem or Refused.APP_NOT_FOUND)
            return None
        return await self._exchange(Order(secret, grant, credential, app))

    async def _revoke_kept(self, secret: GrantSecret, grant: Grant) -> None:
        """Revoke what an earlier attempt got for a grant that will not be kept."""
        if secret.answer is None:
            return
        app = (grant.app.namespace, grant.app.name)
        try:
            client = await self._apps.client(app)
            answered = self._kept(secret, grant)
        except (AppNotReadyError, ProviderError, SealError):
            log.warning("a token that nobody will use is not revoked", extra={"namespace": app[0], "app": app[1]})
            return
        if origin(client.endpoints.token_url) == origin(grant.token_url):
            await self._revoke(secret, grant, client, answered)

    async def _exchange(self, order: Order) -> datetime | None:
        """Redeem the code: when to try again, or None when it is decided."""
        now, grant = self._clock.now(), order.grant
        app, per_second = app_key(order.credential), order.app.spec.refresh.requests_per_second
        turn = self._budget.reserve(origin(grant.token_url), per_second, order.secret.meta.uid, now, urgent=True, app=app)
        if turn > now:
            return turn
        self._budget.spend(order.secret.meta.uid)
        try:
            client = await self._apps.client(app)
            if origin(client.endpoints.token_url) != origin(grant.token_url):
                await self._finish(order.secret, order.credential, Refused.APP_CHANGED)
                return None
            until = self._clock.now() + CLAIM
            await self._write(order.secret, claimedUntil=until.isoformat())
            answered = await self._answered(order, client, until)
        except AppNotReadyError:
            return now + TRY_AGAIN
        except ProviderError as problem:
            return await self._failed(order, problem)
        except SealError:
            await self._finish(order.secret, order.credential, Refused.INCOMPLETE)
            return None
        self._apps.accepted(app)
        return await self._decide(order, client, answered)

    async def _write(self, secret: GrantSecret, **data: str) -> None:
        """Replace exactly the version that ``secret`` is; a conflict means that somebody else was quicker."""
        self.mirror.put(await self._api.replace(SECRETS, secret.changed(**data)))
        if until := _moment(data.get("claimedUntil")):
            self._seen[secret.meta.uid] = until, until - CLAIM

    def _now(self, secret: GrantSecret) -> GrantSecret:
        """The grant with what we wrote into it since."""
        return self.mirror.get((secret.meta.namespace, secret.meta.name)) or secret

    async def _answered(self, order: Order, client: Client, until: datetime) -> Answered:
        """What an earlier attempt got for the code, or what the provider answers now.

        Our claim stands ``until`` then: a process that was paused sends nothing when there is too little time left of it.
        """
        if order.secret.answer is not None:
            return self._kept(order.secret, order.grant)
        sent = self._clock.now()  # a lifetime begins with the answer, and surely not before this
        within = min(REQUEST, until - MARGIN - sent)
        if within < REQUEST / 2:
            raise error(TIMEOUT, sent=False)
        answered = Answered(await self._redeem(client, order.grant, app_key(order.credential), within), sent)
        if client.endpoints.incomplete:
            await self._keep_in_grant(order, answered)
        return answered

    def _kept(self, secret: GrantSecret, grant: Grant) -> Answered:
        opened = self._keys.refresh.open(secret.answer or "", _owner(grant))
        return Answered(restored(opened), secret.answered_at or self._clock.now())

    async def _keep_in_grant(self, order: Order, answered: Answered) -> None:
        """Before asking further. Without it all goes on, and only a failure of the further request costs the sign-in."""
        sealed = self._keys.refresh.seal(stored(answered.tokens), order.bound_to)
        try:
            claimed = (self._clock.now() + CLAIM).isoformat()
            await self._write(self._now(order.secret), answer=sealed, answeredAt=answered.at.isoformat(), claimedUntil=claimed)
        except KubeError as error:
            log.warning("an answer is not kept", extra={**order.where, "error": str(error)})

    async def _redeem(self, client: Client, grant: Grant, app: Key, within: timedelta) -> TokenAnswer:
        request = self._provider.exchange_code(
            client.endpoints,
            client.credentials,
            code=SecretStr(grant.code),
            redirect_uri=grant.redirect_uri,
            code_verifier=SecretStr(grant.code_verifier) if grant.code_verifier else None,
            within=within,
        )
        return await self._calls.make("exchange", app, origin(client.endpoints.token_url), request)

    async def _failed(self, order: Order, problem: ProviderError) -> datetime | None:
        now = self._clock.now()
        log.info("exchange", extra={**order.where, "reason": problem.reason})
        if problem.kind is Kind.WEATHER:
            return await self._later(order, problem, now)
        app = app_key(order.credential)
        if problem.kind is Kind.APP and not self._apps.blames_person(app, order.credential.metadata.uid):
            self._apps.refused(app, problem)
        sentence = SENTENCES[CODE_REFUSED] if problem.reason == CODE_REFUSED else problem.message
        await self._finish(order.secret, order.credential, problem.reason, sentence)
        return None

    async def _later(self, order: Order, problem: ProviderError, now: datetime) -> datetime:
        """Try again after a pause that grows with the grant's age. It is written: else our own write would call at once."""
        pause = max(TRY_AGAIN, problem.retry_after or TRY_AGAIN, (now - order.grant.issued_at) / 4)
        again = min(now + pause, order.grant.issued_at + LONGEST_AGE + TRY_AGAIN)
        await self._write(self._now(order.secret), claimedUntil=again.isoformat())
        self._tell(order.credential, "Unknown", problem.reason, problem.message, order.grant.issued_at)
        return again

    async def _decide(self, order: Order, client: Client, answered: Answered) -> datetime | None:
        """The provider has answered: keep it, or refuse the person and revoke. When to try again, if it must be asked again."""
        try:
            found = await self._identified(order, client, answered)
            complete = answered if found.refused else await self._exchanged(order, client, answered)
        except ProviderError as problem:
            return await self._incomplete(order, client, answered, problem)
        if found.refused:
            await self._revoke(order.secret, order.grant, client, answered)
            await self._finish(order.secret, order.credential, found.refused)
        else:
            kept = await self._keep(order, client, complete, found.subject)
            await (self._finish(order.secret, order.credential, None, word=found.word) if kept else self._overtaken(order))
        return None

    async def _exchanged(self, order: Order, client: Client, answered: Answered) -> Answered:
        """With the warehouse's own token, where the app exchanges the provider's (RFC 8693)."""
        exchange, sent = client.endpoints.exchange, self._clock.now()
        if exchange is None:
            return answered
        request = self._provider.exchange_token(client.endpoints, client.credentials, answered.tokens, within=REQUEST)
        app, place = app_key(order.credential), origin(exchange.token_url)
        return Answered(await self._calls.make("token_exchange", app, place, request), sent)

    async def _identified(self, order: Order, client: Client, answered: Answered) -> Identified:
        endpoints, now = client.endpoints, answered.at  # what was valid then
        request = said_of_person(
            self._provider, endpoints, client.credentials, answered.tokens, nonce=order.grant.nonce, now=now, within=REQUEST
        )
        place = endpoints.subject_url
        try:
            said = await (self._calls.make("subject", app_key(order.credential), origin(place), request) if place else request)
        except IdentityError as error:
            log.warning("identity refused", extra={**order.where, "reason": error.reason})
            return Identified(None, Refused.IDENTITY)
        return identified(endpoints.subject, order.grant.username, said)

    async def _incomplete(self, order: Order, client: Client, answered: Answered, problem: ProviderError) -> datetime | None:
        """A further request failed: later, if the answer is safe until then; otherwise the person connects again."""
        log.info("authorization incomplete", extra={**order.where, "reason": problem.reason})
        if problem.kind is Kind.WEATHER and self._now(order.secret).answer is not None:
            return await self._later(order, problem, self._clock.now())
        await self._revoke(order.secret, order.grant, client, answered)
        weather = problem.kind is Kind.WEATHER
        await self._finish(
            order.secret, order.credential, Refused.INCOMPLETE if weather else problem.reason, "" if weather else problem.message
        )
        return None

    async def _revoke(self, secret: GrantSecret, grant: Grant, client: Client, answered: Answered) -> None:
        issued = seal(self._keys, answered.tokens, _owner(grant), answered.at, None)
        endpoints = client.endpoints
        token = unwanted(grant, secret.grant_id, issued, endpoints.token_url, endpoints.revocation_url)
        await self._revocations.at_once(token, REFUSED)

    async def _keep(self, order: Order, client: Client, answered: Answered, subject: str | None) -> bool:
        """Write the new sign-in in the place of whatever is there, and have that revoked if the provider keeps the two apart.

        It is set aside before; if something else is there by then (another sign-in of theirs, a refresh), that is, too. False:
        the person has authorized once more since, which counts: then this sign-in is the one to be revoked.
        """
        uid, replaced = order.credential.metadata.uid, []
        issued, known = self._issued(order, answered, subject), self._tokens.get(uid)

        def take_over(there: TokenSecret | None) -> TokenSecret | None:
            if there and there.record.grant == order.secret.grant_id:
                return there
            return self._granted(order, client, issued, there) if _held(there) == _held(known) else None

        written = None
        while written is None:
            new = self._granted(order, client, issued, known)
            if known and _later(known.record, new.record):
                if replaced_is_revoked(order.app, new, known.record):
                    await self._revocations.give_back(new, REPLACED)
                break
            if known and replaced_is_revoked(order.app, known, new.record):
                await self._revocations.give_back(known, REPLACED)
                replaced.append(known)
            written = await self._tokens.settle(uid, known, take_over)
            known = self._tokens.get(uid)
        for one in replaced:
            self._revocations.removed(one)
        return written is not None

    async def _overtaken(self, order: Order) -> None:
        """Nothing is said of it: what the credential says is how the later authorization went."""
        await self._remove(order.secret)
        self._metrics.grants.labels(*app_key(order.credential), OVERTAKEN).inc()
        log.info("authorization", extra={**order.where, "reason": OVERTAKEN})

    def _issued(self, order: Order, answered: Answered, subject: str | None) -> Issued:
        account, session = (hashed_claim(answered.tokens, claim) for claim in ("sub", "sid"))
        issued = seal(self._keys, answered.tokens, order.bound_to, answered.at, subject)
        authorized_at = order.secret.meta.creation_timestamp  # by the API server's clock: those of two portals may differ
        return replace(issued, authorized_at=authorized_at, account=account, session=session)

    @staticmethod
    def _granted(order: Order, client: Client, issued: Issued, there: TokenSecret | None) -> TokenSecret:
        """The token Secret of this sign-in, in the place of ``there``."""
        endpoints = client.endpoints
        observed = Observed(order.credential, order.app, app_ready=True, token=there)
        where = (endpoints.token_url, endpoints.revocation_url, endpoints.client_authentication)
        exchange_url = endpoints.exchange.token_url if endpoints.exchange else None
        return granted(observed, issued, order.secret.grant_id, *where, exchange_url)

    async def _finish(
        self, secret: GrantSecret, credential: UserCredential, reason: str | None, sentence: str = "", word: str = DONE
    ) -> None:
        """Remove the grant, and let the credential say how it went. ``reason`` None: the person is connected, ``word`` says how."""
        await self._remove(secret)
        word = reason or word
        message = CONNECTED[word] if reason is None else sentence or SENTENCES[reason]
        self._tell(credential, "False" if reason else "True", word, message, self._clock.now())
        namespace, app = app_key(credential)
        self._metrics.grants.labels(namespace, app, word).inc()
        where: dict[str, Any] = {"namespace": namespace, "app": app, "credential": credential.metadata.name, "reason": word}
        log.info("authorization", extra=where)
        if reason:
            self._events.warning("UserCredential", credential.metadata, word, message)

    def _tell(
        self, credential: UserCredential, status: Literal["True", "False", "Unknown"], word: str, message: str, since: datetime
    ) -> None:
        """Let the credential say how the authorization goes."""
        condition = Condition(
            type=AUTHORIZED,
            status=status,
            reason=word,
            message=message,
            last_transition_time=since.replace(microsecond=0),
            observed_generation=credential.metadata.generation,
        )
        self._credentials.authorized(credential.metadata.uid, condition)
        self._decided(key_of(credential.metadata))

    async def _remove(self, secret: GrantSecret) -> None:
        key = (secret.meta.namespace, secret.meta.name)
        try:
            await self._api.delete(SECRETS, secret.meta.name, secret.meta.namespace, uid=secret.meta.uid)
        except KubeError as error:
            if not error.conflict:  # another of the same name, by now
                raise
        self.mirror.discard(key)

    def _forget(self, secret: GrantSecret | None) -> None:
        """It is gone, whoever removed it."""
        if secret is not None:
            self._seen.pop(secret.meta.uid, None)
            self._budget.leave(secret.meta.uid)


def _later(one: TokenRecord, other: TokenRecord) -> bool:
    """Whether a person authorized ``one`` after ``other``: sign-ins that waited come in any order."""
    return bool(one.grant != other.grant and one.signed_in_at and other.signed_in_at and one.signed_in_at > other.signed_in_at)


def _held(token: TokenSecret | None) -> tuple[str | None, ...]:
    """The tokens that a Secret holds."""
    return (token.record.grant, token.access_token, token.refresh_token) if token else (None, None, None)
