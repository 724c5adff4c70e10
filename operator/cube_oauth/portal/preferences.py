"""What a browser prefers, by the headers ``Accept-…`` (RFC 9110, section 12.4.2). Pure."""

from __future__ import annotations


def preferences(header: str | None) -> list[tuple[str, float]]:
    """The values in lower case with their weights, the heaviest first."""
    return sorted((_weighted(part) for part in (header or "").split(",")), key=lambda wish: -wish[1])


def accepts(header: str | None, value: str) -> bool:
    """Whether ``value`` is named, and not refused by the weight 0."""
    return any(named == value and weight > 0 for named, weight in preferences(header))


def _weighted(part: str) -> tuple[str, float]:
    value, _, parameter = part.partition(";")
    try:
        weight = float(parameter.partition("=")[2]) if parameter.strip() else 1.0
    except ValueError:
        weight = 0.0
    return value.strip().lower(), weight
