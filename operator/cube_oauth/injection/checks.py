"""What must hold before anything is injected: each check gives what it found, or refuses in a sentence."""

from __future__ import annotations

from enum import StrEnum
from posixpath import normpath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cube_oauth.injection import layout
from cube_oauth.injection.facts import CUBE, App, Container, Pod, Settings
from cube_oauth.resources import names

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "CUBE_OAUTH_"
ALLOWED_VARIABLES = frozenset({"CUBE_OAUTH_UNAUTHENTICATED"})
"""What a container may set itself of our prefix."""
ASKED, DECLINED = "true", "false"
UNPRIVILEGED_PORTS = range(1024, 65536)


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
    PORT_UNUSABLE = "PortUnusable"
    BROKER_UNRESOLVABLE = "BrokerUnresolvable"
    LABEL_UNCLEAR = "LabelUnclear"
    PLATFORM_UNSUPPORTED = "PlatformUnsupported"
    INJECTION_INCOMPLETE = "InjectionIncomplete"


class RefusedError(Exception):
    """Carries the reason and the sentence from a check to ``inject``."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


def check_label(pod: Pod) -> None:
    """A label that means neither yes nor no leaves Cube without its sidecar, and nobody would hear of it."""
    if pod.label not in (ASKED, DECLINED):
        raise RefusedError(
            Reason.LABEL_UNCLEAR, f'label {names.INJECT_LABEL} must be "{ASKED}" or "{DECLINED}", in quotes; it is {pod.label}'
        )


def check_platform(pod: Pod) -> None:
    """It can have a sidecar with a token."""
    if pod.windows:
        raise RefusedError(Reason.PLATFORM_UNSUPPORTED, f"the sidecar runs on Linux only; remove label {names.INJECT_LABEL}")
    if pod.static:
        raise RefusedError(
            Reason.PLATFORM_UNSUPPORTED,
            f"a static pod can have no token, and so no sidecar; make it a Deployment, or remove label {names.INJECT_LABEL}",
        )


def check_complete(pod: Pod) -> None:
    """A pod with the sidecar has the hook, too: another webhook or tool may have written NODE_OPTIONS after us."""
    hooked = [container for container in pod.containers if layout.SOCKET_VARIABLE in container.variables]
    loads = [container for container in hooked if layout.REQUIRE in (container.value(layout.NODE_OPTIONS) or "")]
    if hooked and loads == hooked:
        return
    which = f"container {hooked[0].name}" if hooked else "no container"
    problem = f"has not {layout.REQUIRE} in {layout.NODE_OPTIONS} any more" if hooked else "has the hook's variables"
    raise RefusedError(
        Reason.INJECTION_INCOMPLETE,
        f"the pod has the sidecar, but {which} {problem}: another tool has changed what was injected; "
        "have it add to NODE_OPTIONS instead of replacing it, or take the sidecar out and inject anew",
    )


def cube(pod: Pod) -> Container:
    """The annotation's container, else the only one, else the one named ``cube``, else the one whose image's name has ``cube``."""
    named = pod.annotation(names.CONTAINER_ANNOTATION)
    if named:
        found = [container for container in pod.containers if container.name == named]
    elif len(pod.containers) == 1:
        found = list(pod.containers)
    else:
        found = [container for container in pod.containers if container.name == CUBE]
        found = found or [container for container in pod.containers if CUBE in container.image_name]
    if len(found) == 1:
        return found[0]
    problem = (
        f"names no container of this pod: {named}" if named else "is needed, because it is not obvious which container is Cube"
    )
    candidates = ", ".join(container.name for container in found or pod.containers)
    raise RefusedError(Reason.CONTAINER_UNCLEAR, f"annotation {names.CONTAINER_ANNOTATION} {problem}; choose one of: {candidates}")


def claim(pod: Pod, settings: Settings) -> str:
    """The claim that names the person: the annotation's, if the administrator allows it."""
    chosen = pod.annotation(names.USERNAME_CLAIM_ANNOTATION) or settings.username_claim
    allowed = tuple(dict.fromkeys((settings.username_claim, *settings.username_claims)))
    if chosen not in allowed:
        raise RefusedError(
            Reason.CLAIM_NOT_ALLOWED,
            f"annotation {names.USERNAME_CLAIM_ANNOTATION} must be one of the claims that the administrator allows: "
            f"{', '.join(allowed)}; it is {chosen}",
        )
    return chosen


