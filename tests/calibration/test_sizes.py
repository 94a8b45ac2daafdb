"""What is learned from prices, on hosts made so that the answer is known."""

from __future__ import annotations

import math
import random

import pytest

from inferprint import Catalogue
from inferprint.calibration.sizes import (
    Known,
    conformal,
    correlation_of,
    fit_hosts,
    learn,
    left_out,
    score,
    validate_sizes_on,
)
from inferprint.errors import FileProblem
from inferprint.sizing.price import Offer

CATALOGUE = Catalogue.packaged()


def models(count=40, noise=0.0, hosts=("a", "b")):
    """Size = 10 x output price, at every host; two models a family."""
    draw = random.Random(4)
    found = []
    for i in range(count):
        usd = math.exp(draw.uniform(-2, 3))
        size = 10.0 * usd * math.exp(draw.gauss(0, noise))
        offers = tuple(Offer(host, usd / 2 * math.exp(draw.gauss(0, 0.2)), usd) for host in hosts)
        found.append(Known(f"m{i}", f"f{i // 2}", {"total": size, "active": size / 2}, offers, 2025.0))
    return found


def test_the_true_relation_is_recovered():
    fits, _ = fit_hosts("output", "total", models(noise=0.01))
    assert sorted(fits) == ["a", "b"]
    assert fits["a"].coefficients == pytest.approx([math.log(10), 1.0], abs=0.02)


@pytest.mark.parametrize("form, models_needed", [("output", 10), ("both", 15), ("pooled", 15)])
def test_a_host_needs_five_models_for_each_coefficient(form, models_needed):
    assert fit_hosts(form, "total", models(models_needed, 0.1, ("a",)))[0]
    assert not fit_hosts(form, "total", models(models_needed - 1, 0.1, ("a",)))[0]


def test_what_is_special_about_a_model_is_shared_by_its_hosts():
    # The noise belongs to the model, so that both hosts err alike.
    assert correlation_of(fit_hosts("output", "total", models(noise=0.5))[1]) == pytest.approx(1.0, abs=0.1)


def test_correlation_is_never_negative():
    assert correlation_of({"m": {"a": 1.0, "b": -1.0}}) == 0.0
    assert correlation_of({"m": {"a": 1.0}}) == 0.0


def test_the_conformal_quantile_is_the_order_statistic():
    # ceil(100 x 0.95) = 95th of 99 values
    assert conformal(range(1, 100)) == 95
    assert conformal([3.0, 1.0]) == 3.0


def test_no_model_is_predicted_by_fits_that_saw_its_family():
    known = models(noise=0.1)
    odd = [Known("odd", "odd", {"total": 1e4, "active": 1e4}, (Offer("a", 1.0, 1.0),), 2025.0)]
    unseen = {u.known.model: u for u in left_out("output", "total", known + odd, 0.5, "family")}
    fits, _ = fit_hosts("output", "total", known)
    assert unseen["odd"].error == pytest.approx(fits["a"].coefficients[0] - math.log(1e4))


@pytest.mark.parametrize("form", ["output", "both", "pooled"])
def test_intervals_hold_what_they_promise(form):
    _, unseen = learn(form, "total", models(200, noise=0.6))
    found = score("total", form, "family", unseen)
    assert found["models"] == 200
    assert 92 <= found["coverage95_pct"] <= 98
    assert found["upper_coverage_pct"] >= 95
    assert found["median_factor"] == pytest.approx(math.exp(0.6745 * 0.6), rel=0.2)


def test_the_seed_knows_no_shared_error():
    _, unseen = learn("output", "total", models(200, 0.6, ("a", "b", "c", "d", "e")))
    assert score("total", "seed", "family", unseen)["coverage95_pct"] < 80


HEAD = "model_id,hugging_face_path,total_params_b,active_params_b\n"


def test_a_file_is_scored_and_its_other_rows_are_counted(tmp_path):
    path = tmp_path / "known.csv"
    rows = ["llama-3.1-70b,,70.6,70.6", "nobody-knows,,1,1", "alias,meta-llama/Llama-3.1-8B-Instruct,8,8"]
    path.write_text(HEAD + "\n".join([*rows, "llama-3.1-8b,,none,8"]) + "\n")
    found, refused = validate_sizes_on(path, CATALOGUE)
    assert {(row["target"], row["form"]) for row in found} >= {("total", "default"), ("active", "seed")}
    assert found[0]["models"] == 2
    assert list(refused) == ["2: nobody-knows", "4: llama-3.1-8b"]
    assert "unknown model" in refused["2: nobody-knows"]


def test_a_file_without_the_columns_is_refused(tmp_path):
    path = tmp_path / "known.csv"
    path.write_text("model,total_params_b\n")
    with pytest.raises(FileProblem, match="model_id and no active_params_b"):
        validate_sizes_on(path, CATALOGUE)
