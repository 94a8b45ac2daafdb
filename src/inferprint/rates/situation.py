"""What all cases of a machine setup share while it is resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from inferprint.catalogue import Catalogue, Form, Gpu, Model, Node, Precision, Prior
from inferprint.catalogue.own import is_own, own_form_id
from inferprint.modalities.base import Modality
from inferprint.modalities.text import TEXT
from inferprint.physics.serving import Serving
from inferprint.physics.terms import ModelShape, Traffic
from inferprint.physics.work import Minimum
from inferprint.provenance.source import Provenance
from inferprint.provenance.trace import How, Trail
from inferprint.quantities import Range
from inferprint.rates.draws import MAIN_SHARE, Array, Sampler, central
from inferprint.rates.engines import Engine
from inferprint.rates.hosting import Candidate, Hosting
from inferprint.rates.model import Sizes
from inferprint.rates.setup import TIERS, MachineSetup
from inferprint.techniques.apply import Use, rewritten_work

FORM_LABELS = {
    "energy": "energy form",
    "served-duration": "duration form",
    "single-duration": "duration form",
    "two-term": "two-term form",
    "media-energy": "energy form of media",
    "media-duration": "duration form of media",
}
"""What the errors of a form are called by, in results."""

OWN_SHARE = 0.9999
"""Share of the variance of a node's own coefficients that is drawn."""


@dataclass(frozen=True)
class Case:
    """One accelerator with one number format of the weights."""

    candidate: Candidate
    precision: Precision

    @property
    def gpu(self) -> Gpu:
        """The accelerator."""
        return self.candidate.gpu

    @property
    def node(self) -> Node | None:
        """The machine whose host serves it."""
        return self.candidate.node


