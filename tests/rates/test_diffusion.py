"""Cards of models that work by a denoiser: passes, devices, measured times, closed models."""

from __future__ import annotations

import numpy as np
import pytest

from inferprint import Estimator, Request
from inferprint.errors import DoesNotFit, InvalidInput
from inferprint.estimate import Result

ESTIMATOR = Estimator()
H100 = {"gpu_id": "h100_80gb_sxm", "gpu_count": 1, "engine": "diffusers"}
H100_W = 700.0
"""Board power limit of the H100 SXM."""


def asked(model: str, **fields) -> Result:
    return ESTIMATOR.estimate(Request(**{"model_id": model, **H100, **fields}))


def joules(result: Result) -> float:
    """Energy of the accelerators."""
    return result.range("accelerator_energy_wh").value * 3600


def seconds(result: Result) -> float:
    return result.duration_ms.value / 1000


class TestPasses:
    """Several pictures in one pass of the denoiser, of one request or of several."""

    ONE = ("1024x1024",)

    def of(self, n: int, batch: float, **fields) -> Result:
        return asked("flux.1-dev", output_images=self.ONE * n, batch_size=batch, **fields)

    @pytest.mark.parametrize(
        "n, batch, passes",
        [
            (1, 4, 1),  # three pictures of others
            (4, 4, 1),
            (8, 4, 2),
            (2, 4, 1),
            (4, 1, 4),  # one after the other: each a pass of one
            (100, 100, 1),
        ],
    )
    def test_a_request_takes_the_time_of_its_passes(self, n, batch, passes):
        # A full pass of its own pictures alone is the reference; a prompt is encoded for each request of the pass
        full = seconds(self.of(int(batch), batch))
        assert seconds(self.of(n, batch)) == pytest.approx(passes * full, rel=0.01)

    def test_pictures_of_others_cost_time_and_not_energy(self):
        alone, among = self.of(4, 4), self.of(1, 4)
        assert seconds(among) == pytest.approx(seconds(alone), rel=0.01)
        assert joules(among) == pytest.approx(joules(alone) / 4, rel=0.01)

    @pytest.mark.parametrize("n", [2, 5, 50])
    def test_pictures_one_after_the_other_cost_n_times_one(self, n):
        # but for the prompt, which is encoded once: 4.9 of 2,098 TFLOP
        one, many = joules(self.of(1, 1)), joules(self.of(n, 1))
        assert many == pytest.approx(n * one, rel=0.004)
        assert many < n * one

    def test_rows_that_stand_for_requests_cost_n_times_one(self):
        one, many = self.of(3, 1), self.of(3, 1, n_requests=7)
        assert joules(many) == pytest.approx(7 * joules(one), rel=1e-12)

    def test_an_unstated_batch_is_recorded_as_assumed(self):
        entry = next(e for e in asked("flux.1-dev").trail if e.field == "batch_size")
        assert (entry.how, entry.unit) == ("assumed", "pictures")
        assert entry.low < entry.high

    @pytest.mark.parametrize("batch", [0.5, 100_000])
    def test_a_batch_that_cannot_be(self, batch):
        with pytest.raises(InvalidInput) as error:
            asked("flux.1-dev", batch_size=batch)
        assert error.value.field == "batch_size"


def parts(result: Result) -> dict[str, float]:
    """Energy of the accelerators by feature [J]."""
    rates = result.machine.draws.energy[0] * result.features
    return dict(zip(result.machine.modality.names, rates.tolist(), strict=True))


OF_DENOISER = ("evaluations", "evaluation_volume", "evaluation_pairs")


@pytest.mark.parametrize("model", ["flux.1-dev", "sd-1.5", "wan2.1-1.3b", "stable-audio-open-1.0"])
def test_twice_the_steps_are_twice_the_energy_of_the_denoiser(model):
    few, many = (parts(asked(model, input_steps=steps)) for steps in (10, 20))
    assert sum(many[f] for f in OF_DENOISER) == pytest.approx(2 * sum(few[f] for f in OF_DENOISER), rel=1e-12)
    assert {f: v for f, v in many.items() if f not in OF_DENOISER} == {
        f: v for f, v in few.items() if f not in OF_DENOISER
    }
    assert sum(v for f, v in few.items() if f not in OF_DENOISER) > 0


def test_parts_add_up_to_the_whole():
    result = asked("flux.1-dev")
    assert sum(parts(result).values()) == pytest.approx(joules(result), rel=1e-12)
    split = [result.range(name).value for name in ("prefill_energy_wh", "decode_energy_wh")]
    assert sum(split) * 3600 == pytest.approx(joules(result), rel=1e-12)


