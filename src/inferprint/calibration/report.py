"""The report of a fit: tables in Markdown and plots of what was predicted against what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inferprint.calibration.design import LABELS, Array, Design
from inferprint.calibration.fit import Learned
from inferprint.calibration.observations import Refusal
from inferprint.calibration.scores import MIN_MODELS, MIN_ROWS, inside, score
from inferprint.calibration.wall import Wall

GROUPED_BY = ("source", "batch", "size", "gpu", "precision", "engine", "architecture")
"""What errors are broken down by."""

PLOTTED_BY = ("batch", "size", "gpu", "precision", "source")


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value).replace("|", "/")


def write_report(folder: Path, learned: Sequence[Learned], wall: Wall, refused: Sequence[Refusal]) -> Path:
    """Write report.md and its plots into a folder; the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = ["# Fit of the forms", _overview(learned, wall)]
    for item in learned:
        parts += [f"## {item.task.spec.id}", _coefficients(item), _residual_text(item), _groups(item)]
        parts += [f"![{name}]({name})" for name in _plots(folder, item)]
    parts += ["## Refused rows", _refused_text(refused)]
    path = folder / "report.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _overview(learned: Sequence[Learned], wall: Wall) -> str:
    rows: list[Sequence[object]] = []
    for item in learned:
        for name, predicted in (("fitted", item.predicted), ("model left out", item.unseen)):
            found = score(item.design.target, predicted)
            rows.append(
                (item.task.spec.id, name, found.rows, found.mdape_pct, found.p90_ape_pct, found.bias_pct, found.r2_log)
            )
    found = wall.unseen
    rows.append(
        ("wall", "system left out", found.rows, found.mdape_pct, found.p90_ape_pct, found.bias_pct, found.r2_log)
    )
    head = ("form", "rows predicted by a fit with", "rows", "MdAPE %", "P90 %", "bias %", "R2 of logs")
    low, high = wall.server_w.low, wall.server_w.high
    step = f"A server draws {wall.server_w.value:.0f} W ({low:.0f} to {high:.0f}) beside its GPUs."
    return f"{markdown(head, rows)}\n\n{step} {wall.rows} rows of {wall.systems} systems."


def _coefficients(item: Learned) -> str:
    rows: list[Sequence[object]] = []
    bounds = item.task.spec.terms
    for name, value in item.terms.items():
        held = value.low == value.high
        note = "held at a bound" if held else ""
        rows.append((name, f"{value.value:.4g}", f"{value.low:.4g} to {value.high:.4g}", note))
    assert set(bounds) == set(item.terms)
    count = len(bounds)
    widths = 1.96 * item.fitted.deviations[count:]
    for (name, effect), width in zip(item.effects.items(), widths, strict=True):
        rows.append(
            (name, f"x {np.exp(effect):.3f}", f"{np.exp(effect - width):.3f} to {np.exp(effect + width):.3f}", "")
        )
    return markdown(("coefficient or effect", "value", "95 %", ""), rows)


def _residual_text(item: Learned) -> str:
    kinds = sorted({item.task.kind(p) for p in item.design.points})
    pooled = [kind for kind in kinds if kind not in item.residual]
    rows = [(name, f"{np.exp(b.low):.2f}", f"{np.exp(b.high):.2f}") for name, b in item.residual.items()]
    text = markdown(("kind of case", "measured over predicted, 2.5 %", "97.5 %"), rows)
    if pooled:
        text += (
            f"\n\nPooled, for want of {MIN_ROWS} rows of {MIN_MODELS} models: "
            + ", ".join(f"{kind} (*)" for kind in pooled)
            + "."
        )
    return text


