"""What goes in and out of `/v1/impact`, `/` and `/status`: the shapes of the Scope3 AI API, with our own fields beside.

In a request ours are always allowed; in a response they appear where `extended` asks for them, because the types of
that API's clients forbid what they do not know.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints

from inferprint.modalities.tasks import TASKS
from inferprint.service.record_schemas import Model, Node, Shape

MAX_ROWS = 1000
"""Rows of one request."""

MAX_TOKENS = 100_000_000
MAX_AUDIO_SECONDS = 100_000.0

Text = Annotated[str, StringConstraints(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A name or an id: no control characters."""

Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
Many = Annotated[int, Field(ge=0, le=10**15)]
Milliseconds = Annotated[float, Field(gt=0, le=604_800_000.0)]
Image = Annotated[str, StringConstraints(pattern=r"^\d{1,5}x\d{1,5}$")]

Task = Enum("Task", {name.replace("-", "_"): name for name in TASKS}, type=str)  # type: ignore[misc]
"""Tasks of the library: those of that API, and our own."""


class Details(Shape):
    """What is allowed, and the field at fault."""

    reason: str | None = None
    field: str | None = None


class Error(Shape):
    """What is wrong, for a program and for a person."""

    code: str | None = None
    message: str
    details: Details | None = None


class StatusResponse(Shape):
    """Whether requests can be answered now."""

    ready: bool
    reason: str | None = None


class ImpactRow(Shape):
    """One request that was made of a model, in the fields of the Scope3 AI API; below them those of Inferprint."""

    utc_datetime: Annotated[datetime | None, Field(description="Start of the request, with its offset from UTC")] = None
    request_duration_ms: Annotated[
        Milliseconds | None,
        Field(description="Measured by client or proxy: kept, and used only where the server is told to (--use-times)"),
    ] = None
    processing_duration_ms: Annotated[
        Milliseconds | None, Field(description="Measured where the model runs: taken for the time of the work")
    ] = None
    request_cost: Annotated[float | None, Field(ge=0, le=1e9)] = None
    currency: Annotated[Text | None, Field(examples=["USD"])] = None
    integration_source: Text | None = None
    environment: Text | None = None
    session_id: Text | None = None
    trace_id: Text | None = None
    request_id: Annotated[Text | None, Field(description="With it the row is kept in the ledger, once")] = None
    client_id: Text | None = None
    project_id: Text | None = None
    application_id: Text | None = None
    model_id: Annotated[Text | None, Field(examples=["llama-3.1-70b"])] = None
    model_family: Text | None = None
    model_name: Text | None = None
    model_hugging_face_path: Text | None = None
    model_used_id: Annotated[Text | None, Field(description="The model that answered; it goes before model_id")] = None
    cloud_region: Annotated[Text | None, Field(examples=["us-east-1"])] = None
    managed_service_id: Annotated[Text | None, Field(examples=["aws-bedrock"])] = None
    cloud_id: Annotated[Text | None, Field(examples=["aws"])] = None
    cloud_instance_id: Annotated[Text | None, Field(examples=["p5.48xlarge"])] = None
    node_id: Text | None = None
    country: Annotated[str | None, StringConstraints(pattern="^[A-Z]{2}$"), Field(examples=["US"])] = None
    region: Annotated[
        str | None,
        StringConstraints(pattern="^[A-Z0-9]{1,3}$"),
        Field(description="Subdivision of the country, ISO 3166-2 without its prefix", examples=["CA"]),
    ] = None
    task: Task | None = None
    input_tokens: Annotated[Many | None, Field(description="All tokens of the prompt, cached ones included")] = None
    input_audio_seconds: Annotated[float | None, Field(ge=0, le=MAX_AUDIO_SECONDS)] = None
    output_tokens: Annotated[Many | None, Field(description="All tokens of the answer, reasoning included")] = None
    input_images: Annotated[list[Image] | None, Field(max_length=100)] = None
    input_steps: Annotated[int | None, Field(ge=1, le=10_000)] = None
    output_images: Annotated[list[Image] | None, Field(max_length=100)] = None
    output_audio_seconds: Annotated[float | None, Field(ge=0, le=MAX_AUDIO_SECONDS)] = None
    output_audio_tokens: Tokens | None = None
    output_video_frames: Tokens | None = None
    output_video_resolution: Annotated[int | None, Field(ge=1, le=100_000, examples=[1080])] = None

    user_id: Text | None = None
    cached_input_tokens: Annotated[Many | None, Field(description="The part of input_tokens read from a cache")] = None
    cache_write_tokens: Annotated[Many | None, Field(description="The part of input_tokens written to a cache")] = None
    reasoning_tokens: Annotated[Many | None, Field(description="The hidden part of output_tokens")] = None
    n_requests: Annotated[
        int | None, Field(ge=1, le=10**15, description="Requests that the row stands for; token counts are their sums")
    ] = None
    service_tier: Text | None = None
    gpu_id: Text | None = None
    gpu_count: Annotated[int | None, Field(ge=1, le=100_000)] = None
    replica_gpu_count: Annotated[int | None, Field(ge=1, le=100_000)] = None
    batch_size: Annotated[float | None, Field(gt=0, le=1e6)] = None
    time_per_output_token_ms: Milliseconds | None = None
    precision: Text | None = None
    engine: Text | None = None
    techniques: Annotated[list[Text] | None, Field(max_length=20)] = None
    grid_zone: Text | None = None
    active_share: Annotated[float | None, Field(gt=0, le=1)] = None
    pue: Annotated[float | None, Field(ge=1, le=5)] = None
    wue_l_per_kwh: Annotated[float | None, Field(ge=0, le=50)] = None
    grid_gco2e_per_kwh: Annotated[float | None, Field(ge=0, le=3000)] = None
    grid_market_gco2e_per_kwh: Annotated[float | None, Field(ge=0, le=3000)] = None
    grid_water_l_per_kwh: Annotated[float | None, Field(ge=0, le=200)] = None
    total_params_b: Annotated[float | None, Field(gt=0, le=100_000)] = None
    active_params_b: Annotated[float | None, Field(gt=0, le=100_000)] = None
    image_detail: Text | None = None
    guidance_evaluations: Annotated[float | None, Field(ge=0, le=100)] = None
    strength: Annotated[float | None, Field(gt=0, le=1)] = None
    input_video_seconds: Annotated[float | None, Field(ge=0, le=MAX_AUDIO_SECONDS)] = None
    input_video_resolution: Annotated[int | None, Field(ge=1, le=100_000)] = None
    output_video_seconds: Annotated[float | None, Field(ge=0, le=MAX_AUDIO_SECONDS)] = None
    output_video_frames_per_s: Annotated[float | None, Field(gt=0, le=1000)] = None
    media_tokens_included: bool | None = None


