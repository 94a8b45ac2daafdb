"""Forms of a node's own: known coefficients are found again, few rows refused, intervals honest."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from tests.calibration.own_rows import CATALOGUE, FACTORS, LOADS, loads_as_rows, measured, true_values, write

from inferprint.calibration.fit import form_text
from inferprint.calibration.observations import read_files
from inferprint.calibration.own import MIN_CONFIGURATIONS, MIN_ROWS, bounds_of_few, learn_own
from inferprint.calibration.validate import validate
from inferprint.catalogue import Node
from inferprint.errors import FileProblem
from inferprint.provenance.source import Provenance, Source

ORIGIN = Provenance("own:mine", "2026-11-30", "medium", "")
SOURCE = Source("own:mine", "Measured on mine", "", "")
NODE = Node(
    id="mine", cloud="generic", instance="mine", gpu="h100_80gb_sxm", gpu_count=1, provenance={"": ORIGIN},
    host_idle_power_w=100.0, host_active_power_w=150.0,
)  # fmt: skip
ENERGY = {"energy_per_output_token_j": 1, "energy_boundary": "gpu_only"}


def learned(path, node=NODE, catalogue=CATALOGUE):
    return learn_own(node, read_files([path], catalogue), catalogue, "", ORIGIN)


def with_own(own, catalogue=CATALOGUE):
    """The catalogue with the node and its forms."""
    return catalogue.with_records(SOURCE, own.node, *(item.form for item in own.forms))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Two models: the weights and the layers of one alone cannot be told apart."""
    path = tmp_path_factory.mktemp("own") / "sweep.csv"
    small = loads_as_rows(LOADS, {**ENERGY, "model_key": "llama-3.2-1b"}, tag="s")
    return learned(measured(path, [*loads_as_rows(LOADS, ENERGY), *small]))


def form_of(own, name):
    return next(item.form for item in own.forms if item.form.id == f"{name}@mine")


@pytest.mark.parametrize("form", ["duration.served", "energy.served"])
@pytest.mark.parametrize("term", ["dense_weights", "layers", "prompt_linear"])
def test_known_coefficients_are_found_again(own, form, term):
    true = true_values(form, FACTORS)[term]
    assert form_of(own, form).terms[term].value == pytest.approx(true, rel=0.15)
    low, high = form_of(own, form).terms[term][1:]
    assert low <= true <= high


@pytest.mark.parametrize("form", ["duration.served", "energy.served"])
def test_what_no_row_touches_keeps_the_general_value_and_spread(own, form):
    general, mine = CATALOGUE.forms[form], form_of(own, form)
    assert set(mine.terms) == set(general.terms)
    for term in ("expert_weights", "all_reduce", "state_space_layers", "media_prompts"):
        assert mine.terms[term] == general.terms[term]


def test_effects_of_formats_stay_and_those_of_engines_and_chips_are_folded_in(own):
    assert set(form_of(own, "duration.served").effects) == {"all:int4", "fixed:mxfp4"}
    assert not form_of(own, "energy.served").effects


def test_fresh_runs_are_predicted_and_intervals_shrink_and_cover(own, tmp_path):
    fresh = loads_as_rows([(2, 300, 100), (8, 2000, 200), (32, 700, 300), (48, 256, 64)] * 15, {"node_id": "mine"})
    path = measured(tmp_path / "fresh.csv", fresh, seed=7)
    before = validate(read_files([path], CATALOGUE, on_nodes=True), CATALOGUE)
    mine = with_own(own)
    after = validate(read_files([path], mine, on_nodes=True), mine)
    scores = {r.form: r.score for r in after.results()}
    assert scores["default"].mdape_pct < 6
    assert before.results()[0].score.mdape_pct > 2 * scores["default"].mdape_pct
    assert scores["default"].coverage95_pct >= 90
    widths = [np.mean([np.log(j.default[2] / j.default[1]) for j in v.judged]) for v in (before, after)]
    assert widths[1] < widths[0] / 2
    # The two-term form knows nothing of the node.
    two_terms = [[j.two_term for j in v.judged] for v in (before, after)]
    assert two_terms[0] == two_terms[1]


def test_few_rows_move_little_of_what_they_do_not_tell(tmp_path):
    """Short prompts at one batch: the attention of long ones stays near the general form, and uncertain."""
    loads = [(1, 32, n_out) for n_out in (16, 24, 32, 48, 64, 96, 128, 192)]
    mine = form_of(
        learned(measured(tmp_path / "few.csv", loads_as_rows(loads), {"prompt_attention": 8.0})), "duration.served"
    )
    general = CATALOGUE.forms["duration.served"].terms["prompt_attention"].value
    value, low, high = mine.terms["prompt_attention"]
    assert value == pytest.approx(general, rel=0.05)
    assert high / low > 5


