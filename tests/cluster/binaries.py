"""The binaries of a cluster: built once from Go modules into the cache, or taken from where they already are.

A *component* is one set of Go modules (a folder below ``sources``) and the programs built from it. Its folder in the
cache is named by a hash of its sources, version and build flags, so that a change builds again only what it touches.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import debian, paths
from tests.cluster.commands import ClusterError, run
from tests.cluster.progress import say

KUBERNETES = "v1.36.3"
OLDEST_MINOR = 30
"""The oldest Kubernetes minor version accepted from elsewhere: the operator's admission policies need 1.30."""

_LINK = "-s -w"
_KUBERNETES_LINK = " ".join(
    (
        _LINK,
        f"-X k8s.io/component-base/version.gitVersion={KUBERNETES}",
        "-X k8s.io/component-base/version.gitMajor=1",
        "-X k8s.io/component-base/version.gitMinor=36",
    )
)


@dataclass(frozen=True)
class Program:
    """One binary: its Go package, and the seconds a cold build takes on two cores."""

    name: str
    package: str
    seconds: int
    cgo: bool = False


@dataclass(frozen=True)
class Component:
    """Programs built from one set of Go modules."""

    name: str
    version: str
    programs: tuple[Program, ...]
    link: str = _LINK
    flags: tuple[str, ...] = ("-trimpath",)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> Path:
        return paths.SOURCES / self.name

    def key(self) -> str:
        """Names this component's binaries: a hash of everything we hand to the compiler."""
        digest = hashlib.sha256()
        digest.update(repr((self.version, self.programs, self.link, self.flags)).encode())
        for file in sorted(self.sources.glob("*")):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
        return digest.hexdigest()[:12]

    def folder(self) -> Path:
        return store() / f"{self.name}-{self.key()}"

    def missing(self, names: Iterable[str]) -> list[Program]:
        return [p for p in self.programs if p.name in set(names) and not (self.folder() / p.name).exists()]


def _kubernetes(name: str, seconds: int, *, cgo: bool = False) -> Program:
    return Program(name, f"k8s.io/kubernetes/cmd/{name}", seconds, cgo)


