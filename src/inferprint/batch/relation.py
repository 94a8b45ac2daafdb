"""Usage tables as DuckDB reads them: each field of a request as SQL, and the rows piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ibis

from inferprint.batch.expression import NUMBERS, as_sql, floor
from inferprint.batch.options import IDENTITY, RunOptions
from inferprint.batch.rows import DEFAULTS, UNREADABLE
from inferprint.batch.setups import SETUP_FIELDS
from inferprint.batch.stage import LOG_NUMBERS, LOG_TEXTS, Staged, pieces
from inferprint.batch.workspace import Workspace
from inferprint.estimate.media import MEDIA_FIELDS
from inferprint.estimate.request import TIME_FIELDS, TOKEN_FIELDS, plausible
from inferprint.rates.setup import TIERS
from inferprint.usage.engine import literal, quoted
from inferprint.usage.tables import NUMERIC_FIELDS, ParquetTable

DIALECT = "duckdb"


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a relation: its FROM clause, how many rows it has, and what SQL calls file, row and order.

    `ordinal` numbers the rows of all relations of a run, in their order.
    """

    source: str
    rows: int
    file: str
    row: str
    ordinal: str


@dataclass
class Relation:
    """Rows of usage, with the SQL of each field that they have.

    Attributes
    ----------
    path
        The file, for errors; that of the first where there are several.
    cells
        SQL of each field's cell: a number where the column is one, else text; NULL where blank.
    numeric
        Fields whose cells are numbers.
    bare
        SQL of the columns, by field, that are text as they are, blank as NULL or "": what is done to each cell of a
        text costs more than all arithmetic.
    pieces
        The rows in order.
    unread
        Columns that nothing reads.
    fills
        What a blank cell stands for, by field.
    assumed_lengths
        Tokens of a usual prompt and answer, for records that stand for nobody knows how many requests.
    states_cost
        Whether the rows have a column cost_usd, of what their requests cost [USD].
    text
        SQL of the row as it was; None where its cells stand for it, "" where a log's records are not shown.
    """

    path: Path
    cells: Mapping[str, str]
    numeric: frozenset[str]
    pieces: list[Piece]
    unread: list[str]
    fills: Mapping[str, Any]
    assumed_lengths: tuple[float, float]
    text: str | None = None
    states_cost: bool = False
    bare: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = field(init=False)
    identity: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.keys = tuple(name for name in SETUP_FIELDS if name in self.cells and name not in TIME_FIELDS)
        self.identity = tuple(name for name in IDENTITY if name in self.cells)

    @property
    def rows(self) -> int:
        """Rows of all pieces."""
        return sum(piece.rows for piece in self.pieces)

    # --- SQL ----------------------------------------------------------------------------------------------------------

    def judged(self, piece: Piece) -> str:
        """A SELECT of the rows with typed numbers, keys of the setups, and what kind of row each is.

        `kind` is "plain" (numbers that are fine, an answer), "silent" (the same without output tokens), "idle" (no work
        at all) or "odd": measured times, pictures, doubtful numbers.
        """
        numbers = [f"{self._number(name)} AS {name}" for name in NUMBERS]
        texts = [f"{self.text_of(name)} AS {name}" for name in self.identity]
        keys = [f"{self.bare.get(name) or f'CAST({self.cells[name]} AS VARCHAR)'} AS key_{name}" for name in self.keys]
        plain = [f"{cell} IS NULL" for cell in self._special()] or ["TRUE"]
        place = [f"{piece.file} AS file", f"{piece.row} AS row", f"{piece.ordinal} AS ordinal"]
        select = ", ".join([*place, *texts, *keys, *numbers])
        numbered = f"SELECT {select}, {' AND '.join(plain)} AS is_text FROM {piece.source}"
        return f"WITH numbered AS ({numbered}), answered AS ({_ANSWERED}) {_JUDGED}"

    def _special(self) -> list[str]:
        """Cells that make a row more than plain text; a fill does so for all rows."""
        names = [name for name in (*TIME_FIELDS, *MEDIA_FIELDS) if name != "task"]
        filled = ["TRUE" for name in names if self.fills.get(name) not in (None, ())]
        return filled or [self.cells[name] for name in names if name in self.cells]

    def _number(self, name: str) -> str:
        """SQL of a number; what cannot be read as one is `UNREADABLE`."""
        fill = self.fills.get(name, DEFAULTS[name])
        filled = "NULL" if fill is None else f"{float(fill)!r}::DOUBLE"
        if name not in self.cells:
            return filled
        cell = self.cells[name]
        if name not in self.numeric:
            # DuckDB reads 1_000 as a number.
            read = f"CASE WHEN contains({cell}, '_') THEN NULL ELSE TRY_CAST({cell} AS DOUBLE) END"
            return f"CASE WHEN {cell} IS NULL THEN {filled} ELSE coalesce({read}, {UNREADABLE!r}) END"
        if name == "n_requests":
            cell = self._requests(cell)
        return f"coalesce({cell}, {filled})" if fill is not None else cell

    def _requests(self, cell: str) -> str:
        """How many requests a record stands for: NaN where its source cannot say, which usual lengths then tell."""
        n_in, n_out = (self.cells.get(name, "0") for name in ("input_tokens", "output_tokens"))
        usual = " , ".join(
            f"round(coalesce({tokens}, 0) / {length!r})"
            for tokens, length in zip((n_in, n_out), self.assumed_lengths, strict=True)
        )
        return f"CASE WHEN isnan({cell}) THEN greatest(1, {usual}) ELSE {cell} END"

    def text_of(self, name: str) -> str:
        """SQL of an identity field as text, filled."""
        fill = self.fills.get(name)
        if fill is None and name in self.bare:
            return self.bare[name]
        cell = f"CAST({self.cells[name]} AS VARCHAR)"
        return f"coalesce({cell}, {literal(str(fill))})" if fill is not None else cell

    def raw(self, piece: Piece, rows: str) -> str:
        """A SELECT of ordinal, file, row, the cells in the order of the fields, the text of the row, and its problem.

        `rows` is a SELECT of ordinal, field and reason of the rows to take.
        """
        cells = [self.raw_cell(name) for name in self.cells]
        text = self.text or "''"
        place = [f"{piece.ordinal} AS ordinal", f"{piece.file} AS file", f"{piece.row} AS row"]
        select = ", ".join([*place, *cells, f"{text} AS shown"])
        return (
            f"SELECT given.*, taken.field, taken.reason FROM (SELECT {select} FROM {piece.source}) given "
            f"JOIN ({rows}) taken ON given.ordinal = taken.ordinal ORDER BY given.ordinal"
        )

    def raw_cell(self, name: str) -> str:
        """SQL of a cell as a single request would be given it."""
        cell = self._requests(self.cells[name]) if name == "n_requests" and "n_requests" in self.numeric else ""
        cell = cell or self.cells[name]
        return cell if name in NUMERIC_FIELDS and name in self.numeric else f"CAST({cell} AS VARCHAR)"


