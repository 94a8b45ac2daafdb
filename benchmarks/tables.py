"""Ten million rows, Parquet to Parquet, 500 distinct cards: `inferprint run` against SQL written by hand for DuckDB.

Compared: the run, with its checks, totals by model, service, place, project and day, and summary, against one SQL
statement that joins the same rate cards, which it is given as a table, and does the same arithmetic to the same
columns; once without and once with the bounds of every row. Wall-clock time and peak memory of fresh processes that
take turns, on the same threads. Cards cost the run 20 ms each and the SQL nothing: their time is shown apart.
EcoLogits, a call per row on 10,000 of the rows, for scale; and the speed at which the machine copies memory.

Why it is fair: both read the same file and write Parquet with the same columns, compression and row groups, by the same
version of DuckDB; before anything is timed, their outputs are compared row by row.

    python benchmarks/tables.py [ROWS [ROUNDS]]

With more than 20 million rows only the run is timed, to see whether its memory stays flat.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from timing import copy_bandwidth, machine

ROWS, ROUNDS = 10_000_000, 3
MODELS, SERVICES = 125, ("together", "deepinfra", "fireworks", "aws-bedrock")
COUNTRIES = ("US", "FR", "DE", "JP", "BR", "AU")
FLAT = 20_000_000
TARGETS = {"time": 1.3, "memory": 1.3, "intervals": 1.5}


def make_rows(path: Path, rows: int) -> None:
    """Usage of 500 pairs of model and service, of which each has its country, over 30 days and 40 projects."""
    from inferprint.estimate import Estimator

    models = [m.id for m in Estimator().catalogue.models.values() if m.modality == "text" and m.total_params_b]
    chosen = random.Random(7).sample(sorted(models), MODELS)
    pairs = [(model, service) for model in chosen for service in SERVICES]
    connection = duckdb.connect(config={"temp_directory": str(path.parent / "spill")})
    names = {"model_id": [p[0] for p in pairs], "managed_service_id": [p[1] for p in pairs]}
    names["country"] = [COUNTRIES[i % len(COUNTRIES)] for i in range(len(pairs))]
    connection.register("pairs", {name: np.array(cells, dtype=object) for name, cells in names.items()})
    connection.execute("CREATE TABLE setups AS SELECT row_number() OVER () - 1 AS i, * FROM pairs")
    connection.execute(
        f"""COPY (
        SELECT model_id, managed_service_id, country, 'project-' || hash(n, 5) % 40 AS project_id,
            strftime(DATE '2026-11-01' + CAST(n * 30 // {rows} AS INTEGER), '%Y-%m-%dT09:00:00Z') AS utc_datetime,
            CAST(hash(n, 1) % 8000 AS BIGINT) AS cached_input_tokens,
            CAST(hash(n, 1) % 8000 + hash(n, 2) % 4000 AS BIGINT) AS input_tokens,
            CAST(1 + hash(n, 3) % 2000 AS BIGINT) AS output_tokens
        FROM range({rows}) rows(n) JOIN setups ON setups.i = hash(n, 4) % {len(pairs)} ORDER BY n
        ) TO '{path}' (FORMAT parquet)"""
    )


def write_cards(rows: Path, path: Path) -> None:
    """The cards of all setups as one table: what the SQL by hand is given."""
    from inferprint.batch.expression import card_tables
    from inferprint.estimate import Estimator, Request
    from inferprint.modalities.text import TEXT

    estimator = Estimator()
    connection = duckdb.connect()
    keys = ("model_id", "managed_service_id", "country")
    setups = connection.execute(f"SELECT DISTINCT {', '.join(keys)} FROM '{rows}' ORDER BY ALL").fetchall()
    pairs = [
        estimator.cards(Request(input_tokens=1, output_tokens=1, **dict(zip(keys, setup, strict=True))))
        for setup in setups
    ]
    tables = card_tables(TEXT, {i: p[0] for i, p in enumerate(pairs)}, {i: p[1] for i, p in enumerate(pairs)})
    columns: dict[str, Any] = {name: np.array([s[i] for s in setups], dtype=object) for i, name in enumerate(keys)}
    columns |= {name: cells for table in (tables.machines, tables.places) for name, cells in table.items()}
    columns["model"] = np.array([pair[0].model for pair in pairs], dtype=object)
    connection.register("cards", columns)
    select = ", ".join(
        f"nullif({name}, 'nan'::DOUBLE) AS {name}" if np.asarray(cells).dtype.kind == "f" else name
        for name, cells in columns.items()
    )
    connection.execute(f"COPY (SELECT {select} FROM cards) TO '{path}' (FORMAT parquet)")


FEATURES = {
    "request": "1.0::DOUBLE",
    "fresh_input_tokens": "i - c",
    "first_chunk_tokens": "least(i - c, 512)",
    "later_chunk_tokens": "i - c - least(i - c, 512)",
    "prompt_pairs": "(i - c) * c + (i - c) * (i - c + 1) / 2",
    "windowed_prompt_pairs": """(least(i, w) * (least(i, w) + 1) - least(c, w) * (least(c, w) + 1)) / 2
        + ((i - least(i, w)) - (c - least(c, w))) * w""",
    "cached_input_tokens": "c",
    "windowed_cached_tokens": "least(c, w)",
    "output_tokens": "o",
    "output_context": "o * (i + o / 2)",
    "windowed_output_context": """(least(i + o, w) * least(i + o, w) - least(i, w) * least(i, w)) / 2
        + ((i + o - least(i + o, w)) - (i - least(i, w))) * w""",
}
WH, KWH = "/ 3600", "/ 3.6e6"
PLACED = {
    "usage_energy_wh": "it_energy",
    "usage_emissions_gco2e": "it_energy",
    "usage_emissions_market_gco2e": "it_energy",
    "usage_water_ml": "it_energy",
}
OF_MACHINE = {
    "duration_ms": ("duration", "* 1000"),
    "embodied_emissions_gco2e": ("embodied_emissions", ""),
    "embodied_water_ml": ("embodied_water", ""),
}
ORDER = (
    "duration_ms",
    "usage_energy_wh",
    "usage_emissions_gco2e",
    "usage_emissions_market_gco2e",
    "usage_water_ml",
    "embodied_emissions_gco2e",
    "embodied_water_ml",
)
PARTS = ("accelerator_energy", "host_energy", "idle_energy")
PLACE_PARTS = ("facility_overhead_wh", "site_water_ml", "grid_water_ml", "grid_water_excluding_hydro_ml")


def by_hand(rows: Path, cards: Path, out: Path, *, intervals: bool) -> str:
    """The statement: features, sums of products, outputs, bounds."""
    rates = [name for (name,) in duckdb.execute(f"SELECT column_name FROM (DESCRIBE '{cards}')").fetchall()]

    def product(quantity: str) -> str:
        used = [f for f in FEATURES if f"{quantity}_per_{f}" in rates]
        return " + ".join(f"{f}_ * {quantity}_per_{f}" for f in used)

    quantities = ["duration", "it_energy", "embodied_emissions", "embodied_water", *PARTS]
    quantities += ["prefill_energy", "decode_energy"]
    if intervals:
        quantities += [f"{q}_{s}" for q in quantities[:4] for s in ("low", "high")]
    columns = []
    for name in ORDER:
        if name in OF_MACHINE:
            quantity, unit = OF_MACHINE[name]
            columns.append(f"{quantity} {unit} AS {name}")
            columns += [f"{quantity}_{s} {unit} AS {name}_{s}" for s in ("low", "high") if intervals]
            continue
        value = f"it_energy * {name}_factor"
        columns.append(f"{value} AS {name}")
        for sign, side in (("-", "low"), ("", "high")):
            width = f"sqrt(power(ln(it_energy_{side} / it_energy), 2) + {name}_{side}_width)"
            columns += [f"{value} * exp({sign}{width}) AS {name}_{side}"] if intervals else []
    columns += [f"{part} {WH} AS {part}_wh" for part in PARTS]
    columns += [f"it_energy * {part}_factor AS {part}" for part in PLACE_PARTS]
    columns += [f"{part} {WH} AS {part}_wh" for part in ("prefill_energy", "decode_energy")]
    features = ", ".join(f"{sql} AS {name}_" for name, sql in FEATURES.items())
    sums = ", ".join(f"{product(quantity)} AS {quantity}" for quantity in quantities)
    return f"""COPY (
        WITH usage AS (
            SELECT *, input_tokens::DOUBLE AS i, cached_input_tokens::DOUBLE AS c, output_tokens::DOUBLE AS o,
                file_row_number + 1 AS row
            FROM read_parquet('{rows}', file_row_number = true)),
        priced AS (
            SELECT usage.*, cards.* EXCLUDE (model_id, managed_service_id, country), window_tokens AS w
            FROM usage JOIN '{cards}' cards USING (model_id, managed_service_id, country)),
        features AS (SELECT *, {features} FROM priced),
        quantities AS (SELECT row, project_id, utc_datetime, model, {sums},
            COLUMNS('.*_(factor|width)') FROM features)
        SELECT row, '{rows}' AS file, project_id, utc_datetime, model, {", ".join(columns)} FROM quantities
    ) TO '{out}' (FORMAT parquet)"""


CHILD = """
import json, sys, time
sys.path.insert(0, {here!r})
start = time.perf_counter()
seconds = {{}}
if {what!r} == "run":
    from inferprint.batch import RunOptions, apply, run
    survey = apply.Applier.survey
    def timed(self):
        begun = time.perf_counter()
        survey(self)
        seconds["cards"] = time.perf_counter() - begun
    apply.Applier.survey = timed
    if __name__ == "__main__":
        options = RunOptions(row_intervals={intervals}, processes=2, overwrite=True)
        summary = run({rows!r}, {out!r}, options)
        seconds["estimated"] = summary.counts.estimated
else:
    import duckdb
    from tables import by_hand
    from pathlib import Path
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    connection.execute("SET enable_progress_bar = false")
    connection.execute(by_hand(Path({rows!r}), Path({cards!r}), Path({out!r}), intervals={intervals}))
if __name__ == "__main__":
    seconds["all"] = time.perf_counter() - start
    status = open("/proc/self/status").read()
    seconds["mb"] = int(status.split("VmHWM:")[1].split()[0]) / 1e3
    print(json.dumps(seconds))
"""


def child(what: str, folder: Path, *, intervals: bool) -> dict[str, float]:
    """Seconds and peak memory of one run in a fresh process."""
    out = folder / ("ours" if what == "run" else "by-hand.parquet")
    names = {"rows": str(folder / "rows.parquet"), "cards": str(folder / "cards.parquet"), "out": str(out)}
    script = folder / "child.py"
    script.write_text(CHILD.format(here=str(Path(__file__).parent), what=what, intervals=intervals, **names))
    done = subprocess.run([sys.executable, str(script)], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compared(folder: Path, *, intervals: bool) -> float:
    """The largest relative difference between both outputs, row by row."""
    ours = folder / "ours" / "impacts.parquet"
    files = f"{ours}/*.parquet" if ours.is_dir() else str(ours)
    names = [*ORDER, *(f"{n}{s}" for n in ORDER for s in ("_low", "_high") if intervals)]
    names += [f"{part}_wh" for part in (*PARTS, "prefill_energy", "decode_energy")] + list(PLACE_PARTS)
    differences = ", ".join(f"max(abs(a.{n} - b.{n}) / nullif(abs(b.{n}), 0))" for n in names)
    found = duckdb.execute(
        f"SELECT count(*), {differences} FROM '{files}' a JOIN '{folder}/by-hand.parquet' b USING (row)"
    ).fetchone()
    assert found is not None
    total = duckdb.execute(f"SELECT count(*) FROM '{folder}/rows.parquet'").fetchone()
    assert total is not None
    assert found[0] == total[0], f"{found[0]} rows of {total[0]}"
    return max(float(x) for x in found[1:] if x is not None)


def ecologits(folder: Path, rows: int = 10_000) -> float:
    """Rows per second of EcoLogits, a call a row, all of one model that it knows."""
    from ecologits.tracers.utils import llm_impacts

    from compare_ecologits import MODEL

    given = duckdb.execute(f"SELECT output_tokens FROM '{folder}/rows.parquet' LIMIT {rows}").fetchall()
    start = time.perf_counter()
    for (output_tokens,) in given:
        llm_impacts("huggingface_hub", MODEL, output_tokens, 0.02 * output_tokens, "FRA")
    return rows / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    folder = Path(tempfile.mkdtemp(prefix="inferprint-tables-"))
    try:
        print(f"{machine()}; memory copies at {copy_bandwidth():.1f} GB/s")
        make_rows(folder / "rows.parquet", rows)
        print(f"{rows:,} rows, {(folder / 'rows.parquet').stat().st_size / 1e6:,.0f} MB")
        if rows > FLAT:
            found = child("run", folder, intervals=False)
            print(
                f"run without bounds: {found['all']:.1f} s, {found['mb']:,.0f} MB, {found['estimated']:,.0f} estimated"
            )
            return
        write_cards(folder / "rows.parquet", folder / "cards.parquet")
        side_by_side(folder, rounds)
        print(f"EcoLogits: {ecologits(folder):,.0f} rows per second")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def side_by_side(folder: Path, rounds: int) -> None:
    """Both, by turns, without and with bounds."""
    times: dict[bool, float] = {}
    for intervals in (False, True):
        found: dict[str, list[dict[str, float]]] = {"run": [], "by hand": []}
        for turn in range(rounds):
            for what in ("run", "by hand") if turn % 2 == 0 else ("by hand", "run"):
                found[what].append(child(what, folder, intervals=intervals))
        difference = compared(folder, intervals=intervals)
        print(f"{'with' if intervals else 'without'} bounds; largest difference {difference:.1e}")
        middle = {what: {k: statistics.median(one[k] for one in each) for k in each[0]} for what, each in found.items()}
        ours, theirs = middle["run"], middle["by hand"]
        applied = statistics.median(one["all"] - one["cards"] for one in found["run"])
        times[intervals] = applied
        for what, one in middle.items():
            each = ", ".join(f"{run['all']:.1f}" for run in found[what])
            print(f"  {what:8} {one['all']:6.1f} s ({each}), peak {one['mb']:,.0f} MB")
        print(f"  cards {ours['cards']:.1f} s; without them {applied:.1f} s")
        print(f"  ratio of time {applied / theirs['all']:.2f} (with cards {ours['all'] / theirs['all']:.2f}), "
              f"of memory {ours['mb'] / theirs['mb']:.2f}")  # fmt: skip
    print(f"bounds cost the run {times[True] / times[False]:.2f} times")


if __name__ == "__main__":
    main()
