"""Columns that rows of one's own may have: cached tokens, the node, energy of a processor and at the wall."""

from __future__ import annotations

import pytest
from tests.calibration.own_rows import loads_as_rows, write

from inferprint import Catalogue
from inferprint.calibration.design import design_of
from inferprint.calibration.observations import read_files
from inferprint.calibration.validate import validate
from inferprint.catalogue import Node
from inferprint.provenance.source import Provenance

BASE = Catalogue.packaged()
CATALOGUE = BASE.with_records(
    Node(
        id="mine",
        cloud="generic",
        instance="mine",
        gpu="h100_80gb_sxm",
        gpu_count=1,
        host_active_power_w=150.0,
        provenance={"": Provenance("calibration", "2026-11-30", "medium", "")},
    )
)


@pytest.fixture
def read(tmp_path):
    def reading(*rows, catalogue=CATALOGUE, **options):
        return read_files([write(tmp_path / "rows.csv", rows)], catalogue, **options)

    return reading


def row(load=(8, 1000, 200), **more):
    return loads_as_rows([load], {"system_output_tokens_per_s": 1000, **more})[0]


class TestCached:
    def of(self, read, cached, batch=1):
        found = read(row((batch, 1000, 200), n_cached_tokens=cached))
        return found.kept[0], design_of(found, ("served_time_per_token",), CATALOGUE).points[0].ideal.seen

    def test_cached_tokens_are_read_and_not_computed(self, read):
        _, none = self.of(read, "")
        item, most = self.of(read, 900)
        assert item.cached == 900
        assert most["prompt_linear"] == pytest.approx(none["prompt_linear"] / 10)
        assert most["kv_reads"] > none["kv_reads"]
        assert most["dense_weights"] == none["dense_weights"]

    def test_zero_is_what_no_column_is(self, read):
        first, second = read(row()), read(row(n_cached_tokens=0))
        assert first.kept == second.kept

    def test_the_others_of_a_batch_find_as_much(self, read):
        """Eight requests whose prompts are nearly all cached: those of the others take as little."""
        _, none = self.of(read, 0, batch=8)
        item, most = self.of(read, 900, batch=8)
        assert most["prompt_linear"] == pytest.approx(none["prompt_linear"] / 10)
        assert item.setup.techniques == ("prefix-caching:hit_rate=0.9",)

    def test_a_card_says_the_same_as_the_design(self, read):
        found = read(row(n_cached_tokens=900))
        judged = validate(found, CATALOGUE).judged[0]
        fewer = validate(read(row()), CATALOGUE).judged[0]
        assert judged.default[0] < fewer.default[0]

    def test_more_than_the_prompt_is_refused(self, read):
        assert (
            read(row(n_cached_tokens=1001)).refused[0].reason
            == "n_cached_tokens is 1001, more than the 1000 of the prompt"
        )

    def test_a_measurement_with_and_one_without_are_two(self, tmp_path):
        paths = [write(tmp_path / f"{n}.csv", [row(n_cached_tokens=n)]) for n in (0, 500)]
        assert len(read_files(paths, CATALOGUE).kept) == 2


class TestNode:
    def test_a_row_of_a_node_is_of_it_where_that_is_asked_for(self, read):
        assert read(row(node_id="MINE"), on_nodes=True).kept[0].setup.node_id == "mine"
        assert read(row(node_id="mine")).kept[0].setup.node_id is None

    def test_an_unknown_one_is_counted_and_taken_by_its_accelerator(self, read):
        found = read(row(node_id="theirs"), row(), on_nodes=True)
        assert found.unknown_nodes == {"theirs": 1}
        assert [item.setup.node_id for item in found.kept] == [None, None]

    def test_all_rows_are_of_one_node_where_that_is_asked_for(self, read):
        found = read(row(node_id="theirs"), row((4, 700, 100)), on_node="mine")
        assert [item.setup.node_id for item in found.kept] == ["mine", "mine"]
        assert not found.unknown_nodes

    def test_a_row_that_contradicts_its_node_is_refused(self, read):
        found = read(row(node_id="mine", gpu="A100-SXM4-80GB"), on_nodes=True)
        assert "contradicts mine" in validate(found, CATALOGUE).refused[0].reason


