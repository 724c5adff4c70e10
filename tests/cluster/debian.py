"""The Debian packages a node needs, installed when missing and when we may."""

import os
import shutil
from collections.abc import Mapping, Sequence

from tests.cluster.commands import ClusterError, run, succeeds
from tests.cluster.progress import say

COMPILE: Mapping[str, str] = {"gcc": "gcc", "libc6-dev": "", "pkg-config": "pkg-config", "libseccomp-dev": ""}
RUN: Mapping[str, str] = {
    "iproute2": "ip",
    "nftables": "nft",
    "util-linux": "unshare",
    "mount": "mount",
}
IMAGES: Mapping[str, str] = {"mmdebstrap": "mmdebstrap"}
DOCKERFILE: Mapping[str, str] = {"buildah": "buildah", "util-linux": "unshare"}
"""Package -> the program it brings, by which other distributions are checked; "" for a library."""


def missing(packages: Mapping[str, str]) -> list[str]:
    """Packages which are not installed, on Debian and its kin by dpkg; elsewhere by the programs they would bring."""
    if shutil.which("dpkg-query"):
        return [package for package in packages if not _installed(package)]
    return [package for package, program in packages.items() if program and not shutil.which(program)]


def reason_against(packages: Mapping[str, str]) -> str | None:
    """Why these packages are neither there nor to be had; None when all is well."""
    absent = missing(packages)
    if not absent or (os.geteuid() == 0 and shutil.which("apt-get")):
        return None
    return f"missing packages ({', '.join(absent)}): install them, or run this as root on Debian or Ubuntu"


def install(packages: Mapping[str, str]) -> None:
    """Installs what is missing with apt-get.

    Raises:
        ClusterError: something is missing and this is not root, or not Debian, or apt-get failed.
    """
    absent = missing(packages)
    if not absent:
        return
    if reason := reason_against(packages):
        raise ClusterError(reason)
    say(f"installing Debian packages: {' '.join(absent)}")
    _apt_get("update")
    _apt_get("install", "-y", "--no-install-recommends", *absent)


def _installed(package: str) -> bool:
    return succeeds(["sh", "-c", f"dpkg-query -W -f='${{Status}}' {package} | grep -q '^install ok installed'"])


def _apt_get(*arguments: str) -> None:
    command: Sequence[str] = ("apt-get", "-q", *arguments)
    run(command, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, hint="Check apt's sources and the network.")
