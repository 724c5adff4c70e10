"""UserCredentials: gather, decide, act, publish. Whatever the cause, ``reconcile`` sees what is, not what happened."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cube_oauth.controller import status
from cube_oauth.controller.inventory import app_key, key_of, others_wrote
from cube_oauth.kube.api import USER_CREDENTIALS, Api, KubeError
from cube_oauth.lifecycle import publish
from cube_oauth.lifecycle.decide import Decision, DropAccessToken, Observed, Refresh, Wait, Withdraw, decide, origin
from cube_oauth.lifecycle.publish import SIGN_IN_ENDING, ended, withdrawn, without_access_token
from cube_oauth.lifecycle.reasons import Reason
from cube_oauth.resources.usercredential import State, UserCredential, UserCredentialStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cube_oauth.controller.apps import Apps
    from cube_oauth.controller.budget import Backoff, Budget
    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.events import Events
    from cube_oauth.controller.inventory import Inventory, Key
    from cube_oauth.controller.keys import Keys
    from cube_oauth.controller.revoke import Revocations
    from cube_oauth.controller.rotation import Rotation
    from cube_oauth.controller.tokens import TokenStore
    from cube_oauth.resources.meta import Condition
    from cube_oauth.resources.secrets import TokenSecret
    from cube_oauth.settings import Installation

log = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(minutes=1)
"""When an OAuthApp that is there cannot be read, or is known a moment later."""

MOST_STEPS = 4
"""Effects in one look: drop a dead token, refresh, and once more after somebody else wrote. More would be a loop."""

TIDY = timedelta(seconds=10)
"""A token that has ended is withheld by everybody's clock, so its Secret is tidied up after others have been marked as ended."""


