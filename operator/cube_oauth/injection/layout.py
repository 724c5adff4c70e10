"""What injector, resolver and hook agree on inside a Cube pod: paths, names, ports. Standard library only: the sidecar reads it."""

from __future__ import annotations

CONTRACT = 1
"""The version of what is injected; part of the annotation ``cubeoauth.dev/injected``, so that old sidecars can be found."""


def mark(image: str) -> str:
    """The value of the annotation for a sidecar with this image."""
    return f"v{CONTRACT} {image}"


SIDECAR = "cube-oauth-resolver"
SHARED_VOLUME = "cube-oauth"
TOKEN_VOLUME = "cube-oauth-token"  # noqa: S105 - a volume's name

SHARED = "/run/cube-oauth"
"""The memory volume with hook and socket; Cube mounts it read-only (a unix socket can be connected to all the same)."""
SOCKET = f"{SHARED}/resolver.sock"
HOOK = f"{SHARED}/hook.cjs"

API_TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
"""Our own token is mounted here: the API server's ServiceAccount admission adds the pod's API token to every container that has no
mount at this path, and the sidecar has no use for that one."""
TOKEN_FILE = f"{API_TOKEN_DIRECTORY}/token"
TOKEN_SECONDS = 600
"""The shortest lifetime that the API server grants; the kubelet renews after 80 % of it."""

NODE_OPTIONS = "NODE_OPTIONS"
REQUIRE = f"--require={HOOK}"

SOCKET_VARIABLE = "CUBE_OAUTH_SOCKET"
ACCOUNT_VARIABLE = "CUBE_OAUTH_SERVICE_ACCOUNT"
"""Holds the names of the variables that were set from service accounts, separated by commas."""

HEALTH_PORT = 9102
"""Unless the pod's annotation chooses another."""
HEALTH_ADDRESS = f":{HEALTH_PORT}"
"""The kubelet's probes come from outside the pod, so not on loopback. Nothing secret is served here."""
