"""HTTP to providers: one aiohttp session for the whole process, guarded addresses, bounded answers, no redirects."""

from __future__ import annotations

import math
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import aiohttp

from cube_oauth import __version__
from cube_oauth.providers import errors
from cube_oauth.providers.addresses import AddressRefusedError, Network, guarded_sockets
from cube_oauth.providers.answers import HTTPAnswer, retry_after
from cube_oauth.providers.errors import ProviderError, error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aiohttp.abc import AbstractStreamWriter

TIMEOUT = timedelta(seconds=10)
_CONNECTIONS_PER_HOST = 64
_KEPT_SECONDS = 4
"""An idle connection is closed by us: on one that the provider is just closing (Node does after 5 s) a redemption would be lost."""
_HEADERS = {
    "User-Agent": f"cube-oauth-operator/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}
_WIRE_ERRORS = (aiohttp.ClientError, OSError, TimeoutError, ValueError)  # ValueError: a host that IDNA cannot encode


class _TooLateError(TimeoutError):
    """The time for a request was over before its first byte was sent."""


# The first row that fits. What fails before a connection is there was surely not sent.
_BY_EXCEPTION: tuple[tuple[type[BaseException], errors.Reason, bool], ...] = (
    (_TooLateError, errors.TIMEOUT, False),
    (TimeoutError, errors.TIMEOUT, True),
    (aiohttp.ClientSSLError, errors.CERTIFICATE_REFUSED, False),
    (aiohttp.ClientConnectorDNSError, errors.HOST_NOT_FOUND, False),
    (aiohttp.ClientConnectorError, errors.UNREACHABLE, False),
    (aiohttp.NonHttpUrlClientError, errors.INVALID_URL, False),
    (aiohttp.ClientResponseError, errors.UNREADABLE_ANSWER, True),
    (ValueError, errors.INVALID_URL, False),
)


def sort_exception(problem: BaseException) -> ProviderError:
    """The ProviderError that a failure on the wire means. It keeps nothing of the original: that one holds our headers."""
    if isinstance(problem, aiohttp.ClientConnectorError) and isinstance(problem.os_error, AddressRefusedError):
        return error(errors.ADDRESS_REFUSED, sent=False)
    for kind, reason, sent in _BY_EXCEPTION:
        if isinstance(problem, kind):
            return error(reason, sent=sent)
    return error(errors.CONNECTION_LOST)


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context


def _timeout(total: timedelta) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total.total_seconds(), ceil_threshold=math.inf)  # aiohttp rounds up from 5 s on


def _utc_now() -> datetime:
    return datetime.now(UTC)


class _InTime(aiohttp.BytesPayload):
    """A body that is not sent after ``until``: a process, or a machine, that was paused while it connected sends nothing any more.

    A timer would come too late: what was ready before it runs first. Headers wait for the body, and nothing is awaited between this
    look at the clock and the first byte.
    """

    def __init__(self, body: bytes, until: datetime, clock: Callable[[], datetime]) -> None:
        super().__init__(body)
        self._until = until
        self._clock = clock

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if self._clock() >= self._until:
            raise _TooLateError
        await super().write_with_length(writer, content_length)


class Transport:
    """One session with its connections; an async context manager, to be opened once in the process.

    Making the TLS context costs about 17 ms, a request over a kept connection 0.1 ms of CPU: share it.
    """

    def __init__(
        self,
        *,
        timeout: timedelta = TIMEOUT,
        allowed: tuple[Network, ...] = (),
        ca_file: Path | None = None,
        plain_http: bool = False,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Remember the settings; nothing is opened yet.

        Args:
            timeout: for one whole request, from the wait for a connection to the last byte.
            allowed: networks that may be called although they are loopback, link-local and so on.
            ca_file: PEM certificates to trust in addition to the system's.
            plain_http: permit http:// addresses (tests and demos only).
            clock: the time, for a Retry-After that is a date, and for the end of a request's time.
        """
        self._total = timeout
        self._allowed = allowed
        self._ca_file = ca_file
        self._schemes = ("https://", "http://") if plain_http else ("https://",)
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            ssl=_tls(self._ca_file),
            socket_factory=guarded_sockets(self._allowed),
            limit=0,  # a provider that hangs must not use up the connections of the others
            limit_per_host=_CONNECTIONS_PER_HOST,
            keepalive_timeout=_KEPT_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # one provider's answer must not influence another's
            headers=_HEADERS,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def permits(self, url: str) -> bool:
        """Whether ``url`` is absolute, has a permitted scheme, and a host and a port that can be."""
        try:
            parts = urlsplit(url)
            return url.lower().startswith(self._schemes) and bool(parts.hostname) and parts.port != 0
        except ValueError:
            return False

    async def post(self, url: str, body: str, headers: Mapping[str, str], within: timedelta | None = None) -> HTTPAnswer:
        """POST a form once; aiohttp repeats a POST never. Raises ProviderError when there is no answer.

        ``within`` replaces the timeout. By the clock, too, nothing is sent after it.
        """
        return await self._request("POST", url, body.encode(), headers, within)

    async def get(self, url: str, headers: Mapping[str, str] | None = None, within: timedelta | None = None) -> HTTPAnswer:
        """GET a document. Raises ProviderError when there is no answer. ``within`` replaces the timeout."""
        return await self._request("GET", url, None, headers or {}, within)

    async def _request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], within: timedelta | None
    ) -> HTTPAnswer:
        if self._session is None:
            raise RuntimeError("the client is not open: use it in `async with`")
        if not self.permits(url):
            raise error(errors.INVALID_URL, sent=False)
        total = within or self._total
        data = None if body is None else _InTime(body, self._clock() + total, self._clock)
        try:
            async with self._session.request(
                method, url, data=data, headers=headers, allow_redirects=False, timeout=_timeout(total)
            ) as response:
                return await self._read(response)
        except _WIRE_ERRORS as problem:
            failure = sort_exception(problem)
        raise failure  # outside the except clause: the original, which holds our headers, is no part of it

    async def _read(self, response: aiohttp.ClientResponse) -> HTTPAnswer:
        wish = retry_after(response.headers.get("Retry-After"), self._clock())
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > errors.LARGEST_ANSWER:
                raise error(_too_large(response.status), retry_after=wish)
        content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return HTTPAnswer(response.status, content_type, bytes(body), wish)


def _too_large(status: int) -> errors.Reason:
    """What an answer that was not read to its end means: the weather's anyway, more exact for 429 and 5xx."""
    reason = errors.sort(status, None)
    return reason if reason in (errors.RATE_LIMITED, errors.PROVIDER_UNAVAILABLE) else errors.ANSWER_TOO_LARGE