class TestBoundaries:
    def energy(self, read, boundary, *, gpu="H100-SXM-80GB", **options):
        more = options.pop("more", {})
        found = read(row(**{"energy_per_output_token_j": 0.5, **more}, energy_boundary=boundary, gpu=gpu), **options)
        kept = found.of("energy_per_output_token")
        return kept[0].measured if kept else found.refused[0].reason

    @pytest.mark.parametrize("boundary", ["cpu_package", "cpu_package_dram"])
    def test_the_package_of_a_processor_that_computes_is_its_board(self, read, boundary):
        assert self.energy(read, boundary, gpu="cpu_generic_2s") == 0.5
        assert "boundary cpu_package" in self.energy(read, boundary)

    def test_a_machine_that_is_one_device_may_be_measured_at_the_wall(self, read):
        assert self.energy(read, "system_wall_ac", gpu="apple_m1_max", more={"system_output_tokens_per_s": 100}) == 0.5

    def test_the_host_is_taken_off_what_was_measured_at_the_wall(self, read):
        """150 W over 1000 tokens/s are 0.15 J a token."""
        assert "boundary system_wall_ac" in self.energy(read, "system_wall_ac")
        assert self.energy(read, "system_wall_ac", host_w=150.0) == pytest.approx(0.35, rel=1e-12)
        of_node = self.energy(read, "system_wall_ac", more={"node_id": "mine"}, on_nodes=True)
        assert of_node == pytest.approx(0.35, rel=1e-12)

    def test_the_host_is_taken_off_alike_where_a_row_is_not_scored_on_its_node(self, read):
        assert self.energy(read, "system_wall_ac", more={"node_id": "mine"}) == pytest.approx(0.35, rel=1e-12)
        assert self.energy(read, "system_wall_ac", on_node="mine") == pytest.approx(0.35, rel=1e-12)

    def test_of_a_request_alone_its_duration_tells_how_long_the_host_worked(self, read):
        """2 s for 200 tokens are 10 ms a token, in which 150 W are 1.5 J."""
        alone = {"serving_mode": "single_stream", "concurrency": 1, "system_output_tokens_per_s": "", "duration_s": 2}
        found = self.energy(read, "system_wall_ac", host_w=150.0, more={**alone, "energy_per_output_token_j": 2.5})
        assert found == pytest.approx(1.0, rel=1e-12)

    def test_the_mean_power_tells_how_long_the_host_worked_pauses_included(self, read):
        """2 s of work for 200 tokens, but 3 J a token at 200 W take 15 ms, in which 150 W are 2.25 J."""
        alone = {"serving_mode": "single_stream", "concurrency": 1, "system_output_tokens_per_s": "", "duration_s": 2}
        more = {**alone, "energy_per_output_token_j": 3, "avg_system_power_w": 200}
        assert self.energy(read, "system_wall_ac", host_w=150.0, more=more) == pytest.approx(0.75, rel=1e-12)
        prompt = {"serving_mode": "prefill_only", "duration_s": 0.2, "energy_per_request_j": 60}
        more = {**alone, **prompt, "energy_per_output_token_j": "", "n_out_tokens": 1, "avg_system_power_w": 200}
        (item,) = read(row(**more, energy_boundary="system_wall_ac"), host_w=150.0).of("prompt_energy")
        assert item.measured == pytest.approx(15.0, rel=1e-12)

    def test_a_host_that_would_take_it_all_is_refused(self, read):
        assert "no more than the 600 W of the host" in self.energy(read, "system_wall_ac", host_w=600.0)

    def test_a_host_that_leaves_next_to_nothing_is_refused(self, read):
        reason = self.energy(read, "system_wall_ac", host_w=499.9)
        assert "0.1 W per GPU is less than a twentieth" in reason
        assert reason.endswith("do the 499.9 W of the host leave too little?")

    def test_a_wall_meter_in_kilowatts_is_told_before_the_host_is_taken_off(self, read):
        reason = self.energy(read, "system_wall_ac", host_w=150.0, more={"energy_per_output_token_j": 0.0005})
        assert "0.5 W per GPU" in reason
        assert reason.endswith("is the meter in W?")

    def test_a_host_spoils_no_times(self, read):
        wall = {"energy_per_output_token_j": 0.5, "energy_boundary": "system_wall_ac"}
        found = read(row(**wall), host_w=600.0)
        assert [item.quantity for item in found.kept] == ["served_time_per_token"]
        assert [item.quantity for item in found.refused] == ["energy_per_output_token"]


class TestCells:
    """A cell that cannot be makes its row a mistake, also where the quantity does not need it."""

    @pytest.fixture
    def alone(self):
        return {"serving_mode": "single_stream", "concurrency": 1, "system_output_tokens_per_s": "", "duration_s": 2}

    @pytest.mark.parametrize("name", ["concurrency", "ttft_s", "itl_ms", "n_cached_tokens", "energy_per_request_j"])
    @pytest.mark.parametrize("text", ["many", "-1", "nan", "inf", "-inf"])
    def test_it_is_refused_and_named(self, read, alone, name, text):
        found = read(row(**{**alone, name: text}))
        assert not found.kept
        (item,) = found.refused
        assert item.quantity == "single_request_duration"
        assert item.reason.startswith(f"{name} is ")
        assert text in item.reason

    def test_the_same_row_without_it_is_taken(self, read, alone):
        found = read(row(**alone))
        assert (len(found.kept), found.refused) == (1, [])


def test_one_prompt_at_a_time_is_the_time_of_its_pass(read):
    prompt = row((1, 2000, 1), serving_mode="prefill_only", duration_s=0.2, system_output_tokens_per_s="")
    item = read(prompt).kept[0]
    assert (item.quantity, item.work, item.measured) == ("single_request_duration", (2000.0, 0.0, 0.0), 0.2)
    assert not read({**prompt, "concurrency": 4}).kept


def test_a_request_alone_with_pauses_is_one_request(read):
    single = row((1, 100, 50), serving_mode="single_stream", concurrency=0.97, duration_s=0.5)
    found = read(single)
    assert not found.refused
    assert {item.setup.batch_size for item in found.kept} == {1.0}
