"""A run on Spark: the cards are found on the driver, their tables go to every executor, and SQL does the rest.

No Python runs on the executors. The work is three passes over the usage: its distinct setups, the impacts, and the sums
for counts and totals; a fourth one writes rejected rows, where there are any.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlglot

from inferprint._version import __version__
from inferprint.batch.cards import CardStore
from inferprint.batch.expression import MACHINES, NUMBERS, feature_sums, output_columns
from inferprint.batch.options import IDENTITY, RunOptions
from inferprint.batch.process import NO_TOKENS, Totals, sums_of
from inferprint.batch.setups import SETUP_FIELDS, Setups
from inferprint.batch.summary import Counts
from inferprint.batch.totals import ALL, DIMENSIONS, NONE, UNREADABLE, Sums, Total
from inferprint.batch.warehouse import (
    BLANK_KEY,
    DIALECTS,
    MODEL,
    NO_CARD,
    NUMBERED,
    NUMERIC_KEYS,
    PROBLEM,
    ROWS,
    UNREADABLE_KEY,
    Source,
    Warehouse,
    output_stages,
    outputs_of,
    renamed,
    row_stages,
    table_of,
    warehouse_of,
    with_stages,
)
from inferprint.batch.warehouse import NO_TOKENS as WITHOUT_TOKENS
from inferprint.errors import FileProblem, InferprintError, InvalidInput
from inferprint.estimate import Estimator
from inferprint.quantities import Range
from inferprint.usage.tables import NUMERIC_FIELDS

DIALECT = DIALECTS["spark"]
IMPACTS, REJECTS = "impacts", "rejects"
"""Folders of Parquet that a run writes."""

MERGED = "merged"
RECORDS = "records"
"""The dimension of rows that say nothing of themselves."""

_ORDER = "inferprint_order"
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal")


@dataclass(frozen=True, slots=True)
class SparkSummary:
    """What a run on Spark leaves beside its folders.

    Attributes
    ----------
    impacts, rejects
        The folders of Parquet.
    total, totals
        The total over everything, and those by model, service, place and what rows say, with 95 % intervals.
    reasons
        Rejected records by the reason.
    stood_in
        Names that nobody knows, and what they were estimated as.
    uncertainty, quality
        Shares of each uncertain input in the spread of the greenhouse gas, and of the energy by what it rests on.
    merged_by
        Which of the records of one request counts, in words; "" where no column names requests.
    seconds
        Time that the run took [s].
    """

    impacts: str
    rejects: str
    counts: Counts
    total: Total
    totals: tuple[Total, ...]
    reasons: Mapping[str, int]
    stood_in: Mapping[str, str]
    uncertainty: Mapping[str, float]
    quality: Mapping[str, float]
    merged_by: str
    versions: Mapping[str, str]
    seconds: float

    def range(self, name: str) -> Range | None:
        """The total of an output by its name, None where it is unknown."""
        return self.total.outputs[name]


# --- a session --------------------------------------------------------------------------------------------------------


def spark_session(master: str = "local[*]", settings: Mapping[str, str] | None = None) -> Any:
    """A session on this machine, reachable from this machine alone, or the one that runs already.

    On a cluster there is a session already: it is what `run_spark` takes.

    Parameters
    ----------
    master
        As Spark names it.
    settings
        Further settings of Spark.

    Raises
    ------
    FileProblem
        PySpark or Java is not installed.
    """
    pyspark = _pyspark()
    if not has_java():
        raise FileProblem(
            "Spark needs Java 17 or 21, and there is no `java`",
            hint="Install a Java runtime (Debian: default-jre-headless), or set JAVA_HOME to where it is.",
        )
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("SPARK_HOME", str(Path(pyspark.__file__).parent))
    builder = pyspark.sql.SparkSession.builder.master(master).appName("inferprint")
    local = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
    }
    for name, value in {**local, **(settings or {})}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def has_java() -> bool:
    """Whether Spark will find a Java runtime: that of JAVA_HOME, else one on PATH."""
    home = os.environ.get("JAVA_HOME")
    return os.access(Path(home, "bin", "java"), os.X_OK) if home else shutil.which("java") is not None


def _pyspark() -> Any:
    try:
        import pyspark.sql
    except ImportError as error:
        raise FileProblem("a run on Spark needs PySpark", hint="pip install 'inferprint[spark]'") from error
    return pyspark


# --- the run ----------------------------------------------------------------------------------------------------------


def run_spark(
    session: Any,
    usage: Any,
    out: str | Path,
    options: RunOptions | None = None,
    *,
    keep: Sequence[str] = (),
    order_by: str | None = None,
) -> SparkSummary:
    """Estimate every row of a usage table on Spark.

    `out` gets two folders of Parquet: impacts, and rejects, rows that cannot be estimated with the reason. Of the rows
    with one request_id, one counts: the first by `order_by`, else by utc_datetime where the table has it, else by what
    the rows say, which tells copies apart from nothing.

    Parameters
    ----------
    session
        A session of Spark; see `spark_session` for one on this machine.
    usage
        A DataFrame, or the path of Parquet files that Spark can read.
    out
        Where to write, as Spark names it.
    options
        What of `RunOptions` says how a table is read: columns, fills, unknown, row_intervals, overwrite, estimator and
        processes. The others have no part in this.
    keep
        Columns of the table that impacts and rejects have too, beside those of `batch.options.IDENTITY`.
    order_by
        Column by which the records of one request are ordered.

    Raises
    ------
    FileProblem
        The table cannot be read or lacks a column, or `out` is taken.
    InferprintError
        A setup that was stated for the whole table and cannot be; with `unknown="fail"`, any unknown model.
    """
    started = time.perf_counter()
    options = options or RunOptions()
    _pyspark()
    estimator = options.estimator or Estimator()
    with closing(CardStore(estimator, options.processes)) as store, _views(session) as views:
        run = _Run(session, views, options, keep, order_by)
        setups = Setups(store, estimator, options.fills, options.unknown)
        given, source = run.source(_frame(session, usage), str(usage) if _is_path(usage) else "usage")
        warehouse = run.cards(source, setups)
        rows = run.rows(source, warehouse)
        try:
            with _writing(out):
                run.impacts(rows, warehouse, f"{out}/{IMPACTS}")
            sums, outcomes = run.sums(rows, warehouse)
            with _writing(out):
                run.rejects(rows, outcomes, f"{out}/{REJECTS}")
        finally:
            rows.unpersist()
        counts = _counts(given.count(), outcomes, sums)
        _check_written(session, f"{out}/{IMPACTS}", counts.estimated)
        totals = Totals(warehouse.pairs, sums.pop(ALL, Sums(ALL, [ALL], {}, {})), list(sums.values()))
        return SparkSummary(
            impacts=f"{out}/{IMPACTS}",
            rejects=f"{out}/{REJECTS}",
            counts=counts,
            total=totals.everything,
            totals=totals.others,
            reasons={reason: n for reason, (n, _) in outcomes.items() if _is_rejection(reason)},
            stood_in=dict(setups.stood_in),
            uncertainty=totals.uncertainty,
            quality=totals.quality(),
            merged_by=run.merged_by,
            versions={"inferprint": __version__, "catalogue": estimator.catalogue.version},
            seconds=round(time.perf_counter() - started, 3),
        )


def _is_path(usage: Any) -> bool:
    return isinstance(usage, (str, Path))


def _frame(session: Any, usage: Any) -> Any:
    """The usage table."""
    if not _is_path(usage):
        return usage
    from pyspark.errors import PySparkException

    try:
        return session.read.parquet(str(usage))
    except PySparkException as error:
        raise FileProblem(f"{usage}: cannot be read: {_first_line(error)}", hint="Name Parquet files.") from error


@contextmanager
def _writing(out: str | Path) -> Iterator[None]:
    """Say which folder cannot be written, and what to do."""
    from pyspark.errors import AnalysisException

    try:
        yield
    except AnalysisException as error:
        raise FileProblem(
            f"{out}: cannot be written: {_first_line(error)}",
            hint="Name a new folder, or overwrite an earlier output: overwrite=True.",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


@contextmanager
def _views(session: Any) -> Iterator[dict[str, str]]:
    """Views of a run by what they are for; they are named like no other and vanish with the run."""
    mark = uuid.uuid4().hex[:12]

    class _Names(dict[str, str]):
        def __missing__(self, name: str) -> str:
            self[name] = f"{name}_{mark}"
            return self[name]

    names = _Names()
    try:
        yield names
    finally:
        for name in names.values():
            with suppress(Exception):
                session.catalog.dropTempView(name)


def _is_rejection(outcome: str) -> bool:
    return outcome not in ("", WITHOUT_TOKENS, MERGED)


def _counts(records: int, outcomes: Mapping[str, tuple[int, float]], sums: Mapping[str, Sums]) -> Counts:
    """What became of the records; `checked`, since they were counted on their own."""
    estimated, requests = outcomes.get("", (0, 0.0))
    summed = round(float(sums[ALL].records_of().sum())) if ALL in sums else 0
    if summed != estimated:
        raise InferprintError(f"{estimated} records estimated, {summed} in the totals", hint="This is a defect.")
    return Counts(
        records=records,
        estimated=estimated,
        merged=outcomes.get(MERGED, (0, 0.0))[0],
        skipped={NO_TOKENS: outcomes.get(WITHOUT_TOKENS, (0, 0.0))[0]},
        rejected=sum(n for outcome, (n, _) in outcomes.items() if _is_rejection(outcome)),
        requests=requests,
    ).checked()


def _check_written(session: Any, folder: str, estimated: int) -> None:
    """What lies in the folder is what was counted: nobody changed the usage in between."""
    written = session.read.parquet(folder).count()
    if written != estimated:
        hint = "Did the usage change while it was read? Run again on files that stay as they are."
        raise InferprintError(f"{estimated} records counted, {written} written", hint=hint)


class _Run:
    """The passes of one run."""

    def __init__(
        self, session: Any, views: dict[str, str], options: RunOptions, keep: Sequence[str], order_by: str | None
    ) -> None:
        self._session, self._views, self._options = session, views, options
        self._keep, self._order_by = tuple(keep), order_by
        self._identity: tuple[str, ...] = ()
        self.merged_by = ""

    def _sql(self, text: str) -> Any:
        """The rows of a query; our tables in it are the views of this run."""
        tree = sqlglot.parse_one(text, dialect=DIALECT.sql)
        renamed(tree, dict(self._views))
        return self._session.sql(tree.sql(dialect=DIALECT.sql))

    def _register(self, frame: Any, name: str) -> None:
        frame.createOrReplaceTempView(self._views[name])

    # --- first pass: setups -------------------------------------------------------------------------------------------

    def source(self, usage: Any, name: str) -> tuple[Any, Source]:
        """The columns that count, named like our fields; identity is text, and filled."""
        from pyspark.sql import functions as F  # noqa: N812 - its usual name

        fills = self._options.fills
        mapped = self._options.mapped(Path(name), usage.columns)
        self._identity = tuple(n for n in IDENTITY if n in mapped or fills.get(n) is not None)
        self._check_kept(usage.columns, mapped)
        columns = []
        for field in self._identity:
            cell = usage[_ticked(mapped[field])].cast("string") if field in mapped else F.lit(None).cast("string")
            columns.append((F.coalesce(cell, F.lit(str(fills[field]))) if fills.get(field) else cell).alias(field))
        columns += [usage[_ticked(column)].alias(field) for field, column in mapped.items() if field not in IDENTITY]
        columns += [usage[_ticked(column)] for column in self._keep]
        if self._order_by is not None:
            columns.append(usage[_ticked(self._order_by)].alias(_ORDER))
        given = usage.select(*columns)
        self._register(given, "inferprint_given")
        kinds = dict(given.dtypes)
        fields = {field: field for field in mapped if field not in IDENTITY}
        numeric = frozenset(field for field in fields if kinds[field].split("(")[0] in _NUMBERS)
        numbers = {field: float(fills[field]) for field in NUMBERS if fills.get(field) is not None}
        return given, Source(self._views["inferprint_given"], fields, given.columns, numbers, numeric)

    def _check_kept(self, names: Sequence[str], mapped: Mapping[str, str]) -> None:
        for column in (*self._keep, *([self._order_by] if self._order_by else [])):
            if column not in names:
                raise FileProblem(f"usage: no column '{column}'", hint=f"It has: {', '.join(names)}.")
        for column in self._keep:
            if column in (*mapped, *self._identity, "model", "reason"):
                raise InvalidInput("keep", f"'{column}' is the name of a column that there is already")

    def cards(self, source: Source, setups: Setups) -> Warehouse:
        """The cards of all distinct setups, and their tables as views that every executor gets."""
        keys = [f"key_{name}" for name in source.keys]
        if keys:
            only_keys = Source(source.table, source.columns, (), source.fills, source.numeric)
            text = with_stages(
                DIALECT, {NUMBERED: only_keys.numbered(DIALECT)}, f"SELECT DISTINCT {', '.join(keys)} FROM {NUMBERED}"
            )
            cells = [tuple(row) for row in self._sql(text).collect()]
        else:
            cells = [()]
        stated = [_stated(source.keys, row) for row in sorted(cells, key=str) if UNREADABLE_KEY not in row]
        for done in setups.ahead(stated):
            self._options.reported("cards", done, len(stated))
        warehouse = warehouse_of(setups, stated, source.keys, intervals=self._options.row_intervals)
        for name, columns in warehouse.tables().items():
            self._broadcast(name, columns, warehouse.kinds(name))
        return warehouse

    def _broadcast(self, name: str, columns: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
        """A small table as a view; NaN becomes NULL."""
        from pyspark.sql import functions as F  # noqa: N812
        from pyspark.sql.types import DoubleType, LongType, StringType, StructField, StructType

        types = {"string": StringType(), "int64": LongType(), "float64": DoubleType()}
        schema = StructType([StructField(column, types[kinds[column]]) for column in columns])
        lists = [cells.tolist() if isinstance(cells, np.ndarray) else cells for cells in columns.values()]
        rows = [tuple(None if cell != cell else cell for cell in row) for row in zip(*lists, strict=True)]  # noqa: PLR0124
        self._register(F.broadcast(self._session.createDataFrame(rows, schema)), name)

    # --- rows with their cards ----------------------------------------------------------------------------------------

    def rows(self, source: Source, warehouse: Warehouse) -> Any:
        """All rows with the cards that they take or the reason why they take none; one of each request counts."""
        stages = row_stages(DIALECT, source, warehouse)
        text = with_stages(DIALECT, stages, f"SELECT * FROM {ROWS}")
        rows = self._sql(text)
        names = dict(zip(source.kept, map(_given, source.keep), strict=True))
        rows = rows.toDF(*(names.get(name, name) for name in rows.columns))
        return self._merged(rows) if "request_id" in self._identity else rows

    def _merged(self, rows: Any) -> Any:
        """Rows of which another one of the same request counts get that for an outcome."""
        from pyspark.sql import Window
        from pyspark.sql import functions as F  # noqa: N812

        request = F.col(_given("request_id"))
        first = [_given(name) for name in (_ORDER, "utc_datetime") if _given(name) in rows.columns]
        named = {_ORDER: self._order_by, "utc_datetime": "utc_datetime"}
        by = " and ".join(str(named[name.removeprefix("given_")]) for name in first) or "what they say"
        self.merged_by = f"of the records of one request, the first by {by} counts"
        counts = F.col(PROBLEM).isNull() & (F.coalesce(request, F.lit("")) != "")
        if rows.where(counts).groupBy(request).count().where("count > 1").isEmpty():
            return rows
        # All that tells rows apart, so that each pass picks the same one.
        every = [*first, "pair", *NUMBERS, *(_given(name) for name in self._identity)]
        rank = F.row_number().over(Window.partitionBy(request).orderBy(*dict.fromkeys(every)))
        good = rows.where(counts).withColumn("rank", rank)
        repeated = F.col("rank") > 1
        none = {name: F.when(repeated, F.lit(NO_CARD)).otherwise(F.col(name)) for name in ("machine", "place", "pair")}
        good = good.withColumns({PROBLEM: F.when(repeated, F.lit(MERGED)), **none}).drop("rank")
        return good.unionByName(rows.where(~counts)).persist()

    # --- second pass: impacts -----------------------------------------------------------------------------------------

    def impacts(self, rows: Any, warehouse: Warehouse, folder: str) -> None:
        """Write the impacts."""
        self._register(rows, ROWS)
        keep = {_given(name): name for name in (*self._identity, *self._keep)} | {MODEL: "model"}
        good = "inferprint_good"
        self._register(self._sql(f"SELECT * FROM {ROWS} WHERE {PROBLEM} IS NULL"), good)
        stages = output_stages(DIALECT, dict.fromkeys(keep, "string"), warehouse)
        outputs = {name: name for name, _, _ in output_columns(intervals=self._options.row_intervals)}
        select = ", ".join(f"{_ticked(inner)} AS {_ticked(name)}" for inner, name in (keep | outputs).items())
        parts = [f"SELECT {select} FROM {outputs_of(kind)}" for kind in warehouse.cards or ("",)]
        text = with_stages(DIALECT, {ROWS: f"SELECT * FROM {good}"} | stages, " UNION ALL ".join(parts))
        tree = sqlglot.parse_one(text, dialect=DIALECT.sql)
        # The stage ROWS stands before the view of that name.
        renamed(tree, {name: view for name, view in self._views.items() if name != ROWS})
        made = self._session.sql(tree.sql(dialect=DIALECT.sql))
        made.write.mode("overwrite" if self._options.overwrite else "errorifexists").parquet(folder)

    # --- third pass: sums ---------------------------------------------------------------------------------------------

    def sums(self, rows: Any, warehouse: Warehouse) -> tuple[dict[str, Sums], dict[str, tuple[int, float]]]:
        """Features by dimension, key and pair; and records and requests by what became of them."""
        found: list[Any] = []
        for kind in warehouse.cards:
            found += self._sums_of(warehouse, kind).collect()
        if not warehouse.cards:
            outcomes = rows.groupBy(PROBLEM).count().collect()
            return {}, {row[0]: (row[1], 0.0) for row in outcomes}
        first = found[0]["dimension"] if found else ""
        outcomes_by: dict[str, tuple[int, float]] = {}
        for row in (row for row in found if row["dimension"] == first):
            records, requests = outcomes_by.get(row["outcome"], (0, 0.0))
            outcomes_by[row["outcome"]] = records + row["records"], requests + (row["requests"] or 0.0)
        good = sorted((row for row in found if row["pair"] >= 0), key=lambda r: (r["dimension"], r["key"], r["pair"]))
        columns = _as_columns(good)
        dimensions = [name for name in dict.fromkeys(row["dimension"] for row in good) if name != RECORDS]
        pairs = warehouse.pairs
        sums = {name: sums_of(name, columns, columns["dimension"] == name, pairs) for name in dimensions}
        if good:
            # Every row has a key in each dimension: those of one are everything.
            sums[ALL] = _everything(sums_of(first, columns, columns["dimension"] == first, pairs))
        return sums, outcomes_by

    def _sums_of(self, warehouse: Warehouse, kind: str) -> Any:
        """The sums of rows of one kind of cards."""
        dimensions = {name: column for name, column in DIMENSIONS.items() if column in self._identity}
        labels = {f"by_{name}": _label(name, _ticked(_given(column))) for name, column in dimensions.items()}
        labels = labels or {f"by_{RECORDS}": "''"}
        numbers = ["input_tokens", "cached_input_tokens", "output_tokens", "n_requests"]
        select = [*numbers, "machine", "pair", f"COALESCE({PROBLEM}, '') AS outcome"]
        select += [f"{sql} AS {name}" for name, sql in labels.items()]
        usage = f"SELECT {', '.join(select)} FROM {ROWS} WHERE kind = '{kind}'"
        keys = ["outcome", *labels]
        kinds = (
            dict.fromkeys(numbers, "float64") | {"machine": "int64", "pair": "int64"} | dict.fromkeys(keys, "string")
        )
        stage, sums = feature_sums(warehouse.cards[kind], kinds, ["pair", *keys], DIALECT.sql)
        tree = sqlglot.parse_one(stage, dialect=DIALECT.sql)
        renamed(tree, {"usage": "inferprint_usage", MACHINES: table_of(MACHINES, kind)})
        stages = {"inferprint_usage": usage, "inferprint_counted": tree.sql(dialect=DIALECT.sql)}
        which = " ".join(f"WHEN grouping({key}) = 0 THEN '{key.removeprefix('by_')}'" for key in labels)
        whose = " ".join(f"WHEN grouping({key}) = 0 THEN {key}" for key in labels)
        last = (
            f"SELECT CASE {which} END AS dimension, CASE {whose} END AS key, outcome, pair, {sums} "
            f"FROM inferprint_counted GROUP BY GROUPING SETS ({', '.join(f'(pair, outcome, {key})' for key in labels)})"
        )
        return self._sql(with_stages(DIALECT, stages, last))

    # --- fourth pass: rejects -----------------------------------------------------------------------------------------

    def rejects(self, rows: Any, outcomes: Mapping[str, tuple[int, float]], folder: str) -> None:
        """Write rejected rows as they were given, with the reason; an empty folder where there are none."""
        from pyspark.sql import functions as F  # noqa: N812

        given = [name for name in rows.columns if name.startswith("given_") and name != _given(_ORDER)]
        columns = [F.col(_ticked(name)).alias(name.removeprefix("given_")) for name in given]
        refused = rows.where(F.col(PROBLEM).isNotNull() & ~F.col(PROBLEM).isin(WITHOUT_TOKENS, MERGED))
        made = refused.select(*columns, F.col(PROBLEM).alias("reason"))
        if not any(_is_rejection(outcome) for outcome in outcomes):
            made = self._session.createDataFrame([], made.schema)
        made.write.mode("overwrite" if self._options.overwrite else "errorifexists").parquet(folder)


def _given(name: str) -> str:
    """A column of the usage beside ours."""
    return f"given_{name}"


def _ticked(name: str) -> str:
    return DIALECT.quoted(name)


def _stated(keys: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    """What a setup states: blank cells left out."""
    return {
        name: cell
        for name, cell in zip(keys, cells, strict=True)
        if cell not in ("", BLANK_KEY if name in NUMERIC_KEYS else "")
    }


def _label(dimension: str, cell: str) -> str:
    """SQL of a row's key in a dimension."""
    if dimension != "day":
        return f"COALESCE(NULLIF({cell}, ''), '{NONE}')"
    day = f"SUBSTR({cell}, 1, 10)"
    known = (
        f"CASE WHEN {day} RLIKE '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}$' THEN CAST(TRY_CAST({day} AS DATE) AS STRING) END"
    )
    return f"CASE WHEN COALESCE({cell}, '') = '' THEN '{NONE}' ELSE COALESCE({known}, '{UNREADABLE}') END"


def _everything(sums: Sums) -> Sums:
    """The sums of one dimension as those over everything."""
    zeroth = np.array([0])
    features = {pair: (zeroth, summed.sum(axis=1, keepdims=True)) for pair, (_, summed) in sums.features.items()}
    return Sums(ALL, [ALL], features, {pair: np.array([n.sum()]) for pair, n in sums.records.items()})


def _as_columns(rows: Sequence[Any]) -> dict[str, Any]:
    """Rows of sums as columns; a feature that one kind of cards has not is 0."""
    dicts = [row.asDict() for row in rows]
    names = dict.fromkeys(name for row in dicts for name in row)
    columns: dict[str, Any] = {}
    for name in names:
        cells = [row.get(name) for row in dicts]
        is_text = name in ("dimension", "key", "outcome")
        columns[name] = np.array(cells, dtype=object) if is_text else np.array([cell or 0 for cell in cells])
    return columns


assert set(SETUP_FIELDS).isdisjoint(NUMERIC_FIELDS)
