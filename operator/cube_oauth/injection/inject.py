"""``inject``: a pod and its settings in, a JSON patch or the reason why not out.

The same function stands behind the admission webhook, ``kubectl cube-oauth inject`` and the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cube_oauth.injection import layout
from cube_oauth.injection.facts import CUBE, NODE_OPTIONS, App, Container, Json, Pod, Settings
from cube_oauth.injection.jsonpatch import Operation, add, append, replace
from cube_oauth.injection.sidecar import sidecar, variables, volumes
from cube_oauth.resources import names

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUIRE = f"--require={layout.HOOK}"
MOVED_NODE_OPTIONS = "CUBE_OAUTH_NODE_OPTIONS"
"""Holds a NODE_OPTIONS whose value is not in the pod, so that ours can begin with it."""
PREFIX = "CUBE_OAUTH_"
ALLOWED_VARIABLES = frozenset({"CUBE_OAUTH_UNAUTHENTICATED"})
"""What a container may set itself of our prefix."""


class Reason(StrEnum):
    """Why a pod is as it is; stable, for metrics and scripts."""

    INJECTED = "Injected"
    NOT_REQUESTED = "NotRequested"
    ALREADY_INJECTED = "AlreadyInjected"
    CONTAINER_UNCLEAR = "ContainerUnclear"
    CLAIM_NOT_ALLOWED = "ClaimNotAllowed"
    DATA_SOURCE_TWICE = "DataSourceTwice"
    VARIABLE_TWICE = "VariableTwice"
    NAME_TAKEN = "NameTaken"


@dataclass(frozen=True)
class Injection:
    """The outcome: a patch (empty when there is nothing to do), or a refusal."""

    reason: Reason
    patch: tuple[Operation, ...] = ()
    warnings: tuple[str, ...] = ()
    refusal: str | None = None
    """A sentence for whoever creates the pod; the pod must then not be created."""


class _RefusedError(Exception):
    """Carries the reason and the sentence from a check to ``inject``."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def inject(manifest: Json, settings: Settings, apps: Sequence[App] | None) -> Injection:
    """What to change in a Pod (or in ``{"metadata", "spec"}`` of a pod template).

    ``apps`` are the OAuthApps of its namespace; None when they are not known (offline), which leaves out what depends on them.
    Injecting what was injected changes nothing.
    """
    pod = Pod.of(manifest)
    if not pod.requested:
        return Injection(Reason.NOT_REQUESTED)
    if pod.injected:
        return Injection(Reason.ALREADY_INJECTED)
    try:
        return _injection(pod, settings, apps)
    except _RefusedError as refused:
        return Injection(refused.reason, refusal=str(refused))


def _injection(pod: Pod, settings: Settings, apps: Sequence[App] | None) -> Injection:
    cube = _cube(pod)
    claim = _claim(pod, settings)
    _check_names(pod, cube)
    selected = _selected(pod, apps or ())
    _check_data_sources(selected)
    account = _account(selected, cube)
    patch = (
        *_annotate(pod, settings),
        *_init_container(pod, settings),
        *append(volumes(), pod.volumes, "spec", "volumes"),
        *_mount(cube),
        *_set_environment(cube, _environment(pod, claim, account), account),
    )
    return Injection(Reason.INJECTED, patch, (*_node_options_warnings(cube), *_app_warnings(pod, apps)))


# --- checks


def _cube(pod: Pod) -> Container:
    """The annotation's container, else the only one, else the one named ``cube``, else the one whose image has ``cube``."""
    named = pod.annotation(names.CONTAINER_ANNOTATION)
    if named:
        found = [container for container in pod.containers if container.name == named]
    elif len(pod.containers) == 1:
        found = list(pod.containers)
    else:
        found = [container for container in pod.containers if container.name == CUBE]
        found = found or [container for container in pod.containers if CUBE in container.image]
    if len(found) == 1:
        return found[0]
    problem = (
        f"names no container of this pod: {named}" if named else "is needed, because it is not obvious which container is Cube"
    )
    candidates = ", ".join(container.name for container in found or pod.containers)
    raise _RefusedError(Reason.CONTAINER_UNCLEAR, f"annotation {names.CONTAINER_ANNOTATION} {problem}; choose one of: {candidates}")


def _claim(pod: Pod, settings: Settings) -> str:
    claim = pod.annotation(names.USERNAME_CLAIM_ANNOTATION) or settings.username_claim
    allowed = tuple(dict.fromkeys((settings.username_claim, *settings.username_claims)))
    if claim not in allowed:
        raise _RefusedError(
            Reason.CLAIM_NOT_ALLOWED,
            f"annotation {names.USERNAME_CLAIM_ANNOTATION} must be one of the claims that the administrator allows: "
            f"{', '.join(allowed)}; it is {claim}",
        )
    return claim


def _check_names(pod: Pod, cube: Container) -> None:
    taken = sorted({layout.SHARED_VOLUME, layout.TOKEN_VOLUME} & set(pod.volumes or ()))
    mounted = [layout.SHARED for mount in cube.mounts or () if mount.get("mountPath", "").rstrip("/") == layout.SHARED]
    ours = sorted(name for name in cube.variables - ALLOWED_VARIABLES if name.startswith(PREFIX))
    for found, what in ((taken, "volume"), (mounted, "mount path"), (ours, "environment variable")):
        if found:
            raise _RefusedError(
                Reason.NAME_TAKEN,
                f"the pod has a {what} of a name that injection needs: {', '.join(found)}; rename or remove it",
            )


