"""Why a request was refused: one word for the metric and the log, and the page's texts in ``texts.py``."""

from __future__ import annotations


class RefusedError(Exception):
    """The person gets the page ``refused.<word>`` with ``values`` in it, and a link to ``retry`` when there is one."""

    def __init__(self, word: str, status: int = 400, *, retry: str | None = None, wait: int = 0, **values: object) -> None:
        super().__init__(word)
        self.word = word
        self.status = status
        self.retry = retry
        self.wait = wait
        """Seconds, for ``Retry-After``."""
        self.values = values