@pytest.mark.parametrize("factor", [0.1, 20.0])
def test_many_rows_decide_however_far_they_are_from_the_general_form(tmp_path, factor):
    factors = dict.fromkeys(CATALOGUE.forms["duration.served"].terms, factor)
    own = learned(measured(tmp_path / "far.csv", loads_as_rows(LOADS), factors))
    assert own.forms[0].unseen.mdape_pct < 6
    assert own.forms[0].general.mdape_pct > 80


@pytest.mark.parametrize(
    "loads, why",
    [
        (LOADS[: MIN_ROWS - 1], f"{MIN_ROWS - 1} of the {MIN_ROWS} rows"),
        (LOADS[: MIN_CONFIGURATIONS - 1] * 4, f"{MIN_CONFIGURATIONS - 1} different loads"),
    ],
)
def test_too_few_rows_or_loads_are_refused_with_the_number(tmp_path, loads, why):
    path = measured(tmp_path / "few.csv", loads_as_rows(loads))
    with pytest.raises(FileProblem, match=why):
        learned(path)


@pytest.mark.parametrize(
    "loads, hint",
    [
        (LOADS[:6], "Measure 2 rows more, of the same loads or others."),
        (LOADS[:5] * 4, "Measure 1 row more, 1 or more of another concurrency, prompt or answer length"),
        (LOADS[:4], "Measure 4 rows more, 2 or more of another concurrency"),
    ],
)
def test_what_is_still_to_be_measured(tmp_path, loads, hint):
    path = measured(tmp_path / "few.csv", loads_as_rows(loads))
    with pytest.raises(FileProblem, match=hint):
        learned(path)


class TestWhose:
    """Files of which no row is of the node say what they are of."""

    def test_another_accelerator(self, tmp_path):
        path = measured(tmp_path / "a.csv", loads_as_rows(LOADS, {"gpu": "A100-SXM4-80GB"}))
        with pytest.raises(FileProblem, match="rows are on a100_80gb_sxm, but --gpu is h100_80gb_sxm") as caught:
            learned(path)
        assert caught.value.hint == "Give --gpu a100_80gb_sxm, or measurements on h100_80gb_sxm."

    def test_more_accelerators(self, tmp_path):
        path = measured(tmp_path / "a.csv", loads_as_rows(LOADS, {"gpu_count": 8}))
        with pytest.raises(FileProblem, match="the rows are on 8 x h100_80gb_sxm, but mine holds 1") as caught:
            learned(path)
        assert "--gpu-count 8" in caught.value.hint

    def test_another_node(self, tmp_path):
        path = measured(tmp_path / "a.csv", loads_as_rows(LOADS, {"node_id": "theirs"}))
        with pytest.raises(FileProblem, match="no row is of mine: 24 rows of the node theirs") as caught:
            learn_own(NODE, read_files([path], CATALOGUE, of_node="mine"), CATALOGUE, "", ORIGIN)
        assert "catalog add-node theirs" in caught.value.hint


