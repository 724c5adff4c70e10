"""What a controller under test writes down of each refresh. Each line is one write(2), so a SIGKILL loses none."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Journal:
    """The writing end."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, refresh: int, event: str, **more: Any) -> None:
        """One line; ``at`` is in ns since 1970."""
        line = {"at": time.time_ns(), "refresh": refresh, "event": event, **more}
        os.write(self._file, json.dumps(line).encode() + b"\n")


@dataclass
class Story:
    """One refresh, as its process wrote it down."""

    uid: str
    token: str = ""
    """SHA-256 of the refresh token that was redeemed."""
    at: dict[str, int] = field(default_factory=dict)
    """When each event happened first, in ns since 1970: begun, sent, answered, written, ended."""
    more: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def place(self) -> str | None:
        """Where its process was killed, told to end or stopped by itself, if it was."""
        event = next((self.more[name] for name in ("SIGKILL", "SIGTERM", "SIGSTOP") if name in self.more), None)
        return f"{event['place']}, {'woken' if event['woken'] else 'begins to wait'}" if event else None

    @property
    def in_window(self) -> bool:
        """Whether the request was on its way, and its answer was not known to be written: it exists nowhere else then."""
        return "sent" in self.at and not self.at.keys() & {"written", "refused"}

    @property
    def unheard(self) -> bool:
        """Whether it ended so, or was stopped there for so long that another controller had to take it for dead."""
        stopped = self.at.get("SIGSTOP")
        return self.in_window or (stopped is not None and self.at.get("sent", stopped) < stopped < self.at.get("written", stopped))

    @property
    def refreshed(self) -> bool:
        """Whether the answer was written."""
        return "written" in self.at


def stories(path: Path) -> dict[int, Story]:
    """All refreshes of one process by number, in the order in which they began."""
    found: dict[int, Story] = {}
    for line in lines(path):
        story = found.setdefault(line.pop("refresh"), Story(line.get("uid", "")))
        event = line.pop("event")
        story.at.setdefault(event, line.pop("at"))
        story.more.setdefault(event, line)
        story.token = line.get("token", story.token)
    return found


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """What was written so far; a line that is half written comes the next time."""
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        if line.endswith("\n"):
            yield json.loads(line)
