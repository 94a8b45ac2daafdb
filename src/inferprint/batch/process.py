"""The run: read, find the cards, apply them, add up, write."""

from __future__ import annotations

import csv
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from inferprint._version import __version__
from inferprint.batch.apply import Applier, Counted
from inferprint.batch.cards import CardStore
from inferprint.batch.inputs import Inputs, Prepared, inputs_of, prepare
from inferprint.batch.odd import COUNTED
from inferprint.batch.options import RunOptions
from inferprint.batch.priced import with_priced
from inferprint.batch.rejects import join_rejects
from inferprint.batch.relation import Relation
from inferprint.batch.setups import Pair, Setups
from inferprint.batch.stage import skipped_of
from inferprint.batch.summary import Counts, Summary
from inferprint.batch.totals import ALL, ROWS, UNREADABLE, Sums, Total, by_pair, by_week, shares_by, totals_of
from inferprint.batch.workspace import (
    IMPACTS,
    OUTPUT_FORMATS,
    REJECTS,
    SUMMARY,
    TOTALS,
    Workspace,
    put_in_place,
    workspace,
    writing,
)
from inferprint.catalogue import Catalogue
from inferprint.errors import FileProblem
from inferprint.estimate import Estimator
from inferprint.provenance.trace import Entry
from inferprint.quantities import RESULTS
from inferprint.rates import OUTPUT_NAMES, apply
from inferprint.usage.engine import check_installed, connected, literal

NO_TOKENS = "no-tokens"
"""The skip rule for records with neither input nor output tokens, nor pictures, video or sound."""

THREADS = 2
"""Threads of the table engine: each holds row groups of its own in memory."""


def run(files: Sequence[str | Path] | str | Path, out: str | Path, options: RunOptions | None = None) -> Summary:
    """Estimate every record of usage logs and tables, and write a folder of results.

    `out` gets the impacts, totals.csv, summary.json and, where records were rejected, rejects.csv. It appears whole or
    not at all. The memory that is needed does not grow with the number of rows. Where a run is interrupted, the same
    call continues it.

    Parameters
    ----------
    files
        Logs of any format of `inferprint.usage`, and tables: CSV, JSON lines (plain, .gz or .zst) and Parquet, known by
        their content.
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
        A setup that was stated for the whole table and cannot be; with `unknown="fail"`, any unknown model.
    """
    started = time.perf_counter()
    options = options or RunOptions()
    paths = [Path(path) for path in ([files] if isinstance(files, (str, Path)) else files)]
    if not paths:
        raise FileProblem("no files to read", hint="Name at least one log or table.")
    check_installed()
    inputs = inputs_of(paths, options)
    estimator = options.estimator or Estimator()
    key = _key(paths, options, estimator)
    with (
        workspace(Path(out), key, overwrite=options.overwrite) as work,
        connected(threads=THREADS, spill=work.folder / "spill") as connection,
        writing(Path(out)),
        _interruptible(),
    ):
        prepared = prepare(inputs, work, options, connection, usual_lengths(estimator.catalogue))
        priced: dict[str, str] = {}
        if options.unknown == "estimate":
            catalogue, priced = with_priced(estimator.catalogue, prepared.relations, connection)
            estimator = Estimator(catalogue) if priced else estimator
        with closing(CardStore(estimator, options.processes)) as store:
            runner = _Run(options, estimator, (work, connection, store), priced)
            summary = runner.all(inputs, prepared, Path(out))
        summary.seconds = round(time.perf_counter() - started, 3)
        write_summary(work.folder / "result", summary.to_dict())
        put_in_place(work.folder / "result", Path(out), work)
    return summary


@contextmanager
def _interruptible() -> Iterator[None]:
    """An interruption is one, whether Python or the table engine noticed it."""
    try:
        yield
    except RuntimeError as error:
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from error
        raise


def _key(paths: Sequence[Path], options: RunOptions, estimator: Estimator) -> dict[str, Any]:
    """What makes two runs the same."""
    names = ("columns", "fills", "input_format", "unknown", "use_times", "row_intervals", "output_format", "chunk_rows")
    forms = sorted((str(path), form) for path, form in options.formats.items())
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    versions = {"inferprint": __version__, "catalogue": estimator.catalogue.version}
    return {"files": files, "formats": forms, "versions": versions, **{name: getattr(options, name) for name in names}}


def usual_lengths(catalogue: Catalogue) -> tuple[float, float]:
    """Tokens of a usual prompt and answer."""
    return catalogue.priors["mix.input-tokens"].value.value, catalogue.priors["mix.output-tokens"].value.value


