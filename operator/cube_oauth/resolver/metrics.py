"""Counters and gauges in Prometheus' text format. By hand: prometheus_client would cost a tenth of the sidecar's memory."""

from __future__ import annotations

from collections import Counter

HELP = {
    "cube_oauth_resolver_requests_total": "Requests of the hook by method and outcome.",
    "cube_oauth_resolver_broker_requests_total": "Requests to the broker by outcome.",
    "cube_oauth_resolver_interruptions_total": "How often the stream of changes was interrupted.",
    "cube_oauth_resolver_stream_connected": "1 while the stream of changes is open.",
    "cube_oauth_resolver_people": "Persons whose answers are in memory.",
    "cube_oauth_resolver_hooks": "Connections of hooks.",
    "cube_oauth_hook_decisions_total": "Decisions of the hook about a request and a data source, by reason.",
    "cube_oauth_hook_drivers_total": "What happened to users' live drivers in Cube.",
}
HOOK_COUNTS = {
    "decisions": ("cube_oauth_hook_decisions_total", "reason"),
    "drivers": ("cube_oauth_hook_drivers_total", "event"),
}
"""What the hook counts, by the names of the protocol: metric and label."""
MAX_SAMPLES = 200
"""Cube's container runs other people's code: it must not fill our memory with made-up labels."""
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """All of the sidecar's metrics."""

    def __init__(self) -> None:
        self.counters: Counter[tuple[str, Labels]] = Counter()
        self.gauges: dict[str, int] = {}

    def request(self, method: str, outcome: str) -> None:
        """One request of the hook was answered."""
        self.counters["cube_oauth_resolver_requests_total", (("method", method), ("outcome", outcome))] += 1

    def broker(self, outcome: str) -> None:
        """One request to the broker is over."""
        self.counters["cube_oauth_resolver_broker_requests_total", (("outcome", outcome),)] += 1

    def interruption(self) -> None:
        """The stream was interrupted."""
        self.counters["cube_oauth_resolver_interruptions_total", ()] += 1

    def hook(self, kind: str, what: str, times: int) -> None:
        """The hook counted something since it last told."""
        name, label = HOOK_COUNTS[kind]
        key = name, ((label, what),)
        if key in self.counters or len(self.counters) < MAX_SAMPLES:
            self.counters[key] += times

    def gauge(self, name: str, value: int) -> None:
        """Set ``cube_oauth_resolver_<name>``."""
        self.gauges[f"cube_oauth_resolver_{name}"] = value

    def text(self) -> str:
        """The exposition."""
        samples = [(name, labels, value) for (name, labels), value in self.counters.items()]
        samples += [(name, (), value) for name, value in self.gauges.items()]
        lines, seen = [], set()
        for name, labels, value in sorted(samples):
            if name not in seen:
                seen.add(name)
                kind = "counter" if name.endswith("_total") else "gauge"
                lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} {kind}"]
            shown = ",".join(f'{label}="{text}"' for label, text in labels)
            lines.append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")
        return "\n".join(lines) + "\n"
