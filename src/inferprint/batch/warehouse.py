"""Rate cards inside a warehouse or on Spark: a few tables, and one SELECT over a usage table.

    inferprint_setups               the setups that rows state, and the cards that each takes, or why it takes none
    inferprint_machines             rates of the machine cards that count text
    inferprint_machines_embedding   those that count what embedding models read, where there are such
    inferprint_places               factors of the place cards; _embedding likewise

No row is lost: where one cannot be estimated, its outputs are NULL and `inferprint_problem` says why. To that end each
table of cards holds a card without rates, `NO_CARD`, for such rows to take.

    inferprint_numbered   cells of the usage table as numbers and keys
    inferprint_judged     the setup of each row, and what is wrong with it
    inferprint_rows       rows with the cards that they take
    (then)                `expression.sql_of`, once for each kind of cards
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ibis
import numpy as np
import sqlglot
from sqlglot import exp

from inferprint.batch.apply import PLAIN_KINDS, SETUPS, way_of
from inferprint.batch.expression import (
    MACHINES,
    NUMBERS,
    PLACES,
    CardTables,
    Columns,
    as_sql,
    card_tables,
    floor,
    output_columns,
    sql_of,
)
from inferprint.batch.rows import DEFAULTS, UNREADABLE, number
from inferprint.batch.setups import SETUP_FIELDS, Pair, Setup, Setups
from inferprint.errors import InvalidInput
from inferprint.estimate.media import MEDIA_FIELDS
from inferprint.estimate.request import COUNT_FIELDS, NUMBER_FIELDS, TIME_FIELDS, TOKEN_FIELDS, plausible

NUMBERED, JUDGED, ROWS = "inferprint_numbered", "inferprint_judged", "inferprint_rows"
MODEL, PROBLEM = "inferprint_model", "inferprint_problem"
"""Columns of the impacts beside what is kept of the usage and the outputs."""

NO_CARD = -1
"""Number of the card that rows with a problem take; its rates are unknown."""

BLANK_KEY, UNREADABLE_KEY = -1.0, -2.0
"""Keys that are numbers: a blank cell, and one that is no number. None of these fields can be negative."""

NUMERIC_KEYS = frozenset((*COUNT_FIELDS, *NUMBER_FIELDS))
FLAG_KEYS = frozenset(("conservative",))

SPECIAL_FIELDS = (*TIME_FIELDS, *(name for name in MEDIA_FIELDS if name != "task"))
"""Fields whose rows the SELECT does not estimate."""

MAPPABLE = (*SETUP_FIELDS, *NUMBERS, *SPECIAL_FIELDS)
"""Fields that a column may hold."""

NO_TOKENS = "no tokens"
UNKNOWN_SETUP = "its setup is not among those for which cards were found"
MISSING = "{} is missing"
IMPLAUSIBLE = (
    "numbers that cannot be: tokens and n_requests are whole, within their limits, cached and written tokens are part "
    "of input_tokens, and reasoning_tokens of output_tokens"
)
WRITES_NONE = "an embedding model has no output_tokens"
SPECIAL = "pictures, video, sound and measured times are estimated by `inferprint run` alone"
NOT_PLAIN = "{} does more than read and write text: `inferprint run` estimates it"


# --- dialects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dialect:
    """How an engine writes what Ibis does not write for all of them.

    Attributes
    ----------
    sql
        Its name to Ibis and to sqlglot.
    text, real, whole
        Its types.
    number
        The number of a trimmed text {x}, NULL where it is none, with {real} as its type.
    table
        What follows the columns of a new table.
    folds_up
        Whether unquoted names are upper case.
    fence
        What ends a stage whose expressions must not be copied into every expression that refers to them.
    """

    sql: str
    text: str
    real: str
    whole: str
    number: str
    table: str = ""
    folds_up: bool = False
    fence: str = ""

    def quoted(self, name: str) -> str:
        """A name as identifier."""
        return exp.to_identifier(name, quoted=True).sql(dialect=self.sql)

    def literal(self, text: str) -> str:
        """A text as literal."""
        return exp.Literal.string(text).sql(dialect=self.sql)

    def table_named(self, text: str) -> exp.Table:
        """The name of a table as its user writes it, with its schema.

        Raises
        ------
        InvalidInput
            It is not the name of a table.
        """
        try:
            tree: Any = sqlglot.parse_one(f"SELECT 1 FROM {text}", dialect=self.sql)
        except sqlglot.errors.ParseError as error:
            raise InvalidInput("table", f"'{text}' is not the name of a table") from error
        found: exp.Table | None = tree.find(exp.Table)
        if found is None or found.sql(dialect=self.sql).lower() != text.strip().lower():
            raise InvalidInput("table", f"'{text}' is not the name of a table", hint="As in: schema.usage")
        return found

    def beside(self, other: exp.Table, name: str) -> str:
        """A table of ours in the schema of another one."""
        named = exp.Table(this=exp.to_identifier(name, quoted=True), db=other.args.get("db"))
        named.set("catalog", other.args.get("catalog"))
        return named.copy().sql(dialect=self.sql)


_PLAIN_NUMBER = "[+-]?([0-9]{{1,30}}[.]?[0-9]{{0,30}}|[.][0-9]{{1,30}})([eE][+-]?[0-9]{{1,2}})?"

DIALECTS = {
    "duckdb": Dialect(
        "duckdb",
        "VARCHAR",
        "DOUBLE",
        "BIGINT",
        f"CASE WHEN regexp_full_match({{x}}, '{_PLAIN_NUMBER}') THEN TRY_CAST({{x}} AS {{real}}) END",
    ),
    "bigquery": Dialect("bigquery", "STRING", "FLOAT64", "INT64", "SAFE_CAST({x} AS {real})"),
    "snowflake": Dialect("snowflake", "VARCHAR", "DOUBLE", "BIGINT", "TRY_TO_DOUBLE({x})", folds_up=True),
    "postgres": Dialect(
        "postgres",
        "TEXT",
        "DOUBLE PRECISION",
        "BIGINT",
        f"CASE WHEN {{x}} ~ '^{_PLAIN_NUMBER}$' THEN CAST({{x}} AS {{real}}) END",
        # Stages that refer to each other's columns several times grow tenfold with each; a table of each would be slow.
        fence="\nOFFSET 0",
    ),
    "spark": Dialect(
        "databricks",
        "STRING",
        "DOUBLE",
        "BIGINT",
        f"CASE WHEN {{x}} RLIKE '^{_PLAIN_NUMBER}$' THEN TRY_CAST({{x}} AS {{real}}) END",
        table=" USING PARQUET",
    ),
}
"""The engines by the name that is asked for."""


def dialect_of(name: str) -> Dialect:
    """The dialect of an engine.

    Raises
    ------
    InvalidInput
        There is none of this name.
    """
    if name not in DIALECTS:
        raise InvalidInput("dialect", f"'{name}' is unknown", hint=f"One of {', '.join(DIALECTS)}.")
    return DIALECTS[name]


# --- tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Warehouse:
    """Setups and their cards as tables.

    Attributes
    ----------
    keys
        Setup fields that a column of the usage table holds, or none where one setup is that of the whole table.
    setups
        Columns of the table of setups; NaN and None are NULL.
    cards
        Cards by their kind.
    pairs
        Pairs of cards, which the setups name by their numbers.
    refused
        Setups that cannot be, as text, and why.
    """

    keys: tuple[str, ...]
    setups: Mapping[str, list[Any]]
    cards: Mapping[str, CardTables]
    pairs: Sequence[Pair]
    refused: Mapping[str, str]

    def tables(self) -> dict[str, Columns]:
        """All tables by name, the card without rates among the cards."""
        named: dict[str, Columns] = {SETUPS: dict(self.setups)}
        for kind, cards in self.cards.items():
            for name, columns in ((MACHINES, cards.machines), (PLACES, cards.places)):
                named[table_of(name, kind)] = {column: _with_no_card(cells) for column, cells in columns.items()}
        return named

    def kinds(self, table: str) -> dict[str, str]:
        """Ibis type of each column of a table."""
        return {name: _kind(name, cells) for name, cells in self.tables()[table].items()}

    def first(self) -> str:
        """The kind of cards whose SELECT carries the rows with a problem."""
        return next(iter(self.cards), "")


def table_of(name: str, kind: str) -> str:
    """Name of the table of cards of a kind."""
    return name if kind == PLAIN_KINDS[0] else f"{name}_{kind}"


def _with_no_card(cells: Any) -> Any:
    return np.append(cells, NO_CARD if cells.dtype.kind == "i" else np.nan)


def _kind(name: str, cells: Any) -> str:
    if name in ("machine", "place", "pair"):
        return "int64"
    is_text = isinstance(cells, list) and name.removeprefix("key_") not in NUMERIC_KEYS
    return "string" if is_text else "float64"


def warehouse_of(
    setups: Setups, stated: Iterable[Mapping[str, Any]], keys: Sequence[str], *, intervals: bool = True
) -> Warehouse:
    """Resolve setups to tables.

    Parameters
    ----------
    setups
        Finds the cards; its fills are what the whole table states.
    stated
        Setup fields of each distinct setup: those in `keys`, blank ones left out.
    keys
        Setup fields that a column of the usage table holds.

    Raises
    ------
    InferprintError
        What is wrong with a setup that is that of the whole table.
    """
    rows: dict[tuple[Any, ...], Setup] = {}
    refused: dict[str, str] = {}
    for given in stated:
        known = {name: given[name] for name in keys if given.get(name) not in (None, "")}
        setup = setups.untimed(known, may_refuse=bool(keys))
        if reason := problem_of(setup):
            refused[described(known)] = reason
        rows.setdefault(tuple(key_cell(name, known.get(name)) for name in keys), setup)
    columns: dict[str, list[Any]] = {f"key_{name}": [key[i] for key in rows] for i, name in enumerate(keys)}
    cells = [_cells_of(setup) for setup in rows.values()]
    for i, name in enumerate(("kind", "machine", "place", "pair", "model", "problem")):
        columns[name] = [row[i] for row in cells]
    used = {row[3] for row in cells}
    pairs = [pair for pair in setups.pairs if pair.number in used]
    cards = {kind: _cards(kind, pairs, intervals) for kind in PLAIN_KINDS if kind in columns["kind"]}
    return Warehouse(tuple(keys), columns, cards, setups.pairs, refused)


def _cards(kind: str, pairs: Iterable[Pair], intervals: bool) -> CardTables:
    pairs = [pair for pair in pairs if pair.machine.modality.name == kind]
    machines = {pair.machine_number: pair.machine for pair in pairs}
    places = {pair.place_number: pair.place for pair in pairs}
    return card_tables(pairs[0].machine.modality, machines, places, intervals=intervals)


def described(stated: Mapping[str, Any]) -> str:
    """A setup as text."""
    return ", ".join(f"{name}={value}" for name, value in stated.items()) or "(nothing stated)"


def key_cell(name: str, value: Any) -> Any:
    """A setup field as the usage table's cell is read."""
    blank = value is None or value == ""
    if name in NUMERIC_KEYS:
        try:
            return BLANK_KEY if blank else number(value)
        except (TypeError, ValueError):
            return UNREADABLE_KEY
    text = "" if blank else ";".join(value) if isinstance(value, (tuple, list)) else str(value)
    return text.lower() if name in FLAG_KEYS else text


