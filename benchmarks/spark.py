"""Millions of rows on Spark, Parquet to Parquet, 500 distinct cards: `run_spark` against Spark SQL written by hand.

Compared, in one session and by turns: the run, with its checks, rejects, counts and totals by model, service, place,
project and day, against one statement that joins the same rate cards, which it is given as a table, and does the same
arithmetic to the same columns with the bounds of every row. The pass of the run that does what the statement does is
shown apart, and the speed at which the machine copies memory beside.

Why it is fair: both read the same file and write Parquet with the same columns by the same session; each ran once
before anything is timed, which also compares their outputs; cards are found before, since the statement is given them.

    python benchmarks/spark.py [ROWS [ROUNDS]]

Java 17 or 21 is needed.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from inferprint.batch import RunOptions
from inferprint.batch.spark import _Run, has_java, run_spark, spark_session
from inferprint.estimate import Estimator
from tables import FEATURES, OF_MACHINE, ORDER, PARTS, PLACE_PARTS, WH, make_rows, write_cards
from timing import by_turns, copy_bandwidth, machine, spread

ROWS, ROUNDS, TARGET = 10_000_000, 3, 1.3
SETTINGS = {"spark.driver.memory": "6g", "spark.sql.shuffle.partitions": "4"}


def by_hand(rates: list[str]) -> str:
    """The statement over the views usage and cards: features, sums of products, outputs, bounds."""

    def product(quantity: str) -> str:
        return " + ".join(f"{f}_ * {quantity}_per_{f}" for f in FEATURES if f"{quantity}_per_{f}" in rates)

    sided = ("duration", "it_energy", "embodied_emissions", "embodied_water")
    quantities = [*sided, *(f"{q}_{side}" for q in sided for side in ("low", "high"))]
    quantities += [*PARTS, "prefill_energy", "decode_energy"]
    columns = []
    for name in ORDER:
        if name in OF_MACHINE:
            quantity, unit = OF_MACHINE[name]
            columns += [f"{quantity}{side} {unit} AS {name}{side}" for side in ("", "_low", "_high")]
            continue
        value = f"it_energy * {name}_factor"
        columns.append(f"{value} AS {name}")
        for sign, side in (("-", "low"), ("", "high")):
            width = f"sqrt(power(ln(it_energy_{side} / it_energy), 2) + {name}_{side}_width)"
            columns.append(f"{value} * exp({sign}{width}) AS {name}_{side}")
    columns += [f"{part} {WH} AS {part}_wh" for part in (*PARTS, "prefill_energy", "decode_energy")]
    columns += [f"it_energy * {part}_factor AS {part}" for part in PLACE_PARTS]
    features = ", ".join(f"{sql} AS {name}_" for name, sql in FEATURES.items())
    sums = ", ".join(f"{product(quantity)} AS {quantity}" for quantity in quantities)
    factors = ", ".join(name for name in rates if name.endswith(("_factor", "_width")))
    return f"""
        WITH priced AS (
            SELECT /*+ BROADCAST(cards) */ *, window_tokens AS w, CAST(input_tokens AS DOUBLE) AS i,
                CAST(cached_input_tokens AS DOUBLE) AS c, CAST(output_tokens AS DOUBLE) AS o
            FROM usage JOIN cards USING (model_id, managed_service_id, country)),
        features AS (SELECT *, {features} FROM priced),
        quantities AS (SELECT project_id, utc_datetime, model, {sums}, {factors} FROM features)
        SELECT project_id, utc_datetime, model, {", ".join(columns)} FROM quantities"""


def compared(ours: str, theirs: str) -> float:
    """The largest relative difference between the sums of the columns of both outputs."""
    names = [name for (name,) in duckdb.execute(f"SELECT column_name FROM (DESCRIBE '{theirs}/*.parquet')").fetchall()]
    sums = ", ".join(f"fsum({name})" for name in names[3:])
    found = [duckdb.execute(f"SELECT count(*), {sums} FROM '{path}/*.parquet'").fetchone() for path in (ours, theirs)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0][0] == found[1][0], f"{found[0][0]} rows and {found[1][0]}"
    pairs = zip(found[0], found[1], strict=True)
    return max(abs(float(a) - float(b)) / abs(float(b)) for a, b in pairs if b)


def measured(session: Any, folder: Path, rounds: int) -> None:
    """Both, by turns."""
    rows, cards = str(folder / "rows.parquet"), str(folder / "cards.parquet")
    session.read.parquet(rows).createOrReplaceTempView("usage")
    session.read.parquet(cards).createOrReplaceTempView("cards")
    statement = by_hand(session.read.parquet(cards).columns)
    options = RunOptions(estimator=Estimator(), overwrite=True)
    passes: dict[str, list[float]] = {}

    def ours() -> None:
        run_spark(session, rows, folder / "ours", options)

    def theirs() -> None:
        session.sql(statement).write.mode("overwrite").parquet(str(folder / "theirs"))

    for name in ("cards", "rows", "impacts", "sums", "rejects"):
        setattr(_Run, name, _timed(getattr(_Run, name), passes.setdefault(name, [])))
    ours()
    theirs()
    print(f"largest difference of the sums of a column {compared(f'{folder}/ours/impacts', f'{folder}/theirs'):.1e}")
    for each in passes.values():
        each.clear()
    both = by_turns(ours, theirs, rounds)
    for what, one in zip(("run", "by hand"), both, strict=True):
        print(f"  {what:8} {spread(one)}")
    for name, each in passes.items():
        print(f"    of the run, {name:8} {spread(each)}")
    run, hand = (statistics.median(one) for one in both)
    impacts = statistics.median(passes["impacts"])
    verdict = "reached" if run / hand <= TARGET else "MISSED"
    print(
        f"ratio: whole run {run / hand:.2f}, target {TARGET}: {verdict}; the pass of the impacts {impacts / hand:.2f}"
    )


def _timed(call: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*arguments, **named)
        finally:
            seconds.append(time.perf_counter() - start)

    return timed


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    if not has_java():
        print("NOT RUN: there is no Java")
        return
    folder = Path(tempfile.mkdtemp(prefix="inferprint-spark-"))
    try:
        make_rows(folder / "rows.parquet", rows)
        write_cards(folder / "rows.parquet", folder / "cards.parquet")
        session = spark_session("local[*]", SETTINGS | {"spark.local.dir": str(folder)})
        session.sparkContext.setLogLevel("ERROR")
        print(f"{machine()}; memory copies at {copy_bandwidth():.1f} GB/s; {rows:,} rows")
        measured(session, folder, rounds)
        session.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
