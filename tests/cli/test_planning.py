import csv
import io
import json

import pytest

PLAN = ["plan", "llama-3.1-70b", "--gpu", "h100_80gb_sxm,b200_180gb_sxm", "--gpu-count", "4,8", "--country", "FR"]
SWEEP = ["sweep", "llama-3.1-70b", "--gpu", "h100_80gb_sxm", "--country", "FR"]


def test_a_plan_prints_a_table_and_what_was_looked_at(call):
    code, out, _ = call(*PLAN, "--batch-size", "1..64", "--max-devices", "4")
    lines = out.splitlines()
    assert code == 0
    assert lines[1].split("  ")[1] == "replica"
    assert all("4 x " in line for line in lines if "[" in line and " x " in line)
    assert "84 configurations looked at, 84 fit, 42 keep the limits" in out
    assert "--max-devices 4 excludes 42" in out


def test_a_plan_agrees_with_an_estimate_of_the_same_options(call):
    first = json.loads(call(*PLAN, "--batch-size", "8", "--input-tokens", "700", "--json")[1])["pareto"][0]
    count = str(first["gpu_count"])
    words = ["--gpu", first["gpu_id"], "--gpu-count", count, "--replica-gpu-count", count, "--country", "FR"]
    words += ["--precision", first["precision"], "--batch-size", str(first["batch_size"])]
    words += ["--input-tokens", "700", "--output-tokens", "300", "--usual-input-tokens", "700"]
    alone = json.loads(call("estimate", "llama-3.1-70b", *words, "--json")[1])
    for name in ("usage_energy_wh", "usage_emissions_gco2e", "usage_water_ml", "embodied_water_ml", "duration_ms"):
        assert first[name] == pytest.approx(alone[name], rel=1e-9)


def test_what_if_prints_ratios(call):
    _, out, _ = call(*PLAN, "--batch-size", "8", "--what-if")
    assert "one change at a time" in out
    assert any(line.strip().startswith("batch-size  16") for line in out.splitlines())
    data = json.loads(call(*PLAN, "--batch-size", "8", "--what-if", "--json")[1])
    assert {"base", "changes"} == set(data["what_if"])


def test_a_plan_as_csv(call):
    rows = list(csv.DictReader(io.StringIO(call(*PLAN, "--csv")[1])))
    assert float(rows[0]["usage_energy_wh_low"]) <= float(rows[0]["usage_energy_wh"])
    assert rows[0]["cost_usd"] == ""


def test_a_sweep_prints_a_cell_or_why_there_is_none(call):
    code, out, _ = call(*SWEEP, "--over", "gpu-count=1..8", "--over", "precision=bf16,fp8")
    assert code == 0
    assert out.splitlines()[1].split() == ["gpu-count", "\\", "precision", "bf16", "fp8"]
    assert "does not fit" in out.splitlines()[2]
    data = json.loads(call(*SWEEP, "--over", "gpu-count=1..8", "--json")[1])
    assert [cell["gpu-count"] for cell in data["cells"]] == [1, 2, 4, 8]
    assert data["work"] == {"input_tokens": 1200, "output_tokens": 300, "cached_input_tokens": 0}


def test_a_sweep_as_csv(call):
    rows = list(csv.DictReader(io.StringIO(call(*SWEEP, "--over", "input-tokens=1000..4000", "--csv")[1])))
    assert [row["input-tokens"] for row in rows] == ["1000", "2000", "4000"]


def test_pictures_are_written(call, tmp_path):
    pytest.importorskip("matplotlib")
    assert call(*PLAN, "--plot", str(tmp_path / "p.png"))[0] == 0
    assert call(*SWEEP, "--over", "batch-size=1..4", "--plot", str(tmp_path / "s.svg"))[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"p.png", "s.svg"}


@pytest.mark.parametrize(
    "arguments, option",
    [
        ([*PLAN, "--batch-size", "0"], "--batch-size"),
        ([*PLAN, "--max-ttft-ms", "1"], "--max-ttft-ms"),
        ([*PLAN, "--max-memory-gb", "-1"], "--max-memory-gb"),
        ([*PLAN, "--min-tokens-per-s", "1e9"], "--min-tokens-per-s"),
        ([*PLAN, "--usd-per-gpu-hour", "h10=1"], "--usd-per-gpu-hour"),
        ([*PLAN, "--objective", "cost"], "--usd-per-gpu-hour"),
        ([*PLAN, "--technique", "x"], "--technique"),
        ([*PLAN, "--top", "0"], "--top"),
        (SWEEP, "--over"),
        ([*SWEEP, "--over", "batch-size=1,x"], "--batch-size"),
        ([*SWEEP, "--over", "gpu=h100_80gb_sxm"], "--gpu"),
    ],
)
def test_a_wrong_value_exits_with_2_and_names_the_option(call, arguments, option):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert f"Option: {option}\n" in err


@pytest.mark.parametrize(
    "arguments, nearest",
    [
        ([*PLAN, "--objective", "carbn"], "carbon"),
        ([*SWEEP, "--over", "batch=1"], "batch-size"),
        ([*SWEEP, "--over", "pue=1.1", "--quantity", "usage_energy"], "usage_energy_wh"),
    ],
)
def test_an_unknown_name_names_the_nearest(call, arguments, nearest):
    code, _, err = call(*arguments)
    assert code == 2
    assert f"Nearest: {nearest}" in err