class _Run:
    """One run over some files; `priced` are unknown models that are estimated from what they cost."""

    def __init__(
        self,
        options: RunOptions,
        estimator: Estimator,
        means: tuple[Workspace, Any, CardStore],
        priced: Mapping[str, str],
    ) -> None:
        self._options, self._estimator = options, estimator
        self._work, self._connection, store = means
        self._setups = Setups(store, estimator, options.fills, options.unknown)
        self._priced = priced

    def all(self, inputs: Inputs, prepared: Prepared, out: Path) -> Summary:
        """Do everything up to the finished folder, but for the summary in it."""
        applier = Applier(self._connection, self._work, self._options, self._setups, prepared.relations)
        applier.survey()
        counted = applier.all_pieces()
        result = self._work.folder / "result"
        result.mkdir(exist_ok=True)
        self._impacts(applier, counted, result)
        everything, by_row, counts = self._sums()
        totals = Totals(self._setups.pairs, everything, by_row)
        summary = self._summary(inputs, prepared, (applier, counted), (totals, counts), out)
        write_totals(result, [summary.total, *summary.totals])
        parts = [*prepared.rejects, *sorted(self._work.folder.glob("piece-*-rejects.csv"))]
        join_rejects(parts, result / REJECTS)
        return summary

    def _impacts(self, applier: Applier, counted: Sequence[Counted], result: Path) -> None:
        """Put the parts of the impacts together: Parquet as one file, or a folder of several; text as one file."""
        kind = self._options.output_format
        whole = result / f"{IMPACTS}{OUTPUT_FORMATS[kind]}"
        parts = [self._work.folder / name for made in counted for name in made.parts]
        if not parts:
            parts = [self._work.folder / "empty.parquet"]
            applier.empty(parts[0])
        if kind == "parquet":
            if len(parts) == 1:
                _moved(parts[0], whole)
                return
            whole.mkdir(exist_ok=True)
            for number, part in enumerate(parts):
                _moved(part, whole / f"part-{number:06d}.parquet")
            return
        listed = ", ".join(literal(str(part)) for part in parts)
        how = "FORMAT csv, HEADER" if kind == "csv" else "FORMAT json"
        self._connection.execute(f"COPY (FROM read_parquet([{listed}])) TO {literal(str(whole))} ({how})")

    def _sums(self) -> tuple[Sums, list[Sums], dict[int, dict[str, float]]]:
        """Sums over everything and by what rows say, and the counts of each pair."""
        paths = sorted(self._work.folder.glob("piece-*-sums.parquet"))
        if not paths:
            return Sums(ALL, [ALL], {}, {}), [], {}
        listed = ", ".join(literal(str(path)) for path in paths)
        sums = "sum(COLUMNS(* EXCLUDE (dimension, key, pair)))"
        source = f"FROM read_parquet([{listed}], union_by_name = true)"
        # Every row has a key in each dimension: those of one are everything.
        everything = f"SELECT 'all' AS dimension, 'all' AS key, pair, {sums} {source}"
        read = self._connection.execute(
            f"WITH summed AS (SELECT dimension, key, pair, {sums} {source} GROUP BY ALL) FROM summed UNION ALL BY NAME "
            f"({everything} WHERE dimension = (SELECT min(dimension) {source}) GROUP BY ALL) ORDER BY ALL"
        ).fetchnumpy()
        columns = {name: np.ma.filled(column, 0.0) for name, column in read.items()}
        names = self._setups.pairs
        found = {
            dimension: sums_of(dimension, columns, columns["dimension"] == dimension, names)
            for dimension in dict.fromkeys(columns["dimension"].tolist())
        }
        every = columns["dimension"] == ALL
        counts = {
            int(pair): {name: float(columns[name][i]) for name in COUNTED}
            for i, pair in zip(np.flatnonzero(every).tolist(), columns["pair"][every].tolist(), strict=True)
        }
        found.pop(ROWS, None)
        return found.pop(ALL, Sums(ALL, [ALL], {}, {})), list(found.values()), counts

    def _summary(
        self,
        inputs: Inputs,
        prepared: Prepared,
        applied: tuple[Applier, Sequence[Counted]],
        summed: tuple[Totals, Mapping[int, Mapping[str, float]]],
        out: Path,
    ) -> Summary:
        """Counts and totals of all that was read."""
        applier, counted = applied
        totals, counts = summed
        staged = prepared.staged
        skipped = skipped_of(staged)
        skipped[NO_TOKENS] += sum(made.idle for made in counted)
        direct = sum(relation.rows for relation in prepared.relations) - sum(n for s in staged for _, n in s.parts)
        largest = totals.largest()
        return Summary(
            files=tuple(str(path) for path in _paths(inputs)),
            formats=inputs.names,
            out=out,
            counts=Counts(
                records=direct + sum(state.records for state in staged),
                estimated=sum(made.estimated for made in counted),
                merged=sum(made.merged for made in counted) + sum(state.merged for state in staged),
                skipped=dict(skipped),
                rejected=sum(made.rejected for made in counted) + sum(state.rejected for state in staged),
                requests=sum(count["requests"] for count in counts.values()),
                reasons=_reasons([*(state.reasons for state in staged), *(made.reasons for made in counted)]),
            ).checked(),
            total=totals.everything,
            totals=totals.others,
            uncertainty=totals.uncertainty,
            quality=totals.quality(),
            assumptions=tuple(_assumptions(applier, largest)),
            assumptions_of=f"{largest.machine.model}, {service_of(largest)}" if largest else "",
            warnings=(
                *_warnings(totals, counts, prepared.relations),
                *_conflicts(counted),
                *_stood_in({**self._priced, **self._setups.stood_in}),
                *_unknown(totals.everything),
            ),
            doubts=tuple(_doubts(inputs)),
            versions={
                "inferprint": __version__,
                "catalogue": self._estimator.catalogue.version,
                "coefficients": largest.machine.coefficients if largest else "",
            },
            resumed=self._work.resumed,
            seconds=0.0,
        )


