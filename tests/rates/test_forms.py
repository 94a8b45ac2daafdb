"""Learned forms as draws: coefficients with their effects, and the error that is left."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inferprint import Catalogue
from inferprint.physics.terms import UNLEARNED
from inferprint.rates import MachineSetup
from inferprint.rates.draws import Sampler
from inferprint.rates.forms import GROUPS, coefficients_of, level_of, residual_kinds, tags_of
from inferprint.rates.machine import shape_of, situation_of
from inferprint.rates.serving import replica_of, serving_of
from inferprint.rates.situation import Case

CATALOGUE = Catalogue.packaged()


def situation(central_only: bool = False, **setup):
    asked = MachineSetup(**{"model_id": "llama-3.1-8b", "gpu_id": "h100_80gb_sxm", "batch_size": 8.0, **setup})
    found, _ = situation_of(CATALOGUE, asked, sampler=Sampler(central_only=central_only))
    return found, Case(found.hosting.candidates[0], found.precision)


def replica(devices, **setup):
    found, case = situation(**setup)
    return replica_of(found, case, serving_of(found, shape_of(found), case.gpu), devices)


@pytest.mark.parametrize(
    "setup, tags",
    [
        ({}, {"vllm", "bf16", "fp16-arithmetic", "hopper", "hbm", "datacenter"}),
        ({"precision": "fp8"}, {"fp8-arithmetic", "hopper"}),
        # No units for 8 bit: unpacked and computed at 16 bit
        ({"precision": "fp8", "gpu_id": "a100_80gb_sxm"}, {"fp16-arithmetic", "ampere"}),
        ({"gpu_id": "rtx_4090", "precision": "q4_k_m", "batch_size": 1.0}, {"llama.cpp", "gguf", "consumer", "gddr"}),
        ({"gpu_id": "apple_m3_ultra", "batch_size": 1.0}, {"llama.cpp", "apple", "unified"}),
        ({"engine": "vllm-2024"}, {"vllm-2024"}),
    ],
    ids=str,
)
def test_what_effects_may_hold(setup, tags):
    found = tags_of(*situation(**setup))
    assert tags <= set(found)
    assert len({name for name in found if name.endswith("-arithmetic")}) == 1


@pytest.mark.parametrize(
    "setup, flops",
    [
        ({}, 989.4e12),
        ({"precision": "fp8"}, 1978.9e12),
        ({"precision": "q4_k_m"}, 989.4e12),
        ({"precision": "fp32"}, 494.7e12),
        ({"precision": "fp8", "gpu_id": "a100_80gb_sxm"}, 312e12),
    ],
    ids=str,
)
def test_the_peak_is_that_of_the_arithmetic_that_is_executed(setup, flops):
    assert replica(1.0, **setup).flops == pytest.approx(flops, rel=1e-9)


@pytest.mark.parametrize("engine, devices, stages", [("vllm", 4.0, 1.0), ("llama.cpp", 1.0, 4.0), ("eager", 1.0, 4.0)])
def test_devices_work_together_or_take_turns(engine, devices, stages):
    found = replica(4.0, engine=engine)
    assert (found.devices, found.stages) == (devices, stages)


def test_groups_hold_terms_that_some_form_has():
    known = {term for form in CATALOGUE.forms.values() for term in form.terms}
    assert {term for group in GROUPS.values() for term in group} <= known


def test_every_effect_is_of_a_group():
    groups = {name.partition(":")[0] for form in CATALOGUE.forms.values() for name in form.effects}
    assert groups <= {"all", *GROUPS}


class TestCoefficients:
    """Effects of engines of 2024: on all terms, and on what is fixed in a step."""

    FORM = CATALOGUE.forms["energy.served"]

    def central(self, **setup):
        found, case = situation(central_only=True, **setup)
        return coefficients_of(found, self.FORM, tags_of(found, case))

    def test_without_an_effect_they_are_the_fitted_ones(self):
        found = self.central()
        learned = {term: value.value for term, value in self.FORM.terms.items()}
        assert found == pytest.approx(learned | UNLEARNED, rel=1e-12)

    def test_an_effect_multiplies_its_group(self):
        plain, old = self.central(), self.central(engine="vllm-2024")
        factor = math.exp(self.FORM.effects["fixed:vllm-2024"])
        changed = {term for term in plain if old[term] != pytest.approx(plain[term], rel=1e-12)}
        assert changed == GROUPS["fixed"] & set(plain)
        assert old["layers"] == pytest.approx(factor * plain["layers"], rel=1e-12)

    def test_an_effect_on_all_terms_is_left_to_the_level(self):
        assert level_of(self.FORM, tags_of(*situation(engine="vllm-2024"))) == ("all:vllm-2024",)
        assert level_of(self.FORM, tags_of(*situation())) == ()

    @pytest.mark.parametrize("form", ["energy.served", "duration.served", "duration.single"])
    def test_draws_have_the_spread_of_the_fit(self, form):
        # Axes of less than a hundredth of the variance are left out, and 512 draws know a deviation to 3 %.
        record = CATALOGUE.forms[form]
        drawn = situation()[0].parameters(record)
        size = len(drawn)
        matrix = np.zeros((size, size))
        matrix[np.tril_indices(size)] = record.covariance
        deviations = dict(zip([*sorted(record.terms), *sorted(record.effects)], np.sqrt(np.diag(matrix)), strict=True))
        # Those that matter: deviations of a tenth of the largest and more.
        wide = {name: d for name, d in deviations.items() if d > 0.3 * max(deviations.values())}
        assert {name: np.std(drawn[name][1:]) for name in wide} == pytest.approx(wide, rel=0.2)

    @pytest.mark.parametrize("form", ["energy.served", "duration.served", "duration.single", "two-term"])
    def test_intervals_of_the_terms_are_those_of_the_covariance(self, form):
        # 1.95996 deviations on both sides, in logs
        record = CATALOGUE.forms[form]
        names = [*sorted(record.terms), *sorted(record.effects)]
        size = len(names)
        matrix = np.zeros((size, size))
        matrix[np.tril_indices(size)] = record.covariance
        for index, name in enumerate(sorted(record.terms)):
            value, low, high = record.terms[name]
            width = 1.95996 * math.sqrt(matrix[index, index])
            assert math.log(high / value) == pytest.approx(width, rel=1e-3, abs=1e-5)
            assert math.log(value / low) == pytest.approx(width, rel=1e-3, abs=1e-5)


class TestError:
    """What a form still gets wrong: half of the variance is shared by all models, half is a model's own."""

    FORM = CATALOGUE.forms["energy.served"]

    def test_the_central_case_has_none(self):
        assert situation()[0].form_error(self.FORM, "dense")[0] == 1.0
        assert situation(central_only=True)[0].form_error(self.FORM, "dense") == 1.0

    @pytest.mark.parametrize("kind", sorted(CATALOGUE.forms["energy.served"].residual))
    def test_bounds_are_those_of_the_form(self, kind):
        # Each side of two halves together: exact where both sides are alike, else between the two.
        low, high = np.log(np.quantile(situation()[0].form_error(self.FORM, kind)[1:], [0.025, 0.975]))
        stated = self.FORM.residual[kind]
        assert (low, high) == pytest.approx((stated.low, stated.high), rel=0.15)

    def test_the_pooled_one_stands_in_for_a_kind_that_has_none(self):
        found = situation()[0]
        assert np.array_equal(found.form_error(self.FORM, "never seen"), found.form_error(self.FORM, "all"))

    def test_two_models_share_half_of_the_variance(self):
        one, other = (
            np.log(situation(model_id=m)[0].form_error(self.FORM, "all")[1:]) for m in ("llama-3.1-8b", "llama-2-7b")
        )
        assert np.corrcoef(one, other)[0, 1] == pytest.approx(0.5, abs=4 * 0.044)


@pytest.mark.parametrize(
    "sparse, batch, kind",
    [
        (False, 1.0, "dense"),
        (False, 256.0, "dense"),
        (False, 257.0, "dense, many requests"),
        (True, 256.0, "sparse"),
        (True, 1000.0, "sparse, many requests"),
    ],
)
def test_every_case_is_of_one_kind(sparse, batch, kind):
    holds = residual_kinds(sparse, batch)
    assert [name for name, value in holds.items() if value] == [kind]
