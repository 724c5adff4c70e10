"""What the JSON API answers. The OpenAPI document is generated from these."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cube_oauth.resources.meta import Model, Time
from cube_oauth.resources.usercredential import State


class SessionState(Model):
    """Who is logged in."""

    username: Annotated[str, Field(description="The person, exactly as Cube's tokens name them.")]
    groups: Annotated[tuple[str, ...], Field(description="The person's groups.")]
    form_token: Annotated[str, Field(description="Requests that change something carry it in the header X-Form-Token.")]


class AppState(Model):
    """One app, and the person's connection to it."""

    namespace: Annotated[str, Field(description="The OAuthApp's namespace.")]
    name: Annotated[str, Field(description="The OAuthApp's name.")]
    title: Annotated[str, Field(description="What people call it.")]
    data_source: Annotated[str, Field(description="The key under userCredentials in Cube's security context.")]
    state: Annotated[State, Field(description="Pending, Active, Expired or Revoked.")]
    ready: Annotated[bool, Field(description="Whether people can connect at all.")]
    words: Annotated[str, Field(description="The state in words, in the language that Accept-Language asks for; times in UTC.")]
    hint: Annotated[str, Field(description="What to know beside it.")]
    warning: Annotated[str | None, Field(description="That the connection ends soon.")] = None
    subject: Annotated[str | None, Field(description="The data source's name for the person.")] = None
    scopes: Annotated[tuple[str, ...] | None, Field(description="The scopes that were granted.")] = None
    expires_at: Annotated[Time | None, Field(description="When the access token ends; it may be renewed before.")] = None
    sign_in_ends_at: Annotated[Time | None, Field(description="When it can be renewed no more, where the provider says so.")] = None
    refreshed_at: Annotated[Time | None, Field(description="When it was renewed.")] = None
    used_at: Annotated[Time | None, Field(description="When a query last used it.")] = None
    can_authorize: Annotated[bool, Field(description="Whether the person may authorize now.")]
    can_disconnect: Annotated[bool, Field(description="Whether there is something to disconnect.")]
    authorize_url: Annotated[
        str, Field(alias="authorizeURL", description="Where the person connects; ?return_to= leads back, if the address is listed.")
    ]


class AppList(Model):
    """All apps that the person may connect."""

    apps: Annotated[tuple[AppState, ...], Field(description="By what people call them.")]


class Problem(Model):
    """Why a request was refused (RFC 9457)."""

    title: Annotated[str, Field(description="What happened.")]
    detail: Annotated[str, Field(description="What to do.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    reason: Annotated[str, Field(description="One word; stable, so that programs may compare it.")]
