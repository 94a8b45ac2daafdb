"""Records in the shapes of the API: packaged ones, and those of owners."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from inferprint.catalogue import Catalogue, Gpu, Model, Node
from inferprint.rates.per_second import manufacture_of
from inferprint.service.caller import GLOBAL_OWNER
from inferprint.service.catalogues import dashed, row_behind
from inferprint.service.own_records import REFERENCE_GPU, TRAINING, Kind, Row
from inferprint.service.record_schemas import GPU, MAX_ALIASES, DataType, Kept, TaskName
from inferprint.service.record_schemas import Model as ModelShape
from inferprint.service.record_schemas import Node as NodeShape
from inferprint.units import ML_PER_L

PACKAGED_BY = "inferprint"
"""Who made the packaged records."""

ADMINISTRATOR = "administrator"
"""Who made a record that everybody sees, for those who are none."""

SHAPES: Mapping[Kind, type[Kept]] = {"model": ModelShape, "node": NodeShape, "gpu": GPU}

Data = dict[str, Any]

_TASK_OF_MODALITY = {
    "text": "text-generation",
    "vision": "text-generation",
    "omni": "text-generation",
    "omni-in": "text-generation",
    "audio-in": "text-generation",
    "vision+audio": "text-generation",
    "audio-to-text": "speech-to-text",
    "image": "image-generation",
    "embedding": "text-embedding",
}
"""What models of a modality do, where their record of media does not say it in a word of the API."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A packaged record in its shape; or why that cannot hold it."""

    id: str
    data: Data | None
    why_not: str = ""


def shown_row(row: Row, *, to_admin: bool) -> Data:
    """A record as it was sent, in its shape; who made it is for its owner and for administrators."""
    fields = SHAPES[row.kind].model_fields
    data: Data = {name: row.body.get(name) for name in fields}
    if row.kind == "model":
        data["aliases"] = list(row.body.get("aliases") or ())
    return data | _keeper(row, to_admin=to_admin)


def _keeper(row: Row, *, to_admin: bool) -> Data:
    """Who keeps a record, and since when."""
    hidden = row.owner_id == GLOBAL_OWNER and not to_admin
    return {
        "customer_id": row.owner_id,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
        "created_by": ADMINISTRATOR if hidden else row.created_by,
    }


def shown_model(catalogue: Catalogue, model: Model) -> Data:
    """A model of a catalogue in the API's shape."""
    data: Data = dict.fromkeys(ModelShape.model_fields)
    data |= {
        "id": model.id,
        "aliases": [name for name in dict.fromkeys(model.names) if name != model.id][:MAX_ALIASES],
        "family": model.family or model.base_family or None,
        "hugging_face_path": model.hugging_face_path,
        "total_params_billions": model.total_params_b,
        "number_of_experts": model.experts,
        "params_per_expert_billions": model.params_per_expert_b,
        "datatype": model.native_precision if model.native_precision in get_args(DataType) else None,
        "task": _task_of(catalogue, model),
        "fine_tuned_from_model_id": model.fine_tuned_from,
        **{sent: getattr(model, name) for sent, name in TRAINING.items()},
    }
    return data | _kept(catalogue, "model", model.id)


def _task_of(catalogue: Catalogue, model: Model) -> str | None:
    """What a model is for, in a word of the API; None where there is none."""
    media = catalogue.media.get(model.id)
    of_media = next((task for task in media.tasks if task in get_args(TaskName)), None) if media is not None else None
    if of_media is not None or not model.text_generation:
        return of_media or _TASK_OF_MODALITY.get(model.modality if model.modality != "text" else "")
    return _TASK_OF_MODALITY.get(model.modality)


def shown_node(catalogue: Catalogue, node: Node) -> Data | None:
    """A node of a catalogue in the API's shape; None where that cannot hold it, see `why_no_node`."""
    if why_no_node(node):
        return None
    embodied = node.host_embodied_kgco2e
    return {
        "id": dashed(node.id),
        "cloud_id": node.cloud,
        "cloud_instance_id": node.instance,
        "managed_service_id": None,
        "gpu_id": node.gpu,
        "gpu_count": node.gpu_count,
        "cpu_count": node.vcpu_count,
        "idle_power_w_ex_gpu": node.host_idle_power_w,
        "average_utilization_rate": node.active_share,
        "embodied_emissions_kgco2e_ex_gpu": None if embodied is None else embodied.value,
        "embodied_water_l_ex_gpu": node.host_embodied_water_l,
        "use_life_years": node.use_life_years,
    } | _kept(catalogue, "node", node.id)


def why_no_node(node: Node) -> str:
    """Why the shape cannot hold a node; empty where it can."""
    if node.gpu is None:
        return f"{node.id} has no accelerator, and this answer needs gpu_id"
    return (
        f"the number of CPUs of {node.id} is not known, and this answer needs cpu_count" if not node.vcpu_count else ""
    )


def shown_gpu(catalogue: Catalogue, gpu: Gpu) -> Data | None:
    """A GPU of a catalogue in the API's shape; None where that cannot hold it, see `why_no_gpu`."""
    reference = catalogue.gpus[REFERENCE_GPU].memory_bandwidth_gb_per_s
    if why_no_gpu(gpu) or not gpu.memory_bandwidth_gb_per_s or not reference:
        return None
    return {
        "name": gpu.name,
        "id": gpu.id,
        "max_power_w": gpu.max_power_w,
        "embodied_emissions_kgco2e": manufacture_of(catalogue, gpu, "embodied_kgco2e").value,
        "embodied_water_mlh2o": manufacture_of(catalogue, gpu, "embodied_water_l").value * ML_PER_L,
        "performance_ratio_to_h200": gpu.memory_bandwidth_gb_per_s / reference,
        "ols_coefficient_gpu_count": 0.0,
        "ols_intercept": 0.0,
    } | _kept(catalogue, "gpu", gpu.id)


def why_no_gpu(gpu: Gpu) -> str:
    """Why the shape cannot hold a GPU; empty where it can."""
    needed = {"max_power_w": gpu.max_power_w, "performance_ratio_to_h200": gpu.memory_bandwidth_gb_per_s}
    missing = [name for name, value in needed.items() if not value]
    return f"{', '.join(missing)} of {gpu.name} is not known, and this answer needs it" if missing else ""


def _kept(catalogue: Catalogue, kind: Kind, key: str) -> Data:
    """Who keeps a record of a catalogue, as far as all may know."""
    row = row_behind(catalogue, kind, key)
    if row is not None:
        return _keeper(row, to_admin=False)
    day = catalogue.version.split("+")[0]
    moment = f"{day}T00:00:00+00:00"
    return {"customer_id": GLOBAL_OWNER, "created_at": moment, "updated_at": moment, "created_by": PACKAGED_BY}


@functools.lru_cache(maxsize=2 * len(SHAPES))
def packaged(catalogue: Catalogue, kind: Kind) -> Mapping[str, Shown]:
    """The packaged records of a kind by their ids in the catalogue, in the order of the ids that are shown."""
    if kind == "model":
        found = {key: Shown(key, shown_model(catalogue, model)) for key, model in catalogue.models.items()}
    elif kind == "node":
        found = {
            key: Shown(dashed(key), shown_node(catalogue, node), why_no_node(node))
            for key, node in catalogue.nodes.items()
        }
    else:
        found = {key: Shown(key, shown_gpu(catalogue, gpu), why_no_gpu(gpu)) for key, gpu in catalogue.gpus.items()}
    return dict(sorted(found.items(), key=lambda item: item[1].id))
