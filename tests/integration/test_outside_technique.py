"""A technique of another package: built, put on the path with its entry point, listed and used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "outside-technique"
GROUP = "inferprint.techniques"
REQUEST = [
    "llama-3.1-8b",
    "--input-tokens",
    "4000",
    "--output-tokens",
    "100",
    "--gpu",
    "h100_80gb_sxm",
    "--country",
    "FR",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder as an installer leaves it: the package, and its metadata with the entry points of its pyproject."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE / "src" / "prompt_compression", folder / "prompt_compression")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(head, encoding="utf-8")
    entries = [f"{name} = {module}" for name, module in project["entry-points"][GROUP].items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *entries, ""]), encoding="utf-8")
    return folder


def run(site: Path | None, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(site or ""), os.environ.get("PYTHONPATH", "")]))
    program = [sys.executable, "-m", "inferprint", *words]
    return subprocess.run(program, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})


def energy(site: Path, *words: str) -> float:
    done = run(site, "estimate", *REQUEST, *words, "--json")
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout)["usage_energy_wh"]["value"])


def test_it_is_listed(site):
    rows = json.loads(run(site, "catalog", "techniques", "--json").stdout)
    row = next(row for row in rows if row["id"] == "prompt-compression")
    assert row["stage"] == "prompt"
    assert "share (0 to 0.95; 0)" in row["parameters"]


def test_it_is_used(site):
    before, after = energy(site), energy(site, "--technique", "prompt-compression:share=0.5")
    assert after < before


def test_it_works_beside_a_built_in_one(site):
    both = ["--technique", "prompt-compression:share=0.5", "--technique", "prefix-caching:hit_rate=0.5"]
    assert energy(site, *both) == energy(site, *both[2:], *both[:2]) < energy(site, *both[2:])


def test_at_its_defaults_it_changes_nothing(site):
    assert energy(site, "--technique", "prompt-compression") == energy(site)


def test_its_ranges_hold(site):
    done = run(site, "estimate", *REQUEST, "--technique", "prompt-compression:share=0.99")
    assert done.returncode == 2
    assert "0 to 0.95" in done.stderr


def test_without_the_package_it_is_unknown():
    assert "prompt-compression" in run(None, "estimate", *REQUEST, "--technique", "prompt-compression").stderr
