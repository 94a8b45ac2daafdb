"""Rate cards as a script for a warehouse: tables, their rows, and a view over the usage table.

`warehouse_script` makes the text; `read_setups` and `setups_named` say which setups it is for, and `columns_for` which
columns hold their fields unless somebody says otherwise.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

from inferprint._version import __version__
from inferprint.batch.cards import CardStore
from inferprint.batch.options import nearest
from inferprint.batch.setups import SETUP_FIELDS, Setups
from inferprint.batch.warehouse import (
    MODEL,
    PROBLEM,
    Dialect,
    Source,
    Warehouse,
    dialect_of,
    impacts_sql,
    warehouse_of,
)
from inferprint.errors import FileProblem, InvalidInput
from inferprint.estimate import Estimator
from inferprint.estimate.request import WRITTEN_FIELDS
from inferprint.quantities import BREAKDOWN, RESULTS
from inferprint.usage.engine import connected, duckdb_error, literal

STATEMENT_BYTES = 200_000
"""Length of an INSERT: some warehouses refuse statements of a megabyte."""

_KIND_OF = {"string": "text", "int64": "whole", "float64": "real"}
_TRANSACTIONS = ("duckdb", "postgres")
"""Dialects whose tables can be made all at once or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptOptions:
    """What a script is for.

    Attributes
    ----------
    dialect
        One of `inferprint.batch.warehouse.DIALECTS`.
    table
        The usage table, as one writes it in SQL.
    columns
        Column of the usage table by our field, letter by letter as the warehouse holds it. Setup fields without a
        column are those of the whole table. By default, see `columns_for`.
    keep
        Columns of the usage table that the view has too.
    view
        Name of the view, with its schema; the tables of the cards are made in the same one.
    unknown
        What becomes of a model or service that nobody knows; see `RunOptions`.
    intervals
        Whether the view has bounds.
    processes
        Processes that may resolve cards beside this one.
    """

    dialect: str
    table: str = "usage"
    columns: Mapping[str, str] = field(default_factory=dict)
    keep: Sequence[str] = ()
    view: str = "inferprint_impacts"
    unknown: Literal["reject", "estimate", "fail"] = "reject"
    intervals: bool = True
    processes: int = 1


