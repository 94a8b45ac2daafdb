"""The shape of a model's blocks, from what the catalogue knows of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inferprint.catalogue import Model
from inferprint.errors import InvalidInput, Undisclosed

USUAL_VOCABULARY = 128_000
"""Vocabulary to assume where none is stated [tokens]: that of many models since 2024."""

NEEDED = ("total_params_b", "layers", "hidden_size", "attention_heads", "kv_heads", "head_size")
"""What a model's record has to say."""

WIDTHS = (256, 128, 64, 32, 16)
"""Multiples of which inner widths are, widest first: arithmetic units work on such tiles."""

ROUNDING = 0.004
"""Part of an inner width by which rounding to such a multiple may change it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of equal blocks: RMSNorm, grouped attention with rotary positions, RMSNorm, SwiGLU or experts.

    Attributes
    ----------
    layers, hidden, heads, kv_heads, head_size
        As published.
    vocabulary
        Rows of the output head [tokens].
    inner
        Inner width of the SwiGLU that every token passes: all of it in a dense model, shared experts in others.
    experts, experts_per_token, expert_inner
        Of a mixture; 0 in a dense model.
    window
        Tokens beyond which some of the model's layers attend to none; None where all attend to everything.
    remarks
        What was assumed.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    inner: int
    experts: int = 0
    experts_per_token: int = 0
    expert_inner: int = 0
    window: int | None = None
    remarks: tuple[str, ...] = ()

    @property
    def attention_params(self) -> int:
        """Weights of the projections of one block."""
        return 2 * self.hidden * self.head_size * (self.heads + self.kv_heads)

    @property
    def expert_params(self) -> int:
        """Weights of one expert of one block."""
        return 3 * self.hidden * self.expert_inner

    @property
    def block_params(self) -> int:
        """Weights of one block, all experts and the router included."""
        always = self.attention_params + 3 * self.hidden * self.inner + 2 * self.hidden
        return always + self.experts * (self.expert_params + self.hidden)

    @property
    def active_block_params(self) -> int:
        """Weights of one block that a token passes."""
        return self.block_params - (self.experts - self.experts_per_token) * self.expert_params

    @property
    def head_params(self) -> int:
        """Weights of the output head."""
        return self.vocabulary * self.hidden

    @property
    def kv_elements(self) -> int:
        """Elements of the KV cache of one token in one block."""
        return 2 * self.kv_heads * self.head_size


def shape_of(model: Model, vocabulary: int | None = None) -> Shape:
    """The shape of a model's blocks; inner widths are what is left of its parameters.

    Parameters
    ----------
    model
        Record of the catalogue.
    vocabulary
        Size of its vocabulary [tokens]; about 128,000 is assumed where none is given.

    Raises
    ------
    Undisclosed
        The record lacks what a block needs.
    InvalidInput
        The model has layers of another kind, or its sizes contradict one another.
    """
    _check(model)
    remarks = []
    if vocabulary is None:
        vocabulary = USUAL_VOCABULARY
        remarks.append(f"vocabulary of {vocabulary:,} assumed")
    layers, hidden = _int(model.layers), _int(model.hidden_size)
    heads, kv_heads, head_size = _int(model.attention_heads), _int(model.kv_heads), _int(model.head_size)
    if heads % kv_heads or head_size % 2:
        raise InvalidInput("--model", f"{model.id}: {heads} heads in {kv_heads} groups of {head_size} cannot be")
    bare = Shape(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        vocabulary=vocabulary,
        inner=0,
        experts=model.experts or 0,
        experts_per_token=model.experts_per_token or 0,
        expert_inner=_expert_inner(model) if model.experts else 0,
        window=model.attention_window_tokens if model.windowed_attention_layers else None,
    )
    inner, more = _inner(model, bare)
    return replace(bare, inner=inner, remarks=(*remarks, *more))


def _expert_inner(model: Model) -> int:
    """Inner width of an expert, whose published size is that of all layers."""
    each = 1e9 * (model.params_per_expert_b or 0.0)
    if not each:
        raise Undisclosed(f"{model.id}: the size of an expert is not known", hint=CHOOSE)
    return _width(each / _int(model.layers) / (3 * _int(model.hidden_size)))


def _inner(model: Model, bare: Shape) -> tuple[int, list[str]]:
    """Inner width of what every token passes, from the parameters that are left; and what was assumed."""
    remarks = []
    routed = model.moe_layers or bare.layers
    if bare.experts and routed != bare.layers:
        remarks.append(f"the experts of {routed} layers are spread over all {bare.layers}")
    total = 1e9 * (model.total_params_b or 0.0) - bare.experts * 1e9 * (model.params_per_expert_b or 0.0)
    # Input embedding and output head; projections, norms and routers.
    always = bare.attention_params + 2 * bare.hidden + bare.experts * bare.hidden
    left = (total - 2 * bare.head_params) / bare.layers - always
    if left < 0 and bare.experts:
        remarks.append("no shared expert: nothing is left of the parameters")
    elif left <= 0:
        raise InvalidInput(
            "--model",
            f"{model.id}: {model.total_params_b:g} billion parameters leave nothing for the inner width beside a "
            f"vocabulary of {bare.vocabulary:,}",
            hint="State its vocabulary with --vocabulary.",
        )
    width = 3 * bare.hidden
    return (_width(left / width) if left >= WIDTHS[-1] * width or not bare.experts else 0), remarks


CHOOSE = "inferprint catalog models lists others; a record of your own goes into a folder for --catalog."


def _check(model: Model) -> None:
    missing = [name for name in NEEDED if not getattr(model, name)]
    if missing:
        raise Undisclosed(f"{model.id}: the catalogue does not say its {', '.join(missing)}", hint=CHOOSE)
    other = model.state_space_layers or 0
    attending = (model.full_attention_layers or 0) + (model.windowed_attention_layers or 0)
    if other or (attending and attending != model.layers) or "hybrid" in model.architecture:
        kinds = f"{attending} of {model.layers} layers" if attending else "not all layers"
        raise InvalidInput("--model", f"{model.id}: {kinds} attend as those that are built here", hint=CHOOSE)
    if model.windowed_attention_layers and not model.attention_window_tokens:
        raise Undisclosed(f"{model.id}: the catalogue does not say how far its attention reaches", hint=CHOOSE)


def _int(value: int | None) -> int:
    return int(value or 0)


def _width(exact: float) -> int:
    """An inner width near `exact`: a multiple of as much as keeps it."""
    for tile in WIDTHS:
        rounded = round(exact / tile) * tile
        if abs(rounded - exact) <= ROUNDING * exact:
            return rounded
    return max(WIDTHS[-1], round(exact / WIDTHS[-1]) * WIDTHS[-1])
