"""Fit the sizes of models to their prices: data/size_forms and data/size_fits, which the catalogue ships.

python tools/fit_sizes.py            write
python tools/fit_sizes.py --check    fail when it is not what data/ gives
"""

from __future__ import annotations

import sys
from pathlib import Path

from inferprint.calibration.sizes import FORMS, TARGETS, known_models, learn, size_texts
from inferprint.catalogue import Catalogue
from inferprint.catalogue.compose import compose

ROOT = Path(__file__).resolve().parent.parent
TARGETS_OF = (ROOT / "data" / "size_forms" / "forms.toml", ROOT / "data" / "size_fits" / "fits.toml")
DATE = "2026-11-22"


def texts() -> tuple[str, str]:
    """The data files that models and prices of data/ give."""
    known = known_models(Catalogue(compose(ROOT / "data"), DATE))
    return size_texts([learn(form, target, known)[0] for target in TARGETS for form in FORMS], DATE)


def main() -> int:
    """Write, or compare with --check."""
    stale = 0
    for path, wanted in zip(TARGETS_OF, texts(), strict=True):
        if "--check" not in sys.argv[1:]:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != wanted:
            print(f"{path.relative_to(ROOT)} is not what data/ gives: run 'make data'", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
