"""The commands, one function each; each imports what it alone needs, so that the others start fast."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Literal

import click

from inferprint._version import __version__
from inferprint.cli.lazy import LazyGroup
from inferprint.cli.options import (
    CATALOG,
    JSON,
    MEDIA,
    SETUP,
    WORK,
    Choice,
    column_mapping,
    estimator_of,
    takes_request,
)
from inferprint.errors import InvalidInput
from inferprint.estimate.estimate import request_from

MODEL_OR_TASK = click.argument("model", metavar="[MODEL]", required=False)
"""The model, which may be left out beside a task."""


ELSEWHERE = {
    "catalog": "inferprint.cli.catalog:catalog_command",
    "fit": "inferprint.cli.calibration:fit_command",
    "fleet": "inferprint.cli.fleet:fleet_command",
    "keys": "inferprint.cli.serve:keys_command",
    "measure": "inferprint.cli.measure:measure_command",
    "params": "inferprint.cli.params:params_command",
    "plan": "inferprint.cli.planning:plan_command",
    "rates": "inferprint.cli.rates:rates_command",
    "scan": "inferprint.cli.scan:scan_command",
    "serve": "inferprint.cli.serve:serve_command",
    "sweep": "inferprint.cli.planning:sweep_command",
    "validate": "inferprint.cli.calibration:validate_command",
}


@click.group(
    cls=LazyGroup,
    elsewhere=ELSEWHERE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="inferprint")
def app() -> None:
    """What an AI inference request costs the world: energy, greenhouse gas, water and hardware, with intervals."""


Given = dict[str, Any]
"""Request fields that the caller stated."""


def _print(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@app.command("estimate")
@MODEL_OR_TASK
@takes_request(*WORK, *MEDIA, *SETUP)
@CATALOG
@JSON
def estimate_command(model: str | None, given: Given, catalog: Path | None, as_json: bool) -> None:
    """Estimate one request."""
    result = estimator_of(catalog).estimate(request_from(model_id=model, **given))
    if as_json:
        _print(result.to_dict())
    else:
        from inferprint.cli.text import estimate_text

        print(estimate_text(result))


@app.command("explain")
@MODEL_OR_TASK
@takes_request(*WORK, *MEDIA, *SETUP)
@CATALOG
@JSON
def explain_command(model: str | None, given: Given, catalog: Path | None, as_json: bool) -> None:
    """Print the whole trail of an estimate: every number with its equation, source, date and reason."""
    from inferprint.cli.text import explain_text
    from inferprint.estimate.explain import explain

    explanation = explain(estimator_of(catalog).estimate(request_from(model_id=model, **given)))
    _print(explanation.to_dict()) if as_json else print(explain_text(explanation))


@app.command("compare")
@click.argument("models", metavar="MODEL MODEL ...", nargs=-1, required=True)
@takes_request(*WORK, *MEDIA, *SETUP)
@CATALOG
@JSON
def compare_command(models: tuple[str, ...], given: Given, catalog: Path | None, as_json: bool) -> None:
    """Compare models on the same work."""
    from inferprint.cli.text import compare_text
    from inferprint.estimate.compare import chance_of_less, compare

    if len(models) < 2:
        raise InvalidInput("models", "one model cannot be compared", hint="Name two or more.")
    results = compare(estimator_of(catalog), models, request_from(model_id=models[0], **given))
    less = chance_of_less(results)
    if as_json:
        _print([{**r.to_dict(), "chance_of_less_energy_than_first": s} for r, s in zip(results, less, strict=True)])
    else:
        print(compare_text(results, less))


@app.command("run")
@click.argument("files", metavar="FILE ...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", metavar="DIR", required=True, type=click.Path(path_type=Path), help="Folder to write, new or empty."
)
@click.option(
    "--column", metavar="FIELD=COLUMN", multiple=True, help="A request field and its column; may be repeated."
)
@takes_request(Choice("model_id", "--model", str, "The model of every row"), *WORK, *MEDIA, *SETUP)
@click.option("--input-format", metavar="NAME", help="Format of the files, or 'table'; recognised by default.")
@click.option(
    "--unknown",
    type=click.Choice(["reject", "estimate", "fail"]),
    default="reject",
    help="Records of an unknown model or service: set aside, estimated as a model of their kind, or the end.",
)
@click.option("--use-times", is_flag=True, help="Durations in logs tell how busy the service was.")
@click.option("--no-row-intervals", is_flag=True, help="Bounds for totals only: smaller and faster.")
@click.option(
    "--format",
    "output",
    type=click.Choice(["parquet", "csv", "json"]),
    default="parquet",
    help="Format of the impacts; json gives lines.",
)
@click.option("--overwrite", is_flag=True, help="Replace what --out holds.")
@CATALOG
@JSON
def run_command(
    *,
    files: tuple[Path, ...],
    out: Path,
    column: tuple[str, ...],
    given: Given,
    input_format: str | None,
    unknown: Literal["reject", "estimate", "fail"],
    use_times: bool,
    no_row_intervals: bool,
    output: Literal["parquet", "csv", "json"],
    overwrite: bool,
    catalog: Path | None,
    as_json: bool,
) -> None:
    """Estimate every record of usage logs and tables, with totals, intervals and a file of what was rejected.

    Logs of gateways, providers, agents and servers are recognised (inferprint catalog formats lists them); tables are
    CSV, JSON lines and Parquet with columns named like the fields of a request, or mapped to them with --column.
    An interrupted run is continued by the same command.
    """
    from inferprint.batch import RunOptions, run
    from inferprint.cli.progress import steps

    with steps() as report:
        options = RunOptions(
            columns=column_mapping(column),
            fills=given,
            input_format=input_format,
            unknown=unknown,
            use_times=use_times,
            row_intervals=not no_row_intervals,
            output_format=output,
            overwrite=overwrite,
            estimator=estimator_of(catalog),
            processes=os.cpu_count() or 1,
            progress=report,
        )
        try:
            summary = run(files, out, options)
        except KeyboardInterrupt:
            print("interrupted: the same command continues where this one stopped", file=sys.stderr)
            sys.exit(130)
    _print(summary.to_dict()) if as_json else print(summary.text())
    if summary.counts.records and not summary.counts.estimated:
        sys.exit(1)
