"""Models, nodes and GPUs as they go in and out: the shapes of the Scope3 AI API.

In a request a few fields of our own are allowed beside them; a response has none, because the types of that API's
clients refuse what they do not know.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

MOST_LISTED = 100
"""Records of one answer, as those types have it."""

MAX_ALIASES = 100
MIN_PARAMS_B, MAX_PARAMS_B = 1e-6, 1e5
MOST = 1e15
MOST_SPENT = 1e12
"""Of kWh, kg or L: the world uses some 3e13 kWh of electricity a year."""

MOST_WATER_ML = 1e10
MIN_POWER_W, MAX_POWER_W = 0.01, 1e5
MIN_MEMORY_GB, MAX_MEMORY_GB = 0.001, 1e5

_RESERVED = ("", ".", "..", "alias")
"""Parts of a path between slashes that no id may have: a client would not send them, or they mean an endpoint."""


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("holds characters that cannot be printed, or begins or ends with a space")
    return text


def _addressable(text: str) -> str:
    """Refuse an id under which a record could not be asked for."""
    for part in text.split("/"):
        if part.lower() in _RESERVED:
            raise ValueError(f"'{part}' cannot be a part of an id between slashes: no path leads to it")
    return _printable(text)


Id = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f{}]+$"), AfterValidator(_addressable)
]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"), AfterValidator(_printable)
]
NodeId = Annotated[str, StringConstraints(min_length=3, max_length=64, pattern=r"^[a-z0-9-]+$")]
Spent = Annotated[
    float, Field(ge=0, le=MOST_SPENT, description="Of the whole training; 0 to 1e12, in the unit of the name")
]
UseLife = Annotated[float, Field(ge=1, le=36_500, examples=[365], description="Days of use; 1 to 36,500")]
PerDay = Annotated[float, Field(ge=1e-3, le=1e12, examples=[1000], description="Mean requests in a day; 0.001 to 1e12")]
Params = Annotated[float, Field(ge=MIN_PARAMS_B, le=MAX_PARAMS_B)]
Power = Annotated[
    float, Field(ge=MIN_POWER_W, le=MAX_POWER_W, examples=[700], description="Of one device [W]; 0.01 to 100,000")
]
Embodied = Annotated[float, Field(ge=0, le=1e7, description="Of the manufacture of one [kgCO2e]; 0 to 1e7")]
Water = Annotated[float, Field(ge=0, le=MOST_WATER_ML, description="Of the manufacture of one [mL]; 0 to 1e10")]
Ratio = Annotated[
    float,
    Field(
        ge=1e-4,
        le=1e4,
        description="Speed over that of the H200, of its memory and of its arithmetic; 0.0001 to 10,000",
    ),
]
Memory = Annotated[
    float,
    Field(
        ge=MIN_MEMORY_GB,
        le=MAX_MEMORY_GB,
        description="Of one device [GB]; 0.001 to 100,000, that of the H200 where it is left out",
    ),
]
Experts = Annotated[int, Field(ge=1, le=100_000)]
Coefficient = Annotated[float, Field(ge=-MOST, le=MOST)]

DataType = Literal[
    "fp8", "fp8-e4m3", "fp8-e5m2", "fp16", "tf32", "fp32", "fp64", "bfloat8", "bfloat16", "bf16",
    "int4", "int8", "int16", "int32", "int64", "uint4", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip


TaskName = Literal[
    "text-generation", "chat", "text-embedding", "text-classification", "sentiment-analysis",
    "named-entity-recognition", "question-answering", "summarization", "translation", "image-classification",
    "object-detection", "image-segmentation", "image-generation", "image-to-text", "text-to-image", "style-transfer",
    "face-detection", "facial-recognition", "speech-to-text", "text-to-speech", "speaker-identification",
    "audio-classification", "music-generation", "multimodal-embedding", "multimodal-generation",
    "visual-question-answering", "recommendation-system", "reinforcement-learning", "anomaly-detection",
    "time-series-forecasting", "clustering",
]  # fmt: skip
"""Tasks of that API; a model that is for another one has none in an answer."""


class Shape(BaseModel):
    """What every body obeys: no unknown fields, no numbers that are none."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Kept(Shape):
    """Who keeps a record, and since when."""

    customer_id: Annotated[int, Field(description="Owner of the record; 0 for those that everybody sees")]
    created_at: datetime
    updated_at: datetime
    created_by: Annotated[
        str, Field(description="Public part of the key that made it; 'inferprint' for the packaged ones")
    ]


