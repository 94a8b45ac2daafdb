"""Each way to break the schema is refused with file, record and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferprint.catalogue import Catalogue, Gpu, Model
from inferprint.errors import CatalogueError
from inferprint.provenance.source import Provenance, Source
from inferprint.quantities import Range

ORIGIN = 'source = "mine"\ndate = "2026-01-02"\nquality = "high"\n'
SOURCE = '[[source]]\nid = "mine"\ntitle = "Measured here"\nurl = ""\nlicence = "CC0-1.0"\n'
MODEL = '[[model]]\nid = "house-7b"\ndeveloper = "House"\ntotal_params_b = 7\n'
GPU = '[[gpu]]\nid = "house_gpu"\nname = "House GPU"\nvendor = "House"\ndevice_class = "datacenter"\n'
NODE = '[[node]]\nid = "house:box"\ncloud = "house"\ninstance = "box"\n'
REGION = '[[region]]\nid = "house:x"\ncloud = "house"\nregion = "x"\nlocation = "X"\ncountry = "FR"\ngrid_zone = "FR"\n'
SPEED = (
    '[[speed]]\nid = "together:gpt-4o"\nbasis = "whole request"\nmeasured = "2026-01-02"\n'
    "output_tokens_per_s = {value = 40, low = 20, high = 80}\n"
)
SERVICE = '[[service]]\nid = "house-api"\nname = "House API"\nserving_class = "open-economy"\n'


def folder_with(root: Path, **files: str) -> Path:
    """A user's folder: one file per kind, named house.toml."""
    for kind, text in {"sources": SOURCE, **files}.items():
        path = root / kind / "house.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


