"""The command line: one name per capability."""

from __future__ import annotations

import json
import signal
import sys

from inferprint.errors import InferprintError


def main() -> None:
    """Run the command line; an error of ours is printed without a stack trace and exits with 2."""
    from inferprint.cli.commands import app
    from inferprint.cli.options import flag_of

    # As an interrupt does, so that what was begun is cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except InferprintError as error:
        flag = flag_of(error.field)
        print(f"error: {error}" + (f"\n  Option: {flag}" if flag else ""), file=sys.stderr)
        if "--json" in sys.argv[1:]:
            print(json.dumps({"error": error.to_dict()}, ensure_ascii=False))
        sys.exit(2)
