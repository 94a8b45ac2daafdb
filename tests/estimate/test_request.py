"""Requests that cannot be: each error names the field."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inferprint import Request, estimate
from inferprint.errors import InvalidInput
from inferprint.estimate.request import FIELDS, TIME_FIELDS, TOKEN_FIELDS, WRITTEN_FIELDS, suspects, validated

BASE = {"model_id": "llama-3.1-8b", "input_tokens": 1000, "output_tokens": 200}

WRONG = [
    *[(field, value) for field in TOKEN_FIELDS for value in (-1, 1.5, "12", True, math.nan, math.inf, 2e8)],
    *[(field, None) for field in TOKEN_FIELDS if field not in WRITTEN_FIELDS],
    *[("n_requests", value) for value in (0, -3, 1.5, None, "2", math.nan)],
    ("cached_input_tokens", 1001),
    ("reasoning_tokens", 201),
    ("method", "guess"),
    *[(field, value) for field in TIME_FIELDS for value in (0, -5, math.nan, math.inf, 1e12, "12", True)],
]


@pytest.mark.parametrize("field, value", WRONG)
def test_an_impossible_value_names_its_field(field, value):
    with pytest.raises(InvalidInput) as caught:
        validated(Request(**{**BASE, field: value}))
    # Cache writes beyond the prompt are reported with the reads that they add up with.
    assert caught.value.field in (field, "cached_input_tokens") if field == "cache_write_tokens" else (field,)


NUMBERS = [
    "batch_size", "active_share", "pue", "wue_l_per_kwh", "grid_gco2e_per_kwh", "grid_market_gco2e_per_kwh",
    "grid_water_l_per_kwh", "total_params_b", "active_params_b",
]  # fmt: skip


@pytest.mark.parametrize("field", NUMBERS)
def test_text_for_a_number_names_its_field(field):
    with pytest.raises(InvalidInput) as caught:
        estimate(**{**BASE, field: "8"})
    assert caught.value.field == field


@pytest.mark.parametrize("field", ["gpu_count", "replica_gpu_count"])
def test_devices_are_whole(field):
    with pytest.raises(InvalidInput) as caught:
        estimate(**{**BASE, "gpu_id": "h100_80gb_sxm", "gpu_count": 4, field: 1.5})
    assert caught.value.field == field


def test_reads_and_writes_of_a_cache_share_the_prompt():
    with pytest.raises(InvalidInput) as caught:
        validated(Request(**BASE, cached_input_tokens=600, cache_write_tokens=500))
    assert "1100" in caught.value.message


def test_a_prompt_may_be_all_cached_or_written():
    assert validated(Request(**BASE, cached_input_tokens=600, cache_write_tokens=400))


def test_a_row_of_many_may_hold_more_tokens_than_one_request():
    assert validated(Request(**{**BASE, "input_tokens": 5e8}, n_requests=10))


def test_two_measured_times_are_one_too_many():
    with pytest.raises(InvalidInput, match="Give one of them"):
        validated(Request(**BASE, time_per_output_token_ms=10, request_duration_ms=1000))


def test_a_duration_without_tokens_says_nothing():
    with pytest.raises(InvalidInput) as caught:
        validated(Request(model_id="llama-3.1-8b", input_tokens=0, output_tokens=0, request_duration_ms=10))
    assert caught.value.field == "request_duration_ms"


@pytest.mark.parametrize("value", [7, 7.0, np.int64(7), np.float64(7)], ids=lambda v: type(v).__name__)
def test_any_whole_number_will_do(value):
    assert validated(Request(**{**BASE, "output_tokens": value}))


@pytest.mark.parametrize("field", ["model_id", "input_tokens", "output_tokens"])
def test_a_missing_field_is_named(field):
    with pytest.raises(InvalidInput) as caught:
        estimate(**{name: value for name, value in BASE.items() if name != field})
    assert (caught.value.field, caught.value.message) == (field, f"{field}: is missing")


def test_a_field_that_does_not_exist_is_named():
    with pytest.raises(InvalidInput) as caught:
        estimate(**BASE, tokens=3)
    assert caught.value.field == "tokens"


def test_an_error_about_a_field_lists_those_that_exist():
    with pytest.raises(InvalidInput, match="input_tokens"):
        estimate(**BASE, tokens=3)


API = {
    "model_id", "managed_service_id", "cloud_id", "cloud_region", "cloud_instance_id", "node_id", "country",
    "input_tokens", "output_tokens", "request_duration_ms",
}  # fmt: skip


def test_fields_have_the_names_of_the_api():
    assert set(FIELDS) >= API


ROWS = [
    {},
    {"input_tokens": -1},
    {"input_tokens": 1.5},
    {"output_tokens": None},
    {"output_tokens": 2e8},
    {"n_requests": 0},
    {"cached_input_tokens": 1001},
    {"cached_input_tokens": 600, "cache_write_tokens": 500},
    {"reasoning_tokens": 201},
    {"time_per_output_token_ms": -1},
    {"time_per_output_token_ms": 3, "request_duration_ms": 3},
    {"request_duration_ms": 1e12},
    {"input_tokens": 0, "output_tokens": 0},
    {"input_tokens": 0, "output_tokens": 0, "request_duration_ms": 5},
]


def refused(row) -> bool:
    try:
        validated(Request(**{**BASE, **row}))
    except InvalidInput:
        return True
    return False


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_whole_column_is_suspected_where_a_row_is_refused(row):
    plain = {**dict.fromkeys(TOKEN_FIELDS, 0), "n_requests": 1, **dict.fromkeys(TIME_FIELDS, math.nan), **BASE, **row}
    columns = {name: np.array([plain[name]], dtype=float) for name in (*TOKEN_FIELDS, "n_requests", *TIME_FIELDS)}
    assert suspects(columns).tolist() == [refused(row)]
