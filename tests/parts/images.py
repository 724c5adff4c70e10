"""What a container image, and the pod that runs it, need to know about a part."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ImageContent:
    """Folders to lay over a Debian base (python3, libstdc++6, openjdk-17-jre-headless), and how to start the part.

    `env` holds only what is the same everywhere. `writable` names folders that want an emptyDir when the root file
    system is read-only.
    """

    folders: list[tuple[Path, str]]
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    writable: list[str] = field(default_factory=list)
    user: int = 65532
