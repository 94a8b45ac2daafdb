"""Cards whose draws lie on disk are the cards, whoever resolved them."""

from contextlib import closing

import numpy as np
import pytest

from inferprint.batch import cards
from inferprint.batch.cards import CardStore
from inferprint.errors import UnknownName
from inferprint.estimate import Request
from inferprint.estimate.estimate import machine_setup
from inferprint.modalities.text import TEXT
from inferprint.rates.card import MACHINE_QUANTITIES

MODELS = ("llama-3.1-8b", "llama-3.1-70b", "gpt-oss-120b", "gemma-3-27b", "gpt-4o", "mixtral-8x7b")


def setups(models=MODELS):
    return [machine_setup(Request(model_id=model, input_tokens=1, output_tokens=1)) for model in models]


def assert_same(card, whole):
    np.testing.assert_array_equal(card.table, whole.table)
    for quantity in MACHINE_QUANTITIES:
        np.testing.assert_array_equal(card.quantity(quantity), whole.quantity(quantity))
    assert dict(card.sources).keys() == dict(whole.sources).keys()
    assert card.modality is TEXT
    assert card.media.writes_text == whole.media.writes_text
    assert [entry.value for entry in card.trail.entries] == [entry.value for entry in whole.trail.entries]


def test_draws_on_disk(estimator):
    with closing(CardStore(estimator)) as store:
        wholes = [estimator.machine(setup) for setup in setups()]
        kept = [store.spilled(whole) for whole in wholes]
        for card, whole in [*zip(kept, wholes, strict=True), *zip(kept[::-1], wholes[::-1], strict=True)]:
            assert_same(card, whole)


def test_cards_of_other_processes(estimator, monkeypatch):
    monkeypatch.setattr(cards, "WORTH_PROCESSES", 2)
    with closing(CardStore(estimator, processes=2)) as store:
        wanted = [*setups(), *setups(["no-such-model"])]
        assert list(store.resolve_all(wanted)) == list(range(1, len(wanted) + 1))
        for setup in setups():
            assert_same(store.card(setup), estimator.machine(setup))
        with pytest.raises(UnknownName, match="no-such-model"):
            store.card(wanted[-1])


def test_few_cards_start_no_process(estimator):
    with closing(CardStore(estimator, processes=2)) as store:
        assert list(store.resolve_all(setups())) == []
