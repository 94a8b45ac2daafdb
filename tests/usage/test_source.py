"""Files as they come: compressed, cut short, in other encodings, of other shapes than their names say."""

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inferprint.batch import RunOptions, run
from inferprint.errors import FileProblem
from inferprint.estimate import Estimator
from inferprint.usage import source as source_module
from inferprint.usage.json_table import JsonTable
from inferprint.usage.source import OpenSource, open_source, sample_of
from inferprint.usage.tables import CsvTable, open_table

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GOOD = b'{"input_tokens": 5, "output_tokens": 6}'
ROW = {"input_tokens": 5, "output_tokens": 6}
FILLS = {"model_id": "llama-2-70b", "node_id": "generic:hgx-h100-8", "country": "US"}
PACKED = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd.compress}


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    return Estimator()


@pytest.fixture
def options(estimator) -> RunOptions:
    return RunOptions(estimator=estimator, fills=FILLS, output_format="csv", row_intervals=False)


@pytest.fixture
def file(tmp_path):
    """Writes a file."""

    def write(content: bytes, name: str = "log") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def read(path: Path) -> tuple[OpenSource, list[tuple[int, Any]], list[tuple[int, str]]]:
    """The source, its records, and rows and reasons of those that could not be decoded."""
    source = open_source(path)
    records = list(source.decoded(Any))
    return source, records, [(reject.row, reject.reason) for reject in source.rejects]


def numbers(count: int) -> list[dict[str, Any]]:
    """Records that do not compress well."""
    drawn = random.Random(7)
    return [
        {"input_tokens": drawn.randrange(10**6), "output_tokens": 3, "user_id": f"{drawn.random()}"}
        for _ in range(count)
    ]


def as_lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def as_csv(records: list[dict[str, Any]]) -> bytes:
    head = ",".join(records[0])
    return "\n".join([head, *(",".join(map(str, record.values())) for record in records), ""]).encode()


# --- compression ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize(
    "shape", [as_lines, as_csv, lambda records: json.dumps(records).encode()], ids=["lines", "csv", "json"]
)
def test_compressed_files_are_told_by_their_content(packed, shape, file):
    records = numbers(3000)
    source, found, rejects = read(file(PACKED[packed](shape(records)), "no-suffix"))
    assert [row for row, _ in found] == list(range(1, 3001))
    assert [float(record["input_tokens"]) for _, record in found] == [record["input_tokens"] for record in records]
    assert rejects == []
    assert source.position == source.size == (source.path.stat().st_size)


