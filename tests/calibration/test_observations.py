"""Rows to observations: what is taken, what is assumed, and what is refused, with the reason."""

from __future__ import annotations

import csv

import pytest

from inferprint import Catalogue
from inferprint.calibration.design import design_of
from inferprint.calibration.observations import read_files
from inferprint.errors import FileProblem

CATALOGUE = Catalogue.packaged()

SERVED = {
    "row_id": "r1", "model_key": "llama-3-8b", "precision_name": "bf16", "gpu": "H100-SXM-80GB", "gpu_count": "1",
    "engine": "vllm", "serving_mode": "aggregated", "concurrency": "8", "n_in_tokens": "500", "n_out_tokens": "200",
    "system_output_tokens_per_s": "1000",
}  # fmt: skip
"""Eight requests at a time: 8 ms a token."""

ENERGY = {
    **{k: v for k, v in SERVED.items() if k != "system_output_tokens_per_s"},
    "energy_per_output_token_j": "0.3",
    "energy_boundary": "gpu_only",
}
SINGLE = {
    "row_id": "r2", "model_key": "llama-3-8b", "precision_name": "q4_k_m", "gpu": "RTX-4090-24GB", "gpu_count": "1",
    "engine": "llama.cpp", "serving_mode": "single_stream", "n_in_tokens": "500", "n_out_tokens": "100",
    "duration_s": "1.5",
}  # fmt: skip
PROMPT = {
    **{k: v for k, v in ENERGY.items() if k not in ("energy_per_output_token_j", "concurrency")},
    "serving_mode": "prefill_only",
    "energy_per_request_j": "20",
}


