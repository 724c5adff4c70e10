"""``python -m cube_oauth.providers FOLDER`` writes the generated reference pages into the folder (``make reference``)."""

from __future__ import annotations

import sys
from pathlib import Path

from cube_oauth.providers.reference import files


def main(folder: str) -> None:
    """Write all files."""
    for name, text in files().items():
        Path(folder, name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])
