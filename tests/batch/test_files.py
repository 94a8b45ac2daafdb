"""The output folder appears whole or not at all, and touches nothing else."""

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from inferprint.batch import RunOptions, files, run
from inferprint.errors import FileProblem

FILLS = {"node_id": "generic:hgx-h100-8", "country": "US", "model_id": "llama-2-70b"}
ROWS = [{"input_tokens": n, "output_tokens": n} for n in range(1, 7)]


@pytest.fixture
def options(estimator):
    return RunOptions(estimator=estimator, fills=FILLS, chunk_rows=2)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_what_is_written(kind, table, tmp_path, options):
    path = table([*ROWS, {"input_tokens": "x", "output_tokens": 1}])
    run(path, tmp_path / "a" / "b", replace(options, output_format=kind))
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == [
        f"impacts.{kind}", "rejects.csv", "summary.json", "totals.csv",
    ]  # fmt: skip
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["b"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("former", [False, True])
def test_an_interruption_leaves_what_was_there(error, former, table, tmp_path, options):
    path, out = table(ROWS), tmp_path / "out"
    if former:
        run(path, out, options)
    before = sorted((p.name, p.read_bytes()) for p in out.iterdir()) if former else None

    def stop(done, total):
        assert (done, total) == (2, None)
        raise error

    with pytest.raises(error):
        run(path, out, replace(options, progress=stop, overwrite=True))
    assert out.exists() == former
    assert not former or sorted((p.name, p.read_bytes()) for p in out.iterdir()) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "usage.csv"][not former :]


def test_progress_counts_rows(table, tmp_path, options):
    seen = []
    path = table(ROWS)
    run(path, tmp_path / "out", replace(options, progress=lambda done, total: seen.append((done, total))))
    assert seen == [(2, None), (4, None), (6, None), *seen[3:]]
    seen.clear()
    run(tmp_path / "out" / "impacts.parquet", tmp_path / "again",
        replace(options, fills=FILLS | {"input_tokens": 1, "output_tokens": 1},
                progress=lambda done, total: seen.append((done, total))))  # fmt: skip
    assert seen == [(2, 6), (4, 6), (6, 6)]


def test_overwrite_is_asked_for_and_only_takes_our_own(table, tmp_path, options):
    path, out = table(ROWS), tmp_path / "out"
    run(path, out, options)
    with pytest.raises(FileProblem, match="earlier run"):
        run(path, out, options)
    run(path, out, replace(options, overwrite=True, output_format="csv"))
    assert not (out / "impacts.parquet").exists()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(FileProblem, match=r"other files: thesis\.txt"):
        run(path, out, replace(options, overwrite=True))
    assert (out / "thesis.txt").read_text() == "mine"
    with pytest.raises(FileProblem, match="is a file"):
        run(path, path, replace(options, overwrite=True))
    (tmp_path / "empty").mkdir()
    run(path, tmp_path / "empty", options)


def test_a_full_disk_is_named(table, tmp_path, options, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = table(ROWS)
    monkeypatch.setattr("inferprint.batch.process.write_totals", full)
    with pytest.raises(FileProblem, match=r"out: cannot be written: No space left"):
        run(path, tmp_path / "out", options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["usage.csv"]


def test_a_place_that_cannot_be_written(table, tmp_path, options):
    path = table(ROWS)
    with pytest.raises(FileProblem, match="cannot be written"):
        run(path, path / "below" / "a-file", options)


def test_a_killed_run_leaves_no_output_and_the_next_one_sweeps(table, tmp_path, options):
    path, out = table(ROWS), tmp_path / "out"
    code = (
        "import sys, time\nfrom inferprint.batch import RunOptions, run\n"
        f"run({str(path)!r}, {str(out)!r}, RunOptions(fills={FILLS!r}, chunk_rows=2,"
        " progress=lambda *_: (print('reached', flush=True), time.sleep(60))))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == b"reached"
    # While it lives, its folder is left alone.
    run(path, tmp_path / "out", options)
    (left,) = (p for p in tmp_path.iterdir() if ".partial-" in p.name)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    time.sleep(0.01)
    assert left.exists()
    run(path, out, replace(options, overwrite=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "usage.csv"]


def test_duckdb_missing_says_how_to_install(table, tmp_path, options, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(FileProblem) as caught:
        run(table(ROWS), tmp_path / "out", options)
    assert "pip install 'inferprint[run]'" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_counts_that_do_not_add_up_are_an_error(table, tmp_path, options, monkeypatch):
    monkeypatch.setattr(files.RejectWriter, "count", property(lambda _: 1, lambda *_: None), raising=False)
    with pytest.raises(Exception, match="accounted for"):
        run(table(ROWS), tmp_path / "out", options)
    assert not (tmp_path / "out").exists()
