"""Image archives, made without a registry and (but for ``from_dockerfile`` where there is one) without a daemon.

Everything is cached by a hash of what goes in. An archive is what ``docker save`` writes: containerd imports it, and so
do docker and buildah.
"""

import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries, debian, paths, pip_settings
from tests.cluster.commands import ClusterError, run, succeeds
from tests.cluster.node_settings import PAUSE
from tests.cluster.progress import step

_FORMAT = "1"
"""Part of every cache key: to be raised when the same input shall give another image."""
_EPOCH = "1970-01-01T00:00:00Z"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BASE = "localhost/cube-oauth-base"
_BASE_PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates", "netbase")
_KEPT = 2
"""How many archives of one name stay in the cache."""

RELEVANT = ("operator", "pyproject.toml", "requirements.txt", "Dockerfile", "LICENSE", "README.md")
"""What the project's own image depends on."""


@dataclass(frozen=True)
class Image:
    """An image's name, and the archive which holds it."""

    ref: str
    archive: Path


def folder() -> Path:
    found = paths.cache() / "images"
    found.mkdir(exist_ok=True)
    return found


# ---- images of our own making


def pause_program() -> Path:
    """A static program which waits and reaps: the first process of pods, and of nodes."""
    source = paths.NATIVE / "pause.c"
    program = folder() / f"pause-{_hash(source.read_bytes())}"
    if not program.exists():
        with paths.locked("images"):
            binaries.compile_c(source, program)
    return program


def pause() -> Image:
    """The image of pods' sandboxes."""
    return layered(PAUSE, None, [(pause_program(), "/pause")], ["/pause"])


def base_image(*packages: str) -> Image:
    """A Debian system with Python, of Debian's packages and from this machine's apt sources, which it does not remember.

    Args:
        packages: more Debian packages.
    """
    wanted = sorted({*_BASE_PACKAGES, *packages})
    key = _hash(repr((_FORMAT, wanted, _release())).encode())
    tag = f"1-{key}" if packages else "1"
    image = Image(f"{_BASE}:{tag}", folder() / f"base-{key}.tar")
    if image.archive.exists():
        return image
    debian.install(debian.IMAGES)
    with paths.locked("images"), step(f"making the image {image.ref} of Debian packages (about a minute)"):
        if not image.archive.exists():
            with tempfile.TemporaryDirectory(dir=folder()) as work:
                layer = Path(work) / "layer.tar"
                _debian_root(layer, wanted)
                _write(image, [_Layer(layer)], _Config(["python3"]))
    return image


def layered(
    name: str,
    base: Image | None,
    layers: Sequence[tuple[Path, str]],
    cmd: Sequence[str],
    env: Mapping[str, str] | None = None,
    user: str = "",
    workdir: str = "/",
) -> Image:
    """An image of a base and one layer for each of some folders, tar archives or single files.

    Times are set to 0 and owners to root, entries of a folder are sorted, and everybody may read: the same content gives
    the same image. (Python's compiled files are then out of date; compile with ``--invalidation-mode unchecked-hash``.)

    Args:
        name: as in ``localhost/trino``; the tag is a hash of the image, unless the name has one.
        base: what lies below; None for nothing.
        layers: pairs of a folder, tar archive or file, and the absolute path it gets in the image.
        cmd: the command and its arguments.
        env: environment variables, in addition to the base's.
        user: ``uid`` or ``uid:gid``; root, or the base's, when empty.
        workdir: the folder the command starts in.
    """
    facts = [[_glance(path), target] for path, target in layers]
    below = base.archive.name if base else None
    key = _hash(repr((_FORMAT, name, below, facts, list(cmd), sorted((env or {}).items()), user, workdir)).encode())
    slug = _slug(name)
    known = folder() / f"{slug}-{key}.json"
    if image := _remembered(known):
        return image
    with paths.locked("images"), tempfile.TemporaryDirectory(dir=folder()) as work:
        parts = list(_layers_of(base, Path(work)))
        parts += [_pack(path, target, Path(work) / f"new-{n}.tar") for n, (path, target) in enumerate(layers)]
        config = _Config(list(cmd), dict(env or {}), user, workdir, _config_of(base))
        tag = "" if _tagged(name) else f":{_hash(_config_bytes(parts, config))}"
        image = Image(name + tag, folder() / f"{slug}-{key}.tar")
        _write(image, parts, config)
        known.write_text(json.dumps({"ref": image.ref}))
    _prune(slug)
    return image


