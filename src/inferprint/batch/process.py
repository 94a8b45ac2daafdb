"""The run: read, check, find the cards, estimate, sum, write."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferprint._version import __version__
from inferprint.usage.engine import check_installed, connected
from inferprint.batch.files import (
    ImpactWriter,
    RejectWriter,
    output_folder,
    write_summary,
    write_totals,
)
from inferprint.batch.options import IDENTITY, RunOptions
from inferprint.batch.rows import Checked, Reject, check, explained
from inferprint.batch.setups import Pair, Part, Setups
from inferprint.batch.summary import Counts, Summary
from inferprint.usage.tables import NUMERIC_FIELDS, Chunk, Table, open_table
from inferprint.batch.times import work_columns
from inferprint.batch.totals import ALL, Dimension, Total, shares_of, split_by, totals_of
from inferprint.errors import FileProblem, InvalidInput
from inferprint.estimate import Estimator, Request
from inferprint.estimate.estimate import check_fit, work_beside_text
from inferprint.estimate.media import MEDIA_FIELDS
from inferprint.estimate.request import TOKEN_FIELDS, WRITTEN_FIELDS
from inferprint.estimate.result import work_trail
from inferprint.modalities.media import MediaWork
from inferprint.provenance.trace import Entry
from inferprint.quantities import BREAKDOWN, RESULTS
from inferprint.rates import OUTPUT_NAMES, apply
from inferprint.rates.draws import Array
from inferprint.rates.media import MediaReader

NO_TOKENS = "no-tokens"
"""The skip rule for records with neither input nor output tokens, nor pictures, video or sound."""

NONE = "(none)"
"""Key of what a row does not say."""

_POSITION = {name: i for i, name in enumerate(OUTPUT_NAMES)}
_ENERGY = _POSITION["usage_energy_wh"]
_OUTPUT_COLUMNS = [
    *(
        (f"{q.name}{suffix}", side, _POSITION[q.name])
        for q in RESULTS
        for side, suffix in enumerate(("", "_low", "_high"))
    ),
    *((q.name, 0, _POSITION[q.name]) for q in BREAKDOWN),
]
"""Name, side and position of each quantity's columns in the impacts."""


def run(files: Sequence[str | Path] | str | Path, out: str | Path, options: RunOptions | None = None) -> Summary:
    """Estimate every record of usage tables and write a folder of results.

    `out` gets impacts.parquet (or .csv), totals.csv, summary.json and, where records were rejected, rejects.csv. It
    appears whole or not at all. Rows are held in memory a chunk at a time, and the request_ids seen so far as a whole.

    Parameters
    ----------
    files
        CSV (plain or .gz) and Parquet files, known by their content.
    out
        The folder to write.
    options
        See `RunOptions`.

    Returns
    -------
    Summary
        Counts and totals with their 95 % intervals.

    Raises
    ------
    FileProblem
        A file that cannot be read or mapped, or an output that cannot be written.
    InferprintError
        A setup that was stated for the whole table and cannot be.
    """
    started = time.perf_counter()
    options = options or RunOptions()
    paths = [Path(path) for path in ([files] if isinstance(files, (str, Path)) else files)]
    if not paths:
        raise FileProblem("no files to read", hint="Name at least one CSV or Parquet file.")
    twice = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice:
        raise FileProblem(f"{twice[0]}: given twice", hint="Its records would count twice: name each file once.")
    tables = [open_table(path) for path in paths]
    check_installed()
    work = Run(options, [(table, options.mapped(table.path, table.names)) for table in tables])
    with output_folder(Path(out), overwrite=options.overwrite) as folder, connected() as connection:
        impacts, rejects = ImpactWriter(folder, options.output_format, connection), RejectWriter(folder)
        try:
            work.all_tables(impacts, rejects)
            impacts.close()
        finally:
            rejects.close()
        summary = work.summary(Path(out), rejects.count)
        summary = replace(summary, seconds=round(time.perf_counter() - started, 3))
        write_totals(folder, [summary.total, *summary.totals])
        write_summary(folder, summary.to_dict())
    return summary


