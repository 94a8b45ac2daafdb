"""What the library's errors become in an answer."""

from __future__ import annotations

import pytest

from inferprint import Estimator, Request
from inferprint.errors import UnknownName
from inferprint.service.problems import error_of


@pytest.mark.parametrize("field, where", [("node_id", "GET /node"), ("gpu_id", "GET /gpu"), ("model_id", "GET /model")])
def test_a_name_that_nothing_carries_points_at_the_list_of_the_service(field, where):
    row = {"model_id": "llama-3.1-8b", "input_tokens": 1, "output_tokens": 1, field: "no-such-thing-at-all"}
    with pytest.raises(UnknownName) as caught:
        Estimator().estimate(Request(**row))
    shown = error_of(caught.value, row)["details"]
    assert shown["reason"].endswith(f"{where} lists them.")
    assert "--" not in shown["reason"]
    assert "catalog" not in shown["reason"]
