"""The page on the service is true: what it asks a server is answered, and what it runs has these options."""

import os
import re
import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.service.server_here import serving

from inferprint.cli.commands import app

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
ASKED = [block for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) if "curl" in block]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A server without keys, as the page has it first: it takes any key."""
    with serving(str(tmp_path_factory.mktemp("page") / "ledger.db")) as server:
        yield {"INFERPRINT_URL": server.url, "INFERPRINT_KEY": "any"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_what_the_page_asks_is_answered(asked, tmp_path):
    assert len(ASKED) >= 4
    for block in ASKED:
        script = "set -eu\n" + block.replace("curl --silent", "curl --fail-with-body --silent")
        done = subprocess.run(
            ["bash", "-c", script], env=os.environ | asked, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        assert '"error"' not in done.stdout, done.stdout
    assert (tmp_path / "usage.parquet").read_bytes().startswith(b"PAR1")


def commands_to_deploy() -> list[list[str]]:
    """Calls of our program in the files to deploy and on the page."""
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((ROOT / "deploy" / "inferprint.service").read_text(encoding="utf-8"))
    container = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    calls = [shlex.split(unit["Service"]["ExecStart"])[1:]]
    calls += [re.findall(r'"([^"]+)"', found)[1:] for found in re.findall(r"^CMD (\[.*\])$", container, re.MULTILINE)]
    lines = [line.split("#")[0] for line in PAGE.splitlines() if re.match(r"inferprint (serve|keys)", line)]
    return [*calls, *(shlex.split(line)[1:] for line in lines)]


@pytest.mark.parametrize("words", commands_to_deploy(), ids=" ".join)
def test_commands_that_are_shown_exist(words):
    command = words[: 2 if words[0] == "keys" else 1]
    shown = CliRunner().invoke(app, [*command, "--help"])
    assert shown.exit_code == 0, shown.output
    for option in (word for word in words if word.startswith("--")):
        assert option in shown.output


def test_the_image_is_made_of_what_is_there():
    text = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    assert "requirements/serve.txt" in text
    assert (ROOT / "requirements" / "serve.txt").exists()
