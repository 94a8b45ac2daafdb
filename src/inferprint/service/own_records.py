"""From a record as an owner sent it to the records of the catalogue, with all that they rest on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from inferprint.catalogue import Catalogue, Gpu, Model, Node, Price, Prior, Record, Speed, TokenRule, resolve_model
from inferprint.catalogue.compose import fold, model_key
from inferprint.catalogue.match import resolve_gpu, resolve_service
from inferprint.catalogue.records import Media
from inferprint.errors import UnknownName
from inferprint.provenance.source import Provenance, Quality, Source
from inferprint.quantities import Range
from inferprint.rates.model import named_sizes
from inferprint.service.problems import BadRequest
from inferprint.units import ML_PER_L

Kind = Literal["model", "node", "gpu"]
FOLDERS: Mapping[Kind, str] = {"model": "models", "node": "nodes", "gpu": "gpus"}
LABELS: Mapping[Kind, str] = {"model": "model", "node": "node", "gpu": "GPU"}

REFERENCE_GPU = "h200_141gb_sxm"
"""What `performance_ratio_to_h200` is a ratio to."""

OWNER_SOURCE = "owner:"
"""How the ids of sources begin that are owners."""

MOST_DEEP = 20
"""Models that one may rest on, one after the other."""

REFERENCES = ("gpu_id", "benchmark_model_id", "fine_tuned_from_model_id")
"""Fields that name another record."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A record as it is kept: what was sent, by whom and when."""

    owner_id: int
    kind: Kind
    id: str
    body: Body
    created_at: datetime
    updated_at: datetime
    created_by: str


@dataclass(slots=True)
class Own:
    """What an owner's rows become.

    Attributes
    ----------
    records
        Records for the catalogue.
    names
        Folder to folded name to id.
    rows
        Rows that became records, by kind and id.
    problems
        Rows that became nothing, by kind and id, and why: what they rest on has gone since.
    """

    records: list[Record | Source] = field(default_factory=list)
    names: dict[str, dict[str, str]] = field(default_factory=lambda: {folder: {} for folder in FOLDERS.values()})
    rows: dict[tuple[Kind, str], Row] = field(default_factory=dict)
    problems: dict[tuple[Kind, str], BadRequest] = field(default_factory=dict)


def key_of(kind: Kind, name: str) -> str:
    """A name as the index holds it."""
    return model_key(name) if kind == "model" else fold(name)


def claims(kind: Kind, body: Body) -> dict[str, str]:
    """Folded name to name of what a record must have for itself: id, aliases, the cloud instance that it is."""
    names = [body["id"], *(body.get("aliases") or ())]
    if kind == "node" and body.get("cloud_instance_id") and body.get("cloud_id"):
        names.append(f"{body['cloud_id']}:{body['cloud_instance_id']}")
    return {key_of(kind, name): name for name in names}


def called(row: Row) -> set[str]:
    """Folded names by which other records may name a row: those that are its own, and what it is called beside."""
    also = _ALSO.get(row.kind)
    name = row.body.get(also) if also else None
    return {*claims(row.kind, row.body), *([key_of(row.kind, name)] if name else ())}


_ALSO: Mapping[Kind, str] = {"gpu": "name", "model": "hugging_face_path"}
"""Field that names a record too, where it means nothing else."""


def own_of(under: Catalogue, owner_id: int, rows: Iterable[Row]) -> Own:
    """The records of an owner, to lie on top of what all see.

    Parameters
    ----------
    under
        What all see.
    """
    return _Maker(under, owner_id, list(rows)).made()


