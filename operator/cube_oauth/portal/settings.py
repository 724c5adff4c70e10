"""What the portal is told by its environment."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from cube_oauth.portal.addresses import Allowed, Network, origin
from cube_oauth.portal.limits import LimitSettings
from cube_oauth.portal.session import SessionLimits
from cube_oauth.settings import PREFIX, Address, Environment, Installation, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class LogInSettings:
    """The OpenID provider that says who somebody is."""

    issuer: str
    client_id: str
    client_secret_file: Path | None
    """None: a public client."""
    scopes: tuple[str, ...]
    username_claim: str
    """Dotted path; the same claim as Cube's."""
    groups_claim: str

    @classmethod
    def read(cls, env: Environment) -> Self:
        """From ``CUBE_OAUTH_LOGIN_*``, ``_USERNAME_CLAIM`` and ``_GROUPS_CLAIM``."""
        scopes = tuple(env.text("LOGIN_SCOPES", "openid profile").split())
        if "openid" not in scopes:
            raise SettingsError(f"{PREFIX}LOGIN_SCOPES must contain openid: without it the provider says nothing of who logged in")
        secret = env.optional("LOGIN_CLIENT_SECRET_FILE")
        return cls(
            issuer=env.text("LOGIN_ISSUER"),
            client_id=env.text("LOGIN_CLIENT_ID"),
            client_secret_file=Path(secret) if secret else None,
            scopes=scopes,
            username_claim=env.text("USERNAME_CLAIM", "sub"),
            groups_claim=env.text("GROUPS_CLAIM", "groups"),
        )


@dataclass(frozen=True)
class ProxySettings:
    """The proxy that says who somebody is."""

    addresses: tuple[Network, ...]
    """Where its connections come from; nobody else's headers are believed."""
    username_header: str
    groups_header: str


@dataclass(frozen=True)
class Admins:
    """Who may see and make OAuth apps. Nobody by default."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def hold(self, username: str, groups: tuple[str, ...]) -> bool:
        """Whether this person is one."""
        return username in self.users or not set(groups).isdisjoint(self.groups)


@dataclass(frozen=True)
class PortalSettings:
    """All of it."""

    installation: Installation
    log_in: LogInSettings | None
    """None: ``proxy`` says who somebody is."""
    listen: Address
    listen_health: Address
    tls_directory: Path | None
    """Holds ``tls.crt`` and ``tls.key``; None: HTTP, behind something that ends TLS."""
    cookie_ring_file: Path
    extra_ca_file: str | None
    allowed_addresses: tuple[Network, ...]
    return_to: tuple[Allowed, ...] = ()
    """Where a deep link may lead back to."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose ``X-Forwarded-For`` counts."""
    api_origins: tuple[str, ...] = ()
    """Whose pages may read the JSON API with the person's cookie."""
    admins: Admins = Admins()
    proxy: ProxySettings | None = None
    session: SessionLimits = field(default_factory=SessionLimits)
    limits: LimitSettings = field(default_factory=LimitSettings)

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Self:
        """Raises SettingsError, with a sentence that names the variable."""
        env = Environment(variables)
        directory, proxy = env.optional("TLS_DIR"), _proxy(env)
        return cls(
            installation=_with_origin(Installation.read(env)),
            log_in=None if proxy else LogInSettings.read(env),
            listen=env.address("LISTEN_PORTAL", ":8000"),
            listen_health=env.address("LISTEN", ":8080"),
            tls_directory=Path(directory) if directory else None,
            cookie_ring_file=Path(env.text("COOKIE_RING_FILE")),
            extra_ca_file=env.optional("EXTRA_CA_FILE"),
            allowed_addresses=_networks(env, "ALLOWED_ADDRESSES"),
            return_to=_return_to(env.words("RETURN_TO")),
            trusted_proxies=_networks(env, "TRUSTED_PROXIES"),
            api_origins=_origins(env.words("API_ORIGINS")),
            proxy=proxy,
            session=_session(env),
            limits=_limits(env),
            admins=Admins(env.words("ADMIN_USERS"), env.words("ADMIN_GROUPS")),
        )

    @property
    def origin(self) -> str:
        """Scheme, host and port of the portal's public address, as browsers write it in ``Origin``."""
        return origin(self.installation.portal_url)

    @property
    def https(self) -> bool:
        """Whether people reach the portal by HTTPS, whoever ends TLS."""
        return self.installation.portal_url.startswith("https://")


def _with_origin(installation: Installation) -> Installation:
    """The portal has a host to itself: its ``__Host-`` cookies and its Content-Security-Policy are the host's, not a path's."""
    parts = urlsplit(installation.portal_url)
    strange = not installation.portal_url.isascii() or parts.path or parts.query or parts.fragment or parts.username
    if parts.scheme not in ("https", "http") or not parts.netloc or strange:
        raise SettingsError(
            f"{PREFIX}PORTAL_URL must be the origin that people open, without a path, an international name as xn--…: "
            "https://connect.example.com"
        )
    return installation


SHORTEST_SESSION = 60
"""Seconds: a person has to be able to read a page."""


def _session(env: Environment) -> SessionLimits:
    idle, absolute = env.number("SESSION_IDLE_SECONDS", 1800), env.number("SESSION_ABSOLUTE_SECONDS", 28800)
    if not SHORTEST_SESSION <= idle <= absolute:
        raise SettingsError(
            f"{PREFIX}SESSION_IDLE_SECONDS must be at least {SHORTEST_SESSION}, and at most {PREFIX}SESSION_ABSOLUTE_SECONDS"
        )
    return SessionLimits(timedelta(seconds=idle), timedelta(seconds=absolute))


def _limits(env: Environment) -> LimitSettings:
    """Each field by its name: ``CUBE_OAUTH_LIMIT_PERSON_BURST``."""
    numbers = {one.name: env.number(f"LIMIT_{one.name.upper()}", getattr(LimitSettings, one.name)) for one in fields(LimitSettings)}
    for name, number in numbers.items():
        if number < 1:
            raise SettingsError(f"{PREFIX}LIMIT_{name.upper()} must be at least 1")
    return LimitSettings(**numbers)


def _proxy(env: Environment) -> ProxySettings | None:
    addresses = _networks(env, "PROXY_ADDRESSES")
    if not addresses:
        return None
    if env.optional("LOGIN_ISSUER"):
        raise SettingsError(f"{PREFIX}PROXY_ADDRESSES and {PREFIX}LOGIN_ISSUER are set: only one of them can say who somebody is")
    return ProxySettings(
        addresses, env.text("PROXY_USERNAME_HEADER", "X-Forwarded-User"), env.text("PROXY_GROUPS_HEADER", "X-Forwarded-Groups")
    )


def _origins(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        parts = urlsplit(word)
        if word != origin(word) or parts.scheme not in ("https", "http") or not parts.hostname:
            raise SettingsError(
                f"{PREFIX}API_ORIGINS must be origins such as https://home.example.com, in lower case, without a path or :443"
            )
    return words


def _return_to(words: tuple[str, ...]) -> tuple[Allowed, ...]:
    try:
        return tuple(Allowed.read(word) for word in words)
    except ValueError as error:
        raise SettingsError(
            f"{PREFIX}RETURN_TO must be addresses such as https://bi.example.com/dashboards, separated by commas; {error} is none"
        ) from error


def _networks(env: Environment, name: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(word) for word in env.words(name))
    except ValueError as error:
        raise SettingsError(f"{PREFIX}{name} must be networks, separated by commas: {error}") from error