def port(pod: Pod) -> int:
    """Where the kubelet asks the sidecar. In the host's network it is the node's, which the scheduler then reserves."""
    chosen = pod.annotation(names.HEALTH_PORT_ANNOTATION) or str(layout.HEALTH_PORT)
    if not chosen.isdecimal() or int(chosen) not in UNPRIVILEGED_PORTS:
        problem = f"must be a port from {UNPRIVILEGED_PORTS[0]} to {UNPRIVILEGED_PORTS[-1]}; it is {chosen}"
    elif int(chosen) in pod.ports:
        problem = f"must choose another port for the sidecar: a container of this pod listens on {chosen}"
    else:
        return int(chosen)
    raise RefusedError(Reason.PORT_UNUSABLE, f"annotation {names.HEALTH_PORT_ANNOTATION} {problem}")


def check_names(pod: Pod, container: Container) -> None:
    """Nothing of a name that injection needs is there already."""
    taken = sorted({layout.SHARED_VOLUME, layout.TOKEN_VOLUME} & set(pod.volumes or ()))
    paths = [normpath(str(mount.get("mountPath", ""))) for mount in container.mounts or ()]
    mounted = sorted(path for path in paths if f"{path}/".startswith(f"{layout.SHARED}/"))
    variables = sorted(name for name in container.variables - ALLOWED_VARIABLES if name.startswith(PREFIX))
    containers = [item.name for item in pod.containers if item.name == layout.SIDECAR]
    for found, what in (
        (taken, "volume"),
        (mounted, "mount path"),
        (variables, "environment variable"),
        (containers, "container"),
    ):
        if found:
            raise RefusedError(
                Reason.NAME_TAKEN,
                f"the pod has a {what} of a name that injection needs: {', '.join(found)}; rename or remove it",
            )


def check_dns(pod: Pod, settings: Settings) -> None:
    """The sidecar can look up the broker's Service."""
    host = urlsplit(settings.broker_url).hostname or ""
    node_dns = pod.dns_policy == "Default" or (pod.host_network and pod.dns_policy == "ClusterFirst")
    if node_dns and ".svc" in host:
        wanted = "ClusterFirstWithHostNet" if pod.host_network else "ClusterFirst"
        raise RefusedError(
            Reason.BROKER_UNRESOLVABLE,
            f"the pod looks names up as its node does, and would not find the broker at {host}; set dnsPolicy: {wanted}",
        )


def check_data_sources(apps: Sequence[App]) -> None:
    """Each data source has one OAuthApp."""
    seen: dict[str, str] = {}
    for app in apps:
        other = seen.setdefault(app.data_source, app.name)
        if other != app.name:
            raise RefusedError(
                Reason.DATA_SOURCE_TWICE,
                f"OAuthApps {other} and {app.name} both have data source {app.data_source}: "
                f"choose one in the annotation {names.APPS_ANNOTATION}, or give one another spec.dataSource",
            )


def account(apps: Sequence[App], container: Container) -> dict[str, tuple[App, str]]:
    """Each variable of a service account with its app and the Secret's key; what the container sets itself stays."""
    found: dict[str, tuple[App, str]] = {}
    for app in apps:
        for name, key in app.env:
            other, _ = found.setdefault(name, (app, key))
            if other is not app:
                raise RefusedError(
                    Reason.VARIABLE_TWICE,
                    f"OAuthApps {other.name} and {app.name} both set {name} in spec.serviceAccount.env: "
                    f"choose one in the annotation {names.APPS_ANNOTATION}, or remove it from one",
                )
    return {name: source for name, source in found.items() if name not in container.variables}
