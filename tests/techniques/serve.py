"""One way of serving a model, as a measurement states it: times, energy and what fits, by the central case."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from inferprint.catalogue import Catalogue
from inferprint.modalities.text import TEXT
from inferprint.physics import serving as physics
from inferprint.physics.serving import Serving
from inferprint.rates.card import MachineCard
from inferprint.rates.draws import Sampler
from inferprint.rates.machine import resolve_machine, shape_of, situation_of
from inferprint.rates.serving import serving_of
from inferprint.rates.setup import MachineSetup
from inferprint.rates.situation import Case

CATALOGUE = Catalogue.packaged()


@dataclass(frozen=True)
class Served:
    """A card and the lengths of all requests on it [tokens]."""

    card: MachineCard
    lengths: tuple[float, float]

    def _of(self, rates: np.ndarray, n_in: float, n_out: float, cached: float = 0.0) -> float:
        return float(rates[0] @ self._features(n_in, n_out, cached))

    def _features(self, n_in: float, n_out: float, cached: float) -> np.ndarray:
        work = {
            "input_tokens": n_in,
            "cached_input_tokens": cached,
            "output_tokens": n_out,
            "n_requests": 1.0,
            "media_prompts": 0.0,
            "measured_seconds": 0.0,
        }
        return np.array(self.card.modality.count(work, self.card.window, min), dtype=float)

    @property
    def token_seconds(self) -> float:
        """Time per output token of a usual request [s]."""
        decode = np.array([feature.part == "decode" for feature in TEXT.features])
        features = self._features(*self.lengths, 0.0) * decode
        return float(self.card.draws.duration[0] @ features) / self.lengths[1]

    @property
    def token_joules(self) -> float:
        """Energy of the accelerators per output token of a usual request, prompt included [J]."""
        return self._of(self.card.draws.energy, *self.lengths) / self.lengths[1]

    def prompt_seconds(self, n_in: float) -> float:
        """Time that the prompt of a request takes, alone in its passes [s]."""
        return self._of(self.card.draws.duration, n_in, 0.0)

    def prompt_joules(self, n_in: float) -> float:
        """Energy of a prompt [J]."""
        return self._of(self.card.draws.energy, n_in, 0.0)


def serve(
    model: str,
    gpu: str,
    *techniques: str,
    devices: int = 1,
    batch: float = 1,
    lengths: tuple[float, float] = (1000.0, 300.0),
    engine: str = "vllm",
    **how: object,
) -> Served:
    """A model on `devices` accelerators with `batch` requests of `lengths` in a step."""
    card = resolve_machine(CATALOGUE, _setup(model, gpu, techniques, devices, batch, lengths, engine, how))
    return Served(card, lengths)


def _setup(model, gpu, techniques, devices, batch, lengths, engine, how) -> MachineSetup:
    return MachineSetup(
        model_id=model,
        gpu_id=gpu,
        gpu_count=devices,
        replica_gpu_count=devices,
        batch_size=batch,
        engine=engine,
        traffic=(*lengths, 0.0),
        techniques=techniques,
        **how,
    )


@cache
def serving(model: str, gpu: str, *techniques: str) -> Serving:
    """How a model is served, its central case."""
    setup = MachineSetup(model_id=model, gpu_id=gpu, techniques=techniques)
    situation, _ = situation_of(CATALOGUE, setup, sampler=Sampler(central_only=True))
    case = Case(situation.hosting.candidates[0], situation.precision)
    return serving_of(situation, shape_of(situation), case.gpu)


def fits(model: str, gpu: str, *techniques: str, context: float, devices: int = 1) -> float:
    """Requests of `context` tokens that fit."""
    return float(physics.batch_that_fits(serving(model, gpu, *techniques), context, float(devices)))
