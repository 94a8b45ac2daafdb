"""What a run makes of its files: damaged ones, late columns, ranges, and where it takes up reading again."""

import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace

import duckdb
import pytest

from inferprint.batch import RunOptions, run, stage
from inferprint.errors import FileProblem, InferprintError
from inferprint.usage import source

FILLS = {"model_id": "llama-2-70b", "node_id": "generic:hgx-h100-8", "country": "US"}


@pytest.fixture
def options(estimator):
    return RunOptions(estimator=estimator, fills=FILLS)


def payload(number, **more):
    record = {"id": f"r{number}", "call_type": "acompletion", "status": "success", "custom_llm_provider": "openai",
              "model": "gpt-4o", "prompt_tokens": 100 + number, "completion_tokens": 10, "total_tokens": 110 + number,
              "startTime": 1.79e9 + number, "endTime": 1.79e9 + number + 2,
              "cache_hit": False, "metadata": {}}  # fmt: skip
    return json.dumps(record | more) + "\n"


def test_a_line_that_is_too_long_ends_a_range(tmp_path, estimator, monkeypatch):
    """The first line after it is read once, whichever range it is in."""
    monkeypatch.setattr(source, "MAX_LINE_BYTES", 4_096)
    monkeypatch.setattr(stage, "RANGE_BYTES", 2_048)
    path = tmp_path / "log.jsonl"
    lines = [payload(n, note="x" * (9_000 if n in (4, 9) else 10)) for n in range(14)]
    path.write_text("".join(lines), encoding="utf-8")
    counts = run(path, tmp_path / "out", RunOptions(estimator=estimator)).counts
    assert (counts.records, counts.estimated, counts.merged, counts.rejected) == (14, 12, 0, 2)


def test_broken_rows_of_a_csv_log_count_once_when_a_run_is_continued(tmp_path, estimator, monkeypatch):
    monkeypatch.setattr(stage, "PART_ROWS", 10)
    header = (
        "request_id,call_type,startTime,endTime,model,custom_llm_provider,prompt_tokens,completion_tokens,spend,status"
    )
    rows = [
        "broken" if n % 7 == 3 else f"r{n},acompletion,2026-11-20T09:00:00Z,,gpt-4o,openai,{100 + n},10,0.1,success"
        for n in range(60)
    ]
    path = tmp_path / "log.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    options = RunOptions(estimator=estimator, input_format="litellm")
    whole = run(path, tmp_path / "whole", options).counts
    checkpoint, seen = stage.Stage._checkpoint, []

    def stop(self):
        checkpoint(self)
        seen.append(self.state.row)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(stage.Stage, "_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "out", options)
    monkeypatch.setattr(stage.Stage, "_checkpoint", checkpoint)
    again = run(path, tmp_path / "out", options)
    assert again.resumed
    assert again.counts == whole
    assert whole.rejected == sum(row == "broken" for row in rows)


def test_a_key_of_later_objects_counts(tmp_path, options):
    """Cached tokens that no object has at first are those of the object that has them."""
    plain, cached = ({"input_tokens": 9_000, "output_tokens": 10}, {"cached_input_tokens": 8_000})
    lines = [json.dumps(plain)] * 1_200 + [json.dumps(plain | cached)]
    path = tmp_path / "usage.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    run(path, tmp_path / "out", replace(options, output_format="csv"))
    read = duckdb.execute(f"SELECT row, usage_energy_wh FROM '{tmp_path / 'out' / 'impacts.csv'}'").fetchall()
    energy = dict(read)
    assert energy[1] == energy[1_200] > 1.5 * energy[1_201]


def test_the_day_is_that_of_utc_wherever_it_runs(tmp_path):
    path = tmp_path / "usage.parquet"
    moment = "'2026-11-20T23:30:00+00:00'::TIMESTAMPTZ AS utc_datetime"
    duckdb.execute(
        f"COPY (SELECT 'llama-2-70b' AS model_id, 10 AS input_tokens, 5 AS output_tokens, {moment}) TO '{path}'"
    )
    code = (
        "from inferprint.batch import run\n"
        f"summary = run({str(path)!r}, {str(tmp_path / 'out')!r})\n"
        "print([total.key for total in summary.totals if total.dimension == 'day'])"
    )
    environment = {**os.environ, "TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "['2026-11-20']"


def test_files_that_cannot_be_read_are_rejected_and_the_others_count(table, read, tmp_path, options):
    good = table([{"input_tokens": 10, "output_tokens": 5}] * 3)
    bad = {"empty.csv": b"", "utf16.csv": "a,b\n1,2\n".encode("utf-16"), "cut.parquet": b"PAR1 and no more"}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    files = [good, *(tmp_path / name for name in bad if name != "cut.parquet")]
    counts = run(files, tmp_path / "out", options).counts
    assert (counts.records, counts.estimated, counts.rejected) == (5, 3, 2)
    rejects = read(tmp_path / "out" / "rejects.csv")
    assert [(reject["row"], reject["reason"]) for reject in rejects] == [("0", "is empty"), ("0", "is in UTF-16")]
    with pytest.raises(FileProblem, match="is empty"):
        run(tmp_path / "empty.csv", tmp_path / "alone", options)


def test_a_small_file_that_is_cut_short_counts_as_far_as_it_goes(tmp_path, options):
    lines = "".join(f"{n},5\n" for n in range(1, 4_000))
    packed = gzip.compress(f"input_tokens,output_tokens\n{lines}".encode())
    path = tmp_path / "usage.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    counts = run(path, tmp_path / "out", options).counts
    assert counts.rejected >= 1
    assert 1_000 < counts.estimated < 3_999
    assert counts.estimated + counts.rejected == counts.records


@pytest.mark.parametrize(
    "fill",
    [{"country": "ZZ"}, {"managed_service_id": "foo"}, {"pue": 0.5}, {"engine": "foo"}, {"techniques": ("foo",)}],
)
def test_what_is_wrong_with_an_option_ends_the_run(fill, table, tmp_path, options):
    path = table([{"model_id": "llama-2-70b", "input_tokens": 10, "output_tokens": 5}])
    with pytest.raises(InferprintError):
        run(path, tmp_path / "out", replace(options, fills=fill))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["usage.csv"]
