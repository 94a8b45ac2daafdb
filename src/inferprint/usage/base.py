"""What a format of usage records is, and what reading one gives.

Every record of a file has exactly one outcome: a `Record` to estimate, `Skipped` by a named rule, `Merged` into another
record of the same request, or `Rejected` with the reason. So records in = the sum of the four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec

Kind = Literal["json-lines", "json", "csv", "parquet", "prometheus"]
"""How a file holds its records."""

Raw = TypeVar("Raw")


class Record(msgspec.Struct, kw_only=True, gc=False):
    """One record of use in the fields of `inferprint.estimate.Request`; None where the source does not say.

    Attributes
    ----------
    row
        Line, or number of the record in the file, as a person counts them, from 1.
    input_tokens, output_tokens
        All tokens of the prompt, read from and written to a cache included, and all of the answer, reasoning included,
        whatever the source counts: totals over `n_requests`.
    cached_input_tokens, cache_write_tokens, reasoning_tokens
        Parts of them.
    n_requests
        Requests that the record stands for.
    request_id
        What other records of the same request carry too; the first one counts.
    managed_service_id, cloud_id, cloud_region, country
        Where it ran, in the source's words: the name of a provider, a cloud and its region, an ISO 3166 code.
    service_tier
        "batch", "flex", "priority" ... where the source states one; None for the standard one.
    utc_datetime
        ISO 8601, UTC; see `inferprint.usage.times`.
    request_duration_ms, time_to_first_token_ms
        As the source measured them, of one request.
    cost_usd
        What the record's requests cost together [USD].
    input_audio_seconds, output_audio_seconds, output_audio_tokens, output_images
        Sound and pictures of one request; tokens of what is given are within `input_tokens`.
    """

    row: int
    model_id: str | None
    input_tokens: float | None = None
    output_tokens: float | None = None
    cached_input_tokens: float = 0
    cache_write_tokens: float = 0
    reasoning_tokens: float = 0
    n_requests: float = 1
    request_id: str | None = None
    trace_id: str | None = None
    session_id: str | None = None
    project_id: str | None = None
    application_id: str | None = None
    client_id: str | None = None
    user_id: str | None = None
    environment: str | None = None
    task: str | None = None
    managed_service_id: str | None = None
    cloud_id: str | None = None
    cloud_region: str | None = None
    country: str | None = None
    service_tier: str | None = None
    utc_datetime: str | None = None
    request_duration_ms: float | None = None
    time_to_first_token_ms: float | None = None
    cost_usd: float | None = None
    input_audio_seconds: float | None = None
    output_audio_seconds: float | None = None
    output_audio_tokens: float | None = None
    output_images: float | None = None


class Skipped(msgspec.Struct, gc=False):
    """A record that is no inference to count: its row, and the rule, one of `RULES`."""

    row: int
    rule: str


class Merged(msgspec.Struct, gc=False):
    """A record that repeats a request for which another outcome stands."""

    row: int


class Rejected(msgspec.Struct, gc=False):
    """A record that should count and cannot: its row, the field at fault ("" for the whole), the reason."""

    row: int
    field: str
    reason: str


Outcome = Record | Skipped | Merged | Rejected

RULES: dict[str, str] = {
    "no-tokens": "neither tokens nor pictures, video or sound",
    "cached-response": "a gateway answered from its own store of responses: no inference",
    "failed": "failed before any token",
    "not-inference": "no call of a model: a tool, an agent's total, a message of the user, an event",
}
"""Rules by which a record is left out, and what each means."""


@dataclass(frozen=True)
class Counts:
    """What the token counts of a format mean.

    Attributes
    ----------
    input_includes_cache
        Whether its input tokens include those read from, and written to, a cache.
    output_includes_reasoning
        Whether its output tokens include hidden reasoning.
    """

    input_includes_cache: bool
    output_includes_reasoning: bool


class Sample(msgspec.Struct, frozen=True):
    """The beginning of a file, by which its format is recognised.

    Attributes
    ----------
    names
        Columns of a table, or keys that the first objects have at their top.
    objects
        The first objects, at most 20: lines of JSON lines, the whole of a JSON document or, where that is a list, its
        first elements; rows of a table as mappings without blank cells.
    text
        The first characters, at most 65,536; "" for Parquet.
    """

    path: Path
    kind: Kind
    names: frozenset[str]
    objects: tuple[Any, ...]
    text: str


class Source(Protocol):
    """A file whose records are read in order."""

    path: Path
    kind: Kind

    def decoded(self, schema: type[Raw]) -> Iterator[tuple[int, Raw]]:
        """Each record's row and content: a line, an element of a list, the whole of a document, or a row of a table.

        A record that cannot be decoded is not yielded: the source has rejected it with its reason. Cells of tables are
        text where the file has no types, without blank ones; nested JSON within a cell is left as text.
        """
        ...

    def lines(self) -> Iterator[tuple[int, str]]:
        """Each line of text with its number, from 1; blank ones too."""
        ...


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format of usage records.

    Attributes
    ----------
    name, title
        Name by which users ask for it, and what it is.
    counts
        What its token counts mean; None for a table, whose columns mean what the fields of a request mean.
    kinds
        Kinds of files that hold it.
    recognises
        Whether the beginning of a file is of this format.
    read
        The outcomes of a file. The second argument is kept from file to file of one run: what later files repeat.
    keeps_state
        Whether `read` uses it, or holds records back within a file: such a file is read as a whole, after those before
        it. Else the outcomes come in the order of the rows, and reading can be taken up again in the middle of a file.
    reference
        Where the format is described, and the version that was read.
    doubts
        What could not be checked.
    """

    name: str
    title: str
    counts: Counts | None
    kinds: tuple[Kind, ...]
    recognises: Callable[[Sample], bool]
    read: Callable[[Source, dict[str, Any]], Iterator[Outcome]]
    keeps_state: bool = False
    reference: str = ""
    doubts: tuple[str, ...] = ()


def read_each(schema: type[Raw], convert: Callable[[int, Raw], Outcome]) -> Callable[..., Iterator[Outcome]]:
    """A `read` for formats whose records stand each for themselves."""

    def read(source: Source, state: dict[str, Any]) -> Iterator[Outcome]:  # noqa: ARG001
        for row, raw in source.decoded(schema):
            yield convert(row, raw)

    return read
