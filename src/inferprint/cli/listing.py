"""Records of the catalogue as rows."""

from __future__ import annotations

from typing import Any

from inferprint.catalogue import Catalogue
from inferprint.quantities import Range
from inferprint.techniques.apply import available
from inferprint.techniques.base import Parameter, Technique

FIELDS = {
    "models": ("id", "developer", "modality", "total_params_b", "active_params_b", "context_length", "release_date"),
    "gpus": ("id", "name", "memory_gb", "memory_bandwidth_gb_per_s", "fp16_dense_tflops", "max_power_w"),
    "nodes": ("id", "gpu", "gpu_count", "host_active_power_w", "host_embodied_kgco2e"),
    "services": ("id", "name", "serving_class", "country", "pue", "output_tokens_per_s"),
    "speeds": ("id", "output_tokens_per_s", "basis", "measured", "time_to_first_token_s"),
    "regions": ("id", "location", "country", "grid_zone", "pue", "wue_l_per_kwh"),
    "grids": ("id", "name", "kind", "gco2e_per_kwh", "scope", "year", "water_l_per_kwh"),
    "precisions": ("id", "bytes_per_param", "arithmetic"),
    "sources": ("id", "title", "licence", "url"),
}
"""What is listed of each kind."""


def listing(catalogue: Catalogue, kind: str, query: str) -> list[dict[str, Any]]:
    """Records whose id or names contain `query`, ids in order."""
    if kind == "techniques":
        return [_technique(t) for _, t in sorted(available().items()) if query.lower() in t.name]
    if kind == "formats":
        return _formats(query.lower())
    wanted = query.lower().replace("_", "-")
    found = []
    for record in getattr(catalogue, kind).values():
        names = (record.id, *getattr(record, "names", ()), getattr(record, "name", ""))
        if any(wanted in name.lower().replace("_", "-") for name in names):
            found.append({field: _plain(getattr(record, field)) for field in FIELDS[kind]})
    return sorted(found, key=lambda row: str(row["id"]))


def _formats(query: str) -> list[dict[str, Any]]:
    """Formats of usage logs: what their counts mean, and where that was read."""
    from inferprint.usage.formats import formats

    return [
        {
            "id": form.name,
            "title": form.title,
            "files": ", ".join(form.kinds),
            "input_includes_cache": form.counts.input_includes_cache if form.counts else None,
            "output_includes_reasoning": form.counts.output_includes_reasoning if form.counts else None,
        }
        for name, form in sorted(formats().items())
        if query in name or query in form.title.lower()
    ]


def _technique(technique: Technique) -> dict[str, Any]:
    """A technique with what its parameters may be."""
    return {
        "id": technique.name,
        "meaning": technique.meaning,
        "stage": technique.stage,
        "parameters": "; ".join(_parameter(parameter) for parameter in technique.parameters),
    }


def _parameter(parameter: Parameter) -> str:
    default = f"{parameter.default:g}" if isinstance(parameter.default, float) else parameter.default or "none"
    return f"{parameter.name} ({parameter.allowed or 'text'}; {default})"


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Range) else value
