"""What a run writes, what it leaves alone, and what becomes of it where it is interrupted."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from inferprint.batch import RunOptions, run, stage
from inferprint.batch.apply import Counted
from inferprint.batch.workspace import Workspace
from inferprint.errors import FileProblem, InferprintError

FILLS = {"node_id": "generic:hgx-h100-8", "country": "US", "model_id": "llama-2-70b"}
ROWS = [{"input_tokens": n, "output_tokens": n} for n in range(1, 7)]
KINDS = {"parquet": "impacts.parquet", "csv": "impacts.csv", "json": "impacts.jsonl"}


@pytest.fixture
def options(estimator):
    return RunOptions(estimator=estimator, fills=FILLS, chunk_rows=2)


@pytest.fixture
def small_parts(monkeypatch):
    """Staging that can be continued every few records."""
    monkeypatch.setattr(stage, "PART_ROWS", 4)
    monkeypatch.setattr(stage, "TABLE_ROWS", 3)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder; the time that a run took is left out of its summary."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    if "summary.json" in found:
        summary = json.loads(found["summary.json"])
        found["summary.json"] = repr({k: v for k, v in summary.items() if k not in ("seconds", "resumed")}).encode()
    return found


def lines_of(path: Path) -> list[bytes]:
    """Lines of a text; in no order, as threads write rows as they are done with them."""
    return sorted(path.read_bytes().splitlines())


def rows_of(path: Path) -> list[tuple[object, ...]]:
    """Rows of the impacts of any format, in their order: file, row and energy."""
    if path.suffix == ".parquet":
        source = f"read_parquet('{path}/*.parquet')" if path.is_dir() else f"'{path}'"
    else:
        source = f"read_csv('{path}')" if path.suffix == ".csv" else f"read_json('{path}')"
    return duckdb.sql(f"SELECT file, row, usage_energy_wh FROM {source}").fetchall()


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written(kind, table, tmp_path, options):
    path = table([*ROWS, {"input_tokens": "x", "output_tokens": 1}])
    run(path, tmp_path / "a" / "b", replace(options, output_format=kind))
    assert names(tmp_path / "a" / "b") == sorted([KINDS[kind], "rejects.csv", "summary.json", "totals.csv"])
    assert names(tmp_path / "a") == ["b"]
    found = rows_of(tmp_path / "a" / "b" / KINDS[kind])
    assert [(file, row) for file, row, _ in found] == [(str(path), n) for n in range(1, 7)]
    energies = [energy for *_, energy in found]
    assert energies == sorted(energies)
    assert energies[0] > 0


def test_formats_hold_the_same_numbers(table, tmp_path, options):
    path = table(ROWS)
    for kind in KINDS:
        run(path, tmp_path / kind, replace(options, output_format=kind))
    found = {kind: rows_of(tmp_path / kind / name) for kind, name in KINDS.items()}
    # Text has as many digits as it takes to read the same number again.
    assert found["parquet"] == found["csv"] == found["json"]
    first = json.loads((tmp_path / "json" / "impacts.jsonl").read_text().splitlines()[0])
    with (tmp_path / "csv" / "impacts.csv").open(newline="") as file:
        assert list(first) == next(csv.reader(file))
    assert first["usage_emissions_market_gco2e"] is None


def test_one_piece_is_one_file_and_several_are_a_folder_of_parts(table, tmp_path, options, small_parts):
    path = table(ROWS)
    run(path, tmp_path / "one", replace(options, chunk_rows=100))
    assert (tmp_path / "one" / "impacts.parquet").is_file()
    run(path, tmp_path / "several", replace(options, chunk_rows=3))
    assert names(tmp_path / "several" / "impacts.parquet") == ["part-000000.parquet", "part-000001.parquet"]
    one, several = (rows_of(tmp_path / name / "impacts.parquet") for name in ("one", "several"))
    assert sorted(several) == sorted(one)
    # The output of a run is a table, a folder of parts file by file.
    parts = sorted((tmp_path / "several" / "impacts.parquet").iterdir())
    counts = run(parts, tmp_path / "again", replace(options, fills=FILLS | {"input_tokens": 1, "output_tokens": 1}))
    assert counts.counts.estimated == len(ROWS)


def test_the_output_is_readable_by_others(table, tmp_path, options):
    """The folder in which a run works is private, what comes of it follows the mask."""
    mask = os.umask(0o022)
    try:
        run(table(ROWS), tmp_path / "out", options)
    finally:
        os.umask(mask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_overwrite_is_asked_for_and_only_takes_our_own(table, tmp_path, options):
    path, out = table(ROWS), tmp_path / "out"
    run(path, out, options)
    with pytest.raises(FileProblem, match=r"(?s)earlier run.*--overwrite"):
        run(path, out, options)
    run(path, out, replace(options, overwrite=True, output_format="csv"))
    assert names(out) == ["impacts.csv", "summary.json", "totals.csv"]
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(FileProblem, match=r"other files: thesis\.txt"):
        run(path, out, replace(options, overwrite=True))
    assert (out / "thesis.txt").read_text() == "mine"
    with pytest.raises(FileProblem, match="is a file"):
        run(path, path, replace(options, overwrite=True))
    (tmp_path / "empty").mkdir()
    run(path, tmp_path / "empty", options)
    assert names(tmp_path) == ["empty", "out", "usage.csv"]


def test_a_link_to_a_folder_stays_a_link(table, tmp_path, options):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run(table(ROWS), tmp_path / "link", options)
    assert (tmp_path / "link").is_symlink()
    assert "summary.json" in names(tmp_path / "real")


def test_a_place_that_cannot_be_written(table, tmp_path, options):
    path = table(ROWS)
    with pytest.raises(FileProblem, match="cannot be written"):
        run(path, path / "below" / "a-file", options)


def test_duckdb_missing_says_how_to_install(table, tmp_path, options, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(FileProblem) as caught:
        run(table(ROWS), tmp_path / "out", options)
    assert "pip install 'inferprint[run]'" in caught.value.hint
    assert names(tmp_path) == ["usage.csv"]


def test_counts_that_do_not_add_up_are_an_error(table, tmp_path, options, monkeypatch):
    monkeypatch.setattr(Counted, "merged", property(lambda _: 1, lambda *_: None))
    with pytest.raises(InferprintError, match="accounted for"):
        run(table(ROWS), tmp_path / "out", options)
    assert names(tmp_path) == ["usage.csv"]


def test_what_would_fail_again_leaves_nothing(table, tmp_path, options):
    path = table([{"model_id": "no-such-model", "input_tokens": 1, "output_tokens": 1}])
    with pytest.raises(InferprintError, match="no-such-model"):
        run(path, tmp_path / "out", replace(options, unknown="fail"))
    assert names(tmp_path) == ["usage.csv"]


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_tells_bytes_and_rows(table, tmp_path, options, small_parts):
    seen = []
    path = table(ROWS)
    run(path, tmp_path / "out", replace(options, progress=lambda *told: seen.append(told)))
    read = [(done, total) for what, done, total in seen if what == "read"]
    assert read[-1] == (path.stat().st_size, path.stat().st_size)
    assert [done for done, _ in read] == sorted(done for done, _ in read)
    rows = [(done, total) for what, done, total in seen if what == "rows"]
    assert rows == [(3, 6), (6, 6)]
    seen.clear()
    whole = replace(options, fills=FILLS | {"input_tokens": 1, "output_tokens": 1}, chunk_rows=1)
    (part, _) = sorted((tmp_path / "out" / "impacts.parquet").iterdir())
    run(part, tmp_path / "again", replace(whole, progress=lambda *told: seen.append(told)))
    assert [(done, total) for what, done, total in seen if what == "rows"] == [(1, 3), (2, 3), (3, 3)]


def test_progress_of_a_continued_run_starts_where_it_was(table, tmp_path, options):
    seen = []

    def stop(what, done, total):
        seen.append((what, done, total))
        if (what, done) == ("rows", 2):
            raise KeyboardInterrupt

    path = tmp_path / "usage.parquet"
    duckdb.sql(f"COPY (SELECT range AS input_tokens, 5 AS output_tokens FROM range(1, 7)) TO '{path}'")
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / "out", replace(options, progress=stop))
    seen.clear()
    summary = run(path, tmp_path / "out", replace(options, progress=lambda *told: seen.append(told)))
    assert summary.resumed
    assert [told for told in seen if told[0] == "rows"] == [("rows", n, 6) for n in (2, 4, 6)]


# --- interruptions ----------------------------------------------------------------------------------------------------


@contextmanager
def stopped_at(step: int, error: type[BaseException] = KeyboardInterrupt):
    """Interrupt a run as soon as it has recorded so many steps."""
    real, done = Workspace.finish, 0

    def finish(self, name, left):
        nonlocal done
        real(self, name, left)
        done += 1
        if done == step:
            raise error

    Workspace.finish = finish
    try:
        yield
    finally:
        Workspace.finish = real


def log_line(number: int) -> str:
    """A record of LiteLLM: some repeat a request, some are bad, some are no JSON."""
    if number % 7 == 3:
        return '{"call_type": '
    record = {
        "request_id": f"q{number % 17}", "call_type": "acompletion", "startTime": 1763629200.0 + 9000 * number,
        "prompt_tokens": -5 if number % 7 == 5 else 100 + number, "completion_tokens": 10, "model": "llama-3.1-8b",
        "cache_hit": number % 11 == 4, "status": "success",
    }  # fmt: skip
    return json.dumps(record)


@pytest.fixture
def inputs(table, tmp_path):
    """A log, a table with rows of every kind, and Parquet: many pieces, that share request ids."""
    (tmp_path / "log.jsonl").write_text("\n".join(log_line(n) for n in range(24)))
    rows = [
        {
            "request_id": f"q{n % 9}" if n % 3 else "", "project_id": f"p{n % 2}",
            "model_id": "nobody-knows" if n == 2 else ("llama-2-70b", "llama-3.1-8b")[n % 2],
            "input_tokens": ("x" if n == 5 else 0 if n == 6 else 100 + n), "output_tokens": 0 if n == 6 else 20,
            "request_duration_ms": 700 + 300 * n if n in (2, 7, 8) else "",
            "techniques": "tensor-parallel:devices=8" if n in (4, 7) else "",
        }
        for n in range(14)
    ]  # fmt: skip
    text = table(rows, "rows.csv")
    text.write_text(text.read_text() + "broken\nbroken again\n")
    typed = tmp_path / "typed.parquet"
    duckdb.sql(
        "COPY (SELECT 'q' || range AS request_id, range + 50 AS input_tokens, 9 AS output_tokens, "
        f"'llama-2-70b' AS model_id FROM range(7)) TO '{typed}'"
    )
    return [tmp_path / "log.jsonl", text, typed]


@pytest.fixture
def mixed(options):
    fills = {"node_id": "generic:hgx-h100-8", "country": "US"}
    return replace(options, fills=fills, unknown="estimate", output_format="csv", chunk_rows=8, row_intervals=False)


def assert_same_output(out: Path, whole: Path) -> None:
    """Impacts and rejects to the letter, totals to 1e-12, all else that a summary says."""
    assert names(out) == names(whole)
    assert lines_of(out / "impacts.csv") == lines_of(whole / "impacts.csv")
    if (whole / "rejects.csv").exists():
        assert (out / "rejects.csv").read_bytes() == (whole / "rejects.csv").read_bytes()
    with (out / "totals.csv").open(newline="") as one, (whole / "totals.csv").open(newline="") as other:
        for line, expected in zip(csv.reader(one), csv.reader(other), strict=True):
            assert line[:3] == expected[:3]
            for cell, number in zip(line[3:], expected[3:], strict=True):
                assert cell == number or float(cell) == pytest.approx(float(number), rel=1e-12)
    one, other = (json.loads((folder / "summary.json").read_text()) for folder in (out, whole))
    for name in ("files", "formats", "counts", "warnings", "assumptions_of"):
        assert one[name] == other[name]


@pytest.fixture
def whole(inputs, mixed, tmp_path, small_parts):
    """The same inputs in one go: every outcome occurs."""
    summary = run(inputs, tmp_path / "whole", mixed)
    counts = summary.counts
    assert min(counts.estimated, counts.merged, counts.rejected, *counts.skipped.values()) > 0
    assert any("'nobody-knows' is unknown" in warning for warning in summary.warnings)
    return tmp_path / "whole"


@pytest.mark.parametrize("step", [2, 6, 9, 13])
def test_interrupted_and_continued_is_the_same(step, inputs, mixed, tmp_path, whole):
    """Every step that is recorded is a place to go on from."""
    with stopped_at(step), pytest.raises(KeyboardInterrupt):
        run(inputs, tmp_path / "out", mixed)
    assert not (tmp_path / "out").exists()
    assert run(inputs, tmp_path / "out", mixed).resumed
    assert_same_output(tmp_path / "out", whole)
    assert not (tmp_path / ".out.partial").exists()


def test_interrupted_again_and_again_is_the_same(inputs, mixed, tmp_path, whole):
    stops = 0
    while stops < 40:
        try:
            with stopped_at(4):  # the first two record once more what was staged
                run(inputs, tmp_path / "out", mixed)
            break
        except KeyboardInterrupt:
            stops += 1
    assert 3 < stops < 40
    assert_same_output(tmp_path / "out", whole)


@pytest.mark.parametrize(
    "where,kind",
    [("write_totals", "parquet"), ("write_totals", "csv"), ("join_rejects", "parquet"), ("put_in_place", "json")],
)
def test_interrupted_at_the_very_end(where, kind, table, tmp_path, options, monkeypatch):
    """The impacts were put together already: the next run finds them where they are."""
    path = table([*ROWS, {"input_tokens": "x", "output_tokens": 1}])
    made = replace(options, output_format=kind)
    run(path, tmp_path / "whole", made)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"inferprint.batch.process.{where}", stop)
        with pytest.raises(KeyboardInterrupt):
            run(path, tmp_path / "out", made)
    assert names(tmp_path) == [".out.partial", "usage.csv", "whole"]
    assert run(path, tmp_path / "out", made).resumed
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_the_former_output(error, table, tmp_path, options):
    path, out = table(ROWS), tmp_path / "out"
    run(path, out, options)
    before = contents(out)
    again = replace(options, overwrite=True, output_format="csv")
    with stopped_at(3, error), pytest.raises(error):
        run(path, out, again)
    assert contents(out) == before
    assert names(tmp_path) == [".out.partial", "out", "usage.csv"]
    assert run(path, out, again).resumed
    assert names(out) == ["impacts.csv", "summary.json", "totals.csv"]
    assert names(tmp_path) == ["out", "usage.csv"]


@pytest.mark.parametrize("same", [True, False])
def test_killed_between_the_former_output_and_the_new_one(same, table, tmp_path, options, monkeypatch):
    """For a moment neither is in its place: the next run, of the same command or another, puts the former back."""
    path, out = table(ROWS), tmp_path / "out"
    run(path, out, options)
    before = contents(out)
    real = Path.rename

    def stop(self, target):
        if Path(target) == out:
            raise SystemExit
        return real(self, target)

    again = replace(options, overwrite=True)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stop)
        with pytest.raises(SystemExit):
            run(path, out, again)
    assert not out.exists()
    with pytest.raises(FileProblem, match="earlier run"):
        run(path, out, options)
    assert contents(out) == before
    run(path, out, again if same else replace(again, chunk_rows=6))
    assert names(tmp_path) == ["out", "usage.csv"]


@pytest.mark.parametrize("change", ["content", "time", "option", "format", "file"])
def test_what_changed_in_between_starts_afresh(change, table, tmp_path, options):
    path, out = table(ROWS), tmp_path / "out"
    with stopped_at(3), pytest.raises(KeyboardInterrupt):
        run(path, out, options)
    files = [path]
    if change == "content":
        table([{"input_tokens": n, "output_tokens": n} for n in (7, 8)])
    elif change == "time":
        os.utime(path, (1, 1))
    elif change == "option":
        options = replace(options, row_intervals=False)
    elif change == "format":
        options = replace(options, output_format="csv")
    else:
        files.append(table(ROWS + ROWS, "more.csv"))
    summary = run(files, out, options)
    assert not summary.resumed
    assert summary.counts.estimated == {"content": 2, "file": 18}.get(change, 6)
    assert not (tmp_path / ".out.partial").exists()


def test_what_an_interruption_half_wrote_does_no_harm(table, tmp_path, options, small_parts):
    """A record of steps that is no JSON, and files of a step that was not finished."""
    path, out = table(ROWS), tmp_path / "out"
    run(path, tmp_path / "whole", options)
    with stopped_at(5), pytest.raises(KeyboardInterrupt):
        run(path, out, options)
    work = tmp_path / ".out.partial"
    (work / "piece-000001-text.parquet").write_bytes(b"PAR1 and no more")
    (work / "piece-000001-rejects.csv").write_text("half a li")
    assert run(path, out, options).resumed
    assert contents(out) == contents(tmp_path / "whole")
    shutil.rmtree(out)
    with stopped_at(4), pytest.raises(KeyboardInterrupt):
        run(path, out, options)
    (work / "run.json").write_text('"half')
    assert not run(path, out, options).resumed
    assert contents(out) == contents(tmp_path / "whole")


def test_a_broken_row_where_an_interrupted_run_was_counts_once(table, tmp_path, options, monkeypatch):
    """It stands behind the last good row that was staged, and was rejected already."""
    monkeypatch.setattr(stage, "PART_ROWS", 2)
    monkeypatch.setattr(stage, "TABLE_ROWS", 3)
    path = table("input_tokens,output_tokens\n1,1\n2,2\nbroken\n4,4\n5,5\nbroken\n7,7\n")
    for step in (2, 1):
        with stopped_at(step), pytest.raises(KeyboardInterrupt):
            run(path, tmp_path / "out", options)
    counts = run(path, tmp_path / "out", options).counts
    assert (counts.records, counts.estimated, counts.rejected) == (7, 5, 2)
    lines = (tmp_path / "out" / "rejects.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["3", "6"]


# --- the folder in which a run works ----------------------------------------------------------------------------------


def test_a_work_folder_that_is_none_is_left_alone(table, tmp_path, options):
    """What stands under its name may be anything, and is not deleted."""
    path, work, precious = table(ROWS), tmp_path / ".out.partial", tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    work.symlink_to(precious)
    with pytest.raises(FileProblem, match=r"\.out\.partial: belongs to somebody else"):
        run(path, tmp_path / "out", options)
    work.unlink()
    work.mkdir()
    (work / "thesis.txt").write_text("mine")
    with pytest.raises(FileProblem, match=r"\.out\.partial: holds other files"):
        run(path, tmp_path / "out", options)
    assert names(work) == names(precious) == ["thesis.txt"]
    shutil.rmtree(work)
    work.write_text("mine")
    with pytest.raises(FileProblem):
        run(path, tmp_path / "out", options)
    assert work.read_text() == "mine"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder of somebody else")
def test_a_work_folder_of_somebody_else(table, tmp_path, options):
    work = tmp_path / ".out.partial"
    work.mkdir()
    (work / "lock").write_text("")
    os.chown(work, 12345, 12345)
    with pytest.raises(FileProblem, match="belongs to somebody else"):
        run(table(ROWS), tmp_path / "out", options)
    assert names(work) == ["lock"]


# --- other processes --------------------------------------------------------------------------------------------------

CHILD = """
import json, resource, sys, time
from inferprint.batch import RunOptions, process, run, stage
from inferprint.batch.workspace import Workspace
from inferprint.errors import InferprintError

