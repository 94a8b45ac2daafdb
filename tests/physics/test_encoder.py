"""Encoders of pictures and sound, against operations counted on the published networks."""

from __future__ import annotations

import pytest

from inferprint.physics.encoder import encoder_attention_flop, encoder_linear_flop

POSITIONS = 1500
"""Of a window of 30 s of Whisper: 3,000 frames of a spectrum, every other one."""


@pytest.mark.parametrize(
    "width, layers, bands, tflop",
    [
        # Counted per window of 30 s
        (384, 4, 80, 0.037),
        (512, 6, 80, 0.087),
        (768, 12, 80, 0.344),
        (1024, 24, 80, 1.138),
        (1280, 32, 128, 2.273),
    ],
)
def test_a_window_of_whisper(width, layers, bands, tflop):
    # 12 d^2 parameters a layer; two convolutions over three frames, the first of which works on every frame
    params = 12 * width**2 * layers + 3 * width**2 + 2 * 3 * bands * width
    found = encoder_linear_flop(params, POSITIONS) + encoder_attention_flop(width * layers, POSITIONS**2)
    assert found / 1e12 == pytest.approx(tflop, rel=0.01)


def test_a_vision_transformer():
    # ViT-B/16 at 224x224: torchvision states 17.56 GMAC, 35.1 GFLOP. 197 positions, 12 layers of 768; 86.6 million
    # parameters, of which 0.8 million classify.
    found = encoder_linear_flop(85.8e6, 197) + encoder_attention_flop(12 * 768, 197**2)
    assert found / 1e9 == pytest.approx(35.1, rel=0.015)
