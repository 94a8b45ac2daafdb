"""Model invocation logs of AWS Bedrock, whose input tokens leave out what the cache holds."""

from __future__ import annotations

from pathlib import Path

from inferprint.catalogue import Catalogue
from inferprint.catalogue.match import resolve_model, resolve_service
from inferprint.usage.base import Outcome, Record, Skipped
from inferprint.usage.bedrock import BEDROCK
from inferprint.usage.source import OpenSource, open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def read_file(name: str) -> tuple[list[Outcome], OpenSource]:
    source = open_source(SAMPLES / name)
    assert BEDROCK.recognises(sample_of(source))
    assert source.kind in BEDROCK.kinds
    return list(BEDROCK.read(source, {})), source


def test_converse_in_another_region() -> None:
    outcomes, _ = read_file("bedrock.jsonl")
    assert outcomes[0] == Record(
        row=1,
        model_id="eu.anthropic.claude-sonnet-4-20250514-v1:0",
        input_tokens=2500,  # 1200 fresh + 800 read + 500 written
        output_tokens=310,
        cached_input_tokens=800,
        cache_write_tokens=500,
        request_id="b-1",
        project_id="search",
        client_id="arn:aws:iam::123456789012:user/search",
        user_id="u-1",
        environment="prod",
        managed_service_id="aws-bedrock",
        cloud_id="aws",
        cloud_region="eu-north-1",
        utc_datetime="2026-11-20T09:00:00Z",
        request_duration_ms=3114,
    )


def test_a_stream() -> None:
    second = read_file("bedrock.jsonl")[0][1]
    assert isinstance(second, Record)
    assert (second.input_tokens, second.cache_write_tokens, second.output_tokens) == (225919, 225913, 167)
    assert (second.request_duration_ms, second.time_to_first_token_ms) == (7460, 2635)
    assert second.cloud_region == "eu-west-3"
    assert second.model_id == "arn:aws:bedrock:eu-west-3:123456789012:application-inference-profile/x1y2z3"


def test_a_profile_of_ones_own_whose_answer_names_the_model() -> None:
    third = read_file("bedrock.jsonl")[0][2]
    assert isinstance(third, Record)
    assert third.model_id == "claude-sonnet-4-20250514"


def test_a_body_of_another_shape_does_no_harm() -> None:
    fourth = read_file("bedrock.jsonl")[0][3]
    assert isinstance(fourth, Record)
    assert (fourth.input_tokens, fourth.output_tokens, fourth.request_duration_ms) == (12, None, None)


def test_failed_repeated_and_malformed() -> None:
    outcomes, source = read_file("bedrock.jsonl")
    assert outcomes[4] == Skipped(5, "failed")
    repeated = outcomes[5]
    assert isinstance(repeated, Record)
    assert repeated.request_id == "b-1"
    assert len(outcomes) == 6
    (reject,) = source.rejects
    assert (reject.row, reject.field) == (7, "input.inputTokenCount")


def test_compressed() -> None:
    outcomes, _ = read_file("bedrock-nova.jsonl.gz")
    assert outcomes == [
        Record(
            row=1,
            model_id="amazon.nova-lite-v1:0",
            input_tokens=4,
            output_tokens=38,
            request_id="n-1",
            managed_service_id="aws-bedrock",
            cloud_id="aws",
            cloud_region="us-east-1",
            utc_datetime="2025-03-11T00:38:02Z",
            request_duration_ms=302,
        )
    ]


def test_no_prompt_is_kept() -> None:
    outcomes, source = read_file("bedrock.jsonl")
    assert "SECRET" not in repr(outcomes) + repr(source.rejects)


def test_names_are_matched() -> None:
    catalogue = Catalogue.packaged()
    assert resolve_service(catalogue, "aws-bedrock").id == "aws-bedrock"
    for name, model in (
        ("eu.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
        ("global.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0", "nova-lite"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "nova-pro"),
    ):
        assert resolve_model(catalogue, name).model.id == model