def _moved(part: Path, place: Path) -> None:
    """Move a part of the impacts, unless a run that was interrupted later than this had done so."""
    if part.exists() or not place.exists():
        part.rename(place)


def _paths(inputs: Inputs) -> list[Path]:
    logs = [source.path for source, _ in inputs.logs]
    return [*(table.path for table, _ in inputs.parquets), *logs, *(table.path for table, _ in inputs.texts)]


def sums_of(dimension: str, columns: Mapping[str, Any], rows: Any, pairs: Sequence[Pair]) -> Sums:
    """Rows of the table of sums of one dimension."""
    keys = list(dict.fromkeys(columns["key"][rows].tolist()))
    place = {key: i for i, key in enumerate(keys)}
    features, records = {}, {}
    numbers = columns["pair"][rows]
    positions = np.array([place[key] for key in columns["key"][rows].tolist()], dtype=np.intp)
    for pair in np.unique(numbers).tolist():
        which, found = np.flatnonzero(rows)[numbers == pair], positions[numbers == pair]
        order = np.argsort(found)
        which, found = which[order], found[order]
        names = pairs[pair].machine.modality.names
        zero = np.zeros(which.size)
        summed = np.array([columns[name][which] if name in columns else zero for name in names])
        features[pair] = (found, summed)
        records[pair] = columns["records"][which]
    return Sums(dimension, keys, features, records)


class Totals:
    """Totals over everything and by dimension.

    Attributes
    ----------
    used
        Pairs of cards that rows took, by number.
    everything, others
        The total over everything, and those by model, service, place and what rows say.
    uncertainty
        Share of each uncertain input in the spread of the greenhouse gas.
    """

    def __init__(self, pairs: Sequence[Pair], everything: Sums, by_row: Sequence[Sums]) -> None:
        self.used = {number: pairs[number] for number in everything.features}
        self._everything, self._by_row = everything, by_row
        labels = {
            "model": {number: pair.machine.model for number, pair in self.used.items()},
            "service": {number: service_of(pair) for number, pair in self.used.items()},
            "place": {number: place_of(pair) for number, pair in self.used.items()},
        }
        of_cards = [by_pair(dimension, everything, of_pair) for dimension, of_pair in labels.items()]
        weeks = [by_week(sums) for sums in by_row if sums.dimension == "day"]
        found, self.uncertainty = totals_of([everything, *of_cards, *by_row, *weeks], self.used)
        self.everything = found[0]
        self.others = tuple(found[1:])

    def records(self, dimension: str, key: str) -> int:
        """Records of a key of what rows say."""
        for sums in self._by_row:
            if sums.dimension == dimension and key in sums.keys:
                return round(float(sums.records_of()[sums.keys.index(key)]))
        return 0

    def largest(self) -> Pair | None:
        """The pair of cards with the most energy."""
        index = OUTPUT_NAMES.index("usage_energy_wh")
        energy = {
            number: float(apply(pair.machine, pair.place, self._everything.features[number][1])[0, index].sum())
            for number, pair in self.used.items()
        }
        return self.used[max(energy, key=energy.__getitem__)] if energy else None

    def quality(self) -> dict[str, float]:
        """Share of the energy by what it rests on."""
        tiers = {number: pair.machine.tier for number, pair in self.used.items()}
        return shares_by(self._everything, self.used, "usage_energy_wh", tiers)


