"""Records that lie in the pages of an API, `{"data": [...], "meta": {...}}`, as well as one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import msgspec

from inferprint.usage.base import Outcome, Rejected, Sample, Source
from inferprint.usage.wording import field_and_reason


class Paged(Protocol):
    """A raw record or a page of them, which then are its `data`, empty by default."""

    data: msgspec.Raw


PagedRaw = TypeVar("PagedRaw", bound=Paged)

_elements_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_pages(schema: type[PagedRaw], convert: Callable[[int, PagedRaw], Outcome]) -> Callable[..., Iterator[Outcome]]:
    """A `read` for formats whose records stand each for themselves, alone or in pages.

    What is in a page has the row of the page; the field of a rejected record tells which of them it is.
    """
    decode = msgspec.json.Decoder(schema, strict=False).decode

    def read(source: Source, state: dict[str, Any]) -> Iterator[Outcome]:  # noqa: ARG001
        for row, raw in source.decoded(schema):
            if not raw.data:
                yield convert(row, raw)
                continue
            data = bytes(raw.data)
            for place, element in _elements(data):
                try:
                    outcome = convert(row, decode(element))
                except msgspec.ValidationError as error:
                    outcome = Rejected(row, *field_and_reason(error))
                if type(outcome) is Rejected:
                    outcome = Rejected(row, f"{place}.{outcome.field}".rstrip("."), outcome.reason)
                yield outcome

    return read


def _elements(data: bytes) -> Iterator[tuple[str, bytes | msgspec.Raw]]:
    """What is in a page, and where: a list of records, or a single one."""
    if data.startswith(b"["):
        for number, element in enumerate(_elements_of(data)):
            yield f"data[{number}]", element
    else:
        yield "data", data


def names_of(sample: Sample) -> frozenset[str]:
    """The names of a sample; of the first record in its first page where it holds pages."""
    first = sample.objects[0] if sample.objects else None
    data = first.get("data") if isinstance(first, dict) else None
    if isinstance(data, list) and data:
        data = data[0]
    return frozenset(data) if isinstance(data, dict) else sample.names
