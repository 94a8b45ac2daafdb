"""Tables with pictures, video and sound."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import duckdb
import pytest

from inferprint.batch import RunOptions, run
from inferprint.errors import FileProblem, InvalidInput
from inferprint.estimate import Request
from inferprint.estimate.media import MEDIA_FIELDS
from inferprint.quantities import BREAKDOWN, RESULTS

IMAGE, VIDEO, SOUND, EAR, EYE, TEXT = (
    "flux.1-dev", "wan2.1-14b", "ace-step", "whisper-large-v3", "qwen2.5-vl-7b", "llama-3.1-8b",
)  # fmt: skip
ROWS = [
    {"model_id": TEXT, "input_tokens": 1000, "output_tokens": 200},
    {"model_id": EYE, "input_tokens": 100, "output_tokens": 200},
    {"model_id": EYE, "input_tokens": 100, "output_tokens": 50, "input_images": "1024x768;512x512"},
    {"model_id": EYE, "output_tokens": 50, "input_images": '["1024x768"]'},
    {"model_id": EYE, "input_tokens": 2000, "output_tokens": 50, "input_images": "1024x768",
     "media_tokens_included": "yes"},
    {"model_id": EYE, "input_tokens": 60, "output_tokens": 150, "n_requests": 3, "input_images": "640x480"},
    {"model_id": IMAGE, "output_images": "1024x1024", "input_steps": 20},
    {"model_id": IMAGE, "output_images": 3},
    {"model_id": IMAGE, "input_tokens": 0, "output_tokens": 0, "output_images": "512x512 768x768"},
    {"model_id": IMAGE},
    {"model_id": VIDEO, "output_video_seconds": 5, "output_video_resolution": 480},
    {"model_id": VIDEO, "output_video_frames": 81, "output_video_resolution": "832x480"},
    {"model_id": SOUND, "output_audio_seconds": 30},
    {"model_id": SOUND, "output_audio_seconds": 30, "n_requests": 4},
    {"model_id": EAR, "input_audio_seconds": 60},
    {"model_id": EAR, "input_audio_seconds": 60, "output_tokens": 100},
    {"model_id": "text-embedding-3-small", "input_tokens": 300},
    {"task": "image-generation", "output_images": 2},
    {"task": "chat", "model_id": TEXT, "input_tokens": 10, "output_tokens": 20},
]  # fmt: skip
NUMBERS = {"input_tokens", "output_tokens", "n_requests", "input_steps", "request_duration_ms", "batch_size"}
NUMBERS |= {name for name in MEDIA_FIELDS if name.endswith(("seconds", "frames"))}


@pytest.fixture
def options(estimator):
    return RunOptions(estimator=estimator, output_format="csv")


def request_of(row) -> Request:
    given = {name: value for name, value in row.items() if value is not None}
    if "media_tokens_included" in given:
        given["media_tokens_included"] = given["media_tokens_included"] == "yes"
    return Request(**given)


def assert_same_as_single(rows, impacts, estimator, tolerance=1e-12):
    assert len(rows) == len(impacts)
    for row, impact in zip(rows, impacts, strict=True):
        single = estimator.estimate(request_of(row))
        assert impact["model"] == single.machine.model
        for quantity in (*RESULTS, *BREAKDOWN):
            expected = single.range(quantity.name)
            if expected is None:
                assert impact[quantity.name] == ""
                continue
            suffixes = ("", "_low", "_high") if quantity in RESULTS else ("",)
            cells = [float(impact[quantity.name + suffix]) for suffix in suffixes]
            assert cells == pytest.approx(list(expected)[: len(cells)], rel=tolerance, abs=1e-300)


@pytest.mark.parametrize("chunk_rows", [100, 1, 4])
def test_a_mixed_table_is_its_rows_one_by_one(chunk_rows, table, read, tmp_path, options, estimator):
    summary = run(table(ROWS), tmp_path / "out", replace(options, chunk_rows=chunk_rows))
    impacts = read(tmp_path / "out" / "impacts.csv")
    assert summary.counts.estimated == len(ROWS)
    assert_same_as_single(ROWS, impacts, estimator)
    for quantity in RESULTS:
        total = summary.range(quantity.name)
        if total is not None:
            sums = [math.fsum(float(i[quantity.name + side]) for i in impacts) for side in ("", "_low", "_high")]
            assert total.value == pytest.approx(sums[0], rel=1e-9)
            assert sums[1] * (1 - 1e-12) <= total.low <= total.high <= sums[2] * (1 + 1e-12)


def test_many_works_share_a_card(table, tmp_path, options, estimator):
    rows = [{"model_id": SOUND, "output_audio_seconds": 1 + i} for i in range(50)]
    rows += [{"model_id": EYE, "input_images": f"{64 + i}x64", "output_tokens": i} for i in range(50)]
    before = len(estimator._machines)
    run(table(rows), tmp_path / "out", options)
    assert len(estimator._machines) <= before + 2


def test_lists_and_numbers_of_parquet(tmp_path, read, options, estimator):
    path = tmp_path / "t.parquet"
    rows = f"""('{IMAGE}' , ['1024x1024', '512x512'], 20, NULL, false), ('{SOUND}', NULL, NULL, 30.5, NULL),
        ('{IMAGE}', []::VARCHAR[], NULL, NULL, false)"""
    duckdb.execute(
        "COPY (SELECT * FROM (VALUES " + rows + ") t(model_id, output_images, input_steps, output_audio_seconds, "
        f"media_tokens_included)) TO '{path}'"
    )
    counts = run(path, tmp_path / "out", options).counts
    assert (counts.records, counts.estimated) == (3, 3)
    singles = [
        {"model_id": IMAGE, "output_images": ["1024x1024", "512x512"], "input_steps": 20},
        {"model_id": SOUND, "output_audio_seconds": 30.5},
        {"model_id": IMAGE},
    ]
    assert_same_as_single(singles, read(tmp_path / "out" / "impacts.csv"), estimator)


def test_a_number_of_pictures_in_parquet(tmp_path, read, options, estimator):
    path = tmp_path / "t.parquet"
    duckdb.execute(f"COPY (SELECT '{IMAGE}' AS model_id, 2.0::DOUBLE AS output_images) TO '{path}'")
    run(path, tmp_path / "out", options)
    assert_same_as_single([{"model_id": IMAGE, "output_images": 2}], read(tmp_path / "out" / "impacts.csv"), estimator)


BAD = [
    ({"output_images": "16:9"}, "output_images", "'16:9' is not a size. Width x height in pixels"),
    ({"output_images": "512x512;0x4"}, "output_images", "0x4 has a side of 0 pixels. 16 to 16384"),
    ({"output_images": 101}, "output_images", "101 pictures; at most 100"),
    ({"output_images": "-2"}, "output_images", "-2 is below 0"),
    ({"output_images": "0"}, "output_images", "0: nothing is made"),
    ({"output_images": "9000x9000"}, "output_images", "does not make 9000x9000"),
    ({"input_images": "64x64;" * 101}, "input_images", "101 pictures; at most 100"),
    ({"input_steps": 0}, "input_steps", "0 steps. 1 to 10000."),
    ({"input_steps": "many"}, "input_steps", "'many' is not a number"),
    ({"input_steps": 2.5}, "input_steps", "2.5 is not a whole number"),
    ({"strength": 2}, "strength", "2 of the steps"),
    ({"output_video_seconds": 0}, "output_video_seconds", "a 0-second clip"),
    ({"output_video_seconds": 5}, "output_video_seconds", "flux.1-dev makes images, not videos"),
    ({"image_detail": "fine"}, "image_detail", "'fine' is unknown"),
    ({"media_tokens_included": "maybe"}, "media_tokens_included", "'maybe' is neither true nor false"),
    ({"task": "painting"}, "task", "'painting' is unknown"),
    ({"model_id": TEXT, "input_images": "64x64", "output_tokens": 5}, "input_images", "llama-3.1-8b reads no pictures"),
    ({"model_id": TEXT}, "input_tokens", "is missing"),
    ({"model_id": TEXT, "input_tokens": 5}, "output_tokens", "is missing"),
    ({"model_id": EYE, "input_tokens": -1, "input_images": "64x64"}, "input_tokens", "-1 is below 0"),
    ({"time_per_output_token_ms": 5}, "time_per_output_token_ms", "writes no tokens"),
    ({"model_id": "flux.1-dew"}, "model_id", "unknown model"),
    ({"model_id": ""}, "model_id", "is missing"),
]


@pytest.mark.parametrize("bad,field,reason", BAD, ids=[f"{i}-{field}" for i, (_, field, _) in enumerate(BAD)])
def test_a_bad_row_is_named_and_the_run_goes_on(bad, field, reason, table, read, tmp_path, options):
    good = {"model_id": IMAGE}
    path = table([good | {"input_tokens": ""}, good | bad, good])
    if set(bad) <= {"model_id", "input_tokens", "time_per_output_token_ms"}:
        # Without a column of pictures, tokens would be asked for.
        path = table([good | {"input_images": ""}, good | {"input_tokens": ""} | bad, good])
    counts = run(path, tmp_path / "out", options).counts
    assert (counts.estimated, counts.rejected) == (2, 1)
    (reject,) = read(tmp_path / "out" / "rejects.csv")
    assert (reject["row"], reject["field"]) == ("2", field)
    assert reason in reject["reason"]
    assert "\n" not in reject["reason"]


def test_pictures_without_tokens_are_not_skipped(table, tmp_path, options):
    rows = [
        {"model_id": EYE, "input_tokens": 0, "output_tokens": 0, "input_images": "64x64"},
        {"model_id": EYE, "input_tokens": 0, "output_tokens": 0, "input_images": ""},
        {"model_id": EYE, "input_tokens": 0, "output_tokens": 0, "input_images": "[]"},
    ]
    counts = run(table(rows), tmp_path / "out", options).counts
    assert (counts.estimated, counts.skipped, counts.rejected) == (1, {"no-tokens": 2}, 0)


def test_options_fill_what_the_table_lacks(table, read, tmp_path, options, estimator):
    fills = {"model_id": IMAGE, "output_images": ["512x512"], "input_steps": 10}
    run(table([{"output_images": ""}, {"output_images": "1024x1024"}]), tmp_path / "out", replace(options, fills=fills))
    singles = [{"model_id": IMAGE, "output_images": size, "input_steps": 10} for size in ("512x512", "1024x1024")]
    assert_same_as_single(singles, read(tmp_path / "out" / "impacts.csv"), estimator)


def test_a_bad_option_stops_the_run(table, tmp_path, options):
    with pytest.raises(InvalidInput, match="task: 'painting' is unknown"):
        run(table([{"output_images": 1}]), tmp_path / "out", replace(options, fills={"task": "painting"}))


def test_columns_are_mapped(table, read, tmp_path, options, estimator):
    mapped = replace(options, columns={"output_images": "size", "input_steps": "num_inference_steps"})
    run(table([{"model_id": IMAGE, "size": "512x512", "num_inference_steps": 12}]), tmp_path / "out", mapped)
    single = {"model_id": IMAGE, "output_images": "512x512", "input_steps": 12}
    assert_same_as_single([single], read(tmp_path / "out" / "impacts.csv"), estimator)


def test_a_table_of_text_still_needs_its_columns(table, tmp_path, options):
    with pytest.raises(FileProblem, match="no column for output_tokens"):
        run(table([{"model_id": TEXT, "input_tokens": 5}]), tmp_path / "out", options)


def test_a_measured_duration_is_that_of_its_row(table, read, tmp_path, options, estimator):
    rows = [
        {"model_id": IMAGE, "output_images": 1, "request_duration_ms": ms, "batch_size": batch}
        for ms in (4000, 9000)
        for batch in (1, None)
    ]
    run(table(rows), tmp_path / "out", options)
    assert_same_as_single(rows, read(tmp_path / "out" / "impacts.csv"), estimator)


def test_pictures_that_share_a_stated_batch(table, read, tmp_path, options, estimator):
    rows = [{"model_id": IMAGE, "output_images": n, "batch_size": 4} for n in (1, 4, 2, 4)]
    run(table(rows), tmp_path / "out", options)
    assert_same_as_single(rows, read(tmp_path / "out" / "impacts.csv"), estimator)


def test_the_summary_lists_what_was_assumed_of_the_work(table, tmp_path, options):
    run(table([{"model_id": IMAGE, "output_images": 1}] * 3), tmp_path / "out", options)
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assumed = [entry["field"] for entry in stored["assumptions"]]
    assert assumed.count("input_steps") == 1
    assert "model_id" not in assumed


def test_records_that_differ_in_their_pictures_are_told(table, tmp_path, options):
    rows = [{"request_id": "a", "model_id": IMAGE, "output_images": size} for size in ("64x64", "512x512")]
    rows[0]["output_images"] = "1024x1024"
    summary = run(table(rows), tmp_path / "out", options)
    assert summary.counts.merged == 1
    assert any("merged records differ" in warning for warning in summary.warnings)
