"""The tree at the top of `errors` is the tree of the classes below it."""

from __future__ import annotations

import inspect
import re

import pytest

from inferprint import errors


def test_the_drawn_tree_names_every_error():
    drawn = set(re.findall(r"[├└]── (\w+)", inspect.getdoc(errors) or ""))
    classes = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert drawn == classes - {"InferprintError"}


@pytest.mark.parametrize(
    "error", ["UnknownName", "InvalidInput", "DoesNotFit", "Undisclosed", "CatalogueError", "FileProblem"]
)
def test_every_error_is_an_inferprint_error(error):
    assert issubclass(getattr(errors, error), errors.InferprintError)


def test_a_hint_stands_on_its_own_line():
    assert str(errors.Undisclosed("the size is not known", hint="Give it.")) == "the size is not known\n  Give it."


def test_an_unknown_name_says_what_was_asked_what_is_near_and_what_to_do():
    text = str(errors.UnknownName("GPU", "h10", ("h100", "h200"), "inferprint catalog gpus h10"))
    assert text == "unknown GPU 'h10'\n  Nearest: h100, h200. List them: inferprint catalog gpus h10"


def test_an_unknown_name_without_neighbours_still_says_what_to_do():
    assert str(errors.UnknownName("GPU", "?", (), "inferprint catalog gpus")).endswith(
        "List them: inferprint catalog gpus"
    )


def test_an_invalid_input_names_its_field():
    assert errors.InvalidInput("batch_size", "0 requests").field == "batch_size"
