"""A model without published size gets its estimate from what hosts ask for it."""

from __future__ import annotations

import datetime
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from inferprint import Catalogue, Estimator, Request
from inferprint.catalogue import Price
from inferprint.errors import InvalidInput, Undisclosed
from inferprint.provenance.source import Provenance
from inferprint.rates.price import size_from_price, year_of

CATALOGUE = Catalogue.packaged()
ESTIMATOR = Estimator(CATALOGUE)
CLOSED = "claude-opus-4-5"


def estimate(model=CLOSED, estimator=ESTIMATOR, **more):
    return estimator.estimate(Request(model_id=model, input_tokens=1000, output_tokens=300, **more))


def entry(result, field):
    return next(item for item in result.trail if item.field == field)


def test_a_closed_model_carries_the_interval_of_its_size():
    result = estimate()
    size = size_from_price(CATALOGUE, CLOSED, "total")
    assert entry(result, "total_params_b").value == pytest.approx(size.size_b.value)
    assert entry(result, "total_params_b").high == pytest.approx(size.size_b.high)
    assert any("size from price" in source for source in result.uncertainty)
    known = estimate(total_params_b=size.size_b.value, active_params_b=20.0).usage_energy_wh
    ours = result.usage_energy_wh
    assert ours.high / ours.low > known.high / known.low


def test_price_and_day_are_frozen_into_the_result():
    shown = entry(estimate(), "total_params_b")
    assert shown.how == "inferred"
    assert "USD per million tokens (20" in shown.reason
    assert shown in estimate().assumptions


def test_what_the_caller_states_stands():
    result = estimate(total_params_b=100.0, active_params_b=10.0)
    assert entry(result, "total_params_b").how == "given"
    assert not any("size from price" in source for source in result.uncertainty)


def test_a_stated_active_size_is_never_cut():
    assert entry(estimate(active_params_b=5000.0), "active_params_b").value == 5000.0


def test_the_conservative_size_is_the_upper_end_and_costs_more():
    plain, careful = estimate(), estimate(conservative=True)
    size = size_from_price(CATALOGUE, CLOSED, "total")
    assert entry(careful, "total_params_b").value == pytest.approx(size.upper_b)
    assert careful.usage_energy_wh.value > plain.usage_energy_wh.value
    assert careful.to_dict()["request"]["conservative"] is True
    assert plain.to_dict()["request"]["conservative"] is False


def test_a_column_of_a_table_says_which_rows_are_conservative(tmp_path):
    from inferprint.batch import RunOptions, run

    table = tmp_path / "usage.csv"
    rows = [f"gpt-4o,100,100,{cell}" for cell in ("", "yes", "false", "maybe")]
    table.write_text("model_id,input_tokens,output_tokens,conservative\n" + "\n".join(rows) + "\n")
    counts = run([table], tmp_path / "out", RunOptions()).counts
    assert (counts.estimated, counts.records) == (3, 4)


def test_conservative_is_true_or_false():
    with pytest.raises(InvalidInput, match="neither true nor false"):
        estimate(conservative="very")


@pytest.mark.parametrize(
    "more, quality",
    [({}, "assumed"), ({"node_id": "generic:hgx-h100-8", "batch_size": 8}, "inferred from price"),
     ({"node_id": "generic:hgx-h100-8", "batch_size": 8, "request_duration_ms": 900.0}, "inferred from price")],
)  # fmt: skip
def test_quality_is_at_best_inferred_from_price(more, quality):
    assert estimate("gpt-4o-mini", **more).quality == quality


def test_a_known_size_never_uses_its_price():
    dear = Price(
        id="llama-3.1-70b",
        input_usd_per_mtok={"openrouter": 900.0},
        output_usd_per_mtok={"openrouter": 900.0},
        provenance={"": ORIGIN},
    )
    other = Estimator(CATALOGUE.with_records(dear))
    assert "llama-3.1-70b" in CATALOGUE.prices
    model = "llama-3.1-70b"
    assert estimate(model, other).usage_energy_wh == estimate(model).usage_energy_wh
    assert estimate(model, conservative=True).usage_energy_wh == estimate(model).usage_energy_wh


ORIGIN = Provenance("genai-prices", "2026-12-24", "medium", "")
NEW = (
    replace(CATALOGUE.models[CLOSED], id="brand-new", names=()),
    Price(
        id="brand-new",
        input_usd_per_mtok={"openrouter": 1.0},
        output_usd_per_mtok={"openrouter": 4.0},
        since={"openrouter": "2026-12-24"},
        provenance={"": ORIGIN},
    ),
)


