"""What Prometheus sees. Made once for a process, with the registry that it is given."""

from __future__ import annotations

from collections import Counter as Counts
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from cube_oauth.lifecycle.timing import WARNINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics import MetricWrapperBase

    from cube_oauth.controller.inventory import Inventory, Key

PREFIX = "cube_oauth_controller"
APP = ["namespace", "app"]
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The controller's metrics; names begin with ``cube_oauth_controller_``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        app = APP
        self._registry = registry
        self.refreshes = Counter(
            f"{PREFIX}_refreshes", "Refreshes by outcome; reason is Refreshed or why not.", [*app, "reason"], registry=registry
        )
        self.grants = Counter(
            f"{PREFIX}_grants", "Authorizations by outcome; reason is Authorized or why not.", [*app, "reason"], registry=registry
        )
        self.revocations = Counter(
            f"{PREFIX}_revocations",
            "Attempts to revoke a token at its provider; reason is Revoked, NoEndpoint, GivenUp or what was in the way.",
            [*app, "reason"],
            registry=registry,
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
            "Requests to providers; request is refresh, client_credentials, exchange or revoke, reason is OK or why not.",
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
        self._outdated = Gauge(
            f"{PREFIX}_outdated_sidecars", "Pods whose sidecar is older than the installation.", ["namespace"], registry=registry
        )
        self.ring_keys = Gauge(
            f"{PREFIX}_ring_keys", "Keys of a key ring; more than one while it is rotated.", ["ring"], registry=registry
        )
        self.ring_key_made = Gauge(
            f"{PREFIX}_ring_key_created_timestamp_seconds", "When the key that encrypts was made.", ["ring"], registry=registry
        )
        self.reencrypted = Counter(f"{PREFIX}_reencrypted", "Token Secrets sealed anew with the newest keys.", registry=registry)
        self.reencryption_waiting = Gauge(
            f"{PREFIX}_reencryption_waiting", "Token Secrets that an older key of a ring sealed.", registry=registry
        )
        self.leader = Gauge(f"{PREFIX}_leader", "1 in the process that is active.", registry=registry)
        self.leader.set(0)
        self._of_apps: tuple[MetricWrapperBase, ...] = (
            self.refreshes,
            self.grants,
            self.revocations,
            self.refresh_seconds,
            self.provider_requests,
            self.provider_seconds,
        )

    def keep(self, apps: Collection[Key]) -> None:
        """Forget the numbers of all other OAuthApps: those of each that ever was would stay for as long as the process runs."""
        for metric in self._of_apps:
            labels = [sample.labels for family in metric.collect() for sample in family.samples]
            for namespace, app in {(one["namespace"], one["app"]) for one in labels} - set(apps):
                metric.remove_by_labels({"namespace": namespace, "app": app})

    def count_outdated_sidecars(self, looked_at: str | None, namespaces: Iterable[str]) -> None:
        """Each pod's namespace, of the one that was looked at (None: of all)."""
        counted = Counts(namespaces)
        if looked_at is None:
            self._outdated.clear()
        for namespace in counted.keys() | ({looked_at} if looked_at else set()):
            self._outdated.labels(namespace).set(counted[namespace])

    def watch(self, known: Callable[[], Known]) -> None:
        """Report this from now on, asked for at each scrape."""
        self._registry.register(_Collector(known))


@dataclass(frozen=True)
class Known:
    """What is known at one moment."""

    inventory: Inventory
    queues: Mapping[str, int]
    waiting: Mapping[Key, int]
    """Requests that wait for their turn in the budget, by app."""
    revocations: Mapping[Key, int]
    """Tokens that wait to be revoked, by app; the app may be gone."""
    refused: frozenset[str]
    pace: Mapping[Key, float]
    """Requests a second that each app's provider is asked at most now."""
    now: datetime


class _Collector:
    """Counted at each scrape, so that nothing has to be kept in step."""

    def __init__(self, known: Callable[[], Known]) -> None:
        self._known = known

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing is known beforehand; asked for at registration."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The present numbers."""
        known = self._known()
        apps, inventory = known.inventory.apps, known.inventory
        states = [((*app, state), number) for app in apps for state, number in inventory.counts(app)]
        yield _gauge("credentials", "UserCredentials by state.", [*APP, "state"], states)
        soonest, last = inventory.soonest_expiry(), inventory.soonest_sign_in_end()
        yield _gauge("soonest_expiry_timestamp_seconds", "When the next active token ends.", APP, _times(soonest))
        yield _gauge(
            "soonest_refresh_token_expiry_timestamp_seconds",
            "When the next refresh token ends, where the provider says so.",
            APP,
            _times(last),
        )
        ending = inventory.ending()
        yield _gauge(
            "sign_ins_ending",
            "Persons who have to authorize again soon; within is WithinAWeek or WithinADay.",
            [*APP, "within"],
            [((*app, word), ending[app, word]) for app in apps for word in WARNINGS],
        )
        sizes = [(app, one.spec.refresh.requests_per_second) for app, one in apps.items()]
        yield _gauge("budget_requests_per_second", "How many requests a second an app's provider is asked at most.", APP, sizes)
        yield _gauge(
            "budget_pace_requests_per_second",
            "How many it is asked at most at present: fewer while the provider is in trouble.",
            APP,
            known.pace.items(),
        )
        waiting = [(app, known.waiting.get(app, 0)) for app in apps]
        yield _gauge("budget_waiting", "Requests that wait for their turn in the budget.", APP, waiting)
        yield _gauge("revocations_pending", "Tokens that wait to be revoked at the provider.", APP, known.revocations.items())
        refused = [((namespace,), 1) for namespace in sorted(known.refused)]
        yield _gauge("namespace_refused", "1 for a tenant namespace that may not be read.", ["namespace"], refused)
        lengths = [((name,), length) for name, length in known.queues.items()]
        yield _gauge("queue_length", "Objects that wait to be looked at.", ["queue"], lengths)


def _gauge(name: str, text: str, labels: list[str], samples: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _times(moments: Mapping[Key, datetime]) -> list[tuple[Key, float]]:
    return [(app, moment.timestamp()) for app, moment in moments.items()]
