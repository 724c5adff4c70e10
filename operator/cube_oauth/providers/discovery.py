"""Finding a provider's endpoints from its issuer (OpenID Connect Discovery 1.0; RFC 8414)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from cube_oauth.providers.endpoints import ServerMetadata
from cube_oauth.providers.errors import (
    ENDPOINT_NOT_FOUND,
    ISSUER_DIFFERS,
    REDIRECTED,
    REFUSED_WITHOUT_REASON,
    UNREADABLE_ANSWER,
    Kind,
    ProviderError,
    error,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cube_oauth.providers.client import ProviderClient

TTL = timedelta(hours=1)
RETRY = timedelta(seconds=30)
"""How long a failure is remembered, so that thousands of credentials do not ask thousands of times."""

_NOT_THERE = {reason.word for reason in (ENDPOINT_NOT_FOUND, REDIRECTED, REFUSED_WITHOUT_REASON, UNREADABLE_ANSWER)}


def openid_url(issuer: str) -> str:
    """Where OpenID providers have their document (OpenID Connect Discovery, section 4)."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def oauth_url(issuer: str) -> str:
    """Where OAuth servers have it: the well-known path stands before the issuer's own (RFC 8414, section 3.1)."""
    parts = urlsplit(issuer)
    path = "/.well-known/oauth-authorization-server" + parts.path.removesuffix("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


async def discover(client: ProviderClient, issuer: str) -> ServerMetadata:
    """Ask the provider, the OpenID document first. Raises ProviderError.

    The document's issuer must be ``issuer``, byte for byte (RFC 8414, section 3.3), else somebody else's document could
    direct our requests.
    """
    try:
        found = await client.document(openid_url(issuer))
    except ProviderError as problem:
        if problem.reason not in _NOT_THERE:
            raise
        found = await _fallback(client, issuer, problem)
    if found.get("issuer") != issuer:
        raise error(ISSUER_DIFFERS)
    return _metadata(client, found)


async def _fallback(client: ProviderClient, issuer: str, first: ProviderError) -> dict[str, Any]:
    try:
        return await client.document(oauth_url(issuer))
    except ProviderError as problem:
        if problem.reason not in _NOT_THERE:
            raise
    raise first


def _metadata(client: ProviderClient, found: dict[str, Any]) -> ServerMetadata:
    def optional(name: str) -> str | None:
        return client.checked_url(found[name]) if found.get(name) else None

    methods = found.get("token_endpoint_auth_methods_supported")
    supported = tuple(str(method) for method in methods) if isinstance(methods, list) else ("client_secret_basic",)
    return ServerMetadata(
        issuer=found["issuer"],
        authorization_url=client.checked_url(found.get("authorization_endpoint")),
        token_url=client.checked_url(found.get("token_endpoint")),
        revocation_url=optional("revocation_endpoint"),
        jwks_url=optional("jwks_uri"),
        userinfo_url=optional("userinfo_endpoint"),
        introspection_url=optional("introspection_endpoint"),
        end_session_url=optional("end_session_endpoint"),
        client_authentications=supported,
        iss_in_answers=found.get("authorization_response_iss_parameter_supported") is True,
    )


@dataclass
class _Entry:
    """What is known of one issuer; the lock lets one caller ask while the others wait for the answer."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    metadata: ServerMetadata | None = None
    problem: ProviderError | None = None
    until: float = float("-inf")

    def answer(self) -> ServerMetadata:
        if self.metadata is not None:
            return self.metadata
        if self.problem is None:
            raise RuntimeError("nothing was asked yet")
        again = self.problem
        raise ProviderError(again.kind, again.reason, again.message, retry_after=again.retry_after, sent=again.sent)


class Discovery:
    """Discovery with a memory: an answer counts for ``ttl``, a failure for half a minute.

    When an answer is too old and the provider cannot be asked (the weather's), the old one counts on: endpoints hardly ever
    change, and a refresh should not fail for the sake of a document.
    """

    def __init__(self, client: ProviderClient, ttl: timedelta = TTL, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._ttl = ttl
        self._clock = clock
        self._entries: dict[str, _Entry] = {}

    async def metadata(self, issuer: str) -> ServerMetadata:
        """What the issuer's document says. Raises ProviderError."""
        entry = self._entries.setdefault(issuer, _Entry())
        async with entry.lock:
            if self._clock() >= entry.until:
                await self._ask(issuer, entry)
        return entry.answer()

    async def _ask(self, issuer: str, entry: _Entry) -> None:
        lasts = self._ttl
        try:
            entry.metadata, entry.problem = await discover(self._client, issuer), None
        except ProviderError as problem:
            lasts = RETRY
            entry.problem = problem
            if problem.kind is not Kind.WEATHER:
                entry.metadata = None
        entry.until = self._clock() + lasts.total_seconds()
