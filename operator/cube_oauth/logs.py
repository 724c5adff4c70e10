"""Structured logs: one JSON object a line on stderr, the same in every process."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

CHATTY = ("httpx2", "kopf", "kubernetes")
"""Libraries whose every request would be a line; their warnings are kept."""


def configure(level: str = "INFO") -> None:
    """Send every logger to stderr as JSON: ``time``, ``level``, ``logger``, ``message`` and the record's extras."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if root.level > logging.DEBUG:
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
