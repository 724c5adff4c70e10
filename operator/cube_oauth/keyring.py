"""``cube-oauth keyring access|refresh|grant|cookie`` prints a new key ring, for rings that are mounted from outside."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from cube_oauth.resources.keyring import Keyring, SealingKey


def main(argv: list[str]) -> int:
    """Print a JWK Set."""
    parser = argparse.ArgumentParser(prog="cube-oauth keyring", description="Prints a new key ring: docs/reference/keys.md.")
    parser.add_argument("ring", choices=("access", "refresh", "grant", "cookie"))
    kind = SealingKey if parser.parse_args(argv).ring == "grant" else Keyring
    sys.stdout.write(f"{kind.generate(datetime.now(UTC)).to_json()}\n")
    return 0