def test_files_of_several_compressed_members(file):
    lines = as_lines(numbers(100)), as_lines(numbers(50))
    for pack in (gzip.compress, zstd.compress):
        _, found, rejects = read(file(b"".join(map(pack, lines))))
        assert (len(found), rejects) == (150, [])


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
@pytest.mark.parametrize("shape", [as_lines, as_csv])
def test_what_was_read_before_a_cut_counts(pack, shape, file, options, tmp_path):
    """And one reject says that the rest is lost."""
    records = numbers(20_000)
    packed = pack(shape(records))
    path = file(packed[: len(packed) * 6 // 10])
    _, found, rejects = read(path)
    assert 6_000 < len(found) < 13_000
    for (_, record), expected in zip(found, records, strict=False):
        assert float(record["input_tokens"]) == expected["input_tokens"]
    assert [row for row, _ in rejects] == [len(found) + 1]
    assert "the file is damaged from here on, and what follows is lost" in rejects[0][1]
    counts = run(path, tmp_path / "out", options).counts
    assert (counts.records, counts.estimated, counts.rejected) == (len(found) + 1, len(found), 1)


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_document_that_is_cut_short_is_lost(pack, file, options, tmp_path):
    packed = pack(json.dumps(numbers(20_000)).encode())
    _, found, rejects = read(file(packed[: len(packed) // 2]))
    assert found == []
    assert len(rejects) == 1
    assert "what follows is lost" in rejects[0][1]
    with pytest.raises(FileProblem, match="holds no JSON objects that could be read"):
        run(tmp_path / "log", tmp_path / "out", options)


@pytest.mark.parametrize("content", [b"\x1f\x8bno gzip", b"\x28\xb5\x2f\xfdno zstd"])
def test_what_cannot_be_decompressed_at_all(content, file, options, tmp_path):
    path = file(content)
    with pytest.raises(FileProblem, match=f"{path}: cannot be read") as caught:
        run(path, tmp_path / "out", options)
    assert caught.value.hint


def test_plain_text_that_is_cut_short(file):
    lines = as_lines(numbers(100))
    _, found, rejects = read(file(lines[: len(lines) // 2 + 20]))
    assert [row for row, _ in rejects] == [len(found) + 1]
    assert rejects[0][1].startswith("is not JSON: ")


def test_the_beginning_of_a_log_that_was_cut_off(file):
    """As by `tail -c`, or where a log was rotated within a line; or a server's own words before it."""
    for before in (
        b'tokens": 5, "output_tokens": 6}',
        b'{"input_tok',
        b"[INFO] listening",
        b"starting, with 8 workers",
    ):
        source, found, rejects = read(file(before + b"\n" + GOOD + b"\n" + GOOD + b"\n"))
        assert source.kind == "json-lines"
        assert found == [(2, ROW), (3, ROW)]
        assert [row for row, _ in rejects] == [1]


# --- encodings --------------------------------------------------------------------------------------------------------


def test_bytes_that_are_no_utf8_cost_their_record_alone(file):
    _, found, rejects = read(file(GOOD + b'\n{"user_id": "caf\xe9"}\n{"caf\xe9": 1}\n' + GOOD))
    assert [row for row, _ in found] == [1, 4]
    assert rejects == [(n, "is not JSON: Invalid UTF-8 encoded string") for n in (2, 3)]
    _, found, rejects = read(file(b"input_tokens,user_id\n1,caf\xe9\n2,caf\xc3\xa9\n", "latin.csv"))
    assert found == [(2, {"input_tokens": "2", "user_id": "caf\u00e9"})]
    assert rejects == [(1, "is not UTF-8")]
    _, found, rejects = read(file(b'[{"a": "caf\xe9"},\n {"a": "x"}]'))
    assert (found, [row for row, _ in rejects]) == ([(2, {"a": "x"})], [1])


def test_a_header_that_is_no_utf8_is_refused(file, options, tmp_path):
    """Its names would be wrong in all that names them."""
    path = file(b"input_tokens,output_tokens,us\xe9\n1,1,x\n", "latin.csv")
    with pytest.raises(FileProblem, match=r"latin\.csv: the header line is not UTF-8") as caught:
        run(path, tmp_path / "out", options)
    assert "UTF-8" in caught.value.hint


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_refused(encoding, file):
    with pytest.raises(FileProblem, match=r"is in UTF-16|is a binary file"):
        open_source(file((GOOD + b"\n").decode().encode(encoding)))


@pytest.mark.parametrize(
    "shape", [as_lines, as_csv, lambda records: json.dumps(records).encode()], ids=["lines", "csv", "json"]
)
def test_a_byte_order_mark_and_the_ends_of_lines_of_windows(shape, file):
    records = numbers(5)
    text = b"\xef\xbb\xbf" + shape(records).replace(b"\n", b"\r\n")
    _, found, rejects = read(file(text))
    assert [record["user_id"] for _, record in found] == [record["user_id"] for record in records]
    assert rejects == []


def test_lines_of_text_have_no_ends(file):
    source = OpenSource(file(b"\xff one\r\n\ntwo"), "prometheus")
    assert list(source.lines()) == [(1, "\ufffd one"), (2, ""), (3, "two")]


def test_nul_bytes(file, options, tmp_path):
    """As a crash leaves them at the end of a log."""
    _, found, rejects = read(file(as_lines(numbers(3000)) + bytes(512) + b"\n" + GOOD))
    assert len(found) == 3001
    assert [row for row, _ in rejects] == [3001]
    text = as_csv(numbers(5000)) + b"1\x00,1,x\n1,1,a\x00b\n"
    counts = run(file(text, "nul.csv"), tmp_path / "out", options).counts
    assert (counts.records, counts.estimated, counts.rejected) == (5002, 5001, 1)
    with pytest.raises(FileProblem, match="is a binary file"):
        open_source(file(b"\x00\x01" + GOOD))


# --- long and deep ----------------------------------------------------------------------------------------------------


def test_long_lines(file):
    """10 MB in one line are nothing special, in JSON as in CSV."""
    prompt = b"x" * 10_000_000
    _, found, rejects = read(file(b'{"prompt": "' + prompt + b'"}\n' + GOOD))
    assert [row for row, _ in found] == [1, 2]
    assert len(found[0][1]["prompt"]) == 10_000_000
    _, found, rejects = read(file(b'a,prompt\n1,"' + prompt + b'"\n2,y\n', "long.csv"))
    assert [record["a"] for _, record in found] == ["1", "2"]
    assert rejects == []


def test_a_line_beyond_the_limit_is_passed_over(file, monkeypatch):
    """It is rejected unread; the next line is fine. The limit is 64 MiB, here less."""
    assert source_module.MAX_LINE_BYTES == 64 * 2**20
    monkeypatch.setattr(source_module, "MAX_LINE_BYTES", 2**20)
    long = b'{"prompt": "' + b"x" * 5_000_000 + b'"}\n'
    just = b'{"p": "' + b"x" * (2**20 - 10) + b'"}\n'
    assert len(just) == 2**20
    _, found, rejects = read(file(GOOD + b"\n" + long + GOOD + b"\n" + just + long.rstrip()))
    assert [row for row, _ in found] == [1, 3, 4]
    assert rejects == [(2, "the line is longer than 1 MiB"), (5, "the line is longer than 1 MiB")]


def test_a_long_document_is_refused(file, monkeypatch):
    monkeypatch.setattr(source_module, "MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(FileProblem, match=r"(?s)one JSON document of over 2 GiB.*JSON lines"):
        read(file(b"[" + b",".join([GOOD] * 9) + b"]"))


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000,
                                  b'{"a":' * 100_000 + b"1" + b"}" * 100_000])  # fmt: skip
def test_what_is_nested_deeply_is_rejected(deep, file, options, tmp_path):
    for within in (deep, b'{"a": ' + deep + b"}"):
        _, found, rejects = read(file(GOOD + b"\n" + within + b"\n" + GOOD))
        assert [row for row, _ in found] == [1, 3]
        assert [row for row, _ in rejects] == [2]
        assert rejects[0][1].startswith("is not JSON: ")
    _, _, rejects = read(file(b"[\n" + deep + b"\n]"))
    assert rejects[0][1].startswith("the document is not JSON: ")
    counts = run(file(deep + b"\n" + b"\n".join([GOOD] * 3)), tmp_path / "out", options).counts
    assert (counts.records, counts.estimated, counts.rejected) == (4, 3, 1)


def test_many_lines_in_one_field(file):
    """A prompt of thousands of lines is one field; a quote that never closes costs its own row alone."""
    prompt = "\n".join(f'line {n}, with ""quotes""' for n in range(5000))
    text = f'a,prompt\n1,"{prompt}"\n2,y\n3,"never closed\n4,z\n'
    _, found, rejects = read(file(text.encode(), "prompts.csv"))
    assert [record["a"] for _, record in found] == ["1", "2", "4"]
    assert found[0][1]["prompt"] == prompt.replace('""', '"')
    assert [row for row, _ in rejects] == [3]


def test_long_rows_are_read_a_few_at_a_time(file, monkeypatch):
    """What is in memory does not grow with the length of the rows."""
    monkeypatch.setattr("inferprint.usage.tables.MAX_CHUNK", 100_000)
    path = file(b"a,prompt\n" + b"".join(b"%d,%s\n" % (n, b"x" * 500) for n in range(5000)), "long.csv")
    chunks = list(CsvTable(path).chunks({"a": "a"}, 50_000))
    assert max(len(chunk.rows) for chunk in chunks) <= 1000
    assert [row for chunk in chunks for row in chunk.rows] == list(range(1, 5001))
    assert [cell for chunk in chunks for cell in chunk.columns["a"]] == [str(n) for n in range(5000)]


# --- shapes -----------------------------------------------------------------------------------------------------------

TWO = [{"input_tokens": 5, "output_tokens": 6}, {"input_tokens": 7, "output_tokens": 8}]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(TWO).encode(),
        json.dumps(TWO, indent=2).encode(),
        b"[\n" + b",\n".join(json.dumps(record).encode() for record in TWO) + b"\n]\n",
        b"[" + b",\n".join(json.dumps(record).encode() for record in TWO) + b"]",
        b"\n\n  " + json.dumps(TWO).encode() + b"\n\n",
    ],
    ids=["on one line", "pretty", "one element a line", "brackets beside", "blank about"],
)
def test_a_list_of_objects(content, file, options, tmp_path):
    path = file(content)
    source, found, rejects = read(path)
    assert source.kind == "json"
    assert found == [(1, TWO[0]), (2, TWO[1])]
    assert rejects == []
    assert run(path, tmp_path / "out", options).counts.estimated == 2


@pytest.mark.parametrize("between", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_a_list_within_a_document(between, count, file):
    """One element to a line, and the last of them alone is an object by itself: no JSON lines for that."""
    elements = (b"," + between).join([GOOD] * count)
    source, found, rejects = read(file(b'{"object": "page", "data": [' + between + elements + between + b"]}"))
    assert source.kind == ("json" if between else "json-lines")
    assert [record["data"] for _, record in found] == [[ROW] * count]
    assert rejects == []


def test_one_object(file):
    assert read(file(GOOD))[1] == [(1, ROW)]
    source, found, _ = read(file(json.dumps(ROW, indent=1).encode()))
    assert (source.kind, found) == ("json", [(1, ROW)])


def test_other_lines_between_those_of_json(file, options, tmp_path):
    """Blank ones are no records; each other one is rejected in its place."""
    path = file(GOOD + b"\n\n1,2,3\n   \r\nhalf {\n5\n" + GOOD + b"\n")
    _, found, _ = read(path)
    assert [row for row, _ in found] == [1, 6, 7]
    counts = run(path, tmp_path / "out", options).counts
    assert (counts.records, counts.estimated, counts.rejected) == (5, 2, 3)
    rejects = (tmp_path / "out" / "rejects.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in rejects[1:]] == ["3", "5", "6"]
    assert "Expected an object" in rejects[3]


@pytest.mark.parametrize("content", [b"", b"\n", b" \t\r\n\n", gzip.compress(b""), b"\xef\xbb\xbf"])
def test_an_empty_file(content, file):
    with pytest.raises(FileProblem, match="is empty") as caught:
        open_source(file(content))
    assert "CSV" in caught.value.hint


@pytest.mark.parametrize("content", [b"[]", b"{}", b"[1, 2]", b"[[]]", b"{"])
def test_json_without_an_object(content, file, options, tmp_path):
    with pytest.raises(FileProblem, match="holds no JSON objects") as caught:
        run(file(content), tmp_path / "out", options)
    assert "openrouter" in caught.value.hint


def test_blank_lines_of_a_table_are_no_rows(file):
    _, found, rejects = read(file(b"\n\na,b\n\n1,2\r\n\r\n3,4\n\n"))
    assert found == [(1, {"a": "1", "b": "2"}), (2, {"a": "3", "b": "4"})]
    assert rejects == []


def test_keys_within_objects_are_columns(file):
    path = file(b'{"model": "m", "usage": {"in": 1, "deep": {"out": 2}}, "a.b": 3, "tags": ["x", "y"]}\n{"late": true}')
    table = JsonTable(path)
    assert table.names == ("model", "usage.in", "usage.deep.out", "a.b", "tags", "late")
    (chunk,) = table.chunks({name: name for name in table.names}, 10)
    assert [cells[0] for cells in chunk.columns.values()] == ["m", "1", "2", "3", "x;y", None]
    assert [cells[1] for cells in chunk.columns.values()] == [None] * 5 + ["true"]


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_that_are_none(file, options, tmp_path):
    lines = [
        b'{"input_tokens": 1e400, "output_tokens": 1}',
        b'{"input_tokens": 1000000000000000000000000000000, "output_tokens": 1}',
        b'{"input_tokens": ' + b"9" * 5000 + b', "output_tokens": 1}',
        b'{"input_tokens": NaN, "output_tokens": 1}',
        b'{"input_tokens": Infinity, "output_tokens": 1}',
        b'{"input_tokens": -5, "output_tokens": 1}',
        b'{"input_tokens": 10, "output_tokens": 1, "cached_input_tokens": 11}',
        b'{"input_tokens": "x", "output_tokens": 1}',
        b'{"input_tokens": true, "output_tokens": 1}',
        b'{"input_tokens": [5], "output_tokens": 1}',
        b'{"input_tokens": {"text": 5}, "output_tokens": 1}',
        b'{"input_tokens": 1e-400, "output_tokens": 1}',
        b'{"input_tokens": 5.0, "output_tokens": "1"}',
        b'{"input_tokens": 999, "input_tokens": 7, "output_tokens": 1}',
        b'{"input_tokens": 5, "output_tokens": 1, "user_id": "\\ud800"}',
        b'{"input_tokens": 5, "output_tokens": 1, "user_id": "a\\u0000b"}',
    ]  # fmt: skip
    counts = run(file(b"\n".join(lines)), tmp_path / "out", options).counts
    assert counts.records == len(lines)
    good = {12, 13, 14, 16}
    assert (counts.estimated, counts.rejected) == (len(good), len(lines) - len(good))
    kept = (tmp_path / "out" / "impacts.csv").read_bytes().splitlines()[1:]
    assert {int(line.split(b",")[0]) for line in kept} == good


# --- what is no file --------------------------------------------------------------------------------------------------


def test_what_is_no_regular_file(file, tmp_path):
    with pytest.raises(FileProblem, match=r"(?s)is a folder.*Name the files in it"):
        open_source(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileProblem, match="is not a regular file"):
        open_source(tmp_path / "pipe")
    file(GOOD, "there.jsonl")
    with pytest.raises(FileProblem, match=r"(?s)no such file.*there\.jsonl"):
        open_source(tmp_path / "absent.jsonl")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileProblem, match="no such file"):
        open_source(tmp_path / "dangling")
    (tmp_path / "link").symlink_to(tmp_path / "there.jsonl")
    assert read(tmp_path / "link")[1] == [(1, ROW)]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_without_permission(file):
    path = file(GOOD)
    path.chmod(0)
    with pytest.raises(FileProblem, match="cannot be read: Permission denied"):
        open_source(path)


def test_a_file_in_the_middle_of_which_reading_goes_on(file):
    """Rows before it are passed over, damaged ones too."""
    source = open_source(file(b"x\n" + b"\n".join([GOOD, b"{", GOOD, b"{", GOOD])))
    source.skip = 4
    assert [row for row, _ in source.decoded(Any)] == [6]
    assert [reject.row for reject in source.rejects] == [5]


def test_the_beginning_of_a_file_of_each_kind(file):
    sample = sample_of(open_source(file(b"a,b\n1,\n2,3\n")))
    assert (sample.kind, sample.names, sample.objects) == ("csv", {"a", "b"}, ({"a": "1"}, {"a": "2", "b": "3"}))
    sample = sample_of(open_source(file(b"\n".join([GOOD] * 50))))
    assert (sample.names, len(sample.objects)) == ({"input_tokens", "output_tokens"}, 20)
    sample = sample_of(open_source(file(b'up{job="vllm"} 1\n')))
    assert (sample.kind, sample.objects, sample.text) == ("prometheus", (), 'up{job="vllm"} 1\n')


def test_tables_are_told_by_their_content(file, tmp_path):
    import duckdb

    duckdb.sql(f"COPY (SELECT 1 AS a) TO '{tmp_path / 'typed.csv'}' (FORMAT parquet)")
    assert open_table(tmp_path / "typed.csv").rows == 1
    assert open_table(file(b"a;b\n1;2\n", "semi.parquet")).names == ("a", "b")


def test_parquet_that_is_damaged_further_on(tmp_path, options):
    """Not where its format is told, but where its rows are read."""
    import duckdb

    path = tmp_path / "typed.parquet"
    duckdb.sql(
        "COPY (SELECT range AS input_tokens, (range * 7919) % 1000 AS output_tokens, md5(range::VARCHAR) AS user_id "
        f"FROM range(200000)) TO '{path}' (ROW_GROUP_SIZE 20000)"
    )
    content = bytearray(path.read_bytes())
    at = len(content) * 3 // 4
    content[at : at + 3000] = random.Random(3).randbytes(3000)
    path.write_bytes(content)
    with pytest.raises(FileProblem, match=r"typed\.parquet"):
        run(path, tmp_path / "out", options)
    assert [p.name for p in tmp_path.iterdir()] == ["typed.parquet"]


# --- by hand ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name,content,said",
    [
        ("log.jsonl", b'{"llm": {"name": "m", "prompt_len": 3}}', ["llm.name, llm.prompt_len", "--column model_id="]),
        ("log.csv", b"model,prompt,completion\nm,1,2\n", ["model, prompt, completion", "--column model_id=model"]),
        ("log.csv.gz", gzip.compress(GOOD)[:-9], ["holds no JSON objects that could be read: the file is damaged"]),
        ("log.txt", b"<html><body>404</body></html>", ["no column for model_id"]),
        ("log.bin", b"\x7fELF\x00\x00", ["is a binary file", "Expected CSV, JSON"]),
        ("log.prom", b'up{job="x"} 1\n', ["metrics of no known server", "vllm"]),
    ],
)
def test_messages_on_the_command_line(name, content, said, file, tmp_path):
    """What is wrong, with which file, and what to do; nothing else is printed, and no trace of Python."""
    path = file(content, name)
    code = "from inferprint.cli import main; main()"
    command = [sys.executable, "-c", code, "run", str(path), "--out", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert str(path) in ended.stderr
    for words in said:
        assert words in ended.stderr
    assert not (tmp_path / "out").exists()
