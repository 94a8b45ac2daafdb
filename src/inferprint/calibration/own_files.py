"""Writes a node of one's own into a folder for --catalog: nodes/ID.toml, forms/ID.toml and sources/ID.toml."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferprint.calibration.fit import form_text
from inferprint.calibration.own import Own
from inferprint.catalogue import Catalogue, Node
from inferprint.catalogue.compose import read_folder
from inferprint.catalogue.own import OWN_FORMS, SOURCE, own_form_id
from inferprint.catalogue.schema import field_types, table_of
from inferprint.errors import FileProblem
from inferprint.provenance.source import Source
from inferprint.quantities import Range

HEAD = "# Written by `inferprint catalog add-node`: run it again rather than edit.\n"


@dataclass(frozen=True, slots=True)
class Former:
    """The node of this id that new records replace.

    Attributes
    ----------
    date
        Of its coefficients.
    rows
        Measured values that its forms were fitted to, by form.
    kept
        What was stated of it and stands, by field.
    changed
        What is another now, by field: before and after.
    lost
        Forms that it had and has no more.
    """

    date: str
    rows: Mapping[str, int]
    kept: Mapping[str, Any]
    changed: Mapping[str, tuple[Any, Any]]
    lost: tuple[str, ...]


def former_of(own: Own, stated: Sequence[str], base: Catalogue) -> Former | None:
    """What a node takes the place of; None where it is new.

    Parameters
    ----------
    stated
        Fields of the node that were stated now.
    base
        Catalogue with the former node.
    """
    node, old = own.node, base.nodes.get(own.node.id)
    if old is None:
        return None
    ids = (own_form_id(name, node.id) for name in OWN_FORMS)
    rows = {form: base.forms[form].rows for form in ids if form in base.forms}
    made = {item.form.id for item in own.forms}
    pairs = {name: (_plain(getattr(old, name)), _plain(getattr(node, name))) for name in field_types(table_of(node)[0])}
    kept = {name: before for name, (before, _) in pairs.items() if before is not None and name not in BY_NATURE}
    return Former(
        date=old.origin("gpu").date,
        rows=rows,
        kept={name: value for name, value in kept.items() if name not in stated},
        changed={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        lost=tuple(form for form in rows if form not in made),
    )


BY_NATURE = ("id", "cloud", "instance", "gpu", "gpu_count", "engine")
"""Fields of a node that are known without anybody stating them, or that are always stated."""


def _plain(value: object) -> object:
    """A value as plain data, the central one of a range; None where nobody stated it."""
    plain = value.value if isinstance(value, Range) else value
    return list(plain) or None if isinstance(plain, tuple) else plain


def own_source(node_id: str, files: Sequence[Path]) -> Source:
    """The source that the records of a node cite: its measurements, by the names of their files."""
    names = ", ".join(sorted(path.name for path in files))
    return Source(id=f"{SOURCE}{node_id}", title=f"Measured on {node_id}: {names}", url="", licence="the user's own")


def write_own(own: Own, source: Source, folder: Path, base: Catalogue) -> list[Path]:
    """Write the records of a node, once `base` takes them; each file replaces the former one whole.

    Raises
    ------
    CatalogueError
        The records do not fit the catalogue.
    FileProblem
        The folder cannot be written, or another file of it holds the node.
    """
    base.with_records(source, own.node, *(item.form for item in own.forms))
    name = own.node.id.replace(":", "-") + ".toml"
    _check_place(folder, own.node.id, f"nodes/{name}")
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


def _check_place(folder: Path, node_id: str, place: str) -> None:
    """Refuse a folder that holds the node in another file: a folder may give an id once."""
    places = read_folder(folder, strict=True)[2] if folder.is_dir() else {}
    found = places.get(("nodes", node_id), place)
    if found != place:
        hint = f"Move its table from there to {place}, where what it states is kept, or choose another id."
        raise FileProblem(f"{node_id} is already in {folder / found}", hint=hint)


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
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value) if isinstance(value, int | float) else _text(str(value))


def _text(value: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
