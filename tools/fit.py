"""Fit the coefficients that the package ships, and write down how good they are.

python tools/fit.py    data/forms/coefficients.toml, the packaged catalogue, data/validation.json; report in out/fit
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out" / "fit"
COEFFICIENTS = ROOT / "data" / "forms" / "coefficients.toml"
RESULTS = ROOT / "data" / "validation.json"


def _run(*arguments: str) -> str:
    """Standard output of a Python program in this tree."""
    return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def _rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without the digits in which machines may differ."""
    return [{name: round(v, 3) if isinstance(v, float) else v for name, v in row.items()} for row in rows]


def main() -> int:
    """Fit, build the catalogue with what was fitted, and validate with groups left out and on all measurements."""
    sys.stdout.write(_run("-m", "inferprint", "fit", "--out", str(OUT), *sys.argv[1:]))
    shutil.copyfile(OUT / "forms" / "coefficients.toml", COEFFICIENTS)
    _run("tools/build_catalogue.py")
    left_out = json.loads(_run("-m", "inferprint", "validate", "--json"))
    files = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "data" / "benchmarks").glob("*/*.csv"))]
    shipped = json.loads(_run("-m", "inferprint", "validate", "--json", "--observations", *files))
    sizes = json.loads(_run("-m", "inferprint", "validate", "--parameters", "--json"))
    points = json.loads(_run("-m", "inferprint", "validate", "--operating-points", "--json"))
    found = {"left_out": left_out, "shipped": shipped, "sizes": sizes, "operating_points": points}
    content = json.dumps({name: _rounded(rows) for name, rows in found.items()}, indent=1)
    RESULTS.write_text(content + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
