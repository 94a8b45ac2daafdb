from __future__ import annotations

import pytest
from tests.setups import ESTIMATOR, request

from inferprint.errors import UnknownName
from inferprint.techniques.apply import parse, stated_precision


def test_the_format_is_stated():
    assert stated_precision(parse(["quantisation:format=q4_k_m"])) == "q4_k_m"


def test_it_is_the_same_as_stating_the_precision():
    by_technique, by_field = (
        ESTIMATOR.estimate(request("own GPU, dense", **how)).usage_energy_wh
        for how in ({"techniques": ("quantisation:format=q4_k_m",)}, {"precision": "q4_k_m"})
    )
    assert by_technique == by_field


def test_a_format_that_does_not_exist_is_an_error():
    with pytest.raises(UnknownName) as caught:
        ESTIMATOR.estimate(request("own GPU, dense", techniques=("quantisation:format=q4_k_n",)))
    assert caught.value.kind == "precision"
