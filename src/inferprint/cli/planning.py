"""The commands that look for better ways to serve a model."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferprint.cli.options import CATALOG, JSON, MEDIA, PLAN, SETUP, SWEEP, WORK, estimator_of, takes_request
from inferprint.errors import InvalidInput
from inferprint.estimate.estimate import request_from

if TYPE_CHECKING:
    from inferprint.catalogue import Catalogue
    from inferprint.planning import Search

Given = dict[str, Any]
"""Options that the caller stated, by field."""

CSV = click.option("--csv", "as_csv", is_flag=True, help="Print CSV: value, low and high of every quantity.")
PLOT = click.option("--plot", metavar="FILE", type=click.Path(path_type=Path), help="Draw it: .png, .svg or .pdf.")


def _print(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _print_csv(rows: list[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


@click.command("plan")
@click.argument("model", metavar="MODEL")
@takes_request(*PLAN)
@click.option("--what-if", "changes", is_flag=True, help="Also change the best one, one thing at a time.")
@CSV
@PLOT
@CATALOG
@JSON
def plan_command(
    model: str,
    given: Given,
    changes: bool,
    as_csv: bool,
    plot: Path | None,
    catalog: Path | None,
    as_json: bool,
) -> None:
    """Find how to serve a model with least impact: no other way is better in every objective.

    Looks at accelerators, devices of a replica, formats, batches, techniques and places; those that fit and keep the
    limits compete. Objectives: energy, carbon, time-per-output-token (these three by default), water, cost,
    throughput, ttft, memory, devices.
    """
    from inferprint.cli.planning_text import csv_rows, plan_text, what_if_text
    from inferprint.planning import plan, what_if
    from inferprint.planning.plot import check_plot, plot_plan

    if plot is not None:
        check_plot(plot)
    estimator = estimator_of(catalog)
    found = plan(search_of(estimator.catalogue, model, given), estimator)
    changed = what_if(found) if changes else None
    if plot is not None:
        plot_plan(found, plot)
    if as_json:
        _print(found.to_dict() | ({"what_if": changed.to_dict()} if changed is not None else {}))
    elif as_csv:
        _print_csv(csv_rows(found))
    else:
        print(plan_text(found))
        if changed is not None:
            print("\n" + what_if_text(changed))


def search_of(catalogue: Catalogue, model: str, given: Given) -> Search:
    """A search from the options of a plan."""
    from inferprint.planning import Search
    from inferprint.planning.axes import gpu_prices, listed, numbers, places, technique_sets, whole_numbers

    rest: Given = {name: value for name, value in given.items() if name not in AXIS_FIELDS}
    if "objectives" in given:
        rest["objectives"] = tuple(listed("objectives", given["objectives"]))
    batches = given.get("batch_size", ())
    ranges, lists = [text for text in batches if ".." in text], [text for text in batches if ".." not in text]
    return Search(
        model_id=model,
        gpu_ids=tuple(listed("gpu_id", given.get("gpu_id", ()))),
        node_ids=tuple(listed("node_id", given.get("node_id", ()))),
        gpu_counts=whole_numbers("gpu_count", given.get("gpu_count", ())),
        precisions=tuple(listed("precision", given.get("precision", ()))),
        batch_sizes=(*whole_numbers("batch_size", ranges), *numbers("batch_size", lists, least=1)),
        techniques=technique_sets(given.get("techniques", ())) or ((),),
        places=places(catalogue, given),
        usd_per_gpu_hour=gpu_prices(catalogue, given.get("usd_per_gpu_hour", ())),
        **rest,
    )


AXIS_FIELDS = (
    "gpu_id",
    "node_id",
    "gpu_count",
    "precision",
    "batch_size",
    "techniques",
    "cloud_region",
    "country",
    "grid_zone",
    "usd_per_gpu_hour",
    "objectives",
)
"""Options of a plan that hold lists."""


@click.command("sweep")
@click.argument("model", metavar="MODEL")
@takes_request(*SWEEP, *WORK, *MEDIA, *SETUP)
@CSV
@PLOT
@CATALOG
@JSON
def sweep_command(
    model: str, given: Given, as_csv: bool, plot: Path | None, catalog: Path | None, as_json: bool
) -> None:
    """Show one quantity over one or two axes; every cell is an ordinary estimate.

    Axes: gpu, node, gpu-count, precision, batch-size, technique, region, country, engine, input-tokens,
    output-tokens, cached-input-tokens, active-share, pue, grid-gco2e-per-kwh, max-time-per-output-token-ms.
    Values are listed, 1,2,4; a range of whole numbers, 1..256, doubles.
    """
    from inferprint.cli.planning_text import sweep_csv_rows, sweep_text
    from inferprint.planning import axis_of, sweep
    from inferprint.planning.plot import check_plot, plot_sweep
    from inferprint.planning.sweep import DEFAULT_QUANTITY, check_beside

    if plot is not None:
        check_plot(plot)
    if not given.get("over"):
        raise InvalidInput("over", "is missing", hint="For example --over batch-size=1..64.")
    estimator = estimator_of(catalog)
    quantity = given.pop("quantity", DEFAULT_QUANTITY)
    axes = [axis_of(estimator.catalogue, text, cloud=given.get("cloud_id")) for text in given.pop("over")]
    check_beside(axes, given)
    # An axis fills its field in every cell; until then any of its values will do.
    filled = {axis.field: axis.values[0] for axis in axes if axis.field.endswith("_tokens")}
    request = request_from(model_id=model, **_usual_tokens(estimator.catalogue, model) | given | filled)
    found = sweep(request, axes, quantity, estimator)
    if plot is not None:
        plot_sweep(found, plot)
    if as_json:
        _print(found.to_dict())
    elif as_csv:
        _print_csv(sweep_csv_rows(found))
    else:
        print(sweep_text(found))


def _usual_tokens(catalogue: Catalogue, model: str) -> dict[str, float]:
    """Tokens of a usual request to a model on tokens; nothing where it makes pictures, video or sound."""
    from inferprint.catalogue import resolve_model
    from inferprint.rates.media import MediaReader, modality_of
    from inferprint.rates.situation import usual_lengths

    record = resolve_model(catalogue, model).model
    reader = MediaReader(catalogue, record, modality_of(catalogue, record))
    names = ("input_tokens", "output_tokens")
    needed = (reader.needs_tokens and reader.missing == "input_tokens", reader.needs_output_tokens)
    return {name: n for name, n, wanted in zip(names, usual_lengths(catalogue), needed, strict=True) if wanted}
