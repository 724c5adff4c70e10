"""The real Cube with the hook, its own driver and a service's stand-in: what the tests of the data sources share."""

import json
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hook.resolver import FakeResolver
from tests.parts import cube as cubes
from tests.parts import services
from tests.parts.cube import Cube, drivers

HOOK = Path(__file__).parents[2] / "operator/cube_oauth/injection/hook.cjs"


def fresh(name: str) -> str:
    """Return a user whom no other test has used."""
    return f"{name}-{time.monotonic_ns()}"


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
    }
    modules = drivers.prepare(cubes.prepare()) / "node_modules"
    with Cube(env=ours | dict(env), project=project, folder=folder, modules=[modules]) as running:
        yield running


only_with_our_version = pytest.mark.skipif("'CUBE_VERSION' in os.environ", reason="the drivers are those of one Cube")