def service_of(pair: Pair) -> str:
    """The service, or what ran the model instead."""
    kind = {"cloud": "cloud instance", "own": "own machine", "desk": "desk"}.get(pair.machine.hosting, "unstated")
    return pair.machine.service or f"({kind})"


def place_of(pair: Pair) -> str:
    """The place, as far as it was stated."""
    where = pair.where
    region = where.cloud_region
    if region:
        return region if ":" in region or not where.cloud_id else f"{where.cloud_id}:{region}"
    return where.grid_zone or where.country or "(unstated)"


def _assumptions(applier: Applier, pair: Pair | None) -> list[Entry]:
    """What nobody stated about a pair of cards, and about the work that was asked of its model."""
    if pair is None:
        return []
    of_work = dict.fromkeys(entry for found in applier.odd.noted[pair.machine.model].values() for entry in found)
    return [*pair.machine.trail.assumptions, *pair.place.trail.assumptions, *of_work]


def _warnings(totals: Totals, counts: Mapping[int, Mapping[str, float]], relations: Sequence[Relation]) -> list[str]:
    """Each warning with its records, most first; then columns that nothing reads."""
    of_rows: dict[str, float] = {}
    of_cards: dict[str, float] = {}
    for number, pair in totals.used.items():
        machine, count = pair.machine, counts[number]
        beyond = (
            f"exceed the context length of {machine.model} ({machine.context_length}): estimated as if it took them"
        )
        several = "stand for several requests: mean lengths are used, which hides long prompts"
        for text, records in ((beyond, count["beyond"]), (several, count["several"])):
            of_rows[text] = of_rows.get(text, 0.0) + records
        for text in (*machine.trail.warnings, *pair.place.trail.warnings):
            of_cards[text] = of_cards.get(text, 0.0) + count["records"]
    found = [f"{records:,.0f} records {text}" for text, records in _most_first(of_rows) if round(records)]
    if unreadable := totals.records("day", UNREADABLE):
        found.append(f"{unreadable:,} records have a utc_datetime that is no ISO date")
    found += [
        f"{text} ({records:,.0f} records)" for text, records in _most_first(_gathered(of_cards)) if round(records)
    ]
    return found + [
        f"{relation.path}: columns that nothing reads: {', '.join(relation.unread)}"
        for relation in relations
        if relation.unread
    ]


def _gathered(records: Mapping[str, float]) -> dict[str, float]:
    """Warnings that differ in their numbers alone as one: every card of a grid of measured times has its own."""
    by_shape: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for text, count in records.items():
        by_shape[re.sub(r"\d[\d.,]*", "#", text)][text] = count
    found = {}
    for alike in by_shape.values():
        first = max(alike, key=alike.__getitem__)
        more = f"; {len(alike) - 1} more alike" if len(alike) > 1 else ""
        found[first + more] = sum(alike.values())
    return found


def _conflicts(counted: Sequence[Counted]) -> list[str]:
    conflicts = sum(made.conflicts for made in counted)
    differ = "merged records differ from the first with their request_id, which was kept"
    return [f"{conflicts:,} {differ}"] if conflicts else []


def _reasons(each: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Rejected records by reason, most first."""
    found: Counter[str] = Counter()
    for reasons in each:
        found.update(reasons)
    return dict(found.most_common())


def _stood_in(instead: Mapping[str, str]) -> list[str]:
    """Names that nobody knows, and what they were estimated as."""
    return [f"'{asked}' is unknown: estimated as {found}" for asked, found in instead.items()]


def _doubts(inputs: Inputs) -> list[str]:
    """What could not be checked about the formats that were read."""
    forms = {form.name: form for _, form in inputs.logs}
    return [f"{form.title}: {doubt}" for form in forms.values() for doubt in form.doubts]


def _unknown(total: Total) -> list[str]:
    """A warning for quantities without a total: where one row lacks it, so does the sum."""
    unknown = [name for name, value in total.outputs.items() if value is None]
    return [f"unknown for some records, so without a total: {', '.join(unknown)}"] if unknown else []


def _most_first(records: Mapping[str, float]) -> list[tuple[str, float]]:
    """Texts by the number of their records."""
    return sorted(records.items(), key=lambda item: -item[1])


def write_totals(folder: Path, totals: Sequence[Total]) -> None:
    """Write the totals: one line per dimension and key."""
    names = [quantity.name for quantity in RESULTS]
    header = [column for name in names for column in (name, f"{name}_low", f"{name}_high")]
    with (folder / TOTALS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dimension", "key", "records", *header])
        for total in totals:
            cells = [cell for name in names for cell in (total.outputs[name] or ("", "", ""))]
            writer.writerow([total.dimension, total.key, total.records, *cells])


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary as JSON; what is unknown is null."""
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")
