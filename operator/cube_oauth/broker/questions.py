"""Reading what a resolver asks: shape, names, and whether the assertion is about the same person. Pure."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from cube_oauth.resources.usercredential import username_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_APPS = 64
JWT_PARTS = 3


class Refusal(Exception):  # noqa: N818 - an answer, not a failure
    """An HTTP error with a stable reason. Its message never holds what was sent."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


def bad_request(message: str) -> Refusal:
    """400."""
    return Refusal(400, "BadRequest", message)


@dataclass(frozen=True)
class Question:
    """Whose credentials, for which apps (None: all of the namespace).

    ``username`` None: of whoever Cube let in without a name. The answer says which data sources refuse them.
    """

    username: str | None
    apps: frozenset[str] | None
    as_of: dict[str, int] = field(default_factory=dict)
    """What the replica that the resolver's stream comes from has told of."""

    @classmethod
    def read(cls, body: Any) -> Self:
        """From the request's JSON. Raises Refusal."""
        if isinstance(body, dict) and body.get("caller", ...) is None:
            return cls(None, apps_of(body.get("apps")), _as_of(body.get("asOf")))
        caller = body.get("caller") if isinstance(body, dict) else None
        if not isinstance(caller, dict) or not isinstance(caller.get("username"), str):
            raise bad_request("caller.username must be a string")
        if problem := username_problem(caller["username"]):
            raise bad_request(f"caller.username cannot name a person: {problem}")
        _check_assertion(caller["username"], _optional(caller, "issuer"), _optional(caller, "assertion"))
        return cls(caller["username"], apps_of(body.get("apps")), _as_of(body.get("asOf")))


@dataclass(frozen=True)
class Rejection:
    """A token that the warehouse refused."""

    data_source: str
    revision: int

    @classmethod
    def read(cls, body: dict[str, Any]) -> Self:
        """From the request's JSON. Raises Refusal."""
        data_source, revision = body.get("dataSource"), body.get("revision")
        if not isinstance(data_source, str) or not isinstance(revision, int):
            raise bad_request("dataSource must be a string and revision a whole number")
        return cls(data_source, revision)


@dataclass(frozen=True)
class AccountRejection:
    """A service account's token that the warehouse refused, by a variable that it fills."""

    variable: str
    revision: int
    apps: frozenset[str] | None

    @classmethod
    def read(cls, body: Any) -> Self:
        """From the request's JSON. Raises Refusal."""
        found = body if isinstance(body, dict) else {}
        variable, revision = found.get("variable"), found.get("revision")
        if not isinstance(variable, str) or not isinstance(revision, int):
            raise bad_request("variable must be a string and revision a whole number")
        return cls(variable, revision, apps_of(found.get("apps")))


def _optional(caller: dict[str, Any], name: str) -> str | None:
    value = caller.get(name)
    if not isinstance(value, str | None):
        raise bad_request(f"caller.{name} must be a string or absent")
    return value


def apps_of(value: Any) -> frozenset[str] | None:
    """The names in a list; None when there are none, which means all. Raises Refusal."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_APPS or not all(isinstance(name, str) for name in value):
        raise bad_request(f"apps must be a list of at most {MAX_APPS} names")
    return frozenset(value) or None


def _as_of(value: Any) -> dict[str, int]:
    """As a stream said it; nothing when it is absent. Raises Refusal."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(version, int) for version in value.values()):
        raise bad_request("asOf must be what the stream of changes said")
    return value


def _check_assertion(username: str, issuer: str | None, assertion: str | None) -> None:
    """Compare only: Cube verified the signature. A mix-up on the way must not give one person's token to another."""
    claims = _claims(assertion) if assertion else None
    if claims is None:
        return
    if username not in _strings(claims):
        raise Refusal(403, "CallerMismatch", "no claim of the caller's token holds the username that was asked for")
    if issuer is not None and claims.get("iss") != issuer:
        raise Refusal(403, "CallerMismatch", "the caller's token has another issuer than the one that was named")


def _claims(assertion: str) -> dict[str, Any] | None:
    """The payload of a JWT (RFC 7519), unverified; None when it is none."""
    parts = assertion.split(".")
    if len(parts) != JWT_PARTS:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _strings(value: Any) -> Iterator[str]:
    """Every text in the claims, at any depth: the claim that names the person is the pod's choice."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