def _stages() -> tuple[str, str]:
    """The stages after `numbered`: an answer that is not stated counts as none, then the kind of each row."""
    kinds = dict.fromkeys(NUMBERS, "float64") | {"is_text": "boolean"}
    answered = ibis.table(kinds | {"answers": "boolean"}, name="answered")
    numbers = {name: answered[name] for name in NUMBERS}
    fine = plausible(numbers, floor).fill_null(False) & answered["is_text"]
    idle = [answered[name].fill_null(1.0) == 0 for name in TOKEN_FIELDS]
    everything_zero = idle[0] & idle[1] & idle[2] & idle[3] & idle[4]
    kind = ibis.cases(
        (~fine, "odd"), (everything_zero & answered["answers"], "idle"), (~answered["answers"], "silent"), else_="plain"
    )
    condition = as_sql(answered.select(kind=kind), DIALECT).removeprefix("SELECT").rsplit("FROM", 1)[0]
    missing = "SELECT * REPLACE (coalesce(output_tokens, 0) AS output_tokens), output_tokens IS NOT NULL AS answers"
    return f"{missing} FROM numbered", f'SELECT *, {condition} FROM answered AS "t0"'


_ANSWERED, _JUDGED = _stages()


# --- the relations of a run -------------------------------------------------------------------------------------------


