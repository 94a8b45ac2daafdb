"""The command line: one name per capability."""

from __future__ import annotations

import sys

from inferprint.errors import InferprintError


def main() -> None:
    """Run the command line; an error of ours is printed without a stack trace and exits with 2."""
    from inferprint.cli.commands import app

    try:
        app()
    except InferprintError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
