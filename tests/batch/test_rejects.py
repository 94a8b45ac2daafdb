"""Every kind of bad row is set aside with its place and the reason; bad files stop the run."""

import csv
import gzip
import io

import duckdb
import pytest

from inferprint.batch import RunOptions, run
from inferprint.errors import FileProblem

FILLS = {"node_id": "generic:hgx-h100-8", "country": "US", "model_id": "llama-2-70b"}
GOOD = {"input_tokens": 100, "output_tokens": 10}
BAD = [
    ({"input_tokens": -5}, "input_tokens", "-5 is below 0"),
    ({"input_tokens": -1}, "input_tokens", "-1 is below 0"),
    ({"input_tokens": 1.5}, "input_tokens", "1.5 is not a whole number"),
    ({"input_tokens": ""}, "input_tokens", "is missing"),
    ({"output_tokens": ""}, "output_tokens", "is missing"),
    ({"output_tokens": "many"}, "output_tokens", "'many' is not a number"),
    ({"output_tokens": "1_000"}, "output_tokens", "'1_000' is not a number"),
    ({"output_tokens": "nan"}, "output_tokens", "not a number"),
    ({"output_tokens": "inf"}, "output_tokens", "not a number"),
    ({"output_tokens": "1e9"}, "output_tokens", "1e+09 tokens for 1 request"),
    ({"cached_input_tokens": 101}, "cached_input_tokens", "exceed input_tokens (100)"),
    ({"cached_input_tokens": 60, "cache_write_tokens": 60}, "cached_input_tokens", "(120) exceed"),
    ({"cached_input_tokens": -1}, "cached_input_tokens", "below 0"),
    ({"reasoning_tokens": 11}, "reasoning_tokens", "exceeds output_tokens (10)"),
    ({"n_requests": 0}, "n_requests", "0 is below 1"),
    ({"n_requests": 2.5}, "n_requests", "2.5 is not a whole number"),
    ({"request_duration_ms": -3}, "request_duration_ms", "not a duration"),
    ({"request_duration_ms": "fast"}, "request_duration_ms", "'fast' is not a number"),
    ({"request_duration_ms": "nan"}, "request_duration_ms", "not a number"),
    ({"time_per_output_token_ms": 1e12}, "time_per_output_token_ms", "not a duration"),
    ({"time_per_output_token_ms": 20, "request_duration_ms": 20}, "time_per_output_token_ms", "given beside"),
    ({"model_id": "llama-2-71b"}, "model_id", "unknown model 'llama-2-71b'. Nearest:"),
    ({"country": "Atlantis"}, "country", "Atlantis"),
    ({"node_id": "no-such-node"}, "node_id", "unknown node"),
    ({"gpu_count": "two"}, "gpu_count", "'two' is not a number"),
    ({"gpu_count": 1.5}, "gpu_count", "1.5 is not a whole number"),
    ({"pue": 0.2}, "pue", "0.2"),
    ({"batch_size": 0}, "batch_size", "0 requests"),
    ({"active_share": 7}, "active_share", "not a share"),
    ({"method": "guess"}, "method", "'guess' is unknown"),
    ({"model_id": "llama-3.1-405b", "node_id": "local:laptop-generic"}, "model_id", "usable bytes"),
]


@pytest.fixture
def options(estimator):
    return RunOptions(estimator=estimator, output_format="csv", fills=FILLS)


@pytest.mark.parametrize("bad,field,reason", BAD, ids=[f"{i}-{b[1]}" for i, b in enumerate(BAD)])
def test_a_bad_row_is_named(bad, field, reason, table, read, tmp_path, options):
    rows = [GOOD, GOOD | bad, GOOD]
    path = table(rows)
    counts = run(path, tmp_path / "out", options).counts
    assert (counts.estimated, counts.rejected) == (2, 1)
    (reject,) = read(tmp_path / "out" / "rejects.csv")
    assert reject["file"] == str(path)
    assert reject["row"] == "2"
    assert reject["field"] == field
    assert reason in reject["reason"]
    assert "\n" not in reject["reason"]
    assert reject["text"] == path.read_text().splitlines()[2]
    assert [row["row"] for row in read(tmp_path / "out" / "impacts.csv")] == ["1", "3"]


def test_a_missing_model_is_a_bad_row(table, read, tmp_path, options):
    path = table([GOOD | {"model_id": m} for m in ("llama-2-70b", "")])
    run(path, tmp_path / "out", RunOptions(estimator=options.estimator))
    (reject,) = read(tmp_path / "out" / "rejects.csv")
    assert (reject["row"], reject["field"]) == ("2", "model_id")


BROKEN = (
    b"input_tokens,output_tokens,note\n"
    b"1,1,plain\n"
    b"1,1\n"  # 2: too few
    b"1,1,x,y\n"  # 3: too many
    b"\n"  # no record
    b'1,1,"never closed\n'  # 4
    b"1,1,after it\n"
    b'1,1,"quoted, with ""quotes"""\n'
    b'1,1,"over\ntwo lines"\n'  # 7
    b'1,1,"text"after\n'  # 8
    b"1,1,\xff\xfe\n"  # 9: no UTF-8
    b"1,1,caf\xc3\xa9\n"  # 10
    b"1,1,last"
)