def from_dockerfile(
    context: Path,
    base: Image,
    tag: str,
    build_args: Mapping[str, str] | None = None,
    relevant: Sequence[str] = RELEVANT,
) -> Image:
    """Builds a Dockerfile which says ``ARG BASE`` and ``FROM ${BASE}``: with docker where it answers, else with buildah.

    Steps of the Dockerfile use this machine's network, pip settings and trusted certificates; none gets into the image.

    Args:
        context: the folder of the Dockerfile.
        base: what ``BASE`` stands for.
        tag: the image's name; its tag is a hash of the context, unless it has one.
        build_args: more arguments of the build.
        relevant: files and folders of the context the image depends on; with another content it is built again.
    """
    arguments = {"BASE": base.ref, **(build_args or {})}
    key = _hash(repr((_FORMAT, tag, base.archive.name, sorted(arguments.items()), _contents(context, relevant))).encode())
    slug = _slug(tag)
    image = Image(tag if _tagged(tag) else f"{tag}:{key}", folder() / f"{slug}-{key}.tar")
    if image.archive.exists():
        return image
    with paths.locked("images"), step(f"building {image.ref} from {context / 'Dockerfile'}"):
        if not image.archive.exists():
            partial = image.archive.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            build = _with_docker if succeeds(["docker", "info"]) else _with_buildah
            build(context, base, image.ref, arguments, partial)
            partial.rename(image.archive)
    _prune(slug)
    return image


# ---- Debian


def _release() -> str:
    found = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError("/etc/os-release names no release: base images are made on Debian and its kin only")
    return found[1]


def _debian_root(target: Path, packages: Sequence[str]) -> None:
    sources = [Path("/etc/apt/sources.list.d") / f"{name}.sources" for name in ("debian", "ubuntu")]
    source = next((str(path) for path in [*sources, Path("/etc/apt/sources.list")] if path.exists()), "")
    forget = 'rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/etc/resolv.conf "$1"/etc/hostname'
    unneeded = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")]
    manuals = 'mkdir -p "$1"/usr/share/man/man1'  # a JRE's installation links its manual pages there
    command = ["nice", "-n", "5", "mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", *unneeded]
    run(
        [*command, f"--essential-hook={manuals}", f"--customize-hook={forget}", _release(), target, *([source] if source else [])],
        hint="mmdebstrap uses this machine's apt sources: check that `apt-get update` works.",
    )


# ---- archives


@dataclass(frozen=True)
class _Layer:
    """An uncompressed tar archive."""

    path: Path

    @property
    def digest(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Config:
    cmd: list[str]
    env: Mapping[str, str] | None = None
    user: str = ""
    workdir: str = "/"
    below: Mapping[str, object] | None = None

    def document(self, digests: Sequence[str]) -> dict[str, object]:
        inherited = dict(self.below or {})
        known = dict(entry.split("=", 1) for entry in inherited.get("Env") or [_PATH])
        environment = [f"{key}={value}" for key, value in {**known, **(self.env or {})}.items()]
        more = {"Cmd": self.cmd, "Env": environment, "WorkingDir": self.workdir}
        if self.user:
            more["User"] = self.user
        return {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": _EPOCH,
            "config": {**inherited, "Entrypoint": None, **more},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
            "history": [{"created": _EPOCH, "created_by": "cube-oauth tests"} for _ in digests],
        }


def _config_bytes(layers: Sequence[_Layer], config: _Config) -> bytes:
    return json.dumps(config.document([layer.digest for layer in layers]), sort_keys=True).encode()


def _write(image: Image, layers: Sequence[_Layer], config: _Config) -> None:
    """Writes an archive as ``docker save`` does; complete or not at all."""
    content = _config_bytes(layers, config)
    names = [f"{number}-{layer.digest[:16]}.tar" for number, layer in enumerate(layers)]
    config_name = f"{hashlib.sha256(content).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [image.ref], "Layers": names}]).encode()
    partial = image.archive.with_suffix(".partial")
    with tarfile.open(partial, "w") as archive:
        _add(archive, config_name, content)
        for name, layer in zip(names, layers, strict=True):
            info = _entry(name, layer.path.stat().st_size)
            with layer.path.open("rb") as file:
                archive.addfile(info, file)
        _add(archive, "manifest.json", manifest)
    partial.rename(image.archive)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_entry(name, len(content)), io.BytesIO(content))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