@dataclass
class Situation:
    """What all cases of a setup share."""

    catalogue: Catalogue
    setup: MachineSetup
    model: Model
    sizes: Sizes
    hosting: Hosting
    precision: Precision
    precision_stated: bool
    engine: Engine
    uses: tuple[Use, ...]
    trail: Trail
    sampler: Sampler
    base: Modality = TEXT
    noted: set[str] = field(default_factory=set)

    @property
    def format_undisclosed(self) -> bool:
        """True where nobody states the format of a model whose size is predicted too."""
        return self.sizes.total_range is not None and not self.precision_stated and not self.model.native_precision

    @property
    def modality(self) -> Modality:
        """The model's modality, with what techniques make of its work."""
        return rewritten(self.base, self.uses)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features that rates are per unit of, in their order."""
        return self.base.names

    @property
    def makes_media(self) -> bool:
        """True where a denoiser makes what is asked for; else the model reads tokens."""
        return self.base.by_denoiser

    @property
    def writes_tokens(self) -> bool:
        """True where an answer is written token by token."""
        return self.base is TEXT

    @property
    def physics_only(self) -> bool:
        """True where nothing of its kind was measured: embeddings, speech and music, pictures made token by token."""
        by_tokens = self.base is TEXT and self.model.modality in ("audio-to-text", "text-to-audio", "image")
        return self.base.name in ("embedding", "sound") or by_tokens

    @property
    def sizes_assumed(self) -> bool:
        """True where the model's size is that of its class."""
        return self.sizes.assumed

    def prior(self, name: str) -> Prior:
        """An assumption of the catalogue."""
        return self.catalogue.priors[name]

    def drawn(self, source: str, name: str, *, minimum: float = 0.0, maximum: float = float("inf")) -> Any:
        """Draws of a prior, which is recorded as an assumption."""
        prior = self.prior(name)
        self.note(name, prior.value, prior.unit, "assumed", prior.meaning, prior.origin("value"))
        return self.sampler.spread(source, prior.value, minimum=minimum, maximum=maximum)

    def note(
        self, name: str, value: str | Range, unit: str, how: How, reason: str, origin: Provenance | None = None
    ) -> None:
        """Write a number into the trail, once for all cases."""
        if name not in self.noted:
            self.noted.add(name)
            self.trail.add(name, value, unit, how, reason, origin)

    def warn(self, text: str) -> None:
        """Warn once for all cases."""
        if text not in self.trail.warnings:
            self.trail.warnings.append(text)

    @property
    def own_node(self) -> str | None:
        """The node that the caller named, whose coefficients may be its own."""
        setup = self.setup
        node = self.hosting.candidates[0].node
        return node.id if node is not None and (setup.node_id or setup.cloud_instance_id) else None

    def form(self, name: str) -> Form:
        """The learned form called `name`: that of the stated node, where it has one of its own."""
        forms = self.catalogue.forms
        own = own_form_id(name, self.own_node) if self.own_node is not None else name
        return forms[own] if own in forms else forms[name]

    @property
    def only_times_are_own(self) -> bool:
        """True on a node of which times were measured, and no energy."""
        name = "duration.single" if self.engine.kind == "local" else "duration.served"
        return is_own(self.form(name).id) and not is_own(self.form("energy.served").id)

    def measured_by(self, form: Form) -> bool:
        """Whether a node's own form has seen this model."""
        return is_own(form.id) and f"model:{self.model.id}" in form.residual

    def bounds_of(self, form: Form, kind: str) -> Range:
        """Residual of a form: of this model where it was measured on the node, else of the kind of case or pooled."""
        name = f"model:{self.model.id}" if self.measured_by(form) else kind
        return form.residual.get(name, form.residual["all"])

    def form_error(self, form: Form, kind: str) -> Any:
        """Residual of a form for a kind of case: half of its variance is shared by all models, half this model's own.

        The pooled residual stands in for a kind that has none. What a node's own form misses is no other form's error.
        """
        bounds = self.bounds_of(form, kind).scaled(np.sqrt(0.5))
        label = FORM_LABELS[form.quantity]
        where = f" on {self.own_node}" if is_own(form.id) else ""
        both = (f"{label}:all{where}", f"{label}:{self.model.id}{where}")
        logs = sum(self.sampler.spread(source, bounds, minimum=-np.inf) for source in both)
        return np.exp(logs)

    def parameters(self, form: Form) -> dict[str, Any]:
        """Draws of the logarithms of a form's terms and of its effects, by name; they share the errors of the fit."""
        means = {name: float(np.log(value.value)) for name, value in sorted(form.terms.items())}
        means |= dict(sorted(form.effects.items()))
        if self.sampler.central_only or not form.covariance:
            return dict(means)
        label, share = f"{FORM_LABELS[form.quantity]} coefficients", MAIN_SHARE
        if is_own(form.id):
            # What nobody measured on the node varies most, and must not hide the spread of what was.
            label, share = f"{label}:{self.own_node}", OWN_SHARE
        joint = self.sampler.joint(label, tuple(means.values()), form.covariance, share=share)
        return dict(zip(means, joint, strict=True))

    def central(self) -> Situation:
        """The same without spread, and with a trail of its own."""
        return replace(self, trail=Trail(), sampler=Sampler(central_only=True), noted=set())

    @property
    def host_name(self) -> str:
        """What the errors of this host are called by: its service, or its kind."""
        return self.hosting.service.id if self.hosting.service is not None else self.hosting.kind

    @property
    def serving_class(self) -> str:
        """The class of the host, as priors are named: closed services by the size of the model.

        What writes no token has classes of its own.
        """
        if self.base is not TEXT:
            local = self.hosting.kind == "desk"
            return f"{'media' if self.makes_media else 'embedding'}{'-local' if local else ''}"
        if self.hosting.service is None:
            if self.hosting.kind == "service" and self.tier_class is not None:
                return self.tier_class
            return {"service": "unknown", "cloud": "self-hosted", "own": "self-hosted", "desk": "local"}[
                self.hosting.kind
            ]
        if self.tier_class is not None:
            return self.tier_class
        kind: str = self.hosting.service.serving_class
        if kind.startswith("open") and self.model.total_params_b is None:
            kind = "closed"
        if kind == "closed":
            small = self.sizes.total < self.prior("small-model-params").value.value
            kind = "closed-small" if small else "closed-large"
        return kind

    @property
    def tier_class(self) -> str | None:
        """The class of services whose way of serving the stated tier has; None for that of the host."""
        return TIERS.get(self.setup.service_tier or "standard")

    @property
    def batch_prior(self) -> Prior:
        """The batch to assume, by the class of the host."""
        return self.prior(f"batch.{self.serving_class}")

    @property
    def batch_is_known(self) -> bool:
        """True where the batch is given, or the host serves one request at a time.

        A server on a desk serves several where a limit on time asks how many.
        """
        prior, setup = self.batch_prior.value, self.setup
        limited = setup.max_seconds_per_token is not None or setup.max_seconds_to_first_token is not None
        alone = prior.low == prior.high and not (limited and self.engine.kind == "server")
        return setup.batch_size is not None or alone

    @property
    def usual_lengths(self) -> tuple[float, float]:
        """Central prompt and answer length of the other requests [tokens]."""
        usual = usual_lengths(self.catalogue)
        if self.base.name == "embedding":
            usual = self.prior("mix.embedding-tokens").value.value, 0.0
        n_in, n_out, _ = self.setup.traffic or (None, None, 0.0)
        return usual[0] if n_in is None else n_in, usual[1] if n_out is None else n_out

    @property
    def usual_context(self) -> float:
        """Tokens that a request in flight keeps on average: all of its prompt and, mid-way, half of its answer."""
        work = self.usual_work
        return float(work["input_tokens"] + work["output_tokens"] / 2)

    @property
    def usual_work(self) -> Mapping[str, Any]:
        """Work of a request of the usual lengths, with what techniques make of it."""
        n_in, n_out = self.usual_lengths
        work = {"input_tokens": n_in, "cached_input_tokens": 0.0, "output_tokens": n_out}
        return rewritten_work(work, self.uses, min)

    def _encoder_per_token(self) -> Mapping[str, Any]:
        """What an encoder computes for one token of a prompt that came from a picture."""
        from inferprint.rates.reading import encoder_of_tokens

        return encoder_of_tokens(self.catalogue, self.model, 1.0)

    def traffic(self, batch: Any) -> Traffic:
        """The other requests of a batch: as stated, else of the usual lengths."""
        n_in, n_out, media = self.setup.traffic or (None, None, 0.0)
        if n_in is None:
            n_in = self.drawn("lengths of other requests:input", "mix.input-tokens")
        if n_out is None:
            n_out = self.drawn("lengths of other requests:output", "mix.output-tokens", minimum=1.0)
        read = self._encoder_per_token() if media else {}
        return Traffic(batch, n_in, n_out, media, **{name: media * n_in * each for name, each in read.items()})


