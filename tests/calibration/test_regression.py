"""Fits against made-up measurements whose coefficients are known, and against NumPy and statsmodels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from inferprint.calibration.design import Design, Point
from inferprint.calibration.observations import Observation
from inferprint.calibration.regression import Bound, Spec, _Problem, fit, ordinary_least_squares, predict
from inferprint.rates import MachineSetup
from inferprint.rates.ideal import IdealRequest

ROWS, MODELS = 600, 20
TRUE = {"dense_weights": 1.4, "kv_reads": 2.0, "layers": 5e-5, "prompt_linear": 3.0}
EFFECTS = {"all:blackwell": 0.3, "fixed:eager": 0.5}
"""The first on every term, the second on layers alone."""

SPEC = Spec(
    id="made-up",
    quantity="served-duration",
    view="seen",
    terms={
        "dense_weights": Bound(1.0, 1.2, 3.0),
        "kv_reads": Bound(1.0, 1.2, 5.0),
        "layers": Bound(1e-7, 3e-5, 1e-3),
        "prompt_linear": Bound(0.5, 1.0, 10.0),
    },
    effects=tuple(EFFECTS),
)
SETUP = MachineSetup(model_id="llama-3.1-8b", gpu_id="h100_80gb_sxm", gpu_count=1, batch_size=1.0)


def ideal(model: str, seen: dict[str, float], tags: dict[str, float]) -> IdealRequest:
    return IdealRequest(
        share=seen, seen=seen, two_term=seen, tags=tags, kind="dense", devices=1.0, batch=1.0, max_power_w=700.0,
        model=model, family=model, architecture="dense", total_params_b=8.0, active_params_b=8.0,
    )  # fmt: skip


def point(model: str, seen: dict[str, float], tags: dict[str, float], target: float, weight: float = 1.0) -> Point:
    observed = Observation("r", "made-up", "single_request_duration", target, (1.0, 1.0, 0.0), SETUP, weight)
    return Point(observed, ideal(model, seen, tags), target)


def made_up(
    noise: float = 0.0,
    true: dict[str, float] = TRUE,
    effects: dict[str, float] = EFFECTS,
    seed: int = 1,
    of_models: float = 0.0,
) -> Design:
    """Rows whose targets are the sum of their terms, times a log-normal error of each row and one of each model."""
    random, points = np.random.default_rng(seed), []
    of_model = np.exp(of_models * random.standard_normal(MODELS))
    for i in range(ROWS):
        tags = {name: 1.0 for name in ("blackwell", "eager") if random.random() < 0.4}
        seconds = np.exp(random.uniform(np.log(1e-4), np.log(1e-2), 3))
        seen = {
            "dense_weights": seconds[0],
            "kv_reads": seconds[1],
            "prompt_linear": seconds[2],
            "layers": float(random.integers(10, 120)),
        }
        fixed = np.exp(effects["fixed:eager"]) if "eager" in tags else 1.0
        total = sum(true[name] * value * (fixed if name == "layers" else 1.0) for name, value in seen.items())
        total *= np.exp(effects["all:blackwell"] if "blackwell" in tags else 0.0)
        error = np.exp(noise * random.standard_normal()) * of_model[i % MODELS]
        points.append(point(f"model-{i % MODELS}", seen, tags, total * error))
    return Design(points)


def found(fitted) -> dict[str, float]:
    """Coefficients, and effects in logs, by name."""
    terms = len(fitted.spec.terms)
    values = [*np.exp(fitted.values[:terms]), *fitted.values[terms:]]
    return dict(zip(fitted.spec.names, map(float, values), strict=True))


@pytest.mark.parametrize("noise, tolerance", [(0.0, 1e-3), (0.1, 0.05)])
def test_known_coefficients_and_effects_come_back(noise, tolerance):
    result = found(fit(SPEC, made_up(noise)))
    assert {name: result[name] for name in TRUE} == pytest.approx(TRUE, rel=tolerance)
    assert {name: result[name] for name in EFFECTS} == pytest.approx(EFFECTS, abs=max(tolerance, 1e-3))


def test_predictions_are_those_of_the_known_coefficients():
    design = made_up()
    assert predict(fit(SPEC, design), design) == pytest.approx(design.target, rel=1e-3)


def test_no_rows_no_predictions():
    assert predict(fit(SPEC, made_up()), Design([])).shape == (0,)


def test_intervals_hold_the_known_coefficients():
    # 30 samples of 6 values: 95 % of 180 within 1.96 deviations, give or take. At least 87 % is asked, because 20
    # models tell little of a variance and the errors of a model are related.
    inside = []
    for seed in range(30):
        fitted = fit(SPEC, made_up(0.1, seed=seed, of_models=0.1))
        true = np.array([*np.log([TRUE[name] for name in sorted(TRUE)]), *(EFFECTS[name] for name in sorted(EFFECTS))])
        inside.append(np.abs(fitted.values - true) <= 1.96 * fitted.deviations)
    assert np.mean(inside) >= 0.87


def test_a_few_wild_rows_move_little():
    design = made_up(0.05)
    wild = [replace(p, target=100 * p.target) if i % 50 == 0 else p for i, p in enumerate(design.points)]
    clean, result = found(fit(SPEC, design)), found(fit(SPEC, Design(wild)))
    assert {name: result[name] for name in TRUE} == pytest.approx({name: clean[name] for name in TRUE}, rel=0.08)


def test_a_row_without_weight_does_not_count():
    design = made_up(0.05)
    useless = [replace(p, observation=replace(p.observation, weight=0.0), target=9 * p.target) for p in design.points]
    both = Design([*design.points, *useless])
    assert fit(SPEC, both).values == pytest.approx(fit(SPEC, design).values, abs=1e-9)


def test_an_earlier_fit_is_only_where_the_search_starts():
    design = made_up(0.1)
    cold = fit(SPEC, design)
    assert fit(SPEC, design, start=cold).values == pytest.approx(cold.values, abs=1e-4)


@pytest.fixture(scope="module")
def fitted():
    """Weights that are read faster than the datasheet allows: half of the least coefficient."""
    return fit(SPEC, made_up(0.02, {**TRUE, "dense_weights": 0.5}))


class TestBounds:
    def test_hold(self, fitted):
        low, high = (np.array([getattr(SPEC.terms[name], side) for name in sorted(TRUE)]) for side in ("low", "high"))
        values = np.exp(fitted.values[: len(TRUE)])
        assert (values >= low * (1 - 1e-6)).all()
        assert (values <= high * (1 + 1e-6)).all()
        assert found(fitted)["dense_weights"] == pytest.approx(1.0, rel=1e-6)

    def test_what_lies_at_one_has_no_spread_and_moves_with_nothing(self, fitted):
        index = SPEC.names.index("dense_weights")
        assert not fitted.covariance[index].any()
        assert not fitted.covariance[:, index].any()

    def test_what_lies_between_them_has(self, fitted):
        others = [i for i, name in enumerate(SPEC.names) if name != "dense_weights"]
        assert (fitted.deviations[others] > 0).all()


def test_deviations_are_those_of_repeated_samples():
    # 40 samples: a standard deviation of them is known to within a ninth, and 20 models add as much again.
    found = [fit(SPEC, made_up(0.1, seed=seed, of_models=0.2)) for seed in range(40)]
    ratio = np.std([f.values for f in found], axis=0) / np.mean([f.deviations for f in found], axis=0)
    assert ratio == pytest.approx(1.0, abs=0.35)


def test_derivatives_are_those_of_finite_differences():
    problem = _Problem(SPEC, made_up(0.1))
    at, step = np.array([0.2, 0.4, -9.5, 0.7, 0.3, -0.2]), 1e-6
    _, analytic = problem.predict(at)
    for i in range(len(at)):
        up, down = (problem.predict(at + sign * step * np.eye(len(at))[i])[0] for sign in (1, -1))
        assert analytic[:, i] == pytest.approx((up - down) / (2 * step), abs=1e-8)


def test_covariance_is_symmetric_and_positive():
    covariance = fit(SPEC, made_up(0.1)).covariance
    assert covariance == pytest.approx(covariance.T, rel=1e-9)
    assert np.linalg.eigvalsh(covariance).min() >= -1e-12


def test_rows_of_a_model_that_are_listed_again_teach_nothing():
    # Errors within a model are taken to be related: ten times the same rows leave the deviations where they are.
    design = made_up(0.1, of_models=0.1)
    once, ten = fit(SPEC, design), fit(SPEC, Design(design.points * 10))
    assert ten.deviations == pytest.approx(once.deviations, rel=0.05)


@pytest.fixture(scope="module")
def rows():
    """Durations on two columns of ideal seconds, decode and prefill."""
    random = np.random.default_rng(7)
    columns = random.uniform(0.01, 1.0, (200, 2))
    target = columns @ [1.35, 2.1] + 0.02 * random.standard_normal(200)
    points = [
        point("m", {"decode": d, "prefill": p}, frozenset(), t) for (d, p), t in zip(columns, target, strict=True)
    ]
    return columns, target, Design(points)


class TestOrdinaryLeastSquares:
    """Without intercept."""

    SPEC = Spec("two", "two-term", "two_term", {"prefill": Bound(0, 1, 100), "decode": Bound(0, 1, 100)})

    def test_betas_are_those_of_numpy(self, rows):
        columns, target, design = rows
        betas = np.linalg.lstsq(columns, target, rcond=None)[0]
        assert np.exp(ordinary_least_squares(self.SPEC, design).values) == pytest.approx(betas, rel=1e-10)

    def test_betas_are_those_of_statsmodels(self, rows):
        columns, target, design = rows
        betas = sm.OLS(target, columns).fit().params
        assert np.exp(ordinary_least_squares(self.SPEC, design).values) == pytest.approx(betas, rel=1e-12)

    def test_covariance_is_the_textbook_one_in_logs(self, rows):
        # s^2 (X'X)^-1 with s^2 = RSS / (n - 2); of a logarithm, over the betas
        columns, target, design = rows
        betas = np.linalg.lstsq(columns, target, rcond=None)[0]
        variance = np.sum((target - columns @ betas) ** 2) / (len(target) - 2)
        expected = variance * np.linalg.inv(columns.T @ columns) / np.outer(betas, betas)
        assert ordinary_least_squares(self.SPEC, design).covariance == pytest.approx(expected, rel=1e-8)

    def test_a_beta_that_is_not_positive_is_an_error(self, rows):
        columns, target, _ = rows
        points = [
            point("m", {"decode": d, "prefill": -p}, frozenset(), t) for (d, p), t in zip(columns, target, strict=True)
        ]
        with pytest.raises(ValueError, match="not positive"):
            ordinary_least_squares(self.SPEC, Design(points))
