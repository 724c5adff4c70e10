"""The page of other people's failures names tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "failures.md").read_text()
SOURCES = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
HOOK = "\n".join(path.read_text() for path in (ROOT / "tests" / "hook" / "units").glob("*.test.mjs"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_is_there(name):
    assert f"def {name}(" in SOURCES


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\"([^\"]+)\"", PAGE))))
def test_is_there_in_the_hook(name):
    assert f"'{name}'" in HOOK
