"""Azure API Management: one entry of a call holds its counts, the others are pieces of messages."""

from __future__ import annotations

from pathlib import Path

from inferprint.usage.azure_apim import AZURE_APIM
from inferprint.usage.base import Merged, Outcome, Record, Rejected, Skipped
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def outcomes_of(path: Path) -> tuple[list[Outcome], list[Rejected]]:
    source = open_source(path)
    assert source.kind in AZURE_APIM.kinds
    assert AZURE_APIM.recognises(sample_of(source))
    return list(AZURE_APIM.read(source, {})), source.rejects


def test_the_first_entry_counts() -> None:
    outcomes, _ = outcomes_of(SAMPLES / "azure_apim.csv")
    assert outcomes[:3] == [
        Record(
            row=1,
            model_id="gpt-4o-mini-2024-07-18",
            input_tokens=2400,
            output_tokens=350,
            request_id="c-1",
            application_id="openai-api",
            client_id="sub-1",
            managed_service_id="azure-openai",
            utc_datetime="2026-11-20T09:00:00.250Z",
            request_duration_ms=4100,
        ),
        Merged(2),
        Merged(3),
    ]


def test_a_probe_is_no_call() -> None:
    assert outcomes_of(SAMPLES / "azure_apim.csv")[0][3] == Skipped(4, "not-inference")


def test_the_deployment_stands_for_a_model_without_name() -> None:
    outcomes, rejects = outcomes_of(SAMPLES / "azure_apim.csv")
    read = outcomes[4]
    assert isinstance(read, Record)
    assert (read.model_id, read.utc_datetime) == ("chat-prod", "2026-11-20T09:00:02Z")
    assert [(r.row, r.field) for r in rejects] == [(6, "PromptTokens")]


def test_numbers_as_text() -> None:
    [read], _ = outcomes_of(SAMPLES / "azure_apim.json")
    assert isinstance(read, Record)
    assert (read.input_tokens, read.output_tokens, read.request_id) == (2400, 350, "c-5")


def test_events() -> None:
    outcomes, _ = outcomes_of(SAMPLES / "azure_apim-events.jsonl")
    first, second = outcomes[0], outcomes[1]
    assert isinstance(first, Record)
    # Anthropic's protocol leaves the cache out of its input.
    assert (first.input_tokens, first.cached_input_tokens) == (26 + 48854, 48854)
    assert (first.utc_datetime, first.managed_service_id) == ("2026-11-20T09:00:00.250Z", None)
    assert isinstance(second, Record)
    assert (second.input_tokens, second.cached_input_tokens, second.request_id) == (100, 60, "c-7")
    assert outcomes[2:4] == [Skipped(3, "not-inference"), Merged(4)]
    last = outcomes[4]
    assert isinstance(last, Rejected)
    assert (last.row, last.field) == (5, "properties.promptTokens")


def test_afternoon(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text(
        "TimeGenerated [UTC],CorrelationId,SequenceNumber,ModelName,PromptTokens,CompletionTokens\n"
        '"1/2/2026, 12:05:00.000 PM",a,0,gpt-4o-mini,1,1\n'
        '"1/2/2026, 12:05:00.000 AM",b,0,gpt-4o-mini,1,1\n'
        '"1/2/2026, 1:05:00.000 PM",c,0,gpt-4o-mini,1,1\n'
        '"2.1.2026 13:05/x",d,0,gpt-4o-mini,1,1\n'
    )
    times = [read.utc_datetime for read in outcomes_of(path)[0] if isinstance(read, Record)]
    assert times[:3] == ["2026-01-02T12:05:00.000Z", "2026-01-02T00:05:00.000Z", "2026-01-02T13:05:00.000Z"]
    assert times[3] == "2.1.2026 13:05/x"  # left for the report
