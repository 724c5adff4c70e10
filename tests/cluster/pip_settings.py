"""How this machine's pip reaches its index, for the steps of an image's build: mounted there, so never in the image."""

import ast
import configparser
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.commands import ClusterError, run

_CERTIFICATES = Path("/etc/ssl/certs")
_WANTED = frozenset(("index-url", "extra-index-url", "find-links", "no-index", "cert", "client-cert", "trusted-host", "proxy")) | {
    "timeout",
    "default-timeout",
    "retries",
}
_VARIABLES = ":env:"
_FILES = frozenset(("cert", "client-cert", "find-links"))


def mounts(work: Path) -> Iterator[tuple[Path, Path]]:
    """What to mount read-only, and where: pip's settings, the files they name, and what this machine trusts.

    Args:
        work: a folder for the settings' file, to be removed after the build.
    """
    settings = _settings()
    config = configparser.ConfigParser(interpolation=None)
    config["global"] = settings
    with (work / "pip.conf").open("w") as file:
        config.write(file)
    yield work / "pip.conf", Path("/etc/pip.conf")
    if _CERTIFICATES.is_dir():
        yield _CERTIFICATES, _CERTIFICATES
    for value in sorted({value for key in _FILES & settings.keys() for value in settings[key].split()}):
        path = Path(value)
        if path.is_absolute() and path.exists() and not path.is_relative_to(_CERTIFICATES):
            yield path, path


def _settings() -> dict[str, str]:
    """pip's own view of its configuration files and environment variables, of which the latter win."""
    try:
        listing = run([sys.executable, "-m", "pip", "config", "list"])
    except ClusterError:
        return {}  # no pip here, so there is nothing it was told
    found = {}
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(_VARIABLES)):
        where, _, value = line.partition("=")
        section, _, key = where.rpartition(".")
        if key in _WANTED and section in {"global", "install", _VARIABLES}:
            found[key] = str(ast.literal_eval(value))
    return found
