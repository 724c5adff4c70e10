"""The life of a key ring: what to do with it now.

A new key is announced behind the others first, so that every process knows it before anything is sealed with it; then it is
promoted, and what is stored is sealed anew with it; the key that it replaced is dropped once nothing needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime, timedelta

    from cube_oauth.resources.keyring import Ring


class Step(StrEnum):
    """What happens to a ring next; the same word in log and annotation."""

    ANNOUNCE = "Announced"
    PROMOTE = "Promoted"
    DROP = "Dropped"


@dataclass(frozen=True)
class Policy:
    """How a ring is rotated."""

    announce: timedelta
    """How long a key is in the ring before it encrypts: until every mounted copy has it, the slowest pod's included."""
    keep: timedelta
    """How long a key stays at least after another one took its place."""
    rotate_after: timedelta | None = None
    """The age at which a key is replaced without being asked; None: never."""


def next_step(ring: Ring, policy: Policy, now: datetime, *, requested: bool, used: Collection[str | None]) -> Step | None:
    """What to do now. ``used`` are the names of the keys that something stored is sealed with.

    A key that somebody else put into the ring is never dropped: only those that were replaced here say until when they stay.
    """
    announced = ring.announced
    if announced is not None and announced <= now:
        return Step.PROMOTE
    if announced is None and (requested or _old(ring, policy, now)):  # before dropping: the next write answers the request
        return Step.ANNOUNCE
    if set(ring.retired(now)) - set(used):
        return Step.DROP
    return None


def _old(ring: Ring, policy: Policy, now: datetime) -> bool:
    """A key without a date is old."""
    if policy.rotate_after is None:
        return False
    return ring.issued_at is None or ring.issued_at + policy.rotate_after <= now


def after(step: Step, ring: Ring, policy: Policy, now: datetime, used: Collection[str | None]) -> Ring:
    """The ring after ``step``."""
    if step is Step.PROMOTE:
        return ring.with_promoted(now + policy.keep)
    if step is Step.DROP:
        return ring.without(set(ring.retired(now)) - set(used))
    return ring.with_announced(now, now + policy.announce)
