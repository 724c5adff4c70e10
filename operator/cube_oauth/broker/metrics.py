"""The broker's metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Made when the broker starts, not at import."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.decisions = Counter(
            "cube_oauth_broker_decisions",
            "Decisions about one person and one data source, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.requests = Counter(
            "cube_oauth_broker_requests",
            "Requests of resolvers, by what was asked and the outcome.",
            ["method", "outcome"],
            registry=self.registry,
        )
        self.wake_seconds = Histogram(
            "cube_oauth_broker_wake_duration_seconds",
            "How long queries waited for a credential that nobody had used for a while.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.0),
            registry=self.registry,
        )
        self.streams = Gauge("cube_oauth_broker_streams", "Open streams of changes.", registry=self.registry)
        self.admissions = Counter(
            "cube_oauth_broker_admissions",
            "Pods that the webhook saw, by what came of it.",
            ["reason"],
            registry=self.registry,
        )
