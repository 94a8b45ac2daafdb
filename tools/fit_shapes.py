"""Fit the shape of models on their size, over the open models of data/models, and write data/shapes/shapes.toml.

python tools/fit_shapes.py            write
python tools/fit_shapes.py --check    exit with 1 where the file is not what the models give
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from inferprint.catalogue.compose import compose
from inferprint.catalogue.records import Model
from inferprint.catalogue.schema import KIND_OF, build
from inferprint.quantities import Z95

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "data" / "shapes" / "shapes.toml"


@cache
def format_bytes() -> dict[str, float]:
    """Bytes per parameter by name of a number format."""
    records = compose(ROOT / "data")["precisions"]
    return {name: raw["bytes_per_param"] for key, raw in records.items() for name in (key, *raw.get("names", ()))}


FACTS: dict[str, Callable[[Model], float | None]] = {
    "layers": lambda m: m.layers,
    "hidden_size": lambda m: m.hidden_size,
    "kv_elements_per_token": lambda m: m.kv_elements_per_token,
    "bytes_per_param": lambda m: format_bytes().get(m.native_precision or ""),
    "expert_share": lambda m: m.experts_per_token / m.experts if m.experts and m.experts_per_token else None,
}


def _rows(models: list[Model], fact: Callable[[Model], float | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Design matrix (1, ln total, ln active), logs of the fact and families, over models that state it."""
    known = [(m.total_params_b, m.active_params_b, fact(m), m.base_family or m.family or m.id) for m in models]
    stated = [item for item in known if item[0] and item[1] and item[2]]
    logs = np.log(np.array([item[:3] for item in stated], dtype=float))
    return np.column_stack([np.ones(len(logs)), logs[:, :2]]), logs[:, 2], np.array([item[3] for item in stated])


def _unseen_errors(design: np.ndarray, target: np.ndarray, families: np.ndarray) -> np.ndarray:
    """Errors in logs of each model by a regression that has not seen its family."""
    errors = np.zeros(len(target))
    for name in np.unique(families):
        out = families == name
        errors[out] = target[out] - design[out] @ np.linalg.lstsq(design[~out], target[~out], rcond=None)[0]
    return errors


def _fit(name: str, models: list[Model]) -> str:
    """One regression as a TOML table."""
    design, target, families = _rows(models, FACTS[name])
    if name == "expert_share":
        sparse = design[:, 1] > design[:, 2]
        design, target, families = design[sparse], target[sparse], families[sparse]
    coefficients = np.linalg.lstsq(design, target, rcond=None)[0]
    errors = np.abs(_unseen_errors(design, target, families))
    # Half the width of the interval that holds 95 % of the models of families left out.
    sigma = float(np.quantile(errors, 0.95)) / Z95
    factor, within = float(np.exp(np.median(errors))), 100.0 * float(np.mean(errors < np.log(2.0)))
    note = f"families left out: median factor {factor:.2f}, within 2x {within:.0f} %"
    constant, total, active = (float(f"{value:.6g}") for value in coefficients)
    return (
        f'[[shape]]\nid = "{name}"\ntarget = "{name}"\nintercept = {constant!r}\ntotal_slope = {total!r}\n'
        f"active_slope = {active!r}\nresidual_sigma = {sigma:.6g}\nmodels = {len(target)}\n"
        f'source = "shape-regression"\ndate = "2026-11-22"\nquality = "low"\nnote = "{note}"\n'
    )


def text() -> str:
    """The data file that the models of data/ give."""
    raw = compose(ROOT / "data")["models"]
    models = [build(KIND_OF["models"], record) for record in raw.values()]
    open_text = [m for m in models if m.text_generation and m.total_params_b]
    head = "# Written by tools/fit_shapes.py from data/models: shape on size, in natural logs, sizes in billions.\n\n"
    return head + "\n".join(_fit(name, open_text) for name in FACTS)


def main() -> int:
    """Write, or compare with --check."""
    wanted = text()
    if "--check" in sys.argv[1:]:
        if TARGET.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"{TARGET.relative_to(ROOT)} is not what data/models gives: run 'make data'")
        return 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