def parquet_relation(
    table: ParquetTable, mapped: Mapping[str, str], options: RunOptions, lengths: tuple[float, float], number: int
) -> Relation:
    """A Parquet file, read where it is; the `number` of the relation is part of the order of all rows."""
    cells = {ours: table.cell(ours, name) for ours, name in mapped.items()}
    numeric = frozenset(ours for ours, name in mapped.items() if table.is_number(ours, name))
    path = literal(str(table.path))
    found = []
    for first in range(0, table.rows or 0, options.chunk_rows):
        last = min(first + options.chunk_rows, table.rows or 0)
        whole = first == 0 and last == table.rows
        within = "" if whole else f" WHERE file_row_number BETWEEN {first} AND {last - 1}"
        source = f"(FROM read_parquet({path}, file_row_number = true){within})"
        order = f"file_row_number + {number << _ORDER_BITS}"
        found.append(Piece(source, last - first, path, "file_row_number + 1", order))
    unread = [name for name in table.names if name not in mapped.values()]
    bare = {ours: quoted(name) for ours, name in mapped.items() if table.is_text(name)}
    return Relation(table.path, cells, numeric, found, unread, options.fills, lengths, bare=bare)


def log_relation(
    work: Workspace, state: Staged, path: Path, options: RunOptions, lengths: tuple[float, float], number: int
) -> Relation:
    """Records of logs that were staged."""
    texts = list(LOG_TEXTS)
    numbers = [name for name in LOG_NUMBERS if name not in ("time_to_first_token_ms", "cost_usd", *TIME_FIELDS)]
    cells = {name: quoted(name) for name in (*texts, *numbers)}
    cells["output_images"] = 'CAST("output_images" AS BIGINT)'
    # Logs have names for tiers that say nothing of how they are served.
    known = ", ".join(literal(tier) for tier in TIERS if tier != "standard")
    cells["service_tier"] = f"CASE WHEN service_tier IN ({known}) THEN service_tier END"
    if options.use_times:
        cells |= _times()
    numeric = frozenset(cells) - frozenset(texts)
    found = _staged_pieces(work, state, options.chunk_rows, number)
    return Relation(
        path, cells, numeric, found, [], options.fills, lengths, text="", states_cost=True, bare=_as_they_are(texts)
    )


def _as_they_are(names: Sequence[str]) -> dict[str, str]:
    """Columns of text by field, but for the tier, which is read."""
    return {name: quoted(name) for name in names if name != "service_tier"}


def _times() -> dict[str, str]:
    """Measured times of a log: per token where the first one's time is known, which leaves out the wait."""
    first, whole, written = (quoted(n) for n in ("time_to_first_token_ms", "request_duration_ms", "output_tokens"))
    streamed = f"{first} > 0 AND {whole} > {first} AND {written} > 1"
    return {
        "time_per_output_token_ms": f"CASE WHEN {streamed} THEN ({whole} - {first}) / ({written} - 1) END",
        "request_duration_ms": f"CASE WHEN NOT coalesce({streamed}, FALSE) THEN {whole} END",
    }


def table_relation(
    work: Workspace,
    state: Staged,
    mapped: Mapping[str, Mapping[str, str]],
    unread: list[str],
    options: RunOptions,
    lengths: tuple[float, float],
    number: int,
) -> Relation:
    """Tables of text that were staged; `mapped` are the columns of each field by file."""
    cells = {ours: quoted(ours) for columns in mapped.values() for ours in columns}
    found = _staged_pieces(work, state, options.chunk_rows, number)
    path = Path(next(iter(mapped)))
    return Relation(
        path, cells, frozenset(), found, unread, options.fills, lengths, "text", bare=_as_they_are(list(cells))
    )


def _staged_pieces(work: Workspace, state: Staged, rows: int, number: int) -> list[Piece]:
    order = f"record + {number << _ORDER_BITS}"
    return [
        Piece(
            f"read_parquet([{_listed(work, piece)}], union_by_name = true)",
            sum(size for _, size in piece),
            "file",
            "row",
            order,
        )
        for piece in pieces(state.parts, rows)
    ]


_ORDER_BITS = 44
"""Bits of the order of all rows that count those of one relation."""


def _listed(work: Workspace, parts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(literal(str(work.folder / name)) for name, _ in parts)


def numbered_pieces(relations: Sequence[Relation]) -> Iterator[tuple[int, Relation, Piece]]:
    """All pieces with a number each, which does not change from run to run."""
    number = 0
    for relation in relations:
        for piece in relation.pieces:
            yield number, relation, piece
            number += 1