@pytest.mark.parametrize("model", ["wan2.1-14b", "wan2.1-1.3b"])
def test_a_clip_of_720_lines_costs_three_to_six_times_one_of_480(model):
    # 2.31 times the tokens; measured on H100 and B200: 3.9 times the energy
    large, small = (asked(model, output_video_frames=81, output_video_resolution=s) for s in ("1280x720", "832x480"))
    assert 3 < joules(large) / joules(small) < 6


def test_frames_attend_to_each_other():
    # 21 and 41 latent frames: more than twice the energy, less than the square
    short, long = (joules(asked("wan2.1-14b", output_video_frames=frames)) for frames in (81, 161))
    assert 2 < long / short < 3.8


def test_a_distilled_model_saves_what_its_steps_save():
    # Four evaluations of nearly the same size for 28
    dev, schnell = (parts(asked(model)) for model in ("flux.1-dev", "flux.1-schnell"))
    ratio = sum(dev[f] for f in OF_DENOISER) / sum(schnell[f] for f in OF_DENOISER)
    assert ratio == pytest.approx(7 * 74.39 / 69.47, rel=0.03)


class TestPower:
    @pytest.mark.parametrize(
        "model", ["flux.1-dev", "sd-1.5", "sdxl-turbo", "sana-1.6b", "wan2.1-14b", "hunyuanvideo", "kokoro-82m"]
    )
    @pytest.mark.parametrize("devices", [1, 8])
    @pytest.mark.parametrize("batch", [1, 64])
    def test_no_draw_takes_more_than_the_limit_of_the_boards(self, model, devices, batch):
        work = {"output_audio_seconds": 10} if model == "kokoro-82m" else {}
        place = {"gpu_count": devices, "replica_gpu_count": devices, "batch_size": batch}
        result = asked(model, **place, **work)
        draws = result.machine.draws
        energy, time = draws.energy @ result.features, draws.seconds @ result.features
        assert np.all(energy <= devices * H100_W * time * (1 + 1e-9))

    def test_a_measured_time_is_power_times_time(self):
        # 0.9 (0.75 to 1) of 700 W for 10 s
        result = asked("flux.1-dev", request_duration_ms=10_000, batch_size=1)
        energy = result.range("accelerator_energy_wh")
        assert seconds(result) == pytest.approx(10)
        assert energy.value * 3600 == pytest.approx(0.9 * H100_W * 10, rel=1e-9)
        assert energy.low * 3600 == pytest.approx(0.75 * H100_W * 10, rel=0.05)
        assert energy.value < energy.high <= H100_W * 10 / 3600 * (1 + 1e-9)

    def test_a_measured_time_of_a_pass_with_others_is_shared(self):
        alone, among = (asked("flux.1-dev", request_duration_ms=10_000, batch_size=batch) for batch in (1, 4))
        assert joules(among) == pytest.approx(joules(alone) / 4, rel=1e-9)
        assert seconds(among) == seconds(alone)

    def test_a_measured_time_on_eight_devices_is_that_of_all(self):
        work = {"request_duration_ms": 10_000, "batch_size": 1}
        one, eight = (asked("flux.1-dev", gpu_count=n, replica_gpu_count=n, **work) for n in (1, 8))
        assert joules(eight) == pytest.approx(8 * joules(one), rel=1e-9)

    def test_what_was_made_does_not_matter_to_a_measured_time(self):
        work = {"request_duration_ms": 10_000, "batch_size": 1}
        small, large = (asked("flux.1-dev", output_images=(size,), **work) for size in ("512x512", "1440x1440"))
        assert joules(small) == joules(large)


class TestTwoTerms:
    def test_every_parameter_works_on_every_token(self):
        # 2 x 11.9e9 x 4096 tokens x 28 steps / 989.4e12 = 2.759 s
        result = asked("flux.1-dev", batch_size=1)
        assert result.two_term["two_term_duration_ms"].value == pytest.approx(2759, rel=0.01)

    def test_as_energy_it_is_the_limit_of_the_boards(self):
        result = asked("flux.1-dev", batch_size=1, method="two-term")
        assert joules(result) == pytest.approx(2.759 * H100_W, rel=0.01)

    def test_eight_devices_take_an_eighth_of_the_time_and_the_same_energy(self):
        one, eight = (
            asked("flux.1-dev", batch_size=1, gpu_count=n, replica_gpu_count=n, method="two-term") for n in (1, 8)
        )
        assert seconds(eight) == pytest.approx(seconds(one) / 8, rel=1e-9)
        assert joules(eight) == pytest.approx(joules(one), rel=1e-9)


