"""The real Cube with the hook, its own driver and a service's stand-in: what the tests of the data sources share."""

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.hook.resolver import FakeResolver, active
from tests.parts import cube as cubes
from tests.parts import services, web
from tests.parts.cube import Cube, drivers

HOOK = Path(__file__).parents[2] / "operator/cube_oauth/injection/hook.cjs"

SYSTEM_SECRET = "a secret for what Cube Cloud and the development tools ask"
READS = ("meta?extended=true", "sql", "dry-run", "pre-aggregations", "pre-aggregations/security-contexts", "context")
WRITES = ("pre-aggregations/partitions", "pre-aggregations/queue", "pre-aggregations/jobs", "pre-aggregations/can-use")


def fresh(name: str) -> str:
    """Return a user whom no other test has used."""
    return f"{name}-{time.monotonic_ns()}"


REFUSED_FOR = 5
"""Seconds for which the hook tries no refused token again."""


class Again:
    """How often a refused token may have been tried again since this was made: a busy machine takes its time."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self) -> int:
        return int((time.monotonic() - self._began) / REFUSED_FOR)


class Canaries:
    """Makes secrets, remembers them, and finds them again where they must not be."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def make(self) -> str:
        self.made.append(f"canary-{secrets.token_urlsafe(30)}")
        return self.made[-1]

    def found_in(self, text: str) -> list[str]:
        return [canary[:12] for canary in self.made if canary in text]


def project(folder: Path, source: Path, *configurations: str) -> Path:
    """Make a project of the model `whoami`, kept for an hour, and configuration files of a folder."""
    shutil.copytree(cubes.PROJECT, folder, ignore=shutil.ignore_patterns("cube.js"))
    model = folder / "model/whoami.yml"
    model.write_text(model.read_text().replace("every: 1 second", "every: 1 hour"))
    for name in configurations:
        shutil.copy(source / name, folder)
    return folder


@contextmanager
def cube(
    project: Path, resolver: FakeResolver, folder: Path, env: Mapping[str, str], redirect: Mapping[str, int], ca: Path
) -> Iterator[Cube]:
    """Run Cube with its drivers, the hook and log level trace; `redirect` sends "host:port" to a port of ours."""
    ours = {
        "CUBE_OAUTH_SOCKET": str(resolver.path),
        "CUBE_OAUTH_USERNAME_CLAIM": "username",
        "NODE_OPTIONS": f"--require={HOOK} --require={services.REDIRECT}",
        "NODE_EXTRA_CA_CERTS": str(ca),
        "TESTS_REDIRECT": json.dumps(dict(redirect)),
        "CUBEJS_LOG_LEVEL": "trace",
        "CUBEJS_PLAYGROUND_AUTH_SECRET": SYSTEM_SECRET,
    }
    modules = drivers.prepare(cubes.prepare()) / "node_modules"
    with Cube(env=ours | dict(env), project=project, folder=folder, modules=[modules]) as running:
        yield running


class Started(dict[str, Cube]):
    """A Cube for each way to configure it, started when it is first wanted and ended with the stack."""

    def __init__(self, stack: ExitStack, start: Callable[[str], AbstractContextManager[Cube]]):
        self._stack = stack
        self._start = start

    def __missing__(self, configuration: str) -> Cube:
        return self.setdefault(configuration, self._stack.enter_context(self._start(configuration)))


Connect = Callable[..., str]


def connecting(service: services.Service, resolver: FakeResolver, canaries: Canaries, data_source: str) -> Connect:
    """Return a function that gives a person a new token, which the service accepts, and returns it."""

    def connect(username: str, **more: Any) -> str:
        token = canaries.make()
        service.knows(token, username)
        resolver.set(username, **{data_source: active(token, **more)})
        return token

    return connect


def told(cube: Cube, username: str) -> str:
    """Return what every endpoint answers to this person, also one for which Cube has nothing to say."""
    query = json.dumps({"query": cubes.whoami_query(cached=True)})
    answers = []
    for api, secret in (("api", cubes.API_SECRET), ("system", SYSTEM_SECRET)):
        headers = {"Authorization": cubes.api_token(username, secret=secret), "Content-Type": "application/json"}
        root = f"{cube.url}/cubejs-{api}/v1"
        for path in READS:
            separator = "&" if "?" in path else "?"
            answers.append(web.request("GET", f"{root}/{path}{separator}{urlencode(json.loads(query))}", headers=headers))
        answers += [web.request("POST", f"{root}/{path}", body=query.encode(), headers=headers) for path in WRITES]
    assert sum(answer.status == 200 for answer in answers) >= 5, [answer.status for answer in answers]
    return "\n".join(answer.text for answer in answers)
