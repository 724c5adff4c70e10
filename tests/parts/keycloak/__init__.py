"""A second real OpenID provider, from other people: `Keycloak` with one realm, as a local process."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.parts import prepared, web
from tests.parts.certificates import self_made
from tests.parts.processes import Process, free_port
from tests.parts.provider import PASSWORD
from tests.parts.web import Answer

HERE = Path(__file__).parent
REALM = "data"
ADMINISTRATOR = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": PASSWORD}
UNPACK = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack-dependencies"
JVM = {"JAVA_OPTS_APPEND": "-Xmx512m"}
FORM = "application/x-www-form-urlencoded"


def prepare() -> Path:
    """Return the folder with Keycloak, downloaded and built (for a database in memory) the first time."""
    return prepared.folder("keycloak", [HERE / "pom.xml"], _fill) / "keycloak"


def _fill(target: Path) -> None:
    prepared.require("mvn", "java")
    shutil.copy(HERE / "pom.xml", target)
    prepared.say("Keycloak from Maven (165 MB)")
    prepared.run(["mvn", "-q", "-B", UNPACK, f"-DoutputDirectory={target}/unpacked"], target)
    (unpacked,) = (target / "unpacked").iterdir()
    unpacked.rename(target / "keycloak")
    (target / "unpacked").rmdir()
    script = target / "keycloak" / "bin" / "kc.sh"
    script.chmod(0o755)
    prepared.say("building Keycloak: half a minute")
    prepared.run([str(script), "build", "--db=dev-mem"], target)


def client(client_id: str, redirect_uris: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return a client as Keycloak's administration knows it; `more` adds to it (`secret`, `publicClient`, `attributes` …)."""
    return {"clientId": client_id, "redirectUris": list(redirect_uris), "standardFlowEnabled": True, "enabled": True, **more}


def user(username: str, *, offline: bool = True) -> dict[str, Any]:
    """Return a person; `offline`: whether they may have a refresh token that outlives their session."""
    return {
        "username": username,
        "enabled": True,
        "email": f"{username}@example.com",
        "emailVerified": True,
        "firstName": username,
        "lastName": "Example",
        "credentials": [{"type": "password", "value": PASSWORD}],
        "realmRoles": ["offline_access"] if offline else [],
    }


class Keycloak:
    """A realm with single-use refresh tokens on https://127.0.0.1, for the length of a `with` block."""

    def __init__(self, *, clients: Sequence[Mapping[str, Any]], users: Sequence[Mapping[str, Any]], folder: Path | None = None):
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.issuer = f"{self.url}/realms/{REALM}"
        self._folder = folder or Path(tempfile.mkdtemp(prefix="keycloak-"))
        self._certificate = self_made(self._folder / "tls", "127.0.0.1", "localhost")
        self.ca = self._certificate.ca
        self._realm = {
            "realm": REALM,
            "enabled": True,
            "revokeRefreshToken": True,
            "refreshTokenMaxReuse": 0,
            "roles": {"realm": [{"name": "offline_access"}]},
            "clients": list(clients),
            "users": list(users),
        }

    def __enter__(self) -> Self:
        home = prepare()
        prepared.require("java")
        command = [
            *(str(home / "bin" / "kc.sh"), "start", "--optimized", "--hostname-strict=false", "--http-host=127.0.0.1"),
            *(f"--https-port={self.port}", f"--http-management-port={free_port()}", "--http-management-scheme=http"),
            f"--https-certificate-file={self._certificate.cert}",
            f"--https-certificate-key-file={self._certificate.key}",
        ]
        log = self._folder / "keycloak.log"
        self.process = Process("Keycloak", command, log=log, env={**ADMINISTRATOR, **JVM})
        try:
            self.process.wait_until(lambda: web.answers(f"{self.url}/realms/master", ca=self.ca), seconds=180)
            self._administer("POST", "", self._realm)
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.stop()

    def log_out(self, username: str) -> None:
        """End a person's sessions, as an administrator does."""
        (found,) = self._administer("GET", f"/{REALM}/users?exact=true&username={username}").json()
        self._administer("POST", f"/{REALM}/users/{found['id']}/logout")

    def _administer(self, method: str, path: str, content: Any = None) -> Answer:
        headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
        body = None if content is None else json.dumps(content).encode()
        answer = web.request(method, f"{self.url}/admin/realms{path}", body=body, headers=headers, ca=self.ca)
        if answer.status >= 300:
            raise RuntimeError(f"Keycloak refused {method} {path}: {answer.status} {answer.text[:500]}")
        return answer

    def _token(self) -> str:
        body = f"grant_type=password&client_id=admin-cli&username=admin&password={PASSWORD.replace(' ', '+')}".encode()
        address = f"{self.url}/realms/master/protocol/openid-connect/token"
        return web.request("POST", address, body=body, headers={"Content-Type": FORM}, ca=self.ca).json()["access_token"]
