from __future__ import annotations

import pytest

from inferprint import Catalogue
from inferprint.errors import InvalidInput, UnknownName
from inferprint.planning.axes import (
    Place,
    gpu_prices,
    numbers,
    places,
    split_technique_sets,
    technique_set,
    technique_sets,
    whole_numbers,
)

CATALOGUE = Catalogue.packaged()


@pytest.mark.parametrize(
    "texts, found",
    [
        (["4"], (4,)),
        (["1,2,4", "2,8"], (1, 2, 4, 8)),
        (["1..8"], (1, 2, 4, 8)),
        (["3..20"], (3, 6, 12, 20)),
        (["5..5"], (5,)),
        (["1..2", "64"], (1, 2, 64)),
        (["1e2"], (100,)),
    ],
)
def test_lists_and_ranges_of_whole_numbers(texts, found):
    assert whole_numbers("gpu_count", texts) == found


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "empty value"),
        ("1,,2", "empty value"),
        ("x", "'x' is not a number"),
        ("0", "'0' is not 1 or more"),
        ("-2", "'-2' is not 1 or more"),
        ("nan", "'nan' is not 1 or more"),
        ("inf", "'inf' is not 1 or more"),
        ("2.5", "'2.5' is not a whole number"),
        ("8..1", "the range '8..1' is empty"),
        ("1..", "'1..' is half a range"),
        ("..8", "'..8' is half a range"),
        (",".join(map(str, range(1, 600))), "599 values"),
    ],
)
def test_what_is_no_list_of_whole_numbers_names_the_field(text, says):
    with pytest.raises(InvalidInput, match="gpu_count: ") as refused:
        whole_numbers("gpu_count", [text])
    assert says in str(refused.value)
    assert refused.value.field == "gpu_count"


def test_numbers_have_a_least():
    assert numbers("pue", ["1,1.5"], least=1.0) == (1.0, 1.5)
    with pytest.raises(InvalidInput, match=r"'0\.9' is not 1 or more"):
        numbers("pue", ["0.9"], least=1.0)
    with pytest.raises(InvalidInput, match="'0' is not above 0"):
        numbers("active_share", ["0"])
    with pytest.raises(InvalidInput, match="is a range"):
        numbers("pue", ["1..2"], least=1.0)


def test_sets_of_techniques():
    assert technique_set("none") == ()
    both = "prefix-caching:hit_rate=0.5+quantisation:format=fp8"
    assert technique_set(both) == ("prefix-caching:hit_rate=0.5", "quantisation:format=fp8")
    assert technique_sets(["none", both, "none"]) == ((), technique_set(both))


@pytest.mark.parametrize(
    "text, error, says",
    [
        ("+", InvalidInput, "empty technique"),
        ("", InvalidInput, "empty technique"),
        ("none+prefix-caching", InvalidInput, "with none"),
        ("prefix-cachin", UnknownName, "Nearest: prefix-caching"),
        ("prefix-caching:hitrate=1", InvalidInput, "It has: hit_rate"),
        ("prefix-caching:hit_rate=2", InvalidInput, "0 to 1"),
    ],
)
def test_a_set_that_cannot_be_says_why(text, error, says):
    with pytest.raises(error) as refused:
        technique_set(text)
    assert says in str(refused.value)
    assert refused.value.field == "techniques"


def test_a_list_of_sets_keeps_parameters_with_their_technique():
    text = "none,a:x=1,y=2+b,c:z=3"
    assert split_technique_sets("techniques", text) == ["none", "a:x=1,y=2+b", "c:z=3"]


def test_places_are_alternatives():
    assert places(CATALOGUE, {}) == (Place(),)
    found = places(CATALOGUE, {"country": ("FR,PL", "FR"), "cloud_region": ("aws:us-east-1",)})
    assert found == (Place("cloud_region", "aws:us-east-1"), Place("country", "FR"), Place("country", "PL"))
    assert found[1].fields == {"country": "FR"}
    assert Place().fields == {}


@pytest.mark.parametrize(
    "stated, error",
    [
        ({"country": ("ZZ",)}, UnknownName),
        ({"cloud_region": ("aws:us-est-1",)}, UnknownName),
        ({"cloud_region": ("us-east-1",)}, InvalidInput),
        ({"country": ("FR,",)}, InvalidInput),
    ],
)
def test_a_place_that_is_not_there_is_refused(stated, error):
    with pytest.raises(error):
        places(CATALOGUE, stated)


def test_prices_by_accelerator():
    assert gpu_prices(CATALOGUE, ["2.5", "h200_141gb_sxm=4"]) == {"": 2.5, "h200_141gb_sxm": 4.0}


@pytest.mark.parametrize("text", ["0", "-1", "abc", "=2", "h200_141gb_sxm=", "h200_141gb_sxm=0", "h10=1"])
def test_a_price_that_cannot_be_names_its_option(text):
    with pytest.raises((InvalidInput, UnknownName)) as refused:
        gpu_prices(CATALOGUE, [text])
    assert refused.value.field == "usd_per_gpu_hour"


def test_two_prices_for_one_device_are_refused():
    with pytest.raises(InvalidInput, match="two prices for every accelerator"):
        gpu_prices(CATALOGUE, ["1", "2"])
