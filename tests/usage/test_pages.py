"""Pages of an API: each record in them has an outcome, and none carries what was said."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from inferprint.usage.azure_apim import AZURE_APIM
from inferprint.usage.base import Format, Outcome, Record, Rejected
from inferprint.usage.helicone import HELICONE
from inferprint.usage.langfuse import LANGFUSE
from inferprint.usage.litellm import LITELLM
from inferprint.usage.openrouter import OPENROUTER
from inferprint.usage.pages import names_of, read_pages
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


class Raw(msgspec.Struct, kw_only=True):
    model: str | None = None
    data: msgspec.Raw = msgspec.Raw()


def convert(row: int, raw: Raw) -> Outcome:
    return Rejected(row, "model", "is wrong") if raw.model == "wrong" else Record(row=row, model_id=raw.model)


def outcomes_of(tmp_path: Path, text: str) -> list[Outcome]:
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    return list(read_pages(Raw, convert)(open_source(path), {}))


def test_alone_or_in_pages(tmp_path: Path) -> None:
    text = '{"model": "a"}\n{"data": [{"model": "b"}, {"model": "wrong"}, {"model": 1}]}\n{"data": {"model": "c"}}\n'
    assert outcomes_of(tmp_path, text) == [
        Record(row=1, model_id="a"),
        Record(row=2, model_id="b"),
        Rejected(2, "data[1].model", "is wrong"),
        Rejected(2, "data[2].model", "Expected text, got whole number"),
        Record(row=3, model_id="c"),
    ]


def test_an_empty_page(tmp_path: Path) -> None:
    assert outcomes_of(tmp_path, '{"data": []}\n{"data": null}\n') == [
        Rejected(2, "data", "Expected an object, got nothing")
    ]


def test_names_are_those_of_the_records() -> None:
    assert "call_type" in names_of(sample_of(open_source(SAMPLES / "litellm-page.json")))
    assert "call_type" in names_of(sample_of(open_source(SAMPLES / "litellm.csv")))


@pytest.mark.parametrize("form", [AZURE_APIM, HELICONE, LANGFUSE, LITELLM, OPENROUTER], ids=lambda form: form.name)
def test_nothing_that_was_said_is_read(form: Format) -> None:
    samples = [path for path in SAMPLES.iterdir() if path.name.replace("-", ".").split(".")[0] == form.name]
    assert any("left unread" in path.read_text() for path in samples)
    for path in samples:
        source = open_source(path)
        assert "left unread" not in repr([*form.read(source, {}), *source.rejects])
