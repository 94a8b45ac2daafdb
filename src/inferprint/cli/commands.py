"""The commands, one function each."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from inferprint.cli.options import CATALOG, JSON, SETUP, WORK, Choice, catalogue_of, estimator_of, takes_request
from inferprint.cli.rates import rate_rows, rates_text
from inferprint.cli.text import compare_text, estimate_text, explain_text, table
from inferprint.errors import FileProblem, InvalidInput
from inferprint.estimate.compare import chance_of_less, compare
from inferprint.estimate.estimate import request_from
from inferprint.estimate.explain import explain

MODEL = Annotated[str, typer.Argument(metavar="MODEL", help="a model, by any name that it is known under")]

app = typer.Typer(
    name="inferprint",
    help="What an AI inference request costs the world: energy, greenhouse gas, water and hardware, with intervals.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@app.command("estimate")
@takes_request(*WORK, *SETUP)
def estimate_command(model: MODEL, given: dict[str, Any], catalog: CATALOG = None, as_json: JSON = False) -> None:
    """Estimate one request."""
    result = estimator_of(catalog).estimate(request_from(model_id=model, **given))
    _print(result.to_dict()) if as_json else print(estimate_text(result))


@app.command("explain")
@takes_request(*WORK, *SETUP)
def explain_command(model: MODEL, given: dict[str, Any], catalog: CATALOG = None, as_json: JSON = False) -> None:
    """Print the whole trail of an estimate: every number with its equation, source, date and reason."""
    explanation = explain(estimator_of(catalog).estimate(request_from(model_id=model, **given)))
    _print(explanation.to_dict()) if as_json else print(explain_text(explanation))


@app.command("compare")
@takes_request(*WORK, *SETUP)
def compare_command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL MODEL ...", help="two or more models")],
    given: dict[str, Any],
    catalog: CATALOG = None,
    as_json: JSON = False,
) -> None:
    """Compare models on the same work."""
    if len(models) < 2:
        raise InvalidInput("models", "one model cannot be compared", hint="Name two or more.")
    results = compare(estimator_of(catalog), models, request_from(model_id=models[0], **given))
    less = chance_of_less(results)
    if as_json:
        _print([{**r.to_dict(), "chance_of_less_energy_than_first": s} for r, s in zip(results, less, strict=True)])
    else:
        print(compare_text(results, less))


@app.command("rates")
@takes_request(*SETUP)
def rates_command(
    model: MODEL,
    given: dict[str, Any],
    output: Annotated[
        Literal["text", "csv", "json"], typer.Option("--format", help="text, csv or json")
    ] = "text",
    catalog: CATALOG = None,
    as_json: JSON = False,
) -> None:
    """Print the rate card of a model on a host: impacts per 1,000 tokens, like a price list."""
    estimator = estimator_of(catalog)
    request = request_from(model_id=model, input_tokens=0, output_tokens=0, **given)
    rows = rate_rows(*estimator.cards(request))
    if as_json or output == "json":
        _print({"model": model, "catalogue": estimator.catalogue.version, "rates": rows})
    else:
        print(rates_text(rows, as_csv=output == "csv"))


KINDS = ("models", "gpus", "nodes", "services", "regions", "grids", "precisions", "techniques", "sources")


@app.command("catalog")
def catalog_command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=" | ".join(KINDS))],
    query: Annotated[str, typer.Argument(metavar="[QUERY]", help="part of a name")] = "",
    catalog: CATALOG = None,
    as_json: JSON = False,
) -> None:
    """List what the catalogue knows."""
    from inferprint.cli.listing import listing

    if kind not in KINDS:
        raise InvalidInput("kind", f"'{kind}' is not a kind of record", hint=f"One of {', '.join(KINDS)}.")
    rows = listing(catalogue_of(catalog), kind, query)
    if as_json:
        _print(rows)
    elif rows:
        print(table([[str(v) if v is not None else "-" for v in row.values()] for row in [_heads(rows), *rows]]))
    else:
        print(f"no {kind} contain '{query}'", file=sys.stderr)
        raise typer.Exit(1)


def _heads(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: name for name in rows[0]}


@app.command("run")
@takes_request(*WORK, Choice("model_id", "--model", str, "the model of every row"), *SETUP)
def run_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE ...", help="CSV or Parquet tables of requests")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder to write, new or empty")],
    given: dict[str, Any],
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="FIELD=COLUMN", help="a request field and its column")
    ] = None,
    output: Annotated[Literal["parquet", "csv"], typer.Option("--format", help="format of the impacts")] = "parquet",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what --out holds")] = False,
    catalog: CATALOG = None,
    as_json: JSON = False,
) -> None:
    """Estimate every row of tables, with totals, intervals and a file of what was rejected."""
    from inferprint.batch import RunOptions, run
    from inferprint.cli.progress import progress

    with progress() as report:
        options = RunOptions(
            columns=_mapping(column or []),
            fills=given,
            output_format=output,
            overwrite=overwrite,
            estimator=estimator_of(catalog),
            progress=report,
        )
        summary = run(files, out, options)
    _print(summary.to_dict()) if as_json else print(summary.text())


def _mapping(pairs: Iterable[str]) -> dict[str, str]:
    """ "field=column" pairs as a mapping."""
    mapping = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise FileProblem(f"--column '{pair}' is not FIELD=COLUMN", hint="For example input_tokens=ContextTokens.")
        mapping[field] = column
    return mapping
