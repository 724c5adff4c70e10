"""The main job, told step by step on a running world: what was expected, and what was seen.

The proof is always what the warehouse itself answers (``SELECT current_user``), never a log line of ours.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.people import Person
from tests.e2e.world import PEOPLE, RELEASE, SERVICE_ACCOUNT, World, eventually
from tests.parts.provider import PASSWORD

A_JWT = re.compile(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}")
APP = "analytics/trino"
LASTING = 60
"""Seconds of a token for as long as nobody refreshes it."""
PATIENCE = 20
"""Seconds for the first query that obeys."""


@dataclass(frozen=True)
class Step:
    """One sentence of the story."""

    what: str
    expected: str
    seen: str

    @property
    def ok(self) -> bool:
        """Whether it went as expected."""
        return self.seen == self.expected


@dataclass
class Traffic:
    """What a person's queries came to while they ran in the background."""

    answers: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


class Story:
    """Runs the steps in order and keeps them.

    Args:
        world: built and up.
        browser: a real one.
        screenshots: a folder.
        tell: gets each step as it is over.
        obeys: seconds after which no query of somebody who has disconnected is theirs.
    """

    def __init__(self, world: World, browser: Browser, screenshots: Path, tell: Callable[[Step], None], obeys: float = 1) -> None:
        self.world = world
        self.steps: list[Step] = []
        self._browser = browser
        self._screenshots = screenshots
        self._tell = tell
        self._obeys = obeys
        self._people: dict[str, Person] = {}

    @property
    def ok(self) -> bool:
        """Whether every step went as expected."""
        return bool(self.steps) and all(step.ok for step in self.steps)

    def run(self) -> bool:
        """The whole story; True when all went as expected."""
        self.installed()
        self.connecting()
        self.identities()
        self.lifetimes()
        self.disconnecting()
        self.controller_killed()
        self.nothing_leaked()
        return self.ok

    def step(self, what: str, expected: str, see: Callable[[], object]) -> None:
        """One step: a failure to see anything is what was seen."""
        try:
            seen = str(see())
        except Exception as error:  # noqa: BLE001 - whatever went wrong belongs to the story
            seen = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
        done = Step(what, expected, seen)
        self.steps.append(done)
        self._tell(done)

    # ---- the chapters

    def installed(self) -> None:
        """A real node, the operator by its chart, and Cube with its sidecar."""
        kubectl = self.world.cluster.kubectl
        ready = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
        self.step("a real Kubernetes node is ready", "True", lambda: kubectl("get", "nodes", "-o", ready))
        running = "jsonpath={.items[*].status.availableReplicas}"
        self.step(
            "controller, broker and portal are available", "1 1 1", lambda: kubectl("get", "deploy", "-n", RELEASE, "-o", running)
        )
        names = "jsonpath={.items[*].spec.initContainers[*].name}"
        self.step(
            "Cube's pod was given the sidecar because of one label",
            "cube-oauth-resolver",
            lambda: kubectl("get", "pods", "-n", "analytics", "-l", "app=cube", "-o", names),
        )

    def connecting(self) -> None:
        """Alice and bob connect their accounts in the portal; carol does not."""
        for name in PEOPLE[:2]:
            self._connect(name)

    def _connect(self, name: str) -> None:
        def connect() -> str:
            person = self._person(name)
            person.connect(APP)
            person.screenshot(self._screenshots / f"{name}-connected.png")
            return person.state(APP)

        self.step(f"{name} connects to Trino in the portal", "Active", connect)

    def identities(self) -> None:
        """Each person's query reaches Trino as that person; carol, who connected nothing, as the service account."""
        for name, expected in zip(PEOPLE, ("alice", "bob", SERVICE_ACCOUNT), strict=True):
            self.step(f"Trino sees {name}'s query as", expected, lambda name=name: self.world.whoami(name))

    def lifetimes(self) -> None:
        """Three token lifetimes pass with queries running."""
        lasting = 3 * self.world.token_seconds + 5
        before = {name: self.world.revision(name) for name in PEOPLE[:2]}
        self.world.remember_pods()
        with self._traffic(*PEOPLE) as traffic:
            time.sleep(lasting)  # the tokens' lifetimes themselves are what is waited for
        for name, expected in zip(PEOPLE, ("alice", "bob", SERVICE_ACCOUNT), strict=True):
            seen = traffic[name]
            self.step(
                f"three token lifetimes ({lasting} s), {seen.answers.total()} queries of {name}: identities, errors",
                f"{expected}; no error",
                lambda seen=seen: f"{', '.join(seen.answers)}; {seen.errors[0] if seen.errors else 'no error'}",
            )
        for name, revision in before.items():
            self.step(
                f"{name}'s token was refreshed three times or more meanwhile",
                "yes",
                lambda name=name, revision=revision: _yes(self.world.revision(name) >= revision + 3),
            )
        self.step("containers restarted or replaced meanwhile", "0", self.world.restarts)

    def disconnecting(self) -> None:
        """Bob disconnects: each query that is sent a second later is the service account's."""
        as_bob: list[float] = []

        def disconnect() -> str:
            self._person("bob").disconnect(APP)
            disconnected = time.monotonic()
            while True:
                sent = time.monotonic() - disconnected
                if (seen := self.world.whoami("bob")) != "bob" or sent > PATIENCE:
                    return seen
                as_bob.append(sent)

        self.step("bob disconnects; Trino then sees his query as", SERVICE_ACCOUNT, disconnect)
        sent = f" ({as_bob[-1] * 1000:.0f} ms later)" if as_bob else ""
        self.step(
            f"no query that was sent {self._obeys:g} s after the page said so was his{sent}",
            "yes",
            lambda: _yes(not as_bob or as_bob[-1] < self._obeys),
        )
        self.step("alice is not touched by it: Trino sees her as", "alice", lambda: self.world.whoami("alice"))

    def controller_killed(self) -> None:
        """The controller is killed and replaced: nothing is lost."""
        if self.world.token_seconds < LASTING:
            self.world.lasting("alice", LASTING)  # a busy machine takes its time to start a successor
        before = self.world.revision("alice")
        with self._traffic("alice") as traffic:
            self.step("the controller is killed and replaced", "replaced", lambda: self.world.kill_controller() or "replaced")
            self.world.control.lifetimes(accessToken=self.world.token_seconds)
            self.step(
                "its successor goes on refreshing alice's token",
                "yes",
                lambda: _yes(
                    eventually("a refresh", lambda: self.world.revision("alice") >= before + 2, 60 + 3 * self.world.token_seconds)
                ),
            )
        seen = traffic["alice"]
        self.step(
            f"{seen.answers.total()} queries of alice meanwhile: identities, errors",
            "alice; no error",
            lambda: f"{', '.join(seen.answers)}; {seen.errors[0] if seen.errors else 'no error'}",
        )
        self.step("refresh tokens that were redeemed twice", "0", lambda: self.world.control.stats()["redeemedTwice"])

    def nothing_leaked(self) -> None:
        """No token in anything that Cube, the sidecar or the operator wrote."""
        self.step("tokens in all logs", "0", lambda: len(A_JWT.findall(self.world.logs())))

    # ---- people and their queries

    def _person(self, name: str) -> Person:
        if name not in self._people:
            person = Person(self._browser)
            person.log_in(self.world.portal_url, name, PASSWORD)
            self._people[name] = person
        return self._people[name]

    @contextmanager
    def _traffic(self, *names: str) -> Iterator[dict[str, Traffic]]:
        """Queries of these people, one after the other for each, for as long as the block lasts."""
        over = threading.Event()
        traffic = {name: Traffic() for name in names}
        threads = [threading.Thread(target=self._ask, args=(name, traffic[name], over)) for name in names]
        for thread in threads:
            thread.start()
        try:
            yield traffic
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _ask(self, name: str, traffic: Traffic, over: threading.Event) -> None:
        while not over.wait(0.3):
            try:
                traffic.answers[self.world.whoami(name)] += 1
            except Exception as error:  # noqa: BLE001 - every error of a query is what is counted
                traffic.errors.append(str(error))


def _yes(so: object) -> str:
    return "yes" if so else "no"
