"""The facts about a pod and the OAuthApps of its namespace, gathered before anything is decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from cube_oauth.injection import layout
from cube_oauth.resources import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cube_oauth.resources.oauthapp import OAuthApp

Json = dict[str, Any]

NODE_OPTIONS = "NODE_OPTIONS"
CUBE = "cube"


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
    def of(cls, app: OAuthApp, data_source: str) -> Self:
        """From the resource; ``data_source`` with the preset's default applied."""
        account = app.spec.service_account
        if account is None:
            return cls(app.metadata.name, data_source)
        return cls(app.metadata.name, data_source, account.secret_ref.name, tuple(sorted(account.env.items())))


@dataclass(frozen=True)
class Container:
    """One of the pod's ordinary containers."""

    index: int
    name: str
    image: str
    env: tuple[Mapping[str, Any], ...] | None
    """None when the field is absent: a JSON patch must then create it."""
    env_from: tuple[str, ...]
    """The names of ConfigMaps and Secrets, for messages."""
    mounts: tuple[Mapping[str, Any], ...] | None

    @classmethod
    def of(cls, index: int, manifest: Json) -> Self:
        """From the manifest of a container."""
        env, mounts = manifest.get("env"), manifest.get("volumeMounts")
        return cls(
            index=index,
            name=str(manifest.get("name", "")),
            image=str(manifest.get("image", "")),
            env=None if env is None else tuple(env),
            env_from=tuple(_source(source) for source in manifest.get("envFrom") or ()),
            mounts=None if mounts is None else tuple(mounts),
        )

    @property
    def variables(self) -> frozenset[str]:
        """The names of its environment variables (those of ``envFrom`` cannot be known)."""
        return frozenset(variable.get("name", "") for variable in self.env or ())


def _source(source: Json) -> str:
    reference = source.get("configMapRef") or source.get("secretRef") or {}
    return str(reference.get("name", "?"))


@dataclass(frozen=True)
class Pod:
    """What decides about one pod, or about the template of one."""

    requested: bool
    """The label asks for injection."""
    injected: bool
    """The sidecar is there already."""
    annotations: Mapping[str, str] | None
    containers: tuple[Container, ...]
    has_init_containers: bool
    volumes: tuple[str, ...] | None
    runs_as_root: bool
    """The pod's security context makes every container that says nothing else run as root, ours too."""

    @classmethod
    def of(cls, manifest: Json) -> Self:
        """From a Pod, or from ``{"metadata", "spec"}`` of a pod template."""
        meta, spec = manifest.get("metadata") or {}, manifest.get("spec") or {}
        first = spec.get("initContainers")
        volumes = spec.get("volumes")
        return cls(
            requested=(meta.get("labels") or {}).get(names.INJECT_LABEL) == "true",
            injected=any(container.get("name") == layout.SIDECAR for container in first or ()),
            annotations=meta.get("annotations"),
            containers=tuple(Container.of(index, item) for index, item in enumerate(spec.get("containers") or ())),
            has_init_containers=first is not None,
            volumes=None if volumes is None else tuple(volume.get("name", "") for volume in volumes),
            runs_as_root=(spec.get("securityContext") or {}).get("runAsUser") == 0,
        )

    def annotation(self, name: str) -> str | None:
        """An annotation's value without spaces around it; None when absent or empty."""
        return (self.annotations or {}).get(name, "").strip() or None

    @property
    def wanted_apps(self) -> tuple[str, ...]:
        """The OAuthApps that the annotation narrows the pod to; empty: all of the namespace."""
        words = (self.annotation(names.APPS_ANNOTATION) or "").split(",")
        return tuple(word.strip() for word in words if word.strip())
