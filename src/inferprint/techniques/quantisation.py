"""Quantisation of the weights: fewer bytes to read and to hold."""

from __future__ import annotations

from inferprint.techniques.base import Parameter, Technique, Values


def _precision(values: Values) -> str | None:
    return str(values["format"]) or None


QUANTISATION = Technique(
    name="quantisation",
    meaning="the weights are held in a smaller number format",
    equation="b = bytes per parameter of the format",
    reference="GPTQ, arXiv:2210.17323",
    stage="formats",
    parameters=(Parameter("format", "a format of 'inferprint catalog precisions'", ""),),
    precision=_precision,
)
