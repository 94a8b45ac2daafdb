from __future__ import annotations

from dataclasses import replace

import pytest
from tests.setups import ESTIMATOR

from inferprint import Request
from inferprint.errors import DoesNotFit, InvalidInput, UnknownName
from inferprint.planning import Axis, axis_of, sweep
from inferprint.planning.sweep import AXES, QUANTITIES, UNITS, check_beside, quantity_of

CATALOGUE = ESTIMATOR.catalogue
REQUEST = Request(model_id="llama-3.1-70b", input_tokens=1200, output_tokens=300, gpu_id="h100_80gb_sxm", country="FR")


def axis(text):
    return axis_of(CATALOGUE, text)


def test_every_cell_is_an_ordinary_estimate():
    found = sweep(REQUEST, [axis("batch-size=1..8"), axis("precision=bf16,fp8")], estimator=ESTIMATOR)
    assert [cell.at for cell in found.cells] == [(b, p) for b in (1, 2, 4, 8) for p in ("bf16", "fp8")]
    for cell in found.cells:
        batch, precision = cell.at
        alone = ESTIMATOR.estimate(
            Request(
                model_id="llama-3.1-70b",
                input_tokens=1200,
                output_tokens=300,
                gpu_id="h100_80gb_sxm",
                country="FR",
                batch_size=batch,
                precision=precision,
            )
        )
        assert cell.range == alone.usage_energy_wh


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_quantity_has_a_unit_and_an_interval(quantity):
    assert UNITS[quantity]
    found = quantity_of(ESTIMATOR.estimate(REQUEST), quantity)
    assert found is None or found.low <= found.value <= found.high


def test_serving_quantities_agree_with_each_other():
    result = ESTIMATOR.estimate(REQUEST)
    batch, per_token = quantity_of(result, "batch_size"), quantity_of(result, "time_per_output_token_ms")
    tokens = quantity_of(result, "tokens_per_s")
    assert tokens.value == pytest.approx(batch.value * 300 / (result.duration_ms.value / 1e3))
    assert per_token.value < result.duration_ms.value / 300


def test_a_request_without_an_answer_has_no_time_per_token():
    request = Request(model_id="llama-3.1-8b", input_tokens=100, output_tokens=0, gpu_id="h100_80gb_sxm")
    assert quantity_of(ESTIMATOR.estimate(request), "time_per_output_token_ms") is None


def test_what_cannot_be_is_a_cell_with_its_error():
    found = sweep(REQUEST, [axis("gpu-count=1..8")], estimator=ESTIMATOR)
    assert [cell.why for cell in found.cells] == ["does not fit", "does not fit", "", ""]
    plain = found.to_dict()["cells"]
    assert plain[0]["usage_energy_wh"] is None
    assert plain[0]["error"]["type"] == "DoesNotFit"
    assert plain[3]["error"] is None


def test_a_sweep_of_which_nothing_can_be_is_an_error():
    with pytest.raises(DoesNotFit):
        sweep(REQUEST, [axis("gpu-count=1,2")], estimator=ESTIMATOR)


def test_a_limit_that_is_not_met_is_a_cell():
    found = sweep(REQUEST, [axis("max-time-per-output-token-ms=0.1,50")], "batch_size", ESTIMATOR)
    assert [cell.why for cell in found.cells] == ["limit not met", ""]


def test_counts_are_those_of_the_replica():
    found = sweep(REQUEST, [axis("gpu-count=4,8")], "time_per_output_token_ms", ESTIMATOR)
    assert found.cells[1].range.value < found.cells[0].range.value


def test_warnings_of_single_cells_are_told_from_those_of_all():
    found = sweep(replace(REQUEST, gpu_count=8), [axis("batch-size=1,20000")], estimator=ESTIMATOR)
    assert any("exceed" in text for text in found.cells[1].warnings)
    assert not any("exceed" in text for text in found.common_warnings)


@pytest.mark.parametrize("name", AXES)
def test_every_axis_refuses_nothing(name):
    for text in (name, f"{name}=", f"{name}= "):
        with pytest.raises(InvalidInput, match=f"{name} has no values"):
            axis(text)


@pytest.mark.parametrize(
    "text, error, field",
    [
        ("batch=1", UnknownName, ""),
        ("gpu=h10", UnknownName, "gpu_id"),
        ("node=x", UnknownName, "node_id"),
        ("precision=fp7", UnknownName, "precision"),
        ("country=ZZ", UnknownName, "country"),
        ("region=aws:nowhere", UnknownName, "cloud_region"),
        ("technique=cachin", UnknownName, "techniques"),
        ("engine=vlm", InvalidInput, "engine"),
        ("batch-size=0", InvalidInput, "batch_size"),
        ("batch-size=1e9", InvalidInput, "batch_size"),
        ("batch-size=9..3", InvalidInput, "batch_size"),
        ("gpu-count=1.5", InvalidInput, "gpu_count"),
        ("input-tokens=-1", InvalidInput, "input_tokens"),
        ("pue=0.9", InvalidInput, "pue"),
        ("active-share=0", InvalidInput, "active_share"),
        ("grid-gco2e-per-kwh=x", InvalidInput, "grid_gco2e_per_kwh"),
        ("max-time-per-output-token-ms=0", InvalidInput, "max_time_per_output_token_ms"),
    ],
)
def test_values_that_cannot_be_name_their_field(text, error, field):
    with pytest.raises(error) as refused:
        axis(text)
    assert refused.value.field == field


def test_axes_that_cannot_be_together_are_refused():
    one = axis("batch-size=1")
    for axes in ([], [one, one], [one, axis("pue=1.1"), axis("country=FR")], [Axis("pue", "pue", ())]):
        with pytest.raises(InvalidInput, match="over: "):
            sweep(REQUEST, axes, estimator=ESTIMATOR)
    many = [Axis("pue", "pue", tuple(range(200))), Axis("batch-size", "batch_size", tuple(range(200)))]
    with pytest.raises(InvalidInput, match="40,000 cells"):
        sweep(REQUEST, many, estimator=ESTIMATOR)


def test_an_option_beside_its_axis_is_refused():
    with pytest.raises(InvalidInput, match="given beside --over batch-size"):
        check_beside([axis("batch-size=1")], {"batch_size": 4.0})
    with pytest.raises(InvalidInput, match="max_ttft_ms: given beside --over batch-size"):
        check_beside([axis("batch-size=1")], {"max_ttft_ms": 4.0})


def test_an_unknown_quantity_names_the_nearest():
    with pytest.raises(UnknownName, match="usage_energy_wh"):
        sweep(REQUEST, [axis("pue=1.1")], "usage_energy", ESTIMATOR)


def test_techniques_are_an_axis():
    found = sweep(REQUEST, [axis("technique=none,prefix-caching:hit_rate=0.5")], estimator=ESTIMATOR)
    assert [found.axes[0].label(value) for value in found.axes[0].values] == ["none", "prefix-caching:hit_rate=0.5"]
    assert found.cells[1].range.value < found.cells[0].range.value
