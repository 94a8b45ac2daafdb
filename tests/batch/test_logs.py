"""Logs of every known format through a whole run."""

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from inferprint.batch import RunOptions, run, stage
from inferprint.batch.workspace import Workspace
from inferprint.errors import FileProblem, UnknownName
from inferprint.estimate import Request
from inferprint.usage.formats import formats, recognised
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parents[1] / "usage" / "samples"
ALL = sorted(SAMPLES.iterdir())


@pytest.fixture(scope="module")
def options(estimator):
    return RunOptions(estimator=estimator, output_format="csv", row_intervals=False)


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """All samples in one run: its summary, its impacts and its rejects."""
    out = tmp_path_factory.mktemp("logs") / "out"
    summary = run(ALL, out, options)
    return summary, rows(out / "impacts.csv"), rows(out / "rejects.csv")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def litellm(number: int, **given: object) -> dict[str, object]:
    """A record of LiteLLM's, with a request id of its own."""
    return {
        "request_id": f"r{number}", "call_type": "acompletion", "startTime": 1763629200.0 + number,
        "endTime": 1763629202.0 + number, "prompt_tokens": 100 + number, "completion_tokens": 10, "status": "success",
        "model": "llama-3.1-8b", **given,
    }  # fmt: skip


@pytest.fixture
def log(tmp_path):
    """Writes JSON lines of records, or of raw text."""

    def write(records: list[dict[str, object] | str], name: str = "log.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records) + "\n")
        return path

    return write


def accounted(counts) -> int:
    return counts.estimated + counts.merged + sum(counts.skipped.values()) + counts.rejected


# --- the samples ------------------------------------------------------------------------------------------------------


def test_there_are_samples_of_every_format():
    assert {path.name.split(".")[0].split("-")[0] for path in ALL} == set(formats())


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_a_sample_is_of_its_format_and_of_no_other(path):
    """Also as a file of another name, whose content alone tells."""
    sample = sample_of(open_source(path))
    found = [form.name for form in formats().values() if sample.kind in form.kinds and form.recognises(sample)]
    assert found == [path.name.split(".")[0].split("-")[0]]
    assert recognised(sample).name == found[0]


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_every_record_of_a_sample_has_one_outcome(path, whole):
    """A file alone ends as it does among the others: samples share no request ids."""
    _, impacts, rejects = whole
    source = open_source(path)
    form = formats()[path.name.split(".")[0].split("-")[0]]
    outcomes = Counter(type(outcome).__name__ for outcome in form.read(source, {}))
    of_file = [row for row in impacts if row["file"] == str(path)]
    refused = [row for row in rejects if row["file"] == str(path)]
    repeated = len({row["request_id"] for row in of_file if row["request_id"]})
    assert repeated == sum(bool(row["request_id"]) for row in of_file)
    # What was read as a record is estimated, merged, or refused for what only the run knows: its model, its numbers.
    assert len(of_file) <= outcomes["Record"]
    assert len(of_file) + len(refused) <= outcomes["Record"] + outcomes["Rejected"] + len(source.rejects)
    assert len(refused) >= outcomes["Rejected"] + len(source.rejects)


def test_all_samples_in_one_run(whole):
    summary, impacts, rejects = whole
    counts = summary.counts
    assert counts.records == accounted(counts)
    assert (len(impacts), len(rejects)) == (counts.estimated, counts.rejected)
    assert summary.formats == Counter(path.name.split(".")[0].split("-")[0] for path in ALL)
    assert sorted(summary.files) == [str(path) for path in ALL]
    assert set(counts.skipped) == {"no-tokens", "cached-response", "failed", "not-inference"}
    # Doubts about the formats are for those who read the summary.
    assert all(isinstance(warning, str) and "\n" not in warning for warning in summary.warnings)


def test_each_impact_is_that_of_a_single_estimate(whole, estimator):
    """What a log says of a request, asked as a single one."""
    _, impacts, _ = whole
    path = SAMPLES / "openai_usage.json"
    source = open_source(path)
    records = {r.row: r for r in formats()["openai_usage"].read(source, {}) if hasattr(r, "model_id")}
    found = [row for row in impacts if row["file"] == str(path)]
    assert found
    for row in found:
        record = records[int(row["row"])]
        single = estimator.estimate(
            Request(
                model_id=record.model_id, input_tokens=record.input_tokens, output_tokens=record.output_tokens,
                cached_input_tokens=record.cached_input_tokens, n_requests=record.n_requests,
                managed_service_id=record.managed_service_id, service_tier=record.service_tier,
                output_audio_tokens=record.output_audio_tokens,
            )
        )  # fmt: skip
        assert float(row["usage_energy_wh"]) == pytest.approx(single.usage_energy_wh.value, rel=1e-12)
        assert float(row["usage_water_ml"]) == pytest.approx(single.usage_water_ml.value, rel=1e-12)


def test_totals_of_every_dimension_add_up(whole):
    summary, _, _ = whole
    dimensions = {total.dimension for total in summary.totals}
    assert dimensions >= {"model", "service", "place", "project_id", "application_id", "user_id", "day"}
    for dimension in dimensions:
        found = [total for total in summary.totals if total.dimension == dimension]
        assert sum(total.records for total in found) == summary.counts.estimated
        assert len({total.key for total in found}) == len(found)
        for name in ("usage_energy_wh", "usage_emissions_gco2e", "usage_water_ml", "embodied_emissions_gco2e"):
            parts = sum(total.outputs[name].value for total in found)
            assert parts == pytest.approx(summary.range(name).value, rel=1e-12)


def test_shares_add_up_to_one(whole):
    summary, _, _ = whole
    assert sum(summary.quality.values()) == pytest.approx(1.0)
    assert 0 < sum(summary.uncertainty.values()) <= 1 + 1e-9
    assert list(summary.uncertainty.values()) == sorted(summary.uncertainty.values(), reverse=True)


def test_bounds_of_rows_change_nothing_else(whole, options, tmp_path):
    summary, impacts, _ = whole
    other = run(ALL, tmp_path / "out", replace(options, row_intervals=True))
    assert other.counts == summary.counts
    bounded = {(row["file"], row["row"], row["request_id"]): row for row in rows(tmp_path / "out" / "impacts.csv")}
    for row in impacts:
        full = bounded[row["file"], row["row"], row["request_id"]]
        for name, cell in row.items():
            assert full[name] == cell or float(full[name]) == pytest.approx(float(cell), rel=1e-14)
        for name in ("usage_energy_wh", "duration_ms", "embodied_water_ml"):
            assert float(full[f"{name}_low"]) <= float(full[name]) <= float(full[f"{name}_high"])
    for name, total in summary.total.outputs.items():
        found = other.range(name)
        assert (found is None) == (total is None)
        assert total is None or list(found) == pytest.approx(list(total), rel=1e-12)


def test_a_log_of_which_nothing_is_left(log, options, tmp_path):
    """Every record skipped or rejected, whether the format has request ids or not."""
    (metrics,) = (path for path in ALL if path.name == "opentelemetry-metrics.json")
    for number, path in enumerate((metrics, log([litellm(1, cache_hit=True), litellm(2, prompt_tokens=[])]))):
        summary = run(path, tmp_path / f"out{number}", options)
        assert summary.counts.estimated == 0
        assert summary.counts.records == accounted(summary.counts) == number + 1
        assert rows(tmp_path / f"out{number}" / "impacts.csv") == []


def test_formats_can_be_asked_for(options, tmp_path):
    path = SAMPLES / "litellm-payloads.jsonl"
    asked = run(path, tmp_path / "asked", replace(options, input_format="litellm"))
    assert asked.counts == run(path, tmp_path / "found", options).counts
    with pytest.raises(UnknownName, match=r"(?s)unknown format 'lite'.*litellm"):
        run(path, tmp_path / "out", replace(options, input_format="lite"))
    with pytest.raises(FileProblem, match="is json-lines, and sglang is prometheus"):
        run(path, tmp_path / "out", replace(options, input_format="sglang"))


# --- what repeats -----------------------------------------------------------------------------------------------------


def test_a_file_given_twice_is_refused(log, options, tmp_path):
    path = log([litellm(1)])
    link, copy = tmp_path / "link.jsonl", tmp_path / "copy.jsonl"
    link.symlink_to(path)
    shutil.copy(path, copy)
    for twice in ([path, path], [path, tmp_path / "." / path.name], [link, path]):
        with pytest.raises(FileProblem, match="given twice"):
            run(twice, tmp_path / "out", options)
    with pytest.raises(FileProblem, match=r"copy\.jsonl: is a copy of .*log\.jsonl"):
        run([path, copy], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("chunk_rows", [1, 3, 1000])
def test_requests_in_several_files_count_once(chunk_rows, log, table, options, tmp_path, monkeypatch):
    """Across files, formats and pieces; the first of all files counts."""
    monkeypatch.setattr(stage, "PART_ROWS", 2)
    first = log([litellm(n) for n in range(6)], "first.jsonl")
    second = log([litellm(n, prompt_tokens=7) for n in range(3, 9)], "second.jsonl")
    text = table(
        [{"request_id": f"r{n}", "model_id": "llama-3.1-8b", "input_tokens": 7, "output_tokens": 10} for n in (0, 8, 9)]
    )
    summary = run([first, second, text], tmp_path / "out", replace(options, chunk_rows=chunk_rows))
    counts = summary.counts
    assert (counts.records, counts.estimated, counts.merged, counts.rejected) == (15, 10, 5, 0)
    impacts = rows(tmp_path / "out" / "impacts.csv")
    assert Counter(row["request_id"] for row in impacts) == {f"r{n}": 1 for n in range(10)}
    kept = {row["request_id"]: Path(row["file"]).name for row in impacts}
    assert [kept[f"r{n}"] for n in (0, 5, 6, 8, 9)] == [
        "first.jsonl", "first.jsonl", "second.jsonl", "second.jsonl", "usage.csv",
    ]  # fmt: skip
    assert any("4 merged records differ" in warning for warning in summary.warnings)


def test_streamed_repeats_count_once(options, tmp_path):
    """Claude Code writes each answer several times while it grows: the last one tells its length."""
    line = {
        "type": "assistant", "sessionId": "s", "isSidechain": False, "requestId": "req-1",
        "timestamp": "2026-11-20T09:00:00.000Z",
        "message": {"id": "msg-1", "model": "claude-sonnet-4-20250514", "role": "assistant"},
    }  # fmt: skip
    written = [
        json.dumps(line | {"message": line["message"] | {"usage": {"input_tokens": 100, "output_tokens": n}}})
        for n in (1, 7, 40)
    ]
    path = tmp_path / "session.jsonl"
    path.write_text("\n".join(written))
    summary = run(path, tmp_path / "out", options)
    assert (summary.counts.records, summary.counts.estimated, summary.counts.merged) == (3, 1, 2)
    single = options.estimator.estimate(
        Request(model_id="claude-sonnet-4-20250514", managed_service_id="anthropic", input_tokens=100, output_tokens=40)
    )
    assert summary.range("usage_energy_wh").value == pytest.approx(single.usage_energy_wh.value, rel=1e-12)


def test_answers_from_a_gateways_own_store_cost_nothing(log, options, tmp_path):
    plain = run(log([litellm(1), litellm(2)], "plain.jsonl"), tmp_path / "plain", options)
    hits = run(
        log([litellm(1), litellm(3, cache_hit=True), litellm(4, cache_hit="True"), litellm(2)], "hits.jsonl"),
        tmp_path / "hits",
        options,
    )
    assert hits.counts.skipped["cached-response"] == 2
    assert hits.counts.estimated == 2
    assert hits.total.outputs == plain.total.outputs


# --- how many requests a record stands for ----------------------------------------------------------------------------


def test_an_unknown_number_of_requests_is_that_of_usual_lengths(options, tmp_path, estimator):
    """Anthropic's usage report has tokens alone: as many requests as usual lengths make of them."""
    report = {
        "data": [
            {
                "starting_at": "2026-11-20T00:00:00Z",
                "ending_at": "2026-11-21T00:00:00Z",
                "results": [
                    {
                        "model": "claude-sonnet-4-20250514", "uncached_input_tokens": 3_000_000,
                        "cache_read_input_tokens": 0, "output_tokens": 500_000,
                        "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 0},
                    }
                ],
            }
        ],
        "has_more": False,
    }  # fmt: skip
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    summary = run(path, tmp_path / "out", options)
    priors = estimator.catalogue.priors
    usual = [priors[f"mix.{name}-tokens"].value.value for name in ("input", "output")]
    expected = max(round(3_000_000 / usual[0]), round(500_000 / usual[1]))
    assert summary.counts.estimated == 1
    assert summary.counts.requests == expected
    single = estimator.estimate(
        Request(
            model_id="claude-sonnet-4-20250514", managed_service_id="anthropic", input_tokens=3_000_000,
            output_tokens=500_000, n_requests=expected,
        )
    )  # fmt: skip
    assert summary.range("usage_energy_wh").value == pytest.approx(single.usage_energy_wh.value, rel=1e-12)


# --- names that nobody knows ------------------------------------------------------------------------------------------

STRANGE = (
    litellm(1),
    litellm(2, model="zz-9000"),
    litellm(3, model="zz-9000"),
    litellm(4, custom_llm_provider="no-such-provider"),
    litellm(5, model="zz-9001", custom_llm_provider="no-such-provider"),
    litellm(6, custom_llm_provider="openrouter"),
)


def test_unknown_names_are_rejected(log, options, tmp_path):
    counts = run(log(list(STRANGE)), tmp_path / "out", options).counts
    rejects = rows(tmp_path / "out" / "rejects.csv")
    found = {int(row["row"]): (row["field"], row["reason"]) for row in rejects}
    assert (counts.estimated, counts.rejected) == (len(STRANGE) - len(found), len(found))
    assert found[2][0] == found[3][0] == "model_id"
    assert "unknown model 'zz-9000'" in found[2][1]
    assert "unknown service 'no-such-provider'" in found[4][1] or 4 not in found
    assert found[6][0] == "managed_service_id"


def test_unknown_names_are_estimated_and_said(log, options, tmp_path, estimator):
    summary = run(log(list(STRANGE)), tmp_path / "out", replace(options, unknown="estimate"))
    assert summary.counts.estimated == len(STRANGE)
    impacts = {int(row["row"]): row for row in rows(tmp_path / "out" / "impacts.csv")}
    # A model that is known stays, whatever becomes of the service that is not.
    assert impacts[6]["model"] == impacts[1]["model"] == "llama-3.1-8b"
    assert impacts[2]["model"] == impacts[5]["model"] == "generic:text-generator"
    said = [warning for warning in summary.warnings if "is unknown" in warning]
    for name in ("zz-9000", "zz-9001"):
        assert any(f"'{name}' is unknown: estimated as generic:text-generator" in warning for warning in said)
    assert any("'openrouter' is unknown: estimated as an unstated service" in warning for warning in said)
    assert not any("'generic:" in warning for warning in said)
    generic = estimator.estimate(Request(model_id="generic:text-generator", input_tokens=102, output_tokens=10))
    assert float(impacts[2]["usage_energy_wh"]) == pytest.approx(generic.usage_energy_wh.value, rel=1e-12)


def test_unknown_names_can_end_the_run(log, options, tmp_path):
    path = log(list(STRANGE))
    with pytest.raises(UnknownName) as caught:
        run(path, tmp_path / "out", replace(options, unknown="fail"))
    assert caught.value.asked in ("zz-9000", "zz-9001", "no-such-provider")
    assert caught.value.hint
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.jsonl"]
    # Bad numbers are no unknown names.
    counts = run(
        log([litellm(1), litellm(2, prompt_tokens=-1)]), tmp_path / "out", replace(options, unknown="fail")
    ).counts
    assert (counts.estimated, counts.rejected) == (1, 1)


# --- measured times ---------------------------------------------------------------------------------------------------


def test_times_are_used_where_asked_for(log, options, tmp_path, estimator):
    records = [litellm(n, completion_tokens=100, endTime=1763629200.0 + n + 4.0) for n in range(3)]
    fills = {"node_id": "generic:hgx-h100-8", "country": "US"}
    path = log(records)
    unused = run(path, tmp_path / "unused", replace(options, fills=fills))
    used = run(path, tmp_path / "used", replace(options, fills=fills, use_times=True))
    assert unused.counts == used.counts
    untimed = estimator.estimate(Request(model_id="llama-3.1-8b", input_tokens=101, output_tokens=100, **fills))
    timed = estimator.estimate(
        Request(model_id="llama-3.1-8b", input_tokens=101, output_tokens=100, request_duration_ms=4000, **fills)
    )
    (middle,) = (row for row in rows(tmp_path / "unused" / "impacts.csv") if row["row"] == "2")
    assert float(middle["usage_energy_wh"]) == pytest.approx(untimed.usage_energy_wh.value, rel=1e-12)
    (middle,) = (row for row in rows(tmp_path / "used" / "impacts.csv") if row["row"] == "2")
    assert float(middle["duration_ms"]) == pytest.approx(4000, rel=1e-9)
    assert float(middle["usage_energy_wh"]) == pytest.approx(timed.usage_energy_wh.value, rel=0.02)


# --- continued in the middle of a file --------------------------------------------------------------------------------


def sessions(count: int) -> list[dict[str, object]]:
    """Lines of Claude Code, each answer of which is written twice."""
    return [
        {
            "type": "assistant", "sessionId": "s", "isSidechain": False,
            "timestamp": f"2026-11-20T09:{n // 60:02d}:{n % 60:02d}.000Z",
            "requestId": f"req-{n // 2}",
            "message": {
                "id": f"msg-{n // 2}", "model": "claude-sonnet-4-20250514", "role": "assistant",
                "usage": {"input_tokens": 50 + n // 2, "output_tokens": 10 + n},
            },
        }
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("kept", ["no state", "state"])
def test_continued_in_the_middle_of_a_file(kept, log, options, tmp_path, monkeypatch):
    """Where a format holds records back, its file is read again; else reading goes on where it was."""
    monkeypatch.setattr(stage, "PART_ROWS", 3)
    plain = [litellm(n, cache_hit=n % 5 == 4, prompt_tokens="x" if n % 7 == 6 else 100 + n) for n in range(20)]
    records: list[dict[str, object] | str] = [*plain] if kept == "no state" else [*sessions(20)]
    records[4:4] = ["", "not JSON", '{"half": ']
    path = log(records)
    whole = run(path, tmp_path / "whole", options)
    assert whole.counts.rejected >= 2
    real, stops = Workspace.finish, 0

    def stop(self, name, left):
        nonlocal stops
        real(self, name, left)
        if name == "logs" and (left["row"] if kept == "no state" else left["parts"]):
            stops += 1
            raise KeyboardInterrupt

    monkeypatch.setattr(Workspace, "finish", stop)
    for _ in range(30):
        try:
            summary = run(path, tmp_path / "out", options)
            break
        except KeyboardInterrupt:
            if kept == "state":
                monkeypatch.setattr(Workspace, "finish", real)
    assert stops == (1 if kept == "state" else 4)
    assert summary.resumed
    assert summary.counts == whole.counts
    assert sorted((tmp_path / "out" / "impacts.csv").read_text().splitlines()) == sorted(
        (tmp_path / "whole" / "impacts.csv").read_text().splitlines()
    )
    assert (tmp_path / "out" / "rejects.csv").read_text() == (tmp_path / "whole" / "rejects.csv").read_text()
    assert [list(total.outputs["usage_energy_wh"]) for total in summary.totals] == [
        pytest.approx(list(total.outputs["usage_energy_wh"]), rel=1e-12) for total in whole.totals
    ]


@pytest.mark.parametrize("size", [1, 200, 777])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_file_in_ranges_is_the_whole(size, ends, options, tmp_path, monkeypatch):
    """Rows keep the numbers of their lines, wherever the ranges are cut."""
    records = [litellm(n, prompt_tokens=-1 if n % 6 == 5 else 100 + n, user=f"é{n}") for n in range(12)]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    lines[3:3] = ["", "not JSON"]
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + ends.join(lines).encode())
    whole = run(path, tmp_path / "whole", options)
    monkeypatch.setattr(stage, "RANGE_BYTES", size)
    parts = run(path, tmp_path / "parts", options)
    assert parts.counts == whole.counts
    for name in ("impacts.csv", "rejects.csv"):
        one, other = ((tmp_path / folder / name).read_text().splitlines() for folder in ("whole", "parts"))
        assert sorted(other) == sorted(one)


# --- mixed ------------------------------------------------------------------------------------------------------------


def test_logs_and_tables_of_every_kind_together(log, table, options, tmp_path, estimator):
    """Each file as what it is, and its columns not asked of the others."""
    import duckdb

    typed = tmp_path / "typed.parquet"
    duckdb.sql(f"COPY (SELECT 'llama-2-70b' AS model_id, 30 AS input_tokens, 3 AS output_tokens) TO '{typed}'")
    text = table([{"model_id": "llama-3.1-8b", "input_tokens": 20, "output_tokens": 2, "note": "n"}])
    lines = log([{"model_id": "llama-3.1-8b", "input_tokens": 40, "output_tokens": 4}], "table.jsonl")
    files = [SAMPLES / "helicone.csv", text, log([litellm(1)]), typed, lines, SAMPLES / "vllm.prom"]
    summary = run(files, tmp_path / "out", options)
    assert summary.formats == {"helicone": 1, "litellm": 1, "vllm": 1, "table": 3}
    impacts = rows(tmp_path / "out" / "impacts.csv")
    assert {Path(row["file"]).name for row in impacts} == {path.name for path in files}
    assert summary.counts.records == summary.counts.estimated == 6
    assert sum("columns that nothing reads: note" in warning for warning in summary.warnings) == 1


def test_an_unknown_log_says_what_it_holds(log, options, tmp_path):
    path = log([{"ts": 1, "llm": {"name": "m", "prompt_len": 3, "completion_len": 4}}])
    with pytest.raises(FileProblem) as caught:
        run(path, tmp_path / "out", options)
    assert str(path) in caught.value.message
    assert "ts, llm.name, llm.prompt_len, llm.completion_len" in caught.value.hint
    assert "--column" in caught.value.hint
    columns = {"model_id": "llm.name", "input_tokens": "llm.prompt_len", "output_tokens": "llm.completion_len"}
    mapped = replace(options, columns=columns, unknown="estimate")
    assert run(path, tmp_path / "out", mapped).counts.estimated == 1
