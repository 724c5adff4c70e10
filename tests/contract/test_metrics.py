"""The page of metrics is in step with the code: every metric, its labels, and what it says."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cube_oauth.broker.metrics import Metrics as BrokerMetrics
from cube_oauth.controller.inventory import Inventory
from cube_oauth.controller.metrics import Known
from cube_oauth.controller.metrics import Metrics as ControllerMetrics
from cube_oauth.portal.metrics import Metrics as PortalMetrics
from cube_oauth.resolver.metrics import HELP

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/metrics.md"


def controller():
    registry = CollectorRegistry()
    ControllerMetrics(registry).watch(lambda: Known(Inventory(), {}, {}, {}, frozenset(), {}, datetime.now(UTC)))
    return registry


def documentation(collector):
    return getattr(collector, "_documentation", None) or collector.documentation


def described(registry):
    """Name as a query writes it, labels, help text; of the metrics of one process."""
    for collector in tuple(registry._collector_to_names):
        families = [collector] if hasattr(collector, "_labelnames") else collector.collect()
        for family in families:
            name = family._name if hasattr(family, "_name") else family.name
            kind = family._type if hasattr(family, "_type") else family.type
            yield f"{name}_total" if kind == "counter" else name, tuple(family._labelnames), documentation(family)


def rows(registry):
    return [
        f"| `{name}` | {', '.join(f'`{label}`' for label in labels)} | {text} |"
        for name, labels, text in sorted(described(registry))
    ]


PROCESSES = {
    "Controller": lambda: rows(controller()),
    "Broker": lambda: rows(BrokerMetrics().registry),
    "Portal": lambda: rows(PortalMetrics().registry),
}


def section(title):
    page = PAGE.read_text()
    part = page[page.index(f"## {title}\n") :].split("\n## ")[0]
    return [line for line in part.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("title", PROCESSES)
def test_every_metric_is_on_the_page_as_the_code_has_it(title):
    assert section(title) == PROCESSES[title](), "correct docs/reference/metrics.md"


def test_the_sidecars_metrics_are_on_the_page():
    assert [(line.split("`")[1], line.split(" | ")[-1].removesuffix(" |")) for line in section("Sidecar")] == sorted(HELP.items())