def test_a_model_of_a_newer_price_list_is_estimated():
    with pytest.raises(Undisclosed, match="no host lists a price"):
        estimate("brand-new", Estimator(CATALOGUE.with_records(NEW[0])))
    result = estimate("brand-new", Estimator(CATALOGUE.with_records(*NEW)))
    assert "openrouter 1/4 USD per million tokens (2026-12-24)" in entry(result, "total_params_b").reason


def test_a_host_without_regression_is_served_by_the_pooled_one():
    price = replace(NEW[1], input_usd_per_mtok={"nowhere": 1.0}, output_usd_per_mtok={"nowhere": 4.0}, since={})
    found = size_from_price(CATALOGUE.with_records(NEW[0], price), "brand-new", "total")
    assert found.form == "pooled"


def test_an_unknown_form_is_an_error_that_names_the_forms():
    with pytest.raises(InvalidInput, match="default, seed"):
        size_from_price(CATALOGUE, CLOSED, "total", "blend")


@pytest.mark.parametrize("date, year", [("2025-07", 2025.5 + 14 / 365.25), ("2026-01-01", 2026.0), ("2025", None)])
def test_release_dates_count_in_years(date, year):
    assert year_of(date) == (year if year is None else pytest.approx(year))


@pytest.fixture(scope="module")
def prices():
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    import prices

    yield prices
    sys.path.pop(0)


def listed(name, paid, asked, start=None):
    plain = SimpleNamespace(input_mtok=paid, output_mtok=asked)
    held = plain
    if start:
        dated = SimpleNamespace(constraint=SimpleNamespace(start_date=start), prices=plain)
        old = SimpleNamespace(constraint=None, prices=SimpleNamespace(input_mtok=99, output_mtok=99))
        held = [old, dated]
    return "host", SimpleNamespace(id=name, prices=held, match=SimpleNamespace(equals=name))


def test_a_newer_list_yields_the_price_of_its_new_model(prices):
    start = datetime.date(2026, 12, 24)
    entries = [listed("brand-new", 1, 4, start)]
    kept, out = prices.cleaned(entries, {"brand-new": "brand-new"}, datetime.date(2026, 12, 31))
    assert not out
    assert prices.combined(kept) == {"brand-new": {"host": (1.0, 4.0, "2026-12-24", "")}}


@pytest.mark.parametrize(
    "name, paid, asked, rule",
    [
        ("m-latest", 1, 4, "rolling alias"),
        ("m:free", 0, 0, "free, batch, fast, priority or US-only tier"),
        ("m:batch", 1, 2, "free, batch, fast, priority or US-only tier"),
        ("m", 0, 0, "price of zero"),
        ("m", 1, None, "no output price"),
        ("m", None, 1, "no input price"),
    ],
)
def test_what_is_no_plain_price_is_excluded_by_a_named_rule(prices, name, paid, asked, rule):
    entries = [listed(name, paid, asked), listed("m-plain", 2, 8)]
    kept, out = prices.cleaned(entries, {name: "m", "m-plain": "m"}, datetime.date(2026, 12, 31))
    assert out == [("host", name, rule)]
    assert [(item.input_usd, item.output_usd) for item in kept] == [(2.0, 8.0)]


def test_a_model_without_a_plain_price_keeps_its_other_one_marked(prices):
    kept, _ = prices.cleaned([listed("m:batch", 1, 2)], {"m:batch": "m"}, datetime.date(2026, 12, 31))
    assert [(item.model, item.output_usd, item.rule) for item in kept] == [
        ("m", 2.0, "free, batch, fast, priority or US-only tier")
    ]


def test_two_prices_at_one_host_are_the_median_of_logs(prices):
    entries = [listed("m", 1, 2), listed("m-b", 4, 8)]
    kept, _ = prices.cleaned(entries, {"m": "m", "m-b": "m"}, datetime.date(2026, 12, 31))
    assert prices.combined(kept)["m"]["host"][:2] == pytest.approx((2.0, 4.0))


def test_the_format_of_an_undisclosed_model_is_predicted_from_its_size():
    # A stated format, and that of a model of known size, stand.
    names = [entry.field for entry in estimate("gpt-4o").trail]
    assert "bytes_per_param" in names
    stated = [entry.field for entry in estimate("gpt-4o", precision="fp8").trail]
    assert "bytes_per_param" not in stated
    known = [entry.field for entry in estimate("llama-3.1-70b").trail]
    assert "bytes_per_param" not in known
