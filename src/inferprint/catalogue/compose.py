"""From folders of data files to checked content: every record, every reference, every name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from inferprint.catalogue.own import OWN_FORMS, QUANTITY_OF
from inferprint.catalogue.schema import KIND_OF, KINDS, Content, Kind, Raw, checked, fail

_DEFAULTS = ("source", "date", "quality")
_NAME_FIELDS = ("model", "names", "host", "note", *_DEFAULTS)
_SHARES_TOLERANCE = 1e-6
_VERSION_DASH = re.compile(r"(?<=\d)-(?=\d(?![0-9a-z.]))")
Places = dict[tuple[str, str], str]
"""Where each record was read: folder and id to file."""


def fold(name: str) -> str:
    """A name without case, with space and underscore written as a dash."""
    return re.sub(r"[\s_]+", "-", name.strip().casefold())


def model_key(name: str) -> str:
    """Folded name of a model; a one-digit minor version after a dash counts as after a dot (opus-4-5, opus-4.5)."""
    return _VERSION_DASH.sub(".", fold(name))


def names_of(folder: str, key: str, raw: Raw) -> Iterator[str]:
    """Folded forms of a record's id and names, as the index holds them."""
    spell = model_key if folder == "models" else fold
    yield spell(key)
    for name in raw.get("names", ()):
        yield spell(name)
    if folder in ("gpus", "services"):
        yield spell(raw["name"])


def name_index(folder: str, records: Mapping[str, Raw], places: Places | None = None) -> dict[str, str]:
    """Folded name to id; a name that two records claim is an error."""
    index: dict[str, str] = {}
    for key, raw in records.items():
        for name in names_of(folder, key, raw):
            other = index.setdefault(name, key)
            if other != key:
                where = (places or {}).get((folder, key), "catalogue")
                table = KIND_OF[folder].table
                raise fail(where, f"{table} '{key}': field 'names': '{name}' is already a name of {table} '{other}'")
    return index


def read_folder(folder: Path, *, strict: bool) -> tuple[Content, list[tuple[str, Raw]], Places]:
    """Checked records of a folder's TOML files, its further names of models, and where each record is.

    Parameters
    ----------
    folder
        Folder with a subfolder for each kind of record.
    strict
        Refuse other subfolders; without it they are left to the parts of the package that read them.

    Raises
    ------
    CatalogueError
        A file that is not TOML, an unknown folder or table, a record that breaks the schema, an id given twice.
    """
    if not folder.is_dir():
        raise fail(str(folder), "no such folder", f"A catalogue folder may hold: {', '.join([*KIND_OF, 'names'])}")
    content: Content = {kind.folder: {} for kind in KINDS}
    extra: list[tuple[str, Raw]] = []
    places: Places = {}
    for path in sorted(folder.rglob("*.toml")):
        where = path.relative_to(folder).as_posix()
        part = where.split("/")[0]
        if part == "names":
            extra.extend((where, table) for table in _tables(path, where, "name"))
            continue
        if part not in KIND_OF:
            if not strict:
                continue
            near = difflib.get_close_matches(part, KIND_OF, n=1, cutoff=0.0)[0]
            raise fail(where, f"unknown folder '{part}'", f"Nearest: {near}")
        kind = KIND_OF[part]
        for table in _tables(path, where, kind.table):
            raw = checked(kind, table, where)
            if raw["id"] in content[part]:
                first = places[part, raw["id"]]
                raise fail(where, f"{kind.table} '{raw['id']}': field 'id' is given twice, first in {first}")
            content[part][raw["id"]] = raw
            places[part, raw["id"]] = where
    return content, extra, places


def _tables(path: Path, where: str, table: str) -> Iterator[Raw]:
    """The tables of one file; `source`, `date` and `quality` at its top hold for all of them."""
    import tomllib  # packaged records need no TOML, and start-up time counts

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise fail(where, f"not a TOML file: {error}") from error
    common = {name: document.pop(name) for name in _DEFAULTS if name in document and name != table}
    for name, entries in document.items():
        if name != table or not isinstance(entries, list):
            raise fail(where, f"unknown field '{name}' at the top of the file", f"Nearest: [[{table}]]")
        for entry in entries:
            yield {**common, **entry}


