"""Quantisation of the weights: fewer bytes to read and to hold.

    b = ((bits + (scale_bits + zero_bits) / group) (1 - kept) + 16 kept) / 8   [bytes per parameter]

A format of the catalogue also decides the arithmetic. Stated bits do not: a format of the weights alone is unpacked and
computed in the arithmetic of the stated or published precision, so prompts are never faster for it. Unpacking
multiplies the time of a weight read. Sources: GPTQ, arXiv:2210.17323; block formats, OCP MX, arXiv:2310.10537.
"""

from __future__ import annotations

from dataclasses import replace

from inferprint.physics.serving import Serving
from inferprint.quantities import equation
from inferprint.techniques.base import Parameter, Technique, Values
from inferprint.techniques.rules import at_least, changed, refusal

NAME = "quantisation"
UNQUANTISED_BITS = 16.0
LEAST_BITS = 1.0
STATED = (
    Parameter("bits", "bits of a weight, where the format is not in the catalogue; 0: not stated", 0.0, 0.0, 32.0),
    Parameter("group_size", "weights that share a scale; 0: so many that it weighs nothing", 0.0, 0.0, 65536.0, True),
    Parameter("scale_bits", "bits of a scale", 16.0, 0.0, 32.0),
    Parameter("zero_bits", "bits of a zero point", 0.0, 0.0, 32.0),
    Parameter("kept_share", "share of the parameters that stay at 16 bits", 0.0),
)
PARAMETERS = (
    Parameter("format", "a format of 'inferprint catalog precisions'", ""),
    *STATED,
    Parameter("unpacking", "time to read and unpack the weights over the time to read them", 1.0, 1.0, 4.0),
)


@equation(
    "b = ((bits + (scale_bits + zero_bits) / group) (1 - kept) + 16 kept) / 8", "docs/techniques.md#what-each-changes"
)
def effective_bytes(bits: float, group_size: float, scale_bits: float, zero_bits: float, kept_share: float) -> float:
    """Bytes per parameter, scales and unquantised tensors included."""
    scales = (scale_bits + zero_bits) / group_size if group_size else 0.0
    return ((bits + scales) * (1 - kept_share) + UNQUANTISED_BITS * kept_share) / 8


def _check(values: Values) -> None:
    stated = changed(STATED, values)
    if values["format"] and stated:
        raise refusal(NAME, f"format beside {', '.join(stated)}", "Name a format, or state its bits.")
    if stated and "bits" not in stated:
        raise refusal(NAME, f"{', '.join(stated)} without bits", f"State bits: {LEAST_BITS:g} to 32.")
    at_least(NAME, "bits", values["bits"], LEAST_BITS, 32)


def _precision(values: Values) -> str | None:
    _check(values)
    return str(values["format"]) or None


def _rewrite(serving: Serving, values: Values) -> Serving:
    _check(values)
    shape = replace(serving.shape, unpacking=serving.shape.unpacking * values["unpacking"])
    if values["bits"]:
        shape = replace(shape, bytes_per_param=effective_bytes(**{p.name: values[p.name] for p in STATED}))
    return replace(serving, shape=shape)


QUANTISATION = Technique(
    name=NAME,
    meaning="the weights are held in a smaller number format",
    equation="b = ((bits + (scale + zero)/group) (1 - kept) + 16 kept)/8, or bytes per parameter of the format",
    reference="GPTQ, arXiv:2210.17323; OCP MX, arXiv:2310.10537",
    stage="formats",
    parameters=PARAMETERS,
    rewrite=_rewrite,
    precision=_precision,
)