given = json.loads(sys.argv[1])
stage.PART_ROWS, stage.TABLE_ROWS = 4, 3
steps = []
finish, write_totals = Workspace.finish, process.write_totals

def reached(step):
    steps.append(step)
    if given["stop"] == [step, steps.count(step)]:
        print("reached", flush=True)
        time.sleep(120)

def finished(self, step, left):
    finish(self, step, left)
    reached(step)

def totals(*all):
    write_totals(*all)
    reached("totals")

Workspace.finish, process.write_totals = finished, totals
options = RunOptions(**given["options"])
if given["most_bytes"]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (given["most_bytes"],) * 2)
try:
    run(given["files"], given["out"], options)
except InferprintError as error:
    print(error, flush=True)
    sys.exit(3)
"""


@contextmanager
def child(files, out, options, stop=None, most_bytes=None):
    """A process that runs the same; it waits once it has done a step so many times."""
    plain = ("fills", "unknown", "output_format", "chunk_rows", "overwrite", "row_intervals")
    given = {"files": [str(file) for file in files], "out": str(out), "stop": stop, "most_bytes": most_bytes}
    given["options"] = {name: getattr(options, name) for name in plain}
    process = subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(given)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process, text: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == text


@pytest.mark.parametrize(
    "stop", [["logs", 2], ["tables", 3], ["piece-000000", 1], ["piece-000002", 1], ["totals", 1]], ids=str
)
def test_killed_and_called_again_is_the_same(stop, inputs, mixed, tmp_path, whole):
    out = tmp_path / "out"
    with child(inputs, out, mixed, stop) as process:
        wait_for(process, "reached")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    assert (tmp_path / ".out.partial").exists()
    assert run(inputs, out, mixed).resumed
    assert_same_output(out, whole)
    assert not (tmp_path / ".out.partial").exists()


def test_two_runs_at_once_do_not_share_an_output(table, tmp_path, options):
    path, out = table(ROWS), tmp_path / "out"
    with child([path], out, options, ["tables", 1]) as process:
        wait_for(process, "reached")
        for made in (options, replace(options, overwrite=True, output_format="csv")):
            with pytest.raises(FileProblem, match="another run is writing it"):
                run(path, out, made)
        # Its work is left alone, and another output is free.
        run(path, tmp_path / "other", options)
        assert (tmp_path / ".out.partial" / "tables.json").exists()
    assert run(path, out, options).resumed


def test_a_run_that_finished_in_between_is_seen(table, tmp_path, options, monkeypatch):
    """Another run may finish after a look at the place, and before this one has it for itself."""
    path, out = table(ROWS), tmp_path / "out"
    from inferprint.batch import workspace

    real = workspace._locked

    def late(folder, place):
        monkeypatch.setattr(workspace, "_locked", real)
        run(path, out, options)
        return real(folder, place)

    monkeypatch.setattr(workspace, "_locked", late)
    with pytest.raises(FileProblem, match="earlier run"):
        run(path, out, replace(options, output_format="csv"))
    assert "impacts.csv" not in names(out)
    assert not (tmp_path / ".out.partial").exists()


@pytest.mark.parametrize("most_bytes", [50, 1_500, 12_000])
def test_where_there_is_no_room_it_goes_on_once_there_is(most_bytes, table, tmp_path, options, small_parts):
    """Writes that really fail, early and late: the earlier output stays, and the same call continues."""
    rows = [{"input_tokens": n, "output_tokens": n, "project_id": f"{n:0300d}"} for n in range(1, 31)]
    made = replace(options, output_format="csv", overwrite=True, chunk_rows=8)
    path, out = table(rows), tmp_path / "out"
    run(path, tmp_path / "whole", made)
    run(table(ROWS, "first.csv"), out, made)
    before = contents(out)
    with child([path], out, made, most_bytes=most_bytes) as process:
        said, _ = process.communicate(timeout=100)
        assert process.returncode == 3
    assert f"{out}: cannot be written:" in said
    assert "The same command continues" in said
    assert contents(out) == before
    assert (tmp_path / ".out.partial").exists()
    assert run(path, out, made).resumed == (most_bytes > 50)
    assert_same_output(out, tmp_path / "whole")
    assert names(tmp_path) == ["first.csv", "out", "usage.csv", "whole"]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MiB, where one may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    may = os.getuid() == 0 and shutil.which("mount") is not None
    if not may or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_full(small_disk, table, tmp_path, options):
    path = table([{"input_tokens": n % 90, "output_tokens": n % 70} for n in range(20_000)])
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_900_000))
    made = replace(options, chunk_rows=5_000)
    with pytest.raises(FileProblem, match=r"out: cannot be written: .*(space|write)"):
        run(path, small_disk / "out", made)
    assert not (small_disk / "out").exists()
    filler.unlink()
    made = replace(options, chunk_rows=5_000)
    assert run(path, tmp_path / "whole", made).counts.records == 20_000