class Credentials:
    """Looks after all UserCredentials."""

    def __init__(
        self,
        api: Api,
        installation: Installation,
        inventory: Inventory,
        apps: Apps,
        tokens: TokenStore,
        keys: Keys,
        rotation: Rotation,
        revocations: Revocations,
        budget: Budget,
        backoff: Backoff,
        events: Events,
        clock: Clock,
        counted: Callable[[Key], None],
        saw: Callable[[UserCredential], None],
    ) -> None:
        """``counted(app)`` says that the numbers in an app's status may be others; ``saw(credential)`` is as if the watch told."""
        self._api = api
        self._installation = installation
        self._inventory = inventory
        self._apps = apps
        self._tokens = tokens
        self._keys = keys
        self._rotation = rotation
        self._revocations = revocations
        self._budget = budget
        self._backoff = backoff
        self._events = events
        self._clock = clock
        self._counted = counted
        self._saw = saw
        self._authorized: dict[str, Condition] = {}
        self._claims: dict[str, tuple[str, datetime]] = {}
        """The claims that were seen, with the moment, by UID."""
        self._ending = False

    def _published(self, observed: Observed) -> None:
        """How the last authorization went is in the status; unless another one ended while that was written."""
        uid = observed.credential.metadata.uid
        if self._authorized.get(uid) in observed.credential.status.conditions:
            del self._authorized[uid]

    def authorized(self, uid: str, condition: Condition) -> None:
        """How the last authorization went; published with the next look."""
        self._authorized[uid] = condition

    def forget(self, credential: UserCredential) -> None:
        """A credential is gone."""
        self._authorized.pop(credential.metadata.uid, None)
        self._claims.pop(credential.metadata.uid, None)
        self._rotation.forget(credential.metadata.uid)
        self._backoff.succeeded(key_of(credential.metadata))
        self._budget.spend(key_of(credential.metadata))

    def end(self) -> None:
        """From now on begin nothing, but tell how it stands: whoever comes after us has the time that it takes."""
        self._ending = True

    async def reconcile(self, key: Key) -> datetime | None:
        """Look at one credential, do what is due, publish; when to look again."""
        for _ in range(MOST_STEPS):
            observed = self.observe(key)
            if observed is None:
                return None
            decision = Wait() if self._ending else self._affordable(observed, decide(observed, self._clock.now()))
            if isinstance(decision, Withdraw) and not await self._proved(observed, decision):
                decision = Wait(self._clock.now() + LOOK_AGAIN)
            if isinstance(decision, Wait):
                await self._publish(observed)
                return decision.until
            if isinstance(decision, DropAccessToken) and await self._publish(observed):
                return self._clock.now() + (timedelta(0) if self._goes_on(observed) else TIDY)
            await self._act(observed, decision)
        if (last := self.observe(key)) is not None:  # who is never done is seen all the same
            await self._publish(last)
        return self._clock.now()

    def _goes_on(self, observed: Observed) -> bool:
        """Whether another token is due now that this one has ended; others are marked as ended first all the same."""
        assert observed.token is not None  # noqa: S101 - decided so
        dropped = replace(observed, token=without_access_token(observed.token))
        return isinstance(decide(dropped, self._clock.now()), Refresh)

    def observe(self, key: Key) -> Observed | None:
        """Everything that decides; None while the OAuthApp was not looked at yet (it calls when it was)."""
        credential = self._inventory.credentials.get(key)
        if credential is None:
            return None
        app = self._inventory.apps.get(app_key(credential))
        if app is not None and not self._apps.known(app_key(credential)):
            return None
        token, decipherable = self._readable(self._tokens.get(credential.metadata.uid))
        return Observed(
            credential=self._with_authorized(credential),
            app=app,
            app_ready=self._apps.ready(app_key(credential)),
            token=token,
            duplicate=self._inventory.duplicate(credential),
            not_before=self._not_before(key, app_key(credential), token),
            released_claim=self._rotation.released_claim(credential.metadata.uid),
            claim_seen_at=self._claim_seen_at(credential.metadata.uid, token),
            decipherable=decipherable,
        )

    def _with_authorized(self, credential: UserCredential) -> UserCredential:
        condition = self._authorized.get(credential.metadata.uid)
        if condition is None:
            return credential
        others = tuple(known for known in credential.status.conditions if known.type != condition.type)
        changed = credential.status.model_copy(update={"conditions": (*others, condition)})
        return credential.model_copy(update={"status": changed})

    def _claim_seen_at(self, uid: str, token: TokenSecret | None) -> datetime | None:
        if token is None or token.claim is None:
            self._claims.pop(uid, None)
            return None
        known = self._claims.get(uid)
        if known is None or known[0] != token.claim.id:
            known = self._claims[uid] = (token.claim.id, self._clock.now())
        return known[1]

    def _not_before(self, key: Key, app: Key, token: TokenSecret | None) -> datetime | None:
        urls = (token.record.token_url, token.record.exchange_url) if token else ()
        pauses = (self._backoff.not_before(key, *(origin(url) for url in urls if url)), self._apps.not_before(app, key))
        return max((pause for pause in pauses if pause), default=None)

    def _readable(self, token: TokenSecret | None) -> tuple[TokenSecret | None, bool]:
        """What the keys can open of it, and whether that is of any use; what they cannot stays stored: a ring may come back.

        Without its access token a refresh brings another. Without its refresh token the access token serves until it ends.
        """
        if token is None:
            return None, True
        access, refresh = self._keys.opens(token)
        if not access and refresh and token.refresh_token:
            return without_access_token(token), True
        if access and not refresh and token.access_token:
            return ended(token, Reason.UNDECIPHERABLE), True
        return token, access and refresh

    def _affordable(self, observed: Observed, decision: Decision) -> Decision:
        """A refresh waits for its turn in the provider's budget."""
        if not isinstance(decision, Refresh):
            return decision
        assert observed.token is not None  # noqa: S101 - decided so
        assert observed.app is not None  # noqa: S101 - the same
        key, now = key_of(observed.credential.metadata), self._clock.now()
        budget = observed.app.spec.refresh.requests_per_second
        place, app = origin(observed.token.record.token_url), app_key(observed.credential)
        turn = self._budget.reserve(place, budget, key, now, urgent=decision.urgent, app=app)
        return Wait(turn) if turn > now else decision

    async def _proved(self, observed: Observed, decision: Withdraw) -> bool:
        """Whether the cause is sure: a copy of an OAuthApp that lags behind costs nobody a sign-in. Raises KubeError."""
        assert observed.token is not None  # noqa: S101 - decided so
        return decision.reason is not Reason.APP_NOT_FOUND or await self._apps.gone(observed.token.record.app)

    async def _act(self, observed: Observed, decision: Refresh | DropAccessToken | Withdraw) -> None:
        if isinstance(decision, Refresh):
            self._budget.spend(key_of(observed.credential.metadata))
            await self._rotation.refresh(observed, decision.for_rejection)
        elif isinstance(decision, Withdraw):
            await self._withdraw(observed, decision.reason)
        else:
            assert observed.token is not None  # noqa: S101 - decided so
            stored = self._tokens.get(observed.credential.metadata.uid) or observed.token
            await self._write(replace(without_access_token(stored), resource_version=observed.token.resource_version))

    async def _withdraw(self, observed: Observed, reason: Reason) -> None:
        """Write down what is to be revoked, then keep no token of it."""
        token = observed.token
        assert token is not None  # noqa: S101 - decided so
        await self._revocations.set_aside(token, reason)
        await self._write(withdrawn(token, reason))
        self._revocations.removed(token)
        where = {"namespace": token.record.app.namespace, "app": token.record.app.name, "credential": token.record.credential.name}
        log.info("tokens withdrawn", extra={**where, "reason": reason})

    async def _write(self, token: TokenSecret) -> None:
        """Unless somebody else wrote: then what is there decides."""
        try:
            await self._tokens.write(token)
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            await self._tokens.reread(token.record.credential.uid)

    async def _publish(self, observed: Observed) -> bool:
        """Write the status if it differs from what is there; whether it did. The broker's part is not ours."""
        credential = observed.credential
        key, now = key_of(credential.metadata), self._clock.now()
        wanted = publish.status(observed, self._installation.authorize_url(*app_key(credential)), now)
        known = self._inventory.credentials[key].status
        written = wanted.to_json()
        if written == known.model_copy(update={"demand": None}).to_json():
            self._published(observed)
            return False
        try:
            body = await status.write(self._api, USER_CREDENTIALS, "UserCredential", credential.metadata, written)
        except KubeError as error:
            if error.conflict or error.not_found:  # gone, or another of the same name: the watch will say
                return False
            raise
        self._published(observed)
        answer = UserCredential.model_validate(body)
        self._saw(answer) if others_wrote(answer, credential) else self._inventory.take_credential(answer)
        if wanted.state != known.state:
            self._counted(app_key(credential))
            self._tell(credential, wanted)
        self._announce(credential, known, wanted)
        self._say_if_over(observed, known, wanted)
        return True

    def _tell(self, credential: UserCredential, now: UserCredentialStatus) -> None:
        active = next(condition for condition in now.conditions if condition.type == "Active")
        meta, state = credential.metadata, now.state or State.PENDING
        where = {"namespace": meta.namespace, "credential": meta.name, "app": credential.spec.oauth_app_ref.name}
        log.info("state", extra={**where, "state": state.value, "reason": active.reason})
        if state is State.ACTIVE:
            self._events.normal("UserCredential", meta, "Connected", active.message)
        elif state is not State.PENDING:
            self._events.warning("UserCredential", meta, active.reason, active.message)

    def _say_if_over(self, observed: Observed, before: UserCredentialStatus, now: UserCredentialStatus) -> None:
        """Say that the present access token is the last as soon as the provider has said so: the person may act before it ends."""
        record = observed.token.record if observed.token else None
        ended = record and (record.ended or record.denied)
        if ended and now.state is State.ACTIVE and before.refresh_at is not None and now.refresh_at is None:
            active = next(condition for condition in now.conditions if condition.type == "Active")
            self._events.warning("UserCredential", observed.credential.metadata, ended, active.message)

    def _announce(self, credential: UserCredential, before: UserCredentialStatus, now: UserCredentialStatus) -> None:
        """Say once, and once more when it is near, that the person has to authorize again soon."""
        ending, said = (next((one for one in it.conditions if one.type == SIGN_IN_ENDING), None) for it in (now, before))
        if ending is None or (said is not None and said.reason == ending.reason):
            return
        meta, reason = credential.metadata, f"{SIGN_IN_ENDING}{ending.reason}"
        where = {"namespace": meta.namespace, "credential": meta.name, "app": credential.spec.oauth_app_ref.name}
        log.info("sign-in ends", extra={**where, "reason": reason})
        self._events.warning("UserCredential", meta, reason, ending.message)
