"""The catalogue's records: what is known about models, hardware, services and places.

Every field carries its unit in its name. `None` means unknown, never zero. A field typed `Range` holds a central
value with the bounds of its 95 % interval. `provenance` gives the origin of a field by name; the entry under the
empty name holds for every field without one of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from inferprint.provenance.source import Provenance
from inferprint.quantities import Range

Architecture = Literal["dense", "moe", "hybrid", "moe-hybrid", "diffusion", "unknown"]
DeviceClass = Literal["datacenter", "workstation", "consumer", "apple", "embedded", "tpu", "asic", "cpu"]
PowerBoundary = Literal["board", "module", "system"]
Backbone = Literal["transformer", "unet", "convolution", "autoregressive", "undisclosed"]
PriceUnit = Literal[
    "image", "megapixel", "second of video", "second of input audio", "second of output audio", "character"
]
ServingClass = Literal[
    "closed", "open-economy", "open-speed", "throughput", "provisioned", "self-hosted", "local", "router", "unknown"
]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Record:
    """What every record has: a key and the origin of its values.

    A catalogue builds each record once. Comparing and printing field by field would cost every start of the program.
    """

    id: str
    provenance: Mapping[str, Provenance] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    def origin(self, name: str) -> Provenance:
        """Origin of the field `name`."""
        return self.provenance.get(name) or self.provenance[""]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Model(Record):
    """A model: its size, its shape and the names it goes by.

    Sizes are None where the developer has not disclosed them. For a dense model the active size is the total size.
    `head_size` is the mean of key and value size where they differ.

    What was spent once is that of `fine_tuned_from` a model where there is one, else of training; `use_life_days` and
    `requests_per_day` are those among which it is shared.
    """

    developer: str
    family: str = ""
    base_family: str = ""
    names: tuple[str, ...] = ()
    hugging_face_path: str | None = None
    modality: str = "text"
    text_generation: bool = True
    architecture: Architecture = "unknown"
    total_params_b: float | None = None
    active_params_b: float | None = None
    native_precision: str | None = None
    layers: int | None = None
    hidden_size: int | None = None
    attention_heads: int | None = None
    kv_heads: int | None = None
    head_size: int | None = None
    full_attention_layers: int | None = None
    windowed_attention_layers: int | None = None
    attention_window_tokens: int | None = None
    state_space_layers: int | None = None
    kv_elements_per_token: float | None = None
    windowed_kv_elements_per_token: float | None = None
    experts: int | None = None
    experts_per_token: int | None = None
    moe_layers: int | None = None
    context_length: int | None = None
    release_date: str | None = None
    fine_tuned_from: str | None = None
    training_energy_kwh: float | None = None
    training_emissions_kgco2e: float | None = None
    training_water_l: float | None = None
    training_embodied_kgco2e: float | None = None
    training_embodied_water_l: float | None = None
    use_life_days: float | None = None
    requests_per_day: float | None = None

    @property
    def params_per_expert_b(self) -> float | None:
        """Parameters of one expert in all layers [1e9]: a token leaves out those of E - k of them; None if unknown."""
        total, active, experts, used = self.total_params_b, self.active_params_b, self.experts, self.experts_per_token
        if total is None or active is None or not experts or not used or used >= experts:
            return None
        return (total - active) / (experts - used)


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Media(Record):
    """How a model makes pictures, video or sound, and what it does where nobody says; `id` is the model's.

    Attributes
    ----------
    backbone
        The network that runs in every step, or, for an autoregressive model, for every token.
    tasks
        What it is for: "text-to-image", "image-editing", "upscaling", "text-to-speech" ...
    denoiser_params_b, params_per_token_b
        Its size, and the parameters of it that multiply one latent token [1e9].
    text_encoder_params_b, text_encoder_tokens
        Size of the text encoders [1e9], and the padded prompt that they compute [tokens].
    layers, hidden_size
        Layers with attention, and their width.
    attention
        "full" over all latent tokens, "separated" in space and time, or "linear".
    joint_text_tokens, cross_text_tokens
        Text tokens in the sequence of the latent tokens; those that it only looks at.
    latent_layers
        Further layers with attention among the latent tokens alone.
    spatial_downsample, temporal_downsample, spatial_patch, temporal_patch
        Pixels and frames per latent, latents per token.
    tflop_per_mpx, attention_tflop_per_mpx2
        Of a convolutional backbone: one evaluation of an image, or of a frame, of 2^20 pixels [TFLOP], without and in
        the products of attention.
    tflop_per_second, attention_tflop_per_second2
        The same of sound, per second.
    decoder_tflop_per_mpx, decoder_tflop_per_mpx2, decoder_tflop_per_second
        The latent decoder, per image or frame of 2^20 pixels, or per second of sound [TFLOP].
    references
        How a picture that is given enters: its tokens beside the latent ones, or as the latents themselves.
    steps, evaluations_per_step
        Usual ones; 2 evaluations with guidance by a second prompt.
    width_px, height_px, sizes, min_mpx, max_mpx, max_edge_px, multiple_px
        Usual size; the only sizes that it makes, as "WxH"; limits on the area [2^20 pixels] and on a side; of what
        sides are multiples.
    frames, frames_per_s, seconds
        Of a usual clip.
    tokens_per_image, tokens_per_second, evaluations_per_token
        Of an autoregressive model.
    price_usd, price_unit
        What its developer, or the cheapest known host, asks, and for what.
    """

    backbone: Backbone
    tasks: tuple[str, ...]
    denoiser_params_b: float | None = None
    params_per_token_b: float | None = None
    text_encoder_params_b: float | None = None
    text_encoder_tokens: int | None = None
    layers: int | None = None
    hidden_size: int | None = None
    attention: Literal["full", "linear", "separated"] | None = None
    joint_text_tokens: int | None = None
    cross_text_tokens: int | None = None
    latent_layers: int | None = None
    spatial_downsample: float | None = None
    temporal_downsample: float | None = None
    spatial_patch: int | None = None
    temporal_patch: int | None = None
    tflop_per_mpx: float | None = None
    attention_tflop_per_mpx2: float | None = None
    tflop_per_second: float | None = None
    attention_tflop_per_second2: float | None = None
    decoder_tflop_per_mpx: float | None = None
    decoder_tflop_per_mpx2: float | None = None
    decoder_tflop_per_second: float | None = None
    references: Literal["sequence", "latent"] | None = None
    steps: int | None = None
    evaluations_per_step: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    sizes: tuple[str, ...] = ()
    min_mpx: float | None = None
    max_mpx: float | None = None
    max_edge_px: int | None = None
    multiple_px: int | None = None
    frames: int | None = None
    frames_per_s: float | None = None
    seconds: float | None = None
    tokens_per_image: int | None = None
    tokens_per_second: float | None = None
    evaluations_per_token: int | None = None
    price_usd: float | None = None
    price_unit: PriceUnit | None = None

    @property
    def undisclosed(self) -> bool:
        """True where nothing says what makes the pictures, clips or sound: one on tokens is no denoiser either."""
        return self.backbone in ("undisclosed", "autoregressive")


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TokenRule(Record):
    """How models turn a picture, a video or sound that they are given into tokens, and the encoder that does it.

    Attributes
    ----------
    reads, detail
        What it is a rule for, and at which level of detail; the level without a name is the usual one.
    models
        Ids of the models that follow it.
    rule, parameters
        Name of the rule in `inferprint.modalities.reading`, and its numbers.
    meaning
        The rule in words.
    encoder_params_b, encoder_layers, encoder_hidden_size
        The encoder [1e9 parameters], its layers and their width.
    """

    reads: Literal["image", "video", "audio"]
    detail: str = ""
    models: tuple[str, ...]
    rule: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    meaning: str
    encoder_params_b: float | None = None
    encoder_layers: int | None = None
    encoder_hidden_size: int | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Gpu(Record):
    """An accelerator, or a whole chip that computes: memory, dense rates, power, manufacture.

    `power_boundary`: "board" is the accelerator alone; "module" includes a CPU (GH200); "system" is the whole
    device or machine (Apple, CS-3), to which no host is added.
    """

    name: str
    names: tuple[str, ...] = ()
    vendor: str
    device_class: DeviceClass
    generation: str | None = None
    memory_gb: float | None = None
    memory_kind: Literal["hbm", "gddr", "unified", "ddr", "sram"] | None = None
    memory_bandwidth_gb_per_s: float | None = None
    fp16_dense_tflops: float | None = None
    fp8_dense_tflops: float | None = None
    fp4_dense_tflops: float | None = None
    int8_dense_tops: float | None = None
    max_power_w: float | None = None
    power_boundary: PowerBoundary = "board"
    idle_power_w: float | None = None
    idle_loaded_power_w: float | None = None
    link_gb_per_s: float | None = None
    release_year: int | None = None
    die_area_mm2: float | None = None
    embodied_kgco2e: Range | None = None
    embodied_water_l: Range | None = None
    reference_node: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Node(Record):
    """A machine or cloud instance; host values exclude the accelerators and are the instance's own share.

    `active_share` is the share of powered time in which it has at least one request, where that is known of this node;
    `engine` the serving software that was measured on it, one of `rates.engines.ENGINES`.
    """

    cloud: str
    instance: str
    names: tuple[str, ...] = ()
    gpu: str | None = None
    gpu_count: int = 0
    vcpu_count: int | None = None
    memory_gb: float | None = None
    host_idle_power_w: float | None = None
    host_active_power_w: float | None = None
    system_max_power_w: float | None = None
    host_embodied_kgco2e: Range | None = None
    host_embodied_water_l: float | None = None
    use_life_years: float | None = None
    active_share: float | None = None
    engine: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Service(Record):
    """A managed endpoint: what probably runs it, and where.

    Attributes
    ----------
    hardware_mix
        GPU id to the share of requests that it answers; the values add up to 1, the bounds are those of each share
        alone. Empty where the user names the machine, and for a router.
    output_tokens_per_s, time_to_first_token_s
        What one request gets of the models measured at the service. None where too few are; `Speed` has single models.
    """

    name: str
    names: tuple[str, ...] = ()
    serving_class: ServingClass
    hardware_mix: Mapping[str, Range] = field(default_factory=dict)
    output_tokens_per_s: Range | None = None
    time_to_first_token_s: Range | None = None
    clouds: tuple[str, ...] = ()
    country: str | None = None
    region_rule: str = ""
    regions: tuple[str, ...] = ()
    developers: tuple[str, ...] = ()
    pue: Range | None = None
    wue_l_per_kwh: Range | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Speed(Record):
    """How fast a service answered with a model; `id` is "service:model".

    Attributes
    ----------
    output_tokens_per_s
        Median over requests; the bounds are those of single requests, and of what another source would have found.
    basis
        Whether the wait for the first token is left out of the time or in it. The two are never averaged.
    measured
        Last day, month or year of the measurement: a service's speed may change by a factor of 4 in two months.
    time_to_first_token_s
        None where it is unknown, or holds the time for which a model thinks.
    """

    output_tokens_per_s: Range
    basis: Literal["after first token", "whole request"]
    measured: str
    time_to_first_token_s: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Region(Record):
    """A cloud region; `id` is "cloud:region" because region names repeat across clouds."""

    cloud: str
    region: str
    location: str
    country: str
    subdivision: str | None = None
    grid_zone: str
    pue: float | None = None
    wue_l_per_kwh: float | None = None
    grid_gco2e_per_kwh: float | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Operator(Record):
    """The average of a data-centre operator's fleet, or a generic default; one record a year.

    `id` is "operator:year", or the bare name for a generic default.
    """

    operator: str
    year: int | None = None
    pue: Range | None = None
    wue_l_per_kwh: Range | None = None


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Grid(Record):
    """Electricity of a zone: greenhouse gas, water and primary energy per kWh at the meter."""

    name: str
    kind: str
    country: str | None = None
    subdivision: str | None = None
    gco2e_per_kwh: float | None = None
    market_gco2e_per_kwh: float | None = None
    scope: Literal["lifecycle", "direct"] = "lifecycle"
    boundary: str = ""
    year: int | None = None
    water_l_per_kwh: Range | None = None
    water_excluding_hydro_l_per_kwh: float | None = None
    primary_energy_mj_per_kwh: float | None = None
    default_for_zone: bool = True


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Precision(Record):
    """A number format of weights: what the file weighs and in which arithmetic it is executed.

    `arithmetic` names the peak of the GPU that applies; weight-only formats compute at 16 bit. `effect` is the key of
    the learned effect of the form's `effects`.
    """

    names: tuple[str, ...] = ()
    bytes_per_param: float
    arithmetic: Literal["fp32", "fp16", "fp8", "fp4", "int8"]
    effect: str


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Form(Record):
    """Coefficients of one learned form, with their covariance and the errors that it makes on what it has not seen.

    The id "duration.served@NODE" is that of a node's own form, which stands for the general one where an estimate runs
    on that node.

    Attributes
    ----------
    rows, fingerprint
        Measurements that it was fitted on, and the SHA-256 of their files.
    terms
        Coefficients by term: they multiply ideal seconds, or counts, then in seconds each. All are positive.
    effects
        "group:name" to what is added to the logarithm of the coefficients of a group of terms where `name` holds: a
        format, generation, engine or kind of memory.
    covariance
        Of the logarithms of the terms, then of the effects, each in alphabetical order: the lower triangle, row by row.
    residual
        95 % bounds of ln(measured / predicted) on models left out of the fit, by kind of case; "all" is the pooled one.
        In a form of one's own "model:ID" holds those of a model that was measured on the node.
    """

    quantity: Literal[
        "energy", "served-duration", "single-duration", "two-term", "wall-power", "media-energy", "media-duration"
    ]
    status: Literal["provisional", "fitted", "own"]
    rows: int = 0
    fingerprint: str = ""
    terms: Mapping[str, Range]
    effects: Mapping[str, float] = field(default_factory=dict)
    covariance: tuple[float, ...] = ()
    residual: Mapping[str, Range]


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Prior(Record):
    """An assumption with its 95 % range, used where the caller and the catalogue are silent."""

    unit: str
    meaning: str
    value: Range


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ShapeFit(Record):
    """A log-log regression of a shape fact on total and active size over the open models of the catalogue.

    ln(target) = intercept + total_slope ln(total in billions) + active_slope ln(active in billions)
    """

    target: str
    intercept: float
    total_slope: float
    active_slope: float
    residual_sigma: float
    models: int


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Price(Record):
    """What hosts ask for a model, in USD per million tokens, by host; `id` is the model's.

    `since` holds the day from which a host asks it, where the list says so. Cleaned: see `tools/prices.py`. `rule` says
    why these are no plain prices, where no host lists one: such a price predicts a size, and no fit sees it.
    """

    input_usd_per_mtok: Mapping[str, float]
    output_usd_per_mtok: Mapping[str, float]
    since: Mapping[str, str] = field(default_factory=dict)
    rule: str = ""


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SizeForm(Record):
    """How sizes are predicted from prices in one way: `id` is "target:form", such as "total:both".

    Attributes
    ----------
    inputs
        What stands beside the intercept, in order: "output", "input" (logs of USD per million tokens), "date" (years
        after 2025-01-01).
    correlation
        Of two hosts' errors about one model, rho.
    quantile
        95 % quantile of |error| over the standard error of the combination, on families left out, q.
    """

    target: Literal["total", "active"]
    inputs: tuple[str, ...]
    correlation: float
    quantile: float
    models: int


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SizeFit(Record):
    """The regression of ln(size in billions) at one host; `id` is "target:form:host".

    `covariance` is (X'X)^-1, the lower triangle row by row; `sigma` the residual standard deviation; `least` and `most`
    bound the output prices of the models it was fitted on [USD per million tokens].
    """

    form: str
    host: str
    coefficients: tuple[float, ...]
    covariance: tuple[float, ...]
    sigma: float
    models: int
    least_usd_per_mtok: float
    most_usd_per_mtok: float
