"""A dense model and a mixture of experts as they are served, and a request, for suites of the techniques."""

from __future__ import annotations

from inferprint.physics.serving import Memory, Serving
from inferprint.physics.terms import ModelShape

MEMORY = Memory(device_bytes=80e9, usable=0.9, overhead=0.025, work_bytes=2e9, block_tokens=16.0)

DENSE = Serving(
    ModelShape(
        total_params=70.55e9, active_params=70.55e9, expert_share=1.0, bytes_per_param=2.0, layers=80.0, moe_layers=0.0,
        state_space_layers=0.0, hidden_size=8192.0, attention_width=80 * 8192.0, windowed_attention_width=0.0,
        kv_bytes_per_token=327680.0, windowed_kv_bytes_per_token=0.0, window_tokens=0.0, kv_heads=8.0,
    ),
    MEMORY,
)  # fmt: skip

SPARSE = Serving(
    ModelShape(
        total_params=116.8e9, active_params=5.1e9, expert_share=4 / 128, bytes_per_param=0.53, layers=36.0,
        moe_layers=36.0, state_space_layers=0.0, hidden_size=2880.0, attention_width=18 * 4096.0,
        windowed_attention_width=18 * 4096.0, kv_bytes_per_token=36864.0, windowed_kv_bytes_per_token=36864.0,
        window_tokens=128.0, quantised_moe_layers=36.0, kv_heads=8.0, experts_per_token=4.0,
    ),
    MEMORY,
)  # fmt: skip

WORK = {
    "input_tokens": 2000.0,
    "cached_input_tokens": 100.0,
    "output_tokens": 10.0,
    "n_requests": 1.0,
    "media_prompts": 0.0,
    "measured_seconds": 0.0,
}
