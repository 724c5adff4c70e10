"""A third real provider, plain OAuth 2.0: `Toolkit` is Django OAuth Toolkit as a local process."""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.parts import prepared, web
from tests.parts.processes import Process, free_port
from tests.parts.provider import PASSWORD

HERE = Path(__file__).parent
GRACE_SECONDS = 3600


def prepare() -> Path:
    """Return the folder with the packages, downloaded the first time."""
    return prepared.folder("toolkit", [HERE / "requirements.txt"], _fill)


def _fill(target: Path) -> None:
    prepared.say("Django OAuth Toolkit from PyPI")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    prepared.run([*pip, "--target", str(target), "-r", str(HERE / "requirements.txt")], target)


def client(client_id: str, redirect_uris: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """Return a client as the toolkit's Application; `more` replaces parts of it (`client_secret`, `client_type` …)."""
    grant = "authorization-code" if redirect_uris else "client-credentials"
    usual = {"client_type": "confidential", "authorization_grant_type": grant, "redirect_uris": " ".join(redirect_uris)}
    return {"client_id": client_id, "name": client_id, **usual, **more}


class Toolkit:
    """On http://127.0.0.1, for the length of a `with` block. A refresh token rotates, and may come twice within an hour."""

    issuer, ca = None, None  # it has no metadata, and speaks plain HTTP

    def __init__(self, *, clients: Sequence[Mapping[str, Any]], people: Sequence[str] = ("alice",), folder: Path | None = None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/o"
        self._folder = folder or Path(tempfile.mkdtemp(prefix="toolkit-"))
        self._config = {
            "port": self.port,
            "folder": str(self._folder),
            "people": list(people),
            "password": PASSWORD,
            "clients": list(clients),
            "settings": {
                "SCOPES": {"query": "ask", "introspection": "look at tokens"},
                "PKCE_REQUIRED": False,
                "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": GRACE_SECONDS,
                "REFRESH_TOKEN_REUSE_PROTECTION": True,
            },
        }

    def __enter__(self) -> Self:
        env = {"PYTHONPATH": str(prepare()), "TOOLKIT_CONFIG": json.dumps(self._config)}
        self.process = Process("the toolkit", [sys.executable, str(HERE / "serve.py")], log=self._folder / "toolkit.log", env=env)
        try:
            self.process.wait_until(lambda: web.answers(f"http://127.0.0.1:{self.port}/log-in/"), seconds=60)
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.stop()
