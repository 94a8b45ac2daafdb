"""The documentation is true: its commands run, its code runs, its tables and outputs are those of the program."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from click import Command, Context
from click.testing import CliRunner

from inferprint import Catalogue
from inferprint.cli.commands import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
ANCHOR = re.compile(r"docs/(?P<page>[a-z]+\.md)#(?P<anchor>[a-z0-9-]+)")
LINK = re.compile(r"\]\((?P<page>[A-Za-z0-9_./-]+\.md)?(?:#(?P<anchor>[a-z0-9-]+))?\)")


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = _module(ROOT / "docs" / "generate.py")


def blocks(path: Path, *languages: str) -> Iterator[str]:
    for found in BLOCK.finditer(path.read_text(encoding="utf-8")):
        if found["language"] in languages:
            yield found["body"]


def commands() -> list[tuple[str, list[str]]]:
    return [
        (path.name, words)
        for path in PAGES
        for block in blocks(path, "sh", "console")
        for words in GENERATE.command_lines(block)
    ]


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def subcommands() -> dict[str, Command]:
    context = Context(app)
    found = {name: app.get_command(context, name) for name in app.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


@pytest.mark.parametrize(
    "page, words", commands(), ids=[f"{page}: {shlex.join(words)[:70]}" for page, words in commands()]
)
def test_commands_run(page: str, words: list[str], tmp_path: Path) -> None:
    if "--out" in words:
        words = [*words]
        words[words.index("--out") + 1] = str(tmp_path / "out")
    environment = {name: value for name, value in os.environ.items() if name != "INFERPRINT_CATALOG"}
    program = [sys.executable, "-m", *words]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{page}: {shlex.join(words)}\n{done.stderr}"
    assert done.stdout.strip()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_python_blocks_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("INFERPRINT_CATALOG", raising=False)
    namespace: dict[str, object] = {"__name__": path.stem}
    for i, block in enumerate(blocks(path, "python")):
        exec(compile(block, f"{path.name}, python block {i + 1}", "exec"), namespace)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_tables_outputs_and_files_are_those_of_the_program(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert GENERATE.generated(text, Catalogue.packaged()) == text, "renew it: python docs/generate.py"


def test_the_committed_api_is_the_one_that_is_served() -> None:
    assert GENERATE.openapi() == GENERATE.OPENAPI.read_text(encoding="utf-8"), "renew it: python docs/generate.py"


def test_the_coefficients_are_in_the_method() -> None:
    page = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    assert GENERATE.coefficients(Catalogue.packaged()) in page


@pytest.mark.parametrize("name", sorted(subcommands()))
def test_every_option_is_explained(name: str) -> None:
    usage = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    shown = CliRunner().invoke(app, [name, "--help"]).output
    missing = {
        option for option in re.findall(r"--[a-z0-9-]+", shown) if not re.search(f"{option}(?![a-z0-9-])", usage)
    }
    wrapped = {option for option in missing if option.endswith("-")}
    assert not missing - wrapped


@pytest.mark.parametrize("name", sorted(subcommands()))
def test_every_command_is_explained(name: str) -> None:
    usage = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    assert f"inferprint {name} " in usage


def test_every_anchor_in_the_code_exists() -> None:
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "data").rglob("*.toml")]
    references = {
        (found["page"], found["anchor"])
        for path in sources
        for found in ANCHOR.finditer(path.read_text(encoding="utf-8"))
    }
    assert len(references) > 5
    assert not [(page, anchor) for page, anchor in references if anchor not in anchors(ROOT / "docs" / page)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for found in LINK.finditer(path.read_text(encoding="utf-8")):
        target = path.parent / found["page"] if found["page"] else path
        assert target.exists(), found[0]
        assert not found["anchor"] or found["anchor"] in anchors(target), found[0]


def test_the_documented_json_is_what_is_printed() -> None:
    """Every field that the commands print is named on the page."""
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    from inferprint import estimate
    from inferprint.estimate.explain import explain

    result = estimate("llama-3.1-8b", input_tokens=10, output_tokens=5, country="FR")
    explained = explain(result).to_dict()
    printed = result.to_dict()
    fields = {*printed, *printed["breakdown"], *printed["two_term"], *printed["versions"], *printed["assumptions"][0]}
    fields |= {*explained, *explained["steps"][0]}
    assert not {field for field in fields if f"`{field}`" not in page}
