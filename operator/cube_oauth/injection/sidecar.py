"""The sidecar and its volumes, as they stand in a pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cube_oauth.injection import layout
from cube_oauth.resources import names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cube_oauth.injection.facts import Json, Pod, Settings

FALLBACK_USER = 65532
"""Where the pod as a whole runs as root: the sidecar never does."""


def literal(value: str) -> str:
    """``value`` as it must be written so that the kubelet does not expand ``$(NAME)`` in it."""
    return value.replace("$(", "$$(")


def variables(pairs: Iterable[tuple[str, str | None]]) -> list[Json]:
    """Environment variables; what has no value is left out."""
    return [{"name": name, "value": literal(value)} for name, value in pairs if value is not None]


def sidecar(pod: Pod, settings: Settings, port: int) -> Json:
    """The native sidecar: an init container that stays, first in the list, so that Cube starts when it answers."""
    container: Json = {
        "name": layout.SIDECAR,
        "image": settings.image,
        "restartPolicy": "Always",
        "command": ["cube-oauth", "resolver"],
        "env": _environment(pod, settings, port),
        "ports": [{"name": "cube-oauth", "containerPort": port, "protocol": "TCP"}],
        "startupProbe": _probe(port, period=1, failures=60),
        "livenessProbe": _probe(port, period=10, failures=6),
        "resources": {} if pod.limited_as_a_whole else {"requests": dict(settings.requests), "limits": dict(settings.limits)},
        "securityContext": _security(pod, settings),
        "volumeMounts": [
            {"name": layout.SHARED_VOLUME, "mountPath": layout.SHARED},
            {"name": layout.TOKEN_VOLUME, "mountPath": layout.API_TOKEN_DIRECTORY, "readOnly": True},
        ],
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container


def _environment(pod: Pod, settings: Settings, port: int) -> list[Json]:
    return variables(
        (
            ("CUBE_OAUTH_SOCKET", layout.SOCKET),
            ("CUBE_OAUTH_HOOK", layout.HOOK),
            ("CUBE_OAUTH_BROKER_URL", settings.broker_url),
            ("CUBE_OAUTH_CA", settings.ca),
            ("CUBE_OAUTH_TOKEN_FILE", layout.TOKEN_FILE),
            ("CUBE_OAUTH_APPS", ",".join(pod.wanted_apps) or None),
            ("CUBE_OAUTH_OUTAGE_SECONDS", str(settings.outage_seconds)),
            ("CUBE_OAUTH_LISTEN", f":{port}"),
            ("CUBE_OAUTH_LOG_LEVEL", settings.log_level),
        )
    )


def _probe(port: int, *, period: int, failures: int) -> Json:
    """By HTTP, not by ``exec``: a Python process for each probe would cost more than the sidecar itself."""
    return {"httpGet": {"path": "/healthz", "port": port}, "periodSeconds": period, "failureThreshold": failures}


def _security(pod: Pod, settings: Settings) -> Json:
    user = settings.run_as_user or (FALLBACK_USER if pod.runs_as_root else None)
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        **({"runAsUser": user} if user else {}),
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def volumes() -> list[Json]:
    """The shared memory volume and the sidecar's token.

    The kubelet makes an emptyDir with mode 0777, so that any UID of the pod may write to it; Cube mounts it read-only and no other
    container mounts it. The sidecar makes its socket 0666 and its hook 0444, because Cube runs as another UID than the sidecar.
    """
    token = {"audience": names.RESOLVER_AUDIENCE, "expirationSeconds": layout.TOKEN_SECONDS, "path": "token"}
    return [
        {"name": layout.SHARED_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
        {"name": layout.TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}},
    ]
