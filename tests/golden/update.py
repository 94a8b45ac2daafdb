"""Renew the golden results, after the Methodology section of CHANGELOG.md says why they changed.

python tests/golden/update.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.golden.cases import renew

if __name__ == "__main__":
    renew()
