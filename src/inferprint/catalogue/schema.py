"""What a catalogue record may hold: the dataclasses of `records`, checked field by field.

A record travels in a raw form that JSON can hold: fields by name, a Range as three numbers, and `provenance` as
field name to [source, date, quality, note], where the empty name stands for all other fields. `checked` makes the
raw form from a table of a data file and refuses whatever the dataclass does not say; `build` makes the record.
"""

from __future__ import annotations

import datetime
import difflib
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_args, get_type_hints

from inferprint.catalogue.records import (
    Form,
    Gpu,
    Grid,
    Media,
    Model,
    Node,
    Operator,
    Precision,
    Price,
    Prior,
    Record,
    Region,
    Service,
    ShapeFit,
    SizeFit,
    SizeForm,
    Speed,
    TokenRule,
)
from inferprint.errors import CatalogueError
from inferprint.provenance.source import Provenance, Quality, Source
from inferprint.quantities import Range

Raw = dict[str, Any]
Content = dict[str, dict[str, Raw]]
"""All raw records: folder name (models, gpus ...) to id to raw record."""

_ORIGIN = ("source", "date", "quality", "note")
_ISO_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of record: its folder, the name of its tables and of its list command, its class, and how it is called."""

    folder: str
    table: str
    record: type[Record] | type[Source]
    label: str


KINDS = (
    Kind("sources", "source", Source, "source"),
    Kind("models", "model", Model, "model"),
    Kind("media", "media", Media, "media model"),
    Kind("token_rules", "token_rule", TokenRule, "token rule"),
    Kind("gpus", "gpu", Gpu, "GPU"),
    Kind("nodes", "node", Node, "node"),
    Kind("services", "service", Service, "service"),
    Kind("speeds", "speed", Speed, "speed"),
    Kind("regions", "region", Region, "region"),
    Kind("operators", "operator", Operator, "operator"),
    Kind("grids", "grid", Grid, "country or grid zone"),
    Kind("precisions", "precision", Precision, "precision"),
    Kind("forms", "form", Form, "form"),
    Kind("priors", "prior", Prior, "prior"),
    Kind("shapes", "shape", ShapeFit, "shape fit"),
    Kind("prices", "price", Price, "price"),
    Kind("size_forms", "size_form", SizeForm, "size form"),
    Kind("size_fits", "size_fit", SizeFit, "size fit"),
)
_SIGNED = (Form, Prior, ShapeFit, SizeForm, SizeFit)
"""Records of coefficients and corrections; every other number is a quantity and not negative."""
KIND_OF = {kind.folder: kind for kind in KINDS}


def fail(where: str, message: str, hint: str = "") -> CatalogueError:
    """An error that begins with the file or origin in which the fault is."""
    return CatalogueError(f"{where}: {message}", hint=hint)


_TYPES = {kind.folder: {item.name: str(item.type) for item in fields(kind.record)} for kind in KINDS}
"""Folder to the annotation of every field of its records."""
_REQUIRED = {
    kind.folder: [x.name for x in fields(kind.record) if x.default is MISSING and x.default_factory is MISSING]
    for kind in KINDS
}


def field_types(kind: Kind) -> dict[str, str]:
    """Name to annotation of the fields that a table may state, `provenance` aside."""
    return {name: wanted for name, wanted in _TYPES[kind.folder].items() if name != "provenance"}


@functools.cache
def _choices(folder: str, name: str) -> tuple[str, ...]:
    """Allowed words of a Literal field, else nothing."""
    hint = get_type_hints(KIND_OF[folder].record)[name]
    parts = [hint, *get_args(hint)]
    return tuple(word for part in parts for word in get_args(part) if isinstance(word, str))


def checked(kind: Kind, table: Mapping[str, Any], where: str) -> Raw:
    """The raw form of one table of a data file.

    Parameters
    ----------
    kind
        Sort of record that the table is to be.
    table
        Fields as the file states them, with `source`, `date`, `quality`, `note` and `provenance`.
    where
        File, or other origin, named in errors.

    Raises
    ------
    CatalogueError
        An unknown or missing field, a wrong type, or a value without source, date or quality.
    """
    key = table.get("id")
    if not isinstance(key, str) or not key:
        raise fail(where, f"a [[{kind.table}]] has no field 'id'")
    subject = f"{kind.table} '{key}'"
    known = field_types(kind)
    plain = kind.record is Source
    extra = () if plain else (*_ORIGIN, "provenance")
    for name in table:
        if name not in known and name not in extra:
            near = difflib.get_close_matches(name, [*known, *extra], n=1, cutoff=0.0)[0]
            raise fail(where, f"{subject}: unknown field '{name}'", f"Nearest field: {near}")
    for name in _REQUIRED[kind.folder]:
        if name not in table:
            raise fail(where, f"{subject}: missing field '{name}'")
    raw: Raw = {}
    for name in known:
        if name in table:
            raw[name] = _value(kind, name, table[name], f"{where}: {subject}: field '{name}'")
    if not plain:
        raw["provenance"] = _provenance(table, known, f"{where}: {subject}")
    return raw


def _provenance(table: Mapping[str, Any], known: Mapping[str, str], where: str) -> dict[str, list[str]]:
    whole = {name: table[name] for name in _ORIGIN if name in table}
    found = {"": _origin(whole, where, "")}
    own = table.get("provenance", {})
    if not isinstance(own, Mapping):
        raise fail(where, "field 'provenance' must be a table of tables")
    for name, entry in own.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise fail(where, f"provenance of unknown field '{name}'", f"Nearest field: {near}")
        if not isinstance(entry, Mapping):
            raise fail(where, f"field 'provenance.{name}' must be a table")
        found[name] = _origin(
            {**{k: whole[k] for k in _ORIGIN[:3] if k in whole}, **entry}, where, f"provenance.{name}."
        )
    return found


def _origin(entry: Mapping[str, Any], where: str, prefix: str) -> list[str]:
    for name in entry:
        if name not in _ORIGIN:
            near = difflib.get_close_matches(name, _ORIGIN, n=1, cutoff=0.0)[0]
            raise fail(where, f"unknown field '{prefix}{name}'", f"Nearest field: {near}")
    for name in _ORIGIN[:3]:
        if name not in entry:
            raise fail(where, f"missing field '{prefix}{name}'", "Every value needs source, date and quality.")
    date = entry["date"]
    if isinstance(date, datetime.date):
        date = date.isoformat()
    if not isinstance(date, str) or not _ISO_DATE.fullmatch(date):
        raise fail(where, f"field '{prefix}date' must be an ISO date, not {entry['date']!r}")
    if entry["quality"] not in get_args(Quality):
        allowed = ", ".join(get_args(Quality))
        raise fail(where, f"field '{prefix}quality' is {entry['quality']!r}", f"Allowed: {allowed}")
    texts = [entry["source"], entry["quality"], entry.get("note", "")]
    if not all(isinstance(text, str) for text in texts):
        raise fail(where, f"fields '{prefix}source', 'quality' and 'note' must be text")
    return [texts[0], date, texts[1], texts[2]]


def _value(kind: Kind, name: str, value: Any, where: str) -> Any:
    """One field's value in raw form; `where` ends with the field's name."""
    words = _choices(kind.folder, name)
    if words:
        if not isinstance(value, str) or value not in words:
            near = difflib.get_close_matches(str(value), words, n=1, cutoff=0.0)[0]
            raise CatalogueError(f"{where} is {value!r}", hint=f"Nearest: {near}. Allowed: {', '.join(words)}")
        return value
    wanted = _TYPES[kind.folder][name].removesuffix(" | None")
    signed = kind.record in _SIGNED
    if wanted == "Range":
        return _range(value, where, signed)
    if wanted.startswith("Mapping"):
        if not isinstance(value, Mapping):
            raise CatalogueError(f"{where} must be a table, not {value!r}")
        return _mapping(value, wanted, where, signed)
    if wanted.startswith("tuple"):
        return _list(value, wanted, where, signed)
    if wanted in ("int", "float"):
        return _number(value, wanted, where, signed)
    if not isinstance(value, {"str": str, "bool": bool}[wanted]):
        raise CatalogueError(f"{where} must be {wanted}, not {value!r}")
    return value


def _mapping(value: Mapping[str, Any], wanted: str, where: str, signed: bool) -> dict[str, Any]:
    """A table of texts, numbers or ranges."""
    if wanted == "Mapping[str, str]":
        return dict(zip(value, _list(list(value.values()), "tuple[str, ...]", where, signed), strict=True))
    number = _range if "Range" in wanted else _real
    return {key: number(item, f"{where}.{key}", signed) for key, item in value.items()}


def _list(value: Any, wanted: str, where: str, signed: bool) -> list[Any]:
    """A list of texts or of numbers."""
    if wanted == "tuple[str, ...]":
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
            raise CatalogueError(f"{where} must be a list of texts, not {value!r}")
        return list(value)
    if not isinstance(value, list | tuple):
        raise CatalogueError(f"{where} must be a list of numbers, not {value!r}")
    return [_real(item, f"{where}[{index}]", signed) for index, item in enumerate(value)]


def _number(value: Any, wanted: str, where: str, signed: bool) -> float:
    allowed = int if wanted == "int" else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed) or not math.isfinite(value):
        raise CatalogueError(f"{where} must be {wanted}, not {value!r}")
    if value < 0 and not signed:
        raise CatalogueError(f"{where} must not be negative, is {value!r}")
    return value


def _real(value: Any, where: str, signed: bool) -> float:
    return _number(value, "float", where, signed)


def _range(value: Any, where: str, signed: bool) -> list[float]:
    if not isinstance(value, Mapping):
        return [_real(value, where, signed)] * 3
    if set(value) != {"value", "low", "high"}:
        raise CatalogueError(f"{where} must have exactly value, low and high, has {', '.join(value)}")
    middle, low, high = (_real(value[key], f"{where}.{key}", signed) for key in ("value", "low", "high"))
    if not low <= middle <= high:
        raise CatalogueError(f"{where}: low <= value <= high does not hold: {low}, {middle}, {high}")
    return [middle, low, high]


def build(kind: Kind, raw: Raw) -> Any:
    """The record that a raw form describes; the raw form is trusted to have been checked."""
    types = _TYPES[kind.folder]
    given: dict[str, Any] = {}
    for name, value in raw.items():
        if name == "provenance":
            given[name] = {key: Provenance(*entry) for key, entry in value.items()}
        elif isinstance(value, list):
            given[name] = Range(*value) if types[name].startswith("Range") else tuple(value)
        elif isinstance(value, dict):
            ranges = "Range" in types[name]
            given[name] = {key: Range(*item) if ranges else item for key, item in value.items()}
        else:
            given[name] = value
    return kind.record(**given)


def table_of(record: Record | Source) -> tuple[Kind, Raw]:
    """The kind of a record made in Python and its fields as a data file would state them."""
    kind = next(kind for kind in KINDS if kind.record is type(record))
    table: Raw = {}
    for name in field_types(kind):
        value = getattr(record, name)
        if isinstance(value, Range):
            table[name] = value._asdict()
        elif isinstance(value, Mapping):
            table[name] = {key: item._asdict() if isinstance(item, Range) else item for key, item in value.items()}
        elif value is not None:
            table[name] = value
    if isinstance(record, Record):
        own = {key: _entry(origin) for key, origin in record.provenance.items()}
        table |= own.pop("", {})
        table["provenance"] = own
    return kind, table


def _entry(origin: Provenance) -> Raw:
    return {name: getattr(origin, name) for name in _ORIGIN}
