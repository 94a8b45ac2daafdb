"""Every technique: the identity at its defaults, a stage, ranges, and an answer beside every other one."""

from __future__ import annotations

import dataclasses
import itertools
import math

import ibis
import numpy as np
import pyarrow as pa
import pytest
from tests.techniques.shapes import DENSE, SPARSE, WORK

from inferprint.errors import InvalidInput
from inferprint.modalities.text import TEXT
from inferprint.physics.serving import Serving
from inferprint.rates.situation import rewritten
from inferprint.techniques.apply import available, parse, rewritten_serving
from inferprint.techniques.base import STAGES

TECHNIQUES = available()
IN_USE = {
    "batching": "batching:kind=static,spread=0.5,max_requests=256",
    "chunked-prefill": "chunked-prefill:chunk_tokens=512,exposed=0.5",
    "data-parallel": "data-parallel:ranks=2",
    "disaggregation": "disaggregation:prefill_devices=4,network_gb_per_s=200",
    "expert-parallel": "expert-parallel:devices=8,imbalance=1.5",
    "kv-quantisation": "kv-quantisation:bits=8,overhead=0.03,read_factor=1.08",
    "mixture-of-experts": "mixture-of-experts:imbalance=1.2,skew=0.5",
    "multi-token-prediction": "multi-token-prediction:draft_tokens=1",
    "paged-attention": "paged-attention:block_tokens=32",
    "pipeline-parallel": "pipeline-parallel:stages=2",
    "prefix-caching": "prefix-caching:hit_rate=0.5",
    "quantisation": "quantisation:bits=4,group_size=128,unpacking=1.2",
    "speculative-decoding": "speculative-decoding:draft_tokens=3",
    "tensor-parallel": "tensor-parallel:devices=4",
}
"""Each technique in use."""

REFUSED = {
    ("batching", "chunked-prefill"),
    ("batching", "disaggregation"),
    ("batching", "pipeline-parallel"),
    ("expert-parallel", "mixture-of-experts"),
    ("expert-parallel", "tensor-parallel"),
    ("multi-token-prediction", "speculative-decoding"),
}
"""Pairs that the values above make impossible."""


def outcome(serving: Serving, texts: tuple[str, ...]) -> object:
    """What techniques make of a way of serving and of the work, or the text of their refusal."""
    try:
        uses = parse(texts)
        return rewritten_serving(serving, uses), rewritten(TEXT, uses).count(WORK, 0.0, min)
    except InvalidInput as error:
        return str(error)


def test_every_technique_is_tried():
    assert set(IN_USE) == set(TECHNIQUES)


@pytest.mark.parametrize("serving", [DENSE, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", sorted(TECHNIQUES))
def test_at_its_defaults_a_technique_is_the_identity(name, serving):
    assert outcome(serving, (name,)) == (serving, TEXT.count(WORK, 0.0, min))


def test_all_techniques_at_their_defaults_are_the_identity():
    assert outcome(SPARSE, tuple(TECHNIQUES)) == (SPARSE, TEXT.count(WORK, 0.0, min))


@pytest.mark.parametrize("name", sorted(TECHNIQUES))
def test_in_use_a_technique_changes_something(name):
    assert outcome(SPARSE, (IN_USE[name],)) not in (outcome(SPARSE, ()), outcome(SPARSE, (name,)))


@pytest.mark.parametrize("pair", list(itertools.combinations(sorted(TECHNIQUES), 2)), ids="-".join)
def test_two_techniques_compose_or_are_refused_whatever_their_order(pair):
    first, second = (IN_USE[name] for name in pair)
    found = outcome(SPARSE, (first, second))
    assert found == outcome(SPARSE, (second, first))
    assert isinstance(found, str) == (pair in REFUSED)


@pytest.mark.parametrize("pair", sorted(REFUSED), ids="-".join)
def test_a_refusal_names_a_technique_and_what_is_allowed(pair):
    with pytest.raises(InvalidInput) as caught:
        rewritten_serving(SPARSE, parse(IN_USE[name] for name in pair))
    assert caught.value.field == "techniques"
    assert any(name in str(caught.value) for name in pair)
    assert len(str(caught.value).split("\n")) == 2


@pytest.mark.parametrize("name", sorted(TECHNIQUES))
def test_a_technique_has_a_stage_and_parameters(name):
    assert TECHNIQUES[name].stage in STAGES
    assert TECHNIQUES[name].parameters


@pytest.mark.parametrize(
    "parameter",
    [parameter for technique in TECHNIQUES.values() for parameter in technique.parameters],
    ids=lambda parameter: parameter.name,
)
def test_a_parameter_has_a_meaning_and_a_range_with_its_default_in_it(parameter):
    assert parameter.meaning
    if isinstance(parameter.default, str):
        assert not parameter.choices or parameter.default in parameter.choices
    else:
        assert math.isfinite(parameter.low)
        assert math.isfinite(parameter.high)
        assert parameter.low <= parameter.default <= parameter.high


WORKING = sorted(name for name, technique in TECHNIQUES.items() if technique.rewrite_work is not None)
ROWS = [(0.0, 0.0, 0.0), (1.0, 0.0, 1.0), (513.0, 0.0, 7.0), (2000.0, 700.0, 300.0), (90_000.0, 90_000.0, 1.0)]


@pytest.mark.parametrize("texts", [*((IN_USE[name],) for name in WORKING), tuple(IN_USE[name] for name in WORKING)])
def test_the_work_is_rewritten_in_tables_as_in_single_requests(texts):
    count = rewritten(TEXT, parse(texts)).count
    names = ("input_tokens", "cached_input_tokens", "output_tokens")
    columns = dict(zip(names, np.array(ROWS).T, strict=True))
    work = {**columns, **{name: np.full(len(ROWS), value) for name, value in WORK.items() if name not in columns}}
    by_row = np.array([count({name: column[i] for name, column in work.items()}, 128.0, min) for i in range(len(ROWS))])
    table = ibis.memtable(pa.table({"row": np.arange(len(ROWS)), **work}))
    counted = count({name: table[name] for name in work}, 128.0, ibis.least)
    features = [feature.name for feature in TEXT.features]
    selected = table.select("row", **dict(zip(features, counted, strict=True))).order_by("row")
    found = ibis.duckdb.connect().to_pyarrow(selected).to_pydict()
    np.testing.assert_allclose(np.array([found[name] for name in features]).T, by_row, rtol=1e-12)


def test_a_record_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        next(iter(TECHNIQUES.values())).name = "other"  # type: ignore[misc]
