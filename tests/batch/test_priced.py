"""Unknown models of a log, estimated from what they cost."""

import json
import random

import pytest

from inferprint.batch import RunOptions, run

PRICES = (2.5, 10.0)
"""USD per million tokens of prompts and answers."""


def log(path, model, rows, *, cached=False, ratio=None, prices=PRICES):
    """A gateway's log of a model that nobody knows, which costs what its price list says."""
    rng = random.Random(5)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            n_in = rng.randrange(100, 9000)
            n_out = n_in * ratio if ratio is not None else rng.randrange(10, 900)
            read = n_in // 2 if cached else 0
            usd = ((n_in - read + 0.1 * read) * prices[0] + n_out * prices[1]) / 1e6
            details = {"usage_object": {"prompt_tokens_details": {"cached_tokens": read}}}
            record = {
                "id": f"r-{number}",
                "call_type": "acompletion",
                "status": "success",
                "custom_llm_provider": "openai",
                "api_base": "https://api.openai.com",
                "model": model,
                "prompt_tokens": n_in,
                "completion_tokens": n_out,
                "total_tokens": n_in + n_out,
                "response_cost": usd,
                "startTime": 1.79e9 + number,
                "endTime": 1.79e9 + number + 2,
                "cache_hit": False,
                "metadata": details,
            }
            file.write(json.dumps(record) + "\n")
    return path


@pytest.fixture
def options(estimator):
    return RunOptions(estimator=estimator, unknown="estimate")


@pytest.mark.parametrize("cached", [False, True])
def test_prices_are_found_from_costs(cached, tmp_path, options):
    summary = run(log(tmp_path / "log.jsonl", "acme/zeta-9", 40, cached=cached), tmp_path / "out", options)
    assert summary.counts.estimated == 40
    (warning,) = (text for text in summary.warnings if "'acme/zeta-9'" in text)
    assert "2.5 / 10 USD per million tokens" in warning
    assert "by least squares" in warning
    assert "(40 records)" in warning
    energy = summary.range("usage_energy_wh")
    # A size from a price that one host asks is known within a factor of several.
    assert energy.high / energy.low > 10


def test_answers_in_step_with_prompts_get_the_usual_ratio(tmp_path, options):
    summary = run(log(tmp_path / "log.jsonl", "acme/zeta-9", 40, ratio=2), tmp_path / "out", options)
    (warning,) = (text for text in summary.warnings if "'acme/zeta-9'" in text)
    assert "answers taken to cost" in warning


def test_a_dearer_model_is_a_larger_one(tmp_path, options):
    cheap = run(log(tmp_path / "cheap.jsonl", "acme/cheap", 30), tmp_path / "a", options)
    dear = run(log(tmp_path / "dear.jsonl", "acme/dear", 30, prices=(25.0, 100.0)), tmp_path / "b", options)
    assert dear.range("usage_energy_wh").value > 2 * cheap.range("usage_energy_wh").value


def test_without_a_cost_it_is_a_text_model_of_any_size(table, tmp_path, options):
    rows = [{"model_id": "acme/zeta-9", "input_tokens": 100, "output_tokens": 10}] * 3
    summary = run(table(rows), tmp_path / "out", options)
    assert summary.counts.estimated == 3
    assert "'acme/zeta-9' is unknown: estimated as generic:text-generator" in summary.warnings
