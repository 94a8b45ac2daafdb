from __future__ import annotations

from tests.setups import ESTIMATOR, request

from inferprint.estimate.compare import chance_of_less, compare

BASE = request("node, dense")


def test_models_come_in_the_order_asked():
    found = compare(ESTIMATOR, ["llama-3.1-8b", "llama-3.1-70b"], BASE)
    assert [result.machine.model for result in found] == ["llama-3.1-8b", "llama-3.1-70b"]


def test_a_model_does_the_work_that_was_asked():
    (found,) = compare(ESTIMATOR, ["llama-3.1-70b"], BASE)
    assert found.usage_energy_wh == ESTIMATOR.estimate(BASE).usage_energy_wh


def test_a_model_never_has_less_than_itself():
    assert chance_of_less(compare(ESTIMATOR, ["llama-3.1-70b", "llama-3.1-70b"], BASE)) == [0.0, 0.0]


def test_a_model_of_a_ninth_of_the_size_on_the_same_node_nearly_always_has_less():
    assert chance_of_less(compare(ESTIMATOR, ["llama-3.1-70b", "llama-3.1-8b"], BASE))[1] > 0.95


def test_shared_errors_do_not_blur_the_order():
    # 70 and 8 billion: intervals overlap, the order is certain all the same.
    large, small = compare(ESTIMATOR, ["llama-3.1-70b", "llama-3.1-8b"], BASE)
    assert small.usage_energy_wh.high > large.usage_energy_wh.low
