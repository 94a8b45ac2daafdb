"""Who runs the model: names that lead nowhere or contradict each other are errors that say what to do."""

from __future__ import annotations

import pytest
from tests.setups import ESTIMATOR, request

from inferprint.errors import DoesNotFit, InvalidInput, Undisclosed, UnknownName


def machine(model_id: str = "llama-3.1-8b", **setup):
    from inferprint import Request

    return ESTIMATOR.cards(Request(model_id=model_id, input_tokens=1200, output_tokens=300, **setup))[0]


UNKNOWN = [
    ("GPU", {"gpu_id": "h100_80gb_sxn"}, "h100_80gb_sxm", "inferprint catalog gpus"),
    ("node", {"node_id": "generic:hgx-h100-9"}, "generic:hgx-h100-8", "inferprint catalog nodes"),
    ("node", {"cloud_id": "aws", "cloud_instance_id": "p5.49xlarge"}, "aws:p5.48xlarge", "inferprint catalog nodes"),
    ("service", {"managed_service_id": "opneai"}, "openai", "inferprint catalog services"),
    ("region", {"cloud_id": "aws", "cloud_region": "us-east-9"}, "aws:us-east-1", "inferprint catalog regions"),
    ("country or grid zone", {"country": "Frence"}, "FR", "inferprint catalog grids"),
    ("country or grid zone", {"grid_zone": "US-EGRID-SRVX"}, "US-EGRID-SRVC", "inferprint catalog grids"),
    ("precision", {"precision": "q4_k_n"}, "q4_k_m", "inferprint catalog precisions"),
    ("technique", {"techniques": ("prefix-cacheing",)}, "prefix-caching", "inferprint catalog techniques"),
]


@pytest.mark.parametrize("kind, setup, near, command", UNKNOWN, ids=[str(case[1]) for case in UNKNOWN])
class TestUnknownNames:
    def test_are_errors_that_name_the_kind_and_what_was_asked(self, kind, setup, near, command):
        with pytest.raises(UnknownName) as caught:
            machine(**setup)
        asked = list(setup.values())[-1]
        assert caught.value.kind == kind
        assert (asked if isinstance(asked, str) else asked[0]) in caught.value.asked

    def test_list_the_nearest(self, kind, setup, near, command):
        with pytest.raises(UnknownName) as caught:
            machine(**setup)
        assert near in caught.value.nearest

    def test_name_the_command_that_lists_what_there_is(self, kind, setup, near, command):
        with pytest.raises(UnknownName) as caught:
            machine(**setup)
        assert command in str(caught.value)


@pytest.mark.parametrize(
    "setup, field",
    [
        ({"gpu_count": 2}, "gpu_count"),
        ({"managed_service_id": "together", "gpu_count": 2}, "gpu_count"),
        ({"gpu_id": "h100_80gb_sxm", "gpu_count": 0}, "gpu_count"),
        ({"gpu_id": "h100_80gb_sxm", "gpu_count": 8, "replica_gpu_count": 9}, "replica_gpu_count"),
        ({"gpu_id": "h100_80gb_sxm", "replica_gpu_count": 0}, "replica_gpu_count"),
        ({"node_id": "generic:hgx-h100-8", "gpu_count": 16}, "gpu_count"),
        ({"node_id": "generic:hgx-h100-8", "gpu_id": "rtx_4090"}, "gpu_id"),
        ({"node_id": "generic:hgx-h100-8", "cloud_id": "aws", "cloud_instance_id": "p5.48xlarge"}, "node_id"),
        ({"node_id": "generic:server-cpu-2s"}, "node_id"),
        ({"cloud_instance_id": "p5.48xlarge"}, "cloud_instance_id"),
        ({"managed_service_id": "local-device"}, "managed_service_id"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 1e6}, "batch_size"),
        ({"batch_size": float("nan")}, "batch_size"),
        ({"active_share": 0.0}, "active_share"),
        ({"active_share": 1.5}, "active_share"),
        ({"pue": 0.9}, "pue"),
        ({"wue_l_per_kwh": -0.1}, "wue_l_per_kwh"),
        ({"grid_gco2e_per_kwh": 40_000.0}, "grid_gco2e_per_kwh"),
        ({"grid_water_l_per_kwh": float("nan")}, "grid_water_l_per_kwh"),
        ({"techniques": ("prefix-caching:hit_rate=2",)}, "techniques"),
        ({"techniques": ("prefix-caching:hits=0.5",)}, "techniques"),
    ],
    ids=str,
)
def test_what_cannot_be_is_an_error_that_names_its_field(setup, field):
    with pytest.raises(InvalidInput) as caught:
        machine(**setup)
    assert caught.value.field == field


def test_a_gpu_that_the_node_holds_may_be_named_too():
    assert machine(node_id="generic:hgx-h100-8", gpu_id="H100").hosting == "own"


def test_a_router_runs_nothing_itself():
    with pytest.raises(Undisclosed, match="--service"):
        machine(managed_service_id="openrouter")


@pytest.mark.parametrize("setup", [{"managed_service_id": "groq"}, {"gpu_id": "groq_lpu_v1"}], ids=str)
def test_hardware_without_memory_to_read_is_not_described(setup):
    with pytest.raises(Undisclosed, match="on-chip memory"):
        machine(**setup)


