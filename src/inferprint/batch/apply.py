"""Cards applied to a piece of a relation: rows of plain text in DuckDB by one expression, the others by NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inferprint.batch.expression import (
    MACHINES,
    NUMBERS,
    PLACES,
    CardTables,
    card_tables,
    feature_sums,
    output_columns,
    sql_of,
)
from inferprint.batch.odd import COMPARED, COUNTED, Made, OddRows
from inferprint.batch.options import IDENTITY, ODD_ROWS, RunOptions
from inferprint.batch.rejects import RejectWriter, SortedRejects
from inferprint.batch.relation import DIALECT, Piece, Relation, numbered_pieces
from inferprint.batch.setups import Setup, Setups
from inferprint.batch.totals import DIMENSIONS, NONE, ROWS, UNREADABLE
from inferprint.batch.workspace import Workspace
from inferprint.rates.media import MediaReader
from inferprint.usage.engine import literal, quoted
from inferprint.usage.tables import NUMERIC_FIELDS, Chunk, as_line

PLAIN_KINDS = ("text", "embedding")
"""Modalities whose rows of plain text one expression covers."""

SETUPS, REPEATS, WIDE = "inferprint_setups", "inferprint_repeats", "inferprint_wide"
MOST_WIDE = 4_096
"""Setups whose rates fit into the caches of a processor, one by one beside the rows."""

ANSWERED = frozenset(("plain", "silent"))
"""Kinds of rows whose setups are looked up for all of them together."""

Cells = tuple[str | None, ...]
_BEYOND_ALL = 1e300
SORTED_ROWS = 500_000
"""Pieces of so many rows have their impacts in the order of the rows; larger ones as nearly as the engine keeps it."""

FETCHED_ROWS = 10_000


@dataclass(slots=True)
class Counted:
    """What became of the rows of a piece; plain data.

    Attributes
    ----------
    parts
        Names of the files of impacts.
    claimed
        Entangled request ids of which a row counted, and its content.
    pairs
        What made the pairs of cards that were new.
    stood_in
        Names that nobody knew by then, and what stood in for each.
    """

    estimated: int = 0
    merged: int = 0
    idle: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    conflicts: int = 0
    parts: list[str] = field(default_factory=list)
    claimed: dict[str, int] = field(default_factory=dict)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    stood_in: dict[str, str] = field(default_factory=dict)


@dataclass
class _Known:
    """What a survey found of a relation.

    Attributes
    ----------
    kinds
        Kinds of setups of its plain rows.
    all_plain
        Whether all of its rows are text that one expression covers, with nothing to skip, refuse or merge.
    is_wide
        Whether its setups are a table with their cards.
    """

    kinds: set[str]
    all_plain: bool
    is_wide: bool = False


class Applier:
    """Applies cards to relations, piece by piece.

    Parameters
    ----------
    connection
        DuckDB.
    identity
        Columns of the impacts that say whose request it was.
    """

    def __init__(
        self, connection: Any, work: Workspace, options: RunOptions, setups: Setups, relations: Sequence[Relation]
    ) -> None:
        self._connection, self._work, self._options, self._setups = connection, work, options, setups
        self._relations = relations
        there = {name for relation in relations for name in relation.identity}
        self.identity = [name for name in IDENTITY if name in there or options.fills.get(name) is not None]
        self._known: dict[int, _Known] = {}
        self._cards: dict[str, CardTables] = {}
        self._queries: dict[tuple[Any, ...], Any] = {}
        self._merges = False
        self.odd = OddRows(setups, options.fills, set(), intervals=options.row_intervals)

    # --- once ---------------------------------------------------------------------------------------------------------

    def survey(self) -> None:
        """Find the distinct setups of all plain rows, resolve them, and find repeated request ids."""
        found = [self._distinct(relation) for relation in self._relations]
        asked = [
            _stated(relation, cells)
            for relation, setups in zip(self._relations, found, strict=True)
            for cells, kinds in setups.items()
            if kinds & ANSWERED
        ]
        wanted = list({tuple(stated.items()): stated for stated in asked}.values())
        for done in self._setups.ahead(wanted):
            self._options.reported("cards", done, len(wanted))
        refusable = any(relation.keys for relation in self._relations)
        for number, setups in enumerate(found):
            self._keep_setups(number, self._relations[number], setups, refusable=refusable)
        self._make_cards()
        if any("request_id" in relation.cells for relation in self._relations):
            self._find_repeats()
        for number, known in self._known.items():
            known.all_plain &= not self._merges
            known.is_wide = known.all_plain and self._make_wide(number)

    def _distinct(self, relation: Relation) -> dict[Cells, set[str]]:
        """The cells that decide the setups of rows, each combination with the kinds of its rows."""
        found: dict[Cells, set[str]] = {}
        listed = ", ".join([*(f"key_{name}" for name in relation.keys), "kind"])
        for piece in relation.pieces:
            rows = self._connection.execute(f"SELECT DISTINCT {listed} FROM ({relation.judged(piece)})").fetchall()
            for *cells, kind in rows:
                found.setdefault(tuple(cells), set()).add(kind)
        return found

    def _keep_setups(
        self, number: int, relation: Relation, found: Mapping[Cells, set[str]], *, refusable: bool
    ) -> None:
        """Resolve the setups of a relation, and make them a table."""
        columns: dict[str, list[Any]] = {f"key_{name}": [] for name in relation.keys}
        names = ("way", "machine", "place", "pair", "model", "context", "field", "reason")
        columns |= {name: [] for name in names}
        all_kinds = set().union(*found.values()) if found else set()
        for cells in sorted(found, key=lambda cells: [(cell is not None, cell or "") for cell in cells]):
            if not found[cells] & ANSWERED:
                continue
            setup = self._setups.untimed(_stated(relation, cells), may_refuse=refusable)
            for name, cell in zip((*columns,), (*cells, *_cells_of(setup)), strict=True):
                columns[name].append(cell)
        ways = set(columns["way"])
        self._known[number] = _Known(ways & set(PLAIN_KINDS), all_kinds <= {"plain"} and ways <= {"text"})
        arrays = {name: np.array(cells, dtype=_DTYPES.get(name, object)) for name, cells in columns.items()}
        self._register(f"{SETUPS}_{number}", arrays)

    def _make_wide(self, number: int) -> bool:
        """Setups with their cards as one table, so that rows need one join; not where they are many."""
        count = self._connection.execute(f"SELECT count(*) FROM {SETUPS}_{number}").fetchone()
        if not 0 < count[0] <= MOST_WIDE:
            return False
        joins = f"JOIN {MACHINES}_text m USING (machine) JOIN {PLACES}_text p USING (place)"
        self._connection.execute(f"CREATE OR REPLACE TABLE {WIDE}_{number} AS SELECT * FROM {SETUPS}_{number} {joins}")
        return True

    def _make_cards(self) -> None:
        """Tables of the cards that rows of plain text take."""
        for kind in PLAIN_KINDS:
            pairs = [pair for pair in self._setups.pairs if pair.machine.modality.name == kind]
            if not pairs:
                continue
            machines = {pair.machine_number: pair.machine for pair in pairs}
            places = {pair.place_number: pair.place for pair in pairs}
            modality = pairs[0].machine.modality
            cards = card_tables(modality, machines, places, intervals=self._options.row_intervals)
            self._cards[kind] = cards
            self._register(f"{MACHINES}_{kind}", cards.machines)
            self._register(f"{PLACES}_{kind}", cards.places)

    def _register(self, name: str, columns: Mapping[str, Any]) -> None:
        """Make a table of columns; NaN becomes NULL."""
        self._connection.register("given", dict(columns))
        select = ", ".join(_read(column, cells) for column, cells in columns.items())
        self._connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT {select} FROM given")
        self._connection.unregister("given")

    def _find_repeats(self) -> None:
        """Request ids of several rows: the first good one counts; entangled where one of them needs a look."""
        parts = []
        for number, relation, piece in self._all_pieces():
            if "request_id" not in relation.cells:
                continue
            content = ", ".join(_content_columns(relation))
            parts.append(
                f"SELECT request_id AS id, ordinal, way = 'odd' AS odd, hash({content}) AS content "
                f"FROM ({self._sorted(number, relation, piece)}) WHERE way NOT IN ('idle', 'refused')"
            )
        if not parts:
            return
        union = " UNION ALL ".join(parts)
        self._connection.execute(
            f"CREATE OR REPLACE TABLE {REPEATS} AS SELECT id, min(ordinal) AS first, bool_or(odd) AS entangled, "
            f"arg_min(content, ordinal) AS content FROM ({union}) WHERE id <> '' GROUP BY id HAVING count(*) > 1"
        )
        rows = self._connection.execute(f"SELECT id FROM {REPEATS} WHERE entangled").fetchall()
        count = self._connection.execute(f"SELECT count(*) FROM {REPEATS}").fetchone()
        self._merges = bool(count[0])
        self.odd = OddRows(
            self._setups, self._options.fills, {row[0] for row in rows}, intervals=self._options.row_intervals
        )

    def _all_pieces(self) -> Iterator[tuple[int, Relation, Piece]]:
        for number, relation in enumerate(self._relations):
            for piece in relation.pieces:
                yield number, relation, piece

    # --- each piece ---------------------------------------------------------------------------------------------------

    def all_pieces(self) -> list[Counted]:
        """Apply the cards to every piece that an earlier run did not finish."""
        numbers = {id(relation): number for number, relation in enumerate(self._relations)}
        counted = []
        total, done = sum(relation.rows for relation in self._relations), 0
        for position, relation, piece in numbered_pieces(self._relations):
            step = f"piece-{position:06d}"
            left = self._work.done(step)
            if left is None:
                made = self._piece(step, numbers[id(relation)], relation, piece)
                self._work.finish(step, {name: getattr(made, name) for name in Counted.__slots__})
            else:
                made = Counted(**left)
                self._setups.make_again(made.pairs)
                self._setups.stood_in |= made.stood_in
            self.odd.claimed |= made.claimed
            counted.append(made)
            done += piece.rows
            self._options.reported("rows", done, total)
        return counted

    def _piece(self, step: str, number: int, relation: Relation, piece: Piece) -> Counted:
        """Estimate one piece."""
        counted = Counted()
        known = self._known[number]
        base = self._sorted(number, relation, piece)
        is_small = piece.rows <= SORTED_ROWS
        for kind in sorted(known.kinds):
            self._plain(f"{step}-{kind}", relation, base, kind, counted, ordered=is_small, wide=known.is_wide)
        rejects = RejectWriter(self._work.folder / f"{step}-rejects.csv")
        if not known.all_plain:
            self._others(relation, base, counted)
            sorter = SortedRejects(rejects)
            self._refused(relation, piece, base, sorter)
            self._odd(step, relation, piece, base, counted, sorter)
            sorter.finish()
        rejects.close()
        counted.rejected, counted.reasons = rejects.count, dict(rejects.reasons)
        if is_small and counted.parts:
            self._merge_parts(step, counted)
        return counted

    def _sorted(self, number: int, relation: Relation, piece: Piece) -> str:
        """A SELECT of the rows with what they take, and which way they go."""
        keys = [f"j.key_{name} IS NOT DISTINCT FROM s.key_{name}" for name in relation.keys]
        on = " AND ".join(keys) or "TRUE"
        taken = "s.machine, s.place, s.pair, s.model, s.context"
        judged, table = relation.judged(piece), f"{SETUPS}_{number}"
        if self._known[number].is_wide:
            excluded = ", ".join(f"key_{name}" for name in relation.keys)
            wide = f"s.* EXCLUDE ({excluded}{', ' if excluded else ''}way)"
            return f"SELECT j.*, {wide}, 'text' AS way FROM ({judged}) j LEFT JOIN {WIDE}_{number} s ON {on}"
        if self._known[number].all_plain:
            # A left join keeps the order of the rows, which an inner one does not.
            return f"SELECT j.*, {taken}, 'text' AS way FROM ({judged}) j LEFT JOIN {table} s ON {on}"
        repeats, merged = "", ""
        if self._merges and "request_id" in relation.cells:
            repeats = f"LEFT JOIN {REPEATS} r ON j.request_id = r.id"
            merged = "WHEN r.entangled THEN 'odd' WHEN r.first <> j.ordinal THEN 'merged'"
        way = f"""CASE WHEN j.kind IN ('idle', 'odd') THEN j.kind
            WHEN s.way IN ('refused', 'odd') THEN s.way
            WHEN s.way = 'text' AND j.kind = 'silent' THEN 'odd'
            WHEN s.way = 'embedding' AND j.output_tokens > 0 THEN 'odd'
            {merged} ELSE s.way END AS way"""
        content = ", r.content" if repeats else ""
        joins = f"FROM ({judged}) j LEFT JOIN {table} s ON {on} {repeats}"
        return f"SELECT j.*, {taken}, s.field, s.reason{content}, {way} {joins}"

    def _plain(
        self, name: str, relation: Relation, base: str, kind: str, counted: Counted, *, ordered: bool, wide: bool
    ) -> None:
        """Rows of plain text: one expression makes the impacts, another the sums.

        `ordered` keeps their ordinals; `wide` says that the base has their cards.
        """
        cards = self._cards[kind]
        texts = ["file", *self.identity]
        given = [quoted(n) if n in relation.identity else f"{self._fill(n)} AS {quoted(n)}" for n in texts[1:]]
        numbers = [n for n in NUMBERS if n in ("input_tokens", "cached_input_tokens", "output_tokens", "n_requests")]
        order = ["ordinal"] if ordered else []
        rates = [] if not wide else ["window_tokens", *cards.rate_kinds()]
        select = ", ".join([*order, "row", "file", *given, "model", *numbers, "machine", "place", *rates])
        usage = f"SELECT {select} FROM ({base}) WHERE way = '{kind}'"
        keep = [*order, "row", *texts, "model"]
        kinds = dict.fromkeys(keep, "string") | dict.fromkeys(numbers, "float64")
        kinds |= dict.fromkeys([*order, "row", "machine", "place"], "int64")
        path = self._work.folder / f"{name}.parquet"
        compiled = self._compiled((kind, wide, *keep), lambda: sql_of(cards, USAGE, kinds, keep, DIALECT, joined=wide))
        query = _for_kind(compiled, kind).replace(USAGE, usage)
        written = self._copy(query, path)
        if written:
            counted.parts.append(path.name)
            counted.estimated += written
        else:
            path.unlink()
        self._sums(name, relation, base, kind, wide=wide)

    def _compiled(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What Ibis makes of an expression, once for all pieces."""
        if key not in self._queries:
            self._queries[key] = make()
        return self._queries[key]

    def _sums(self, name: str, relation: Relation, base: str, kind: str, *, wide: bool) -> None:
        """Features and counts by dimension, key and pair."""
        dimensions = {d: column for d, column in DIMENSIONS.items() if column in self.identity} or {ROWS: ""}
        keys = {f"by_{d}": self._key_sql(relation, column) for d, column in dimensions.items()}
        numbers = ["input_tokens", "cached_input_tokens", "output_tokens", "n_requests"]
        labels = [f"{sql} AS {column}" for column, sql in keys.items()]
        beyond = "(input_tokens + output_tokens) / n_requests > context AS is_beyond"
        given = ", ".join([*numbers, "machine", "pair", beyond, *labels, *(["window_tokens"] if wide else [])])
        usage = f"SELECT {given} FROM ({base}) WHERE way = '{kind}'"
        kinds = dict.fromkeys(numbers, "float64") | {"machine": "int64", "pair": "int64", "is_beyond": "boolean"}
        kinds |= dict.fromkeys(keys, "string")
        group = ["pair", "is_beyond", *keys]
        stage, sums = self._compiled(
            ("sums", kind, wide, *group), lambda: feature_sums(self._cards[kind], kinds, group, DIALECT, joined=wide)
        )
        sets = ", ".join(f"(pair, {column})" for column in keys)
        dimension = " ".join(f"WHEN grouping({column}) = 0 THEN {literal(column[3:])}" for column in keys)
        key = " ".join(f"WHEN grouping({column}) = 0 THEN {_label(column)}" for column in keys)
        counts = "count(*) FILTER (n_requests > 1) AS several, count(*) FILTER (is_beyond) AS beyond"
        query = (
            f"WITH usage AS ({usage}), counted AS ({_for_kind(stage, kind)}) "
            f"SELECT CASE {dimension} END AS dimension, CASE {key} END AS key, pair, {counts}, {sums} "
            f"FROM counted GROUP BY GROUPING SETS ({sets})"
        )
        self._copy(query, self._work.folder / f"{name}-sums.parquet")

    def _key_sql(self, relation: Relation, column: str) -> str:
        """SQL of what a row's key in a dimension is made from."""
        if not column:
            return "''"
        cell = column if column in relation.identity else self._fill(column)
        return cell if column != "utc_datetime" else f"substr({cell}, 1, 10)"

    def _fill(self, name: str) -> str:
        fill = self._options.fills.get(name)
        return "CAST(NULL AS VARCHAR)" if fill is None else literal(str(fill))

    def _others(self, relation: Relation, base: str, counted: Counted) -> None:
        """Count the rows that are left out or merged."""
        differs = "0"
        if self._merges and "request_id" in relation.cells:
            content = ", ".join(_content_columns(relation))
            differs = f"count(*) FILTER (way = 'merged' AND hash({content}) <> content)"
        query = f"SELECT count(*) FILTER (way = 'idle'), count(*) FILTER (way = 'merged'), {differs} FROM ({base})"
        counted.idle, counted.merged, counted.conflicts = self._connection.execute(query).fetchone()

    def _refused(self, relation: Relation, piece: Piece, base: str, rejects: SortedRejects) -> None:
        """Plain rows whose setup cannot be."""
        taken = f"SELECT ordinal, field, reason FROM ({base}) WHERE way = 'refused'"
        result = self._connection.execute(relation.raw(piece, taken))
        while rows := result.fetchmany(FETCHED_ROWS):
            for _, file, row, *cells, shown, field_, reason in rows:
                rejects.add((file, row, field_, reason, self._text(relation, cells, shown)))

    def _text(self, relation: Relation, cells: Sequence[Any], shown: str) -> str:
        """The row for the file of rejected ones."""
        return as_line(cells) if relation.text is None else shown

    def _odd(
        self, step: str, relation: Relation, piece: Piece, base: str, counted: Counted, rejects: SortedRejects
    ) -> None:
        """Rows that need a look each."""
        # A cursor of its own: what is written in between would end the reading.
        taken = f"SELECT ordinal, '' AS field, '' AS reason FROM ({base}) WHERE way = 'odd'"
        result = self._connection.cursor().execute(relation.raw(piece, taken))
        sums: list[dict[str, Any]] = []
        before, pairs = set(self.odd.claimed), len(self._setups.pairs)
        for number, rows in enumerate(iter(lambda: result.fetchmany(ODD_ROWS), [])):
            ordinals, made = self._odd_rows(relation, rows)
            for line in made.rejected:
                rejects.add(line)
            counted.idle += made.skipped
            counted.merged += made.merged
            counted.conflicts += made.conflicts
            sums += made.sums
            if made.columns is not None:
                path = self._work.folder / f"{step}-odd-{number:04d}.parquet"
                order = {"ordinal": ordinals[made.kept]} if piece.rows <= SORTED_ROWS else {}
                self._write(order | made.columns, path)
                counted.parts.append(path.name)
                counted.estimated += len(made.columns["row"])
        if sums:
            self._write(_as_columns(sums), self._work.folder / f"{step}-odd-sums.parquet")
        counted.claimed = {key: content for key, content in self.odd.claimed.items() if key not in before}
        counted.pairs = self._setups.made_since(pairs)
        counted.stood_in = dict(self._setups.stood_in)

    def _odd_rows(self, relation: Relation, rows: Sequence[Sequence[Any]]) -> tuple[Any, Made]:
        """Ordinals of some rows, and what became of them."""
        ordinals, files, numbers, *columns, _, _, _ = (list(column) for column in zip(*rows, strict=True))
        cells = dict(zip(relation.cells, columns, strict=True))
        texts = [self._text(relation, row[3:-3], row[-3]) for row in rows]
        fills = self._options.fills
        identity = {name: _filled(cells.get(name), fills.get(name), len(rows)) for name in self.identity}
        made = self.odd.chunk(Chunk(numbers, cells, texts, []), files, identity)
        return np.array(ordinals, dtype=np.int64), made

    def _write(self, columns: Mapping[str, Any], path: Path) -> None:
        """Write columns as a Parquet file."""
        self._connection.register("given", dict(columns))
        self._copy(f"SELECT {', '.join(_read(name, cells) for name, cells in columns.items())} FROM given", path)
        self._connection.unregister("given")

    def _merge_parts(self, step: str, counted: Counted) -> None:
        """Make one part of those that rows of different kinds gave, in the order in which the rows were given."""
        paths = [self._work.folder / name for name in counted.parts]
        listed = ", ".join(literal(str(path)) for path in paths)
        whole = self._work.folder / f"{step}-merged.parquet"
        self._copy(f"SELECT * EXCLUDE (ordinal) FROM read_parquet([{listed}]) ORDER BY ordinal", whole)
        for path in paths:
            path.unlink()
        counted.parts = [whole.name]

    def _copy(self, query: str, path: Path) -> int:
        """Write a query as a Parquet file; the number of its rows."""
        copied = self._connection.execute(f"COPY ({query}) TO {literal(str(path))} ({PARQUET})").fetchone()
        return int(copied[0])

    def empty(self, path: Path) -> None:
        """Impacts without a row: the table still has its columns."""
        texts = ["file", *self.identity, "model"]
        columns = ["NULL::BIGINT AS row", *(f"NULL::VARCHAR AS {quoted(name)}" for name in texts)]
        outputs = output_columns(intervals=self._options.row_intervals)
        columns += [f"NULL::DOUBLE AS {quoted(name)}" for name, _, _ in outputs]
        self._copy(f"SELECT {', '.join(columns)} WHERE FALSE", path)


