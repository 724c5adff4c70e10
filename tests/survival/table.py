"""What was tried, in rows: the place of a kill or a fault, and what came of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench.results import Result, percentile
from tests.survival.journal import Story
from tests.survival.world import Verdict

UNKNOWN = "nobody knows where"


@dataclass
class Row:
    """One place."""

    trials: int = 0
    refreshes: int = 0
    in_window: int = 0
    lost: int = 0
    twice: int = 0


@dataclass
class Table:
    """All places in the order in which they were come to, the problems, and the times of undisturbed refreshes."""

    rows: dict[str, Row] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    windows: list[float] = field(default_factory=list)
    """From the redemption at the provider to the written answer, in ms."""
    shares: list[float] = field(default_factory=list)
    """The same, as a share of the whole refresh."""
    gaps: list[float] = field(default_factory=list)
    """From the last check of the claim to the sending, in ms."""

    exceptions: list[tuple[str, int, int, str]] = field(default_factory=list)
    """Of pauses between the last check and the first byte: the later one's answer, reuses, ended sign-ins, and the states then."""

    def exception(self, answer: str, *, reused: int, over: int, states: str) -> None:
        """A pause where no check helps."""
        self.exceptions.append((answer, reused, over, states))

    def row(self, place: str) -> Row:
        """The row of a place."""
        return self.rows.setdefault(place, Row())

    def add(self, verdict: Verdict, place_of: Callable[[Story], str], *trials: str) -> None:
        """What came of trials, one at each of these places. What befell a refresh token counts where it was redeemed first."""
        for place in trials:
            self.row(place).trials += 1
        for story in verdict.told:
            self.row(place_of(story)).refreshes += story.refreshed
        served_first = sorted(verdict.told, key=lambda story: not (story.unheard or story.refreshed))
        places = {story.token: place_of(story) for story in reversed(served_first)}
        for name, tokens in (("in_window", verdict.in_window), ("lost", verdict.lost), ("twice", verdict.twice)):
            for token in tokens:
                row = self.row(places.get(token, UNKNOWN))
                setattr(row, name, getattr(row, name) + 1)
        self.problems += [f"{places.get(token, UNKNOWN)}: lost: {words}" for token, words in verdict.lost.items()]
        self.problems += [f"{places.get(token, UNKNOWN)}: redeemed twice: {token[:12]}" for token in verdict.twice]

    def measure(self, verdict: Verdict) -> None:
        """The times of refreshes that nobody disturbed."""
        for story in verdict.told:
            if story.refreshed and story.token in verdict.spent:
                window = story.at["written"] / 1e6 - verdict.spent[story.token]
                self.windows.append(window)
                self.shares.append(window / ((story.at["written"] - story.at["begun"]) / 1e6))
                self.gaps.append(story.more["sent"]["since_check"] / 1e6)

    def total(self) -> Row:
        """All rows together."""
        rows = self.rows.values()
        return Row(*(sum(getattr(row, name) for row in rows) for name in ("trials", "refreshes", "in_window", "lost", "twice")))

    def text(self) -> str:
        """For people."""
        head = f"{'':<84} {'trials':>7} {'refreshes':>9} {'lost in the window':>18} {'lost otherwise':>14} {'redeemed twice':>14}"
        rows = [*self.rows.items(), ("all", self.total())]
        lines = [
            f"{place:<84} {row.trials:>7} {row.refreshes:>9} {row.in_window:>18} {row.lost:>14} {row.twice:>14}"
            for place, row in rows
        ]
        return "\n".join([head, *lines, "", *self._times(), *self._exceptions()])

    def _exceptions(self) -> list[str]:
        if not self.exceptions:
            return []
        answers, reused, over, states = zip(*self.exceptions, strict=True)
        return [
            f"of {len(answers)} pauses made between the last check and the first byte, until another had taken over:",
            f"  the one that was paused was {' and '.join(f'{word} {count} times' for word, count in Counter(answers).items())}",
            f"  refresh tokens that came twice {sum(reused)}, sign-ins that the provider ended for it {sum(over)}",
            f"  the credentials afterwards: {', '.join(f'{word} {count}' for word, count in Counter(states).items())}",
        ]

    def _times(self) -> list[str]:
        if not self.windows:
            return []
        return [
            f"of {len(self.windows)} undisturbed refreshes:",
            _spread("the provider has redeemed until the answer is written, ms", self.windows),
            _spread("the same, as a share of the refresh", self.shares),
            _spread("the last check of the claim until the request is sent, ms", self.gaps),
        ]

    def results(self) -> list[Result]:
        """For machines."""
        total = self.total()
        return [
            Result(
                "survive_refreshes", total.refreshes, 2000, "refreshes while the controller was killed and refused", at_least=True
            ),
            Result("survive_lost", total.lost, 0, "sign-ins lost outside the window between answer and write"),
            Result("survive_redeemed_twice", total.twice, 0, "refresh tokens redeemed twice"),
        ]


def met(story: Story) -> str:
    """The fault that a refresh met, in words."""
    provider = story.more.get("redeeming", {}).get("fault")
    api = story.more.get("fault")
    if provider:
        return f"provider: {provider}"
    return f"API request {api['number']} ({api['call']}): {api['kind']}" if api else "no fault"


def _spread(what: str, values: list[float]) -> str:
    return f"  {what:<62} p50 {percentile(values, 0.5):8.3f}  p99 {percentile(values, 0.99):8.3f}  max {max(values):8.3f}"
