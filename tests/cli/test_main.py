import json

import pytest

WORK = ["--input-tokens", "1200", "--output-tokens", "300"]


def test_an_estimate_prints_every_quantity_with_its_interval(call):
    code, out, _ = call("estimate", "llama-3.1-8b", *WORK, "--gpu", "rtx_4090", "--country", "DE")
    assert code == 0
    for name in ("duration", "energy", "greenhouse gas", "water", "embodied gas", "embodied water"):
        line = next(line for line in out.splitlines() if line.startswith(f"  {name} "))
        assert "[" in line


def test_json_is_the_shape_of_the_result(call):
    code, out, _ = call("estimate", "llama-3.1-8b", *WORK, "--gpu", "rtx_4090", "--json")
    data = json.loads(out)
    assert code == 0
    assert data["usage_energy_wh"]["low"] <= data["usage_energy_wh"]["value"] <= data["usage_energy_wh"]["high"]


@pytest.mark.parametrize(
    "arguments, asked, command",
    [
        (["llama-3.1-71b"], "llama-3.1-71b", "inferprint catalog models"),
        (["llama-3.1-8b", "--gpu", "a100"], "a100", "inferprint catalog gpus"),
        (["llama-3.1-8b", "--node", "hgx"], "hgx", "inferprint catalog nodes"),
        (["llama-3.1-8b", "--service", "togther"], "togther", "inferprint catalog services"),
        (["llama-3.1-8b", "--region", "aws:us-est-1"], "aws:us-est-1", "inferprint catalog regions"),
        (["llama-3.1-8b", "--country", "ZZ"], "ZZ", "inferprint catalog grids"),
        (["llama-3.1-8b", "--technique", "caching"], "caching", "inferprint catalog techniques"),
        (["llama-3.1-8b", "--precision", "fp7"], "fp7", "inferprint catalog precisions"),
        (["llama-3.1-8b", "--cloud", "nonsense"], "nonsense", "inferprint catalog regions"),
    ],
)
def test_an_unknown_name_exits_with_2_and_names_what_is_near(call, arguments, asked, command):
    code, out, err = call("estimate", *arguments, *WORK)
    assert (code, out) == (2, "")
    assert f"'{asked}'" in err
    assert "Nearest: " in err
    assert command in err


@pytest.mark.parametrize(
    "arguments, option",
    [
        (["--input-tokens", "-1", "--output-tokens", "3"], "--input-tokens"),
        (["--input-tokens", "1", "--output-tokens", "2.5"], "--output-tokens"),
        (["--input-tokens", "1"], "--output-tokens"),
        ([*WORK, "--cached-input-tokens", "1300"], "--cached-input-tokens"),
        ([*WORK, "--reasoning-tokens", "301"], "--reasoning-tokens"),
        ([*WORK, "--country", ""], "--country"),
        ([*WORK, "--pue", "0.5"], "--pue"),
        ([*WORK, "--active-share", "0"], "--active-share"),
        ([*WORK, "--batch-size", "0.5"], "--batch-size"),
        ([*WORK, "--duration-ms", "0"], "--duration-ms"),
        ([*WORK, "--total-params-b", "-3"], "--total-params-b"),
    ],
)
def test_a_wrong_value_exits_with_2_and_names_the_option(call, arguments, option):
    code, out, err = call("estimate", "llama-3.1-8b", *arguments)
    assert (code, out) == (2, "")
    assert f"Option: {option}" in err


def test_an_error_is_data_with_json(call):
    code, out, err = call("estimate", "llama-3.1-71b", *WORK, "--json")
    error = json.loads(out)["error"]
    assert code == 2
    assert error["type"] == "UnknownName"
    assert error["message"] in err


def test_explain_shows_the_level_taken_apart(call):
    # No effect holds for 16 bit on Hopper; 4 devices of 700 W: 2,800 W.
    _, out, _ = call("explain", "llama-3.1-70b", *WORK, "--node", "dgx-h100", "--country", "FR")
    assert "exp(0) x 4 devices x 700 W x engine (1) = 2,800" in out


def test_compare_needs_two_models(call):
    code, _, err = call("compare", "llama-3.1-8b", *WORK)
    assert code == 2
    assert "one model" in err


def test_compare_gives_the_chance_of_less(call):
    _, out, _ = call("compare", "llama-3.1-70b", "llama-3.1-8b", *WORK, "--json")
    assert [r["chance_of_less_energy_than_first"] for r in json.loads(out)] == [0.0, 1.0]


def test_models_of_one_size_are_not_ranked_surely(call):
    _, out, _ = call("compare", "llama-3.3-70b", "qwen2.5-72b", *WORK, "--service", "together", "--json")
    assert 0.1 < json.loads(out)[1]["chance_of_less_energy_than_first"] < 0.9


def test_catalog_lists_what_contains_the_query(call):
    code, out, _ = call("catalog", "gpus", "h100", "--json")
    assert code == 0
    assert {"h100_80gb_sxm", "h100_80gb_pcie", "h100_94gb_nvl"} == {row["id"] for row in json.loads(out)}


def test_catalog_lists_the_speed_of_services_and_of_models_at_them(call):
    services = {row["id"]: row for row in json.loads(call("catalog", "services", "--json")[1])}
    assert services["groq"]["output_tokens_per_s"] > 0
    assert services["openrouter"]["output_tokens_per_s"] is None
    speeds = json.loads(call("catalog", "speeds", "groq:llama-3.3", "--json")[1])
    assert [row["id"] for row in speeds] == ["groq:llama-3.3-70b"]
    assert set(speeds[0]) == {"id", "output_tokens_per_s", "basis", "measured", "time_to_first_token_s"}


def test_catalog_without_a_hit_exits_with_1(call):
    assert call("catalog", "gpus", "nosuchthing")[0] == 1


def test_run_that_estimates_nothing_exits_with_1(call, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("model_id,input_tokens,output_tokens\nllama-3.1-8b,-1,2\n")
    code, out, _ = call("run", str(table), "--out", str(tmp_path / "out"))
    assert code == 1
    assert "1 rejected" in out


def test_run_refuses_a_file_given_twice(call, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("model_id,input_tokens,output_tokens\nllama-3.1-8b,1,2\n")
    code, _, err = call("run", str(table), str(table), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "given twice" in err


def test_run_refuses_a_field_mapped_twice(call, tmp_path):
    arguments = ["--column", "input_tokens=a", "--column", "input_tokens=b"]
    code, _, err = call("run", "t.csv", "--out", str(tmp_path / "out"), *arguments)
    assert code == 2
    assert "input_tokens twice" in err
