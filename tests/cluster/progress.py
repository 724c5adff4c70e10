"""What a person waiting for a cluster sees: one line per step, with the seconds since the start."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

_started = time.monotonic()


def say(text: str) -> None:
    """Prints one line with the seconds since this program started."""
    print(f"[{time.monotonic() - _started:7.1f} s] {text}", flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announces a step which takes a while, and says how long it took."""
    began = time.monotonic()
    say(text)
    yield
    say(f"  done in {time.monotonic() - began:.0f} s")
