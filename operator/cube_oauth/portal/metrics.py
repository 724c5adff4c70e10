"""What is counted."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class Metrics:
    """Counters of one process; ``outcome`` is ``ok`` or the word of the refusal."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.log_ins = self._counter("log_ins", "Log-ins that came back from the log-in provider", "outcome")
        self.connects = self._counter("connects", "Authorizations that were begun", "namespace", "app")
        self.callbacks = self._counter("callbacks", "Answers of providers to authorizations", "outcome")
        self.disconnects = self._counter("disconnects", "Connections that people ended", "namespace", "app")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"cube_oauth_portal_{name}", text, labels, registry=self.registry)
