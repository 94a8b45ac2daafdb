"""Sums of usage: the same as those of a run over the same rows."""

from __future__ import annotations

import asyncio
import csv
import itertools
from pathlib import Path
from typing import Any

import pytest
from tests.postgres_here import postgres
from tests.service.databases import DIALECTS, Parts, caller, parts_on, row, url_for

from inferprint.batch import run
from inferprint.estimate import Estimator
from inferprint.quantities import RESULTS
from inferprint.service import summary
from inferprint.service.caller import GLOBAL_OWNER
from inferprint.service.problems import BadRequest, Forbidden, NotFound
from inferprint.service.summary import DIMENSIONS, summed

MODELS = ("llama-3.1-8b", "llama-3.1-70b", "gpt-4o", "flux.1-dev", "text-embedding-3-small")


@pytest.fixture(scope="module")
def server():
    with postgres() as started:
        yield started


@pytest.fixture(params=DIALECTS)
def parts(request, tmp_path, server):
    with parts_on(url_for(request.param, tmp_path, server)) as made:
        yield made


def keep(parts: Parts, rows: list[dict[str, Any]], **further: Any) -> None:
    asyncio.run(parts.ledger.keep(caller(), parts.outcomes(rows), source="test", **further))


def mixed(n: int) -> list[dict[str, Any]]:
    """Rows of several models, services, places, projects and days."""
    services = (None, "aws-bedrock", "azure-openai")
    rows = []
    for i, (model, service) in zip(range(n), itertools.cycle(itertools.product(MODELS, services)), strict=False):
        plain = row(
            i,
            model_id=model,
            managed_service_id=service if "llama" in model or "gpt" in model else None,
            country=("FI", "US", None)[i % 3],
            project_id=("support", "review", None)[i % 3],
            utc_datetime=f"2026-09-{1 + i % 4:02d}T10:00:00Z",
            n_requests=1 + i % 2,
            input_tokens=100 + 37 * i,
            output_tokens=20 + 11 * i,
        )
        if model == "flux.1-dev":
            plain |= {"output_images": ["1024x1024"], "input_tokens": 20, "n_requests": 1}
            del plain["output_tokens"]
        if model == "text-embedding-3-small":
            plain["output_tokens"] = 0
        rows.append(plain)
    return rows


