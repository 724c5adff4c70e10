"""The facts about a pod and the OAuthApps of its namespace, gathered before anything is decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from cube_oauth.injection import layout
from cube_oauth.resources import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cube_oauth.resources.oauthapp import OAuthApp

Json = dict[str, Any]

CUBE = "cube"
OS_LABEL = "kubernetes.io/os"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"


@dataclass(frozen=True)
class Settings:
    """What the administrator decided about all sidecars."""

    image: str
    broker_url: str
    ca: str
    """PEM bundle that the broker's certificate is checked against."""
    username_claim: str = "sub"
    """Applies to pods without the annotation."""
    username_claims: tuple[str, ...] = ()
    """What else the annotation may choose."""
    image_pull_policy: str | None = None
    run_as_user: int | None = None
    """None: the image's own (numeric, not root), or whatever the pod's security context says."""
    requests: tuple[tuple[str, str], ...] = (("cpu", "10m"), ("memory", "40Mi"))
    limits: tuple[tuple[str, str], ...] = (("cpu", "500m"), ("memory", "96Mi"))
    outage_seconds: int = 300
    log_level: str = "INFO"


@dataclass(frozen=True)
class App:
    """What injection needs to know of an OAuthApp."""

    name: str
    data_source: str
    secret: str | None = None
    """The service account's Secret, beside Cube."""
    env: tuple[tuple[str, str], ...] = ()
    """Environment variable and the Secret's key."""

    @classmethod
    def of(cls, app: OAuthApp, data_source: str, env: Mapping[str, str]) -> Self:
        """From the resource; ``data_source`` and the service account's ``env`` with the preset's defaults applied.

        A Secret beside Cube is read where it is; what is copied or fetched lies in a Secret of ours, each variable under its name.
        """
        account, name = app.spec.service_account, app.metadata.name
        if account is None:
            return cls(name, data_source)
        ref = account.secret_ref
        if ref and ref.namespace in (None, app.metadata.namespace):
            return cls(name, data_source, ref.name, tuple(sorted(env.items())))
        return cls(name, data_source, names.target_secret_name(name), tuple((variable, variable) for variable in sorted(env)))


@dataclass(frozen=True)
class EnvSource:
    """A ConfigMap or Secret whose keys all become environment variables (an entry of ``envFrom``)."""

    name: str
    reference: str
    """The field that refers to one of its keys: ``configMapKeyRef`` or ``secretKeyRef``."""
    prefix: str

    @classmethod
    def of(cls, manifest: Json) -> Self:
        """From an entry of ``envFrom``."""
        reference = "secretKeyRef" if "secretRef" in manifest else "configMapKeyRef"
        found = manifest.get("secretRef") or manifest.get("configMapRef") or {}
        return cls(str(found.get("name", "?")), reference, str(manifest.get("prefix") or ""))

    def key(self, variable: str) -> str | None:
        """The key that would become this variable; None when none can."""
        return variable.removeprefix(self.prefix) if variable.startswith(self.prefix) and variable != self.prefix else None


@dataclass(frozen=True)
class Container:
    """One of the pod's ordinary containers."""

    index: int
    name: str
    image: str
    env: tuple[Mapping[str, Any], ...] | None
    """None when the field is absent: a JSON patch must then create it."""
    env_from: tuple[EnvSource, ...]
    mounts: tuple[Mapping[str, Any], ...] | None
    command: tuple[str, ...] = ()
    """What it runs, with the arguments, as far as the pod says it."""

    @classmethod
    def of(cls, index: int, manifest: Json) -> Self:
        """From the manifest of a container."""
        env, mounts = manifest.get("env"), manifest.get("volumeMounts")
        return cls(
            index=index,
            name=str(manifest.get("name", "")),
            image=str(manifest.get("image", "")),
            env=None if env is None else tuple(env),
            env_from=tuple(EnvSource.of(source) for source in manifest.get("envFrom") or ()),
            mounts=None if mounts is None else tuple(mounts),
            command=tuple(str(word) for word in [*(manifest.get("command") or ()), *(manifest.get("args") or ())]),
        )

    @property
    def image_name(self) -> str:
        """The last part of the image's repository, without registry, tag and digest."""
        return self.image.rpartition("/")[2].partition("@")[0].partition(":")[0]

    @property
    def variables(self) -> frozenset[str]:
        """The names of its environment variables (those of ``envFrom`` cannot be known)."""
        return frozenset(variable.get("name", "") for variable in self.env or ())

    def value(self, variable: str) -> str | None:
        """The value of a variable that is written in the pod; the last counts, as for the kubelet."""
        found = [item.get("value") for item in self.env or () if item.get("name") == variable]
        return found[-1] if found else None


