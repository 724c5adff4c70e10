"""A coroutine driven by hand, so that something can happen at each of its awaits, whichever there are."""

from collections.abc import Callable, Coroutine, Generator
from typing import Any

OURS = "cube_oauth"


class Driven:
    """Awaits ``coroutine``, and calls ``at(place, woken)`` each time it begins to wait and each time it is woken."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: Callable[[str, bool], None]) -> None:
        self._coroutine = coroutine
        self._at = at

    def __await__(self) -> Generator[Any, Any, Any]:
        resume, value = self._coroutine.send, None
        while True:
            try:
                awaited = resume(value)
            except StopIteration as end:
                return end.value
            place = where(self._coroutine)
            self._at(place, False)
            try:
                resume, value = self._coroutine.send, (yield awaited)
            except BaseException as problem:  # noqa: BLE001 - a cancellation or a failure of what was awaited: it belongs inside
                resume, value = self._coroutine.throw, problem
            self._at(place, True)


def where(coroutine: Any) -> str:
    """Where it waits: the step of the refresh, the innermost function of ours, and the library's function that this one called."""
    chain = list(_chain(coroutine))
    ours = [code.co_name for code in chain if OURS in code.co_filename]
    theirs = next((code.co_name for code in reversed(chain) if OURS not in code.co_filename), "")
    begin = next((number for number, name in enumerate(ours) if name == "refresh"), 0)
    step = ours[begin + 1 :] or ours
    return " … ".join(dict.fromkeys(name for name in (step[0] if step else "", step[-1] if step else "", theirs) if name))


def _chain(awaitable: Any) -> Generator[Any, None, None]:
    """The code of each coroutine and generator that is suspended in another, outermost first."""
    while awaitable is not None:
        code = getattr(awaitable, "cr_code", None) or getattr(awaitable, "gi_code", None)
        if code is not None:
            yield code
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)
