"""Redeeming a refresh token without ever losing one, or redeeming it twice.

A claim, written by compare-and-swap, is lock, fence and proof of writability in one; the answer is written before anything else:
also before a token exchange (RFC 8693), which may fail when the refresh token has rotated already.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cube_oauth.controller.apps import AppNotReadyError, Client
from cube_oauth.controller.inventory import app_key, key_of
from cube_oauth.kube.api import KubeError
from cube_oauth.lifecycle.decide import CLAIM, Observed, origin
from cube_oauth.lifecycle.publish import Issued, claimed, denied, ended, merged, refreshed, rotated
from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.lifecycle.revoke import replaced_is_revoked
from cube_oauth.providers import Kind, ProviderError, TokenAnswer, id_token_claims
from cube_oauth.providers.errors import BY_POLICY, SUBJECT_CHANGED
from cube_oauth.resources.keyring import SealError
from cube_oauth.resources.names import digest
from cube_oauth.resources.secrets import Claim, TokenSecret

if TYPE_CHECKING:
    from datetime import datetime

    from prometheus_client import Histogram
    from pydantic import SecretStr

    from cube_oauth.controller.apps import Apps
    from cube_oauth.controller.budget import Backoff
    from cube_oauth.controller.calls import Calls
    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.events import Events
    from cube_oauth.controller.keys import Keys
    from cube_oauth.controller.metrics import Metrics
    from cube_oauth.controller.revoke import Revocations
    from cube_oauth.controller.tokens import TokenStore
    from cube_oauth.providers import ProviderClient
    from cube_oauth.resources.secrets import TokenRecord

log = logging.getLogger(__name__)

REQUEST = timedelta(seconds=10)
MARGIN = timedelta(seconds=10)
"""The request is over this long before the claim is: nobody else redeems while it could still be under way."""

REFRESHED = "Refreshed"
OVERTAKEN = "Overtaken"
INVALID_GRANT = "InvalidGrant"


@dataclass(frozen=True)
class Attempt:
    """One refresh under way."""

    observed: Observed
    token: TokenSecret
    """With our claim, as it was written."""
    claim: Claim
    for_rejection: int | None
    secured: bool = False
    """Whether the answer's refresh token is written already."""

    @property
    def default_seconds(self) -> int:
        """The lifetime when the provider does not say one."""
        assert self.observed.app is not None  # noqa: S101 - decided so
        return self.observed.app.spec.default_token_lifetime_seconds


def seal(keys: Keys, answer: TokenAnswer, owner: str, issued_at: datetime, subject: str | None) -> Issued:
    """A provider's answer, encrypted for one owner."""
    return Issued(
        access_token=keys.access.seal(answer.access_token, owner),
        refresh_token=keys.refresh.seal(answer.refresh_token, owner) if answer.refresh_token else None,
        issued_at=issued_at,
        expires_in=answer.expires_in,
        refresh_token_expires_in=answer.refresh_token_expires_in,
        subject=subject,
        scopes=answer.scopes,
    )


def hashed_claim(answer: TokenAnswer, claim: str) -> str | None:
    """A hash of who signed in (``sub``), or of the session (``sid``), where the answer has an ID token that says so."""
    claims = id_token_claims(answer) or {}
    return digest(claim, str(claims["iss"]), str(claims[claim])) if claim in claims and "iss" in claims else None


def ended_for(problem: ProviderError, token: TokenSecret, now: datetime) -> str:
    """The reason that stays with a sign-in that the provider says is over."""
    if problem.reason != INVALID_GRANT:
        return problem.reason
    last = token.record.refresh_token_expires_at
    return Reason.EXPIRED if last and last <= now else Reason.REVOKED


