"""Structured logs: one JSON object a line on stderr, the same in every process."""

from __future__ import annotations

import logging
import sys
from functools import cached_property

CHATTY = ("httpx2", "kopf", "kubernetes")
"""Libraries whose every request would be a line; their warnings are kept."""


def unquoted(record: logging.LogRecord) -> bool:
    """A filter for aiohttp's logger. What aiohttp says of a request that it cannot read quotes it: cookies, codes, tokens."""
    error = record.exc_info[1] if record.exc_info else None
    while error is not None:
        if type(error).__module__ == "aiohttp.http_exceptions":
            record.msg, record.args, record.exc_info = "a request cannot be read", (), None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.reason = type(error).__name__
        error = error.__cause__ or error.__context__
    return True


class _Json(logging.Formatter):
    """Loads what it needs with the first line: the sidecar answers before it has anything to say."""

    @cached_property
    def _formatter(self) -> logging.Formatter:
        from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415 - see above

        names = {"asctime": "time", "levelname": "level", "name": "logger"}
        return JsonFormatter("{asctime}{levelname}{name}{message}", style="{", rename_fields=names)

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return self._formatter.format(record)


def configure(level: str = "INFO") -> None:
    """Send every logger to stderr as JSON: ``time``, ``level``, ``logger``, ``message`` and the record's extras."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.server").addFilter(unquoted)
    if root.level > logging.DEBUG:
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
