"""Whose fault it is when a provider refuses: one credential's, one person's, or the app's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cube_oauth.controller.queue import full_jitter
from cube_oauth.lifecycle.apps import Problem
from cube_oauth.providers.errors import INVALID_CLIENT

if TYPE_CHECKING:
    from datetime import datetime

    from cube_oauth.controller.inventory import Key
    from cube_oauth.providers import ProviderError

SEVERAL = 2
"""So many credentials whose refresh is refused, and none accepted in between, are a fault of the app's: the others wait."""

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0
"""Seconds between attempts while the provider refuses the client."""

LAPSES = timedelta(minutes=2)
"""So long after the next attempt was due a refusal is forgotten if there was none: whoever corrected something at the provider
need not wait until somebody, whom we keep from connecting, has connected."""


@dataclass(frozen=True)
class Refusal:
    """The provider refused the client: the app's fault, until it is corrected or the provider accepts again."""

    problem: Problem
    client: str
    """The fingerprint of the client that was refused."""
    failures: int
    retry_at: datetime
    refreshes: frozenset[Key] = frozenset()
    """Whose refresh was refused, of the first two: one alone holds up nobody else."""


class Blame:
    """What requests showed about one app's client. ``client`` is its fingerprint, which changes with whatever can be corrected."""

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self._accepted: str | None = None
        """The client, if the last answer was no refusal."""
        self._alone: Key | None = None
        """The credential that the provider refused last while it went on to accept others."""
        self._signing_in: str | None = None
        """Whose sign-in was refused although the provider accepts the client."""

    def not_before(self, credential: Key) -> datetime | None:
        """When to try again with this credential; None: at any time."""
        refusal = self.refusal
        held = refusal and (credential in refusal.refreshes or len(refusal.refreshes) >= SEVERAL)
        return refusal.retry_at if refusal and held else None

    def refused(self, error: ProviderError, client: str, now: datetime, credential: Key | None) -> None:
        """It is the app's. ``credential`` is whose refresh it was; None: a sign-in, which holds up no refresh."""
        known = self.refusal
        refreshes = known.refreshes if known else frozenset()
        if credential and len(refreshes) < SEVERAL:
            refreshes |= {credential}
        if known and known.retry_at > now:  # one of several that were under way together
            failures, retry_at = known.failures, known.retry_at
        else:
            failures = known.failures + 1 if known else 1
            retry_at = now + full_jitter(failures, FIRST_PAUSE, LONGEST_PAUSE)
        self.refusal = Refusal(Problem(error.reason, error.message), client, failures, retry_at, refreshes)

    def accepted(self, client: str | None, credential: Key | None) -> bool:
        """It was a refresh of ``credential``, or a sign-in (None). Whether that ends a refusal."""
        self._accepted = client or self._accepted
        self._signing_in = None
        refusal, self.refusal = self.refusal, None
        if refusal and len(refusal.refreshes) == 1 and credential not in refusal.refreshes:
            [self._alone] = refusal.refreshes
        return refusal is not None

    def is_credentials(self, error: ProviderError, client: str | None, credential: Key) -> bool:
        """Whether a refused refresh is about one credential: the provider has just accepted another, from the client as it is now.

        A second refusal in a row is the app's; so is a refused client, unless this one was refused alone before.
        """
        accepts, self._accepted = self._accepts(client), None
        return accepts and (error.reason != INVALID_CLIENT.word or self._alone == credential)

    def is_persons(self, client: str | None, uid: str) -> bool:
        """Whether a refused sign-in is about the person: the provider accepts the client as it is now and refused no other."""
        if not self._accepts(client):
            return False
        self._signing_in = self._signing_in or uid
        return self._signing_in == uid

    def looked_at(self, client: str, now: datetime) -> None:
        """A refusal of another client than there is now, or one that nobody repeats, is over."""
        if self.refusal and (self.refusal.client != client or now > self.refusal.retry_at + LAPSES):
            self.refusal = None

    def _accepts(self, client: str | None) -> bool:
        return client is not None and client == self._accepted
