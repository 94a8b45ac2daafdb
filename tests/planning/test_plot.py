from __future__ import annotations

import pytest
from tests.setups import ESTIMATOR

from inferprint import Request
from inferprint.errors import FileProblem
from inferprint.planning import Search, axis_of, plan, plot, sweep

pytest.importorskip("matplotlib")
PNG = b"\x89PNG"


def test_a_plan_is_drawn(tmp_path):
    search = Search(model_id="llama-3.1-8b", gpu_ids=("h100_80gb_sxm",), objectives=("energy",))
    plot.plot_plan(plan(search, ESTIMATOR), tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("axes", [["batch-size=1..8"], ["gpu-count=1,4", "precision=bf16,fp8"], ["country=FR,PL"]])
def test_a_sweep_is_drawn(tmp_path, axes):
    request = Request(model_id="llama-3.1-70b", input_tokens=1200, output_tokens=300, gpu_id="h100_80gb_sxm")
    found = sweep(request, [axis_of(ESTIMATOR.catalogue, text) for text in axes], estimator=ESTIMATOR)
    plot.plot_sweep(found, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(PNG)


def test_a_picture_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(FileProblem, match=r"End it with \.png"):
        plot.check_plot(tmp_path / "x.doc")
    with pytest.raises(FileProblem, match="is no folder"):
        plot.check_plot(tmp_path / "none" / "x.png")
    monkeypatch.setattr(plot, "find_spec", lambda _: None)
    with pytest.raises(FileProblem, match=r"inferprint\[fit\]"):
        plot.check_plot(tmp_path / "x.png")
