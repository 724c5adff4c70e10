"""Whatever happens in whatever order: when all has come to rest, a controller that starts anew finds nothing to do.

Hypothesis lets people, administrators and the broker act between any two requests, answers and lines of a watch of the controller.
"""

import asyncio
import logging
import os
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from pydantic import SecretStr

from cube_oauth.kube.api import OAUTH_APPS, SECRETS, USER_CREDENTIALS, KubeError
from cube_oauth.resources.names import KIND_LABEL
from cube_oauth.resources.secrets import Grant, Reference, RevocationSecret, TokenSecret, grant_secret
from tests.unit.controller.clocks import StoppedClock
from tests.unit.controller.simulation import KEYS, Provider, Running, Server, at_rest
from tests.unit.lifecycle.samples import TOKEN_URL

PEOPLE = ("alice", "bob")
APP = OAUTH_APPS.path("team", "trino")
SPEC = {
    "tokenURL": TOKEN_URL,
    "authorizationURL": "https://idp.example.com/a",
    "revocationURL": "https://idp.example.com/revoke",
    "revokeReplaced": "Always",
    "subject": {"source": "None"},
    "clientID": "cube",
    "refresh": {"requestsPerSecond": 1000},
}
REST = (0, 1, 1, 3, 5, 10, 30, 60, 60)
"""Seconds, step by step, after which everything must have come to rest: pauses, counts, tidying up, second looks."""

people = st.sampled_from(PEOPLE)


def path(person):
    return USER_CREDENTIALS.path("team", f"trino-{person}")


