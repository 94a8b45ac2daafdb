"""Work of denoisers and decoders, against operations counted on the published networks.

Counted: every matrix product, convolution and attention product of the instantiated model class (PyTorch
FlopCounterMode over Diffusers), 2 FLOP for each multiply-accumulate. The numbers are not outputs of this package.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from inferprint import Catalogue
from inferprint.modalities.media import NO_MEDIA, MediaWork, Size
from inferprint.physics import denoising
from inferprint.physics.denoising import Denoiser, Polynomial, Tokens
from inferprint.physics.encoder import encoder_linear_flop
from inferprint.physics.terms import Replica, Traffic
from inferprint.rates import MachineSetup
from inferprint.rates.denoiser import denoiser_of, total_flop
from inferprint.rates.draws import Sampler
from inferprint.rates.machine import situation_of
from inferprint.rates.media import MediaReader

CATALOGUE = Catalogue.packaged()
H100 = Replica(devices=1.0, bandwidth=3.35e12, flops_16=989.4e12, flops=989.4e12, link_bandwidth=450e9)
TERA = 1e12

FLUX = Tokens(params_per_token=57 * 12 * 3072**2, width=3072, layers=57, per_volume=4096, joint_text=512)
"""FLUX.1-dev: 57 blocks of width 3072 over (1024 / 8 / 2)^2 latent tokens and 512 of text."""


def flop(polynomial: Polynomial, volume: float = 1.0) -> float:
    """One evaluation over a volume whose parts all attend to each other."""
    return polynomial.once + polynomial.per_volume * volume + polynomial.per_pair * volume**2


def on(devices: float) -> Replica:
    return dataclasses.replace(H100, devices=devices)


class TestFluxStepByStep:
    # T = 4096, with text 4608 tokens; P_eff = 57 x 12 x 3072^2 = 6.455e9
    def test_linear(self):
        # 2 x 6.455e9 x 4608 = 59.49 TFLOP
        assert flop(denoising.linear_flop(FLUX)) / TERA == pytest.approx(59.49, abs=0.005)

    def test_attention(self):
        # 4 x 4608^2 x 3072 x 57 = 14.87 TFLOP
        assert flop(denoising.attention_flop(FLUX)) / TERA == pytest.approx(14.87, abs=0.005)

    def test_sum(self):
        both = flop(denoising.linear_flop(FLUX)) + flop(denoising.attention_flop(FLUX))
        assert both / TERA == pytest.approx(74.36, abs=0.01)

    def test_sides_of_twice_the_length(self):
        # 16,384 + 512 tokens: 2 x 6.455e9 x 16896 = 218.1; 4 x 16896^2 x 3072 x 57 = 200.0 TFLOP
        assert flop(denoising.linear_flop(FLUX), 4.0) / TERA == pytest.approx(218.1, abs=0.1)
        assert flop(denoising.attention_flop(FLUX), 4.0) / TERA == pytest.approx(200.0, abs=0.1)

    def test_values_passed_on(self):
        # 4608 x 3072 x 57 = 8.069e8
        assert flop(denoising.exchanged_values(FLUX)) == pytest.approx(8.069e8, rel=1e-4)

    def test_text_encoders(self):
        # 2 x 4.762e9 x 512 + 2 x 0.123e9 x 77 = 4.9 TFLOP
        both = encoder_linear_flop(4.762e9, 512) + encoder_linear_flop(0.123e9, 77)
        assert both / TERA == pytest.approx(4.9, abs=0.01)


def test_text_that_is_only_looked_at_grows_with_the_picture_alone():
    # 4 x 1000 tokens x 77 of text x 10 x 2 = 6.16 MFLOP, and nothing where there is no picture
    tokens = Tokens(params_per_token=0.0, width=10, layers=2, per_volume=1000, cross_text=77, quadratic=0.0)
    assert denoising.attention_flop(tokens) == Polynomial(0.0, 6.16e6, 0.0)


def test_latent_layers_see_no_text():
    # 4 x 1000^2 x 10 x 3 in three further layers; 4 x (1000 + 100)^2 x 10 x 2 in the two joint ones
    tokens = Tokens(params_per_token=0.0, width=10, layers=2, per_volume=1000, joint_text=100, latent_layers=3)
    assert flop(denoising.attention_flop(tokens)) == pytest.approx(120e6 + 96.8e6, rel=1e-12)


# --- networks of the catalogue ----------------------------------------------------------------------------------------


def situation(name: str):
    setup = MachineSetup(model_id=name, gpu_id="h100_80gb_sxm", gpu_count=8, batch_size=1.0)
    return situation_of(CATALOGUE, setup, sampler=Sampler(central_only=True))[0]


def columns(name: str, work: MediaWork = NO_MEDIA) -> dict[str, float]:
    of = situation(name)
    return MediaReader(CATALOGUE, of.model, of.base).columns(work)


def tflop(name: str, work: MediaWork = NO_MEDIA) -> float:
    """Denoiser and decoder of one request."""
    of = situation(name)
    return float(total_flop(of, denoiser_of(of), work)) / TERA


def evaluation(name: str, **work) -> float:
    """What one evaluation more costs [TFLOP]."""
    one, two = (tflop(name, MediaWork(steps=steps, evaluations_per_step=1, **work)) for steps in (1, 2))
    return two - one


def picture(width: int, height: int) -> dict[str, object]:
    return {"output_images": (Size(width, height),)}


def clip(width: int, height: int, frames: int) -> dict[str, object]:
    return {"output_video_size": Size(width, height), "output_video_frames": float(frames)}


@pytest.mark.parametrize(
    "name, work, counted",
    [
        ("pixart-sigma", picture(1024, 1024), 6.634),
        ("hunyuan-dit-1.2", picture(1024, 1024), 14.37),
        ("sd3.5-large", picture(1024, 1024), 31.12),
        ("flux.1-dev", picture(1024, 1024), 74.39),
        ("flux.1-schnell", picture(1024, 1024), 69.46),
        ("flux.2-dev", picture(1024, 1024), 282.6),
        ("qwen-image", picture(1328, 1328), 131.7),
        ("sana-1.6b", picture(1024, 1024), 2.967),
        ("cogvideox-5b", clip(720, 480, 49), 332.2),
        ("cogvideox1.5-5b", clip(1360, 768, 81), 1479.1),  # two latent frames a token: 21 are filled up to 22
        ("wan2.1-14b", clip(832, 480, 81), 1679),
        ("hunyuanvideo", clip(1280, 720, 129), 12070),
        ("ltx-video-13b", clip(1216, 704, 121), 444.1),
        ("wan2.2-5b", clip(1280, 704, 121), 517),
    ],
)
def test_an_evaluation_of_a_transformer_computes_what_was_counted(name, work, counted):
    assert evaluation(name, **work) == pytest.approx(counted, rel=0.01)


def test_wan_at_720_lines():
    # 6523 TFLOP counted at 1280x720x81: 75,600 tokens
    assert evaluation("wan2.1-14b", **clip(1280, 720, 81)) == pytest.approx(6523, rel=0.01)


@pytest.mark.parametrize(
    "name, side, counted, tolerance",
    [
        ("sd-1.5", 512, 0.803, 0.01),
        ("sd-1.5", 768, 2.148, 0.01),
        ("sd-1.5", 1024, 4.674, 0.01),
        ("sd-2.1", 512, 0.804, 0.01),
        ("sd-2.1", 768, 2.149, 0.01),
        ("sdxl-base", 512, 1.589, 0.025),
        ("sdxl-base", 768, 3.641, 0.01),
        ("sdxl-base", 1024, 6.761, 0.01),
        ("sdxl-base", 1536, 17.26, 0.01),
        ("sdxl-turbo", 512, 1.589, 0.025),
        ("kandinsky-2.2", 512, 0.856, 0.01),
        ("kandinsky-2.2", 768, 1.993, 0.01),
        ("kandinsky-2.2", 1024, 3.714, 0.01),
        ("sdxl-refiner-1.0", 1024, 7.286, 0.01),
        ("kandinsky-3", 1024, 3.248, 0.01),
    ],
)
def test_an_evaluation_of_a_unet_computes_what_was_counted(name, side, counted, tolerance):
    assert evaluation(name, **picture(side, side)) == pytest.approx(counted, rel=tolerance)


def test_attention_of_a_unet_over_a_wide_picture_is_that_of_its_area():
    assert evaluation("sdxl-base", **picture(1536, 768)) == pytest.approx(
        6.033 * 1.125 + 0.728 * 1.125**2, rel=0.01
    )  # a Mpx + b Mpx^2 at 1.125 x 2^20 pixels


@pytest.mark.parametrize("name, frames, counted", [("svd", 14, 44.80), ("svd-xt", 25, 79.95)])
def test_a_clip_whose_frames_do_not_attend_to_each_other(name, frames, counted):
    assert evaluation(name, **clip(1024, 576, frames)) == pytest.approx(counted, rel=0.01)


def test_an_upscaler_computes_what_was_counted():
    # SD x4: 1.131 TFLOP from 128 to 512 pixels a side
    found = evaluation("sd-x4-upscaler", input_images=(Size(128, 128),))
    assert found == pytest.approx(1.131, rel=0.01)


def test_a_network_without_steps_computes_what_was_counted():
    # Real-ESRGAN x4: 35.85 MFLOP for each pixel given, 9.4 TFLOP from 512 to 2048 pixels a side
    assert tflop("real-esrgan-x4plus", MediaWork(input_images=(Size(512, 512),))) == pytest.approx(9.4, rel=0.01)


@pytest.mark.parametrize(
    "name, counted",
    [
        ("sd-1.5", 80.33),
        ("sdxl-base", 676.1),
        ("pixart-sigma", 265.3),
        ("hunyuan-dit-1.2", 1437),
        ("flux.1-dev", 2083),
        ("flux.1-schnell", 277.9),
        ("flux.2-dev", 14130),
        ("qwen-image", 13170),
        ("sana-1.6b", 118.7),
        ("cogvideox-5b", 33220),
        ("wan2.1-14b", 167800),
        ("hunyuanvideo", 603400),
        ("wan2.2-5b", 51700),
        ("svd-xt", 3997),
    ],
)
def test_the_denoiser_of_a_usual_request_computes_what_was_counted(name, counted):
    usual, of = columns(name), situation(name)
    denoiser = denoiser_of(of)
    found = sum(
        part.once * usual["evaluations"]
        + part.per_volume * usual["evaluation_volume"]
        + part.per_pair * usual["evaluation_pairs"]
        for part in (denoiser.linear, denoiser.attention)
    )
    assert found / TERA == pytest.approx(counted, rel=0.03)


@pytest.mark.parametrize("name", ["sdxl-base", "flux.1-dev", "sd-1.5"])
@pytest.mark.parametrize("side, counted", [(512, 2.51), (768, 5.75), (1024, 10.47), (2048, 48.5)])
def test_the_usual_decoder_computes_what_was_counted(name, side, counted):
    # AutoencoderKL, versions of 4 and of 16 channels
    area = side**2 / 2**20
    decoder = denoiser_of(situation(name)).decoder
    assert (decoder.per_volume * area + decoder.per_pair * area**2) / TERA == pytest.approx(counted, rel=0.02)


def test_a_decoder_is_most_of_a_model_of_one_step():
    # Whole requests of the worked examples, SDXL-Turbo at 512x512: 1.589 TFLOP of the UNet, 0.13 of the text encoders,
    # 2.51 of the decoder
    assert tflop("sdxl-turbo") == pytest.approx(4.225, rel=0.015)


@pytest.mark.parametrize("side, counted", [(512, 1.12), (1024, 4.88)])
def test_a_picture_that_is_given_is_encoded(side, counted):
    of = situation("sdxl-base")
    denoiser = denoiser_of(of)
    cost = of.base.share(denoiser, H100, traffic(1.0))["input_volume"]["decoder"]
    assert cost * side**2 / 2**20 * H100.flops_16 / TERA == pytest.approx(counted, rel=0.05)


@pytest.mark.parametrize(
    "name, frames, latent",
    [
        ("wan2.1-14b", 81, 21),  # (81 - 1) / 4 + 1: the first frame stands alone
        ("hunyuanvideo", 129, 33),
        ("cogvideox-5b", 49, 13),
        ("mochi-1", 163, 28),  # a sixth
        ("ltx-video-13b", 121, 16),  # an eighth
        ("svd-xt", 25, 25),
        ("wan2.1-14b", 1, 1),
    ],
)
def test_frames_of_latents(name, frames, latent):
    found = columns(name, MediaWork(steps=1, evaluations_per_step=1, **clip(1024, 512, frames)))
    assert found["evaluation_volume"] / 0.5 == latent
    assert found["output_volume"] / 0.5 == frames


def test_tokens_of_hunyuanvideo():
    # 118,800 latent tokens at 1280x720 and 129 frames
    assert columns("hunyuanvideo")["evaluation_volume"] / 50 * 4096 == pytest.approx(118_800, rel=1e-12)


# --- devices ----------------------------------------------------------------------------------------------------------


def traffic(batch: float) -> Traffic:
    return Traffic(batch, 0.0, 0.0)


@pytest.mark.parametrize(
    "text, devices, copies",
    [(333, 1, 1), (333, 2, 2), (333, 4, 4), (333, 8, 8), (512, 2, 1), (512, 8, 1), (0, 8, 1), (226, 4, 4), (333, 3, 1)],
)
def test_a_text_that_cannot_be_split_is_computed_by_all(text, devices, copies):
    assert denoising.text_copies(text, devices) == copies


def test_copies_of_a_column():
    assert denoising.text_copies(333.0, np.array([1.0, 2.0, 3.0])).tolist() == [1.0, 2.0, 1.0]


def test_devices_meet_in_rounds():
    assert denoising.meeting_layers(57, np.array([1.0, 2.0, 4.0, 8.0])).tolist() == [0.0, 57.0, 114.0, 171.0]


def test_one_device_exchanges_nothing():
    assert denoising.exchange_seconds(8.069e8, H100) == 0


@pytest.mark.parametrize("devices, seconds", [(2, 3.586e-3), (8, 1.569e-3)])
def test_devices_exchange_queries_keys_values_and_outputs(devices, seconds):
    # FLUX.1-dev: 4 x 2 bytes x 8.069e8 values, each device sends its part of them to the others at 450 GB/s:
    # two devices 6.455 GB x 1/2 / 2, eight 6.455 GB x 7/8 / 8
    assert denoising.exchange_seconds(8.069e8, on(devices)) == pytest.approx(seconds, rel=1e-3)


def test_every_device_decodes_for_itself():
    # 10.47 TFLOP / 989.4 TFLOP/s = 10.58 ms
    assert denoising.decoder_seconds(10.47e12, on(8)) == pytest.approx(10.58e-3, rel=1e-3)


def test_a_denoiser_is_shared_by_its_devices_and_its_decoder_is_not():
    flux = Denoiser(
        linear=denoising.linear_flop(FLUX),
        attention=denoising.attention_flop(FLUX),
        decoder=Polynomial(0.0, 9.89e12, 0.55e12),
        prompt_flop=4.9e12,
        exchanged=denoising.exchanged_values(FLUX),
        joint_text=512.0,
        layers=57.0,
        params=11.9e9,
        tokens_per_volume=4096.0,
        held_bytes=2 * 16.87e9,
    )
    base = situation("flux.1-dev").base
    one, eight = (base.share(flux, on(devices), traffic(1.0)) for devices in (1, 8))
    for feature in ("evaluations", "evaluation_volume", "evaluation_pairs"):
        assert eight[feature]["denoiser"] == pytest.approx(one[feature]["denoiser"] / 8, rel=1e-12)
    assert eight["output_volume"] == one["output_volume"]
    # 74.36 TFLOP at 989.4 TFLOP/s: 75.2 ms
    evaluation_s = sum(one[name]["denoiser"] for name in ("evaluations", "evaluation_volume", "evaluation_pairs"))
    assert evaluation_s == pytest.approx(75.2e-3, rel=1e-3)
