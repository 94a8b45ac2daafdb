"""Build the packaged catalogue from the reviewed text in data/.

python tools/build_catalogue.py            write the artefact
python tools/build_catalogue.py --check    fail when the artefact is not what data/ gives
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from inferprint.catalogue.compose import compose
from inferprint.catalogue.load import artefact_text
from inferprint.catalogue.schema import Content
from inferprint.errors import CatalogueError

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
ARTEFACT = ROOT / "src" / "inferprint" / "catalogue" / "catalogue.json"


def latest_date(content: Content) -> str:
    """Latest full date of any value: the date of the data."""
    origins = (origin for records in content.values() for raw in records.values() for origin in _origins(raw))
    return max(date for _, date, *_ in origins if len(date) == len("2026-01-01"))


def _origins(raw: dict[str, dict[str, list[str]]]) -> list[list[str]]:
    return list(raw.get("provenance", {}).values())


def built() -> str:
    """Text of the artefact that data/ gives."""
    content = compose(DATA)
    return artefact_text(content, latest_date(content))


def drift(new: str, old: str) -> str:
    """What differs between two texts of the artefact, for a person; empty when nothing does."""
    if new == old:
        return ""
    mine, theirs = set(new.splitlines()), set(old.splitlines())
    lines = [f"  + {line[:100]}" for line in sorted(mine - theirs)] + [
        f"  - {line[:100]}" for line in sorted(theirs - mine)
    ]
    more = f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
    return "the artefact is not what data/ gives:\n" + "\n".join(lines[:10]) + more


def main(arguments: list[str] | None = None) -> int:
    """Write or check the artefact; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, fail on drift")
    options = parser.parse_args(arguments)
    try:
        text = built()
    except CatalogueError as error:
        print(error, file=sys.stderr)
        return 1
    if not options.check:
        ARTEFACT.write_text(text, encoding="utf-8")
        return 0
    difference = drift(text, ARTEFACT.read_text(encoding="utf-8") if ARTEFACT.exists() else "")
    if difference:
        print(f"{difference}\n  Run: python tools/build_catalogue.py", file=sys.stderr)
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
