"""What Argo CD and Flux say about the health of an object."""

from pathlib import Path

import yaml
from lupa.lua51 import LuaRuntime  # the language of gopher-lua, in which Argo CD runs it

SCRIPTS = Path(__file__).resolve().parents[2] / "examples/argo-cd-health.yaml"


def argo(manifest):
    """What Argo CD says of an object, by the script that we ship."""
    scripts = yaml.safe_load((SCRIPTS).read_text())["data"]
    script = scripts[f"resource.customizations.health.cubeoauth.dev_{manifest['kind']}"]
    lua = LuaRuntime(unpack_returned_tuples=True)
    health = lua.eval(f"function(obj)\n{script}\nend")(lua.table_from(manifest, recursive=True))
    return health["status"], health["message"]


def kstatus(manifest):
    """What Flux and Helm say (sigs.k8s.io/cli-utils, pkg/kstatus/status/generic.go)."""
    status = manifest.get("status") or {}
    if status.get("observedGeneration", manifest["metadata"]["generation"]) != manifest["metadata"]["generation"]:
        return "InProgress"
    said = {one["type"]: one["status"] for one in status.get("conditions", [])}
    if said.get("Reconciling") == "True":
        return "InProgress"
    if said.get("Stalled") == "True":
        return "Failed"
    return "InProgress" if said.get("Ready") in ("False", "Unknown") else "Current"