UNREADABLE = "(unreadable)"
"""Day of a record whose utc_datetime is no ISO date."""

COMPARED = ("model_id", *TOKEN_FIELDS, *MEDIA_FIELDS)
"""What two records of one request_id should agree in."""

MOST_NOTED = 100
"""Distinct requests of a model whose own assumptions are looked at for the summary."""

ByRequest = Mapping[tuple[int, int], Mapping[str, float]]
"""Work columns beside those of text, by setup and by distinct request of a chunk."""


class Run:
    """State of one run over some tables.

    Parameters
    ----------
    options
        As given.
    tables
        Each table with the column of each of our fields.
    """

    def __init__(self, options: RunOptions, tables: Sequence[tuple[Table, dict[str, str]]]) -> None:
        self._options, self._tables = options, tables
        self._estimator = options.estimator or Estimator()
        self._setups = Setups(self._estimator, options.fills)
        given = {name for _, mapped in tables for name in mapped} | set(options.fills)
        self._identity = [name for name in IDENTITY if name in given]
        by_row = [name for name in ("project_id", "application_id") if name in given]
        names = [ALL, *by_row, "model", "service", *(["day"] if "utc_datetime" in given else [])]
        self._dimensions = {name: Dimension(name) for name in names}
        self._dimensions[ALL].codes([ALL])
        self._seen: dict[str, int] = {}
        self._records = self._merged = self._skipped = self._conflicts = self._unreadable = 0
        self._requests = 0.0
        self._energy: defaultdict[int, float] = defaultdict(float)
        self._cards: defaultdict[int, float] = defaultdict(float)
        self._warned: defaultdict[str, float] = defaultdict(float)
        self._noted: defaultdict[str, dict[Request, list[Entry]]] = defaultdict(dict)

    def all_tables(self, impacts: ImpactWriter, rejects: RejectWriter) -> None:
        """Read, estimate and write everything."""
        sizes = [table.rows for table, _ in self._tables]
        rows_total = sum(size for size in sizes if size is not None) if None not in sizes else None
        for table, mapped in self._tables:
            for chunk in table.chunks(mapped, self._options.chunk_rows):
                self._chunk(table, chunk, impacts, rejects)
                if self._options.progress is not None:
                    self._options.progress(self._records, rows_total)
        if impacts.is_empty:
            # A table without rows still has its columns.
            nothing: dict[str, list[str]] = {name: [] for name in ("file", *self._identity, "model")}
            outputs = np.zeros((3, len(OUTPUT_NAMES), 0))
            impacts.write(_columns(np.zeros(0, np.int64), nothing, self._identity, outputs))

    def _chunk(self, table: Table, chunk: Chunk, impacts: ImpactWriter, rejects: RejectWriter) -> None:
        """Estimate one chunk."""
        self._records += chunk.records
        checked = check(chunk, self._options.fills)
        self._skipped += int(checked.skipped.sum())
        rows = np.flatnonzero(checked.good)
        outputs = checked.beside.outputs
        several = outputs if outputs.max(initial=0.0) > 1 else None
        setups = self._setups.of(chunk, checked.numbers, rows, several)
        errors = [setup.error for setup in self._setups.setups]
        fits = np.array([error is None for error in errors], dtype=bool)[setups]
        refused = zip(rows[~fits].tolist(), setups[~fits].tolist(), strict=True)
        found = [Reject(row, *(errors[setup] or ("", ""))) for row, setup in refused] + checked.rejects
        rows, setups = rows[fits], setups[fits]
        columns, unmakeable = self._beside_text(checked, rows, setups)
        found += unmakeable
        fits = ~np.isin(rows, [reject.index for reject in unmakeable])
        lines = [(chunk.rows[r.index], r.field, r.reason, chunk.texts[r.index]) for r in found]
        lines += [(broken.row, "", broken.reason, broken.text) for broken in chunk.broken]
        for row, field, reason, text in sorted(lines):
            rejects.write(table.path, row, field, reason, text)
        first = self._first_of_each(chunk, rows[fits])
        if first.any():
            self._kept(table, chunk, checked, (rows[fits][first], setups[fits][first], columns), impacts)

    def _beside_text(
        self, checked: Checked, rows: NDArray[np.intp], setups: NDArray[np.intp]
    ) -> tuple[ByRequest, list[Reject]]:
        """Work columns of what each of the rows holds beside text, and the rows whose models do not read or make it."""
        columns: dict[tuple[int, int], Mapping[str, float]] = {}
        refused: list[Reject] = []
        beside = checked.beside
        for key, which in split_by(setups * len(beside.works) + beside.codes[rows]):
            number, code = divmod(key, len(beside.works))
            setup, request = self._setups.setups[number], beside.requests[code]
            assert setup.pair is not None
            try:
                columns[number, code] = work_beside_text(request, setup.pair.machine, beside.works[code])
            except InvalidInput as error:
                refused += [Reject(row, error.field, explained(error)) for row in rows[which].tolist()]
                continue
            refused += _unfit(setup.pair.machine.media, beside.works[code], checked.numbers, rows[which])
            noted = self._noted[setup.pair.machine.model]
            if len(noted) < MOST_NOTED and request not in noted:
                named = replace(request, model_id=setup.request.model_id, task=setup.request.task)
                noted[request] = work_trail(named, setup.pair.machine).assumptions
        return columns, refused

    def _first_of_each(self, chunk: Chunk, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of the rows are the first with their request_id; blank ones always are."""
        first = np.ones(rows.size, dtype=bool)
        for i, row in enumerate(rows.tolist() if "request_id" in chunk.columns else []):
            request_id = chunk.columns["request_id"][row]
            if request_id is None:
                continue
            content = hash(tuple(column[row] for name, column in chunk.columns.items() if name in COMPARED))
            first[i] = request_id not in self._seen
            self._conflicts += self._seen.setdefault(request_id, content) != content
        self._merged += int((~first).sum())
        return first

    def _kept(
        self,
        table: Table,
        chunk: Chunk,
        checked: Checked,
        kept: tuple[NDArray[np.intp], NDArray[np.intp], ByRequest],
        impacts: ImpactWriter,
    ) -> None:
        """Estimate, sum and write the rows that are left: their positions in the chunk, setups, and work columns."""
        rows, setups, columns = kept
        numbers = {name: checked.numbers[name][rows] for name in NUMERIC_FIELDS}
        # Where tokens are missing still, none are needed.
        numbers |= {name: np.nan_to_num(numbers[name]) for name in WRITTEN_FIELDS}
        self._requests += float(numbers["n_requests"].sum())
        text: dict[str, list[str]] = {"file": [str(table.path)] * rows.size}
        for name in self._identity:
            fill = str(self._options.fills.get(name) or "")
            cells = chunk.columns.get(name)
            text[name] = [cells[row] or fill for row in rows.tolist()] if cells is not None else [fill] * rows.size
        models = [setup.pair.machine.model if setup.pair else "" for setup in self._setups.setups]
        services = [_service(setup.pair) for setup in self._setups.setups]
        text["model"] = [models[setup] for setup in setups.tolist()]
        text["service"] = [services[setup] for setup in setups.tolist()]
        labels = {name: _labels(name, text) for name in self._dimensions}
        self._unreadable += labels.get("day", []).count(UNREADABLE)
        codes = {name: dimension.codes(labels[name]) for name, dimension in self._dimensions.items()}
        outputs = self._outputs(numbers, setups, codes, (columns, checked.beside.codes[rows]))
        for name, dimension in self._dimensions.items():
            dimension.add_rows(codes[name], outputs)
        means = int(np.sum(numbers["n_requests"] > 1))
        self._warned["stand for several requests: mean lengths are used, which hides long prompts"] += means
        impacts.write(_columns(np.array(chunk.rows, dtype=np.int64)[rows], text, self._identity, outputs))

    def _outputs(
        self,
        numbers: dict[str, Array],
        setups: NDArray[np.intp],
        codes: dict[str, NDArray[np.intp]],
        beside: tuple[ByRequest, NDArray[np.intp]],
    ) -> Array:
        """All outputs of the rows, shape (3, outputs, rows); their features are added to the totals.

        `beside` are the work columns beside those of text, and the distinct request of each row.
        """
        outputs = np.zeros((3, len(OUTPUT_NAMES), setups.size))
        work = work_columns(numbers)
        for setup, rows in split_by(setups):
            distinct, which = np.unique(beside[1][rows], return_inverse=True)
            each = [beside[0][setup, code] for code in distinct.tolist()]
            extra = _by_row(each, which, self._setups.setups[setup].pair)
            for part in self._setups.parts(setup, numbers, rows, extra):
                machine, place = part.pair.machine, part.pair.place
                columns = {name: column[part.rows] for name, column in work.items()}
                columns |= {name: column[np.searchsorted(rows, part.rows)] for name, column in extra.items()}
                features = np.array(machine.modality.count(columns, machine.window, np.minimum), dtype=float)
                if part.weights is not None:
                    features *= part.weights
                made = apply(machine, place, features)
                outputs[:, :, part.rows] += made
                self._energy[part.pair.number] += float(made[0, _ENERGY].sum())
                self._note(part, columns["input_tokens"] + columns["output_tokens"])
                for name, dimension in self._dimensions.items():
                    dimension.add_features(codes[name][part.rows], part.pair.number, features)
        return outputs

    def _note(self, part: Part, tokens: Array) -> None:
        """Count the records behind each warning; one that two cards share counts for its share of each."""
        machine = part.pair.machine
        weights = np.ones(part.rows.size) if part.weights is None else part.weights
        self._cards[part.pair.number] += float(weights.sum())
        limit = machine.context_length
        if limit is not None:
            text = f"exceed the context length of {machine.model} ({limit}): estimated as if it took them"
            self._warned[text] += float(weights[tokens > limit].sum())

    def summary(self, out: Path, rejected: int) -> Summary:
        """Counts and totals of all that was read."""
        pairs = self._setups.pairs
        (total,) = totals_of(self._dimensions[ALL], pairs)
        totals = [
            found
            for name, dimension in self._dimensions.items()
            if name != ALL
            for found in totals_of(dimension, pairs)
        ]
        largest = pairs[max(self._energy, key=self._energy.__getitem__)] if self._energy else None
        return Summary(
            files=tuple(table.path for table, _ in self._tables),
            out=out,
            counts=Counts(
                self._records, total.records, self._merged, {NO_TOKENS: self._skipped}, rejected, self._requests
            ).checked(),
            total=total,
            totals=tuple(totals),
            uncertainty=shares_of(self._dimensions[ALL], pairs, "usage_emissions_gco2e"),
            assumptions=tuple(self._assumptions(largest)),
            assumptions_of=f"{largest.machine.model}, {_service(largest)}" if largest else "",
            warnings=(*self._warnings(pairs), *_unknown(total)),
            versions={
                "inferprint": __version__,
                "catalogue": self._estimator.catalogue.version,
                "coefficients": largest.machine.coefficients if largest else "",
            },
            seconds=0.0,
        )

    def _assumptions(self, pair: Pair | None) -> list[Entry]:
        """What nobody stated about a pair of cards, and about the work that was asked of its model."""
        if pair is None:
            return []
        of_work = dict.fromkeys(entry for found in self._noted[pair.machine.model].values() for entry in found)
        return [*pair.machine.trail.assumptions, *pair.place.trail.assumptions, *of_work]

    def _warnings(self, pairs: Sequence[Pair]) -> list[str]:
        """Each warning with its records, most first; then columns that nothing reads."""
        by_card: defaultdict[str, float] = defaultdict(float)
        for number, records in self._cards.items():
            for text in (*pairs[number].machine.trail.warnings, *pairs[number].place.trail.warnings):
                by_card[text] += records
        found = [f"{records:,.0f} records {text}" for text, records in _most_first(self._warned) if records]
        if self._unreadable:
            found.append(f"{self._unreadable:,} records have a utc_datetime that is no ISO date")
        if self._conflicts:
            differ = "merged records differ from the first with their request_id, which was kept"
            found.append(f"{self._conflicts:,} {differ}")
        found += [f"{text} ({records:,.0f} records)" for text, records in _most_first(by_card) if records]
        for table, mapped in self._tables:
            unread = [name for name in table.names if name not in mapped.values()]
            found += [f"{table.path}: columns that nothing reads: {', '.join(unread)}"] if unread else []
        return found


def _most_first(records: Mapping[str, float]) -> list[tuple[str, float]]:
    """Texts by the number of their records."""
    return sorted(records.items(), key=lambda item: -item[1])


def _unknown(total: Total) -> list[str]:
    """A warning for quantities without a total: where one row lacks it, so does the sum."""
    unknown = [name for name, value in total.outputs.items() if value is None]
    return [f"unknown for some records, so without a total: {', '.join(unknown)}"] if unknown else []


def _labels(dimension: str, text: dict[str, list[str]]) -> list[str]:
    """Key of each row in a dimension."""
    if dimension == ALL:
        return [ALL] * len(text["file"])
    if dimension == "day":
        days = {moment: day_of(moment) for moment in {moment[:10] for moment in text["utc_datetime"]}}
        return [days[moment[:10]] for moment in text["utc_datetime"]]
    return [label or NONE for label in text[dimension]]


def day_of(moment: str) -> str:
    """The day of a moment, as far as it can be read."""
    try:
        return date.fromisoformat(moment).isoformat()
    except ValueError:
        return UNREADABLE if moment else NONE


def _service(pair: Pair | None) -> str:
    """The service, or what ran the model instead."""
    if pair is None:
        return ""
    kind = {"cloud": "cloud instance", "own": "own machine", "desk": "desk"}.get(pair.machine.hosting, "unstated")
    return pair.machine.service or f"({kind})"


def _unfit(reader: MediaReader, work: MediaWork, numbers: Mapping[str, Array], rows: NDArray[np.intp]) -> list[Reject]:
    """The rows whose tokens their model does not write, or that cannot hold those of what is given."""
    written = numbers["output_tokens"][rows] > 0
    suspects = rows if work.tokens_included else rows[written] if not reader.writes_text else rows[:0]
    found = []
    for row in suspects.tolist():
        n = numbers["n_requests"][row]
        try:
            check_fit(reader, work, numbers["input_tokens"][row] / n, numbers["output_tokens"][row] / n)
        except InvalidInput as error:
            found.append(Reject(row, error.field, explained(error)))
    return found


def _by_row(each: Sequence[Mapping[str, float]], rows: NDArray[np.intp], pair: Pair | None) -> dict[str, Array]:
    """Work columns of distinct requests as columns over the rows, which are positions among them.

    A request of text has none: where another one of its model has some, it gets the neutral ones.
    """
    assert pair is not None
    neutral = pair.machine.media.neutral
    names = dict.fromkeys(name for one in each for name in one)
    return {name: np.array([one[name] if name in one else neutral[name] for one in each])[rows] for name in names}


def _columns(numbers: NDArray[np.int64], text: dict[str, list[str]], identity: Sequence[str], outputs: Array) -> Any:
    """Columns of the impacts, in their order."""
    return {
        "row": numbers,
        **{name: np.array(text[name], dtype=object) for name in ("file", *identity, "model")},
        **{name: outputs[side, position] for name, side, position in _OUTPUT_COLUMNS},
    }
