"""`inferprint scan` on the transcripts of a home folder."""

import json
from pathlib import Path

from click.testing import CliRunner

from inferprint.cli.commands import app
from inferprint.errors import FileProblem

HOME = Path(__file__).parents[2] / "examples" / "home"


def scanned(*arguments):
    return CliRunner().invoke(app, ["scan", *map(str, arguments)])


def test_by_project_model_and_week():
    done = scanned("--home", HOME)
    assert done.exit_code == 0, done.output
    assert "transcripts: 1 of claude_code, 1 of codex" in done.output
    for title in ("by project", "by model", "by week"):
        assert title in done.output
    assert "2026-W47" in done.output
    assert "shop" in done.output


def test_json_adds_up():
    data = json.loads(scanned("--home", HOME, "--json").stdout)
    counts = data["counts"]
    outcomes = counts["estimated"] + counts["merged"] + counts["rejected"] + sum(counts["skipped"].values())
    assert counts["records"] == outcomes
    whole = data["totals"]["usage_energy_wh"]["value"]
    for totals in data["by"].values():
        assert abs(sum(total["usage_energy_wh"]["value"] for total in totals) / whole - 1) < 1e-12
        assert sum(total["records"] for total in totals) == counts["estimated"]


def test_no_text_of_a_conversation_gets_out(tmp_path):
    """What was said stands in the transcripts, and nowhere in what a scan writes or prints."""
    secret = "the-secret-of-the-conversation"
    folder = tmp_path / "home" / ".claude" / "projects" / "p"
    folder.mkdir(parents=True)
    usage = {"input_tokens": 10, "output_tokens": 5, "note": secret}
    lines = [
        {"type": "user", "message": {"role": "user", "content": secret}, "timestamp": "2026-11-20T09:00:00.000Z"},
        {
            "type": "assistant",
            "timestamp": "2026-11-20T09:00:01.000Z",
            "sessionId": "s",
            "cwd": "/home/ann/p",
            "requestId": "q",
            "message": {"id": "m", "model": "claude-sonnet-4-5", "content": [{"text": secret}], "usage": usage},
        },
        {
            "type": "assistant",
            "message": {"id": "n", "model": secret * 2, "content": secret, "usage": {"input_tokens": secret}},
        },
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"type": "user", "message": "' + secret
    (folder / "session.jsonl").write_text(text, encoding="utf-8")
    done = scanned("--home", tmp_path / "home", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert secret not in done.output
    assert "1 estimated" in done.output
    for path in (tmp_path / "out").iterdir():
        assert secret.encode() not in path.read_bytes()


def test_a_home_without_transcripts(tmp_path):
    done = scanned("--home", tmp_path)
    assert isinstance(done.exception, FileProblem)
    assert "no transcripts of coding agents" in str(done.exception)
    assert "CLAUDE_CONFIG_DIR" in str(done.exception)