def write(path, *rows, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def read(tmp_path):
    """Rows as a file of a source that this package does not hold."""

    def reading(*rows, **options):
        return read_files([write(tmp_path / "my-lab" / "text.csv", *rows)], CATALOGUE, **options)

    return reading


def the_one(found):
    assert [r.reason for r in found.refused] == []
    (item,) = found.kept
    return item


class TestTaken:
    def test_time_per_token_is_that_of_a_request_of_the_batch(self, read):
        item = the_one(read(SERVED))
        assert (item.quantity, item.measured) == ("served_time_per_token", pytest.approx(8e-3, rel=1e-12))

    def test_without_a_rate_it_is_duration_over_tokens(self, read):
        row = {**SERVED, "system_output_tokens_per_s": "", "duration_s": "1.6"}
        assert the_one(read(row)).measured == pytest.approx(8e-3, rel=1e-12)

    def test_energy(self, read):
        item = the_one(read(ENERGY))
        assert (item.quantity, item.measured) == ("energy_per_output_token", 0.3)

    def test_a_single_request(self, read):
        item = the_one(read(SINGLE))
        assert (item.quantity, item.measured, item.setup.batch_size) == ("single_request_duration", 1.5, 1.0)

    def test_a_prompt_alone(self, read):
        item = the_one(read(PROMPT))
        assert (item.quantity, item.measured, item.work) == ("prompt_energy", 20.0, (500.0, 0.0, 0.0))

    def test_one_row_may_hold_several(self, read):
        found = read({**SERVED, **ENERGY})
        assert {item.quantity for item in found.kept} == {"served_time_per_token", "energy_per_output_token"}

    def test_the_machine_is_that_of_the_row(self, read):
        setup = the_one(read({**SERVED, "weight_bytes_per_param": "1.9"})).setup
        assert (setup.model_id, setup.gpu_id, setup.gpu_count, setup.batch_size, setup.precision, setup.engine) == (
            "llama-3-8b",
            "h100_80gb_sxm",
            1,
            8.0,
            "bf16",
            "vllm",
        )
        assert setup.bytes_per_param == 1.9

    def test_the_other_requests_are_like_it(self, read):
        assert the_one(read(SERVED)).setup.traffic == (500.0, 200.0, 0.0)

    def test_requests_are_split_among_the_copies_of_a_model(self, read):
        # Eight GPUs in copies of two: a fourth of 64 each
        setup = the_one(read({**SERVED, "gpu_count": "8", "tensor_parallel": "2", "concurrency": "64"})).setup
        assert (setup.replica_gpu_count, setup.batch_size, setup.techniques) == (2, 16.0, ())

    def test_a_copy_never_has_less_than_one(self, read):
        setup = the_one(read({**SERVED, "gpu_count": "8", "tensor_parallel": "1", "concurrency": "4"})).setup
        assert setup.batch_size == 1.0

    def test_experts_on_more_devices_than_attention_hold_one_copy(self, read):
        layout = {"gpu_count": "8", "tensor_parallel": "1", "expert_parallel": "8", "data_parallel": "8"}
        setup = the_one(read({**SERVED, **layout, "concurrency": "64"})).setup
        assert (setup.replica_gpu_count, setup.batch_size, setup.techniques) == (8, 64.0, ("data-parallel:ranks=8",))

    @pytest.mark.parametrize(
        "fields, engine",
        [
            ({"engine": "vLLM 0.9"}, "vllm"),
            ({"engine": "vllm", "engine_version": "0.11.1"}, "vllm-0.11"),
            ({"engine": "vllm", "engine_version": "0.5.4"}, "vllm-2024"),
            ({"engine": "vllm", "date": "2024-06"}, "vllm-2024"),
            ({"engine": "llama.cpp", "date": "2023-12"}, "llama.cpp-2023"),
            ({"engine": "llama.cpp", "date": "2024-06"}, "llama.cpp"),
            ({"engine": "ollama"}, "llama.cpp"),
            ({"engine": "transformers-4.39"}, "eager"),
            ({"engine": "trtllm"}, "tensorrt-llm"),
            ({"engine": "sglang"}, "sglang"),
            ({"engine": "vllm-2024", "date": "2026-11-30"}, "vllm-2024"),
            ({"engine": ""}, None),
        ],
        ids=str,
    )
    def test_the_engine_and_its_age(self, read, fields, engine):
        assert the_one(read({**SERVED, **fields})).setup.engine == engine

    def test_rows_of_an_unknown_source_are_only_compared_with(self, read):
        assert the_one(read(SERVED)).weight == 0.0

    def test_unless_they_are_to_be_fitted(self, read):
        assert the_one(read(SERVED, fit_unknown=True)).weight == 1.0


class TestAssumed:
    @pytest.mark.parametrize(
        "task, tokens, media",
        [
            ("lm-arena-chat", 90.0, 0.0),
            ("gpqa", 250.0, 0.0),
            ("sourcegraph-fim", 700.0, 0.0),
            ("humaneval-code", 700.0, 0.0),
            ("image-chat", 900.0, 1.0),
            ("video-chat", 4000.0, 1.0),
            ("", 250.0, 0.0),
        ],
    )
    def test_a_prompt_length_by_task(self, read, task, tokens, media):
        item = the_one(read({**ENERGY, "n_in_tokens": "", "task": task}))
        assert item.work == (tokens, 200.0, media)
        assert item.assumed == ("n_in_tokens",)

    def test_a_stated_length_is_kept(self, read):
        item = the_one(read({**ENERGY, "task": "image-chat"}))
        assert (item.work, item.assumed) == ((500.0, 200.0, 1.0), ())

    def test_a_format_that_nobody_states(self, read):
        item = the_one(read({**SERVED, "precision_name": ""}))
        assert (item.setup.precision, item.assumed) == (None, ())
        assert CATALOGUE.models[item.setup.model_id].native_precision == "bf16"
        unknown = next(m.id for m in CATALOGUE.models.values() if m.native_precision is None and m.total_params_b)
        item = the_one(read({**SERVED, "precision_name": "", "model_key": unknown}))
        assert (item.setup.precision, item.assumed) == (None, ("precision_name",))

    def test_what_is_measured_here(self, observations):
        # ML.ENERGY v3 publishes no prompt lengths, AIConfigurator all of them.
        by_source = {
            (item.source, "n_in_tokens" in item.assumed) for item in observations.of("energy_per_output_token")
        }
        assert ("mlenergy-v3", False) not in by_source
        assert not any(
            "n_in_tokens" in item.assumed
            for item in observations.of("served_time_per_token")
            if item.source == "aiconfigurator-silicon"
        )


REFUSED = [
    ("concurrency missing", SERVED, {"concurrency": ""}, "concurrency is not stated"),
    ("concurrency missing, energy", ENERGY, {"concurrency": ""}, "concurrency is not stated"),
    ("concurrency below one", SERVED, {"concurrency": "0.5"}, "at least one request"),
    ("unknown GPU", SERVED, {"gpu": "H1000-SXM"}, "H1000-SXM"),
    ("unknown model", SERVED, {"model_key": "llama-99-8b"}, "llama-99-8b"),
    ("unknown format", SERVED, {"precision_name": "fp7"}, "fp7"),
    ("power above twice the limit", SERVED, {"avg_gpu_power_w_per_gpu": "1401"}, "more than twice its limit of 700 W"),
    ("a negative number", ENERGY, {"energy_per_output_token_j": "-1"}, "cannot be negative or infinite"),
    ("a negative length", SERVED, {"n_in_tokens": "-5"}, "n_in_tokens is -5"),
    ("an infinite number", ENERGY, {"energy_per_output_token_j": "inf"}, "cannot be negative or infinite"),
    ("no number", ENERGY, {"energy_per_output_token_j": "abc"}, "energy_per_output_token_j is 'abc', not a number"),
    ("not a number", ENERGY, {"energy_per_output_token_j": "nan"}, "cannot be negative or infinite"),
    ("nothing measured", ENERGY, {"energy_per_output_token_j": "0"}, "must be above 0"),
    ("no answer, time", SERVED, {"n_out_tokens": "0"}, "n_out_tokens is 0"),
    ("no answer, energy", ENERGY, {"n_out_tokens": "0"}, "n_out_tokens is 0"),
    ("answer length missing", SERVED, {"n_out_tokens": ""}, "n_out_tokens is not stated"),
    ("neither prompt nor answer", SINGLE, {"n_in_tokens": "0", "n_out_tokens": "0"}, "neither prompt nor answer"),
    ("boundary of the wall", ENERGY, {"energy_boundary": "system_wall_ac"}, "of the boundary system_wall_ac"),
    ("boundary of the wall, prompt", PROMPT, {"energy_boundary": "system_wall_ac"}, "of the boundary system_wall_ac"),
    ("disaggregated", SERVED, {"serving_mode": "disaggregated"}, "separate workers"),
    ("a repeat", SERVED, {"repeats_row_id": "r0"}, "the same run as r0"),
    ("number of GPUs missing", SERVED, {"gpu_count": ""}, "gpu_count is not stated"),
    ("more tokens than any", SERVED, {"n_out_tokens": "1e30"}, "n_out_tokens is 1e30, more than 10,000,000"),
    ("more requests than any", SERVED, {"concurrency": "1.5e99"}, "concurrency is 1.5e99, more than 100,000"),
    ("no engine", SERVED, {"engine": "vlm"}, "engine is 'vlm', nearest vllm: one of vllm, "),
    ("an engine of denoisers", SERVED, {"engine": "diffusers"}, "engine is 'diffusers'"),
    ("no date", SERVED, {"date": "yesterday"}, "date is 'yesterday', which is not YYYY, YYYY-MM or YYYY-MM-DD"),
    ("no day", SERVED, {"date": "2026-02-30"}, "date is '2026-02-30'"),
    ("no GPU", SERVED, {"gpu_count": "0"}, "gpu_count is 0: it must be above 0"),
]


@pytest.mark.parametrize("base, fields, reason", [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_used_is_refused_with_its_id_and_the_reason(read, base, fields, reason):
    found = read({**base, **fields})
    assert found.kept == []
    (refusal,) = found.refused
    assert reason in refusal.reason
    assert (refusal.row_id, refusal.source) == (base["row_id"], "my-lab")


def test_power_of_twice_the_limit_is_still_taken(read):
    the_one(read({**SERVED, "avg_gpu_power_w_per_gpu": "1400"}))


@pytest.mark.parametrize("fields", [{"n_out_tokens": "1e7"}, {"concurrency": "1e5"}, {"n_in_tokens": "1e7"}], ids=str)
def test_the_most_that_a_row_may_state_is_still_taken(read, fields):
    the_one(read({**SERVED, **fields}))


@pytest.mark.parametrize("date", ["2026", "2026-11", "2026-11-30", "2026-11-30T12:00:00Z", ""])
def test_dates(read, date):
    the_one(read({**SERVED, "date": date}))


class TestPower:
    """An energy over the time of its row is a power: 0.3 J a token at 1000 tokens/s are 300 W, of an H100 of 700 W."""

    def reasons(self, found):
        """Why the energies were refused; the times stay."""
        assert [item.quantity for item in found.kept] == ["served_time_per_token"]
        return [item.reason for item in found.refused]

    def idle_w(self):
        return CATALOGUE.gpus["h100_80gb_sxm"].idle_power_w

    def test_bounds_of_what_is_taken(self, read):
        least = self.idle_w() / 20
        for watts in (least * 1.001, 1399):
            found = read({**SERVED, **ENERGY, "energy_per_output_token_j": repr(watts / 1000)})
            assert (len(found.kept), found.refused) == (2, [])

    @pytest.mark.parametrize(
        "joules, reason",
        [
            ("1.401", "1.4e+03 W per GPU is more than twice its limit of 700 W; is the meter in W?"),
            ("3e-4", "0.3 W per GPU is less than a twentieth of the"),
        ],
    )
    def test_power_that_no_accelerator_has(self, read, joules, reason):
        (found,) = self.reasons(read({**SERVED, **ENERGY, "energy_per_output_token_j": joules}))
        assert found.startswith(f"energy_per_output_token_j: {float(joules):.3g} J in 0.001 s: {reason}")
        assert found.endswith("is the meter in W?")

    def test_power_is_that_of_each_accelerator(self, read):
        found = read({**SERVED, **ENERGY, "gpu_count": "8", "energy_per_output_token_j": "3"})
        assert (len(found.kept), found.refused) == (2, [])

    def test_a_prompt_over_its_time(self, read):
        found = read({**PROMPT, "concurrency": "1", "duration_s": "0.1", "energy_per_request_j": "0.05"})
        (refusal,) = found.refused
        assert "0.5 W per GPU is less than a twentieth" in refusal.reason

    def test_a_picture_over_the_time_of_its_pass(self, read):
        found = read(PICTURE | {"energy_per_image_j": "8"})
        assert [item.quantity for item in found.kept] == ["image_time"]
        assert "1.07 W per GPU is less than a twentieth" in found.refused[0].reason

    def test_without_a_time_there_is_no_power(self, read):
        assert the_one(read({**ENERGY, "energy_per_output_token_j": "1e6"})).measured == 1e6


PICTURE = {
    "row_id": "i",
    "model_id": "black-forest-labs/FLUX.1-dev",
    "gpu": "H100-SXM-80GB",
    "gpu_count": "1",
    "batch_size": "4",
    "inference_steps": "28",
    "width_px": "1024",
    "height_px": "1024",
    "batch_latency_s": "30",
    "energy_per_image_j": "8000",
}


def test_a_picture_is_its_energy_and_the_time_of_its_pass(read):
    found = read(PICTURE)
    assert [(o.quantity, o.measured) for o in found.kept] == [("image_energy", 8000.0), ("image_time", 30.0)]
    assert found.kept[0].setup.batch_size == 4


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"batch_size": ""}, "batch_size is not stated"),
        ({"inference_steps": "0"}, "inference_steps is 0: it must be above 0"),
        ({"width_px": "wide"}, "width_px is 'wide', not a number"),
    ],
    ids=str,
)
def test_a_picture_without_its_work_is_refused(read, change, reason):
    found = read(PICTURE | change)
    assert [(r.quantity, r.reason) for r in found.refused] == [("image_energy", reason), ("image_time", reason)]