class TestDevices:
    def test_more_of_them_are_faster_and_take_more_energy(self):
        results = [asked("wan2.1-14b", gpu_count=n, replica_gpu_count=n, batch_size=1) for n in (1, 2, 4, 8)]
        times, energies = [seconds(r) for r in results], [joules(r) for r in results]
        assert times == sorted(times, reverse=True)
        assert energies == sorted(energies)

    @pytest.mark.parametrize("model, devices", [("sd-1.5", 1), ("flux.1-dev", 1), ("hunyuanimage-3.0", 4)])
    def test_the_fewest_that_hold_the_weights(self, model, devices):
        # 80 billion parameters at 16 bit are 160 GB: too much for two boards of 80 GB
        found = asked(model, gpu_count=8).operating_point["replica_gpu_count"]
        assert found.value == devices

    def test_what_one_device_cannot_hold(self):
        with pytest.raises(DoesNotFit, match="hunyuanimage"):
            asked("hunyuanimage-3.0", gpu_count=1)

    @pytest.mark.parametrize("field", ["time_per_output_token_ms", "max_ttft_ms", "max_time_per_output_token_ms"])
    def test_a_denoiser_writes_no_tokens(self, field):
        with pytest.raises(InvalidInput, match="writes no tokens"):
            asked("flux.1-dev", **{field: 50})

    def test_techniques_for_tokens_do_not_hold(self):
        with pytest.raises(InvalidInput, match=r"not for flux\.1-dev"):
            asked("flux.1-dev", techniques=("prefix-caching",))

    def test_8_bits_save_energy_and_time(self):
        half, full = (asked("flux.1-dev", precision=precision) for precision in ("fp8", "bf16"))
        assert joules(half) < joules(full)
        assert seconds(half) < seconds(full)


class TestClosed:
    CHEAP, DEAR = "imagen-4-fast", "flux.1-kontext-max"
    """Sold at 0.02 and 0.08 USD for a picture of 1024x1024."""

    def test_a_price_raises_the_compute(self):
        work = {"output_images": ("1024x1024",), "input_steps": 30, "guidance_evaluations": 1}
        cheap, dear = (joules(asked(model, **work)) for model in (self.CHEAP, self.DEAR))
        assert 1.2 < dear / cheap < 4

    @pytest.mark.parametrize("model", [CHEAP, DEAR, "midjourney-v7", "sora-2", "veo-3"])
    def test_nobody_knows_within_a_factor_of_three(self, model):
        energy = ESTIMATOR.estimate(Request(model_id=model)).usage_energy_wh
        assert energy.high > 3 * energy.value
        assert energy.value > 3 * energy.low

    def test_the_price_is_in_the_trail(self):
        entry = next(e for e in asked(self.DEAR).trail if e.field == "price_usd")
        assert (entry.how, entry.value) == ("inferred", 0.08)
        assert entry.source in ESTIMATOR.catalogue.sources

    def test_on_the_same_stated_machine_the_result_is_of_a_lower_tier(self):
        open_one, closed = (asked(model, batch_size=1).quality for model in ("flux.1-dev", self.DEAR))
        assert (open_one, closed) == ("specified", "assumed")


class TestStatus:
    @pytest.mark.parametrize(
        "model, work",
        [
            ("bge-large-en-v1.5", {"input_tokens": 200}),
            ("bge-reranker-v2-m3", {"input_tokens": 200}),
            ("llama-prompt-guard-2-86m", {"input_tokens": 200}),
            ("whisper-large-v3", {"input_audio_seconds": 60}),
            ("kokoro-82m", {"output_audio_seconds": 10}),
            ("musicgen-large", {"output_audio_seconds": 10}),
            ("stable-audio-open-1.0", {}),
            ("janus-pro-7b", {}),
        ],
    )
    def test_what_was_never_measured_is_physics_only_and_wide(self, model, work):
        result = ESTIMATOR.estimate(Request(model_id=model, **work))
        energy = result.usage_energy_wh
        assert result.versions["coefficients"] == "physics only"
        assert energy.high > 2.5 * energy.value
        assert energy.value > 2.5 * energy.low
        assert "physics-only" in {entry.field for entry in result.assumptions}

    @pytest.mark.parametrize("model", ["flux.1-dev", "wan2.1-14b"])
    def test_pictures_and_clips_are_fitted(self, model):
        assert asked(model).versions["coefficients"] == "fitted"

    def test_an_unknown_engine_is_an_assumption_and_a_stated_one_is_none(self):
        known, unknown = (asked("flux.1-dev", engine=engine) for engine in ("diffusers", None))
        assert "media.engine" not in {e.field for e in known.assumptions}
        assert "media.engine" in {e.field for e in unknown.assumptions}
        assert unknown.usage_energy_wh.low < known.usage_energy_wh.low

    def test_a_board_on_which_no_picture_was_measured_is_an_assumption(self):
        desk = ESTIMATOR.estimate(Request(model_id="sdxl-base", gpu_id="rtx_4090", engine="diffusers"))
        assert "media.unmeasured-accelerator" in {e.field for e in desk.assumptions}
        assert "media.unmeasured-accelerator" not in {e.field for e in asked("sdxl-base").assumptions}