def _selected(pod: Pod, apps: Sequence[App]) -> list[App]:
    wanted = pod.wanted_apps
    return sorted((app for app in apps if not wanted or app.name in wanted), key=lambda app: app.name)


def _check_data_sources(apps: Sequence[App]) -> None:
    seen: dict[str, str] = {}
    for app in apps:
        other = seen.setdefault(app.data_source, app.name)
        if other != app.name:
            raise _RefusedError(
                Reason.DATA_SOURCE_TWICE,
                f"OAuthApps {other} and {app.name} both have data source {app.data_source}: "
                f"choose one in the annotation {names.APPS_ANNOTATION}, or give one another spec.dataSource",
            )


# --- what is added


def _annotate(pod: Pod, settings: Settings) -> list[Operation]:
    value = f"v{layout.CONTRACT} {settings.image}"
    if pod.annotations is None:
        return [add({names.INJECTED_ANNOTATION: value}, "metadata", "annotations")]
    return [add(value, "metadata", "annotations", names.INJECTED_ANNOTATION)]


def _init_container(pod: Pod, settings: Settings) -> list[Operation]:
    ours = sidecar(pod, settings)
    if pod.has_init_containers:
        return [add(ours, "spec", "initContainers", 0)]
    return [add([ours], "spec", "initContainers")]


def _mount(cube: Container) -> list[Operation]:
    mount = {"name": layout.SHARED_VOLUME, "mountPath": layout.SHARED, "readOnly": True}
    return append([mount], cube.mounts, "spec", "containers", cube.index, "volumeMounts")


def _environment(pod: Pod, claim: str, account: list[Json]) -> list[Json]:
    return variables(
        (
            (layout.SOCKET_VARIABLE, layout.SOCKET),
            ("CUBE_OAUTH_USERNAME_CLAIM", claim),
            ("CUBE_OAUTH_ISSUER", pod.annotation(names.ISSUER_ANNOTATION)),
            (layout.ACCOUNT_VARIABLE, ",".join(variable["name"] for variable in account) or None),
        )
    )


def _account(apps: Sequence[App], cube: Container) -> list[Json]:
    """The service accounts' variables; what the container sets itself stays."""
    found: dict[str, tuple[App, str]] = {}
    for app in apps:
        for name, key in app.env:
            other, _ = found.setdefault(name, (app, key))
            if other is not app:
                raise _RefusedError(
                    Reason.VARIABLE_TWICE,
                    f"OAuthApps {other.name} and {app.name} both set {name} in spec.serviceAccount.env: "
                    f"choose one in the annotation {names.APPS_ANNOTATION}, or remove it from one",
                )
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": app.secret, "key": key}}}
        for name, (app, key) in found.items()
        if name not in cube.variables
    ]


def _set_environment(cube: Container, *added: list[Json]) -> list[Operation]:
    changes, node_options = _node_options(cube)
    items = [item for part in (*added, node_options) for item in part]
    return [*changes, *append(items, cube.env, "spec", "containers", cube.index, "env")]


def _node_options(cube: Container) -> tuple[list[Operation], list[Json]]:
    """``NODE_OPTIONS`` with our hook behind what is there: operations on existing variables, and new ones.

    A value that is not in the pod (``valueFrom``) moves to another variable, which the kubelet expands in ours: it expands
    what stands earlier in ``env``.
    """
    path = ("spec", "containers", cube.index, "env")
    for index, variable in reversed(list(enumerate(cube.env or ()))):
        if variable.get("name") != NODE_OPTIONS:
            continue
        if "valueFrom" in variable:
            expanded = {"name": NODE_OPTIONS, "value": f"$({MOVED_NODE_OPTIONS}) {REQUIRE}"}
            return [replace(MOVED_NODE_OPTIONS, *path, index, "name")], [expanded]
        before = variable.get("value") or ""
        return [add(f"{before} {REQUIRE}".strip(), *path, index, "value")], []
    return [], [{"name": NODE_OPTIONS, "value": REQUIRE}]


# --- warnings (the API server cuts them at 256 characters)


def _node_options_warnings(cube: Container) -> list[str]:
    if not cube.env_from or NODE_OPTIONS in cube.variables:
        return []
    sources = ", ".join(cube.env_from)
    warning = (
        f"container {cube.name}: if envFrom ({sources}) has NODE_OPTIONS, it no longer counts; "
        "set NODE_OPTIONS in env instead, and the hook is appended to it"
    )
    return [warning]


def _app_warnings(pod: Pod, apps: Sequence[App] | None) -> list[str]:
    if apps is None:
        return []
    if not apps:
        return ["there is no OAuthApp in this namespace yet, so no query runs as a person and no service account is set"]
    missing = sorted(set(pod.wanted_apps) - {app.name for app in apps})
    return [f"annotation {names.APPS_ANNOTATION}: no OAuthApp {', '.join(missing)} in this namespace"] if missing else []
