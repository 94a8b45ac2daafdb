"""The commands that learn coefficients from measurements, and that say how good they are."""

from __future__ import annotations

import csv
import datetime
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferprint.calibration.words import counted
from inferprint.catalogue.own import GENERAL
from inferprint.cli.options import CATALOG, JSON, catalogue_of
from inferprint.errors import FileProblem, InvalidInput

if TYPE_CHECKING:
    from inferprint.calibration.observations import Observations, Refusal
    from inferprint.calibration.per_token import PerToken
    from inferprint.calibration.validate import Validation
    from inferprint.catalogue import Catalogue

OBSERVATIONS = click.option(
    "--observations",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Measurements with the columns of data/benchmarks/README.md; may be repeated, and take several files.",
)


def _print(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _needs(extra: str, *modules: str) -> None:
    """Refuse where the libraries of an extra are missing."""
    from importlib.util import find_spec

    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise FileProblem(f"{' and '.join(missing)} not installed", hint=f"pip install 'inferprint[{extra}]'")


@click.command("fit")
@OBSERVATIONS
@click.argument("more", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", metavar="DIR", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="Date of the coefficients; today where not given.")
@CATALOG
@JSON
def fit_command(
    files: tuple[Path, ...],
    more: tuple[Path, ...],
    out: Path,
    date: datetime.datetime | None,
    catalog: Path | None,
    as_json: bool,
) -> None:
    """Learn the coefficients from measurements: the project's own, and yours with --observations.

    Writes DIR/forms/coefficients.toml, so that DIR can be given as --catalog, and DIR/report.md with its plots.
    """
    _needs("fit", "scipy", "statsmodels", "matplotlib")
    from inferprint.calibration.fit import changes, coefficients_text, fingerprint, learn_all, refusals
    from inferprint.calibration.observations import data_folder, read_files, rows_of
    from inferprint.calibration.report import write_report
    from inferprint.calibration.scores import score
    from inferprint.calibration.wall import learn_wall

    own = _named(files, more)
    for path in own:
        rows_of(path)
    paths = [*sorted(data_folder().glob("*/*.csv")), *own]
    coefficients = out / "forms" / "coefficients.toml"
    _check_writable(coefficients.parent)
    catalogue = catalogue_of(catalog)
    facts = sorted(data_folder().glob("*/source.toml"))
    observations = read_files(paths, catalogue, fit_unknown=True)
    learned, wall = learn_all(observations, catalogue), learn_wall(catalogue)
    refused = refusals(observations, learned)
    day = date.date() if date is not None else datetime.datetime.now(tz=datetime.UTC).date()
    coefficients.parent.mkdir(parents=True, exist_ok=True)
    report = write_report(out, learned, wall, refused)
    coefficients.write_text(coefficients_text(learned, wall, fingerprint([*paths, *facts]), day), encoding="utf-8")
    found = [
        {
            "form": item.task.spec.id,
            "rows": len(item.design.points),
            "mdape_pct": score(item.design.target, item.unseen).mdape_pct,
            "p90_ape_pct": score(item.design.target, item.unseen).p90_ape_pct,
        }
        for item in learned
    ]
    changed = changes(learned, catalogue)
    if as_json:
        _print(
            {
                "coefficients": str(coefficients),
                "report": str(report),
                "forms": found,
                "changed": [asdict(change) for change in changed],
                "refused": len(refused),
            }
        )
        return
    print("with the row's model left out:")
    for entry in found:
        print(
            f"  {entry['form']:<16} {entry['rows']:>5,} rows   median error {entry['mdape_pct']:.1f} %,"
            f" 90th percentile {entry['p90_ape_pct']:.1f} %"
        )
    print("what changes of the coefficients in use:" if changed else "no coefficient in use changes")
    for change in changed:
        print(f"  {change.form:<16} {change.name} {change.before:.4g} -> {change.after:.4g}")
    print(f"refused {counted(len(refused), 'value')}: reasons in {report}\ncoefficients: {coefficients}")
    if catalog is not None:
        print(f"with the records of {catalog}: INFERPRINT_CATALOG={catalog} and --catalog {out}")


def _named(files: Sequence[Path], more: Sequence[Path]) -> list[Path]:
    """The files of a command, of which the further ones follow an --observations."""
    if more and not files:
        raise FileProblem(f"{more[0]} without --observations", hint=f"Write --observations {more[0]}.")
    return [*files, *more]


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, before the work of a fit, and without making it."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "is no folder" if not there.is_dir() else "cannot be written"
        raise FileProblem(f"cannot write into {folder}: {there} {why}", hint="Name another folder with --out.")


@click.command("validate")
@OBSERVATIONS
@click.argument("more", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--node",
    metavar="ID|general",
    help="Score all rows as of this node, or by the general coefficients; by default each as its node_id says.",
)
@click.option("--per-token", is_flag=True, help="Energy per fresh, cached and output token instead, row by row.")
@click.option("--refused", "refused_to", metavar="FILE", type=click.Path(path_type=Path), help="Write refused rows.")
@click.option("--parameters", is_flag=True, help="Score sizes from prices: left-out groups, or FILE of known sizes.")
@click.option("--operating-points", is_flag=True, help="Score the batch found under measured times, models left out.")
@CATALOG
@JSON
def validate_command(
    *,
    files: tuple[Path, ...],
    more: tuple[Path, ...],
    node: str | None,
    per_token: bool,
    refused_to: Path | None,
    parameters: bool,
    operating_points: bool,
    catalog: Path | None,
    as_json: bool,
) -> None:
    """Say how good the estimates are, beside the two-term form and, where it is installed, EcoLogits.

    With --observations FILE ... the coefficients in use are scored on those measurements; nothing is fitted. Without,
    every form is fitted again without whole models, GPUs and families, and scored on what was left out.
    """
    from inferprint.calibration.observations import read_own

    if node is not None and (parameters or operating_points or not files):
        hint = "inferprint validate --observations FILE ... --node ID"
        raise InvalidInput("--node", "only measurements are scored on a node", hint=hint)
    if refused_to is not None and (parameters or operating_points or not files):
        hint = f"inferprint validate --observations FILE ... --refused {refused_to}"
        raise InvalidInput("--refused", "only rows of measurements are written there", hint=hint)
    if per_token and (parameters or operating_points or not files):
        hint = "inferprint validate --observations FILE ... --per-token"
        raise InvalidInput("--per-token", "tokens have energy in measurements alone", hint=hint)
    if parameters:
        _validate_parameters(files, more, catalogue_of(catalog), as_json)
        return
    if operating_points:
        _validate_operating_points([*files, *more], catalogue_of(catalog), as_json)
        return
    named, catalogue = _named(files, more), catalogue_of(catalog)
    if not files:
        _needs("fit", "scipy", "statsmodels")
        from inferprint.calibration.validate import validate_left_out

        left_out = [entry.to_dict() for entry in validate_left_out(read_own(catalogue), catalogue)]
        _print(left_out) if as_json else print(_table(left_out))
        return
    observations = _observed(named, catalogue, node)
    if per_token:
        _print_per_token(observations, catalogue, refused_to, as_json)
    else:
        _validate_files(observations, catalogue, node, refused_to, as_json)


def _observed(files: Sequence[Path], catalogue: Catalogue, node: str | None) -> Observations:
    """The measurements of files, as of the node that was asked for."""
    from inferprint.calibration.observations import read_files
    from inferprint.catalogue import resolve_node

    on_node = resolve_node(catalogue, node).id if node not in (None, GENERAL) else None
    return read_files(files, catalogue, on_nodes=node is None, on_node=on_node)


def _print_per_token(observations: Observations, catalogue: Catalogue, refused_to: Path | None, as_json: bool) -> None:
    """Energy per fresh, cached and output token, measured and by the coefficients in use."""
    from inferprint.calibration.per_token import energy_per_token

    rows, refused = energy_per_token(observations, catalogue)
    if refused_to is not None:
        _write_refused(refused_to, refused)
    if as_json:
        _print([row.to_dict() for row in rows])
        return
    if not rows:
        what = "can be used" if refused else "is measured"
        print(f"no energy of a prompt or of output tokens {what}")
    else:
        print(_per_token_table(rows))
    if refused:
        print("\n" + _reasons(refused))


def _per_token_table(rows: Sequence[PerToken]) -> str:
    from inferprint.cli.text import table

    heads = ["token", "model", "accelerator", "format", "in", "cached", "in flight", "rows"]
    heads += ["measured J", "estimate J", "low", "high"]
    cells = [
        [
            *(row.token, row.model_id, f"{row.gpu_count} x {row.gpu}", row.precision),
            *(f"{count:,.6g}" for count in (row.n_in_tokens, row.n_cached_tokens, row.concurrency, row.n_rows)),
            *(f"{joules:.3g}" for joules in (row.measured_j, row.form_j.value, row.form_j.low, row.form_j.high)),
        ]
        for row in rows
    ]
    return table([heads, *cells])


def _validate_files(
    observations: Observations, catalogue: Catalogue, node: str | None, refused_to: Path | None, as_json: bool
) -> None:
    """Score the coefficients in use on measurements."""
    from inferprint.calibration.validate import validate
    from inferprint.cli.progress import progress

    with progress() as report:
        validation = validate(observations, catalogue, report)
    rows = [result.to_dict() for result in validation.results()]
    if refused_to is not None:
        _write_refused(refused_to, validation.refused)
    if as_json:
        _print(rows)
        return
    print(_table(rows) if rows else "no row measures a known quantity")
    _print_notes(validation, observations)
    if node is None:
        _print_own_nodes(validation, catalogue)
    for name, count in sorted(validation.nodes.items()):
        print(f"{counted(count, 'value')} scored on {name}, {_whose(name, catalogue)}")
    _mention_peer()


def _print_notes(validation: Validation, observations: Observations) -> None:
    """What was refused, filled in or left aside."""
    if validation.refused:
        print("\n" + _reasons(validation.refused))
    for name, count in sorted(validation.assumed.items()):
        print(f"assumed {name} in {counted(count, 'value')}: not stated by the row")
    for name, count in sorted(observations.unknown_nodes.items()):
        print(
            f"{counted(count, 'row')} of the node {name}, which this catalogue does not hold: scored by their"
            " accelerator alone; --catalog DIR names a folder with it"
        )
    if validation.silent:
        measure = "measures" if validation.silent == 1 else "measure"
        print(f"{counted(validation.silent, 'row')} {measure} no known quantity")


def _whose(node: str, catalogue: Catalogue) -> str:
    """Which coefficients a node has of its own, in words."""
    from inferprint.catalogue.own import OWN_FORMS, own_form_id

    own = [name for name in OWN_FORMS if own_form_id(name, node) in catalogue.forms]
    return f"with its own {' and '.join(own)}" if own else "which has no coefficients of its own"


def _print_own_nodes(validation: Validation, catalogue: Catalogue) -> None:
    """Point at nodes of one's own that have the accelerator of rows which are of no node."""
    own = sorted({form.partition("@")[2] for form in catalogue.forms if "@" in form})
    for gpu in sorted({catalogue.nodes[name].gpu or "" for name in own}):
        same, count = [name for name in own if catalogue.nodes[name].gpu == gpu], validation.without_node(gpu)
        if count:
            print(
                f"{counted(count, 'value')} on {gpu} scored by the general coefficients, as their rows name no node of"
                f" this catalogue, which has {', '.join(same)} with that accelerator: --node {same[0]} scores all rows"
                " on it, a column node_id (measure endpoint --node) single ones"
            )


def _validate_parameters(files: Sequence[Path], more: Sequence[Path], catalogue: Catalogue, as_json: bool) -> None:
    """Score the sizes that prices lead to."""
    from inferprint.calibration.sizes import validate_sizes, validate_sizes_on

    if files or len(more) > 1:
        raise FileProblem("--parameters takes one file of known sizes", hint="inferprint validate --parameters FILE")
    refused: dict[str, str] = {}
    if more:
        rows, refused = validate_sizes_on(more[0], catalogue)
    else:
        _needs("fit", "statsmodels")
        rows = validate_sizes(catalogue)
    if as_json:
        _print(rows)
        return
    print(_table(rows))
    if refused:
        print(f"\nrefused {counted(len(refused), 'row')}:")
        print("\n".join(f"  row {row}: {reason}" for row, reason in refused.items()))


def _validate_operating_points(files: Sequence[Path], catalogue: Catalogue, as_json: bool) -> None:
    """Score throughput and energy at the batch that is found under each measured time per output token."""
    _needs("fit", "scipy", "statsmodels")
    from inferprint.calibration.observations import read_files, read_own
    from inferprint.calibration.operating import validate_operating_points
    from inferprint.cli.progress import progress

    observations = read_files(files, catalogue, fit_unknown=True) if files else read_own(catalogue)
    with progress("models") as report:
        rows = [score.to_dict() for score in validate_operating_points(observations, catalogue, report)]
    if as_json:
        _print(rows)
    else:
        print(_table(rows) if rows else "no measurements of one model and machine at three batch sizes or more")


def _mention_peer() -> None:
    from inferprint.calibration import peer

    if not peer.available():
        print("EcoLogits is not installed: pip install 'inferprint[validate]' adds it to the table", file=sys.stderr)


HEADS = {
    "target": "target",
    "left_out": "left out",
    "quantity": "quantity",
    "rows_of": "rows of",
    "form": "form",
    "rows": "rows",
    "mdape_pct": "MdAPE %",
    "p90_ape_pct": "P90 %",
    "bias_pct": "bias %",
    "r2_log": "R2 log",
    "coverage95_pct": "within 95 %",
    "refused": "refused",
    "models": "models",
    "median_factor": "median factor",
    "p90_factor": "P90 factor",
    "within2x_pct": "within 2x %",
    "coverage95_three_hosts_pct": "the same, 3+ hosts",
    "upper_coverage_pct": "below upper %",
    "upper_over_true": "upper / true",
}


def _table(rows: Sequence[dict[str, Any]]) -> str:
    from inferprint.cli.text import table

    names = [name for name in HEADS if name in rows[0]]
    return table([[HEADS[name] for name in names], *([_cell(name, row[name]) for name in names] for row in rows)])


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if name in ("r2_log", "median_factor", "p90_factor") else f"{value:.1f}"
    return str(value)


def _reasons(refused: Sequence[Refusal]) -> str:
    """How many values were refused, by reason, with one row as an example."""
    counts = Counter((item.quantity, item.reason.split("\n")[0]) for item in refused)
    first: dict[tuple[str, str], str] = {}
    for item in refused:
        first.setdefault((item.quantity, item.reason.split("\n")[0]), item.row_id)
    lines = [f"  {n:>5,}  {key[0]}: {key[1]} (first: {first[key]})" for key, n in counts.most_common(SHOWN)]
    if len(counts) > SHOWN:
        lines.append(f"  and {len(counts) - SHOWN} more reasons: validate --refused FILE writes every row")
    return "\n".join([f"refused {counted(len(refused), 'value')}:", *lines])


SHOWN = 12
"""Reasons that are listed."""


def _write_refused(path: Path, refused: Sequence[Refusal]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["row_id", "source", "quantity", "reason"])
            writer.writerows([item.row_id, item.source, item.quantity, item.reason] for item in refused)
    except OSError as error:
        raise FileProblem(f"cannot write {path}: {error}", hint="Name a file in a folder that exists.") from error