class ImpactRequest(Shape):
    """Rows to estimate."""

    rows: Annotated[list[ImpactRow], Field(min_length=1, max_length=MAX_ROWS)]


class ImpactMetrics(Shape):
    """Central values; market-based emissions, duration and all intervals are in the extended answer."""

    usage_energy_wh: float
    usage_emissions_gco2e: Annotated[float, Field(description="Location-based")]
    usage_water_ml: float
    embodied_emissions_gco2e: float
    embodied_water_ml: float


class PredictionStep(Shape):
    """One step towards the duration: what, how long, how often."""

    description: str
    duration_ms: float
    inferences: int


class GridMix(Shape):
    """The electricity that was taken."""

    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")]
    region: Annotated[str | None, StringConstraints(pattern="^[A-Z]{2}$")] = None
    gco2e_per_kwh: Annotated[float, Field(ge=0, le=2000)]


class DebugInfo(Shape):
    """What the figures of a row rest on, as far as this shape holds it; the extended answer has all of it."""

    model: Model | None = None
    hardware_node: Node | None = None
    grid_mix: GridMix | None = None
    steps: Annotated[list[PredictionStep] | None, Field(max_length=100)] = None


class ModeledRow(Shape):
    """The impact of one row.

    `inference_impact` is what the request cost; `training_impact` and `fine_tuning_impact` are its share of what was
    spent once, and null where that, or how many requests share it, is unknown. `total_impact` is the sum of those that
    are known. Where there is an `error` nothing was estimated: the zeros of `total_impact` are no figures, and are in
    no total.
    """

    inference_impact: ImpactMetrics | None = None
    training_impact: ImpactMetrics | None = None
    fine_tuning_impact: ImpactMetrics | None = None
    total_impact: ImpactMetrics
    debug: DebugInfo | None = None
    error: Error | None = None


class ImpactResponse(Shape):
    """The impacts in the order of the rows, and the sums of those without an error."""

    rows: Annotated[list[ModeledRow], Field(max_length=MAX_ROWS)]
    total_energy_wh: float | None = None
    total_gco2e: float | None = None
    total_mlh2o: float | None = None
    has_errors: bool


class Interval(Shape):
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


class Assumption(Shape):
    """A number, or choice, that nobody stated."""

    field: str
    value: float | str
    unit: str
    low: float | None
    high: float | None
    how: str
    reason: str
    source: str
    date: str
    quality: str


class ExtendedRow(ModeledRow):
    """The impact of one row with all that is known of it.

    `intervals` has every quantity of the library, null where it is unknown; `training_reason` and
    `fine_tuning_reason` say why there is no such figure.
    """

    model_id: str | None = None
    service_id: str | None = None
    intervals: dict[str, Interval | None] | None = None
    breakdown: dict[str, Interval | None] | None = None
    two_term: dict[str, Interval | None] | None = None
    operating_point: dict[str, Interval | None] | None = None
    quality: str | None = None
    largest_uncertainty: str | None = None
    assumptions: list[Assumption] | None = None
    warnings: list[str] | None = None
    training_reason: str | None = None
    fine_tuning_reason: str | None = None


class ExtendedResponse(Shape):
    """The answer with `extended`; `versions` name the software, the data and the coefficients."""

    rows: Annotated[list[ExtendedRow], Field(max_length=MAX_ROWS)]
    total_energy_wh: float | None = None
    total_gco2e: float | None = None
    total_mlh2o: float | None = None
    has_errors: bool
    versions: dict[str, str]


class Call(RootModel[list[str | int | float | None]]):
    """Arguments of a call from BigQuery, in the order of `inferprint.service.rows.BIGQUERY`."""

    root: Annotated[list[str | int | float | None], Field(min_length=17, max_length=21)]


class ImpactBigQueryRequest(BaseModel):
    """What BigQuery sends to a remote function; fields that it may add are passed over."""

    model_config = ConfigDict(allow_inf_nan=False)

    requestId: str  # noqa: N815
    caller: str
    sessionUser: str  # noqa: N815
    userDefinedContext: Annotated[  # noqa: N815
        dict[str, Any] | None, Field(description="May hold the key, as `api_key`: BigQuery sends a token of its own")
    ] = None
    calls: Annotated[list[Call], Field(max_length=MAX_ROWS)]


class ImpactBigQueryResponse(BaseModel):
    """One ModeledRow as JSON text for each call."""

    replies: Annotated[list[str], Field(max_length=MAX_ROWS)]
    errorMessage: str | None = None  # noqa: N815


class ImpactBigQueryError(BaseModel):
    """What BigQuery shows where a call failed."""

    errorMessage: str  # noqa: N815