def add_names(content: Content, extra: Iterable[tuple[str, Raw]]) -> None:
    """Add the further names to the models that they are names of."""
    for where, table in extra:
        for name in table:
            if name not in _NAME_FIELDS:
                near = difflib.get_close_matches(name, _NAME_FIELDS, n=1, cutoff=0.0)[0]
                raise fail(where, f"name of '{table.get('model')}': unknown field '{name}'", f"Nearest field: {near}")
        for name in ("model", "names", *_DEFAULTS):
            if name not in table:
                raise fail(where, f"name of '{table.get('model')}': missing field '{name}'")
        if not isinstance(table["names"], list) or not all(isinstance(name, str) for name in table["names"]):
            raise fail(where, f"name of '{table['model']}': field 'names' must be a list of texts")
        raw = content["models"].get(table["model"])
        if raw is None:
            raise _dangling(where, f"name of '{table['model']}'", "model", table["model"], content["models"])
        if table["source"] not in content["sources"]:
            raise _dangling(where, f"name of '{table['model']}'", "source", table["source"], content["sources"])
        have = raw.get("names", [])
        raw["names"] = [*have, *(name for name in dict.fromkeys(table["names"]) if name not in have)]


def check_references(content: Content, places: Places) -> None:
    """Refuse a reference to a record that is not there, and a name that two records claim.

    Raises
    ------
    CatalogueError
        Naming file, record, field and the nearest id.
    """
    for folder, records in content.items():
        for key, raw in records.items():
            where = places.get((folder, key), "catalogue")
            subject = f"{KIND_OF[folder].table} '{key}'"
            for field, target, asked in _references(KIND_OF[folder], raw):
                if asked not in content[target]:
                    raise _dangling(where, subject, field, asked, content[target])
            _check_sense(where, subject, folder, raw)
            if folder == "forms":
                _check_form(where, subject, raw, content)
        if folder != "sources":
            name_index(folder, records, places)
    _check_one_default(content["grids"], places)


def _check_sense(where: str, subject: str, folder: str, raw: Raw) -> None:
    """Refuse values that contradict each other or are no codes."""
    total, active = raw.get("total_params_b"), raw.get("active_params_b")
    if folder == "models" and total is not None and active is not None and active > total:
        raise fail(where, f"{subject}: field 'active_params_b': {active:g} exceeds total_params_b, {total:g}")
    _check_shares(where, subject, raw.get("hardware_mix", {}))
    country = raw.get("country")
    if country is not None and not re.fullmatch("[A-Z]{2}", country):
        raise fail(where, f"{subject}: field 'country': '{country}' is no ISO 3166 code of two letters")


def _check_form(where: str, subject: str, raw: Raw, content: Content) -> None:
    """Refuse a form that gives another quantity than its id says, of an unknown node, or whose parts do not fit."""
    general, at, node = raw["id"].partition("@")
    known = OWN_FORMS if at else tuple(QUANTITY_OF)
    if general not in known:
        near = difflib.get_close_matches(general, known, n=1, cutoff=0.0)[0]
        raise fail(where, f"{subject}: field 'id': there is no form '{general}'", f"Nearest: {near}")
    if at and node not in content["nodes"]:
        raise _dangling(where, subject, "id", node, content["nodes"])
    if raw["quantity"] != QUANTITY_OF[general]:
        what = f"field 'quantity' is '{raw['quantity']}', but {general} gives '{QUANTITY_OF[general]}'"
        raise fail(where, f"{subject}: {what}")
    for name, (value, low, _) in raw["terms"].items():
        if low <= 0:
            raise fail(where, f"{subject}: field 'terms.{name}' must be positive, is {value:g} from {low:g}")
    if at:
        _check_terms(where, subject, raw, content["forms"].get(general, {}))
    if "all" not in raw["residual"]:
        raise fail(where, f"{subject}: field 'residual' has no bounds called 'all'")
    for name, (value, _, _) in raw["residual"].items():
        if value:
            raise fail(where, f"{subject}: field 'residual.{name}' must have the value 0, has {value:g}")
    _check_covariance(where, subject, raw)


def _check_terms(where: str, subject: str, raw: Raw, general: Raw) -> None:
    """An own form has the terms of the general one, and none of effects that it lacks."""
    for part in ("terms", "effects"):
        there = general.get(part, {})
        for name in raw.get(part, {}):
            if name not in there:
                near = difflib.get_close_matches(name, there, n=1, cutoff=0.0)
                hint = f"Nearest: {near[0]}" if near else ""
                raise fail(where, f"{subject}: field '{part}.{name}' is not in the general form", hint)
    missing = [name for name in general.get("terms", {}) if name not in raw["terms"]]
    if missing:
        raise fail(where, f"{subject}: field 'terms' lacks {', '.join(missing)}, which the general form has")