@pytest.mark.parametrize(
    "host_w, reason",
    [
        (None, "no row measures it; energy at the wall needs the power of the host at work (--host-active-power-w)"),
        (1e5, "no row measures it; 24 values refused, the first in row r0: energy_per_output_token_j: "),
    ],
)
def test_energy_at_the_wall_that_is_no_use_says_why_and_the_times_stay(tmp_path, host_w, reason):
    path = measured(tmp_path / "wall.csv", loads_as_rows(LOADS))
    wall = {"energy_per_output_token_j": 100, "energy_boundary": "system_wall_ac", "avg_system_power_w": 800}
    rows = [row | wall for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
    node = replace(NODE, host_active_power_w=host_w)
    found = read_files([write(tmp_path / "wall.csv", rows)], CATALOGUE, host_w=host_w)
    own = learn_own(node, found, CATALOGUE, "", ORIGIN)
    assert [item.form.rows for item in own.forms] == [len(LOADS)]
    assert own.general["energy.served"].startswith(reason)


def test_without_energy_only_time_is_fitted_and_it_says_so(tmp_path):
    own = learned(measured(tmp_path / "times.csv", loads_as_rows(LOADS)))
    assert [item.form.id for item in own.forms] == ["duration.served@mine"]
    assert own.general == {"energy.served": "no row measures it"}


def test_rows_of_other_machines_are_refused(tmp_path):
    rows = [*loads_as_rows(LOADS), *loads_as_rows(LOADS[:2], {"gpu": "A100-SXM4-80GB"}, tag="a")]
    own = learned(measured(tmp_path / "two.csv", rows))
    assert [r.row_id for r in own.refused] == ["a0", "a1"]
    assert "a100" in own.refused[0].reason


def test_rows_that_name_another_node_are_refused(tmp_path):
    rows = [*loads_as_rows(LOADS), *loads_as_rows(LOADS[:1], {"node_id": "theirs"}, tag="t")]
    path = measured(tmp_path / "two.csv", rows)
    found = read_files([path], CATALOGUE, of_node="mine")
    assert [(r.row_id, r.reason) for r in found.refused] == [("t0", "measured on the node theirs")]


def test_rows_of_two_engines_make_no_node(tmp_path):
    rows = [*loads_as_rows(LOADS), *loads_as_rows(LOADS[:3], {"engine": "sglang"}, tag="s")]
    with pytest.raises(FileProblem, match="sglang in 3, vllm in 24"):
        learned(measured(tmp_path / "two.csv", rows))


def test_a_local_engine_that_served_several_requests_is_a_server(tmp_path):
    own = learned(measured(tmp_path / "llama.csv", loads_as_rows(LOADS, {"engine": "llama.cpp"})))
    assert own.node.engine == "llama.cpp-server"
    assert own.forms[0].form.quantity == "served-duration"


def test_a_local_engine_with_one_request_at_a_time_has_a_form_for_one(tmp_path):
    more = {
        "engine": "llama.cpp",
        "gpu": "RTX-4090-24GB",
        "serving_mode": "single_stream",
        "system_output_tokens_per_s": "",
    }
    loads = [(1, n_in, n_out) for n_in in (64, 512, 2048) for n_out in (32, 128, 256)]
    rows = [
        row | {"duration_s": 0.02 + 3e-4 * row["n_in_tokens"] + 0.02 * row["n_out_tokens"]}
        for row in loads_as_rows(loads, more)
    ]
    own = learned(write(tmp_path / "one.csv", rows), replace(NODE, gpu="rtx_4090", cloud="local"))
    assert own.node.engine == "llama.cpp"
    assert own.forms[0].form.id == "duration.single@mine"
    assert own.forms[0].unseen.mdape_pct < 10


def test_a_model_that_was_not_measured_keeps_the_general_error(own):
    mine, general = form_of(own, "duration.served"), CATALOGUE.forms["duration.served"]
    assert {k: v for k, v in mine.residual.items() if not k.startswith("model:")} == dict(general.residual)
    known = mine.residual["model:llama-3-8b"]
    assert known.high - known.low < (general.residual["dense"].high - general.residual["dense"].low) / 3


class TestBounds:
    def test_few_groups_get_no_less_than_students_interval(self):
        """Ten groups with a standard deviation of 0.1: t(0.975, 9) = 2.262, times sqrt(1.1)."""
        residuals = 0.1 * np.array([1.0, -1.0] * 5)
        found = bounds_of_few(residuals, range(10))
        assert found.high == pytest.approx(0.1 * 2.262157 * np.sqrt(1.1), rel=1e-6)
        assert found.low == pytest.approx(-found.high)

    def test_repeats_of_a_group_count_once(self):
        residuals = 0.1 * np.array([1.0, -1.0] * 20)
        assert (
            bounds_of_few(residuals, [i // 10 for i in range(40)]).high > bounds_of_few(residuals, range(40)).high * 2
        )

    @pytest.mark.parametrize("groups", [6, 10, 20, 60])
    def test_a_new_value_lies_within_in_at_least_95_percent(self, groups):
        rng = np.random.default_rng(5)
        held = []
        for _ in range(3000):
            draws = rng.standard_normal(groups + 1)
            found = bounds_of_few(draws[1:], range(groups))
            held.append(found.low <= draws[0] <= found.high)
        assert np.mean(held) >= 0.94


def test_the_text_of_a_form_reads_back_as_it_was(own, tmp_path):
    import tomllib

    form = form_of(own, "duration.served")
    table = tomllib.loads(form_text(form))["form"][0]
    assert (table["id"], table["status"], table["rows"]) == (form.id, "own", form.rows)
    assert table["terms"]["layers"]["value"] == pytest.approx(form.terms["layers"].value, rel=1e-5)
    assert table["covariance"] == pytest.approx(form.covariance, rel=1e-3, abs=1e-12)
