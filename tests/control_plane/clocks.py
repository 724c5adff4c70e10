"""Clocks that are wrong, for real processes: Debian's libfaketime, preloaded.

Only the time of day is turned; waiting takes as long as ever.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cluster import debian

PACKAGES: Mapping[str, str] = {"libfaketime": ""}

needed = pytest.mark.skipif(
    debian.reason_against(PACKAGES) is not None, reason=f"a clock cannot be turned: {debian.reason_against(PACKAGES)}"
)
"""Marks a test that turns clocks."""


class WrongClock:
    """A process's clock; ``env`` is what it is started with. It may be turned while the process runs."""

    def __init__(self, file: Path, ahead: timedelta = timedelta(0)):
        """``file`` says how wrong the clock is, and belongs to it alone."""
        self._file = file
        self._ahead = timedelta(0)
        self.turn(ahead)

    def turn(self, by: timedelta) -> None:
        """Let it be so much further ahead (or behind) from now on."""
        self._ahead += by
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._ahead.total_seconds():+.0f}s\n")
        new.replace(self._file)

    @property
    def env(self) -> dict[str, str]:
        """Environment variables for the process."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


def _library() -> Path:
    debian.install(PACKAGES)
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
