"""UserCredential: one person's connection to one OAuthApp. Nothing in it is secret, ever."""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from cube_oauth.resources.meta import Condition, Model, ObjectMeta, Time
from cube_oauth.resources.schema import Rule, rules

MAX_USERNAME = 253


class State(StrEnum):
    """Where in its life a credential is."""

    PENDING = "Pending"
    ACTIVE = "Active"
    EXPIRED = "Expired"
    REVOKED = "Revoked"


USERNAME_SENTENCES = {
    "length": f"a username must have 1 to {MAX_USERNAME} characters",
    "characters": "a username must not contain spaces, control or format characters",
    "form": "a username must be in Unicode's composed form (NFC)",
}
"""Why a username cannot name a person, by a word."""


def username_problem(username: str) -> str | None:
    """Why ``username`` cannot name a person, in a sentence, or None."""
    fault = username_fault(username)
    return USERNAME_SENTENCES[fault] if fault else None


@lru_cache(maxsize=4096)
def username_fault(username: str) -> str | None:
    """Why ``username`` cannot name a person, as a key of ``USERNAME_SENTENCES``, or None.

    A person is compared byte for byte, so whatever looks alike but differs in bytes is refused: spaces, control and
    format characters, and text that is not in Unicode's composed form (NFC, UAX 15).
    """
    if not username or len(username) > MAX_USERNAME:
        return "length"
    if any(character.isspace() or unicodedata.category(character).startswith("C") for character in username):
        return "characters"
    if not unicodedata.is_normalized("NFC", username):
        return "form"
    return None


class OAuthAppReference(Model):
    """An OAuthApp in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=63, description="The OAuthApp's name.")]


class UserCredentialSpec(Model):
    """Whose credential, and for what."""

    username: Annotated[
        str,
        Field(max_length=MAX_USERNAME, description="The person, exactly as the portal and Cube's tokens name them."),
        rules(
            Rule(
                "self == oldSelf",
                "is immutable: delete this UserCredential and create one for the other person",
            ),
            Rule(
                "self.matches('^[^\\\\s\\\\p{C}\\\\p{Z}]+$')",
                "must be the person's name without spaces, control or format characters; "
                "write it exactly as the portal and Cube's tokens have it",
            ),
        ),
    ]
    oauth_app_ref: Annotated[
        OAuthAppReference,
        Field(alias="oauthAppRef", description="The OAuthApp."),
        rules(
            Rule(
                "self == oldSelf",
                "is immutable: delete this UserCredential and create one for the other OAuthApp",
            )
        ),
    ]
    suspend: Annotated[bool, Field(description="Withhold the credential while this is true.")] = False


class Demand(Model):
    """What the broker saw; the only part of a status that it writes."""

    last_used_at: Annotated[Time | None, Field(description="When a query last asked for the credential.")] = None
    rejected_revision: Annotated[
        int | None, Field(description="The revision that the warehouse refused before its time; refreshed once.")
    ] = None


class UserCredentialStatus(Model):
    """Where the credential is in its life."""

    observed_generation: Annotated[int | None, Field(description="The generation this status was decided for.")] = None
    state: Annotated[State | None, Field(description="Pending, Active, Expired or Revoked.")] = None
    authorize_url: Annotated[str | None, Field(description="Where the person connects.")] = None
    expires_at: Annotated[Time | None, Field(description="When the access token ends.")] = None
    refresh_at: Annotated[Time | None, Field(description="When it will be refreshed.")] = None
    refresh_token_expires_at: Annotated[
        Time | None, Field(description="When the refresh token ends, where the provider says so.")
    ] = None
    sign_in_ends_at: Annotated[
        Time | None, Field(description="When the person has to authorize again, where that is known; renewing does not move it.")
    ] = None
    last_refreshed_at: Annotated[Time | None, Field(description="When the current access token came.")] = None
    revision: Annotated[int | None, Field(description="Grows by one with each new access token.")] = None
    subject: Annotated[str | None, Field(description="The warehouse's name for the person, where it is known.")] = None
    scopes: Annotated[list[str] | None, Field(description="The scopes that were granted.")] = None
    demand: Annotated[Demand | None, Field(description="What the broker saw.")] = None
    conditions: Annotated[
        tuple[Condition, ...], Field(description="Ready says reconciled; Active says whether a token is there.")
    ] = ()


class UserCredential(Model):
    """One person's connection to one OAuthApp."""

    metadata: ObjectMeta
    spec: Annotated[UserCredentialSpec, Field(description="Whose credential, and for what.")]
    status: Annotated[UserCredentialStatus, Field(description="Where the credential is in its life.")] = UserCredentialStatus()