def rewritten(modality: Modality, uses: Iterable[Use]) -> Modality:
    """The modality with the techniques' rewriting of the work in front of its features."""
    rewriting = tuple(use for use in uses if use[0].rewrite_work is not None)
    if not rewriting:
        return modality

    def count(columns: Mapping[str, Any], window: Any, minimum: Minimum) -> tuple[Any, ...]:
        return modality.count(rewritten_work(columns, rewriting, minimum), window, minimum)

    return replace(modality, count=count)


def usual_lengths(catalogue: Catalogue) -> tuple[float, float]:
    """Central prompt and answer length of other requests [tokens]."""
    priors = catalogue.priors
    return priors["mix.input-tokens"].value.value, priors["mix.output-tokens"].value.value


def decode_per_token(modality: Modality, lengths: tuple[float, float], window: float) -> Array:
    """Features of the answer of a request of `lengths` [tokens], per output token: what a time per token is of."""
    features = counted(modality, lengths, window)
    decode = np.array([feature.part == "decode" for feature in modality.features])
    # A model that writes no token has no time per token to tell.
    per_token: Array = features * decode / (lengths[1] or 1.0)
    return per_token


def counted(
    modality: Modality,
    lengths: tuple[float, float],
    window: float,
    *,
    cached: float = 0.0,
    media: float = 0.0,
    extra: Mapping[str, float] | None = None,
) -> Array:
    """Features of one request of `lengths` (prompt and answer) [tokens]; `media` is 1 with pictures in the prompt.

    `extra` holds further columns of its work.
    """
    work = {
        "input_tokens": lengths[0],
        "cached_input_tokens": cached,
        "output_tokens": lengths[1],
        "n_requests": 1.0,
        "media_prompts": media,
        "measured_seconds": 0.0,
        **(extra or {}),
    }
    return np.array(modality.count(work, window, min), dtype=float)


def central_shape(shape: ModelShape) -> ModelShape:
    """The central case of a shape whose facts may be drawn."""
    drawn = (f.name for f in fields(shape) if f.init and f.name != "routing")
    values: dict[str, Any] = {name: central(getattr(shape, name)) for name in drawn}
    return replace(shape, **values)


def central_serving(serving: Serving) -> Serving:
    """The central case of how a model is served."""
    return replace(serving, shape=central_shape(serving.shape))
