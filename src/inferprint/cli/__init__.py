"""The command line: one name per capability."""

from __future__ import annotations

import sys

from inferprint.errors import InferprintError, InvalidInput


def main() -> None:
    """Run the command line; an error of ours is printed without a stack trace and exits with 2."""
    from inferprint.cli.commands import app
    from inferprint.cli.options import flag_of

    try:
        app()
    except InferprintError as error:
        flag = flag_of(error.field) if isinstance(error, InvalidInput) else ""
        print(f"error: {error}" + (f"\n  Option: {flag}" if flag else ""), file=sys.stderr)
        sys.exit(2)
