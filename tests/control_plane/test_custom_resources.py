"""The custom resources as a real API server takes them: examples are accepted, bad input is refused in a sentence."""

import json
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.control_plane

ROOT = Path(__file__).resolve().parents[2]
TABLE = yaml.safe_load((ROOT / "tests/cases/refused.yaml").read_text())
EXAMPLES = sorted((ROOT / "crds/examples").glob("*.yaml"))


def patched(base, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = patched(merged.get(key), value)
    return merged


def apply(kubectl, namespace, resource, *flags):
    return kubectl("apply", "--server-side", "-n", namespace, "-f", "-", *flags, input=json.dumps(resource), check=False)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_api_server_accepts_the_example(kubectl, namespace, example):
    answer = kubectl("apply", "-n", namespace, "--validate=strict", "-f", str(example), check=False)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["name"])
def test_the_api_server_refuses(kubectl, namespace, case):
    base = TABLE["bases"][case["base"]]
    if "change" in case:
        assert apply(kubectl, namespace, base).returncode == 0
    answer = apply(kubectl, namespace, patched(base, case.get("change") or case["patch"]))
    assert answer.returncode != 0, "it was accepted"
    for words in case["says"]:
        assert words in answer.stderr


@pytest.mark.parametrize("base", TABLE["bases"].values(), ids=TABLE["bases"])
def test_the_bases_of_the_refusals_are_accepted_themselves(kubectl, namespace, base):
    answer = apply(kubectl, namespace, base)
    assert answer.returncode == 0, answer.stderr


def test_the_smallest_app_for_a_preset_has_under_twelve_lines():
    text = (ROOT / "crds/examples/databricks.yaml").read_text()
    assert len([line for line in text.splitlines() if not line.startswith("#")]) < 12


def test_defaults_that_say_nothing_are_not_stored(kubectl, namespace):
    kubectl("apply", "-n", namespace, "-f", str(ROOT / "crds/examples/databricks.yaml"))
    stored = json.loads(kubectl("get", "oapp/databricks", "-n", namespace, "-o", "json").stdout)
    assert "scopes" not in stored["spec"]
    assert stored["spec"]["provider"]["name"] == "databricks"
    assert "status" not in stored