PARQUET = "FORMAT parquet, ROW_GROUP_SIZE 61440, DICTIONARY_SIZE_LIMIT 1000"
"""How parts are written: numbers rarely repeat, so that they need no dictionary; small groups save memory."""

USAGE = "/* usage */"
"""Stands for the SELECT of the usage in a query that several pieces share."""

COMPARED_NUMBERS = tuple(name for name in COMPARED if name in NUMBERS)
_DTYPES = {"machine": np.int64, "place": np.int64, "pair": np.int64, "context": float}


def _content_columns(relation: Relation) -> list[str]:
    """What two records of one request should agree in, as far as the relation has it."""
    return [*(["key_model_id"] if "model_id" in relation.keys else []), *COMPARED_NUMBERS]


def _stated(relation: Relation, cells: Cells) -> dict[str, str]:
    """What the rows with these cells state of their setup."""
    return {name: cell for name, cell in zip(relation.keys, cells, strict=True) if cell}


def _cells_of(setup: Setup) -> tuple[Any, ...]:
    """A setup as a row: way, machine, place, pair, model, context length, and the field and reason of a refusal."""
    if setup.error is not None or setup.pair is None:
        return ("refused", -1, -1, -1, "", _BEYOND_ALL, *(setup.error or ("", "")))
    pair = setup.pair
    context = pair.machine.context_length
    return (
        way_of(pair.machine.media, pair.machine.modality.name),
        pair.machine_number,
        pair.place_number,
        pair.number,
        pair.machine.model,
        _BEYOND_ALL if context is None else float(context),
        "",
        "",
    )