class Rotation:
    """Refreshes tokens."""

    def __init__(
        self,
        tokens: TokenStore,
        apps: Apps,
        provider: ProviderClient,
        calls: Calls,
        keys: Keys,
        revocations: Revocations,
        backoff: Backoff,
        events: Events,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._tokens = tokens
        self._apps = apps
        self._provider = provider
        self._calls = calls
        self._keys = keys
        self._revocations = revocations
        self._backoff = backoff
        self._events = events
        self._metrics = metrics
        self._clock = clock
        self._released: dict[str, str] = {}

    def released_claim(self, uid: str) -> str | None:
        """The claim of ours whose request is over, so that it need not be waited for."""
        return self._released.get(uid)

    def forget(self, uid: str) -> None:
        """The credential is gone."""
        self._released.pop(uid, None)

    async def refresh(self, observed: Observed, for_rejection: int | None) -> None:
        """Redeem the refresh token once and write what came of it. Failures become pauses, reasons and log lines."""
        token, started = observed.token, self._clock.now()
        assert token is not None  # noqa: S101 - decided so
        assert token.refresh_token is not None  # noqa: S101 - the same
        try:
            client = await self._apps.client(app_key(observed.credential))
            if not _belongs(token.record, client):
                return  # the app changed since it was decided: its own reconcile says so
            secret = self._keys.refresh.open(token.refresh_token, token.record.owner)
            attempt = await self._claim(observed, token, secret, for_rejection)
            sent = self._clock.now()
            answer = _without_echo(await self._redeem(attempt, client, secret), secret)
            if _another_person(token.record, answer):
                await self._refuse(attempt, answer, sent)
                return
            if client.endpoints.exchange is not None:
                attempt = await self._secure(attempt, answer, sent)
                sent = self._clock.now()
                answer = await self._exchanged(attempt, client, answer)
        except AppNotReadyError:
            return  # its own reconcile says so, and calls when it has healed
        except SealError:
            await self._finish(observed, Reason.UNDECIPHERABLE)
        except _OvertakenError:
            return
        except _NotExchangedError as failure:
            self._not_exchanged(observed, failure.problem)
        except ProviderError as problem:
            await self._failed(observed, problem)
        else:
            await self._keep(attempt, answer, sent)
            self._seconds(observed).observe((self._clock.now() - started).total_seconds())

    async def _claim(self, observed: Observed, token: TokenSecret, secret: SecretStr, for_rejection: int | None) -> Attempt:
        digest = hashlib.sha256(secret.get_secret_value().encode()).hexdigest()
        claim = Claim(id=uuid.uuid4().hex, refresh_token_hash=digest, deadline=self._clock.now() + CLAIM)
        uid = observed.credential.metadata.uid
        try:
            written = await self._tokens.write(claimed(token, claim))
        except KubeError as error:
            self._released[uid] = claim.id  # whether it was written or not: nothing was sent
            if error.conflict or error.not_found:
                await self._tokens.reread(uid)
                raise _OvertakenError from error
            raise
        return Attempt(observed, written, claim, for_rejection)

    async def _redeem(self, attempt: Attempt, client: Client, secret: SecretStr) -> TokenAnswer:
        """The one request. The claim is looked at once more just before: a process that was paused must not send any more.

        Nor must it when whoever had redeemed the token before has written its answer after all, as far as the watch has told.
        """
        left = attempt.claim.deadline - MARGIN - self._clock.now()
        uid = attempt.observed.credential.metadata.uid
        self._released[uid] = attempt.claim.id
        if left < REQUEST / 2 or not self._claimed(uid, attempt.claim):
            raise _OvertakenError
        del self._released[uid]
        request = self._provider.refresh(client.endpoints, client.credentials, secret, within=min(left, REQUEST))
        place = origin(attempt.token.record.token_url)
        try:
            return await self._calls.make("refresh", app_key(attempt.observed.credential), place, request)
        except ProviderError as problem:
            if not _unknown(problem):
                self._released[uid] = attempt.claim.id
            raise

    def _claimed(self, uid: str, claim: Claim) -> bool:
        there = self._tokens.get(uid)
        return there is not None and there.claim is not None and there.claim.id == claim.id

    async def _refuse(self, attempt: Attempt, answer: TokenAnswer, sent: datetime) -> None:
        """The provider has renewed somebody else's sign-in (OpenID Connect Core, section 12.2): have that revoked, keep nothing."""
        issued = seal(self._keys, answer, attempt.token.record.owner, sent, None)
        await self._revocations.at_once(refreshed(attempt.token, issued, attempt.default_seconds), SUBJECT_CHANGED.word)
        await self._finish(attempt.observed, SUBJECT_CHANGED.word)

    async def _secure(self, attempt: Attempt, answer: TokenAnswer, sent: datetime) -> Attempt:
        """Write a refresh token that rotated, before anything else can fail; our claim stands on: the only fourth write."""
        if answer.refresh_token is None:
            return attempt
        record, uid = attempt.token.record, attempt.observed.credential.metadata.uid
        sealed = self._keys.refresh.seal(answer.refresh_token, record.owner)
        written = await self._tokens.settle(uid, attempt.token, lambda there: rotated(there, attempt.token, sealed))
        if written is None:
            issued = seal(self._keys, answer, record.owner, sent, None)
            await self._give_back(attempt.observed, refreshed(attempt.token, issued, attempt.default_seconds))
            raise _OvertakenError
        return replace(attempt, token=written, secured=True)

    async def _exchanged(self, attempt: Attempt, client: Client, answer: TokenAnswer) -> TokenAnswer:
        """The answer with the warehouse's own access token. Raises _NotExchangedError: then the claim is given up."""
        assert client.endpoints.exchange is not None  # noqa: S101 - asked before
        request = self._provider.exchange_token(client.endpoints, client.credentials, answer, within=REQUEST)
        app, place = app_key(attempt.observed.credential), origin(client.endpoints.exchange.token_url)
        try:
            return await self._calls.make("token_exchange", app, place, request)
        except ProviderError as problem:
            self._released[attempt.observed.credential.metadata.uid] = attempt.claim.id
            raise _NotExchangedError(problem) from None

    def _not_exchanged(self, observed: Observed, problem: ProviderError) -> None:
        """The warehouse gave no token of its own. Whoever's fault it is, the sign-in at the provider is as good as before."""
        self._say(observed, problem.reason)
        if problem.kind is Kind.APP:
            self._refused(observed, problem)
            return
        now, token = self._clock.now(), observed.token
        self._backoff.failed(key_of(observed.credential.metadata), now)
        if problem.retry_after and token and token.record.exchange_url:
            self._backoff.hold(origin(token.record.exchange_url), now + problem.retry_after)
        if problem.kind is Kind.USER:
            self._events.warning("UserCredential", observed.credential.metadata, problem.reason, problem.message)
        elif observed.app:
            self._events.warning("OAuthApp", observed.app.metadata, problem.reason, problem.message)

    async def _keep(self, attempt: Attempt, answer: TokenAnswer, sent: datetime) -> None:
        """Write the answer, whatever it takes; or have it revoked, when a newer sign-in has taken the place.

        A lifetime begins when the provider answers (RFC 6749, section 5.1): surely not before the request was ``sent``.
        """
        observed, uid = attempt.observed, attempt.observed.credential.metadata.uid
        record = attempt.token.record
        issued = seal(self._keys, answer, record.owner, sent, None)
        terms = (issued, attempt.default_seconds, attempt.for_rejection)

        def merge(there: TokenSecret | None) -> TokenSecret | None:
            return merged(there, attempt.token, *terms)

        written = await self._tokens.settle(uid, attempt.token, merge)
        self._apps.accepted(app_key(observed.credential), key_of(observed.credential.metadata))
        self._backoff.succeeded(key_of(observed.credential.metadata))
        if written is None and attempt.secured:  # its refresh token was redeemed by whoever came after us
            self._say(observed, OVERTAKEN)
        elif written is None:
            await self._give_back(observed, refreshed(attempt.token, *terms))
        else:
            self._say(observed, REFRESHED, revision=written.record.revision)

    async def _give_back(self, observed: Observed, unwanted: TokenSecret) -> None:
        """Have an answer revoked that came too late, unless that could end the newer sign-in as well."""
        there, app = self._tokens.get(observed.credential.metadata.uid), observed.app
        spares = there is None or (there.access_token is None and there.refresh_token is None)
        if spares or (app and there and replaced_is_revoked(app, unwanted, there.record)):
            await self._revocations.give_back(unwanted, OVERTAKEN)
        self._say(observed, OVERTAKEN)

    async def _failed(self, observed: Observed, problem: ProviderError) -> None:
        """Whose fault it is decides: the person's ends the sign-in, the app's is said there, the weather's passes."""
        key, now = key_of(observed.credential.metadata), self._clock.now()
        if problem.kind is Kind.USER and observed.token is not None:
            await self._finish(observed, ended_for(problem, observed.token, now))
            return
        self._say(observed, problem.reason)
        if problem.kind is Kind.APP:
            self._refused(observed, problem)
            return
        self._backoff.failed(key, now)
        if problem.retry_after and observed.token:
            self._backoff.hold(origin(observed.token.record.token_url), now + problem.retry_after)
        if observed.app:  # at the app, once: an outage is nobody's of thousands
            self._events.warning("OAuthApp", observed.app.metadata, problem.reason, problem.message)

    def _refused(self, observed: Observed, problem: ProviderError) -> None:
        """Say it at the app, which waits; or at the one credential that it is about, so that it does not hold up the others."""
        app, meta = app_key(observed.credential), observed.credential.metadata
        if not self._apps.blames_one(app, problem, key_of(meta)):
            self._apps.refused(app, problem, key_of(meta))
            return
        self._backoff.failed(key_of(meta), self._clock.now())
        self._events.warning("UserCredential", meta, problem.reason, problem.message)

    async def _finish(self, observed: Observed, reason: str) -> None:
        """The sign-in is over, or rests by a policy; its access token serves until it ends. A newer sign-in is left alone."""
        over, uid = observed.token, observed.credential.metadata.uid

        def end(there: TokenSecret | None) -> TokenSecret | None:
            if there is None or over is None or there.refresh_token != over.refresh_token:
                return None
            return denied(there, reason, self._clock.now()) if reason in BY_POLICY else ended(there, reason)

        await self._tokens.settle(uid, self._tokens.get(uid), end)
        self._say(observed, reason)

    def _seconds(self, observed: Observed) -> Histogram:
        return self._metrics.refresh_seconds.labels(*app_key(observed.credential))

    def _say(self, observed: Observed, reason: str, **more: object) -> None:
        namespace, app = app_key(observed.credential)
        self._metrics.refreshes.labels(namespace, app, reason).inc()
        where = {"namespace": namespace, "app": app, "credential": observed.credential.metadata.name}
        log.info("refresh", extra={**where, "reason": reason, **more})


class _OvertakenError(Exception):
    """Somebody else wrote in between, or too much time has passed: nothing was sent, look again."""


class _NotExchangedError(Exception):
    """The refresh succeeded and is written as far as it goes; the token exchange after it did not."""

    def __init__(self, problem: ProviderError) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _without_echo(answer: TokenAnswer, redeemed: SecretStr) -> TokenAnswer:
    """An answer that repeats the refresh token has not rotated it: as if it had none, so that what is known of it stays."""
    return replace(answer, refresh_token=None) if answer.refresh_token == redeemed else answer


def _another_person(record: TokenRecord, answer: TokenAnswer) -> bool:
    """Whether an ID token that came with a refresh names somebody else than the one that came with the sign-in."""
    said = hashed_claim(answer, "sub")
    return None not in (said, record.account) and said != record.account


def _belongs(record: TokenRecord, client: Client) -> bool:
    """Whether these tokens may be sent where this client sends them: what decided was the app's status, which may lag behind."""
    exchange = client.endpoints.exchange
    return (
        record.client_id == client.credentials.client_id
        and origin(record.token_url) == origin(client.endpoints.token_url)
        and origin(record.exchange_url or "") == origin(exchange.token_url if exchange else "")
    )


def _unknown(problem: ProviderError) -> bool:
    """Whether the request may still be under way at the provider, or have been served unheard."""
    return problem.sent and problem.reason in ("Timeout", "ConnectionLost")
