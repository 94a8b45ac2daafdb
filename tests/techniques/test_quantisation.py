"""Quantisation of the weights: bytes per parameter, and what they do to a decode step."""

from __future__ import annotations

import pytest
from tests.setups import ESTIMATOR, request
from tests.techniques.serve import serve, serving
from tests.techniques.shapes import DENSE

from inferprint.errors import InvalidInput, UnknownName
from inferprint.techniques.apply import parse, rewritten_serving, stated_precision

LLAMA = ("llama-2-7b", "a100_80gb_sxm")
GPT_FAST = {"bf16": 104.9, "int8": 155.58, "int4": 196.8}
"""Llama-2-7B, A100 80 GB, batch 1 [tokens/s]: pytorch-labs/gpt-fast README.md@32971d31, 2024-09-15."""
INT8 = "quantisation:bits=8,unpacking=1.13"
INT4 = "quantisation:bits=4,group_size=32,zero_bits=16,unpacking=1.21"
"""Bits of that source; the unpacking is what its authors' kernels take over the bytes, and is fitted to these rows."""


def rate(*techniques: str, **how) -> float:
    return 1 / serve(*LLAMA, *techniques, lengths=(5.0, 200.0), **how).token_seconds


def bytes_of(text: str) -> float:
    return float(rewritten_serving(DENSE, parse([text])).shape.bytes_per_param)


@pytest.mark.parametrize(
    "text, bits",
    [
        ("bits=4,group_size=128", 4.125),  # GPTQ and AWQ: 4 + 16/128
        ("bits=4,group_size=32,zero_bits=16", 5.0),  # 4 + 32/32
        ("bits=4,group_size=32,scale_bits=8", 4.25),  # MXFP4
        ("bits=4,group_size=16,scale_bits=8", 4.5),  # NVFP4
        ("bits=8", 8.0),  # a scale per channel weighs nothing
        ("bits=4,group_size=32,scale_bits=8,kept_share=0.0181", 4.4627),  # 4.25 x 0.9819 + 16 x 0.0181
    ],
)
def test_bits_per_parameter(text, bits):
    assert bytes_of(f"quantisation:{text}") * 8 == pytest.approx(bits, abs=1e-4)


def test_a_checkpoint_of_mxfp4_experts():
    # gpt-oss-120b: 60.8 GiB (arXiv 2508.10925); 2.12e9 of its 116.83e9 parameters stay at 16 bits
    b = bytes_of("quantisation:bits=4,group_size=32,scale_bits=8,kept_share=0.018146")
    assert b * 116.83e9 / 2**30 == pytest.approx(60.8, rel=0.005)


@pytest.mark.parametrize("technique, measured", [("", "bf16"), (INT8, "int8"), (INT4, "int4")])
def test_measured_decode_rates(technique, measured):
    # Within 11 %: the measured devices were capped at 330 W of 400 W, so all three come out a tenth too fast.
    assert rate(*filter(None, [technique])) == pytest.approx(GPT_FAST[measured], rel=0.11)


@pytest.mark.parametrize("technique, measured", [(INT8, "int8"), (INT4, "int4")])
def test_measured_gain(technique, measured):
    assert rate(technique) / rate() == pytest.approx(GPT_FAST[measured] / GPT_FAST["bf16"], rel=0.02)


def test_weights_alone_leave_the_prompt_as_it_is():
    # llama.cpp and gpt-fast: prompts are never faster for weight-only formats. What falls here is the one weight read.
    full, small = (serve(*LLAMA, *t).prompt_seconds(4000.0) for t in ((), ("quantisation:bits=4",)))
    assert 0.95 * full < small <= full


def test_the_format_is_stated():
    assert stated_precision(parse(["quantisation:format=q4_k_m"])) == "q4_k_m"


def test_it_is_the_same_as_stating_the_precision():
    by_technique, by_field = (
        ESTIMATOR.estimate(request("own GPU, dense", **how)).usage_energy_wh
        for how in ({"techniques": ("quantisation:format=q4_k_m",)}, {"precision": "q4_k_m"})
    )
    assert by_technique == by_field


def test_bits_take_less_memory():
    smaller = serving("llama-3.1-8b", "h100_80gb_sxm", "quantisation:bits=4,group_size=128").shape
    assert smaller.bytes_per_param == 4.125 / 8


def test_a_format_that_does_not_exist_is_an_error():
    with pytest.raises(UnknownName) as caught:
        ESTIMATOR.estimate(request("own GPU, dense", techniques=("quantisation:format=q4_k_n",)))
    assert caught.value.kind == "precision"


@pytest.mark.parametrize("rest", ["format=int4,bits=4", "format=int4,kept_share=0.1", "group_size=32", "bits=0.5"])
def test_what_cannot_be_stated_together(rest):
    with pytest.raises(InvalidInput, match="quantisation"):
        ESTIMATOR.estimate(request("own GPU, dense", techniques=(f"quantisation:{rest}",)))
