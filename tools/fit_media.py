"""Say what undisclosed models for pictures, video and sound compute, from the open ones: media_classes.toml.

python tools/fit_media.py            write
python tools/fit_media.py --check    exit with 1 where the file is not what the models give
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import stats

from inferprint.catalogue import Catalogue, Media, Model
from inferprint.catalogue.compose import compose
from inferprint.modalities.media import NO_MEDIA, MediaWork, Size
from inferprint.quantities import Range
from inferprint.rates import MachineSetup
from inferprint.rates.denoiser import denoiser_of, total_flop
from inferprint.rates.draws import Sampler, central
from inferprint.rates.machine import situation_of
from inferprint.units import TERA

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "data" / "priors" / "media_classes.toml"

HEAD = "# Written by tools/fit_media.py from the open models of data/models and data/media: do not edit.\n"
OLDEST = "2023-06"
"""Open models from which sizes are taken: services no longer run older ones."""

DATE = "2026-11-23"
"""Day of the assumptions that are written."""

ANCHOR_USD = 0.03
"""Price of a picture at which the regression on prices is stated."""

PRICED_BY = ("second of video",)
"""What undisclosed models are sold by, whose price scales the work of their class."""

CLASSES = {
    "image": ("image", "a model for pictures"),
    "video": ("video", "a model for video"),
    "text-to-audio": ("text-to-audio", "a model for speech or music"),
    "audio-to-text": ("audio-to-text", "a model that writes down speech"),
    "embedding": ("embedding", "a model for embeddings, reranking or classification"),
}


def _spread(values: Iterable[float]) -> Range:
    """Median of values, with the bounds that hold 95 % of them, or all where they are few."""
    logs = np.log(np.array(sorted(values)))
    low, middle, high = np.quantile(logs, [0.025, 0.5, 0.975])
    return Range(*np.exp([middle, low, high]).tolist())


def _sizes(catalogue: Catalogue, modality: str) -> list[float]:
    """Sizes of the open models of a kind [1e9 parameters]."""
    return [
        model.total_params_b
        for model in catalogue.models.values()
        if model.modality == modality and model.total_params_b and (model.release_date or OLDEST) >= OLDEST
    ]


def _tflop(catalogue: Catalogue, model: Model, work: MediaWork) -> float:
    """What an open model computes for a usual picture or clip [TFLOP]."""
    setup = MachineSetup(model_id=model.id, gpu_id="h100_80gb_sxm", gpu_count=8, batch_size=1.0)
    situation, _ = situation_of(catalogue, setup, sampler=Sampler(central_only=True))
    return central(total_flop(situation, denoiser_of(situation), work)) / TERA


def _open(catalogue: Catalogue, modality: str, task: str) -> list[tuple[Model, Media]]:
    """Open models of a kind that work by a denoiser, and are current."""
    return [
        (model, media)
        for media in catalogue.media.values()
        for model in [catalogue.models[media.id]]
        if model.modality == modality
        and media.backbone in ("transformer", "unet")
        and task in media.tasks
        and (model.release_date or OLDEST) >= OLDEST
        and media.steps is not None
        and media.width_px is not None
    ]


def _computes(catalogue: Catalogue) -> tuple[list[float], list[tuple[float, float]], list[float]]:
    """TFLOP per picture of 2^20 pixels; (USD, TFLOP) of a usual picture; TFLOP per frame of 2^20 pixels of a clip."""
    pictures, priced, clips = [], [], []
    for model, media in _open(catalogue, "image", "text-to-image"):
        area = Size(media.width_px or 0, media.height_px or 0).megapixels
        tflop = _tflop(catalogue, model, NO_MEDIA)
        pictures.append(tflop / area)
        if media.price_usd and media.price_unit in ("image", "megapixel"):
            priced.append((media.price_usd * (area if media.price_unit == "megapixel" else 1.0), tflop))
    for model, media in _open(catalogue, "video", "text-to-video"):
        if media.frames and media.height_px:
            area = Size(media.width_px or 0, media.height_px).megapixels
            clips.append(_tflop(catalogue, model, NO_MEDIA) / (area * media.frames))
    return pictures, priced, clips


def _by_price(rows: list[tuple[float, float]]) -> tuple[Range, float]:
    """TFLOP of a picture at the anchor price with its prediction interval, and the slope in logs."""
    usd, tflop = np.log(np.array(rows)).T
    x = usd - np.log(ANCHOR_USD)
    design = np.column_stack([np.ones(len(x)), x])
    beta = np.linalg.lstsq(design, tflop, rcond=None)[0]
    freedom = len(x) - 2
    sigma = np.sqrt(np.sum((tflop - design @ beta) ** 2) / freedom)
    at = np.array([1.0, 0.0])
    error = sigma * np.sqrt(1 + at @ np.linalg.inv(design.T @ design) @ at)
    width = float(stats.t.ppf(0.975, freedom) * error)
    return Range(*np.exp([beta[0], beta[0] - width, beta[0] + width]).tolist()), float(beta[1])


def _prior(name: str, unit: str, meaning: str, value: Range) -> str:
    numbers = ", ".join(f"{key} = {number:.4g}" for key, number in zip(("value", "low", "high"), value, strict=True))
    return f"""
[[prior]]
id = "{name}"
unit = "{unit}"
meaning = "{meaning}"
value = {{ {numbers} }}
source = "calibration"
date = "{DATE}"
quality = "low"
"""


def fitted() -> str:
    """Text of the file that the models give."""
    catalogue = Catalogue(compose(ROOT / "data"), DATE)
    texts = [HEAD]
    for name, (modality, what) in CLASSES.items():
        sizes = _sizes(catalogue, modality)
        meaning = f"size of {what} that is not disclosed: median and spread of {len(sizes)} open ones"
        texts.append(_prior(f"size.{name}", "1e9 parameters", meaning, _spread(sizes)))
    pictures, priced, clips = _computes(catalogue)
    meaning = (
        f"work of an undisclosed model for a picture of 2^20 pixels: median and spread of {len(pictures)} open ones"
    )
    texts.append(_prior("media.compute.image", "TFLOP/Mpx", meaning, _spread(pictures)))
    by_price, slope = _by_price(priced)
    sold = f"a picture sold at {ANCHOR_USD:g} USD: regression over {len(priced)} open ones"
    meaning = f"work of an undisclosed model for {sold}"
    texts.append(_prior("media.compute.image-by-price", "TFLOP", meaning, by_price))
    meaning = "price at which that regression is stated"
    texts.append(_prior("media.compute.price", "USD", meaning, Range.exact(ANCHOR_USD)))
    texts.append(_prior("media.compute.price-slope", "", "its slope, both in logs", Range.exact(slope)))
    frame = f"a frame of 2^20 pixels of a clip: median and spread of {len(clips)} open ones"
    meaning = f"work of an undisclosed model for {frame}"
    texts.append(_prior("media.compute.video", "TFLOP/Mpx frame", meaning, _spread(clips)))
    for unit in PRICED_BY:
        asked = [m.price_usd for m in catalogue.media.values() if m.price_unit == unit and m.price_usd]
        meaning = f"price of a {unit} of a usual model: median of {len(asked)}"
        name = f"media.price.{unit.replace(' ', '-')}"
        texts.append(_prior(name, "USD", meaning, Range.exact(float(np.median(asked)))))
    return "".join(texts)


def main() -> int:
    """Write or check the file; the exit status."""
    text = fitted()
    if "--check" in sys.argv[1:]:
        if not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
            print(
                f"{TARGET.relative_to(ROOT)} is not what the models give: run python tools/fit_media.py",
                file=sys.stderr,
            )
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