@pytest.mark.parametrize("chunk_rows", [1, 2, 5, 100])
def test_records_that_cannot_be_parsed(chunk_rows, table, read, tmp_path, options):
    made = RunOptions(estimator=options.estimator, output_format="csv", fills=FILLS, chunk_rows=chunk_rows)
    counts = run(table(BROKEN), tmp_path / "out", made).counts
    assert (counts.records, counts.estimated, counts.rejected) == (11, 6, 5)
    rejects = read(tmp_path / "out" / "rejects.csv")
    assert [r["row"] for r in rejects] == ["2", "3", "4", "8", "9"]
    assert [r["text"] for r in rejects[:4]] == ["1,1", "1,1,x,y", '1,1,"never closed', '1,1,"text"after']
    assert "2 columns instead of 3" in rejects[0]["reason"]
    assert "4 columns instead of 3" in rejects[1]["reason"]
    assert "cannot be parsed" in rejects[2]["reason"]
    assert "UTF-8" in rejects[4]["reason"]
    assert [r["row"] for r in read(tmp_path / "out" / "impacts.csv")] == ["1", "5", "6", "7", "10", "11"]


def test_the_reject_file_can_be_mended_and_run(table, read, tmp_path, options):
    """The texts under the header are a table again, in which the same rows are bad."""
    note = 'a, "b"\nc é'
    rows = [GOOD | {"note": note}, GOOD | {"input_tokens": "x", "note": note}, GOOD | {"output_tokens": -7, "note": ""}]
    path = table(rows)
    run(path, tmp_path / "out", options)
    rejects = read(tmp_path / "out" / "rejects.csv")
    header = path.read_text().splitlines()[0]
    again = table("\n".join([header, *(r["text"] for r in rejects)]), "again.csv")
    with again.open(newline="") as file:
        assert [row["note"] for row in csv.DictReader(file)] == [note, ""]
    counts = run(again, tmp_path / "again", options).counts
    assert (counts.records, counts.rejected) == (2, 2)
    repeated = read(tmp_path / "again" / "rejects.csv")
    assert [(r["field"], r["reason"], r["text"]) for r in repeated] == [
        (r["field"], r["reason"], r["text"]) for r in rejects
    ]


def test_bad_rows_of_parquet(tmp_path, read, options):
    path = tmp_path / "t.parquet"
    rows = "(1, 5, 'llama-2-70b'), (NULL, 5, ''), (-2, 5, NULL), (4.5, 5, 'nope'), ('nan'::DOUBLE, 6, NULL)"
    rows += ", (3, 0, 'nope')"
    duckdb.execute(
        f"COPY (SELECT a::DOUBLE AS input_tokens, b AS output_tokens, c AS model_id FROM (VALUES {rows}) t(a, b, c)) "
        f"TO '{path}'"
    )
    counts = run(path, tmp_path / "out", options).counts
    assert (counts.records, counts.estimated) == (6, 1)
    found = [(r["row"], r["field"]) for r in read(tmp_path / "out" / "rejects.csv")]
    assert found == [("2", "input_tokens"), ("3", "input_tokens"), ("4", "input_tokens"), ("5", "input_tokens"),
                     ("6", "model_id")]  # fmt: skip
    assert next(csv.reader(io.StringIO(read(tmp_path / "out" / "rejects.csv")[4]["text"])))[0] == "nope"


@pytest.mark.parametrize(
    "content,name,message",
    [
        (b"", "a.csv", "is empty"),
        (b" \n\n", "a.csv", "is empty"),
        (gzip.compress(b""), "a.csv.gz", "is empty"),
        (b"\x7fELF\x00\x00\x01", "a.csv", "binary"),
        ("input_tokens,output_tokens\n1,2\n".encode("utf-16"), "a.csv", "UTF-16"),
        (b"\x1f\x8bnot gzip at all", "a.csv.gz", "cannot be read"),
        (b"PAR1 and then nothing", "a.parquet", "cannot be read"),
        (b"input_tokens,input_tokens,output_tokens\n1,1,1\n", "a.csv", "columns named alike: input_tokens"),
        (b'input_tokens,"output\n1,1\n', "a.csv", "header"),
    ],
    ids=str,
)
def test_what_is_no_table(content, name, message, table, tmp_path, options):
    path = table(content, name)
    with pytest.raises(FileProblem, match=message) as caught:
        run(path, tmp_path / "out", options)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_what_is_no_file(table, tmp_path, options):
    table([GOOD], "usage.csv")
    with pytest.raises(FileProblem, match=r"(?s)no such file.*usage.csv"):
        run(tmp_path / "usages.csv", tmp_path / "out", options)
    with pytest.raises(FileProblem, match="is a folder"):
        run(tmp_path, tmp_path / "out", options)
    with pytest.raises(FileProblem, match="no files"):
        run([], tmp_path / "out", options)
