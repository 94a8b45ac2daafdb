"""A plan: its front, its limits, its errors, and that every number is the one of an ordinary estimate."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from tests.setups import ESTIMATOR

from inferprint.errors import DoesNotFit, InferprintError, InvalidInput, LimitNotMet, Undisclosed, UnknownName
from inferprint.planning import OBJECTIVES, Place, Search, plan
from inferprint.planning.evaluate import evaluated
from inferprint.planning.plan import configuration_at
from inferprint.planning.space import current_gpus, space_of

MODEL = "llama-3.1-70b"
SMALL = Search(
    model_id=MODEL,
    gpu_ids=("h100_80gb_sxm", "b200_180gb_sxm"),
    gpu_counts=(4, 8),
    batch_sizes=(1.0, 8.0, 64.0),
    places=(Place("country", "FR"), Place("cloud_region", "aws:us-east-1")),
    objectives=tuple(name for name in OBJECTIVES if name != "cost"),
)


def found(**changes):
    return plan(replace(SMALL, **changes), ESTIMATOR)


def test_every_configuration_is_counted():
    result = found()
    # 2 accelerators, 2 counts, 3 formats, 3 batches, 2 places; all of them fit.
    assert result.configurations == 2 * 2 * 3 * 3 * 2
    assert result.fitting == result.feasible == result.configurations
    assert result.excluded == {}


def test_nothing_beats_what_is_on_the_front():
    result = found(top=10_000)
    columns = [o.sign * result.found.values[o.column] for o in result.objectives]
    everything = np.stack(columns, axis=1)
    for row in result.front_rows:
        assert not np.any(np.all(everything <= everything[row], axis=1) & np.any(everything < everything[row], axis=1))
    assert result.on_front == len(result.front)


def test_the_front_is_sorted_by_the_first_objective_and_cut():
    result = found(objectives=("time-per-output-token", "energy"), top=3)
    times = [c.ranges["time_per_output_token_ms"].value for c in result.front]
    assert times == sorted(times)
    assert len(result.front) == 3 < result.on_front


SETUPS = {
    "default lengths": SMALL,
    "own lengths and stated place": replace(
        SMALL, input_tokens=5000, output_tokens=50, cached_input_tokens=1000, pue=1.1, active_share=0.5, engine="vllm"
    ),
    "techniques": replace(
        SMALL,
        techniques=(("prefix-caching:hit_rate=0.5",), ("prefix-caching:hit_rate=0.5", "data-parallel:ranks=2")),
    ),
    "technique that sets the format": replace(SMALL, techniques=(("quantisation:format=fp8",),)),
    "node": replace(SMALL, gpu_ids=(), node_ids=("generic:hgx-h100-8", "aws:p5.48xlarge")),
    "desk": replace(SMALL, model_id="llama-3.1-8b", gpu_ids=("rtx_4090",), gpu_counts=(1, 2)),
    "undisclosed size": replace(SMALL, model_id="gpt-4o", gpu_ids=("h200_141gb_sxm",), gpu_counts=(16,)),
    "mixture of experts": replace(SMALL, model_id="gpt-oss-120b", places=(Place(),)),
}
SAME = {
    "usage_energy_wh": lambda r: r.usage_energy_wh.value,
    "usage_emissions_gco2e": lambda r: r.usage_emissions_gco2e.value,
    "embodied_emissions_gco2e": lambda r: r.embodied_emissions_gco2e.value,
    "usage_water_ml": lambda r: r.usage_water_ml.value,
    "embodied_water_ml": lambda r: r.embodied_water_ml.value,
    "duration_ms": lambda r: r.duration_ms.value,
    "carbon_gco2e": lambda r: r.usage_emissions_gco2e.value + r.embodied_emissions_gco2e.value,
    "water_ml": lambda r: r.usage_water_ml.value + r.embodied_water_ml.value,
}


@pytest.mark.parametrize("name", SETUPS)
def test_the_search_gives_the_numbers_of_an_ordinary_estimate(name):
    rows = evaluated(space_of(SETUPS[name], ESTIMATOR))
    for row in range(0, len(rows.batch), max(len(rows.batch) // 7, 1)):
        configuration = configuration_at(rows, row)
        for column, of in SAME.items():
            assert rows.values[column][row] == pytest.approx(of(configuration.result), rel=1e-9), rows.name(row)
            assert rows.values[column][row] == pytest.approx(configuration.ranges[column].value, rel=1e-9)
        for column in ("time_per_output_token_ms", "ttft_ms", "tokens_per_s", "tokens_per_s_per_device"):
            assert rows.values[column][row] == pytest.approx(configuration.ranges[column].value, rel=1e-9)
        assert configuration.request.batch_size == rows.batch[row]
        assert configuration.devices == rows.values["devices"][row]


def test_times_add_up_to_the_duration():
    rows = evaluated(space_of(SMALL, ESTIMATOR)).values
    n_out = 300
    # The first token waits for one decode step of the others beside the prompt.
    expected = rows["ttft_ms"] + (n_out - 1) * rows["time_per_output_token_ms"]
    np.testing.assert_allclose(rows["duration_ms"], expected, rtol=1e-9)


def test_a_replica_answers_its_batch_in_the_time_of_a_request():
    rows = evaluated(space_of(SMALL, ESTIMATOR))
    expected = rows.batch * 300 / (rows.values["duration_ms"] / 1e3)
    # The limit on power stretches the time of some by little.
    np.testing.assert_allclose(rows.values["tokens_per_s"], expected, rtol=0.03)
    assert np.all(rows.values["tokens_per_s"] <= expected * (1 + 1e-9))


def test_empty_places_of_a_static_batch_yield_no_tokens():
    search = replace(SMALL, batch_sizes=(32.0,), techniques=((), ("batching:kind=static",)))
    rows = evaluated(space_of(search, ESTIMATOR))
    kinds = [bool(rows.replicas[index].techniques) for index in rows.replica]
    tokens = rows.values["tokens_per_s"]
    static = [tokens[i] for i, kind in enumerate(kinds) if kind]
    continuous = [tokens[i] for i, kind in enumerate(kinds) if not kind]
    # The longest of 32 answers is 4.06 mean ones; prompts are computed once all the same.
    ratios = np.array(continuous) / np.array(static)
    assert np.all((ratios > 2.5) & (ratios < 4.06))


def test_prompts_on_other_devices_take_as_many_as_their_pace_needs():
    search = replace(
        SMALL,
        input_tokens=4000.0,
        output_tokens=200.0,
        batch_sizes=(64.0,),
        techniques=tuple((f"disaggregation:prefill_devices={n}",) for n in (4, 8)),
    )
    rows = evaluated(space_of(search, ESTIMATOR))
    replicas = np.array([rows.replicas[index].gpu_count for index in rows.replica])
    assert np.all(rows.values["devices"] > replicas)
    per_device = rows.values["tokens_per_s_per_device"]
    assert np.allclose(per_device * rows.values["devices"], rows.values["tokens_per_s"])
    # Eight prompt devices take a prompt in half the time of four: about as many are needed.
    keys = [replace(rows.replicas[index], techniques=()) for index in rows.replica]
    apart = [[per_device[i] for i, other in enumerate(keys) if other == key] for key in set(keys)]
    assert all(max(pair) < 1.3 * min(pair) for pair in apart if len(pair) == 2)


def test_cost_is_that_of_the_devices_time():
    search = replace(SMALL, usd_per_gpu_hour={"": 2.0, "b200_180gb_sxm": 6.0}, active_share=0.5)
    rows = evaluated(space_of(search, ESTIMATOR))
    full = evaluated(space_of(replace(search, active_share=1.0), ESTIMATOR))
    np.testing.assert_allclose(rows.values["cost_usd"], 2 * full.values["cost_usd"], rtol=1e-12)
    for row in range(len(full.batch)):
        configuration = configuration_at(full, row)
        card = configuration.result.machine
        seconds = float(card.draws.seconds[0] @ configuration.result.features)
        price = 6.0 if configuration.replica.gpu_id == "b200_180gb_sxm" else 2.0
        assert full.values["cost_usd"][row] == pytest.approx(price * configuration.devices * seconds / 3600)


def test_an_unknown_cost_is_unknown_and_never_zero():
    prices = {"h100_80gb_sxm": 2.0}
    result = found(usd_per_gpu_hour=prices, top=1000)
    unpriced = [c for c in result.front if c.replica.gpu_id == "b200_180gb_sxm"]
    assert unpriced
    assert all(c.ranges["cost_usd"] is None and c.to_dict()["cost_usd"] is None for c in unpriced)
    # As an objective, what has no price cannot compete.
    result = found(usd_per_gpu_hour=prices, objectives=("cost", "energy"))
    assert {c.replica.gpu_id for c in result.front} == {"h100_80gb_sxm"}
    assert result.excluded == {"usd_per_gpu_hour": result.fitting // 2}


@pytest.mark.parametrize(
    "limit, bound, column, sign",
    [
        ("max_time_per_output_token_ms", 20.0, "time_per_output_token_ms", 1),
        ("max_ttft_ms", 60.0, "ttft_ms", 1),
        ("max_memory_gb", 120.0, "memory_gb", 1),
        ("max_devices", 4, "devices", 1),
        ("min_tokens_per_s", 500.0, "tokens_per_s", -1),
    ],
)
def test_a_limit_is_kept_and_counted(limit, bound, column, sign):
    result = found(**{limit: bound})
    values = sign * result.found.values[column]
    assert np.all(values[result.feasible_rows] <= sign * bound)
    assert result.excluded == {limit: int(np.sum(values > sign * bound))}
    assert result.feasible == result.fitting - result.excluded[limit]
    assert 0 < result.feasible < result.fitting


def test_batches_that_do_not_fit_are_counted():
    result = found(batch_sizes=(1.0, 20_000.0))
    assert result.excluded == {"memory": result.configurations // 2}


def test_longer_requests_leave_room_for_fewer():
    short = evaluated(space_of(replace(SMALL, batch_sizes=()), ESTIMATOR))
    long = evaluated(space_of(replace(SMALL, batch_sizes=(), input_tokens=100_000), ESTIMATOR))
    assert long.batch.max() < short.batch.max() / 30


def test_limits_that_nothing_keeps_say_what_can_be_reached():
    with pytest.raises(LimitNotMet) as refused:
        found(max_ttft_ms=1.0)
    best = evaluated(space_of(SMALL, ESTIMATOR)).values["ttft_ms"].min()
    assert refused.value.field == "max_ttft_ms"
    assert refused.value.nearest_ms == pytest.approx(best)
    assert f"max_ttft_ms=1: best is {best:.4g} ms, by 8 x b200_180gb_sxm, fp8, batch 1" in str(refused.value)


def test_limits_that_nothing_keeps_together_name_each_and_the_one_that_binds():
    rows = evaluated(space_of(SMALL, ESTIMATOR)).values
    with pytest.raises(LimitNotMet) as refused:
        found(max_time_per_output_token_ms=8.5, min_tokens_per_s=2000.0)
    text = str(refused.value)
    assert "max_time_per_output_token_ms=8.5 and min_tokens_per_s=2000 together" in text
    fast = rows["tokens_per_s"][rows["time_per_output_token_ms"] <= 8.5].max()
    assert refused.value.nearest["min_tokens_per_s"] == pytest.approx(fast)
    assert f"of those that keep the other limits, best is {fast:.4g} tokens/s" in text


def test_a_model_that_fits_nowhere_stated_names_the_fewest_devices():
    with pytest.raises(DoesNotFit, match="Fewest devices that hold it, at a batch of 1: 16 x h100_80gb_sxm in bf16"):
        found(model_id="llama-3.1-405b", gpu_ids=("h100_80gb_sxm",), precisions=("bf16",))
    with pytest.raises(DoesNotFit, match=r"16 x h100_80gb_sxm in bf16"):
        found(
            model_id="llama-3.1-405b",
            gpu_ids=(),
            node_ids=("generic:hgx-h100-8",),
            gpu_counts=(),
            precisions=("bf16",),
        )


def test_a_batch_that_fits_nowhere_names_the_largest_that_does():
    with pytest.raises(
        DoesNotFit, match=r"at a batch of 60000.*\n.*At most [0-9,]+ requests fit, on 8 x b200_180gb_sxm"
    ):
        found(batch_sizes=(60_000.0,))


@pytest.mark.parametrize(
    "changes, error, field",
    [
        ({"model_id": "llama-3.1-71b"}, UnknownName, "model_id"),
        ({"gpu_ids": ("h10",)}, UnknownName, "gpu_id"),
        ({"gpu_ids": ("cerebras_wse3",)}, Undisclosed, "gpu_id"),
        ({"node_ids": ("nosuch",)}, UnknownName, "node_id"),
        ({"precisions": ("fp7",)}, UnknownName, "precision"),
        ({"objectives": ("speed",)}, UnknownName, ""),
        ({"objectives": ()}, InvalidInput, "objectives"),
        ({"objectives": ("cost",)}, InvalidInput, "usd_per_gpu_hour"),
        ({"objectives": ("cost",), "usd_per_gpu_hour": {"t4_16gb": 1.0}}, InvalidInput, "usd_per_gpu_hour"),
        ({"gpu_counts": (0,)}, InvalidInput, "gpu_count"),
        ({"gpu_counts": (5000,)}, InvalidInput, "gpu_count"),
        ({"batch_sizes": (0.5,)}, InvalidInput, "batch_size"),
        ({"batch_sizes": (1e9,)}, InvalidInput, "batch_size"),
        ({"batch_sizes": tuple(float(n) for n in range(1, 600))}, InvalidInput, "batch_size"),
        ({"max_ttft_ms": 0}, InvalidInput, "max_ttft_ms"),
        ({"max_memory_gb": float("nan")}, InvalidInput, "max_memory_gb"),
        ({"max_devices": -1}, InvalidInput, "max_devices"),
        ({"min_tokens_per_s": -1}, InvalidInput, "min_tokens_per_s"),
        ({"input_tokens": -1}, InvalidInput, "input_tokens"),
        ({"output_tokens": 0}, InvalidInput, "output_tokens"),
        ({"cached_input_tokens": 99_999}, InvalidInput, "cached_input_tokens"),
        ({"pue": 0.5}, InvalidInput, "pue"),
        ({"active_share": 0}, InvalidInput, "active_share"),
        ({"engine": "vlm"}, InvalidInput, "engine"),
        ({"top": 0}, InvalidInput, "top"),
        ({"techniques": (("quantisation:format=fp8",),), "precisions": ("fp8",)}, InvalidInput, "precision"),
        (
            {"gpu_ids": (), "node_ids": ("aws:p5.48xlarge",), "places": (Place("cloud_region", "gcp:us-central1"),)},
            InvalidInput,
            "cloud_region",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(changes, error, field):
    with pytest.raises(error) as refused:
        found(**changes)
    assert isinstance(refused.value, InferprintError)
    assert refused.value.field == field


def test_techniques_that_cannot_be_with_a_count_leave_the_others():
    sets = ((), ("tensor-parallel:devices=4",))
    result = found(techniques=sets)
    assert result.excluded == {"techniques": result.configurations // 4}
    assert result.fitting == result.configurations - result.excluded["techniques"]


def test_defaults_are_those_documented():
    space = space_of(Search(model_id=MODEL), ESTIMATOR)
    assert space.lengths == (1200, 300)
    assert space.precisions == ("bf16", "fp8", "int4")
    gpus = {gpu_id for gpu_id, _ in space.hardware}
    assert gpus == set(current_gpus(ESTIMATOR.catalogue))
    assert {"h100_80gb_sxm", "b200_180gb_sxm", "mi300x_192gb"} <= gpus
    assert not {"a100_80gb_sxm", "t4_16gb", "rtx_4090", "cerebras_wse3"} & gpus
    counts: dict[tuple[str, str | None], list[int]] = {}
    for replica in space.replicas():
        counts.setdefault((replica.gpu_id, replica.precision), []).append(replica.gpu_count)
    assert counts["h100_80gb_sxm", "bf16"] == [4, 8]
    assert counts["h100_80gb_sxm", "fp8"] == [2, 4, 8]
    assert counts["b200_180gb_sxm", "int4"] == [1, 2, 4, 8]


def test_a_published_format_below_16_bits_stands_alone():
    assert space_of(Search(model_id="deepseek-v3"), ESTIMATOR).precisions == ("fp8",)


def test_json_has_the_documented_shape():
    data = found(max_ttft_ms=100.0, usd_per_gpu_hour={"": 2.0}).to_dict()
    assert list(data) == [
        "model", "pareto", "on_front", "configurations", "fitting", "feasible", "excluded", "work", "limits",
        "objectives", "warnings", "versions",
    ]  # fmt: skip
    assert data["work"]["assumed"] == ["input_tokens", "output_tokens"]
    assert data["limits"] == {"max_ttft_ms": 100.0}
    first = data["pareto"][0]
    assert {"gpu_id", "gpu_count", "precision", "batch_size", "techniques", "country", "memory_gb"} <= set(first)
    for name in ("usage_energy_wh", "carbon_gco2e", "water_ml", "ttft_ms", "tokens_per_s", "cost_usd"):
        assert first[name]["low"] <= first[name]["value"] <= first[name]["high"]


def test_two_thousand_configurations_take_seconds():
    batches = tuple(float(n) for n in range(1, 61))
    start = time.perf_counter()
    result = found(batch_sizes=batches, places=tuple(Place("country", name) for name in ("FR", "US", "PL")))
    assert result.configurations == 2 * 2 * 3 * 60 * 3
    assert time.perf_counter() - start < 5
