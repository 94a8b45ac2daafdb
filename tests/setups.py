"""Requests that between them touch every kind of hosting and of model; the same ones in several suites."""

from __future__ import annotations

from inferprint import Request
from inferprint.estimate import Estimator

ESTIMATOR = Estimator()
"""One estimator for all suites: cards are resolved once."""

SETUPS: dict[str, dict[str, object]] = {
    "own GPU, dense": {
        "model_id": "llama-3.1-8b", "gpu_id": "h100_80gb_sxm", "gpu_count": 1, "batch_size": 16, "country": "FR",
    },
    "node, dense": {"model_id": "llama-3.1-70b", "node_id": "generic:hgx-h100-8", "country": "US"},
    "cloud instance, mixture of experts": {
        "model_id": "mistralai/Mixtral-8x7B-Instruct-v0.1", "cloud_id": "aws", "cloud_instance_id": "p5.48xlarge",
        "cloud_region": "us-east-1",
    },
    "service, latent attention": {"model_id": "deepseek-v3", "managed_service_id": "deepseek"},
    "service, windowed attention": {"model_id": "gpt-oss-120b", "managed_service_id": "together", "country": "SE"},
    "service, stated size": {
        "model_id": "claude-opus-4-5", "managed_service_id": "anthropic", "total_params_b": 400.0,
        "active_params_b": 40.0,
    },
    "desk": {"model_id": "llama-3.1-8b", "gpu_id": "rtx_4090", "precision": "q4_k_m", "country": "DE"},
    "unstated": {"model_id": "qwen3-30b-a3b"},
    "region with its own figures": {
        "model_id": "llama-3.1-8b", "cloud_id": "gcp", "cloud_instance_id": "a3-highgpu-8g",
        "cloud_region": "us-central1", "batch_size": 24,
    },
    "residual mix": {
        "model_id": "gpt-oss-20b", "cloud_id": "aws", "cloud_instance_id": "p5.48xlarge",
        "cloud_region": "ap-southeast-2", "batch_size": 48,
    },
}  # fmt: skip

NAMES = sorted(SETUPS)


def request(setup: str, input_tokens: float = 1200, output_tokens: float = 300, **changes: object) -> Request:
    """A request of one of the setups."""
    work = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    return Request(**{**SETUPS[setup], **work, **changes})  # type: ignore[arg-type]
