"""Controllers to break, people who are connected, and the verdict of the provider and the API server."""

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cube_oauth.resources.keyring import Keyring
from cube_oauth.resources.names import credential_name
from cube_oauth.resources.secrets import TokenRecord, TokenSecret
from tests.control_plane.harness import APPS, CLIENTS, CREDENTIALS, ROOT, Installation, KubeApi, eventually
from tests.parts import web
from tests.parts.processes import free_port
from tests.parts.provider import Provider
from tests.survival import controller, journal
from tests.survival.journal import Story
from tests.survival.plan import Plan

LIFETIME = 45
"""Seconds of an access token: a refresh is due after 10 % of it, and it outlives the claim of a controller that was killed."""

APP = "trino"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/co-controller"
NOTHING = Plan()
UNDISTURBED = Plan(always_leads=True)
"""On a busy machine a Lease may be lost, which would end a controller that nobody wanted to end."""


def _fork_server() -> Any:
    """Controllers are forked from a process that has imported everything: a start costs a tenth of a fresh one."""
    os.environ["PYTHONPATH"] = f"{ROOT / 'operator'}:{ROOT}"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([controller.__name__, "cube_oauth.controller.process"])
    return context


class Child:
    """A controller process."""

    def __init__(self, env: dict[str, str], plan: Plan, folder: Path, number: int) -> None:
        self._listen = env["CUBE_OAUTH_LISTEN"]
        self.journal = folder / f"controller-{number}.journal"
        self.log = folder / f"controller-{number}.log"
        self.log.touch()
        arguments = (env, plan, self.journal, self.log)
        self.process = _fork_server().Process(target=controller.run, args=arguments, daemon=True)
        self.process.start()

    def stories(self) -> list[Story]:
        """Its refreshes so far."""
        return list(journal.stories(self.journal).values())

    def refreshed(self) -> int:
        """How many of them were written."""
        return sum(story.refreshed for story in self.stories())

    def place(self) -> str | None:
        """Where the plan's signal was sent; None when its refresh has no such await."""
        return next((story.place for story in self.stories() if story.place), None)

    def ended(self) -> set[str]:
        """Whose refreshes are over, by UID."""
        return {story.uid for story in self.stories() if "ended" in story.at}

    def leads(self) -> bool:
        """Whether it is active, with its caches filled."""
        address = f"http://{self._listen}/"
        try:
            return "_leader 1.0" in web.request("GET", f"{address}metrics").text and web.answers(f"{address}readyz")
        except OSError:
            return False

    def wait(self, seconds: float = 90) -> None:
        """Until it has ended."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            raise AssertionError(f"{self.log} did not end:\n{self.log.read_text()[-4000:]}")

    def kill(self) -> None:
        """Without a chance to do anything."""
        self.process.kill()
        self.wait()

    def go_on(self) -> None:
        """Continue after a stop."""
        os.kill(self.process.pid or 0, signal.SIGCONT)

    def end(self) -> None:
        """In order if it can; at once if not."""
        if self.process.exitcode is None:
            self.go_on()
            self.process.terminate()
            self.process.join(40)
        if self.process.exitcode is None:
            self.kill()


@dataclass
class Verdict:
    """What became of everybody since the last verdict."""

    told: list[Story] = field(default_factory=list)
    """All refreshes, in the order in which they began."""
    in_window: list[str] = field(default_factory=list)
    """The refresh tokens of those who lost the sign-in because the provider's answer exists nowhere: redeemed, and not written."""
    lost: dict[str, str] = field(default_factory=dict)
    """The refresh tokens of those who lost it otherwise, with what is known of it. Nobody should."""
    twice: list[str] = field(default_factory=list)
    """Refresh tokens that came once more although their answer was kept. None should."""
    spent: dict[str, float] = field(default_factory=dict)
    """When the provider redeemed them, in ms since 1970."""

    @property
    def refreshes(self) -> int:
        """How many were written."""
        return sum(story.refreshed for story in self.told)