class TestWeightsBeyondTheMemory:
    """Llama-3.1-405B at 16 bit, 811.7 GB, on eight boards of 24 GB, served."""

    BATCH = 8

    @pytest.fixture
    def error(self):
        with pytest.raises(DoesNotFit) as caught:
            machine("llama-3.1-405b", gpu_id="rtx_4090", gpu_count=8, batch_size=self.BATCH)
        return caught.value

    def test_needed_bytes_are_those_of_weights_and_work_space(self, error):
        # 811.7 GB x 1.025 + 8 x 2 GB = 848 GB
        assert error.needed_bytes == pytest.approx(848e9, rel=1e-3)

    def test_available_bytes_are_nine_tenths_of_the_boards(self, error):
        # 0.9 x 8 x 24 GB
        assert error.available_bytes == pytest.approx(172.8e9, rel=1e-9)

    def test_one_request_alone_needs_less_beside_the_weights(self):
        # Nothing twice, half a GB of work space on each, all of the memory: 811.7 + 8 x 0.5 GB; 8 x 24 GB
        with pytest.raises(DoesNotFit) as caught:
            machine("llama-3.1-405b", gpu_id="rtx_4090", gpu_count=8)
        assert caught.value.needed_bytes == pytest.approx(815.7e9, rel=1e-4)
        assert caught.value.available_bytes == pytest.approx(192e9, rel=1e-9)

    def test_the_message_holds_both(self, error):
        assert f"{error.needed_bytes:,.0f} bytes" in error.message
        assert f"{error.available_bytes:,.0f}" in error.message

    def test_the_hint_says_what_to_change(self, error):
        assert "--gpu-count" in error.hint
        assert "--precision" in error.hint


def test_at_four_bit_it_fits_on_four_boards_of_80_gb():
    # 405.85e9 x 0.61 bytes x 1.025 = 253.8 GB; 4 x (72 - 2) = 280 GB
    card = machine("llama-3.1-405b", gpu_id="h100_80gb_sxm", gpu_count=8, precision="q4_k_m", batch_size=1)
    assert card.draws.devices[0] == 4


def test_without_a_pool_the_replica_is_the_smallest_that_fits():
    # 811.7 GB at 16 bit: sixteen of 80 GB
    assert machine("llama-3.1-405b", gpu_id="h100_80gb_sxm", batch_size=1).draws.devices[0] == 16


def test_a_stated_replica_is_kept():
    assert machine(gpu_id="h100_80gb_sxm", gpu_count=8, replica_gpu_count=4).draws.devices[0] == 4


def test_a_service_that_cannot_hold_the_model_on_one_chip_still_estimates_on_the_others():
    # One of the likely chips of the service has on-chip memory only or is not published: left out, and said so.
    card = machine("llama-3.1-70b", managed_service_id="aws-bedrock")
    assert card.hosting == "service"


@pytest.mark.parametrize(
    "setup, hosting",
    [
        ({"gpu_id": "h100_80gb_sxm"}, "own"),
        ({"gpu_id": "rtx_4090", "precision": "q4_k_m"}, "desk"),
        ({"gpu_id": "apple_m3_ultra"}, "desk"),
        ({"node_id": "local:workstation-rtx4090", "precision": "q4_k_m"}, "desk"),
        ({"node_id": "generic:hgx-h100-8"}, "own"),
        ({"node_id": "aws:p5.48xlarge"}, "cloud"),
        ({"cloud_id": "aws", "cloud_instance_id": "p5.48xlarge"}, "cloud"),
        ({"managed_service_id": "together"}, "service"),
        ({"managed_service_id": "together", "gpu_id": "h100_80gb_sxm"}, "service"),
        ({}, "service"),
    ],
    ids=str,
)
def test_who_runs_the_building(setup, hosting):
    assert machine(**setup).hosting == hosting


class TestDesk:
    @pytest.fixture
    def cards(self):
        return ESTIMATOR.cards(request("desk"))

    def test_serves_one_request_at_a_time(self, cards):
        assert set(cards[0].draws.batch) == {1.0}

    def test_has_no_facility(self, cards):
        assert cards[1].draws["energy"][0] == 1.0

    def test_evaporates_nothing(self, cards):
        assert not cards[1].draws["site_water"].any()

    def test_idle_time_is_not_charged(self, cards):
        assert not cards[0].draws.idle_w.any()


def test_a_machine_that_is_one_chip_has_no_other_host():
    assert not machine("llama-3.1-70b", node_id="local:mac-studio-m3-ultra", precision="q4_k_m").draws.host_w.any()


def test_the_host_of_a_named_gpu_is_an_assumption():
    fields = [entry.field for entry in machine(gpu_id="h100_80gb_sxm").trail.assumptions]
    assert "host" in fields


def test_a_service_stated_by_the_models_name_is_used():
    assert machine("together_ai/meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo").service == "together"


def test_a_closed_model_runs_at_its_developers_service():
    card = machine("claude-opus-4-5", total_params_b=400.0, active_params_b=40.0)
    assert card.service == "anthropic"


def test_a_country_in_the_models_name_is_passed_on():
    card = machine("us.meta.llama3-1-70b-instruct-v1:0")
    assert card.country_hint == "US"
