from __future__ import annotations

import pytest
from tests.setups import ESTIMATOR

from inferprint.planning import Place, Search, plan, what_if
from inferprint.planning.plan import configured
from inferprint.planning.what_if import COMPARED, TYPICAL_TECHNIQUES, ratios
from inferprint.techniques.apply import available

SEARCH = Search(
    model_id="llama-3.1-70b",
    gpu_ids=("h100_80gb_sxm",),
    gpu_counts=(4,),
    precisions=("fp8",),
    batch_sizes=(16.0,),
    places=(Place("country", "FR"),),
)


@pytest.fixture(scope="module")
def planned():
    return plan(SEARCH, ESTIMATOR)


@pytest.fixture(scope="module")
def changes(planned):
    return {(change.axis, change.to): change for change in what_if(planned).changes}


def test_no_change_changes_nothing(planned):
    base = planned.front[0]
    for ratio in ratios(planned.space, base, base).values():
        assert ratio == (1.0, 1.0, 1.0)


def test_the_base_is_what_was_stated(planned):
    base = what_if(planned).base
    assert (base.replica.gpu_id, base.devices, base.precision, base.batch_size) == ("h100_80gb_sxm", 4, "fp8", 16)


def test_a_ratio_is_that_of_two_estimates(planned, changes):
    base, space = planned.front[0], planned.space
    other = configured(space, base.replica, base.place, 32.0, base.steps, 0.0)
    found = changes["batch-size", "32"].ratios
    assert found["energy"].value == pytest.approx(
        other.result.usage_energy_wh.value / base.result.usage_energy_wh.value, rel=1e-9
    )
    assert found["throughput"].value == pytest.approx(
        other.ranges["tokens_per_s"].value / base.ranges["tokens_per_s"].value, rel=1e-9
    )


def test_errors_that_both_share_cancel(planned, changes):
    energy = planned.front[0].result.usage_energy_wh
    alone = energy.high / energy.low
    together = changes["batch-size", "32"].ratios["energy"]
    assert together.high / together.low < 1 + (alone - 1) / 4


def test_another_place_changes_neither_energy_nor_time(changes):
    ratios_of_place = changes["place", "SE"].ratios
    for name in ("time_per_output_token", "throughput"):
        assert ratios_of_place[name] == (1.0, 1.0, 1.0)
    assert ratios_of_place["energy"].value == pytest.approx(1.0)
    assert changes["place", "IN"].ratios["carbon"].value > 3


def test_halving_and_doubling_are_there(changes):
    assert {to for axis, to in changes if axis == "gpu-count"} == {"2", "8"}
    assert {to for axis, to in changes if axis == "batch-size"} == {"8", "32"}
    assert {to for axis, to in changes if axis == "precision"} == {"bf16", "int4"}


def test_usual_techniques_that_exist_are_tried(changes):
    known = {text for text in TYPICAL_TECHNIQUES if text.partition(":")[0] in available()}
    assert {to for axis, to in changes if axis == "technique"} == known
    assert changes["technique", "prefix-caching:hit_rate=0.5"].ratios["energy"].value < 1


def test_what_cannot_be_says_why_and_comes_last(planned):
    listed = what_if(planned).changes
    carbon = [change.ratios["carbon"].value for change in listed if change.ratios]
    assert carbon == sorted(carbon)
    refused = [change for change in listed if change.ratios is None]
    assert refused
    assert listed[-len(refused) :] == tuple(refused)
    assert {change.reason for change in refused} == {"does not fit"}


def test_a_technique_of_the_base_is_left_out():
    search = Search(
        model_id="llama-3.1-8b",
        gpu_ids=("h100_80gb_sxm",),
        gpu_counts=(1,),
        precisions=("bf16",),
        batch_sizes=(8.0,),
        techniques=(("prefix-caching:hit_rate=0.5",),),
    )
    changes = {change.to: change for change in what_if(plan(search, ESTIMATOR)).changes}
    assert changes["without prefix-caching:hit_rate=0.5"].ratios["energy"].value > 1


def test_json_has_a_ratio_or_an_error(planned):
    data = what_if(planned).to_dict()
    assert data["base"]["gpu_id"] == "h100_80gb_sxm"
    for change in data["changes"]:
        assert set(change) == {"axis", "to", *COMPARED, "error"}
        assert (change["error"] is None) == (change["carbon"] is not None)
