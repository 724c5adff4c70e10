"""Settings from the environment, as the chart writes them. Standard library only: the sidecar reads its own with this, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "CUBE_OAUTH_"

Address: TypeAlias = tuple[str | None, int]
"""Where to listen: host and port. No host means every address, IPv4 and IPv6 alike."""


class SettingsError(ValueError):
    """A setting is missing or unreadable; the message names the variable and says what to write."""


class Environment:
    """Reads ``CUBE_OAUTH_*`` variables, with errors that name them."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str | None = None) -> str:
        """A string; SettingsError when it is missing and has no default."""
        value = self._variables.get(PREFIX + name, "") or default
        if value is None:
            raise SettingsError(f"{PREFIX}{name} is not set: the chart sets it; see docs/reference/settings.md")
        return value

    def optional(self, name: str) -> str | None:
        """A string, or None when it is missing or empty."""
        return self._variables.get(PREFIX + name) or None

    def number(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._variables.get(PREFIX + name, "")
        try:
            return int(value) if value else default
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name} must be a whole number; it is {value!r}") from error

    def words(self, name: str) -> tuple[str, ...]:
        """A comma-separated list; empty when missing."""
        return tuple(word.strip() for word in self._variables.get(PREFIX + name, "").split(",") if word.strip())

    def address(self, name: str, default: str) -> Address:
        """``host:port``; the host may be left out."""
        host, _, port = self.text(name, default).rpartition(":")
        if not port.isdigit():
            raise SettingsError(f"{PREFIX}{name} must be host:port, for example 127.0.0.1:8080, or :8080 for every address")
        return host.strip("[]") or None, int(port)


@dataclass(frozen=True)
class Installation:
    """What every process in the cluster knows of the installation."""

    name: str
    """Prefix of the installation's own objects (the chart's full name)."""
    namespace: str
    """Where the processes, keys and certificates are."""
    token_namespace: str
    """Where the token and grant Secrets are, and nothing else."""
    namespaces: tuple[str, ...]
    """The tenant namespaces; empty means all."""
    portal_url: str
    """The portal's public address, without a slash at the end."""

    @classmethod
    def read(cls, env: Environment) -> Self:
        """From ``CUBE_OAUTH_NAME``, ``_NAMESPACE``, ``_TOKEN_NAMESPACE``, ``_NAMESPACES`` (``*`` for all), ``_PORTAL_URL``."""
        namespaces = env.words("NAMESPACES")
        if not namespaces:
            raise SettingsError(
                f"{PREFIX}NAMESPACES is not set: list the tenant namespaces, separated by commas, or write * for all"
            )
        return cls(
            name=env.text("NAME"),
            namespace=env.text("NAMESPACE"),
            token_namespace=env.text("TOKEN_NAMESPACE"),
            namespaces=() if "*" in namespaces else namespaces,
            portal_url=env.text("PORTAL_URL").rstrip("/"),
        )

    @property
    def watched(self) -> tuple[str | None, ...]:
        """The namespaces to watch; ``(None,)`` is one watch over all."""
        return self.namespaces or (None,)

    def redirect_uri(self, namespace: str, app: str) -> str:
        """The redirect URI of one app; one per app is the mix-up defence of RFC 9700, section 4.4."""
        return f"{self.portal_url}/callback/{namespace}/{app}"

    def authorize_url(self, namespace: str, app: str) -> str:
        """Where a person connects to one app."""
        return f"{self.portal_url}/connect/{namespace}/{app}"

    def named(self, suffix: str) -> str:
        """The name of one of the installation's own objects.

        ``keys-access``, ``keys-refresh``, ``keys-grant``, ``keys-cookie``, ``ca``, ``broker-tls`` (Secrets),
        ``grant-key`` (ConfigMap), ``controller`` (Lease).
        """
        return f"{self.name}-{suffix}"