def _groups(item: Learned) -> str:
    """Errors with the model left out, by group."""
    residuals = np.log(item.design.target / item.unseen)
    held = inside(residuals, [item.task.kind(p) for p in item.design.points], item.residual)
    rows: list[Sequence[object]] = []
    for by in GROUPED_BY:
        labels = item.design.labels(by)
        for label in np.unique(labels):
            mask = labels == label
            found = score(item.design.target[mask], item.unseen[mask])
            within = 100.0 * float(np.mean(held[mask]))
            rows.append((by, label, found.rows, found.mdape_pct, found.p90_ape_pct, found.bias_pct, within))
    return markdown(("by", "group", "rows", "MdAPE %", "P90 %", "bias %", "within the interval %"), rows)


def _refused_text(refused: Sequence[Refusal]) -> str:
    counts = Counter((r.quantity, r.source) for r in refused)
    table = markdown(("quantity", "source", "rows"), [(*key, str(n)) for key, n in sorted(counts.items())])
    rows = [(r.row_id, r.source, r.quantity, r.reason) for r in refused]
    return f"{table}\n\n{markdown(('row', 'source', 'quantity', 'reason'), rows)}"


def _plots(folder: Path, item: Learned) -> list[str]:
    """Write the plots of a form; their file names."""
    import matplotlib as mpl

    mpl.use("Agg")
    name = item.task.spec.id.replace(".", "-")
    drawn: dict[str, Callable[[Any, Learned], None]] = {
        f"{name}-predicted.png": _predicted_plot,
        f"{name}-residuals.png": _residual_plot,
        f"{name}-coverage.png": _coverage_plot,
    }
    import matplotlib.pyplot as plt

    for file, draw in drawn.items():
        figure = plt.figure(figsize=(10, 7), layout="constrained")
        draw(figure, item)
        # Without the version of the library in the file, the same fit gives the same bytes.
        figure.savefig(folder / file, dpi=80, metadata={"Software": None})
        plt.close(figure)
    return list(drawn)


def _predicted_plot(figure: Any, item: Learned) -> None:
    axes = figure.subplots()
    measured, labels = item.design.target, item.design.labels("source")
    for label in np.unique(labels):
        mask = labels == label
        axes.loglog(measured[mask], item.unseen[mask], ".", markersize=3, label=label)
    ends = np.array([measured.min(), measured.max()])
    axes.loglog(ends, ends, "k-", linewidth=1)
    axes.set_xlabel("measured [s]" if item.task.spec.view != "share" else "measured energy over power limit [s]")
    axes.set_ylabel("predicted with the model left out")
    axes.set_title(item.task.spec.id)
    axes.legend()


def _residual_plot(figure: Any, item: Learned) -> None:
    residuals = np.log(item.unseen / item.design.target)
    for axes, by in zip(figure.subplots(len(PLOTTED_BY), 1), PLOTTED_BY, strict=True):
        groups = _by_label(item.design, by, residuals)
        axes.boxplot(list(groups.values()), orientation="vertical", whis=(5, 95), showfliers=False)
        axes.set_xticks(range(1, len(groups) + 1), [str(name) for name in groups], rotation=12, fontsize=6)
        axes.axhline(0.0, color="k", linewidth=0.5)
        axes.set_ylabel(by)
    figure.suptitle(f"{item.task.spec.id}: ln(predicted / measured), model left out; whiskers 5 and 95 %")


def _coverage_plot(figure: Any, item: Learned) -> None:
    residuals = np.log(item.design.target / item.unseen)
    held = inside(residuals, [item.task.kind(p) for p in item.design.points], item.residual)
    axes = figure.subplots()
    names, shares = [], []
    for by in PLOTTED_BY:
        for label, values in _by_label(item.design, by, held).items():
            names.append(f"{by} {label} ({len(values)})")
            shares.append(100.0 * float(np.mean(values)))
    axes.barh(range(len(names)), shares)
    axes.set_yticks(range(len(names)), names, fontsize=5)
    axes.axvline(95.0, color="k", linewidth=1)
    axes.set_xlabel("measured values within the 95 % interval, model left out [%]")
    axes.set_title(item.task.spec.id)


def _by_label(design: Design, by: str, values: Array) -> dict[str, Array]:
    assert by in LABELS
    labels = design.labels(by)
    return {str(label): values[labels == label] for label in np.unique(labels)}
