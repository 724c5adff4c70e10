"""Requests to providers: counted, timed, and heeded. How a provider answers decides how fast it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cube_oauth.providers import ProviderError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from cube_oauth.controller.apps import Apps
    from cube_oauth.controller.budget import Budget
    from cube_oauth.controller.clock import Clock
    from cube_oauth.controller.inventory import Key
    from cube_oauth.controller.metrics import Metrics

T = TypeVar("T")

OK = "OK"
OUTAGE = frozenset(
    (
        "CertificateRefused",
        "ConnectionLost",
        "HostNotFound",
        "ProviderUnavailable",
        "RateLimited",
        "Timeout",
        "Unreachable",
    )
)
"""Reasons that say something about the provider, and not about one request to it."""

BY_A_CODE = ("exchange", "ProviderUnavailable")
"""A person hands in an authorization code, and some providers break on one that they never gave: no reason to ask less often."""


class Calls:
    """Watches requests."""

    def __init__(self, apps: Apps, budget: Budget, metrics: Metrics, clock: Clock) -> None:
        self._apps = apps
        self._budget = budget
        self._metrics = metrics
        self._clock = clock

    async def make(self, request: str, app: Key, origin: str, call: Awaitable[T]) -> T:
        """The answer of ``call``. Raises ProviderError.

        ``request`` is refresh, client_credentials, exchange, revoke, subject or token_exchange.
        """
        began, reason = self._clock.now(), OK
        try:
            answer = await call
        except ProviderError as problem:
            reason = problem.reason
            self._heed(app, origin, problem, slower=(request, reason) != BY_A_CODE)
            raise
        finally:
            self._metrics.provider_requests.labels(*app, request, reason).inc()
            took = (self._clock.now() - began).total_seconds()
            self._metrics.provider_seconds.labels(*app, request).observe(max(took, 0.0))
        self._heed(app, origin, None)
        return answer

    def _heed(self, app: Key, origin: str, problem: ProviderError | None, *, slower: bool = True) -> None:
        now = self._clock.now()
        if problem and problem.reason in OUTAGE:
            if slower:
                self._budget.failed(origin, now)
            self._apps.in_trouble(app, problem)
        else:
            self._budget.succeeded(origin, now)
            self._apps.answered(app)
