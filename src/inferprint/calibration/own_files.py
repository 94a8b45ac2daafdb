"""Writes a node of one's own into a folder for --catalog: nodes/ID.toml, forms/ID.toml and sources/ID.toml."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from inferprint.calibration.fit import form_text
from inferprint.calibration.own import Own
from inferprint.catalogue import Catalogue, Node
from inferprint.catalogue.schema import field_types, table_of
from inferprint.errors import FileProblem
from inferprint.provenance.source import Source
from inferprint.quantities import Range

HEAD = "# Written by `inferprint catalog add-node`: run it again rather than edit.\n"


def own_source(node_id: str, files: Sequence[Path]) -> Source:
    """The source that the records of a node cite: its measurements, by the names of their files."""
    names = ", ".join(sorted(path.name for path in files))
    return Source(id=f"own:{node_id}", title=f"Measured on {node_id}: {names}", url="", licence="the user's own")


def write_own(own: Own, source: Source, folder: Path, base: Catalogue) -> list[Path]:
    """Write the records of a node, once `base` takes them; each file replaces the former one whole.

    Raises
    ------
    CatalogueError
        The records do not fit the catalogue.
    FileProblem
        The folder cannot be written.
    """
    base.with_records(source, own.node, *(item.form for item in own.forms))
    name = own.node.id.replace(":", "-") + ".toml"
    texts = {
        folder / "sources" / name: _source_text(source),
        folder / "nodes" / name: _node_text(own.node),
        folder / "forms" / name: HEAD + "".join(form_text(item.form) for item in own.forms),
    }
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(".part")
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
    except OSError as error:
        raise FileProblem(f"cannot write into {folder}: {error}", hint="Name another folder with --catalog.") from error
    return list(texts)


def _source_text(source: Source) -> str:
    fields = (f"{name} = {_text(getattr(source, name))}" for name in ("id", "title", "url", "licence"))
    return HEAD + "\n[[source]]\n" + "\n".join(fields) + "\n"


def _node_text(node: Node) -> str:
    """A node as a TOML table, without the fields that nobody stated."""
    kind, table = table_of(node)
    lines = ["", "[[node]]"]
    for name in (*field_types(kind), "source", "date", "quality", "note"):
        value = getattr(node, name, table.get(name))
        if value not in (None, (), ""):
            lines.append(f"{name} = {_value(value)}")
    return HEAD + "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, Range):
        inner = ", ".join(f"{name} = {number!r}" for name, number in value._asdict().items())
        return f"{{ {inner} }}"
    return repr(value) if isinstance(value, int | float) else _text(str(value))


def _text(value: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