class _Maker:
    """Makes the records of one owner, each after those that it rests on."""

    def __init__(self, under: Catalogue, owner_id: int, rows: Sequence[Row]) -> None:
        self._under, self._rows, self._own = under, rows, Own()
        self._source = f"{OWNER_SOURCE}{owner_id}"
        self._owner_id = owner_id
        self._gpus: dict[str, Gpu] = {}
        self._models: dict[str, Model] = {}
        self._extras: dict[str, list[Record]] = {}
        self._rules: dict[str, TokenRule] = {}
        self._by_name = {key: row for row in rows if row.kind == "model" for key in claims("model", row.body)}

    def made(self) -> Own:
        own = self._own
        title = f"Records of owner {self._owner_id} of this service"
        own.records.append(Source(id=self._source, title=title, url="", licence="the owner's"))
        for kind, make in (("gpu", self._gpu), ("node", self._node), ("model", self._made_model)):
            for row in (row for row in self._rows if row.kind == kind):
                try:
                    made = make(row)
                except BadRequest as problem:
                    own.problems[row.kind, row.id] = problem
                    continue
                own.records.append(made)
                own.rows[row.kind, row.id] = row
                self._name(row)
        for extras in self._extras.values():
            own.records.extend(extras)
        own.records.extend(self._rules.values())
        return own

    def _name(self, row: Row) -> None:
        """Enter the names of a record, and those by which it is called where they mean nothing else."""
        folder = FOLDERS[row.kind]
        index = self._own.names[folder]
        index.update(dict.fromkeys(claims(row.kind, row.body), row.id))
        for key in called(row):
            if key not in self._under.names(folder):
                index.setdefault(key, row.id)

    def _origin(self, row: Row, quality: Quality = "medium", note: str = "") -> Provenance:
        """Where a value of a record comes from: its owner says so, or it follows from what the owner says."""
        return Provenance(self._source, row.updated_at.date().isoformat(), quality, note)

    # --- GPUs and nodes ---------------------------------------------------------------------------------------------

    def _gpu(self, row: Row) -> Gpu:
        """A chip whose rates are those of the H200 times a ratio."""
        body, h200 = row.body, self._under.gpus[REFERENCE_GPU]
        ratio = body["performance_ratio_to_h200"]
        stated, scaled = self._origin(row), self._origin(row, "low", f"{ratio:g} times that of {h200.id}, as stated")
        rates: dict[str, Any] = {name: value * ratio for name in RATES if (value := getattr(h200, name)) is not None}
        own = ("name", "max_power_w", "embodied_kgco2e", "embodied_water_l")
        memory: dict[str, Any] = {"memory_gb": float(body["memory_gb"])} if body.get("memory_gb") else {}
        gpu = replace(
            h200,
            id=row.id,
            name=self._free_name(row),
            names=(),
            vendor="",
            max_power_w=float(body["max_power_w"]),
            idle_power_w=None,
            idle_loaded_power_w=None,
            release_year=None,
            die_area_mm2=None,
            embodied_kgco2e=Range.exact(float(body["embodied_emissions_kgco2e"])),
            embodied_water_l=Range.exact(body["embodied_water_mlh2o"] / ML_PER_L),
            provenance={
                "": self._origin(row, "assumption", f"that of {h200.id}"),
                **dict.fromkeys(rates, scaled),
                **dict.fromkeys((*own, *memory), stated),
            },
            **rates,
            **memory,
        )
        self._gpus[fold(row.id)] = gpu
        return gpu

    def _free_name(self, row: Row) -> str:
        """The name of a chip, which the index holds: with its id where another one is called so."""
        name, key = str(row.body["name"]), fold(row.body["name"])
        taken = key in self._under.names("gpus") or any(
            other is not row and other.kind == "gpu" and key in (fold(other.id), fold(other.body["name"]))
            for other in self._rows
        )
        return f"{name} ({row.id})" if taken else name

    def _node(self, row: Row) -> Node:
        """A machine: the owner's values, and what follows from them."""
        body, stated = row.body, self._origin(row)
        cloud, instance = body.get("cloud_id"), body.get("cloud_instance_id")
        if instance and not cloud:
            hint = "Give cloud_id."
            raise BadRequest(f"instance '{instance}' of an unknown cloud", field="cloud_instance_id", reason=hint)
        if body.get("managed_service_id"):
            self._check_service(body["managed_service_id"])
        gpu = self._gpu_named(body["gpu_id"])
        idle = body.get("idle_power_w_ex_gpu")
        active = None if idle is None else idle + self._added_power(gpu, body["gpu_count"])
        embodied = body.get("embodied_emissions_kgco2e_ex_gpu")
        note = "idle power as stated, and what work adds at the reference node of the GPU, by devices"
        return Node(
            id=row.id,
            cloud=cloud.lower() if cloud else OWN_CLOUD,
            instance=instance or row.id,
            gpu=gpu.id,
            gpu_count=body["gpu_count"],
            vcpu_count=body["cpu_count"],
            host_idle_power_w=idle,
            host_active_power_w=active,
            host_embodied_kgco2e=None if embodied is None else Range.exact(float(embodied)),
            host_embodied_water_l=body.get("embodied_water_l_ex_gpu"),
            use_life_years=body.get("use_life_years"),
            active_share=body.get("average_utilization_rate"),
            provenance={"": stated, "host_active_power_w": self._origin(row, "low", note)},
        )

    def _added_power(self, gpu: Gpu, devices: int) -> float:
        """What work adds to the power of a host, as at the reference node of its accelerators [W]."""
        reference = self._under.nodes.get(gpu.reference_node or "")
        if reference is None or reference.host_active_power_w is None or reference.host_idle_power_w is None:
            return 0.0
        added = reference.host_active_power_w - reference.host_idle_power_w
        return max(0.0, added) * devices / max(reference.gpu_count, 1)

    def _check_service(self, name: str) -> None:
        try:
            resolve_service(self._under, name)
        except UnknownName as error:
            raise unknown(error, "managed_service_id", "") from error

    def _gpu_named(self, name: str) -> Gpu:
        """The GPU that a node names: the owner's, else one that all see."""
        if own := self._gpus.get(fold(name)):
            return own
        try:
            return resolve_gpu(self._under, name)
        except UnknownName as error:
            raise unknown(error, "gpu_id", "/gpu") from error

    # --- models -------------------------------------------------------------------------------------------------------

    def _made_model(self, row: Row) -> Model:
        return self._model(row, ())

    def _model(self, row: Row, path: tuple[str, ...]) -> Model:
        """A model, after those that it rests on; `path` holds the ids on the way to it."""
        if row.id in self._models:
            return self._models[row.id]
        if row.id in path or len(path) > MOST_DEEP:
            way = " -> ".join((*path, row.id))
            field_at_fault = "benchmark_model_id" if row.body.get("benchmark_model_id") else "fine_tuned_from_model_id"
            raise BadRequest(
                f"a model cannot rest on itself: {way}", field=field_at_fault, reason="Name another model."
            )
        body, further = row.body, (*path, row.id)
        tuned = self._model_named(body.get("fine_tuned_from_model_id"), "fine_tuned_from_model_id", further)
        shaped = self._model_named(body.get("benchmark_model_id"), "benchmark_model_id", further)
        made = _model_from(row, shaped or tuned, tuned, self._origin(row))
        self._models[row.id] = made
        if base := shaped or tuned:
            self._extras[row.id] = list(self._inherited(base.id, made))
        return made

    def _model_named(self, name: str | None, at: str, path: tuple[str, ...]) -> Model | None:
        """The model that a field names: the owner's, else one that all see."""
        if name is None:
            return None
        if own := self._by_name.get(model_key(name)):
            return self._model(own, path)
        try:
            return resolve_model(self._under, name).model
        except UnknownName as error:
            raise unknown(error, at, "/model") from error

    def _inherited(self, base_id: str, model: Model) -> Iterator[Record]:
        """What the catalogue knows about a base beside its record, for a model that has its shape."""
        under = self._under
        known = {(type(record), record.id): record for record in self._extras.get(base_id, ())}
        price = known.get((Price, base_id)) or under.prices.get(base_id)
        if price is not None and model.total_params_b is None:
            yield replace(price, id=model.id)
        prior = known.get((Prior, f"size.{base_id}")) or under.priors.get(f"size.{base_id}")
        if prior is not None:
            yield replace(prior, id=f"size.{model.id}")
        media = known.get((Media, base_id)) or under.media.get(base_id)
        if isinstance(media, Media):
            yield _media_of(media, model, self._models.get(base_id) or under.models[base_id])
        speeds = [record for record in self._extras.get(base_id, ()) if isinstance(record, Speed)]
        speeds += [under.speeds[key] for key in under.speeds if key.partition(":")[2] == base_id]
        for speed in speeds:
            yield replace(speed, id=f"{speed.id.partition(':')[0]}:{model.id}")
        for rule in {**under.token_rules, **self._rules}.values():
            if base_id in rule.models:
                self._rules[rule.id] = replace(rule, models=(*rule.models, model.id))