ETCD = Component("etcd", "3.6.8", (Program("etcd", ".", 40),))
KUBE = Component(
    "kubernetes",
    KUBERNETES,
    (
        _kubernetes("kube-apiserver", 250),
        _kubernetes("kube-controller-manager", 60),
        _kubernetes("kubectl", 60),
        _kubernetes("kubelet", 240, cgo=True),
        _kubernetes("kube-scheduler", 25),
        _kubernetes("kube-proxy", 25),
    ),
    link=_KUBERNETES_LINK,
    flags=(),
)
RUNC = Component(
    "runc",
    "1.4.3",
    (Program("runc", "github.com/opencontainers/runc", 35, cgo=True),),
    link=f"{_LINK} -X main.version=1.4.3",
    flags=("-trimpath", "-tags", "seccomp"),
)
CNI = Component(
    "cni",
    "1.9.1",
    tuple(
        Program(Path(part).name, f"github.com/containernetworking/plugins/plugins/{part}", seconds)
        for part, seconds in (("main/ptp", 15), ("main/loopback", 3), ("ipam/host-local", 3), ("meta/portmap", 4))
    ),
)
CONTAINERD = Component(
    "containerd",
    "2.2.9",
    tuple(
        Program(name, f"github.com/containerd/containerd/v2/cmd/{name}", seconds)
        for name, seconds in (("containerd", 90), ("containerd-shim-runc-v2", 15), ("ctr", 20))
    ),
    link=f"{_LINK} -X github.com/containerd/containerd/v2/version.Version=v2.2.9",
    flags=("-trimpath", "-tags", "no_btrfs no_devmapper no_zfs"),
)
COREDNS = Component("coredns", "1.15.0", (Program("coredns", ".", 70),))
HELM = Component("helm", "v4.3.1", (Program("helm", "helm.sh/helm/v4/cmd/helm", 210),))
OAUTH2_PROXY = Component(
    "oauth2-proxy",
    "v7.15.6",
    (Program("oauth2-proxy", "github.com/oauth2-proxy/oauth2-proxy/v7", 60),),
    link=f"{_LINK} -X github.com/oauth2-proxy/oauth2-proxy/v7/pkg/version.VERSION=v7.15.6",
)
COMPONENTS = (ETCD, KUBE, RUNC, CNI, CONTAINERD, COREDNS, HELM, OAUTH2_PROXY)

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
NODE = (
    *CONTROL_PLANE,
    *("kubelet", "kube-scheduler", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr", "runc"),
    *("ptp", "loopback", "host-local", "portmap", "coredns"),
)
SETS: Mapping[str, tuple[str, ...]] = {
    "control-plane": CONTROL_PLANE,
    "node": NODE,
    "helm": ("helm",),
    "oauth2-proxy": ("oauth2-proxy",),
    "all": (*NODE, "helm"),
}


def store() -> Path:
    return paths.cache() / "bin"


def ensure(names: Sequence[str], *, elsewhere: bool = True) -> dict[str, Path]:
    """Returns where each of these programs is, building what is missing.

    Args:
        names: programs, as listed in ``SETS``.
        elsewhere: whether binaries from ``KUBEBUILDER_ASSETS`` or the PATH will do. A node always runs its own: its
            settings fit exactly the versions built here.

    Raises:
        ClusterError: a build failed, or something it needs is missing.
    """
    found = _elsewhere(names) if elsewhere else {}
    rest = [name for name in names if name not in found]
    if any(component.missing(rest) for component in COMPONENTS):
        _build(rest)
    return found | {name: _component_of(name).folder() / name for name in rest}


def _component_of(name: str) -> Component:
    for component in COMPONENTS:
        if any(program.name == name for program in component.programs):
            return component
    raise ValueError(f"no component has a program {name!r}")


# ---- binaries from elsewhere


def _elsewhere(names: Sequence[str]) -> dict[str, Path]:
    """Programs which need not be built: first those of ``KUBEBUILDER_ASSETS``, then those on the PATH."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and "kube-apiserver" in names:
        return _from_assets(Path(assets), names)
    found: dict[str, Path] = {}
    for group, acceptable in ((CONTROL_PLANE, _recent_kubernetes), (("helm",), _recent_helm)):
        if set(group) <= set(names):
            found |= _from_path(group, acceptable)
    return found


def _from_assets(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """What envtest's folder holds: no controller manager, which is then built here."""
    needed = ("etcd", "kube-apiserver", "kubectl")
    absent = [name for name in needed if not (folder / name).is_file()]
    if absent:
        raise ClusterError(f"KUBEBUILDER_ASSETS={folder} holds no {', '.join(absent)}: correct it, or unset it")
    if not _recent_kubernetes(folder / "kube-apiserver"):
        raise ClusterError(f"KUBEBUILDER_ASSETS={folder} holds a kube-apiserver older than 1.{OLDEST_MINOR}")
    return {name: folder / name for name in names if (folder / name).is_file()}


def _from_path(group: Sequence[str], acceptable) -> dict[str, Path]:
    """All programs of a group, or none: halves of two installations do not fit each other."""
    found = {name: Path(where) for name in group if (where := shutil.which(name))}
    if len(found) < len(group) or not all(acceptable(path) for name, path in found.items() if name != "etcd"):
        return {}
    return found


def _recent_kubernetes(path: Path) -> bool:
    arguments = ["version", "--client"] if path.name == "kubectl" else ["--version"]
    version = re.search(r"v1\.(\d+)\.\d+(?!\S*-(?:alpha|beta|rc))", _output([str(path), *arguments]))
    return version is not None and int(version[1]) >= OLDEST_MINOR


def _recent_helm(path: Path) -> bool:
    return _output([str(path), "version", "--short"]).startswith("v4.")


def _output(command: Sequence[str]) -> str:
    try:
        return run(command, timeout=20)
    except ClusterError:
        return ""


# ---- building


def _build(names: Sequence[str]) -> None:
    with paths.locked("build"):
        todo = [(c, p) for c in COMPONENTS for p in c.missing(names)]  # another process may just have built them
        if not todo:
            return
        _check_tools(any(program.cgo for _, program in todo))
        left = sum(program.seconds for _, program in todo)
        say(f"building {len(todo)} programs with Go; about {_minutes(left)} cold on two cores, much less when Go's "
            "own cache is warm")  # fmt: skip
        for number, (component, program) in enumerate(todo, 1):
            _build_program(component, program, f"{number}/{len(todo)}", left)
            left -= program.seconds


def _check_tools(cgo: bool) -> None:
    if shutil.which("go") is None:
        raise ClusterError(
            "Go is not installed: install Go 1.26 (any Go since 1.21 fetches it by itself), or set KUBEBUILDER_ASSETS "
            "to a folder with etcd, kube-apiserver and kubectl"
        )
    if cgo:
        debian.install(debian.COMPILE)


def _build_program(component: Component, program: Program, number: str, left: int) -> None:
    began = time.monotonic()
    say(f"  {number} {program.name} {component.version} (cold: {program.seconds} s; all that is left: {_minutes(left)})")
    folder = component.folder()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{program.name}.partial"
    if component is HELM:
        _install(component, program, partial)
    else:
        _compile(component, program, partial)
    partial.rename(folder / program.name)
    say(f"  {number} {program.name}: {time.monotonic() - began:.0f} s")


_HINT = "If modules could not be downloaded, check GOPROXY and the network; a second try goes on where this one stopped."


def _compile(component: Component, program: Program, target: Path) -> None:
    command = ["nice", "-n", "5", "go", "build", *component.flags, "-ldflags", component.link, "-o", str(target)]
    run([*command, program.package], cwd=component.sources, env=_environment(program, "-mod=readonly"), hint=_HINT)


def _install(component: Component, program: Program, target: Path) -> None:
    """Builds a module which is its own main module: with the versions its authors chose, so it needs no go.mod here."""
    work = target.with_suffix(".install")
    environment = _environment(program) | {"GOBIN": str(work)}
    command = ["nice", "-n", "5", "go", "install", *component.flags, "-ldflags", component.link]
    try:
        run([*command, f"{program.package}@{component.version}"], cwd=paths.cache(), env=environment, hint=_HINT)
        (work / program.name).rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _environment(program: Program, *flags: str) -> dict[str, str]:
    go_flags = " ".join(("-buildvcs=false", *flags))
    return os.environ | {"CGO_ENABLED": str(int(program.cgo)), "GOFLAGS": go_flags, "GOWORK": "off"}


def _minutes(seconds: int) -> str:
    return f"{seconds} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def compile_c(source: Path, target: Path) -> None:
    """Compiles one C file into a static program."""
    debian.install(debian.COMPILE)
    partial = target.with_name(f".{target.name}.partial")
    command: list[str | Path] = ["gcc", "-Os", "-static", "-s", "-o", partial, source]
    subprocess_hint = "A static C library is needed: Debian's libc6-dev has it."
    run(command, hint=subprocess_hint)
    partial.rename(target)
