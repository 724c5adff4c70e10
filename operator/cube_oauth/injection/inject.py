"""``inject``: a pod and its settings in, a JSON patch or the reason why not out.

The same function stands behind the admission webhook, ``kubectl cube-oauth inject`` and the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cube_oauth.injection import checks, layout, node_options
from cube_oauth.injection.checks import Reason, RefusedError
from cube_oauth.injection.facts import App, Container, Json, Pod, Settings
from cube_oauth.injection.jsonpatch import Operation, add, append
from cube_oauth.injection.sidecar import sidecar, variables, volumes
from cube_oauth.resources import names

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Injection:
    """The outcome: a patch (empty when there is nothing to do), or a refusal."""

    reason: Reason
    patch: tuple[Operation, ...] = ()
    warnings: tuple[str, ...] = ()
    refusal: str | None = None
    """A sentence for whoever creates the pod; the pod must then not be created."""


def inject(manifest: Json, settings: Settings, apps: Sequence[App] | None, *, offline: bool = False) -> Injection:
    """What to change in a Pod (or in ``{"metadata", "spec"}`` of a pod template).

    ``apps`` are the OAuthApps of its namespace; None when they are not known, which leaves out what depends on them. ``offline``
    says that other tools go on to apply the result. Injecting what was injected changes nothing.
    """
    pod = Pod.of(manifest)
    if pod.label in (None, checks.DECLINED):
        return Injection(Reason.NOT_REQUESTED)
    try:
        checks.check_label(pod)
        checks.check_platform(pod)
        if pod.injected:
            checks.check_complete(pod)
            return Injection(Reason.ALREADY_INJECTED)
        return _injection(pod, settings, apps, offline=offline)
    except RefusedError as refused:
        return Injection(refused.reason, refusal=str(refused))


def _injection(pod: Pod, settings: Settings, apps: Sequence[App] | None, *, offline: bool) -> Injection:
    cube, claim, port = checks.cube(pod), checks.claim(pod, settings), checks.port(pod)
    checks.check_names(pod, cube)
    checks.check_dns(pod, settings)
    selected = _selected(pod, apps or ())
    checks.check_data_sources(selected)
    account = _account(selected, cube)
    patch = (
        *_annotate(pod, settings),
        *_init_container(pod, sidecar(pod, settings, port)),
        *append(volumes(), pod.volumes, "spec", "volumes"),
        *_mount(cube),
        *node_options.changed(cube, offline=offline),
        *_variables(cube, _environment(pod, claim, account), account, node_options.added(cube, offline=offline)),
    )
    warnings = (
        *node_options.warnings(cube, offline=offline),
        *_pod_warnings(pod, cube),
        *_app_warnings(pod, apps),
        *_account_warnings(cube),
    )
    return Injection(Reason.INJECTED, patch, warnings)


def _selected(pod: Pod, apps: Sequence[App]) -> list[App]:
    wanted = pod.wanted_apps
    return sorted((app for app in apps if not wanted or app.name in wanted), key=lambda app: app.name)


# --- what is added


def _annotate(pod: Pod, settings: Settings) -> list[Operation]:
    value = layout.mark(settings.image)
    if pod.annotations is None:
        return [add({names.INJECTED_ANNOTATION: value}, "metadata", "annotations")]
    return [add(value, "metadata", "annotations", names.INJECTED_ANNOTATION)]


def _init_container(pod: Pod, ours: Json) -> list[Operation]:
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
    """The service accounts' variables."""
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": app.secret, "key": key}}}
        for name, (app, key) in checks.account(apps, cube).items()
    ]


def _variables(cube: Container, *added: list[Json]) -> list[Operation]:
    """Ours come last, and the one that names the socket first of them: ``uninject`` finds them so."""
    return append([item for part in added for item in part], cube.env, "spec", "containers", cube.index, "env")


# --- warnings (the API server cuts them at 256 characters)


def _pod_warnings(pod: Pod, cube: Container) -> list[str]:
    warnings = []
    if pod.shares_processes:
        warnings.append(
            "containers of this pod see each other's processes (shareProcessNamespace or hostPID): one that runs as root or as the "
            "sidecar's user can read everybody's tokens there"
        )
    if any(f"{layout.NODE_OPTIONS}=" in word for word in cube.command):
        warnings.append(
            f"container {cube.name} sets NODE_OPTIONS in its command: keep what is there ($NODE_OPTIONS), or Cube starts without "
            "the hook and serves everybody as the service account"
        )
    return warnings


def _app_warnings(pod: Pod, apps: Sequence[App] | None) -> list[str]:
    if apps is None:
        return []
    if not apps:
        return ["there is no OAuthApp in this namespace yet, so no query runs as a person and no service account is set"]
    missing = sorted(set(pod.wanted_apps) - {app.name for app in apps})
    return [f"annotation {names.APPS_ANNOTATION}: no OAuthApp {', '.join(missing)} in this namespace"] if missing else []


def _account_warnings(cube: Container) -> list[str]:
    """Where the service account's eyes are everybody's."""
    if cube.value("CUBEJS_ROLLUP_ONLY") != "true":
        return []
    warning = (
        f"container {cube.name} answers from pre-aggregations only (CUBEJS_ROLLUP_ONLY): they are built as the service account, "
        "and every person sees what it sees"
    )
    return [warning]
