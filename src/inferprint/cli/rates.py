"""The command that prints rates like a price list: of one model at one host, or of every model wherever it is sold."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferprint.cli.options import CATALOG, JSON, SETUP, catalogue_of, column_mapping, takes_request
from inferprint.errors import FileProblem, InvalidInput
from inferprint.estimate.estimate import Estimator, request_from

if TYPE_CHECKING:
    from inferprint.catalogue import Catalogue
    from inferprint.estimate.rate_list import Pair, Rates, Refusal

Given = dict[str, Any]
Report = Callable[[int, int | None], None]

FORMATS = ("text", "csv", "json", "parquet", "sql")
SUFFIXES = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".sql": "sql"}
"""Format of a file that is named without one."""

SQL_OPTIONS = {
    "dialect": click.option("--dialect", metavar="NAME", help="sql: dialect of the warehouse."),
    "setups": click.option(
        "--setups",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="sql: CSV or Parquet file of the distinct models, services and places of the usage table.",
    ),
    "table": click.option("--table", metavar="NAME", help="sql: the usage table of the warehouse."),
    "column": click.option(
        "--column", metavar="FIELD=COLUMN", multiple=True, help="sql: a request field and its column; may be repeated."
    ),
    "keep": click.option("--keep", metavar="COLUMN", multiple=True, help="sql: column to carry over; may be repeated."),
    "view": click.option("--view", metavar="NAME", help="sql: name of the view to make."),
}
"""Options of `--format sql` alone."""


def takes_sql(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `--format sql`; it receives those that were used as `sql`, by name."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        options = {name: values.pop(name) for name in SQL_OPTIONS}
        command(sql={name: value for name, value in options.items() if value not in (None, ())}, **values)

    for option in reversed(SQL_OPTIONS.values()):
        wrapped = option(wrapped)
    return wrapped


@click.command("rates")
@click.argument("model", metavar="[MODEL]", required=False)
@takes_request(*SETUP)
@click.option("--format", "output", type=click.Choice(FORMATS), help="Format; by the name of --out, else text.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="File to write, whole or not at all.")
@click.option("--by-feature", is_flag=True, help="Of one model: a line for each feature that costs are linear in.")
@click.option("--schema", "show_schema", is_flag=True, help="Print the JSON Schema of the list.")
@takes_sql
@CATALOG
@JSON
def rates_command(
    *,
    model: str | None,
    given: Given,
    output: str | None,
    out: Path | None,
    by_feature: bool,
    show_schema: bool,
    sql: Mapping[str, Any],
    catalog: Path | None,
    as_json: bool,
) -> None:
    """Print impacts like a price list: per 1,000 tokens, per request, picture or second.

    Of one model at one host, or, without a model, of every model wherever it is sold. --service leaves what is sold
    there; --gpu, --node and --instance take every model to that hardware.
    """
    kind = format_of(output, out, as_json=as_json)
    _check(kind, model, sql, by_feature=by_feature)
    catalogue = catalogue_of(catalog)
    if show_schema:
        from inferprint.estimate.rate_list import schema_text

        put(schema_text().rstrip(), out, "json")
    elif kind == "sql":
        put(_sql(catalogue, model, given, sql), out, kind)
    elif by_feature:
        put(_by_feature(catalogue, model or "", given, kind), out, kind)
    elif model is not None:
        put(_one_model(catalogue, model, given, kind), out, kind)
    else:
        found = _all_models(catalog, given)
        put(_rendered(found, catalogue, given, kind), out, kind)
        _tell(found, kind, out)


def format_of(stated: str | None, out: Path | None, *, as_json: bool) -> str:
    """The format: stated, else by the suffix of the file, else text.

    Raises
    ------
    InvalidInput
        Parquet without a file, or two formats.
    """
    if as_json and stated not in (None, "json"):
        raise InvalidInput("format", f"{stated} beside --json", hint="Give one of them.")
    found = "json" if as_json else stated or SUFFIXES.get(out.suffix.lower() if out else "", "text")
    if found == "parquet" and out is None:
        raise InvalidInput("format", "parquet is no text", hint="Name a file to write: --out FILE.parquet.")
    return found


def _check(kind: str, model: str | None, sql: Mapping[str, Any], *, by_feature: bool) -> None:
    """Refuse options that do not go together."""
    if sql and kind != "sql":
        name = next(iter(sql))
        raise InvalidInput(name, f"--{name} is for --format sql", hint="Leave it out, or add --format sql.")
    if by_feature and model is None:
        raise InvalidInput("model", "is missing", hint="--by-feature is for one model: inferprint rates MODEL.")
    if by_feature and kind not in ("text", "csv", "json"):
        raise InvalidInput("format", f"{kind} beside --by-feature", hint="One of text, csv, json.")


# --- what is asked ----------------------------------------------------------------------------------------------------


def _by_feature(catalogue: Catalogue, model: str, given: Given, kind: str) -> str:
    """Rates of one model for each feature."""
    from inferprint.cli import rates_text as texts

    request = request_from(model_id=model, input_tokens=0, output_tokens=0, **given)
    rows = texts.rate_rows(*Estimator(catalogue).cards(request))
    if kind == "json":
        return texts.json_text({"model": model, "catalogue": catalogue.version, "rates": rows})
    if kind == "csv":
        return texts.csv_text(list(rows[0]), (list(row.values()) for row in rows))
    return texts.features_text(rows)


def _one_model(catalogue: Catalogue, model: str, given: Given, kind: str) -> str:
    """Rates of one model at one host."""
    from inferprint.estimate.rate_list import rates_of

    if "request_duration_ms" in given:
        hint = "--time-per-output-token-ms and the limits on time hold for all requests."
        raise InvalidInput("request_duration_ms", "is that of one request, and a rate is of any", hint=hint)
    rates = rates_of(Estimator(catalogue), request_from(model_id=model, **given))
    return _rendered([rates], catalogue, given, kind, one=True)


def _sql(catalogue: Catalogue, model: str | None, given: Given, sql: Mapping[str, Any]) -> str:
    """Rates as a script for a warehouse, of the setups of a file or of one model."""
    from inferprint.batch.warehouse_script import ScriptOptions, columns_for, read_setups, warehouse_script

    for name in ("dialect", *(() if model is not None else ("setups",))):
        if name not in sql:
            hint = "A script needs --dialect, and the setups of the usage table: --setups FILE, or one MODEL."
            raise InvalidInput(name, "is missing", hint=hint)
    shared = given if model is None else {**given, "model_id": model}
    listed = read_setups(sql["setups"]) if "setups" in sql else [{}]
    setups = [shared | {name: cell for name, cell in row.items() if cell not in (None, "")} for row in listed]
    columns = columns_for(setups, column_mapping(sql.get("column", ())), sql["dialect"])
    named = {name: sql[name] for name in ("table", "view", "keep") if name in sql}
    options = ScriptOptions(dialect=sql["dialect"], columns=columns, processes=os.cpu_count() or 1, **named)
    return warehouse_script(setups, options, Estimator(catalogue)).rstrip()


def _all_models(folder: Path | None, given: Given) -> list[Rates | Refusal]:
    """Rates of every model wherever it is sold, by the catalogue with a folder on top."""
    from inferprint.cli.progress import progress
    from inferprint.estimate.rate_list import pairs_of

    pairs = pairs_of(catalogue_of(folder), given)
    with progress("cards") as report:
        return all_rates(folder, pairs, given, report)


def _rendered(
    found: Sequence[Rates | Refusal], catalogue: Catalogue, given: Given, kind: str, *, one: bool = False
) -> str:
    """A list in a format; Parquet is CSV until it is written."""
    from inferprint.cli import rates_text as texts
    from inferprint.estimate.rate_list import Rates, document, versions

    named = versions(catalogue, given)
    rates = [item for item in found if isinstance(item, Rates)]
    if kind == "json":
        return texts.json_text(document(catalogue, found, given))
    if kind in ("csv", "parquet"):
        return texts.csv_text(texts.COLUMNS, texts.flat_rows(rates, named))
    return texts.rates_text(rates[0], named) if one else texts.list_text(found, named)


def _tell(found: Sequence[Rates | Refusal], kind: str, out: Path | None) -> None:
    """Say what rows alone do not: how many there are, and what could not be estimated."""
    from inferprint.cli.rates_text import refusal_text
    from inferprint.estimate.rate_list import Refusal

    refused = [item for item in found if isinstance(item, Refusal)]
    if kind in ("csv", "parquet"):
        for item in refused:
            print(f"not estimated: {refusal_text(item)}", file=sys.stderr)
    if out is not None:
        print(f"{out}: {len(found) - len(refused):,} models at hosts, {len(refused):,} not estimated")
    if len(refused) == len(found):
        sys.exit(1)


# --- by several processes ---------------------------------------------------------------------------------------------

WORTH_PROCESSES = 128
"""Fewer pairs than this are done sooner than other processes have started."""

AT_A_TIME = 16


def all_rates(folder: Path | None, pairs: Sequence[Pair], given: Given, report: Report) -> list[Rates | Refusal]:
    """The rates of all pairs, by several processes where there are many; `folder` lies on top of the catalogue."""
    processes = os.cpu_count() or 1
    if processes < 2 or len(pairs) < WORTH_PROCESSES:
        from inferprint.estimate.rate_list import rate_list

        return _counted(rate_list(catalogue_of(folder), pairs, given), len(pairs), report)
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    parts = [(folder, pairs[i : i + AT_A_TIME], given) for i in range(0, len(pairs), AT_A_TIME)]
    with ProcessPoolExecutor(min(processes, len(parts)), multiprocessing.get_context("spawn")) as pool:
        return _counted((item for part in pool.map(_listed, parts) for item in part), len(pairs), report)


def _counted(found: Iterable[Rates | Refusal], total: int, report: Report) -> list[Rates | Refusal]:
    """All that was found, reported while it comes."""
    listed = []
    for item in found:
        listed.append(item)
        report(len(listed), total)
    return listed


_catalogue = functools.lru_cache(maxsize=1)(catalogue_of)
"""The catalogue of a process, read once."""


def _listed(part: tuple[Path | None, Sequence[Pair], Given]) -> list[Rates | Refusal]:
    """The rates of some pairs, in another process."""
    from inferprint.estimate.rate_list import rate_list

    folder, pairs, given = part
    return list(rate_list(_catalogue(folder), pairs, given))


# --- where it goes ----------------------------------------------------------------------------------------------------


def put(text: str, out: Path | None, kind: str) -> None:
    """Print a list, or write it to a file, whole or not at all, in the place of what is there.

    Raises
    ------
    FileProblem
        The file cannot be written, or needs DuckDB, which is not installed.
    """
    if out is None:
        print(text)
        return
    from inferprint.cli.rates_text import write_parquet

    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        if kind == "parquet":
            write_parquet(partial, text)
        else:
            partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        raise FileProblem(f"{out}: cannot be written: {error.strerror}", hint="Name another file.") from error
    finally:
        partial.unlink(missing_ok=True)