BROKEN = [
    pytest.param(
        {"models": MODEL + ORIGIN + "layrs = 3\n"},
        ["models/house.toml", "house-7b", "layrs", "layers"],
        id="unknown field",
    ),
    pytest.param(
        {"models": MODEL + ORIGIN + 'layers = "3"\n'},
        ["models/house.toml", "house-7b", "layers", "int"],
        id="wrong type",
    ),
    pytest.param({"models": MODEL + ORIGIN + "layers = true\n"}, ["house-7b", "layers", "int"], id="truth for number"),
    pytest.param({"models": MODEL + ORIGIN + "layers = -3\n"}, ["house-7b", "layers", "negative"], id="negative"),
    pytest.param({"models": MODEL + ORIGIN + "context_length = nan\n"}, ["house-7b", "context_length"], id="nan"),
    pytest.param({"models": MODEL + ORIGIN + 'names = "x"\n'}, ["house-7b", "names", "list"], id="text for list"),
    pytest.param(
        {"models": MODEL + ORIGIN + 'architecture = "dens"\n'}, ["house-7b", "architecture", "dense"], id="word"
    ),
    pytest.param(
        {"models": MODEL.replace('developer = "House"\n', "") + ORIGIN}, ["house-7b", "developer"], id="missing field"
    ),
    pytest.param({"models": '[[model]]\ndeveloper = "x"\n' + ORIGIN}, ["models/house.toml", "id"], id="no id"),
    pytest.param({"models": MODEL + ORIGIN.replace('source = "mine"\n', "")}, ["house-7b", "source"], id="no source"),
    pytest.param({"models": MODEL + ORIGIN.replace('date = "2026-01-02"\n', "")}, ["house-7b", "date"], id="no date"),
    pytest.param(
        {"models": MODEL + ORIGIN.replace('quality = "high"\n', "")}, ["house-7b", "quality"], id="no quality"
    ),
    pytest.param(
        {"models": MODEL + ORIGIN.replace("2026-01-02", "last May")}, ["house-7b", "date", "last May"], id="bad date"
    ),
    pytest.param({"models": MODEL + ORIGIN.replace("high", "good")}, ["house-7b", "quality", "good"], id="bad quality"),
    pytest.param(
        {"models": MODEL + ORIGIN.replace("mine", "mien")},
        ["models/house.toml", "house-7b", "source", "mien", "mine"],
        id="no such source",
    ),
    pytest.param(
        {"models": MODEL + ORIGIN + "[model.provenance.layrs]\n" + ORIGIN},
        ["house-7b", "layrs", "layers"],
        id="origin of unknown field",
    ),
    pytest.param(
        {"models": MODEL + ORIGIN + '[model.provenance.layers]\nsauce = "x"\n'},
        ["house-7b", "provenance.layers.sauce", "source"],
        id="unknown origin field",
    ),
    pytest.param({"models": (MODEL + ORIGIN) * 2}, ["models/house.toml", "house-7b", "id", "twice"], id="id twice"),
    pytest.param(
        {"models": MODEL + ORIGIN + 'names = ["gpt-4o"]\n'},
        ["models/house.toml", "house-7b", "names", "gpt-4o"],
        id="name taken",
    ),
    pytest.param({"models": "[[model]\n"}, ["models/house.toml", "TOML"], id="not TOML"),
    pytest.param({"models": "[[gpu]]\n"}, ["models/house.toml", "gpu", "model"], id="wrong table"),
    pytest.param({"modles": MODEL + ORIGIN}, ["modles/house.toml", "models"], id="unknown folder"),
    pytest.param(
        {"gpus": GPU + ORIGIN + "embodied_kgco2e = {value = 1, low = 2, high = 3}\n"},
        ["house_gpu", "embodied_kgco2e", "low"],
        id="range order",
    ),
    pytest.param(
        {"gpus": GPU + ORIGIN + "embodied_kgco2e = {value = 1, lo = 1}\n"},
        ["house_gpu", "embodied_kgco2e", "high"],
        id="range keys",
    ),
    pytest.param(
        {"gpus": GPU + ORIGIN + 'reference_node = "generic:hgx-h100"\n'},
        ["house_gpu", "reference_node", "generic:hgx-h100-8"],
        id="no such node",
    ),
    pytest.param(
        {"nodes": NODE + ORIGIN + 'gpu = "h100"\n'}, ["nodes/house.toml", "house:box", "gpu", "h100"], id="no such gpu"
    ),
    pytest.param(
        {"services": SERVICE + ORIGIN + "hardware_mix = {h101 = 1}\n"},
        ["house-api", "hardware_mix", "h101"],
        id="service gpu",
    ),
    pytest.param(
        {"services": SERVICE + ORIGIN + "hardware_mix = {h100_80gb_sxm = 0.5, h200_141gb_sxm = 0.4}\n"},
        ["services/house.toml", "house-api", "hardware_mix", "0.9"],
        id="shares of no whole",
    ),
    pytest.param(
        {"services": SERVICE + ORIGIN + "hardware_mix = {h100_80gb_sxm = {value = 1, low = 0.5, high = 1.5}}\n"},
        ["house-api", "hardware_mix", "h100_80gb_sxm", "1.5"],
        id="share above one",
    ),
    pytest.param(
        {"services": SERVICE + ORIGIN + 'likely_gpus = ["h100_80gb_sxm"]\n'},
        ["house-api", "likely_gpus"],
        id="field of old",
    ),
    pytest.param(
        {"speeds": SPEED.replace("together", "togehter") + ORIGIN},
        ["speeds/house.toml", "togehter:gpt-4o", "togehter", "together"],
        id="speed at no service",
    ),
    pytest.param(
        {"speeds": SPEED.replace("gpt-4o", "gpt-40") + ORIGIN}, ["together:gpt-40", "gpt-4"], id="speed of no model"
    ),
    pytest.param(
        {"speeds": SPEED.replace("whole request", "whole") + ORIGIN},
        ["together:gpt-4o", "basis", "whole request"],
        id="speed basis",
    ),
    pytest.param(
        {"services": SERVICE + ORIGIN + 'regions = ["aws:moon-1"]\n'},
        ["house-api", "regions", "aws:moon-1"],
        id="service region",
    ),
    pytest.param(
        {"regions": REGION.replace('grid_zone = "FR"', 'grid_zone = "FX"') + ORIGIN},
        ["house:x", "grid_zone", "FX"],
        id="no such zone",
    ),
    pytest.param(
        {"names": '[[name]]\nmodel = "gpt-40"\nnames = ["x"]\n' + ORIGIN},
        ["names/house.toml", "gpt-40", "gpt-4"],
        id="name of no model",
    ),
    pytest.param(
        {"names": '[[name]]\nmodel = "gpt-4o"\nname = ["x"]\n' + ORIGIN},
        ["names/house.toml", "name", "names"],
        id="name field",
    ),
    pytest.param(
        {"names": '[[name]]\nmodel = "gpt-4o"\nnames = "gpt-5"\n' + ORIGIN},
        ["names/house.toml", "gpt-4o", "names", "list"],
        id="names not a list",
    ),
]