class World:
    """An installation with connected people."""

    def __init__(self, cluster: Any, provider: Provider, folder: Path, name: str, people: list[str]) -> None:
        self.installation = Installation(KubeApi(cluster), cluster, provider, folder, name)
        self.provider = provider
        self.people = people
        self._folder = folder
        self._children: list[Child] = []
        self._judged = 0
        self._lost: set[str] = set()
        self._revisions: dict[str, int] = {}
        self._last: dict[str, str] = {}
        """The refresh token that was redeemed last for each UID, by SHA-256."""
        self._sent: set[str] = set()
        """Refresh tokens that were sent, and no answer was written: the provider may serve a dead controller's request later."""
        self._unheard: set[str] = set()
        """Those of them that were redeemed."""
        self._late: dict[str, str] = {}
        """The same by UID, since the last verdict, where the answer was written after a pause: it may be dead by then."""
        self._reused: set[str] = set()
        self._canaries = set(CLIENTS.values())
        self._known_rings: tuple[Keyring, Keyring] | None = None

    # ---- controllers

    def start(self, plan: Plan = NOTHING, **env: str) -> Child:
        """A controller, not waited for; with the Lease of a dead one given up for it, as time would."""
        if not plan.always_leads:
            self.installation.kube.delete(LEASES.format(self.installation.system))
        env = {**self.installation.env, "CUBE_OAUTH_LISTEN": f"127.0.0.1:{free_port()}", **env}
        child = Child(env, plan, self._folder, len(self._children))
        self._children.append(child)
        self.installation.controllers.append(child)  # so that a failure's message shows its log
        return child

    @contextmanager
    def healthy(self, **env: str) -> Iterator[Child]:
        """A controller that is not broken, until the block ends."""
        child = self.start(UNDISTURBED, **env)
        try:
            yield child
        finally:
            child.end()

    def until(self, true: Callable[[], Any], seconds: float = 120) -> None:
        """Wait; fails with the logs."""
        eventually(true, seconds, self.installation.tell)

    # ---- people

    def prepare(self) -> None:
        """The OAuthApp, and everybody connected."""
        self.short_lived()
        with self.healthy():
            self.until(lambda: self.installation.kube.get(f"/api/v1/namespaces/{self.installation.system}/configmaps/co-grant-key"))
            self.installation.app(APP, refresh={"percentOfLifetime": 10, "requestsPerSecond": 1000})
            self._connect(self.people)
        self.judge()

    def without_discovery(self) -> None:
        """From now on the OAuthApp names the endpoints: the request that redeems is the first of a process to the provider."""
        path = f"{APPS.format(self.installation.tenant)}/{APP}"
        status = self.installation.kube.get(path)["status"]
        endpoints = {name: status[name] for name in ("authorizationURL", "tokenURL", "revocationURL")}
        self.installation.kube.patch(path, {"spec": {"issuerURL": None, **endpoints}})

    def heal(self) -> None:
        """Let those who have lost their sign-in connect again."""
        with self.healthy():
            self._connect([person for person in self.people if self._uid(person) in self._lost])
        self.judge()

    def refresh_everybody(self) -> None:
        """The last proof: each stored refresh token is redeemed once more, by a controller that nobody disturbs."""
        self.heal()
        with self.healthy():
            self.force_everybody()

    def lasting(self) -> None:
        """From now on everybody has a token that is not due by itself."""
        self.provider.control.lifetimes(accessToken=86_400)
        self.refresh_everybody()

    def short_lived(self) -> None:
        """From now on a new token is due soon."""
        self.provider.control.lifetimes(accessToken=LIFETIME)

    def force_everybody(self) -> None:
        """Say for everybody that the data source refused the token, and wait until there is a newer one."""
        before = {uid: token.record for uid, token in self._tokens().items() if uid not in self._lost}
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._reject, before.values()))
        self.until(lambda: all(self._newer(token, before) for token in self._tokens().values()))

    def _reject(self, record: TokenRecord) -> None:
        path = f"{CREDENTIALS.format(self.installation.tenant)}/{record.credential.name}/status"
        self.installation.kube.patch(path, {"status": {"demand": {"rejectedRevision": record.revision}}})

    def _newer(self, token: TokenSecret, before: dict[str, TokenRecord]) -> bool:
        record = token.record
        known = before.get(record.credential.uid)
        return known is None or record.revision > known.revision or record.ended is not None

    def fit(self) -> int:
        """How many have a sign-in."""
        return len(self.people) - len(self._lost)

    def _connect(self, people: list[str]) -> None:
        before = {person: self.installation.status(person, APP).get("revision", 0) for person in people}
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda person: self.installation.authorize(person, APP), people))
        self.until(lambda: all(self._connected(person, before[person]) for person in people))
        self._lost -= {self._uid(person) for person in people}

    def _connected(self, person: str, revision: int) -> bool:
        status = self.installation.status(person, APP)
        return status.get("state") == "Active" and status["revision"] > revision

    def _uid(self, person: str) -> str:
        found = self.installation.kube.get(f"{CREDENTIALS.format(self.installation.tenant)}/{credential_name(APP, person)}")
        return found["metadata"]["uid"]

    # ---- the verdict

    def judge(self) -> Verdict:
        """Compare what is stored with what the provider takes. Only while no controller runs."""
        time.sleep(0.2)  # mostly the provider has served by then what a dead controller has sent
        there = self.provider.control.refresh_tokens()
        verdict = Verdict(self._told(), spent=there["spent"])
        self._last |= {story.uid: story.token for story in verdict.told if story.token}
        kept = {story.token for story in verdict.told if story.refreshed and not story.unheard}
        self._sent = (self._sent | {story.token for story in verdict.told if story.unheard}) - kept
        self._unheard |= self._sent & verdict.spent.keys()
        self._late = {story.uid: story.token for story in verdict.told if story.unheard and story.refreshed}
        for uid, token in self._tokens().items():
            self._look(uid, token, set(there["live"]), verdict)
        verdict.twice = sorted(set(there["reused"]) - self._reused - self._unheard)
        self._reused |= set(there["reused"])
        return verdict

    def _told(self) -> list[Story]:
        """The refreshes since the last verdict, in the order in which they began."""
        told = [story for child in self._children[self._judged :] for story in child.stories()]
        self._judged = len(self._children)
        return sorted(told, key=lambda story: story.at["begun"])

    def _look(self, uid: str, token: TokenSecret, live: set[str], verdict: Verdict) -> None:
        before = self._revisions.get(uid, 0)
        if token.record.revision < before:
            verdict.lost[uid] = f"{uid}: revision {token.record.revision} after {before}"
        self._revisions[uid] = max(before, token.record.revision)
        stored = self._digest(token)
        if stored in live or uid in self._lost:
            return
        self._lost.add(uid)
        redeemed = stored or self._last.get(uid, "")
        redeemed = self._late[uid] if self._late.get(uid) in self._unheard else redeemed
        if redeemed in self._unheard:
            verdict.in_window.append(redeemed)
        else:
            record = token.record
            verdict.lost[redeemed] = f"{uid}: revision {record.revision}, ended {record.ended}, stored {stored is not None}"

    def states(self, uids: set[str]) -> str:
        """The state of these credentials, as the API server has it."""
        found = self.installation.kube.items(CREDENTIALS.format(self.installation.tenant))
        return " and ".join(sorted(one["status"]["state"] for one in found if one["metadata"]["uid"] in uids))

    def _tokens(self) -> dict[str, TokenSecret]:
        found = [TokenSecret.from_kubernetes(secret) for secret in self.installation.stored("token")]
        return {token.record.credential.uid: token for token in found}

    def _digest(self, token: TokenSecret) -> str | None:
        """SHA-256 of the stored refresh token; what is read here must be in no log."""
        for ring, value in ((self._rings()[0], token.access_token), (self._rings()[1], token.refresh_token)):
            if value:
                self._canaries.add(ring.open(value, token.record.owner).get_secret_value())
        if token.refresh_token is None:
            return None
        plain = self._rings()[1].open(token.refresh_token, token.record.owner).get_secret_value()
        return hashlib.sha256(plain.encode()).hexdigest()

    def _rings(self) -> tuple[Keyring, Keyring]:
        if self._known_rings is None:
            self._known_rings = self.installation.ring("access"), self.installation.ring("refresh")
        return self._known_rings

    def leaks(self) -> list[str]:
        """The logs and journals that hold a token or a client secret."""
        files = [file for child in self._children for file in (child.log, child.journal) if file.exists()]
        return [file.name for file in files if any(canary in file.read_text() for canary in self._canaries)]

    def end(self) -> None:
        """Stop what runs."""
        for child in self._children:
            child.end()