class Convergence(RuleBasedStateMachine):
    """No rule has a precondition: what hypothesis draws must not depend on how far anything is."""

    def __init__(self):
        super().__init__()
        logging.disable(logging.CRITICAL)  # thousands of lines about what is done to it on purpose
        self.loop, self.patches = asyncio.new_event_loop(), pytest.MonkeyPatch()
        for module in ("tokens", "revoke"):
            self.patches.setattr(f"cube_oauth.controller.{module}.full_jitter", lambda *_: timedelta(0))
        self.patches.setattr("cube_oauth.controller.engine.RETRY", 0)
        self.patches.setattr("cube_oauth.kube.watch.FIRST_PAUSE", 0)
        self.clock, self.provider = StoppedClock(), Provider()
        self.api = Server(self.clock)
        self.grants, self.lost = 0, set()
        """``lost``: the sign-ins whose newest token only a process knew that was killed."""
        self.app_is_made()
        self.running = None
        for person in PEOPLE:
            self.credential_is_made(person)
        self.do(self.start())

    @initialize(connected=st.booleans())
    def begins(self, connected):
        """With a controller that starts beside what nobody has looked at yet, or when everybody is connected."""
        if connected:
            for person in PEOPLE:
                self.somebody_authorizes(person)
            self.do(self.goes_on(0, 2))
            self.running.gates.open = False

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    async def start(self):
        self.running = Running(self.api, self.provider, self.clock, self.patches)
        await at_rest()

    # ---- what happens

    @rule(number=st.integers(0, 7), more=st.sampled_from((1, 1, 2, 3, 10, 40)))
    def somebody_goes_on(self, number, more):
        for _ in range(more):
            if self.running.gates.waiting:
                self.running.gates.let(number)
                self.do(at_rest())

    @rule(number=st.integers(0, 7))
    def the_api_server_fails(self, number):
        """A request is not served, or its answer is lost, or a watch breaks."""
        disturbed = [place for place, (what, _) in enumerate(self.running.gates.waiting) if "provider" not in what]
        if disturbed:
            self.running.gates.let(disturbed[number % len(disturbed)], KubeError(0, "TimeoutError", "a request"))
            self.do(at_rest())

    @rule()
    def the_process_is_killed(self):
        """Nobody lets it through any more; another one starts."""
        self.lost |= {sign_in for sign_in, newest in self.provider.alive.items() if newest not in self.stored()}
        self.do(self.start())

    @rule(seconds=st.sampled_from((1, 5)))
    def a_moment_passes(self, seconds):
        self.do(self.clock.turn(seconds=seconds))
        self.do(at_rest())

    @rule(seconds=st.sampled_from((60, 1800, 3000, 4000)))
    def time_passes(self, seconds):
        """No request takes so long: whoever is under way arrives before."""
        self.do(self.goes_on(0))
        self.running.gates.open = False
        self.a_moment_passes(seconds)

    @rule(person=people, suspend=st.booleans())
    def suspended_or_not(self, person, suspend):
        if path(person) in self.api.objects:
            self.api.change(path(person), spec={"suspend": suspend})
            self.do(at_rest())

    @rule(person=people)
    def the_warehouse_refuses_the_token(self, person):
        status = self.api.objects.get(path(person), {}).get("status", {})
        if revision := status.get("revision"):
            self.api.change(path(person), status={"demand": {"rejectedRevision": revision}})
            self.do(at_rest())

    @rule(person=people)
    def credential_is_made(self, person):
        if path(person) not in self.api.objects:
            meta = {"name": f"trino-{person}", "namespace": "team"}
            self.api.put(path(person), {"metadata": meta, "spec": {"username": person, "oauthAppRef": {"name": "trino"}}})

    @rule(person=people)
    def credential_is_deleted(self, person):
        self.api.remove(path(person))
        self.do(at_rest())

    @rule(person=people)
    def somebody_authorizes(self, person):
        credential, app = self.api.objects.get(path(person)), self.api.objects.get(APP)
        if not credential or not app:
            return
        self.grants += 1
        grant = Grant(
            credential=reference(credential),
            app=reference(app),
            username=person,
            code=f"code-{self.grants}",
            redirect_uri="https://portal.example.com/callback/team/trino",
            token_url=TOKEN_URL,
            client_id="cube",
            issued_at=self.clock.now(),
        )
        name = f"grant-{self.grants}"
        sealed = KEYS.grant.seal(SecretStr(grant.model_dump_json(by_alias=True)))
        self.api.put(SECRETS.path("tokens", name), grant_secret(name, "tokens", sealed))
        self.do(at_rest())

    @rule()
    def app_is_made(self):
        if APP not in self.api.objects:
            self.api.put(APP, {"metadata": {"name": "trino", "namespace": "team"}, "spec": SPEC})

    @rule()
    def app_is_deleted(self):
        self.api.remove(APP)
        self.do(at_rest())

    @rule(percent=st.sampled_from((50, 90)))
    def app_is_changed(self, percent):
        if APP in self.api.objects:
            self.api.change(APP, spec={"refresh": {"requestsPerSecond": 1000, "percentOfLifetime": percent}})
            self.do(at_rest())

    # ---- what must be true in the end

    def teardown(self):
        try:
            self.do(self.rests())
        finally:
            self.patches.undo()
            logging.disable(logging.NOTSET)
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self.do(asyncio.wait(tasks, timeout=5))
            self.loop.close()

    async def rests(self):
        await self.goes_on(0)
        await self.running.controller._list_all()  # what comes every few minutes: kopf does not tell of each deletion
        await self.goes_on(*REST)
        assert set(self.provider.reused) <= self.lost
        stored = {token.partition("/")[0] for token in self.stored()}
        assert stored ^ self.provider.alive.keys() <= self.lost, "no sign-in is left behind at the provider, or lost"
        await self.running.end()
        writes, requests = len(self.api.writes), self.provider.requests
        await self.start()
        await self.goes_on(0, 2)
        assert self.running.controller.synced.is_set(), "it has looked"
        assert self.api.writes[writes:] == []
        assert self.provider.requests == requests
        await self.running.end()

    async def goes_on(self, *pauses):
        """With nobody at the gates."""
        self.running.gates.let_all()
        for seconds in pauses:
            await self.clock.turn(seconds=seconds)
            await at_rest()

    def stored(self):
        """The refresh tokens that are stored, those that wait for being revoked included."""
        found = set()
        for item in self.api.objects.values():
            kind = (item["metadata"].get("labels") or {}).get(KIND_LABEL)
            if kind in ("token", "revocation"):
                secret = (TokenSecret if kind == "token" else RevocationSecret).from_kubernetes(item)
                owner = secret.record.owner if kind == "token" else secret.record.token.owner
                found |= {KEYS.refresh.open(secret.refresh_token, owner).get_secret_value()} if secret.refresh_token else set()
        return found


def reference(item):
    meta = item["metadata"]
    return Reference(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])


TestConvergence = Convergence.TestCase
HUNT = os.environ.get("SIMULATIONS")  # so many others than those of each test run (CONTRIBUTING.md)
TestConvergence.settings = settings(max_examples=int(HUNT or 600), stateful_step_count=60, derandomize=not HUNT)
