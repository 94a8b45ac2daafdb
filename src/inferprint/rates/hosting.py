"""Who runs the model, on what: one stated machine, or the machines that a service is likely to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inferprint.catalogue import (
    Catalogue,
    Gpu,
    Node,
    Service,
    resolve_gpu,
    resolve_node,
    resolve_service,
)
from inferprint.errors import DoesNotFit, InvalidInput, Undisclosed
from inferprint.provenance.trace import Trail
from inferprint.rates.setup import MachineSetup

Kind = Literal["service", "cloud", "own", "desk"]

UNSTATED = "unstated"
"""Id of the service record that stands for a host of which nothing is known."""

DESK_CLASSES = ("consumer", "apple", "workstation", "embedded")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An accelerator that may run the model, in a node whose host serves it."""

    gpu: Gpu
    node: Node | None
    weight: float


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where the model runs.

    Attributes
    ----------
    pool
        Devices that are there; None where nobody said.
    stated
        True where the caller named the hardware and how much of it.
    """

    kind: Kind
    service: Service | None
    candidates: tuple[Candidate, ...]
    pool: int | None
    stated: bool


def find_hosting(catalogue: Catalogue, setup: MachineSetup, trail: Trail) -> Hosting:
    """Turn node, instance, GPU or service into candidates, and record what was assumed.

    Raises
    ------
    UnknownName
        A name that the catalogue does not hold.
    InvalidInput
        Names that contradict each other.
    """
    if setup.gpu_count is not None and setup.gpu_count < 1:
        raise InvalidInput("gpu_count", f"{setup.gpu_count} devices", hint="Give 1 or more, or leave it out.")
    node = _stated_node(catalogue, setup)
    service = resolve_service(catalogue, setup.managed_service_id) if setup.managed_service_id else None
    if node is not None:
        _check_cloud(catalogue, setup, node, service)
        return _on_node(catalogue, setup, node, service, trail)
    if setup.gpu_id:
        return _on_gpu(catalogue, setup, service, trail)
    if setup.gpu_count is not None:
        raise InvalidInput("gpu_count", "given without a GPU", hint="Add --gpu ID, or use --node or --instance.")
    if service is not None:
        return _on_service(catalogue, service, trail)
    unstated = catalogue.services[UNSTATED]
    candidates = _mix(catalogue, unstated)
    names = ", ".join(unstated.hardware_mix)
    reason = "no service, node or GPU stated: accelerators of common hosts"
    trail.add("hardware", names, "", "assumed", reason, unstated.origin("hardware_mix"))
    return Hosting("service", None, candidates, None, False)


def _stated_node(catalogue: Catalogue, setup: MachineSetup) -> Node | None:
    """The node or cloud instance that the caller named."""
    if setup.cloud_instance_id and not setup.cloud_id:
        raise InvalidInput("cloud_instance_id", f"'{setup.cloud_instance_id}' without a cloud", hint="Add --cloud.")
    if setup.node_id and setup.cloud_instance_id:
        raise InvalidInput("node_id", "given beside a cloud instance", hint="Give one of them.")
    if setup.cloud_instance_id:
        return resolve_node(catalogue, f"{setup.cloud_id}:{setup.cloud_instance_id}")
    return resolve_node(catalogue, setup.node_id) if setup.node_id else None


def _check_cloud(catalogue: Catalogue, setup: MachineSetup, node: Node, service: Service | None) -> None:
    """A cloud's instance agrees with the stated cloud, and with a service that runs on one cloud alone."""
    if node.cloud in ("generic", "local") or node.cloud not in {known.cloud for known in catalogue.nodes.values()}:
        return
    if setup.cloud_id and setup.cloud_id.lower() != node.cloud:
        raise InvalidInput("cloud_id", f"{setup.cloud_id} contradicts {node.id}", hint="Give one of them.")
    if service is not None and len(service.clouds) == 1 and service.clouds[0] != node.cloud:
        raise InvalidInput("managed_service_id", f"{service.name} runs on {service.clouds[0]}, not on {node.id}")


def _on_node(catalogue: Catalogue, setup: MachineSetup, node: Node, service: Service | None, trail: Trail) -> Hosting:
    """A machine or instance of the catalogue."""
    if node.gpu is None or node.gpu_count < 1:
        raise InvalidInput("node_id", f"{node.id} has no accelerator", hint="For CPUs: --gpu cpu_generic_2s.")
    if setup.gpu_id and resolve_gpu(catalogue, setup.gpu_id).id != node.gpu:
        raise InvalidInput("gpu_id", f"{setup.gpu_id} contradicts {node.id}, which holds {node.gpu}")
    if setup.gpu_count is not None and setup.gpu_count > node.gpu_count:
        raise InvalidInput("gpu_count", f"{setup.gpu_count} exceeds the {node.gpu_count} devices of {node.id}")
    gpu = catalogue.gpus[node.gpu]
    pool = setup.gpu_count or node.gpu_count
    trail.add("node_id", node.id, "", "given", f"{node.gpu_count} x {gpu.name}", node.origin("gpu_count"))
    own: Kind = "cloud" if node.cloud not in ("generic", "local") else "desk" if node.cloud == "local" else "own"
    kind: Kind = "service" if service is not None else own
    return Hosting(kind, service, (Candidate(gpu, node, 1.0),), pool, True)