def _layers_of(base: Image | None, work: Path) -> Iterator[_Layer]:
    if base is None:
        return
    with tarfile.open(base.archive) as archive:
        for number, name in enumerate(_manifest(archive)["Layers"]):
            target = work / f"base-{number}.tar"
            with _member(archive, name) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            yield _Layer(target)


def _config_of(base: Image | None) -> Mapping[str, object] | None:
    if base is None:
        return None
    with tarfile.open(base.archive) as archive:
        return json.load(_member(archive, _manifest(archive)["Config"]))["config"]


def _manifest(archive: tarfile.TarFile) -> dict:
    return json.load(_member(archive, "manifest.json"))[0]


def _member(archive: tarfile.TarFile, name: str):
    found = archive.extractfile(name)
    if found is None:
        raise ClusterError(f"{archive.name} is no image archive: {name} is no file")
    return found


# ---- layers


def _pack(source: Path, target: str, layer: Path) -> _Layer:
    """Writes a layer which puts a folder's or an archive's content, or a file, at a path."""
    prefix = target.strip("/")
    with tarfile.open(layer, "w", format=tarfile.PAX_FORMAT) as archive:
        if source.is_dir():
            _pack_folder(archive, source, prefix)
        elif tarfile.is_tarfile(source):
            _repack(archive, source, prefix)
        else:
            _pack_file(archive, source, prefix)
    return _Layer(layer)


def _pack_folder(archive: tarfile.TarFile, source: Path, prefix: str) -> None:
    if prefix:
        _pack_file(archive, source, prefix)
    for path in sorted(source.rglob("*")):
        _pack_file(archive, path, "/".join(filter(None, (prefix, path.relative_to(source).as_posix()))))


def _pack_file(archive: tarfile.TarFile, path: Path, name: str) -> None:
    info = _plain(archive.gettarinfo(path, name))
    if info.isreg():
        with path.open("rb") as file:
            archive.addfile(info, file)
    else:
        archive.addfile(info)


def _repack(archive: tarfile.TarFile, source: Path, prefix: str) -> None:
    with tarfile.open(source) as content:
        for info in content:
            name = "/".join(filter(None, (prefix, info.name.removeprefix("./").strip("/"))))
            if name in {"", "."}:
                continue
            data = content.extractfile(info) if info.isreg() else None
            info.name = name
            if info.islnk():
                info.linkname = "/".join(filter(None, (prefix, info.linkname.removeprefix("./"))))
            archive.addfile(_plain(info), data)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Forgets owner, time and the writer's umask."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.pax_headers = {}
    info.mode = 0o755 if info.isdir() or info.issym() or info.mode & 0o100 else 0o644
    return info


# ---- cache keys


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.removeprefix("localhost/").lower())


def _tagged(name: str) -> bool:
    return ":" in name.rpartition("/")[2]


def _glance(path: Path) -> str:
    """Tells one state of a file or folder from another by sizes and times: reading gigabytes again would take minutes."""
    if not path.exists():
        raise ClusterError(f"{path} is not there, so no image can be made of it")
    entries = sorted(path.rglob("*")) if path.is_dir() else []
    digest = hashlib.sha256()
    for entry in [path, *entries]:
        facts = entry.lstat()
        link = str(entry.readlink()) if entry.is_symlink() else ""
        size = facts.st_size if entry.is_file() else 0
        digest.update(repr((str(entry), facts.st_mode, size, facts.st_mtime_ns, link)).encode())
    return digest.hexdigest()


