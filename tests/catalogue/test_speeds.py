"""Speeds of services and what runs them: whole mixes, honest licences, figures as they were read."""

from __future__ import annotations

import csv
import functools
import re
from pathlib import Path

import numpy as np
import pytest

from inferprint.catalogue import Catalogue, Service, Speed, resolve_model, resolve_service
from inferprint.errors import UnknownName
from inferprint.quantities import Range

TABLE = Path(__file__).resolve().parents[2].parent / "shared" / "catalog" / "service_speeds.csv"
CATALOGUE = Catalogue.packaged()
SERVICES = list(CATALOGUE.services.values())
SHIPPABLE = ("MIT", "Apache-2.0", "CC-BY-4.0", "CC0-1.0", "MPL-2.0", "facts from a public document")
CLASSES = (
    *("closed-large", "closed-small", "open-economy", "open-speed", "throughput", "provisioned", "self-hosted"),
    "unknown",
)
WIDENED, WITHOUT_RANGE = 1.4, 1.8


def of(service: Service) -> list[Speed]:
    """Records of a service after August 2025, without the wait."""
    found = (speed for key, speed in CATALOGUE.speeds.items() if key.startswith(f"{service.id}:"))
    return [speed for speed in found if speed.measured[:7] > "2025-08" and speed.basis == "after first token"]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.id)
class TestService:
    def test_has_a_whole_mix_of_hardware_unless_the_user_or_another_host_names_it(self, service: Service) -> None:
        if service.serving_class in ("router", "self-hosted", "local"):
            assert service.hardware_mix == {}
            return
        assert sum(share.value for share in service.hardware_mix.values()) == pytest.approx(1, abs=1e-6)
        for name, share in service.hardware_mix.items():
            assert name in CATALOGUE.gpus
            assert 0 <= share.low <= share.value <= share.high <= 1, name

    def test_origin_of_its_mix_is_an_assumption_or_names_what_was_published(self, service: Service) -> None:
        origin = service.origin("hardware_mix")
        assert origin.source in CATALOGUE.sources
        if service.hardware_mix and origin.quality != "assumption":
            assert origin.source != "inferprint-assumption"
            assert "publish" in origin.note

    def test_speed_is_the_median_of_its_models_where_there_are_three(self, service: Service) -> None:
        speeds = [speed.output_tokens_per_s.value for speed in of(service)]
        assert_median(service, "output_tokens_per_s", "speed", speeds)

    def test_wait_is_the_median_of_its_models_where_there_are_three(self, service: Service) -> None:
        waits = [wait for speed in of(service) if (wait := speed.time_to_first_token_s) is not None]
        assert_median(service, "time_to_first_token_s", "ttft", waits)


def assert_median(service: Service, field: str, prior: str, values: list[float]) -> None:
    """The median of what was measured; with less than three, the assumption of its class; nothing of routers."""
    stated: Range | None = getattr(service, field)
    kind = {"closed": "closed-large"}.get(service.serving_class, service.serving_class)
    if len(values) < 3:
        expected = CATALOGUE.priors.get(f"{prior}.{kind}")
        assert stated == (expected.value if expected is not None else None)
        assert stated is None or service.origin(field).quality == "assumption"
        return
    assert stated is not None
    low, high = np.quantile(values, [0.1, 0.9])
    assert stated == pytest.approx((np.median(values), low / WIDENED, high * WIDENED), rel=5e-3)


def test_every_speed_is_of_a_service_and_a_model_that_are_there() -> None:
    for key in CATALOGUE.speeds:
        service, _, model = key.partition(":")
        assert CATALOGUE.services[service].serving_class != "router", key
        assert model in CATALOGUE.models, key


def test_every_speed_may_be_passed_on() -> None:
    for speed in CATALOGUE.speeds.values():
        for origin in speed.provenance.values():
            source = CATALOGUE.sources[origin.source]
            assert source.licence.startswith(SHIPPABLE), source.id
            assert "Artificial Analysis" not in source.title + source.licence + origin.note, speed.id


def test_every_speed_says_when_it_was_measured() -> None:
    for speed in CATALOGUE.speeds.values():
        assert re.fullmatch(r"20\d\d(-[01]\d(-[0-3]\d)?)?", speed.measured), speed.id
        assert speed.measured == speed.origin("output_tokens_per_s").date, speed.id


def test_ranges_are_no_narrower_than_two_sources_differ() -> None:
    for speed in CATALOGUE.speeds.values():
        value, low, high = speed.output_tokens_per_s
        assert low <= value / WIDENED * 1.01, speed.id
        assert high >= value * WIDENED * 0.99, speed.id


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("quantity, unit", [("speed", "tokens/s"), ("ttft", "s")])
def test_every_class_of_service_has_an_assumed_speed_and_wait(name: str, quantity: str, unit: str) -> None:
    prior = CATALOGUE.priors[f"{quantity}.{name}"]
    assert prior.unit == unit
    assert 0 < prior.value.low < prior.value.value < prior.value.high
    assert prior.origin("value").quality == "assumption"


@functools.cache
def rows() -> dict[str, list[dict[str, str]]]:
    """Rows of the table by the id of their record."""
    found: dict[str, list[dict[str, str]]] = {}
    with TABLE.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            try:
                model = resolve_model(CATALOGUE, row["model_id"]).model.id
            except UnknownName:
                continue
            key = f"{resolve_service(CATALOGUE, row['service_id']).id}:{model}"
            found.setdefault(key, []).append(row)
    return found


@pytest.mark.skipif(not TABLE.exists(), reason="the table of collected speeds is not here")
@pytest.mark.parametrize("speed", CATALOGUE.speeds.values(), ids=lambda speed: speed.id)
def test_figure_and_range_are_those_that_were_read(speed: Speed) -> None:
    assert any(same(speed, row) for row in rows()[speed.id])


def same(speed: Speed, row: dict[str, str]) -> bool:
    """Whether a record is what a row says, to three digits."""
    if row["date"].split("..")[-1] != speed.measured or "Artificial Analysis" in row["licence"]:
        return False
    if row["kind"] == "provider's commitment" or row["licence"].startswith("no licence"):
        return False
    probe = row["speed_basis"] == "whole request" and "/ 64 out" in row["prompt_condition"]
    stated = row["decode_tps_derived"] if probe else row["output_tokens_per_s"]
    basis = "after first token" if probe else row["speed_basis"]
    if not stated or basis != speed.basis:
        return False
    value = float(stated)
    low = float(row["tps_low"]) / WIDENED if row["tps_low"] and not probe else value / WITHOUT_RANGE
    high = float(row["tps_high"]) * WIDENED if row["tps_high"] and not probe else value * WITHOUT_RANGE
    wait = speed.time_to_first_token_s
    return speed.output_tokens_per_s == pytest.approx((value, low, high), rel=5e-3) and (
        wait is None or wait == float(row["ttft_s"])
    )


@pytest.mark.parametrize("service", sorted(CATALOGUE.services))
def test_a_service_that_runs_models_says_how_fast_and_on_what(service):
    record = CATALOGUE.services[service]
    if record.serving_class in ("router", "local"):
        return
    for name in ("output_tokens_per_s", "time_to_first_token_s"):
        found = getattr(record, name)
        assert 0 < found.low <= found.value <= found.high
        assert record.origin(name).source in CATALOGUE.sources