def run_totals(rows: list[dict[str, Any]], folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Totals of a run over the same rows, by dimension and key."""
    table = folder / "rows.csv"
    names = sorted({name for one in rows for name in one})
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        for one in rows:
            writer.writerow({name: ";".join(v) if isinstance(v, list) else v for name, v in one.items()})
    found = run(table, folder / "out")
    assert found.counts.rejected == 0
    with (folder / "out" / "totals.csv").open() as file:
        return {(line["dimension"], line["key"]): line for line in csv.DictReader(file)}


def assert_same(told: dict[str, Any] | None, total: dict[str, str], name: str) -> None:
    if told is None:
        assert total[name] == ""
        return
    assert told["value"] == pytest.approx(float(total[name]), rel=1e-9)
    assert told["low"] == pytest.approx(float(total[f"{name}_low"]), rel=1e-9)
    assert told["high"] == pytest.approx(float(total[f"{name}_high"]), rel=1e-9)


def test_a_summary_is_that_of_a_run(parts, tmp_path):
    rows = mixed(60)
    keep(parts, rows)
    totals = run_totals(rows, tmp_path)
    for by in ([], ["model"], ["service"], ["place"], ["project_id"], ["day"]):
        found = summed(parts.ledger, caller(), by, {}, limit=1000)
        expected = {key: total for (dimension, key), total in totals.items() if dimension == (by[0] if by else "all")}
        keys = [one["key"].get(by[0]) if by else "all" for one in found["rows"]]
        assert keys == sorted(expected)
        for key, one in zip(keys, found["rows"], strict=True):
            assert one["n_rows"] == int(expected[key]["records"])
            assert one["interval"] == {"rows_by_cards": one["n_rows"], "rows_by_sums": 0, "rescaled": [], "added": []}
            for quantity in RESULTS:
                assert_same(one["quantities"][quantity.name], expected[key], quantity.name)


def test_two_dimensions_pages_and_filters_add_up(parts):
    keep(parts, mixed(60))
    whole = summed(parts.ledger, caller(), ["project_id", "day"], {}, limit=1000)["rows"]
    assert [tuple(one["key"].values()) for one in whole] == sorted(tuple(one["key"].values()) for one in whole)
    paged: list[Any] = []
    offset: int | None = 0
    while offset is not None:
        page = summed(parts.ledger, caller(), ["project_id", "day"], {}, limit=5, offset=offset)
        paged += page["rows"]
        offset = page["next_offset"]
    assert [one["key"] for one in paged] == [one["key"] for one in whole]
    for one, other in zip(whole, paged, strict=True):
        assert one | {"quantities": None} == other | {"quantities": None}
        for name, told in one["quantities"].items():
            assert other["quantities"][name] == (None if told is None else pytest.approx(told, rel=1e-12))
        chosen = {"project_id": one["key"]["project_id"], "from": one["key"]["day"], "to": one["key"]["day"]}
        (alone,) = summed(parts.ledger, caller(), [], chosen)["rows"]
        assert alone["n_rows"] == one["n_rows"]
        for name, told in one["quantities"].items():
            assert alone["quantities"][name] == (None if told is None else pytest.approx(told, rel=1e-12))
    (month,) = summed(parts.ledger, caller(), ["month"], {})["rows"]
    assert month["key"] == {"month": "2026-09"}
    assert month["n_rows"] == 60


def test_rows_with_measured_times_are_added_with_their_own_bounds(parts):
    rows = [row(1), row(2, processing_duration_ms=900.0), row(3, processing_duration_ms=1700.0)]
    keep(parts, rows)
    (plain,) = summed(parts.ledger, caller(), [], {})["rows"]
    assert plain["interval"]["rows_by_cards"] == 1
    assert plain["interval"]["rows_by_sums"] == 2
    results = [outcome.result for outcome in parts.outcomes(rows)]
    for quantity in ("usage_energy_wh", "embodied_water_ml"):
        ranges = [result.range(quantity) for result in results if result is not None]
        told = plain["quantities"][quantity]
        assert told["value"] == pytest.approx(sum(r.value for r in ranges), rel=1e-12)
        # That of the one row by its card is a row's own interval by draws, which is no wider than its bounds.
        assert sum(r.low for r in ranges) * (1 - 1e-9) <= told["low"] <= told["value"]
        assert sum(r.high for r in ranges) * (1 + 1e-9) >= told["high"] >= told["value"]
        assert told["high"] >= sum(r.high for r in ranges[1:]) + ranges[0].value


def test_what_counts_nothing_is_counted_apart(parts):
    rows = [row(1), row(2), row(3, model_id="no-such-model")]
    keep(parts, rows, choose=lambda _: ["counts", "merged", "counts"])
    (told,) = summed(parts.ledger, caller(), [], {})["rows"]
    assert (told["n_rows"], told["n_merged"], told["n_unestimated"], told["n_requests"]) == (1, 1, 1, 1)
    (result,) = (outcome.result for outcome in parts.outcomes(rows[:1]))
    assert told["quantities"]["usage_energy_wh"]["value"] == pytest.approx(result.usage_energy_wh.value, rel=1e-12)
    assert sum(told["quality"].values()) == 1
    assert [version["rows"] for version in told["versions"]] == [1]


def test_nothing_adds_up_to_nothing(parts):
    (told,) = summed(parts.ledger, caller(), [], {})["rows"]
    assert told["n_rows"] == 0
    assert told["quantities"]["usage_energy_wh"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert summed(parts.ledger, caller(), ["model"], {})["rows"] == []


class _Changed(Estimator):
    """An estimator by whose cards all energy is half of what it was, or that knows a model no more."""

    def __init__(self, *, forgets: str = "", cheaper: bool = False) -> None:
        super().__init__()
        self._forgets, self._cheaper = forgets, cheaper

    def cards(self, request):
        from dataclasses import replace

        from inferprint.errors import UnknownName

        if request.model_id == self._forgets:
            raise UnknownName("model", self._forgets, [], "inferprint catalog models")
        machine, place = super().cards(request)
        if self._cheaper:
            draws = machine.draws
            machine = replace(machine, draws=replace(draws, energy=draws.energy / 2, seconds=draws.seconds / 2))
        return machine, place


def test_values_stay_what_they_were_when_cards_change(parts):
    keep(parts, mixed(30))
    (before,) = summed(parts.ledger, caller(), [], {})["rows"]
    parts.catalogues.shared = _Changed(cheaper=True)
    (after,) = summed(parts.ledger, caller(), [], {})["rows"]
    assert set(after["interval"]["rescaled"]) >= {"usage_energy_wh", "usage_water_ml", "embodied_emissions_gco2e"}
    for name in ("usage_energy_wh", "usage_emissions_gco2e", "embodied_emissions_gco2e"):
        assert after["quantities"][name] == pytest.approx(before["quantities"][name], rel=1e-9)


def test_a_model_that_is_known_no_more_still_counts(parts):
    rows = mixed(30)
    keep(parts, rows)
    (before,) = summed(parts.ledger, caller(), [], {})["rows"]
    parts.catalogues.shared = _Changed(forgets="llama-3.1-70b")
    (after,) = summed(parts.ledger, caller(), [], {})["rows"]
    assert after["interval"]["rows_by_sums"] == sum(one["model_id"] == "llama-3.1-70b" for one in rows)
    for name, told in before["quantities"].items():
        if told is not None:
            assert after["quantities"][name]["value"] == pytest.approx(told["value"], rel=1e-12)
            assert after["quantities"][name]["low"] <= told["low"] * (1 + 1e-9)
            assert after["quantities"][name]["high"] >= told["high"] * (1 - 1e-9)


def test_setups_beyond_the_bound_are_added_with_their_own_bounds(parts, monkeypatch):
    rows = mixed(30)
    keep(parts, rows)
    monkeypatch.setattr(summary, "MAX_SETUPS", 2)
    (told,) = summed(parts.ledger, caller(), [], {})["rows"]
    assert told["interval"]["rows_by_sums"] > 0
    assert told["interval"]["rows_by_cards"] > 0
    assert told["interval"]["rows_by_sums"] + told["interval"]["rows_by_cards"] == 30


def test_too_many_groups_are_refused(parts, monkeypatch):
    keep(parts, mixed(30))
    monkeypatch.setattr(summary, "MAX_GROUPS", 3)
    with pytest.raises(BadRequest, match="combinations"):
        summed(parts.ledger, caller(), ["model"], {})


def test_owners_see_their_own(parts):
    keep(parts, [row(1)])
    other = caller(GLOBAL_OWNER, "inferprint")
    (told,) = summed(parts.ledger, other, [], {})["rows"]
    assert told["n_rows"] == 0
    with pytest.raises(Forbidden):
        summed(parts.ledger, other, [], {"owner": "local"})
    admin = caller(GLOBAL_OWNER, "inferprint", "admin")
    (told,) = summed(parts.ledger, admin, [], {"owner": "local"})["rows"]
    assert told["n_rows"] == 1
    with pytest.raises(NotFound):
        summed(parts.ledger, admin, [], {"owner": "nobody"})


@pytest.mark.parametrize("by", DIMENSIONS)
def test_keys_are_in_the_order_of_their_bytes(parts, by):
    texts = ["b", "B", "ä", "a", "Z", "(none)"]
    column = by if by in ("project_id", "application_id", "client_id", "user_id", "session_id") else "project_id"
    keep(parts, [row(i, **{column: text}) for i, text in enumerate(texts)])
    found = [one["key"][by] for one in summed(parts.ledger, caller(), [by], {})["rows"]]
    assert found == sorted(found)
    assert sum(one["n_rows"] for one in summed(parts.ledger, caller(), [by], {})["rows"]) == len(texts)
