"""What all our resources share: field naming, metadata, conditions, time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

_ACRONYMS = {"url": "URL", "id": "ID", "uri": "URI"}


def camel(name: str) -> str:
    """``issuer_url`` → ``issuerURL``: camelCase with acronyms in capitals (Kubernetes API conventions, "Naming")."""
    first, *rest = name.split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)


def rfc3339(moment: datetime) -> str:
    """A time as Kubernetes writes it: RFC 3339, UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_FORGOTTEN: set[str] = set()

Time = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]
"""An aware datetime; in JSON RFC 3339 with whole seconds."""


class Model(BaseModel):
    """A frozen part of a resource. Unknown fields are ignored: a newer CRD may have more."""

    model_config = ConfigDict(alias_generator=camel, populate_by_name=True, frozen=True, extra="ignore")

    def model_post_init(self, _: object) -> None:
        """Forget which fields were given: nobody asks, and a set for each part of 10,000 credentials is 50 MiB."""
        object.__setattr__(self, "__pydantic_fields_set__", _FORGOTTEN)

    def to_json(self) -> dict[str, Any]:
        """This value as the API server stores it: camelCase, absent instead of null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObjectMeta(Model):
    """The part of ``metadata`` that decisions need."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = Field(default="", alias="resourceVersion")
    creation_timestamp: Time | None = Field(default=None, alias="creationTimestamp")
    deletion_timestamp: Time | None = Field(default=None, alias="deletionTimestamp")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Condition(Model):
    """One entry of ``status.conditions`` (KEP-1623; ``Ready`` as kstatus reads it)."""

    type: Annotated[str, Field(description="What this condition says, for example Ready or Active.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it is so.")]
    reason: Annotated[str, Field(description="Why, as one CamelCase word; stable, so that scripts may compare it.")]
    message: Annotated[str, Field(description="Why, as a sentence for people.")] = ""
    last_transition_time: Annotated[Time | None, Field(description="When the status last changed.")] = None
    observed_generation: Annotated[int | None, Field(description="The generation this was decided for.")] = None


def settle(new: tuple[Condition, ...], old: tuple[Condition, ...], now: datetime) -> tuple[Condition, ...]:
    """``new`` with ``lastTransitionTime`` kept from ``old`` where the status did not change."""
    before = {condition.type: condition for condition in old}

    def since(condition: Condition) -> datetime:
        known = before.get(condition.type)
        if known and known.status == condition.status and known.last_transition_time:
            return known.last_transition_time
        return now.replace(microsecond=0)

    return tuple(condition.model_copy(update={"last_transition_time": since(condition)}) for condition in new)
