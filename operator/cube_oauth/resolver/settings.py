"""What the injector wrote into the sidecar's environment (docs/reference/protocols.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from cube_oauth.injection import layout

if TYPE_CHECKING:
    from cube_oauth.settings import Address, Environment


@dataclass(frozen=True)
class ResolverSettings:
    """The sidecar's settings."""

    socket: str
    hook: str
    broker_url: str
    ca: str
    token_file: str
    apps: tuple[str, ...]
    outage_seconds: int
    listen: Address

    @classmethod
    def read(cls, env: Environment) -> Self:
        """Raises SettingsError, which names the variable."""
        return cls(
            socket=env.text("SOCKET", layout.SOCKET),
            hook=env.text("HOOK", layout.HOOK),
            broker_url=env.text("BROKER_URL").rstrip("/"),
            ca=env.text("CA"),
            token_file=env.text("TOKEN_FILE", layout.TOKEN_FILE),
            apps=env.words("APPS"),
            outage_seconds=env.number("OUTAGE_SECONDS", 300),
            listen=env.address("LISTEN", layout.HEALTH_ADDRESS),
        )
