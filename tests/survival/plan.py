"""What shall happen to a controller under test."""

import signal
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Fault:
    """What happens to the ``call``-th request of a refresh (from 1) to the API server, or to its request to the provider (0)."""

    call: int
    kind: str
    times: int = 1
    """To how many requests from that one on."""


@dataclass(frozen=True)
class Plan:
    """Given to the process when it starts.

    ``number`` is a signal that the process sends itself in its ``refresh``-th refresh (from 1) at the ``step``-th await (from 1):
    as it begins to wait there, or when it is ``woken``.
    """

    number: signal.Signals | None = None
    refresh: int = 1
    step: int = 1
    woken: bool = False
    after_check: bool = False
    """The signal comes in the refresh when the last look at the time was taken, and before the first byte to the provider."""
    answered: bool = False
    """The signal comes in the refresh when the provider's answer has arrived, and before anything is done with it."""
    faults: tuple[Fault, ...] = ()
    """The refreshes get these one after the other, and then from the beginning."""
    storm: float = 0
    """The probability with which each request of a refresh to the API server meets a fault."""
    always_leads: bool = False
    """The Lease says yes, whoever else holds it."""
    clock_ahead: float = 0
    """Seconds."""
    api_patience: float | None = None
    """Seconds after which a refresh gives up a request to the API server, instead of the 15 that are built in."""

    @classmethod
    def kill(cls, refresh: int, step: int, *, woken: bool) -> Self:
        """SIGKILL, so that nothing can be put in order."""
        return cls(signal.SIGKILL, refresh, step, woken)

    @classmethod
    def end(cls, step: int, *, woken: bool) -> Self:
        """SIGTERM, so that everything can be put in order."""
        return cls(signal.SIGTERM, 1, step, woken)

    @classmethod
    def pause(cls, refresh: int, step: int, *, woken: bool) -> Self:
        """SIGSTOP, in a process that believes all the time that it leads."""
        return cls(signal.SIGSTOP, refresh, step, woken, always_leads=True)

    @classmethod
    def pause_answered(cls) -> Self:
        """SIGSTOP with the provider's answer in hand."""
        return cls(signal.SIGSTOP, step=0, answered=True, always_leads=True)

    @classmethod
    def pause_after_check(cls) -> Self:
        """SIGSTOP at the one moment that no check can cover."""
        return cls(signal.SIGSTOP, step=0, after_check=True, always_leads=True)