def _check_covariance(where: str, subject: str, raw: Raw) -> None:
    """A covariance is the lower triangle over the terms and effects, and no variance is negative."""
    found = raw.get("covariance", ())
    size = len(raw["terms"]) + len(raw.get("effects", {}))
    if found and len(found) != size * (size + 1) // 2:
        wanted = f"the lower triangle of {size} terms and effects has {size * (size + 1) // 2}"
        raise fail(where, f"{subject}: field 'covariance' has {len(found)} numbers; {wanted}")
    variances = [found[i * (i + 3) // 2] for i in range(size)] if found else []
    for row, variance in enumerate(variances):
        if variance < 0:
            raise fail(where, f"{subject}: field 'covariance' has a negative variance, {variance:g}, in row {row + 1}")
    for row in range(size) if found else ():
        for column in range(row):
            if found[row * (row + 1) // 2 + column] ** 2 > variances[row] * variances[column] * (1 + _ROUNDED):
                raise fail(where, f"{subject}: field 'covariance' has a correlation above 1 in row {row + 1}")


_ROUNDED = 0.05
"""Covariances are written with four digits, so that a correlation of 1 may come out a little higher."""


def _check_shares(where: str, subject: str, mix: Mapping[str, list[float]]) -> None:
    """Refuse shares of accelerators that are no parts of one whole."""
    for name, (_, _, high) in mix.items():
        if high > 1:
            raise fail(where, f"{subject}: field 'hardware_mix.{name}': a share cannot exceed 1, is up to {high:g}")
    whole = sum(share for share, _, _ in mix.values())
    if mix and abs(whole - 1) > _SHARES_TOLERANCE:
        raise fail(where, f"{subject}: field 'hardware_mix': the shares add up to {whole:.6g}, not to 1")


_REFERENCES = {
    "token_rules": (("models", "models"),),
    "gpus": (("reference_node", "nodes"),),
    "nodes": (("gpu", "gpus"),),
    "services": (("hardware_mix", "gpus"), ("regions", "regions")),
    "regions": (("grid_zone", "grids"),),
}


def _references(kind: Kind, raw: Raw) -> Iterator[tuple[str, str, str]]:
    for field, target in _REFERENCES.get(kind.folder, ()):
        value = raw.get(field)
        for asked in [value] if isinstance(value, str) else value or ():
            yield field, target, asked
    if kind.folder == "speeds":
        yield from _named_by_id(raw["id"])
    if kind.folder == "media":
        yield "id", "models", raw["id"]
    for field, entry in raw.get("provenance", {}).items():
        yield f"provenance.{field}.source" if field else "source", "sources", entry[0]


def _named_by_id(key: str) -> Iterator[tuple[str, str, str]]:
    """The service and the model in the id of a speed."""
    service, _, model = key.partition(":")
    yield "id", "services", service
    yield "id", "models", model


def _dangling(where: str, subject: str, field: str, asked: str, there: Iterable[str]) -> Exception:
    near = difflib.get_close_matches(asked, list(there), n=3, cutoff=0.0)
    return fail(
        where, f"{subject}: field '{field}' names '{asked}', which does not exist", f"Nearest: {', '.join(near)}"
    )


def _check_one_default(grids: Mapping[str, Raw], places: Places) -> None:
    """A country's or subdivision's zone must have one default row."""
    seen: dict[tuple[str, Any, Any], str] = {}
    for key, raw in grids.items():
        if not raw.get("default_for_zone", True) or raw["kind"] != "country":
            continue
        other = seen.setdefault((raw["kind"], raw.get("country"), raw.get("subdivision")), key)
        if other != key:
            where = places.get(("grids", key), "catalogue")
            raise fail(where, f"grid '{key}': field 'default_for_zone': '{other}' already is the default of this zone")


def compose(folder: Path) -> Content:
    """The whole content of a data folder, complete in itself.

    Raises
    ------
    CatalogueError
        Whatever breaks the schema.
    """
    content, extra, places = read_folder(folder, strict=False)
    add_names(content, extra)
    check_references(content, places)
    return {name: dict(sorted(records.items())) for name, records in content.items()}


def overlaid(base: Content, folder: Path) -> Content:
    """A base with a user's folder on top: new ids are added, existing ids replaced."""
    content, extra, places = read_folder(folder, strict=True)
    if not places and not extra:
        raise fail(str(folder), "holds no records", f"Put TOML files into folders: {', '.join([*KIND_OF, 'names'])}")
    return merged(base, content, extra, {key: f"{folder}/{place}" for key, place in places.items()})


def merged(
    base: Content, over: Content, extra: Iterable[tuple[str, Raw]] = (), places: Places | None = None
) -> Content:
    """A base with checked records on top; references and names are checked over the whole."""
    content = {name: {**base[name], **over.get(name, {})} for name in base}
    for _, table in list(extra):
        key = table.get("model")
        if key in content["models"]:
            # The base's raw record is shared and must not change.
            content["models"][key] = dict(content["models"][key])
    add_names(content, extra)
    check_references(content, places or {})
    return content
