"""What tests of the command line share."""

from __future__ import annotations

import sys

import pytest

from inferprint.cli import main


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line; exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["inferprint", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return run