def read_setups(path: str | Path) -> list[dict[str, Any]]:
    """Distinct setups of a usage table from a CSV or Parquet file whose columns are named like our fields.

    Raises
    ------
    FileProblem
        The file cannot be read, is empty, or has a column that is no field of a setup.
    """
    path = Path(path)
    is_parquet = path.suffix == ".parquet"
    broken = (duckdb_error(),) if is_parquet else (UnicodeDecodeError, csv.Error)
    try:
        rows = _parquet_rows(path) if is_parquet else _csv_rows(path)
    except (OSError, *broken) as error:
        reason = str(error).splitlines()[0]
        raise FileProblem(f"{path}: cannot be read: {reason}", hint="Name a CSV or Parquet file.") from error
    for name in dict.fromkeys(name for row in rows for name in row):
        if name not in SETUP_FIELDS:
            near = nearest(str(name), SETUP_FIELDS)
            hint = f"{f'Nearest: {near}. ' if near else ''}Fields: {', '.join(SETUP_FIELDS)}."
            raise FileProblem(f"{path}: column '{name}' is not a field of a setup", hint=hint)
    if not rows:
        raise FileProblem(f"{path}: holds no setup", hint="Its first line names fields, each further one is a setup.")
    return rows


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, restkey="(more cells than names)"))


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    with path.open("rb"), connected() as connection:
        result = connection.execute(f"SELECT * FROM read_parquet({literal(str(path))})")
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def setups_named(named: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of values of setup fields."""
    given = {name: values for name, values in named.items() if values}
    return [dict(zip(given, cells, strict=True)) for cells in product(*given.values())]


def columns_for(setups: Sequence[Mapping[str, Any]], given: Mapping[str, str], dialect: str) -> dict[str, str]:
    """Columns of a usage table that names them like our fields, where `given` does not say otherwise.

    There is one for the model, for input_tokens and output_tokens, and for each setup field in which the setups differ.
    Snowflake holds names in upper case unless they were quoted.
    """
    differing = [name for name in SETUP_FIELDS if len({_text(setup.get(name)) for setup in setups}) > 1]
    names = dict.fromkeys(["model_id", *differing, *WRITTEN_FIELDS])
    folds = dialect_of(dialect).folds_up
    return {name: name.upper() if folds else name for name in names} | dict(given)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def warehouse_script(
    setups: Sequence[Mapping[str, Any]], options: ScriptOptions, estimator: Estimator | None = None
) -> str:
    """A script that makes the tables of the cards of these setups, and a view of the impacts of a usage table.

    Parameters
    ----------
    setups
        The distinct setups of the usage table, as fields of a request. Rows with another one get no outputs.
    estimator
        Estimates with this catalogue; the default one otherwise.

    Raises
    ------
    InvalidInput
        A dialect, field or table that cannot be, or a field in which the setups differ and that has no column.
    """
    return ";\n\n".join(statements(setups, options, estimator)) + ";\n"


def statements(
    setups: Sequence[Mapping[str, Any]], options: ScriptOptions, estimator: Estimator | None = None
) -> list[str]:
    """The statements of the script, in order; the first one begins with what there is to know."""
    dialect = dialect_of(options.dialect)
    estimator = estimator or Estimator()
    columns = options.columns or columns_for(setups, {}, options.dialect)
    source = Source(dialect.table_named(options.table).sql(dialect=dialect.sql), columns, options.keep)
    view = dialect.table_named(options.view)
    shared = _of_the_whole_table(setups, source.keys)
    with closing(CardStore(estimator, options.processes)) as store:
        found = Setups(store, estimator, shared, options.unknown)
        for _ in found.ahead([{n: s[n] for n in source.keys if s.get(n) not in (None, "")} for s in setups]):
            pass
        warehouse = warehouse_of(found, setups, source.keys, intervals=options.intervals)
        tables = {name: dialect.beside(view, name) for name in warehouse.tables()}
        made = [f"DROP VIEW IF EXISTS {options.view}"]
        for name, written in tables.items():
            made += [f"DROP TABLE IF EXISTS {written}", *_table(dialect, warehouse, name, written)]
        made.append(f"CREATE VIEW {options.view} AS\n{impacts_sql(dialect, source, warehouse, options.view)}")
        if options.dialect in _TRANSACTIONS:
            made = ["BEGIN", *made, "COMMIT"]
        made[0] = _header(estimator, options, source, warehouse, found, shared) + made[0]
    return made


def _of_the_whole_table(setups: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    """Setup fields that no column holds: each is the same in all setups."""
    if not setups:
        raise InvalidInput("setups", "there are none", hint="State at least a model.")
    shared: dict[str, Any] = {}
    for name in SETUP_FIELDS:
        if name in keys:
            continue
        values = {_text(setup.get(name)): setup.get(name) for setup in setups}
        if len(values) > 1:
            raise InvalidInput(
                name, "differs between the setups, and no column holds it", hint=f"As in: --column {name}=COLUMN"
            )
        (text, value), *_ = values.items()
        if text:
            shared[name] = value
    return shared


# --- statements -------------------------------------------------------------------------------------------------------


def _table(dialect: Dialect, warehouse: Warehouse, name: str, written: str) -> Iterator[str]:
    """CREATE TABLE and the INSERTs of one table."""
    columns = warehouse.tables()[name]
    types = {column: getattr(dialect, _KIND_OF[kind]) for column, kind in warehouse.kinds(name).items()}
    listed = ",\n  ".join(f"{dialect.quoted(column)} {kind}" for column, kind in types.items())
    yield f"CREATE TABLE {written} (\n  {listed}\n){dialect.table}"
    rows = (
        f"({', '.join(_literal(dialect, types[column], cell) for column, cell in zip(columns, cells, strict=True))})"
        for cells in zip(*columns.values(), strict=True)
    )
    for chunk in _chunks(rows):
        yield f"INSERT INTO {written} VALUES\n" + ",\n".join(chunk)


def _literal(dialect: Dialect, kind: str, cell: Any) -> str:
    """A cell as literal; a float has an exponent, without which some engines would take it for a decimal number."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "NULL"
    if kind == dialect.text:
        return dialect.literal(str(cell))
    if kind == dialect.whole:
        return str(int(cell))
    text = repr(float(cell))
    return text if "e" in text else f"{text}e0"


def _chunks(rows: Iterable[str]) -> Iterator[list[str]]:
    """Rows in pieces of about `STATEMENT_BYTES`."""
    chunk: list[str] = []
    size = 0
    for row in rows:
        if chunk and size + len(row) > STATEMENT_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row)
    if chunk:
        yield chunk


def _header(
    estimator: Estimator,
    options: ScriptOptions,
    source: Source,
    warehouse: Warehouse,
    found: Setups,
    shared: Mapping[str, Any],
) -> str:
    """What there is to know, as comments."""
    bounds = " Those with _low and _high beside them are 95 % intervals." if options.intervals else ""
    setups = warehouse.setups["problem"]
    lines = [
        f"Impacts of {options.table} for {options.dialect}: tables of rate cards, and the view {options.view}.",
        f"inferprint {__version__}, catalogue {estimator.catalogue.version}",
        f"{len(setups)} setups" if len(setups) != 1 else "1 setup",
        "",
        "Columns read:",
        *(f"  {name} from {column}" for name, column in source.columns.items()),
        *(f"  {name} = {value} for the whole table" for name, value in shared.items()),
        "Columns of the view:",
        *([f"  {', '.join(source.keep)}: as in the usage table"] if source.keep else []),
        f"  {MODEL}: the model that was found",
        f"  {PROBLEM}: why the row has no outputs; NULL where it has",
        *(f"  {quantity.name} [{quantity.unit}]: {quantity.meaning}" for quantity in (*RESULTS, *BREAKDOWN)),
        f"  Totals are sums of rows, while errors that rows share do not average out.{bounds}",
        *_refusals(warehouse, found),
    ]
    return "".join(f"-- {_one_line(line)}".rstrip() + "\n" for line in lines) + "\n"


def _refusals(warehouse: Warehouse, found: Setups) -> list[str]:
    """Setups that cannot be, and names that something stands for."""
    stood = [f"  '{asked}' is unknown: estimated as {instead}" for asked, instead in found.stood_in.items()]
    lines = [f"  {stated}: {reason}" for stated, reason in warehouse.refused.items()]
    return [
        *(["Stand-ins:", *stood] if stood else []),
        *([f"Setups that cannot be ({len(lines)}):", *lines] if lines else ["No setup was refused."]),
    ]


def _one_line(text: str) -> str:
    """A comment must not end where it should not."""
    return " ".join(text.splitlines())