def test_a_picture_measured_at_the_wall_tells_only_its_time(read):
    found = read(PICTURE | {"energy_boundary": "system_wall_ac"})
    assert [o.quantity for o in found.kept] == ["image_time"]
    assert "not of the GPUs alone" in found.refused[0].reason


def test_one_bad_row_refuses_no_other(read):
    found = read({**SERVED, "row_id": "bad", "gpu": "nothing"}, SERVED)
    assert [item.row_id for item in found.kept] == ["r1"]
    assert [refusal.row_id for refusal in found.refused] == ["bad"]


def test_weights_that_cannot_fit_are_refused_by_the_cards(read):
    # Llama-3-70B at 16 bit, 141 GB, on one GPU of 80 GB
    found = read({**SERVED, "model_key": "llama-3-70b"})
    design = design_of(found, ("served_time_per_token",), CATALOGUE)
    assert design.points == []
    (refusal,) = design.refused
    assert (refusal.row_id, refusal.quantity) == ("r1", "served_time_per_token")
    assert "needs" in refusal.reason
    assert "bytes" in refusal.reason


class TestTwice:
    def test_a_measurement_in_two_files_is_taken_once(self, tmp_path):
        files = [write(tmp_path / "my-lab" / name, {**SERVED, "row_id": name}) for name in ("a.csv", "b.csv")]
        assert [item.row_id for item in read_files(files, CATALOGUE).kept] == ["a.csv"]

    def test_other_values_of_the_same_machine_are_taken(self, tmp_path):
        rows = {"a.csv": "1000", "b.csv": "1001"}
        files = [
            write(tmp_path / "my-lab" / name, {**SERVED, "system_output_tokens_per_s": rate})
            for name, rate in rows.items()
        ]
        assert len(read_files(files, CATALOGUE).kept) == 2

    def test_a_refusal_counts_once(self, tmp_path):
        path = write(tmp_path / "my-lab" / "a.csv", {**SERVED, "gpu": "nothing"})
        assert len(read_files([path, path], CATALOGUE).refused) == 1


