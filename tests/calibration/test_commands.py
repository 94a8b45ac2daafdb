"""`inferprint fit` where it cannot: it says why and what to do, and writes nothing."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from tests.calibration.own_rows import LOADS, loads_as_rows, measured, write

from inferprint.calibration import observations
from inferprint.cli.commands import app
from inferprint.errors import FileProblem


@pytest.fixture
def fit(tmp_path):
    """The command on arguments; it must fail and leave no folder."""

    def failing(*arguments):
        out = tmp_path / "out"
        with pytest.raises(FileProblem) as caught:
            CliRunner().invoke(app, ["fit", "--out", str(out), *map(str, arguments)], catch_exceptions=False)
        assert not out.exists()
        return caught.value

    return failing


@pytest.fixture
def not_editable(monkeypatch, tmp_path):
    """The package as it is installed: without the source tree around it."""
    monkeypatch.setattr(
        observations, "__file__", str(tmp_path / "site-packages/inferprint/calibration/observations.py")
    )


def test_a_file_that_is_not_there_is_told_first(fit, not_editable, tmp_path):
    assert "cannot read" in fit("--observations", tmp_path / "nosuch.csv").message


def test_a_file_that_is_no_table_is_told_first(fit, not_editable, tmp_path):
    assert "no table of measurements" in fit("--observations", write(tmp_path / "a.csv", [{"model": "x"}])).message


def test_without_the_source_tree_it_says_how_to_have_it(fit, not_editable, tmp_path):
    error = fit("--observations", measured(tmp_path / "sweep.csv", loads_as_rows(LOADS[:3])))
    assert error.message == "the project's own measurements are not installed with the package"
    assert "pip install -e '.[fit]'" in error.hint


def test_a_file_without_the_option_is_no_observation(fit, tmp_path):
    assert "without --observations" in fit(tmp_path / "sweep.csv").message


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FileProblem, match="cannot write into") as caught:
        CliRunner().invoke(app, ["fit", "--out", str(tmp_path / "file" / "out")], catch_exceptions=False)
    assert "Name another folder with --out" in caught.value.hint
