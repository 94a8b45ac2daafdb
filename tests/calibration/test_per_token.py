"""Energy per fresh, cached and output token: from rows whose energies are known."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from tests.calibration.own_rows import CATALOGUE, ROW, write

from inferprint.calibration.observations import Observations, read_files
from inferprint.calibration.per_token import energy_per_token
from inferprint.cli.commands import app
from inferprint.errors import InvalidInput

FRESH_J, CACHED_J, OUTPUT_J = 0.02, 0.0005, 0.8


def prompt(row_id, fresh, cached=0, **more):
    return {
        **ROW, "row_id": row_id, "serving_mode": "prefill_only", "concurrency": "1", "n_in_tokens": fresh + cached,
        "n_cached_tokens": cached, "n_out_tokens": 1, "energy_boundary": "gpu_only",
        "energy_per_request_j": fresh * FRESH_J + cached * CACHED_J, **more,
    }  # fmt: skip


def answer(row_id, batch, **more):
    return {
        **ROW, "row_id": row_id, "serving_mode": "aggregated" if batch > 1 else "single_stream", "concurrency": batch,
        "n_in_tokens": 512, "n_cached_tokens": 512, "n_out_tokens": 128, "energy_boundary": "gpu_only",
        "energy_per_output_token_j": OUTPUT_J / batch, **more,
    }  # fmt: skip


def per_token(observations):
    return energy_per_token(observations, CATALOGUE)[0]


@pytest.fixture
def observed(tmp_path):
    def read(*rows) -> Observations:
        return read_files([write(tmp_path / "rows.csv", rows)], CATALOGUE)

    return read


def test_each_kind_of_token_has_its_energy(observed):
    rows = [prompt("a", 512), prompt("b", 512, 4096), prompt("c", 512, 1024), answer("d", 1), answer("e", 16)]
    found = {(row.token, row.n_cached_tokens, row.concurrency): row for row in per_token(observed(*rows))}
    assert found["fresh", 0, 1].measured_j == pytest.approx(FRESH_J)
    assert found["cached", 4096, 1].measured_j == pytest.approx(CACHED_J)
    assert found["cached", 1024, 1].measured_j == pytest.approx(CACHED_J)
    assert found["output", 512, 1].measured_j == pytest.approx(OUTPUT_J)
    assert found["output", 512, 16].measured_j == pytest.approx(OUTPUT_J / 16)
    assert len(found) == 5
    for row in found.values():
        assert 0 < row.form_j.low < row.form_j.value < row.form_j.high


def test_the_form_of_a_cached_token_is_the_difference_of_its_prompts(observed):
    """A cached token is read and not computed: far less than a fresh one, with the errors of both prompts in common."""
    found = {row.token: row for row in per_token(observed(prompt("a", 512), prompt("b", 512, 8192)))}
    assert found["cached"].form_j.value < 0.1 * found["fresh"].form_j.value
    assert found["cached"].form_j.high < found["fresh"].form_j.low


class TestAFewCachedTokens:
    """Servers find the few tokens that all prompts begin with: a prompt with less than 5 % of them is a fresh one."""

    def test_a_fresh_token_is_one_that_was_computed(self, observed):
        (row,) = per_token(observed(prompt("a", 508, 4)))
        assert (row.token, row.n_cached_tokens) == ("fresh", 4)
        assert row.measured_j == pytest.approx(FRESH_J + 4 * CACHED_J / 508)

    def test_with_more_it_is_none(self, observed):
        assert [row.token for row in per_token(observed(prompt("a", 487, 25)))] == ["fresh"]
        assert per_token(observed(prompt("a", 486, 26))) == []

    def test_prompts_that_compute_nearly_as_much_tell_what_a_prefix_takes(self, observed):
        """What the other computed tokens take is no part of it."""
        rows = per_token(observed(prompt("a", 508, 4), prompt("b", 530, 4096)))
        (cached,) = (row for row in rows if row.token == "cached")
        assert cached.measured_j == pytest.approx(CACHED_J, rel=0.01)

    def test_the_nearest_is_taken(self, observed):
        far = prompt("c", 520, energy_per_request_j=100.0)
        rows = per_token(observed(far, prompt("a", 512), prompt("b", 513, 4096)))
        (cached,) = (row for row in rows if row.token == "cached")
        assert cached.measured_j == pytest.approx(CACHED_J, rel=0.01)

    def test_beyond_5_percent_nothing_is_made_of_them(self, observed):
        rows = per_token(observed(prompt("a", 512), prompt("b", 539, 4096)))
        assert [row.token for row in rows] == ["fresh"]


def test_the_format_is_the_stated_one_else_that_of_the_publication(observed):
    rows = per_token(observed(prompt("a", 512, precision_name="fp8"), prompt("b", 512, precision_name="")))
    assert [row.precision for row in rows] == ["bf16", "fp8"]


def test_what_was_refused_comes_with_its_reason(observed):
    rows = [prompt("a", 512, energy_boundary="system_wall_ac"), answer("b", 1, model_key="llama-3-70b")]
    found, refused = energy_per_token(observed(*rows), CATALOGUE)
    assert found == []
    assert [(item.row_id, item.quantity) for item in refused] == [
        ("a", "prompt_energy"),
        ("b", "energy_per_output_token"),
    ]
    assert "boundary system_wall_ac" in refused[0].reason
    assert "bytes" in refused[1].reason


def test_an_answer_with_its_prompt_is_told_apart(observed):
    rows = per_token(observed(answer("d", 1, n_cached_tokens=0), answer("e", 1)))
    assert [row.token for row in rows] == ["output", "output_with_prompt"]
    assert rows[0].form_j.value < rows[1].form_j.value


def test_repeats_are_one_row(observed):
    found = per_token(observed(prompt("a", 512), prompt("b", 512, energy_per_request_j=12.0)))
    assert [(row.token, row.n_rows) for row in found] == [("fresh", 2)]
    assert found[0].measured_j == pytest.approx((512 * FRESH_J + 12.0) / 2 / 512)


@pytest.mark.parametrize(
    "change", [{"gpu": "A100-SXM4-80GB"}, {"precision_name": "fp8"}, {"n_in_tokens": 512 + 4096 + 200}]
)
def test_a_prefix_needs_a_prompt_of_its_length_on_the_same_machine(observed, change):
    found = per_token(observed(prompt("a", 512), prompt("b", 512, 4096, **change)))
    assert [row.token for row in found] == ["fresh"]


def test_a_difference_below_zero_is_shown(observed):
    """A meter's error can be larger than what a prefix takes: nothing is made of it."""
    rows = [prompt("a", 512), prompt("b", 512, 64, energy_per_request_j=512 * FRESH_J - 1.0)]
    cached = per_token(observed(*rows))[1]
    assert cached.measured_j == pytest.approx(-1 / 64)


