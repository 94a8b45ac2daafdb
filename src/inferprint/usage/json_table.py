"""JSON lines, or a list of objects, as a table: a column is a key, or a path of keys joined by dots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inferprint.usage.source import OpenSource, open_source
from inferprint.usage.tables import Broken, Chunk

SAMPLED = 1_000
"""Objects that are looked at to know the columns."""


class JsonTable:
    """A file of JSON objects.

    Attributes
    ----------
    names
        Columns of the first `SAMPLED` objects; later ones may have more.
    problem
        What is wrong with the first record that could not be read; "" where all could.
    """

    rows: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kind = open_source(path).kind
        self.position = 0
        names: dict[str, None] = {}
        source = self._source()
        for _, record in zip(range(SAMPLED), source.decoded(dict[str, Any]), strict=False):
            names |= dict.fromkeys(name for name, _ in _flat(record[1], ""))
        self.names = tuple(names)
        self.problem = source.rejects[0].reason if source.rejects else ""

    def _source(self) -> OpenSource:
        return OpenSource(self.path, self._kind)

    def chunks(self, mapped: dict[str, str], size: int) -> Iterator[Chunk]:
        """The rows, about `size` at a time."""
        source = self._source()
        paths = {ours: name.split(".") for ours, name in mapped.items()}
        rows: list[int] = []
        columns: dict[str, list[Any]] = {ours: [] for ours in mapped}
        for row, record in source.decoded(dict[str, Any]):
            rows.append(row)
            for ours, path in paths.items():
                columns[ours].append(_cell(_within(record, path)))
            if len(rows) >= size:
                yield self._chunk(source, rows, columns)
                rows, columns = [], {ours: [] for ours in mapped}
        yield self._chunk(source, rows, columns)

    def _chunk(self, source: OpenSource, rows: list[int], columns: dict[str, list[Any]]) -> Chunk:
        broken = [Broken(found.row, found.reason, "") for found in source.rejects]
        source.rejects.clear()
        self.position = source.position
        texts = [
            ",".join(str(cell) for cell in cells if cell is not None) for cells in zip(*columns.values(), strict=True)
        ]
        return Chunk(rows, columns, texts or [""] * len(rows), broken)


def _flat(record: dict[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    """Keys of an object, and of those within, joined by dots."""
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def _within(record: Any, path: list[str]) -> Any:
    """What stands at a path of keys; a key with dots in it is found too."""
    if isinstance(record, dict) and ".".join(path) in record:
        return record[".".join(path)]
    for key in path:
        if not isinstance(record, dict):
            return None
        record = record.get(key)
    return record


def _cell(value: Any) -> str | None:
    """A value as the cell of a table of text; None where blank."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ";".join(value) or None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
