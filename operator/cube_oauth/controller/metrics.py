"""What Prometheus sees. Made once for a process, with the registry that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import CollectorRegistry

    from cube_oauth.controller.inventory import Inventory

PREFIX = "cube_oauth_controller"
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The controller's metrics; names begin with ``cube_oauth_controller_``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        app = ["namespace", "app"]
        self._registry = registry
        self.refreshes = Counter(
            f"{PREFIX}_refreshes", "Refreshes by outcome; reason is Refreshed or why not.", [*app, "reason"], registry=registry
        )
        self.grants = Counter(
            f"{PREFIX}_grants", "Authorizations by outcome; reason is Authorized or why not.", [*app, "reason"], registry=registry
        )
        self.revocations = Counter(
            f"{PREFIX}_revocations", "Tokens revoked at the provider, by outcome.", [*app, "reason"], registry=registry
        )
        self.refresh_seconds = Histogram(
            f"{PREFIX}_refresh_duration_seconds",
            "A refresh from its claim to the written answer.",
            app,
            buckets=BUCKETS,
            registry=registry,
        )
        self.provider_requests = Counter(
            f"{PREFIX}_provider_requests",
            "Requests to providers.",
            [*app, "request", "reason"],
            registry=registry,
        )
        self.provider_seconds = Histogram(
            f"{PREFIX}_provider_request_duration_seconds",
            "How long providers took to answer, or not to.",
            [*app, "request"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.events_dropped = Counter(
            f"{PREFIX}_events_dropped", "Events that were not posted, so that there is no flood.", registry=registry
        )
        self.leader = Gauge(f"{PREFIX}_leader", "1 in the process that is active.", registry=registry)
        self.leader.set(0)

    def watch(self, inventory: Inventory, queues: Callable[[], dict[str, int]]) -> None:
        """Report these from now on, counted when they are asked for."""
        self._registry.register(_Known(inventory, queues))


class _Known:
    """Counted at each scrape, so that nothing has to be kept in step."""

    def __init__(self, inventory: Inventory, queues: Callable[[], dict[str, int]]) -> None:
        self._inventory = inventory
        self._queues = queues

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing is known beforehand; asked for at registration."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The present numbers."""
        states = GaugeMetricFamily(f"{PREFIX}_credentials", "UserCredentials by state.", labels=["namespace", "app", "state"])
        for namespace, app in self._inventory.apps:
            for state, number in self._inventory.counts((namespace, app)):
                states.add_metric([namespace, app, state], number)
        yield states
        soonest = GaugeMetricFamily(
            f"{PREFIX}_soonest_expiry_timestamp_seconds", "When the next active token ends.", labels=["namespace", "app"]
        )
        for (namespace, app), moment in self._inventory.soonest_expiry().items():
            soonest.add_metric([namespace, app], moment.timestamp())
        yield soonest
        lengths = GaugeMetricFamily(f"{PREFIX}_queue_length", "Objects that wait to be looked at.", labels=["queue"])
        for name, length in self._queues().items():
            lengths.add_metric([name], length)
        yield lengths