OWN_CLOUD = "generic"
"""Cloud of a node of which none is stated: a machine of one's own."""

RATES = (
    *("memory_bandwidth_gb_per_s", "fp16_dense_tflops", "fp8_dense_tflops", "fp4_dense_tflops"),
    "int8_dense_tops",
)
"""What the performance ratio multiplies."""

TRAINING = {
    "training_usage_energy_kwh": "training_energy_kwh",
    "training_usage_emissions_kgco2e": "training_emissions_kgco2e",
    "training_usage_water_l": "training_water_l",
    "training_embodied_emissions_kgco2e": "training_embodied_kgco2e",
    "training_embodied_water_l": "training_embodied_water_l",
    "estimated_use_life_days": "use_life_days",
    "estimated_requests_per_day": "requests_per_day",
}
"""Fields of a body and of the catalogue about what was spent before the first request."""


def unknown(error: UnknownName, at: str, path: str) -> BadRequest:
    """A name in a body that nothing carries, with the nearest."""
    near = f"Nearest: {', '.join(error.nearest)}. " if error.nearest else ""
    listed = f"GET {path} lists what there is." if path else ""
    return BadRequest(error.message, field=at, reason=f"{near}{listed}".strip(), code="unknown_name")


def _model_from(row: Row, base: Model | None, tuned: Model | None, stated: Provenance) -> Model:
    """The record of a model: its own sizes and training, all else of the model that it resembles."""
    body = row.body
    total, active, experts, per_token = _sizes(row, base)
    architecture = {"architecture": "moe" if experts > 1 else "dense"} if body.get("number_of_experts") else {}
    values: dict[str, Any] = {
        "total_params_b": total,
        "active_params_b": active,
        "experts": experts or None,
        "experts_per_token": per_token,
        "fine_tuned_from": tuned.id if tuned is not None else None,
        **{name: body.get(sent) for sent, name in TRAINING.items()},
        **({"family": body["family"]} if body.get("family") else {}),
        **({"hugging_face_path": body["hugging_face_path"]} if body.get("hugging_face_path") else {}),
        **architecture,
    }
    if base is None:
        return Model(id=row.id, developer="", provenance={"": stated}, **values)
    origins = {name: stated for name, value in values.items() if value is not None and value != getattr(base, name)}
    provenance = {**base.provenance, **origins}
    return replace(base, id=row.id, names=(), provenance=provenance, **values)


