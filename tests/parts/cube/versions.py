"""Another Cube than that of the lock files: the one that CUBE_VERSION names ("1.6").

It is the newest server-core of that version under the newest server and drivers before 1.7, as far as npm's registry has them:
versions.json. Drivers that it has of 1.7 only stay those of 1.7.
"""

import json
import os
import shutil
from pathlib import Path

from tests.parts import prepared

VERSIONS = Path(__file__).with_suffix(".json")
CORE = "@cubejs-backend/server-core"


def part(name: str) -> str:
    """Return what an installation is called in the cache."""
    version = os.environ.get("CUBE_VERSION")
    return f"{name}-{version}" if version else name


def sources(packages: Path) -> list[Path]:
    """Return the files that decide what is installed for a folder with a package.json."""
    return [packages / "package.json", VERSIONS] if os.environ.get("CUBE_VERSION") else [packages / "package-lock.json"]


def install(packages: Path, target: Path, *, slimmed: bool = True) -> None:
    """Install what the folder's lock file names; of another Cube the same packages in other versions."""
    version = os.environ.get("CUBE_VERSION")
    if not version:
        prepared.npm_ci(packages, target, slimmed=slimmed)
        return
    older = json.loads(VERSIONS.read_text())
    if version not in older[CORE]:
        raise ValueError(f"CUBE_VERSION must be one of {', '.join(older[CORE])}; it is {version}")
    package = json.loads((packages / "package.json").read_text())
    package["dependencies"] |= {name: pin for name, pin in older["dependencies"].items() if name in package["dependencies"]}
    package["overrides"] = {CORE: older[CORE][version]}
    (target / "package.json").write_text(json.dumps(package))
    shutil.copy(packages / ".npmrc", target)
    prepared.say(f"npm install for {packages.name} of Cube {version}")
    prepared.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps"], target)
    if slimmed:
        prepared.slim(target / "node_modules")