@pytest.mark.parametrize("files, words", BROKEN)
def test_a_broken_file_is_refused_with_its_place(tmp_path: Path, files: dict[str, str], words: list[str]) -> None:
    with pytest.raises(CatalogueError) as caught:
        Catalogue.packaged().with_folder(folder_with(tmp_path, **files))
    for word in words:
        assert word in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="nowhere"):
        Catalogue.packaged().with_folder(tmp_path / "nowhere")


def test_a_folder_adds_and_replaces(tmp_path: Path) -> None:
    replaced = MODEL.replace("house-7b", "gpt-4o") + ORIGIN
    gpu = GPU + ORIGIN + "embodied_kgco2e = 100\n[gpu.provenance.embodied_kgco2e]\nquality = 'low'\nnote = 'guess'\n"
    base = Catalogue.packaged()
    mine = base.with_folder(folder_with(tmp_path, models=MODEL + ORIGIN + "\n" + replaced, gpus=gpu))
    assert mine.models["house-7b"].total_params_b == 7
    assert mine.models["gpt-4o"].developer == "House"
    assert base.models["gpt-4o"].developer == "OpenAI"
    assert mine.gpus["house_gpu"].embodied_kgco2e == Range.exact(100)
    assert mine.gpus["house_gpu"].origin("embodied_kgco2e") == Provenance("mine", "2026-01-02", "low", "guess")
    assert mine.gpus["house_gpu"].origin("name").quality == "high"
    assert "house-7b" not in base.models
    assert mine.version != base.version
    assert mine.version.startswith(base.version.split("+")[0])


def test_a_file_may_state_its_origin_once(tmp_path: Path) -> None:
    mine = Catalogue.packaged().with_folder(folder_with(tmp_path, models=ORIGIN + MODEL))
    assert mine.models["house-7b"].origin("layers").source == "mine"


def test_names_of_a_folder_reach_existing_models_and_leave_the_base_alone(tmp_path: Path) -> None:
    base = Catalogue.packaged()
    files = {"names": '[[name]]\nmodel = "gpt-4o"\nnames = ["our-assistant"]\n' + ORIGIN}
    mine = base.with_folder(folder_with(tmp_path, **files))
    assert mine.names("models")["our-assistant"] == "gpt-4o"
    assert "our-assistant" not in base.names("models")
    assert "our-assistant" not in base.models["gpt-4o"].names


def test_records_from_python_are_checked_like_a_file() -> None:
    base = Catalogue.packaged()
    origin = {"": Provenance("mine", "2026-01-02", "high")}
    model = Model(id="house-7b", developer="House", total_params_b=7.0, names=("House 7B",), provenance=origin)
    source = Source("mine", "Measured here", "", "CC0-1.0")
    mine = base.with_records(model, source)
    assert vars(mine.models["house-7b"]) == vars(model)
    with pytest.raises(CatalogueError, match="source"):
        base.with_records(model)
    bad = Gpu(id="g", name="G", vendor="House", device_class="datacenter", memory_gb=-1.0, provenance=origin)
    with pytest.raises(CatalogueError, match="memory_gb"):
        base.with_records(bad, source)


def test_records_from_python_need_an_origin() -> None:
    with pytest.raises(CatalogueError, match="source"):
        Catalogue.packaged().with_records(Model(id="house-7b", developer="House"))