def _sizes(row: Row, base: Model | None) -> tuple[float | None, float | None, int, int | None]:
    """Total and active parameters [1e9], experts, and experts per token: own ones, else those of the base.

    Raises
    ------
    BadRequest
        Sizes that contradict each other, or from which nothing can be estimated.
    """
    body = row.body
    experts = body.get("number_of_experts") or (base.experts if base is not None else None) or 0
    per_token = body.get("experts_per_token") or (base.experts_per_token if base is not None else None)
    in_experts = (body.get("params_per_expert_billions") or 0.0) * (body.get("number_of_experts") or 0)
    total = body.get("total_params_billions") or in_experts or None
    if total is None and base is None:
        raise BadRequest(
            f"nothing can be estimated for '{row.id}': it has neither a size nor a model to take it from",
            field="total_params_billions",
            reason="Give total_params_billions, or benchmark_model_id or fine_tuned_from_model_id.",
        )
    if total is not None and in_experts > total:
        message = f"{experts} experts of {body['params_per_expert_billions']:g} billion exceed the total of {total:g}"
        raise BadRequest(message, field="params_per_expert_billions", reason="Correct one of them.")
    active = _active(row, base, total, experts, per_token)
    whole = total or _published(base)[0]
    if active is not None and whole is not None and active > whole:
        message = f"{active:g} billion exceed the total of {whole:g} billion"
        raise BadRequest(message, field="active_params_billions", reason="A part is no larger than the whole.")
    if per_token is not None and experts and per_token > experts:
        message = f"{per_token} experts per token exceed the {experts} that there are"
        raise BadRequest(message, field="experts_per_token", reason="Correct one of them.")
    return whole, active, experts, per_token


def _published(base: Model | None) -> tuple[float | None, float | None]:
    """Sizes of a base: published ones, else those that its name states."""
    if base is None:
        return None, None
    named = named_sizes(base)
    return base.total_params_b or named[0], base.active_params_b or named[1]


def _active(row: Row, base: Model | None, total: float | None, experts: int, per_token: int | None) -> float | None:
    """Parameters that one token uses [1e9]; None where it is all of them, or nothing is known."""
    body = row.body
    if body.get("active_params_billions"):
        return float(body["active_params_billions"])
    each = body.get("params_per_expert_billions")
    if total is not None and each and per_token and experts > 1:
        return float(total - max(0, experts - per_token) * each)
    whole, part = _published(base)
    if whole and part:
        return part if total is None else total * part / whole
    if (body.get("number_of_experts") or 0) > 1:
        raise BadRequest(
            f"'{row.id}' has {experts} experts, and nothing says how much of it one token uses",
            field="number_of_experts",
            reason="Give active_params_billions, or experts_per_token and params_per_expert_billions, or a "
            "benchmark_model_id of the same make.",
        )
    return None


def _media_of(media: Media, model: Model, base: Model) -> Media:
    """How a model makes pictures or sound that is made like another one; its denoiser grows with its size."""
    whole = _published(base)[0]
    if not media.denoiser_params_b or not whole or not model.total_params_b or model.total_params_b == whole:
        return replace(media, id=model.id)
    return replace(media, id=model.id, denoiser_params_b=media.denoiser_params_b * model.total_params_b / whole)
