"""Answers of the broker: kept as the bytes that go to the hook, with the moment at which the first token in them ends. Pure."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from cube_oauth.resolver.errors import BadParametersError

MAX_NAME = 1024
Key = tuple[str, str | None]
"""Username and issuer: who a person is."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who Cube authenticated. The assertion goes to the broker and is kept nowhere.

    An empty ``username`` is nobody: whoever Cube let in without a name (``"caller": null`` in both protocols).
    """

    username: str
    issuer: str | None
    assertion: str | None

    @classmethod
    def read(cls, params: Any) -> Self:
        """From ``params.caller``. Raises BadParametersError."""
        if isinstance(params, dict) and params.get("caller", ...) is None:
            return cls("", None, None)
        caller = params.get("caller") if isinstance(params, dict) else None
        if not isinstance(caller, dict):
            raise BadParametersError("params.caller must be an object")
        username, issuer, assertion = caller.get("username"), caller.get("issuer"), caller.get("assertion")
        if not isinstance(username, str) or not 0 < len(username) <= MAX_NAME:
            raise BadParametersError("params.caller.username must be a string that is not empty")
        if not isinstance(issuer, str | None) or not isinstance(assertion, str | None):
            raise BadParametersError("params.caller.issuer and .assertion must be strings or absent")
        return cls(username, issuer, assertion)

    @property
    def key(self) -> Key:
        """What answers are kept under."""
        return self.username, self.issuer

    def to_json(self) -> dict[str, str | None] | None:
        """As the broker wants it."""
        if not self.username:
            return None
        issuer = {} if self.issuer is None else {"issuer": self.issuer}
        return {"username": self.username, **issuer, "assertion": self.assertion}


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's credentials as JSON, and when (Unix time) the first of its tokens ends.

    ``doubtful_since`` (Unix time): from then on it may be out of date; None while the stream would have said so.
    ``once``: the broker says that it may be out of date already, without anything that the stream would tell.
    """

    raw: bytes
    ends: float
    doubtful_since: float | None = None
    once: bool = False

    @classmethod
    def read(cls, body: bytes, now: float) -> Self:
        """From the broker's answer; a token that has ended by our own clock is taken out. Raises ValueError."""
        result = json.loads(body)
        if not isinstance(result, dict) or not isinstance(result.get("credentials"), dict):
            raise ValueError("the broker's answer holds no credentials")  # noqa: TRY004 - like any unreadable answer
        credentials = {name: _withheld(entry, now) for name, entry in result["credentials"].items()}
        ends = min((_end(entry) for entry in credentials.values()), default=float("inf"))
        once = bool(result.pop("stale", False))
        return cls(json.dumps({**result, "credentials": credentials}, separators=(",", ":")).encode(), ends, once=once)

    def at(self, now: float) -> Answer:
        """This answer without tokens that have ended."""
        return self if now < self.ends else replace(Answer.read(self.raw, now), doubtful_since=self.doubtful_since)

    def doubted(self, now: float) -> Answer:
        """The same, out of date perhaps, since now or longer."""
        return self if self.doubtful_since is not None else replace(self, doubtful_since=now)

    @property
    def stale(self) -> bytes:
        """As JSON that says so: whoever gets it asks again the next time."""
        return self.raw[:-1] + b',"stale":true}'


def _end(entry: dict[str, Any]) -> float:
    expires = entry.get("expiresAt")
    return datetime.fromisoformat(expires).timestamp() if isinstance(expires, str) else float("inf")


def _withheld(entry: dict[str, Any], now: float) -> dict[str, Any]:
    if entry.get("status") != "active" or now < _end(entry):
        return entry
    kept: dict[str, Any] = {key: entry[key] for key in ("authorizeURL", "fallback") if key in entry}
    return {"status": "expired", "reason": "Expired", **kept}


class Memory:
    """The answers used last, at most ``people`` persons."""

    def __init__(self, people: int = 2000, issuers: int = 4) -> None:
        self._people: OrderedDict[str, OrderedDict[str | None, Answer]] = OrderedDict()
        self._limits = people, issuers

    def __len__(self) -> int:
        return len(self._people)

    def get(self, key: Key) -> Answer | None:
        """The answer, or None."""
        username, issuer = key
        answers = self._people.get(username)
        if answers is None:
            return None
        self._people.move_to_end(username)
        return answers.get(issuer)

    def put(self, key: Key, answer: Answer) -> None:
        """Keep an answer; the person asked for longest ago is forgotten when there are too many."""
        username, issuer = key
        people, issuers = self._limits
        answers = self._people.setdefault(username, OrderedDict())
        answers[issuer] = answer
        answers.move_to_end(issuer)
        self._people.move_to_end(username)
        if len(answers) > issuers:
            answers.popitem(last=False)
        if len(self._people) > people:
            self._people.popitem(last=False)

    def doubt(self, username: str | None, now: float) -> None:
        """What is known of a person, or of everybody, may be out of date from now on."""
        people = self._people.values() if username is None else filter(None, (self._people.get(username),))
        for answers in people:
            for issuer, answer in answers.items():
                answers[issuer] = answer.doubted(now)

    def forget(self, username: str | None) -> None:
        """Forget a person, or everybody."""
        if username is None:
            self._people.clear()
        else:
            self._people.pop(username, None)
