"""What was bought of a managed endpoint decides how many share its steps."""

import pytest

from inferprint.errors import InvalidInput
from inferprint.estimate import Estimator, Request

ASKED = {"model_id": "deepseek-v3", "managed_service_id": "together", "input_tokens": 1000, "output_tokens": 300}


@pytest.fixture(scope="module")
def estimator():
    return Estimator()


def batch_and_energy(estimator, **more):
    result = estimator.estimate(Request(**ASKED | more))
    return float(result.machine.draws.batch[0]), result.range("usage_energy_wh").value


def test_requests_that_wait_share_larger_steps(estimator):
    standard, batch = batch_and_energy(estimator), batch_and_energy(estimator, service_tier="batch")
    assert batch[0] > 2 * standard[0]
    assert batch[1] < standard[1]


def test_bought_capacity_is_shared_by_fewer(estimator):
    closed = {"model_id": "gpt-4o", "managed_service_id": "openai"}
    provisioned = batch_and_energy(estimator, **closed, service_tier="provisioned")
    assert provisioned[0] < batch_and_energy(estimator, **closed)[0]


@pytest.mark.parametrize("tier", ["standard", "flex", "priority"])
def test_other_tiers_are_the_host(tier, estimator):
    assert batch_and_energy(estimator, service_tier=tier) == batch_and_energy(estimator)


def test_the_tier_of_an_unstated_service_is_that_of_its_class(estimator):
    prior = estimator.catalogue.priors["batch.throughput"].value
    result = estimator.estimate(
        Request(model_id="llama-3.1-8b", input_tokens=10, output_tokens=10, service_tier="batch")
    )
    (batch,) = (entry.value for entry in result.machine.trail.assumptions if entry.field == "batch_size")
    assert batch == pytest.approx(prior.value, rel=0.01)


def test_a_machine_of_ones_own_has_no_tier(estimator):
    own = {"model_id": "llama-3.1-8b", "gpu_id": "rtx_4090", "input_tokens": 10, "output_tokens": 10}
    plain, asked = (estimator.estimate(Request(**own, service_tier=tier)) for tier in (None, "batch"))
    assert plain.range("usage_energy_wh") == asked.range("usage_energy_wh")


def test_an_unknown_tier_is_refused():
    with pytest.raises(InvalidInput, match=r"service_tier: 'cheap' is unknown"):
        Estimator().estimate(Request(**ASKED, service_tier="cheap"))