class TestFiles:
    def test_a_byte_order_mark_is_no_part_of_a_name(self, tmp_path):
        path = write(tmp_path / "my-lab" / "a.csv", SERVED, encoding="utf-8-sig")
        assert len(read_files([path], CATALOGUE).kept) == 1

    def test_columns_that_are_missing_are_named(self, tmp_path):
        path = write(tmp_path / "a.csv", {"model_id": "x", "tokens": "3"})
        with pytest.raises(FileProblem, match="no column row_id and no gpu"):
            read_files([path], CATALOGUE)

    def test_an_empty_file_is_no_table(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_bytes(b"")
        with pytest.raises(FileProblem, match="no table of measurements"):
            read_files([path], CATALOGUE)

    def test_a_head_without_rows_holds_nothing(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("row_id,gpu\n", encoding="utf-8")
        found = read_files([path], CATALOGUE)
        assert (found.kept, found.refused) == ([], [])

    @pytest.mark.parametrize("content", [b"row_id,gpu\n\xff\xfe,x\n", b"row_id,gpu\n" + b"x" * 200_000 + b",y\n"])
    def test_what_is_no_table_of_text_is_a_problem_of_the_file(self, tmp_path, content):
        path = tmp_path / "a.csv"
        path.write_bytes(content)
        with pytest.raises(FileProblem, match="cannot read"):
            read_files([path], CATALOGUE)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(FileProblem, match="cannot read"):
            read_files([tmp_path / "none.csv"], CATALOGUE)

    def test_a_row_with_too_few_or_too_many_cells_lacks_or_loses_them(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("row_id,gpu,n_out_tokens,energy_per_output_token_j\nr1,H100\nr2,H100,3,0.1,more,cells\n")
        assert [r.row_id for r in read_files([path], CATALOGUE).refused] == ["r2"]


class TestWeights:
    """What `source.toml` says of the sources of this package."""

    def test_a_source_is_fitted_as_it_says(self, observations):
        assert {item.weight for item in observations.of("served_time_per_token") if item.source == "mlenergy-v3"} != {
            0.0
        }

    def test_rows_for_checks_have_none(self, observations):
        checked = [i for i in observations.kept if i.setup.gpu_id == "gb200_186gb" and "silicon" in i.source]
        assert checked
        assert {item.weight for item in checked} == {0.0}

    def test_layers_in_turns_on_several_devices_have_none(self, observations):
        turns = [i for i in observations.kept if i.setup.engine == "eager" and (i.setup.gpu_count or 1) > 1]
        assert turns
        assert {item.weight for item in turns} == {0.0}

    def test_none_is_negative_or_above_one(self, observations):
        assert all(0 <= item.weight <= 1 for item in observations.kept)