def _on_gpu(catalogue: Catalogue, setup: MachineSetup, service: Service | None, trail: Trail) -> Hosting:
    """A named accelerator without a node: the host of its reference node is assumed."""
    gpu = resolve_gpu(catalogue, setup.gpu_id or "")
    trail.add("gpu_id", gpu.id, "", "given", gpu.name, gpu.origin("name"))
    candidate = _candidate(catalogue, gpu.id, 1.0)
    if candidate.node is not None and gpu.power_boundary != "system":
        trail.add(
            "host", candidate.node.id, "", "assumed", f"no node stated: the host of the reference node of {gpu.id}"
        )
    kind: Kind = "service" if service else "desk" if on_a_desk(gpu) else "own"
    return Hosting(kind, service, (candidate,), setup.gpu_count, setup.gpu_count is not None)


def on_a_desk(gpu: Gpu) -> bool:
    """Whether an accelerator usually stands on a desk: no data centre around it, one request at a time."""
    return gpu.device_class in DESK_CLASSES or (gpu.device_class == "cpu" and gpu.power_boundary == "system")


def _on_service(catalogue: Catalogue, service: Service, trail: Trail) -> Hosting:
    """A managed endpoint: the accelerators that answer its requests, each with its share."""
    if service.serving_class == "router":
        raise Undisclosed(
            f"{service.name} routes requests to other hosts and runs none itself",
            hint="Name the host that answered, with --service; routers state it in their response.",
            field="managed_service_id",
        )
    if not service.hardware_mix:
        raise InvalidInput(
            "managed_service_id", f"{service.id} says nothing about hardware", hint="Add --gpu or --node."
        )
    names = ", ".join(service.hardware_mix)
    reason = "accelerators of the service, drawn by their shares of requests"
    trail.add("hardware", names, "", "assumed", reason, service.origin("hardware_mix"))
    return Hosting("service", service, _mix(catalogue, service), None, False)


def _mix(catalogue: Catalogue, service: Service) -> tuple[Candidate, ...]:
    """The accelerators of a service by their shares of requests."""
    return tuple(_candidate(catalogue, name, share.value) for name, share in service.hardware_mix.items())


def _candidate(catalogue: Catalogue, gpu_id: str, weight: float) -> Candidate:
    gpu = catalogue.gpus[gpu_id]
    node = catalogue.nodes[gpu.reference_node] if gpu.reference_node else None
    return Candidate(gpu, node, weight)


def why_not(gpu: Gpu) -> str | None:
    """Why the forms cannot be applied to an accelerator, or None."""
    if gpu.memory_kind == "sram":
        return f"{gpu.name} computes from on-chip memory, which the forms do not describe"
    needed = {
        "memory": gpu.memory_gb,
        "memory bandwidth": gpu.memory_bandwidth_gb_per_s,
        "16-bit FLOP/s": gpu.fp16_dense_tflops,
        "power limit": gpu.max_power_w,
    }
    missing = [name for name, value in needed.items() if value is None]
    return f"not published for {gpu.name}: {', '.join(missing)}" if missing else None


def usable_candidates(hosting: Hosting, trail: Trail) -> tuple[Candidate, ...]:
    """Candidates that the forms can describe.

    Raises
    ------
    Undisclosed
        None is left.
    """
    usable = tuple(c for c in hosting.candidates if why_not(c.gpu) is None)
    refused = [reason for c in hosting.candidates if (reason := why_not(c.gpu))]
    if not usable:
        hint = "Name other hardware with --gpu or --node, or add values with --catalog DIR."
        field = "managed_service_id" if hosting.service is not None else "gpu_id"
        raise Undisclosed(refused[0], hint=hint, field=field)
    for reason in refused:
        trail.warnings.append(f"left out: {reason}")
    return usable


def does_not_fit(model: str, where: str, needed: float, available: float, fewest: float) -> DoesNotFit:
    """The error for a model that the stated hardware cannot hold; `fewest` devices of its kind would."""
    enough = f"Fewest that hold it: {fewest:g}. " if fewest < float("inf") else ""
    return DoesNotFit(
        f"{model} needs {needed:,.0f} bytes on {where}, which has {available:,.0f} usable bytes",
        needed_bytes=needed,
        available_bytes=available,
        hint=f"{enough}Use more or larger devices (--gpu-count, --node) or fewer bits (--precision).",
    )