def _contents(context: Path, relevant: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, _hash((context / name).read_bytes())) for name in sorted(set(_files(context, relevant)))]


def _files(context: Path, relevant: Sequence[str]) -> Iterable[str]:
    """Files git tracks or would track; in a folder without git, all."""
    listing = ["git", "-C", str(context), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *relevant]
    done = subprocess.run(listing, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        names = [name for name in done.stdout.split("\0") if name]
    else:
        found = [path for part in relevant for path in [context / part, *(context / part).rglob("*")]]
        names = [path.relative_to(context).as_posix() for path in found]
    return [name for name in names if (context / name).is_file()]


def _remembered(known: Path) -> Image | None:
    archive = known.with_suffix(".tar")
    if not (known.exists() and archive.exists()):
        return None
    return Image(json.loads(known.read_text())["ref"], archive)


def _prune(slug: str) -> None:
    """Removes all but the newest archives of a name: each may be hundreds of megabytes."""
    archives = [path for path in folder().glob(f"{slug}-*.tar") if re.fullmatch(r"[0-9a-f]{12}", path.stem[len(slug) + 1 :])]
    for archive in sorted(archives, key=lambda path: path.stat().st_mtime)[:-_KEPT]:
        archive.unlink(missing_ok=True)
        archive.with_suffix(".json").unlink(missing_ok=True)


# ---- Dockerfiles


def _with_docker(context: Path, base: Image, ref: str, arguments: Mapping[str, str], target: Path) -> None:
    run(["docker", "load", "--input", base.archive])
    run(["docker", "build", "--network", "host", *_build_args(arguments), "--tag", ref, context])
    run(["docker", "save", "--output", target, ref])


def _with_buildah(context: Path, base: Image, ref: str, arguments: Mapping[str, str], target: Path) -> None:
    debian.install(debian.DOCKERFILE)
    if os.geteuid() != 0:
        raise ClusterError("building a Dockerfile needs a docker daemon, or root for buildah")
    storage = paths.cache() / "buildah"
    # a mount namespace of its own, since buildah leaves its storage folder mounted
    buildah = ["unshare", "--mount", "--propagation", "private", "nice", "-n", "5", "buildah"]
    buildah += ["--root", f"{storage}/root", "--runroot", f"{storage}/run", "--storage-driver", "overlay"]
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        volumes = [f"--volume={source}:{path}:ro" for source, path in pip_settings.mounts(Path(work))]
        run([*buildah, "pull", "--quiet", f"docker-archive:{base.archive}"])
        build = ["build", "--isolation", "chroot", "--pull-never", "--format", "docker", "--layers"]
        _patiently([*buildah, *build, *volumes, *_build_args(arguments), "--tag", ref, context])
        run([*buildah, "push", "--quiet", ref, f"docker-archive:{target}:{ref}"])
    _forget_old(buildah, ref.rpartition(":")[0])


def _forget_old(buildah: Sequence[str], name: str) -> None:
    """Removes all but the newest images of a name from buildah's storage; what those share stays."""
    known = [line.split() for line in run([*buildah, "images", "--format", "{{.Name}} {{.Tag}}"]).splitlines()]
    tags = [tag for repository, tag in known if repository == name]  # the newest comes first
    if old := [f"{name}:{tag}" for tag in tags[_KEPT:]]:
        run([*buildah, "rmi", *old])


def _patiently(build: Sequence[str | Path], tries: int = 5) -> None:
    """Runs a build again when buildah lost a race with the kernel in copying its own program; layers made by then are kept."""
    for left in reversed(range(tries)):
        try:
            run(build)
        except ClusterError as error:
            if not left or "sealing memfd" not in str(error):
                raise
        else:
            return


def _build_args(arguments: Mapping[str, str]) -> list[str]:
    return [f"--build-arg={name}={value}" for name, value in arguments.items()]