def _way(setup: Setup) -> str:
    assert setup.pair is not None
    return way_of(setup.pair.machine.media, setup.pair.machine.modality.name)


def problem_of(setup: Setup) -> str:
    """Why rows of a setup are not estimated, "" where they are."""
    if setup.error is not None or setup.pair is None:
        return ": ".join(setup.error or ("", ""))
    return "" if _way(setup) in PLAIN_KINDS else NOT_PLAIN.format(setup.pair.machine.model)


def _cells_of(setup: Setup) -> tuple[Any, ...]:
    """Kind, machine, place, pair, model and problem of a setup."""
    problem = problem_of(setup)
    if problem or setup.pair is None:
        return ("", NO_CARD, NO_CARD, NO_CARD, None, problem)
    pair = setup.pair
    return (_way(setup), pair.machine_number, pair.place_number, pair.number, pair.machine.model, None)


# --- the SELECT -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A usage table.

    Attributes
    ----------
    table
        Its name, as one writes it in SQL.
    columns
        Column by field of `MAPPABLE`, letter by letter; what is not there is what nobody states.
    keep
        Columns to carry along.
    fills
        What blank cells of tokens and n_requests stand for, by field.
    numeric
        Fields whose columns are known to be numbers.
    """

    table: str
    columns: Mapping[str, str]
    keep: Sequence[str] = ()
    fills: Mapping[str, float] = field(default_factory=dict)
    numeric: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in MAPPABLE:
                near = ", ".join(difflib.get_close_matches(name, MAPPABLE)) or ", ".join(MAPPABLE)
                raise InvalidInput(name, "is not a field that a column may hold", hint=f"Nearest: {near}.")
        taken = {MODEL, PROBLEM, *(column for column, _, _ in output_columns(intervals=True))}
        for name in self.keep:
            if name.lower() in taken:
                raise InvalidInput(name, "is the name of an output too", hint="Rename the column, or do not keep it.")
        if len(set(self.keep)) < len(self.keep):
            raise InvalidInput("keep", "names a column twice")

    @property
    def keys(self) -> tuple[str, ...]:
        """Setup fields that a column holds."""
        return tuple(name for name in SETUP_FIELDS if name in self.columns)

    @property
    def kept(self) -> tuple[str, ...]:
        """What the kept columns are called within the SELECT, where no name of ours can be theirs."""
        return tuple(f"kept_{i}" for i in range(len(self.keep)))

    def numbered(self, dialect: Dialect) -> str:
        """A SELECT of keys and numbers."""
        select = [f"u.{dialect.quoted(name)} AS {inner}" for name, inner in zip(self.keep, self.kept, strict=True)]
        select += [f"{self._key(dialect, name)} AS key_{name}" for name in self.keys]
        select += [f"{self._number(dialect, name)} AS {name}" for name in NUMBERS]
        special = [self._cell(dialect, name) for name in SPECIAL_FIELDS if name in self.columns]
        stated = " OR ".join(f"{cell} IS NOT NULL" for cell in special)
        select.append(f"{stated or 'FALSE'} AS is_special")
        tree = sqlglot.parse_one(f"SELECT {', '.join(select)} FROM {self.table} AS u", dialect=dialect.sql)
        # Quoted throughout, as Ibis writes the names that refer to these.
        for alias in tree.find_all(exp.Alias):
            alias.set("alias", exp.to_identifier(alias.alias, quoted=True))
        return tree.sql(dialect=dialect.sql, pretty=True)

    def kinds(self) -> dict[str, str]:
        """Ibis type of each column of `numbered`; what is kept is only carried along."""
        keys = {f"key_{name}": "float64" if name in NUMERIC_KEYS else "string" for name in self.keys}
        return dict.fromkeys(self.kept, "string") | keys | dict.fromkeys(NUMBERS, "float64") | {"is_special": "boolean"}

    def _cell(self, dialect: Dialect, name: str) -> str:
        return f"u.{dialect.quoted(self.columns[name])}"

    def _key(self, dialect: Dialect, name: str) -> str:
        if name in NUMERIC_KEYS:
            return self._read(dialect, name, repr(BLANK_KEY), UNREADABLE_KEY)
        text = f"COALESCE(CAST({self._cell(dialect, name)} AS {dialect.text}), '')"
        return f"LOWER({text})" if name in FLAG_KEYS else text

    def _number(self, dialect: Dialect, name: str) -> str:
        fill = self.fills.get(name, DEFAULTS[name])
        blank = f"CAST(NULL AS {dialect.real})" if fill is None else f"CAST({float(fill)!r} AS {dialect.real})"
        return self._read(dialect, name, blank, UNREADABLE) if name in self.columns else blank

    def _read(self, dialect: Dialect, name: str, blank: str, unreadable: float) -> str:
        """SQL of a cell as a number."""
        cell = self._cell(dialect, name)
        if name in self.numeric:
            return f"COALESCE(CAST({cell} AS {dialect.real}), {blank})"
        text = f"TRIM(CAST({cell} AS {dialect.text}))"
        read = dialect.number.format(x=text, real=dialect.real)
        bad = f"CAST({unreadable!r} AS {dialect.real})"
        return f"CASE WHEN COALESCE({text}, '') = '' THEN {blank} ELSE COALESCE({read}, {bad}) END"


def row_stages(dialect: Dialect, source: Source, warehouse: Warehouse) -> dict[str, str]:
    """The stages up to rows with the cards that they take, each a SELECT over those before it."""
    numbered = ibis.table(source.kinds(), name=NUMBERED)
    setups = ibis.table(warehouse.kinds(SETUPS), name=SETUPS)
    keys = [f"key_{name}" for name in source.keys]
    joined = numbered.left_join(setups, keys) if keys else numbered.cross_join(setups)
    found = {name: joined[name] for name in ("kind", "machine", "place", "pair", "model")}
    judged = joined.select(
        *(joined[name] for name in (*source.kept, *NUMBERS)), **found, **{PROBLEM: _problem(joined, source)}
    )
    rows = ibis.table(judged.schema(), name=JUDGED)
    fine = rows[PROBLEM].isnull()
    taken = {
        # What no card is found for goes the way of the first kind, with a card without rates.
        "kind": ibis.ifelse(fine, rows["kind"], warehouse.first()),
        **{name: ibis.ifelse(fine, rows[name], NO_CARD).cast("int64") for name in ("machine", "place", "pair")},
        MODEL: ibis.ifelse(fine, rows["model"], ibis.null("string")),
        PROBLEM: rows[PROBLEM],
        # A database may stop at a division by zero that nobody asks the result of.
        **{name: ibis.ifelse(fine, rows[name].fill_null(0.0), ibis.null("float64")) for name in NUMBERS},
    }
    chosen = rows.select(*(rows[name] for name in source.kept), **taken)
    return {
        NUMBERED: source.numbered(dialect),
        JUDGED: as_sql(judged, dialect.sql),
        ROWS: as_sql(chosen, dialect.sql),
    }


def _problem(row: Any, source: Source) -> Any:
    """Why a row is not estimated, NULL where it is: the same order of reasons as `inferprint run` has."""
    stated = {name: row[name].fill_null(0.0) for name in NUMBERS}
    idle = row["output_tokens"].notnull() & row["input_tokens"].notnull() & ~row["is_special"]
    for name in TOKEN_FIELDS:
        idle &= stated[name] == 0
    unread = [(row[f"key_{n}"] == UNREADABLE_KEY, f"{n} is not a number") for n in source.keys if n in NUMERIC_KEYS]
    reads = row["kind"].fill_null("") == "embedding"
    return ibis.cases(
        (idle, NO_TOKENS),
        (row["is_special"], SPECIAL),
        *unread,
        (row["machine"].isnull(), UNKNOWN_SETUP),
        (row["problem"].notnull(), row["problem"]),
        (row["input_tokens"].isnull(), MISSING.format("input_tokens")),
        (row["output_tokens"].isnull() & ~reads, MISSING.format("output_tokens")),
        (~plausible(stated, floor), IMPLAUSIBLE),
        (reads & (stated["output_tokens"] > 0), WRITES_NONE),
        else_=ibis.null("string"),
    )


def output_stages(dialect: Dialect, keep: Mapping[str, str], warehouse: Warehouse) -> dict[str, str]:
    """The stages from `ROWS` to outputs; the last one of each kind is `outputs_of(kind)`.

    `keep` is the Ibis type of each column to carry along.
    """
    numbers = [name for name in NUMBERS if name not in ("cache_write_tokens", "reasoning_tokens")]
    kinds = {**keep, "machine": "int64", "place": "int64"} | dict.fromkeys(numbers, "float64")
    rows = ibis.table({**kinds, "kind": "string"}, name=ROWS)
    stages: dict[str, str] = {}
    for kind, cards in warehouse.cards.items():
        chosen = rows if len(warehouse.cards) == 1 else rows.filter(rows["kind"] == kind)
        usage = as_sql(chosen.select(*kinds), dialect.sql)
        tree: Any = sqlglot.parse_one(sql_of(cards, usage, kinds, list(keep), dialect.sql), dialect=dialect.sql)
        names = {name: f"inferprint_{name}_{kind}" for name in ("usage", "counted", "rated", "widened")}
        renamed(tree, names | {name: table_of(name, kind) for name in (MACHINES, PLACES)})
        within = tree.args["with_"]
        for stage in within.expressions:
            # Machines have the most columns, and engines of rows copy all that they have joined at each further join.
            stage.this.set("joins", (stage.this.args.get("joins") or [])[::-1])
            stages[names[stage.alias]] = stage.this.sql(dialect=dialect.sql, pretty=True)
        within.pop()
        stages[outputs_of(kind)] = tree.sql(dialect=dialect.sql, pretty=True)
    if not stages:
        unknown = ibis.null("float64")
        columns = dict.fromkeys((name for name, _, _ in output_columns(intervals=True)), unknown)
        stages[outputs_of("")] = as_sql(rows.select(*keep, **columns), dialect.sql)
    return stages


def outputs_of(kind: str) -> str:
    """The stage that holds the outputs of rows of a kind."""
    return f"inferprint_outputs_{kind}" if kind else "inferprint_outputs"


def renamed(tree: Any, names: Mapping[str, str]) -> None:
    """Give other names to tables, wherever a query refers to them."""
    for table in tree.find_all(exp.Table):
        if table.name in names:
            table.set("this", exp.to_identifier(names[table.name], quoted=True))


def impacts_sql(dialect: Dialect, source: Source, warehouse: Warehouse, beside: str = "") -> str:
    """The outputs of a usage table as one SELECT.

    It has the kept columns, the model that was found, why a row was not estimated, and the outputs with their bounds.

    Parameters
    ----------
    beside
        A table whose schema the tables of the warehouse are in; the current schema by default.
    """
    keep = dict.fromkeys((*source.kept, MODEL, PROBLEM), "string")
    stages = row_stages(dialect, source, warehouse) | output_stages(dialect, keep, warehouse)
    first = next(iter(warehouse.cards.values()), None)
    outputs = [name for name, _, _ in output_columns(intervals=first is None or first.intervals)]
    inner = [dialect.quoted(name) for name in (*source.kept, MODEL, PROBLEM, *outputs)]
    # Unquoted, so that they are found as they are usually written.
    outer = [dialect.quoted(name) for name in source.keep] + [MODEL, PROBLEM, *outputs]
    select = ",\n  ".join(f"{one} AS {other}" for one, other in zip(inner, outer, strict=True))
    parts = [f"SELECT\n  {select}\nFROM {dialect.quoted(outputs_of(kind))}" for kind in warehouse.cards or ("",)]
    text = with_stages(dialect, stages, "\nUNION ALL\n".join(parts))
    return in_schema(dialect, text, warehouse, beside) if beside else text


def with_stages(dialect: Dialect, stages: Mapping[str, str], last: str) -> str:
    """Stages and the SELECT that follows them."""
    listed = ",\n".join(f"{dialect.quoted(name)} AS (\n{text}{dialect.fence}\n)" for name, text in stages.items())
    return f"WITH {listed}\n{last}"


def in_schema(dialect: Dialect, text: str, warehouse: Warehouse, beside: str) -> str:
    """A query with the tables of the warehouse in the schema of another table."""
    other = dialect.table_named(beside)
    tree = sqlglot.parse_one(text, dialect=dialect.sql)
    ours = set(warehouse.tables())
    for table in tree.find_all(exp.Table):
        if table.name in ours and not table.args.get("db"):
            table.set("db", other.args.get("db"))
            table.set("catalog", other.args.get("catalog"))
    return tree.sql(dialect=dialect.sql, pretty=True)