@dataclass(frozen=True)
class Pod:
    """What decides about one pod, or about the template of one."""

    label: str | None
    """What the label says; None when it is absent."""
    injected: bool
    """The sidecar is there already."""
    annotations: Mapping[str, str] | None
    containers: tuple[Container, ...]
    has_init_containers: bool
    volumes: tuple[str, ...] | None
    ports: frozenset[int]
    """Those that containers of the pod say they listen on (init containers can be sidecars, too)."""
    host_network: bool
    dns_policy: str
    windows: bool
    static: bool
    """The mirror of a static pod: the kubelet runs it already, and it can have no token."""
    limited_as_a_whole: bool
    """The pod has resources of its own (``spec.resources``), within which its containers have to fit."""
    shares_processes: bool
    """Containers see each other's processes."""
    runs_as_root: bool
    """The pod's security context makes every container that says nothing else run as root, ours too."""

    @classmethod
    def of(cls, manifest: Json) -> Self:
        """From a Pod, or from ``{"metadata", "spec"}`` of a pod template."""
        meta, spec = manifest.get("metadata") or {}, manifest.get("spec") or {}
        first = spec.get("initContainers")
        volumes = spec.get("volumes")
        return cls(
            label=_label(meta.get("labels") or {}),
            injected=any(container.get("name") == layout.SIDECAR for container in first or ()),
            annotations=meta.get("annotations"),
            containers=tuple(Container.of(index, item) for index, item in enumerate(spec.get("containers") or ())),
            has_init_containers=first is not None,
            volumes=None if volumes is None else tuple(volume.get("name", "") for volume in volumes),
            ports=frozenset(_ports([*(spec.get("containers") or ()), *(first or ())])),
            host_network=bool(spec.get("hostNetwork")),
            dns_policy=str(spec.get("dnsPolicy") or "ClusterFirst"),
            windows="windows" in ((spec.get("os") or {}).get("name"), (spec.get("nodeSelector") or {}).get(OS_LABEL)),
            static=MIRROR_ANNOTATION in (meta.get("annotations") or {}),
            limited_as_a_whole=bool(spec.get("resources")),
            shares_processes=bool(spec.get("shareProcessNamespace") or spec.get("hostPID")),
            runs_as_root=(spec.get("securityContext") or {}).get("runAsUser") == 0,
        )

    def annotation(self, name: str) -> str | None:
        """An annotation's value without spaces around it; None when absent or empty."""
        return str((self.annotations or {}).get(name, "")).strip() or None  # in a manifest it may lack its quotes

    @property
    def wanted_apps(self) -> tuple[str, ...]:
        """The OAuthApps that the annotation narrows the pod to; empty: all of the namespace."""
        words = (self.annotation(names.APPS_ANNOTATION) or "").split(",")
        return tuple(word.strip() for word in words if word.strip())


def _label(labels: Mapping[str, Any]) -> str | None:
    """As text: in a manifest it may be a boolean, for lack of quotes."""
    return str(labels[names.INJECT_LABEL]) if names.INJECT_LABEL in labels else None


def _ports(containers: list[Json]) -> Iterator[int]:
    for container in containers:
        for port in container.get("ports") or ():
            if port.get("protocol", "TCP") == "TCP":
                yield int(port.get("containerPort", 0))
