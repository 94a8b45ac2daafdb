"""Measured times in a table against the same measured times one by one."""

import numpy as np
import pytest

from inferprint.batch import RunOptions, run
from inferprint.estimate import Request
from inferprint.quantities import RESULTS

H100 = {"model_id": "llama-2-70b", "node_id": "generic:hgx-h100-8", "country": "US"}
DESK = {"model_id": "llama-3.1-8b", "gpu_id": "rtx_4090", "gpu_count": 1, "country": "US"}


def run_rows(rows, fills, table, read, tmp_path, estimator):
    options = RunOptions(estimator=estimator, output_format="csv", fills=fills)
    summary = run(table(rows), tmp_path / "out", options)
    return summary, read(tmp_path / "out" / "impacts.csv")


@pytest.mark.parametrize("fills", [H100 | {"batch_size": 16}, DESK], ids=["batch known", "desk"])
def test_device_time_is_taken_as_it_is(fills, table, read, tmp_path, estimator):
    rows = [{"input_tokens": 500, "output_tokens": 100, "request_duration_ms": ms} for ms in (900, 2000.5, 7000)]
    summary, impacts = run_rows(rows, fills, table, read, tmp_path, estimator)
    for row, impact in zip(rows, impacts, strict=True):
        single = estimator.estimate(Request(**fills, **row))
        for quantity in RESULTS:
            expected = single.range(quantity.name)
            if expected is not None:
                cells = [float(impact[quantity.name + s]) for s in ("", "_low", "_high")]
                assert cells == pytest.approx(list(expected), rel=1e-12)
        assert impact["prefill_energy_wh"] == "" == impact["decode_energy_wh"]
    assert any("prefill_energy_wh, decode_energy_wh" in warning for warning in summary.warnings)
    assert summary.range("prefill_energy_wh") is None


@pytest.mark.parametrize("context", [(300, 100), (3000, 500)])
def test_the_grid_is_within_two_percent_of_single_estimates(context, table, read, tmp_path, estimator):
    """Over batches from a few to a few hundred, off the grid's own points."""
    n_in, n_out = context
    times = np.geomspace(24.0, 60.0, 7)
    rows = [{"input_tokens": n_in, "output_tokens": n_out, "request_duration_ms": float(t * n_out)} for t in times]
    _, impacts = run_rows(rows, H100, table, read, tmp_path, estimator)
    for row, impact in zip(rows, impacts, strict=True):
        single = estimator.estimate(Request(**H100, **row))
        assert float(impact["usage_energy_wh"]) == pytest.approx(single.usage_energy_wh.value, rel=0.02)
        # The duration was measured: nothing predicts it.
        durations = [float(impact["duration_ms" + side]) for side in ("", "_low", "_high")]
        assert durations == pytest.approx([row["request_duration_ms"]] * 3, rel=1e-12)
        assert list(single.duration_ms) == pytest.approx(durations, rel=1e-12)


def test_time_per_token_lies_on_the_same_grid(table, read, tmp_path, estimator):
    rows = [
        {"input_tokens": 400, "output_tokens": 200, "time_per_output_token_ms": t}
        for t in (24.0, 25.1, 30.0, 47.3, 60.0)
    ]
    _, impacts = run_rows(rows, H100, table, read, tmp_path, estimator)
    for row, impact in zip(rows, impacts, strict=True):
        single = estimator.estimate(Request(**H100, **row))
        for name in ("usage_energy_wh", "duration_ms", "embodied_emissions_gco2e"):
            value = single.range(name)
            assert value is not None
            assert float(impact[name]) == pytest.approx(value.value, rel=0.02)


def test_totals_of_gridded_rows_are_their_sums(table, read, tmp_path, estimator):
    rng = np.random.default_rng(7)
    rows = [
        {"input_tokens": int(n), "output_tokens": 100, "request_duration_ms": float(ms)}
        for n, ms in zip(rng.integers(10, 2000, 20), rng.uniform(2500, 6000, 20), strict=True)
    ]
    summary, impacts = run_rows(rows, H100, table, read, tmp_path, estimator)
    for name in ("usage_energy_wh", "usage_water_ml", "duration_ms"):
        total = summary.range(name)
        assert total is not None
        value, low, high = (sum(float(i[name + s]) for i in impacts) for s in ("", "_low", "_high"))
        assert total.value == pytest.approx(value, rel=1e-9)
        assert low * (1 - 1e-12) <= total.low <= total.high <= high * (1 + 1e-12)


def test_the_duration_of_a_prompt_alone_says_nothing_of_the_batch(table, read, tmp_path, estimator):
    rows = [{"input_tokens": 400, "output_tokens": 0, "request_duration_ms": 900}]
    _, impacts = run_rows(rows, H100, table, read, tmp_path, estimator)
    single = estimator.estimate(Request(**H100, input_tokens=400, output_tokens=0))
    assert float(impacts[0]["usage_energy_wh"]) == pytest.approx(single.usage_energy_wh.value, rel=1e-12)


def test_a_whole_duration_with_cards_on_disk(table, tmp_path, estimator):
    """Cards that several processes share keep their draws on disk, also where a duration replaces one of them."""
    rows = [{"model_id": "llama-3.1-8b", "input_tokens": 100, "output_tokens": 20, "request_duration_ms": 900}]
    summaries = [
        run(table(rows), tmp_path / f"out{processes}", RunOptions(estimator=estimator, processes=processes))
        for processes in (1, 2)
    ]
    assert summaries[0].range("usage_energy_wh") == summaries[1].range("usage_energy_wh")
