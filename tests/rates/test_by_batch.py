from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.setups import ESTIMATOR

from inferprint.errors import DoesNotFit, InvalidInput
from inferprint.rates.by_batch import fewest_devices, rates_by_batch
from inferprint.rates.setup import MachineSetup

CATALOGUE = ESTIMATOR.catalogue
SETUP = MachineSetup(model_id="llama-3.1-70b", gpu_id="h100_80gb_sxm", gpu_count=4, replica_gpu_count=4)


def test_batches_stand_in_the_place_of_draws():
    found = rates_by_batch(CATALOGUE, SETUP, np.array([1.0, 8.0, 64.0]))
    assert found.batches[:4].tolist() == [1, 8, 64, 64]
    assert np.all(np.diff(found.time_per_output_token_s[:3]) > 0)
    assert np.all(np.diff(found.memory_bytes[:3]) > 0)
    assert found.memory_bytes[2] < found.usable_bytes


def test_what_fits_decides_the_batches_where_a_function_gives_them():
    found = rates_by_batch(CATALOGUE, SETUP, lambda fits: np.array([1.0, fits]))
    assert found.batches[1] == found.fits
    assert found.memory_bytes[1] <= found.usable_bytes < found.memory_bytes[1] + 1e9


def test_longer_requests_leave_less_room_and_wait_longer():
    usual = rates_by_batch(CATALOGUE, SETUP)
    long = rates_by_batch(CATALOGUE, replace(SETUP, traffic=(20_000.0, 300.0, 0.0)))
    assert long.fits < usual.fits / 10
    assert long.time_to_first_token_s[0] > 5 * usual.time_to_first_token_s[0]


def test_cached_prompts_of_the_others_leave_their_steps_shorter():
    hits = rates_by_batch(CATALOGUE, replace(SETUP, techniques=("prefix-caching:hit_rate=0.8",)))
    usual = rates_by_batch(CATALOGUE, SETUP)
    assert hits.time_per_output_token_s[300] < 0.98 * usual.time_per_output_token_s[300]
    assert hits.time_to_first_token_s[0] < 0.6 * usual.time_to_first_token_s[0]


def test_the_fewest_devices_hold_the_model_and_one_request():
    bare = MachineSetup(model_id="llama-3.1-70b", gpu_id="h100_80gb_sxm")
    assert fewest_devices(CATALOGUE, bare) == (4, False)
    # A request of 600,000 tokens keeps 196 GB: twice the devices.
    assert fewest_devices(CATALOGUE, replace(bare, traffic=(600_000.0, 1.0, 0.0))) == (8, False)


def test_a_layout_of_techniques_fixes_the_devices():
    setup = MachineSetup(model_id="llama-3.1-70b", gpu_id="h100_80gb_sxm", techniques=("tensor-parallel:devices=8",))
    assert fewest_devices(CATALOGUE, setup) == (8, True)


def test_a_node_that_holds_too_little_is_refused():
    with pytest.raises(DoesNotFit):
        fewest_devices(CATALOGUE, MachineSetup(model_id="llama-3.1-405b", node_id="generic:hgx-h100-8"))


@pytest.mark.parametrize("batches", [[], [0.5], [8.0, 1.0], list(range(1, 600))])
def test_batches_that_are_none_are_refused(batches):
    with pytest.raises(InvalidInput, match="rising order"):
        rates_by_batch(CATALOGUE, SETUP, np.array(batches, dtype=float))


def test_hardware_must_be_stated():
    with pytest.raises(InvalidInput, match="stated accelerator"):
        rates_by_batch(CATALOGUE, MachineSetup(model_id="llama-3.1-70b"))