class GPUUpdateRequest(Shape):
    """Fields of a GPU to change; the others stay. Null takes `memory_gb` away, and is refused for the others."""

    name: Annotated[Name | None, Field(examples=["NVIDIA A100 40GB"])] = None
    max_power_w: Power | None = None
    embodied_emissions_kgco2e: Embodied | None = None
    embodied_water_mlh2o: Water | None = None
    performance_ratio_to_h200: Ratio | None = None
    ols_coefficient_gpu_count: Coefficient | None = None
    ols_intercept: Coefficient | None = None
    memory_gb: Memory | None = None


class GPUCreateRequest(Shape):
    """A GPU of one's own.

    Memory bandwidth and rates of arithmetic are `performance_ratio_to_h200` times those of the H200 (SXM); what the
    shape does not say (links, behaviour of its kernels) is the H200's. The power while it waits is assumed, as for
    every chip of which it is unknown.
    """

    name: Annotated[Name, Field(examples=["NVIDIA A100 40GB"])]
    id: Annotated[Id, Field(examples=["a100_40gb"])]
    max_power_w: Power
    embodied_emissions_kgco2e: Embodied
    embodied_water_mlh2o: Water
    performance_ratio_to_h200: Ratio
    ols_coefficient_gpu_count: Annotated[Coefficient, Field(description="Kept and returned; no estimate uses it")]
    ols_intercept: Annotated[Coefficient, Field(description="Kept and returned; no estimate uses it")]
    memory_gb: Memory | None = None


class GPU(Kept):
    """A GPU.

    For the packaged ones `performance_ratio_to_h200` is the ratio of memory bandwidths, which decides the speed of an
    answer; where the manufacture is unknown, it is what estimates assume, the median of all that are known. They have
    no regression of their own: both `ols_` fields are 0.
    """

    name: str
    id: str
    max_power_w: float
    embodied_emissions_kgco2e: float
    embodied_water_mlh2o: float
    performance_ratio_to_h200: float
    ols_coefficient_gpu_count: float
    ols_intercept: float


class GPUResponse(Shape):
    """GPUs in the order of their ids."""

    gpus: Annotated[list[GPU], Field(max_length=MOST_LISTED)]


class _NodeFields(Shape):
    cloud_id: Annotated[Name | None, Field(examples=["aws"])] = None
    cloud_instance_id: Annotated[
        Name | None, Field(description="An administrator may set it", examples=["a2-highgpu-1g"])
    ] = None
    managed_service_id: Annotated[
        Name | None,
        Field(description="An administrator may set it; for `service` of the listing", examples=["aws-bedrock"]),
    ] = None
    idle_power_w_ex_gpu: Annotated[float | None, Field(ge=0, le=10_000, examples=[100])] = None
    average_utilization_rate: Annotated[
        float | None,
        Field(
            ge=1e-6,
            le=1,
            description="Share of powered time with work, 0.000001 to 1; a request's active_share goes before it",
        ),
    ] = None
    embodied_emissions_kgco2e_ex_gpu: Annotated[float | None, Field(ge=0, le=100_000)] = None
    embodied_water_l_ex_gpu: Annotated[float | None, Field(ge=0, le=100_000)] = None
    use_life_years: Annotated[float | None, Field(ge=1, le=30, examples=[5])] = None


class NodeUpdateRequest(_NodeFields):
    """Fields of a node to change; the others stay. Null takes a value away, but for GPU and counts, which all have."""

    gpu_id: Annotated[Name | None, Field(examples=["a100_40gb"])] = None
    gpu_count: Annotated[int | None, Field(ge=0, le=10_000)] = None
    cpu_count: Annotated[int | None, Field(ge=1, le=10_000)] = None


class NodeCreateRequest(_NodeFields):
    """A node of one's own; what is not stated is that of the GPU's reference node, by devices."""

    id: Annotated[NodeId, Field(examples=["my-custom-node-1"])]
    gpu_id: Annotated[Name, Field(examples=["a100_40gb"])]
    gpu_count: Annotated[int, Field(ge=0, le=10_000, examples=[8])]
    cpu_count: Annotated[int, Field(ge=1, le=10_000, examples=[2])]


class Node(Kept):
    """A node.

    The id of a packaged one is its id in the catalogue in lower case, with a dash for every other character:
    "aws-p5-48xlarge" is "aws:p5.48xlarge". Its `cpu_count` counts virtual CPUs.
    """

    id: NodeId
    cloud_id: str | None = None
    cloud_instance_id: str | None = None
    managed_service_id: str | None = None
    gpu_id: str
    gpu_count: Annotated[int, Field(ge=0, le=10_000)]
    cpu_count: Annotated[int, Field(ge=1, le=10_000)]
    idle_power_w_ex_gpu: Annotated[float | None, Field(ge=0, le=10_000)] = None
    average_utilization_rate: Annotated[float | None, Field(ge=0, le=1)] = None
    embodied_emissions_kgco2e_ex_gpu: Annotated[float | None, Field(ge=0, le=100_000)] = None
    embodied_water_l_ex_gpu: Annotated[float | None, Field(ge=0, le=100_000)] = None
    use_life_years: Annotated[float | None, Field(ge=1, le=30)] = None


