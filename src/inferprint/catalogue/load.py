"""The catalogue: all records by id, built into objects when asked for."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, cast

from inferprint.catalogue.compose import merged, name_index, overlaid
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
from inferprint.catalogue.schema import KIND_OF, KINDS, Content, Kind, Raw, build, checked, table_of
from inferprint.errors import CatalogueError
from inferprint.provenance.source import Source

R = TypeVar("R")
ARTEFACT = "catalogue.json"


class Records(Mapping[str, R], Generic[R]):
    """Records of one kind by id; each is built on first use and kept."""

    def __init__(self, kind: Kind, raw: Mapping[str, Raw]) -> None:
        self._kind = kind
        self._raw = raw
        self._built: dict[str, R] = {}

    def __getitem__(self, key: str) -> R:
        found = self._built.get(key)
        if found is None:
            found = self._built[key] = cast(R, build(self._kind, self._raw[key]))
        return found

    def __contains__(self, key: object) -> bool:
        return key in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        return f"<{len(self)} {self._kind.folder}>"


class Catalogue:
    """What is known about models, hardware, services and places; never changed once made.

    Attributes
    ----------
    models, media, token_rules, gpus, nodes, services, speeds, regions, operators, grids, precisions, forms, priors,
    shapes, prices, size_forms, size_fits, sources
        Records by id.
    version
        Date of the data and a hash of the content, such as "2026-11-22+ab12cd34".
    """

    def __init__(self, content: Content, date: str, indexes: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._content = content
        self._date = date
        self._indexes = dict(indexes or {})
        self._version = ""
        self.models: Mapping[str, Model] = self._records("models")
        self.media: Mapping[str, Media] = self._records("media")
        self.token_rules: Mapping[str, TokenRule] = self._records("token_rules")
        self.gpus: Mapping[str, Gpu] = self._records("gpus")
        self.nodes: Mapping[str, Node] = self._records("nodes")
        self.services: Mapping[str, Service] = self._records("services")
        self.speeds: Mapping[str, Speed] = self._records("speeds")
        self.regions: Mapping[str, Region] = self._records("regions")
        self.operators: Mapping[str, Operator] = self._records("operators")
        self.grids: Mapping[str, Grid] = self._records("grids")
        self.precisions: Mapping[str, Precision] = self._records("precisions")
        self.forms: Mapping[str, Form] = self._records("forms")
        self.priors: Mapping[str, Prior] = self._records("priors")
        self.shapes: Mapping[str, ShapeFit] = self._records("shapes")
        self.prices: Mapping[str, Price] = self._records("prices")
        self.size_forms: Mapping[str, SizeForm] = self._records("size_forms")
        self.size_fits: Mapping[str, SizeFit] = self._records("size_fits")
        self.sources: Mapping[str, Source] = self._records("sources")

    def _records(self, folder: str) -> Records[Any]:
        return Records(KIND_OF[folder], self._content[folder])

    @classmethod
    def packaged(cls) -> Catalogue:
        """The catalogue that comes with the package; read once."""
        return _packaged()

    @property
    def version(self) -> str:
        """Date and content hash, which a result names."""
        if not self._version:
            self._version = f"{self._date}+{content_hash(self._content)}"
        return self._version

    def years_since(self, day: str) -> float:
        """Years from a day, month or year ("2026-08-20", "2026-08", "2026") to the date of the data."""
        now, then = (_decimal_year(text) for text in (self._date, day))
        return now - then

    def names(self, folder: str) -> Mapping[str, str]:
        """Folded name to id of the records in `folder` (models, gpus ...); ids are among the names."""
        if folder not in self._indexes:
            self._indexes[folder] = name_index(folder, self._content[folder])
        return self._indexes[folder]

    @functools.cached_property
    def model_owners(self) -> frozenset[str]:
        """Accounts on model hubs, folded, under which this catalogue knows a model."""
        parts = (name.partition("/") for name in self.names("models"))
        return frozenset(owner for owner, slash, rest in parts if slash and "/" not in rest)

    def with_folder(self, path: str | PathLike[str]) -> Catalogue:
        """This catalogue with a user's folder of TOML files on top.

        Parameters
        ----------
        path
            Folder with any of models/, gpus/, nodes/, services/, speeds/, regions/, operators/, grids/, names/,
            sources/ ...
            A record with an existing id replaces it.

        Raises
        ------
        CatalogueError
            Naming file, record and field.
        """
        return Catalogue(overlaid(self._content, Path(path)), self._date)

    def with_records(self, *records: Record | Source) -> Catalogue:
        """This catalogue with records made in Python on top, checked like those of a file."""
        over: Content = {}
        for record in records:
            kind, table = table_of(record)
            over.setdefault(kind.folder, {})[record.id] = checked(kind, table, "record from Python")
        return Catalogue(merged(self._content, over), self._date)

    @classmethod
    def layered(cls, under: Catalogue, over: Content, names: Mapping[str, Mapping[str, str]]) -> Self:
        """A catalogue with records on top that are checked already; quick, as it shares all that stays as it is.

        Unlike `with_records` it refuses no name that two records claim: who calls says what names mean.

        Parameters
        ----------
        over
            Folder to id to record, in the raw form that `inferprint.catalogue.schema.checked` gives.
        names
            Folder to folded name to id: all names of these folders, in place of those that follow from the records.
        """
        kept = {folder: index for folder, index in under._indexes.items() if folder not in over}
        content = {folder: {**under._content[folder], **raw} for folder, raw in over.items()}
        made = cls({**under._content, **content}, under._date, {**kept, **names})
        if not over:
            made._version = under._version
        for folder in KIND_OF:
            if folder not in over:
                setattr(made, folder, getattr(under, folder))
        return made

    def __repr__(self) -> str:
        return f"<Catalogue {self.version}: {len(self.models)} models, {len(self.gpus)} GPUs>"


def _decimal_year(day: str) -> float:
    """A date as a year with a fraction; the middle of what is not stated."""
    year, month, date = ([int(part) for part in day.split("-")] + [0, 0])[:3]
    return year + ((month - 1 if month else 6) + (date / 31 if date else 0.5)) / 12


def content_hash(content: Content) -> str:
    """First eight digits of the SHA-256 of all records in a fixed order."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def artefact_text(content: Content, date: str) -> str:
    """The packaged file: compact JSON, one record a line, in a fixed order."""
    lines = [f'{{"version":"{date}+{content_hash(content)}"']
    for kind in KINDS:
        records = sorted(content[kind.folder].items())
        lines.append(f'"{kind.folder}":{{\n' + ",\n".join(f"{_dump(key)}:{_dump(raw)}" for key, raw in records) + "\n}")
    indexes = [f'"{kind.folder}":{_dump(name_index(kind.folder, content[kind.folder]))}' for kind in KINDS[1:]]
    lines.append('"names":{\n' + ",\n".join(indexes) + "\n}")
    return ",\n".join(lines) + "}\n"


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@functools.cache
def _packaged() -> Catalogue:
    try:
        text = Path(__file__).with_name(ARTEFACT).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        hint = "Run python tools/build_catalogue.py in a source tree, or install the package again."
        raise CatalogueError("the packaged catalogue is missing", hint=hint) from error
    return _from_text(text)


def _from_text(text: str) -> Catalogue:
    document = json.loads(text)
    content = {kind.folder: document[kind.folder] for kind in KINDS}
    catalogue = Catalogue(content, document["version"].split("+")[0], document["names"])
    # The hash was taken when the artefact was built; taking it again would cost more than reading the file.
    catalogue._version = document["version"]
    return catalogue


def all_records(catalogue: Catalogue) -> Iterable[tuple[str, Record]]:
    """Every record that has provenance, with the folder it belongs to."""
    for kind in KINDS[1:]:
        for record in getattr(catalogue, kind.folder).values():
            yield kind.folder, record