def way_of(media: MediaReader, modality: str) -> str:
    """Which way rows of plain text of a model go."""
    if modality == "text" and media.answers and media.needs_tokens:
        return "text"
    reads = modality == "embedding" and media.needs_tokens and media.missing == "input_tokens"
    return "embedding" if reads else "odd"


def _label(column: str) -> str:
    """SQL of a key: days are read once they are grouped, as there are fewer of them than rows."""
    if column != "by_day":
        return f"coalesce(nullif({column}, ''), {literal(NONE)})"
    day = f"coalesce(CAST(TRY_CAST({column} AS DATE) AS VARCHAR), {literal(UNREADABLE)})"
    return f"CASE WHEN coalesce({column}, '') = '' THEN {literal(NONE)} ELSE {day} END"


def _for_kind(query: str, kind: str) -> str:
    """A query over the tables of cards of a modality."""
    return query.replace(f'"{MACHINES}"', f'"{MACHINES}_{kind}"').replace(f'"{PLACES}"', f'"{PLACES}_{kind}"')


def _read(name: str, cells: Any) -> str:
    """SQL for a registered column: NaN and "" become NULL."""
    read, kind = quoted(name), np.asarray(cells).dtype.kind
    if kind == "f":
        read = f"nullif({read}, 'nan'::DOUBLE)"
    elif kind == "O":
        read = f"CAST({read} AS VARCHAR)" if name.startswith("key_") else f"nullif(CAST({read} AS VARCHAR), '')"
    return f"{read} AS {quoted(name)}"


def _filled(cells: Sequence[Any] | None, fill: Any, size: int) -> list[Any]:
    """Cells of an identity field as text."""
    text = None if fill is None else str(fill)
    return [text] * size if cells is None else [text if cell is None else cell for cell in cells]


def _as_columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums as columns; a feature that a modality has not is 0."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, Any] = {}
    for name in names:
        cells = [row.get(name, 0.0) for row in rows]
        columns[name] = np.array(cells, dtype=object if name in ("dimension", "key") else None)
    columns["pair"] = columns["pair"].astype(np.int64)
    return columns


assert set(COUNTED) == {"records", "requests", "several", "beyond"}
assert set(NUMBERS) <= set(NUMERIC_FIELDS)
