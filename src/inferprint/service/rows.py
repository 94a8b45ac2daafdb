"""A row of the API as a request of the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from inferprint.catalogue import Catalogue, resolve_model
from inferprint.catalogue.caching import kept
from inferprint.errors import InvalidInput, UnknownName
from inferprint.estimate import Request
from inferprint.estimate.request import FIELDS

MODEL_FIELDS = ("model_used_id", "model_id", "model_hugging_face_path", "model_name")
"""Names of a model in the order in which they are looked up: the one that answered goes first."""

FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
"""Moments before it are taken for a mistake of unit or format."""

CLIENT_LIBRARIES = frozenset(("litellm", "response"))
"""Names that clients write in the place of a service and that say nothing on who serves the model."""

BIGQUERY = (
    "model_id",
    "model_family",
    "model_name",
    "model_hugging_face_path",
    "utc_datetime",
    "node_id",
    "cloud_id",
    "cloud_region",
    "cloud_instance_id",
    "managed_service_id",
    "country",
    "region",
    "task",
    "input_tokens",
    "output_tokens",
    "input_images",
    "output_images",
    "output_video_resolution",
    "output_video_frames",
    "input_audio_seconds",
    "input_steps",
)
"""Fields in the order of the arguments of BigQuery's remote function."""

_TAKEN = frozenset(FIELDS) - {"model_id", "request_duration_ms", "managed_service_id"}


def request_of(catalogue: Catalogue, row: Mapping[str, Any], *, use_times: bool) -> Request:
    """The request that a row tells of.

    A field of the row is the field of that name, but for these. The model is the first of `MODEL_FIELDS` that the
    catalogue knows. `processing_duration_ms` is the time of the work; `request_duration_ms`, which contains queue and
    network, is it only with `use_times`. `region` with `country` is the grid zone of the subdivision.

    Raises
    ------
    InferprintError
        See `inferprint.errors`.
    """
    check_moment(row.get("utc_datetime"))
    values = {name: row[name] for name in _TAKEN & row.keys() if row[name] is not None}
    service = row.get("managed_service_id")
    if service and service not in CLIENT_LIBRARIES:
        values["managed_service_id"] = service
    duration = row.get("processing_duration_ms") or (row.get("request_duration_ms") if use_times else None)
    if duration is not None:
        values["request_duration_ms"] = duration
    if row.get("region"):
        values["grid_zone"] = zone_of(catalogue, row)
    return Request(model_id=model_of(catalogue, row), **values)


_MOMENT = TypeAdapter(datetime)


def moment_of(text: str) -> datetime:
    """A moment as the schema of a row reads it, in UTC, which it is where no offset is stated; else ValueError."""
    found = _MOMENT.validate_python(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def check_moment(text: str | None) -> None:
    """Refuse a moment that no request can have been made at.

    Raises
    ------
    InvalidInput
        It is none, lies before `FIRST_DAY`, or more than a day ahead.
    """
    if not text:
        return
    hint = f"A time from {FIRST_DAY:%Y-%m-%d} to now, such as 2026-09-01T08:00:00Z; UTC where no offset is stated."
    try:
        moment = moment_of(text)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("utc_datetime", f"'{text[:50]}' is no moment", hint=hint) from error
    if not FIRST_DAY <= moment <= datetime.now(UTC) + timedelta(days=1):
        raise InvalidInput("utc_datetime", f"no request was made at {text[:50]}", hint=hint)


def passed_over(catalogue: Catalogue, row: Mapping[str, Any]) -> list[str]:
    """Stated names of the model that are unknown, where another one was taken: "model_id 'gpt-4oo'"."""
    stated = [(field, name) for field in MODEL_FIELDS if (name := row.get(field))]
    taken = model_of(catalogue, row)
    before = next((i for i, (_, name) in enumerate(stated) if name == taken), 0)
    return [f"{field} '{name}'" for field, name in stated[:before]]


def model_of(catalogue: Catalogue, row: Mapping[str, Any]) -> str | None:
    """The name of the model: the first that the catalogue knows, else the first that is stated."""
    stated: list[str] = [name for field in MODEL_FIELDS if (name := row.get(field))]
    if len(stated) < 2:
        return stated[0] if stated else None
    return next((name for name in stated if is_known(catalogue, name)), stated[0])


@kept(4096)
def is_known(catalogue: Catalogue, model: str) -> bool:
    """Whether the catalogue has a model of this name."""
    try:
        resolve_model(catalogue, model)
    except UnknownName:
        return False
    return True


def zone_of(catalogue: Catalogue, row: Mapping[str, Any]) -> str:
    """The grid zone of a subdivision.

    Raises
    ------
    InvalidInput
        No country, two zones, or a subdivision of which no grid is known.
    """
    country, region = row.get("country"), row["region"]
    if not country:
        raise InvalidInput("region", f"'{region}' without a country", hint="Give country, as ISO 3166-1 alpha-2.")
    if row.get("grid_zone"):
        raise InvalidInput("region", "given beside grid_zone", hint="Give one of them.")
    zone = catalogue.names("grids").get(f"{country}-{region}".casefold())
    if zone is None:
        known = sorted(key for key in catalogue.grids if key.startswith(f"{country}-"))
        listed = f"Known: {', '.join(known)}. " if known else ""
        raise InvalidInput("region", f"no grid of '{country}-{region}'", hint=f"{listed}Leave it out for the country.")
    return zone


def row_of_call(arguments: Sequence[Any]) -> dict[str, Any]:
    """The row that a call from BigQuery tells of; sizes of pictures come as one text."""
    row = {name: value for name, value in zip(BIGQUERY, arguments, strict=False) if value is not None and value != ""}
    for name in ("input_images", "output_images"):
        if isinstance(row.get(name), str):
            row[name] = [size for size in row[name].replace(",", " ").split() if size]
    return row
