"""`inferprint params` and `inferprint validate --parameters`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from inferprint import Catalogue
from inferprint.cli import params
from inferprint.cli.commands import app
from inferprint.errors import InferprintError, Undisclosed, UnknownName
from inferprint.rates.price import size_from_price


def call(*arguments):
    found = CliRunner().invoke(app, arguments)
    if isinstance(found.exception, InferprintError):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.output


def test_a_closed_model_is_shown_host_by_host():
    found = json.loads(call("params", "gemini-2.5-pro", "--json"))
    ours = size_from_price(Catalogue.packaged(), found["model"], "total")
    assert found["origin"] == "inferred from price"
    assert found["total"]["params_b"]["value"] == ours.size_b.value
    assert found["total"]["upper_b"] == found["total"]["params_b"]["high"]
    assert sum(host["weight"] for host in found["total"]["hosts"]) == pytest.approx(1.0)
    text = call("params", "gemini-2.5-pro")
    assert "conservative upper bound" in text
    assert "the seed's method" in text


def test_extrapolation_is_flagged_in_text_and_json():
    assert "warning: the total size is extrapolated" in call("params", "gpt-4o")
    assert json.loads(call("params", "gpt-4o", "--json"))["total"]["extrapolated"] is True


def test_a_published_size_stands_and_its_price_is_not_used():
    assert "its price is not used" in call("params", "llama-3.1-70b")
    found = json.loads(call("params", "llama-3.1-70b", "--json"))
    assert (found["total"], found["price_used"]) == (70.6, False)


def test_the_seed_form_is_the_mean_of_the_sizes():
    found = json.loads(call("params", "gpt-4o", "--form", "seed", "--json"))["total"]
    assert found["params_b"] == found["seed"]
    mean = sum(host["weight"] * host["params_b"] for host in found["hosts"])
    assert found["params_b"]["value"] == pytest.approx(mean)


def test_what_nobody_knows_is_an_error():
    with pytest.raises(UnknownName):
        call("params", "no-such-model-at-all")
    with pytest.raises(Undisclosed, match="total-params-b"):
        call("params", "crouton-alpha")


@pytest.mark.parametrize("arguments", [(), ("gpt-4o", "--coverage")])
def test_one_thing_at_a_time(arguments):
    with pytest.raises(InferprintError, match="--coverage"):
        call("params", *arguments)


def test_the_report_holds_fits_rules_and_plots(tmp_path):
    pytest.importorskip("matplotlib")
    found = json.loads(call("params", "--fit-report", str(tmp_path), "--json"))
    text = (tmp_path / "report.md").read_text()
    assert found["excluded"]["rolling alias"] > 0
    assert "| rolling alias |" in text
    assert len(list(tmp_path.glob("*.png"))) == len(found["hosts"]) > 5


def test_nearly_every_text_model_of_the_price_list_has_a_size():
    from inferprint.provenance.trace import Trail
    from inferprint.rates.model import model_sizes

    catalogue = Catalogue.packaged()
    listed = params.listed_models(catalogue)
    refused = []
    for model in listed:
        try:
            model_sizes(catalogue, model, None, None, Trail())
        except Undisclosed as error:
            refused.append(error.message)
    assert len(listed) > 700
    assert len(refused) <= 0.03 * len(listed)


def test_a_file_of_sizes_is_scored_as_a_bare_list(tmp_path):
    path = tmp_path / "known.csv"
    path.write_text("model_id,total_params_b,active_params_b\nllama-3.1-70b,70.6,70.6\nno-such-model,1,1\n")
    found = json.loads(call("validate", "--parameters", str(path), "--json"))
    assert set(found[0]) >= {"target", "form", "models", "median_factor", "within2x_pct", "coverage95_pct",
                             "upper_coverage_pct", "upper_over_true"}  # fmt: skip
    assert "refused 1 row:" in call("validate", "--parameters", str(path))


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from click.testing import CliRunner; from inferprint.cli.commands import app\n"
        "assert CliRunner().invoke(app, ['params', 'gpt-4o']).exit_code == 0\n"
        "assert not {'statsmodels', 'pandas', 'matplotlib', 'genai_prices'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