class NodeResponse(Shape):
    """Nodes in the order of their ids."""

    nodes: Annotated[list[Node], Field(max_length=MOST_LISTED)]


class ModelUpdateRequest(Shape):
    """Fields of a model to change; the others stay. Null takes a value away."""

    name: Annotated[Name | None, Field(examples=["GPT-4 Turbo"])] = None
    family: Annotated[Name | None, Field(examples=["gpt"])] = None
    hugging_face_path: Annotated[Name | None, Field(examples=["EleutherAI/gpt-neo-2.7B"])] = None
    benchmark_model_id: Annotated[
        Name | None, Field(description="The model whose shape, format and behaviour it has", examples=["gpt-4-turbo"])
    ] = None
    estimated_use_life_days: UseLife | None = None
    estimated_requests_per_day: PerDay | None = None
    fine_tuned_from_model_id: Annotated[
        Name | None,
        Field(description="The model that it was made from; the training fields are those of the fine-tuning then"),
    ] = None
    total_params_billions: Annotated[Params | None, Field(examples=[175])] = None
    number_of_experts: Annotated[Experts | None, Field(examples=[7])] = None
    params_per_expert_billions: Annotated[Params | None, Field(examples=[8])] = None
    training_usage_energy_kwh: Spent | None = None
    training_usage_emissions_kgco2e: Spent | None = None
    training_usage_water_l: Spent | None = None
    training_embodied_emissions_kgco2e: Spent | None = None
    training_embodied_water_l: Spent | None = None
    active_params_billions: Annotated[Params | None, Field(description="Parameters that one token uses")] = None
    experts_per_token: Annotated[Experts | None, Field(description="Experts that one token is sent to")] = None


def _unique(aliases: list[str]) -> list[str]:
    if len({alias.casefold() for alias in aliases}) < len(aliases):
        raise ValueError("an alias is given twice")
    return aliases


Aliases = Annotated[list[Id], Field(max_length=MAX_ALIASES), AfterValidator(_unique)]


class ModelCreateRequest(ModelUpdateRequest):
    """A model of one's own.

    It needs a size (`total_params_billions`), or a model to take it from (`benchmark_model_id`,
    `fine_tuned_from_model_id`). Of a mixture of experts it must be known how much of it a token uses: from such a
    model, or from `active_params_billions` or `experts_per_token`.
    """

    id: Annotated[Id, Field(examples=["my-model"])]
    aliases: Annotated[
        Aliases | None, Field(description="Further names, each of one model", examples=[["my-model-latest"]])
    ] = None


class AliasRequest(Shape):
    """A further name of a model."""

    alias: Annotated[Id, Field(examples=["my-model-latest"])]


class Model(Kept):
    """A model."""

    id: str
    aliases: Annotated[list[str], Field(max_length=MAX_ALIASES)]
    name: str | None = None
    family: str | None = None
    hugging_face_path: str | None = None
    benchmark_model_id: str | None = None
    total_params_billions: Annotated[float | None, Field(description="Null where it is not disclosed")] = None
    number_of_experts: int | None = None
    params_per_expert_billions: float | None = None
    tensor_parallelism: int | None = None
    datatype: Annotated[DataType | None, Field(description="Format in which the weights were published")] = None
    task: TaskName | None = None
    training_usage_energy_kwh: float | None = None
    training_usage_emissions_kgco2e: float | None = None
    training_usage_water_l: float | None = None
    training_embodied_emissions_kgco2e: float | None = None
    training_embodied_water_l: float | None = None
    estimated_use_life_days: float | None = None
    estimated_requests_per_day: float | None = None
    fine_tuned_from_model_id: str | None = None


class ModelResponse(Shape):
    """Models in the order of their ids."""

    models: Annotated[list[Model], Field(max_length=MOST_LISTED)]


BODIES: tuple[type[BaseModel], ...] = (
    GPUCreateRequest,
    GPUUpdateRequest,
    NodeCreateRequest,
    NodeUpdateRequest,
    ModelCreateRequest,
    ModelUpdateRequest,
    AliasRequest,
)
"""Models of bodies, which FastAPI does not see."""