def test_plain_data(observed):
    row = per_token(observed(prompt("a", 512)))[0].to_dict()
    assert row["token"] == "fresh"
    assert set(row["form_j"]) == {"value", "low", "high"}


def test_the_command_prints_it(tmp_path):
    path = str(write(tmp_path / "rows.csv", [prompt("a", 512), prompt("b", 512, 4096), answer("d", 1)]))
    done = CliRunner().invoke(app, ["validate", "--observations", path, "--per-token"])
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["token", "fresh", "cached", "output"]
    done = CliRunner().invoke(app, ["validate", "--observations", path, "--per-token", "--json"])
    assert [row["token"] for row in json.loads(done.stdout)] == ["fresh", "cached", "output"]


def test_the_command_says_what_was_refused_and_why(tmp_path):
    path = str(write(tmp_path / "rows.csv", [prompt("a", 512, energy_boundary="system_wall_ac")]))
    to = tmp_path / "refused.csv"
    done = CliRunner().invoke(app, ["validate", "--observations", path, "--per-token", "--refused", str(to)])
    assert done.stdout.startswith("no energy of a prompt or of output tokens can be used\n\nrefused 1 value:\n")
    assert "the boundary system_wall_ac" in done.stdout
    assert "the boundary system_wall_ac" in to.read_text(encoding="utf-8")


@pytest.mark.parametrize("more", [[], ["--parameters"], ["--observations", "x.csv", "--operating-points"]])
def test_the_file_of_refused_rows_is_of_measurements_alone(tmp_path, more):
    with pytest.raises(InvalidInput, match="--refused: only rows of measurements are written there"):
        CliRunner().invoke(app, ["validate", "--refused", str(tmp_path / "r.csv"), *more], catch_exceptions=False)


@pytest.mark.parametrize("more", [[], ["--parameters"], ["--observations", "x.csv", "--operating-points"]])
def test_it_is_of_measurements_alone(more):
    with pytest.raises(InvalidInput, match="tokens have energy in measurements alone"):
        CliRunner().invoke(app, ["validate", "--per-token", *more], catch_exceptions=False)
