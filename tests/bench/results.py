"""What was measured, for people and for machines."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One number with its limit. ``at_least``: the limit is a floor, otherwise a ceiling."""

    name: str
    value: float
    limit: float
    says: str
    at_least: bool = False

    @property
    def ok(self) -> bool:
        """Whether the limit is kept."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        """For machines: ``bench <name> <value> <limit> ok|short``."""
        return f"bench {self.name} {self.value:.3g} {self.limit:g} {'ok' if self.ok else 'short'}"

    def row(self) -> str:
        """For people."""
        return (
            f"  {self.says:<86} {self.value:>9.3g}  {'≥' if self.at_least else '≤'} {self.limit:<6g} {'ok' if self.ok else 'SHORT'}"
        )


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
