"""The files of a run: which are logs of a known format, which are tables, and what each becomes."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inferprint.batch.options import IDENTITY, RunOptions
from inferprint.batch.rejects import RejectWriter
from inferprint.batch.relation import Relation, log_relation, parquet_relation, table_relation
from inferprint.batch.stage import Stage, Staged
from inferprint.batch.workspace import Workspace
from inferprint.errors import FileProblem
from inferprint.usage.base import Format, Kind
from inferprint.usage.formats import format_named, formats, recognised
from inferprint.usage.json_table import JsonTable
from inferprint.usage.opening import check_regular
from inferprint.usage.source import OpenSource, open_source, sample_of
from inferprint.usage.tables import NUMERIC_FIELDS, CsvTable, ParquetTable, Table

SPARSE = (*NUMERIC_FIELDS, *IDENTITY, "model_id", "managed_service_id", "cloud_region", "country")
"""Fields that single objects of JSON may have, and others not."""

TABLE = "table"
"""Name of the format of a table whose columns are fields of a request, or mapped to them."""


@dataclass(slots=True)
class Inputs:
    """The files of a run by how they are read; `left_out` are those that cannot be, with the reason."""

    logs: list[tuple[OpenSource, Format]] = field(default_factory=list)
    texts: list[tuple[Table, dict[str, str]]] = field(default_factory=list)
    parquets: list[tuple[ParquetTable, dict[str, str]]] = field(default_factory=list)
    left_out: list[tuple[Path, FileProblem]] = field(default_factory=list)

    @property
    def names(self) -> dict[str, int]:
        """Files by the name of their format."""
        found = Counter(form.name for _, form in self.logs)
        tables = len(self.texts) + len(self.parquets)
        return dict(found) | ({TABLE: tables} if tables else {})


def inputs_of(paths: Sequence[Path], options: RunOptions) -> Inputs:
    """The files, each with its format.

    Raises
    ------
    FileProblem
        A file that cannot be read, is given twice, or is of no known format and without the columns that are needed.
    """
    _check_once(paths)
    found = Inputs()
    for path in paths:
        check_regular(path)
        try:
            source = open_source(path)
        except FileProblem as error:
            # Empty or damaged: the other files count all the same.
            if len(paths) == 1:
                raise
            found.left_out.append((path, error))
            continue
        form = _format_of(source, options)
        if form is not None:
            found.logs.append((source, form))
            continue
        table = _table(path, source.kind)
        mapped = options.mapped(path, table.names)
        if isinstance(table, JsonTable):
            # A key may stand in later objects alone: fields that are known are looked for in all of them.
            mapped = {name: name for name in SPARSE} | mapped
        if isinstance(table, ParquetTable):
            found.parquets.append((table, mapped))
        else:
            found.texts.append((table, mapped))
    if len(found.left_out) == len(paths):
        raise found.left_out[0][1]
    # What later files of a format repeat is known from the earlier ones: they are read together.
    order = {name: i for i, name in enumerate(dict.fromkeys(form.name for _, form in found.logs))}
    found.logs.sort(key=lambda log: order[log[1].name])
    return found


def _format_of(source: OpenSource, options: RunOptions) -> Format | None:
    """The format of a log; None for a table."""
    asked = options.formats.get(source.path, options.input_format)
    if asked == TABLE or (asked is None and options.columns):
        return None
    if asked is None:
        return recognised(sample_of(source))
    form = format_named(asked)
    if source.kind not in form.kinds:
        message = f"{source.path}: is {source.kind}, and {asked} is {' or '.join(form.kinds)}"
        raise FileProblem(message, hint="Leave --input-format out, and the file is recognised.")
    return form


def _table(path: Path, kind: Kind) -> Table:
    """A file of no known format as a table."""
    if kind == "parquet":
        return ParquetTable(path)
    if kind == "csv":
        return CsvTable(path)
    if kind in ("json-lines", "json"):
        table = JsonTable(path)
        if table.names:
            return table
        why = f": {table.problem}" if table.problem else ""
        raise FileProblem(f"{path}: holds no JSON objects that could be read{why}", hint=_known_formats(kind))
    raise FileProblem(f"{path}: metrics of no known server", hint=_known_formats(kind))


def _known_formats(kind: Kind) -> str:
    names = sorted(form.name for form in formats().values() if kind in form.kinds)
    return f"Formats known as {kind}: {', '.join(names)}."


def _check_once(paths: Sequence[Path]) -> None:
    """Refuse a file that is given twice, under one name or as a copy: its records would count twice."""
    twice = [path for path, count in Counter(path.resolve() for path in paths).items() if count > 1]
    if twice:
        raise FileProblem(f"{twice[0]}: given twice", hint="Its records would count twice: name each file once.")
    by_size: defaultdict[int, list[Path]] = defaultdict(list)
    for path in paths:
        if path.is_file():
            by_size[path.stat().st_size].append(path)
    for alike in by_size.values():
        seen: dict[str, Path] = {}
        for path in alike if len(alike) > 1 and alike[0].stat().st_size else []:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "blake2b").hexdigest()
            if digest in seen:
                message = f"{path}: is a copy of {seen[digest]}"
                raise FileProblem(message, hint="Its records would count twice: leave one of them out.")
            seen[digest] = path


@dataclass(slots=True)
class Prepared:
    """Files as relations, what staging left, and the files of rejected records that it wrote."""

    relations: list[Relation]
    staged: list[Staged]
    rejects: list[Path]


def prepare(
    inputs: Inputs, work: Workspace, options: RunOptions, connection: Any, lengths: tuple[float, float]
) -> Prepared:
    """Stage what is not Parquet with columns of ours, and give all of it as relations."""
    found = Prepared([], [], [])
    if inputs.left_out:
        _reject_files(inputs, work, found)
    for table, mapped in inputs.parquets:
        found.relations.append(parquet_relation(table, mapped, options, lengths, len(found.relations)))
    if inputs.logs:
        with closing(Stage(work, "logs", options, connection)) as stage:
            state = stage.logs(inputs.logs)
        path = inputs.logs[0][0].path
        found.relations.append(log_relation(work, state, path, options, lengths, len(found.relations)))
        found.staged.append(state)
        found.rejects.append(stage.rejects_path)
    if inputs.texts:
        with closing(Stage(work, "tables", options, connection)) as stage:
            state = stage.tables(inputs.texts)
        columns = {str(table.path): mapped for table, mapped in inputs.texts}
        unread = [name for table, mapped in inputs.texts for name in table.names if name not in mapped.values()]
        number = len(found.relations)
        found.relations.append(
            table_relation(work, state, columns, list(dict.fromkeys(unread)), options, lengths, number)
        )
        found.staged.append(state)
        found.rejects.append(stage.rejects_path)
    return found


def _reject_files(inputs: Inputs, work: Workspace, found: Prepared) -> None:
    """Files that cannot be read as one rejected record each, as nobody knows how many they hold."""
    path = work.folder / "files-rejects.csv"
    rejects = RejectWriter(path)
    for file, problem in inputs.left_out:
        rejects.write(str(file), 0, "", problem.message.removeprefix(f"{file}: "), "")
    rejects.close()
    count = len(inputs.left_out)
    found.staged.append(Staged(records=count, rejected=count, reasons=dict(rejects.reasons)))
    found.rejects.append(path)
