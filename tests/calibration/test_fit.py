"""The shipped coefficients are what the measurements give, and what is written can be read."""

from __future__ import annotations

import datetime
import hashlib

import numpy as np
import pytest

from inferprint import Catalogue, Estimator, Request
from inferprint.calibration.design import design_of
from inferprint.calibration.fit import TASKS, Learned, coefficients_text, fingerprint
from inferprint.calibration.observations import data_folder
from inferprint.calibration.regression import predict
from inferprint.calibration.scores import score
from inferprint.calibration.wall import Wall
from inferprint.quantities import Range

CATALOGUE = Catalogue.packaged()
NAMES = [task.spec.id for task in TASKS]


@pytest.fixture(scope="module")
def learned(observations) -> dict[str, Learned]:
    """Every form fitted again, without the loops that leave groups out."""
    found = {}
    for task in TASKS:
        design = design_of(observations, task.quantities, CATALOGUE)
        used = design.where(design.weight > 0)
        fitted = task.fit(task.spec, design)
        residual = {"all": Range(0.0, -0.5, 0.5), "dense": Range(0.0, -0.4, 0.6)}
        predicted = predict(fitted, used)
        found[task.spec.id] = Learned(task, fitted, used, predicted, predicted, residual)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_new_fit_gives_the_shipped_coefficients(learned, name):
    shipped = CATALOGUE.forms[name]
    found, expected = ({term: r.value for term, r in terms.items()} for terms in (learned[name].terms, shipped.terms))
    assert found == pytest.approx(expected, rel=1e-4)
    assert learned[name].effects == pytest.approx(dict(shipped.effects), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_fit_gives_the_shipped_covariance(learned, name):
    lower = np.tril_indices(len(learned[name].fitted.values))
    # Four digits are written
    assert np.array(CATALOGUE.forms[name].covariance) == pytest.approx(
        learned[name].fitted.covariance[lower], rel=2e-3, abs=1e-6
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_form_names_the_data_it_was_fitted_on(learned, name):
    form = CATALOGUE.forms[name]
    paths = [*data_folder().glob("*/*.csv"), *data_folder().glob("*/source.toml")]
    assert form.fingerprint == fingerprint(paths)
    assert form.rows == len(learned[name].design.points)


def test_the_betas_of_the_two_term_form():
    betas = {term: round(value.value, 2) for term, value in CATALOGUE.forms["two-term"].terms.items()}
    assert betas == {"prefill": 2.10, "decode": 1.35}


@pytest.mark.parametrize("name", NAMES)
def test_coefficients_lie_where_physics_allows(learned, name):
    spec = learned[name].task.spec
    for term, value in CATALOGUE.forms[name].terms.items():
        assert spec.terms[term].low * (1 - 1e-5) <= value.value <= spec.terms[term].high * (1 + 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_form_has_a_pooled_residual_about_none(name):
    residual = CATALOGUE.forms[name].residual
    assert "all" in residual
    assert all(r.low < 0.0 == r.value < r.high for r in residual.values())


class TestFingerprint:
    def test_is_that_of_the_contents_in_the_order_of_names(self, tmp_path):
        files = [tmp_path / name for name in ("a.csv", "b.csv")]
        for path in files:
            path.write_text(path.name, encoding="utf-8")
        expected = hashlib.sha256(b"a.csvb.csv").hexdigest()
        assert fingerprint(files) == fingerprint(reversed(files)) == expected

    def test_changes_with_a_single_byte(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("1", encoding="utf-8")
        before = fingerprint([path])
        path.write_text("2", encoding="utf-8")
        assert fingerprint([path]) != before


class TestWritten:
    """The file that a fit writes, as a folder for --catalog."""

    DATE = datetime.date(2030, 1, 2)

    @pytest.fixture
    def loaded(self, learned, tmp_path) -> Catalogue:
        wall = Wall(Range(220.0, 140.0, 344.0), 0.05, Range(0.0, -0.4, 0.3), score(np.ones(3), np.ones(3)), 30, 5, [])
        (tmp_path / "forms").mkdir()
        text = coefficients_text(learned.values(), wall, "f" * 64, self.DATE)
        (tmp_path / "forms" / "coefficients.toml").write_text(text, encoding="utf-8")
        return CATALOGUE.with_folder(tmp_path)

    @pytest.mark.parametrize("name", NAMES)
    def test_holds_what_was_fitted(self, loaded, learned, name):
        form, item = loaded.forms[name], learned[name]
        assert form.status == "fitted"
        assert (form.rows, form.fingerprint) == (len(item.design.points), "f" * 64)
        assert form.origin("terms").date == "2030-01-02"
        for term, value in item.terms.items():
            assert tuple(form.terms[term]) == pytest.approx(tuple(value), rel=1e-5)
        assert dict(form.effects) == pytest.approx(item.effects, rel=1e-5, abs=1e-9)
        assert {kind: tuple(r) for kind, r in form.residual.items()} == {
            "all": (0.0, -0.5, 0.5),
            "dense": (0.0, -0.4, 0.6),
        }
        lower = np.tril_indices(len(item.fitted.values))
        assert form.covariance == pytest.approx(item.fitted.covariance[lower].tolist(), rel=1e-3)

    def test_holds_the_step_to_the_wall(self, loaded):
        form = loaded.forms["wall"]
        assert tuple(form.terms["server"]) == (220.0, 140.0, 344.0)
        assert (form.rows, tuple(form.residual["all"])) == (30, (0.0, -0.4, 0.3))

    def test_estimates(self, loaded):
        request = Request(
            model_id="llama-3.1-8b", gpu_id="h100_80gb_sxm", batch_size=8, input_tokens=9, output_tokens=9
        )
        ours, shipped = (Estimator(c).estimate(request).usage_energy_wh.value for c in (loaded, CATALOGUE))
        assert ours == pytest.approx(shipped, rel=1e-3)
