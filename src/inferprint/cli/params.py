"""The command that says how large a model is, and what that rests on."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import click

from inferprint.catalogue import Catalogue, Model, SizeFit, resolve_model
from inferprint.cli.options import CATALOG, JSON, catalogue_of
from inferprint.errors import FileProblem, InferprintError, InvalidInput
from inferprint.rates.model import named_sizes, no_size
from inferprint.rates.price import size_from_price
from inferprint.sizing.price import ANY_HOST, SizePrediction

FORMS = ("default", "output", "input", "both", "output+date", "both+date", "partial", "pooled", "seed")
TARGETS = ("total", "active")


@click.command("params")
@click.argument("model", metavar="[MODEL]", required=False)
@click.option("--form", type=click.Choice(FORMS), default="default", help="How prices are read.")
@click.option("--fit-report", "report_to", metavar="DIR", type=click.Path(path_type=Path), help="Write the fits.")
@click.option("--coverage", is_flag=True, help="Say which text models of the price list get no estimate, and why.")
@CATALOG
@JSON
def params_command(
    model: str | None, form: str, report_to: Path | None, coverage: bool, catalog: Path | None, as_json: bool
) -> None:
    """Print the size of a model: published, stated by its name, or predicted from its price, host by host."""
    if sum((model is not None, report_to is not None, coverage)) != 1:
        raise InvalidInput("model", "is missing, or one of too many", hint="MODEL, --fit-report DIR or --coverage.")
    catalogue = catalogue_of(catalog)
    if report_to is not None:
        found = write_report(report_to, catalogue)
        text = f"report: {found['report']}"
    elif coverage:
        found = coverage_of(catalogue)
        text = _coverage_text(found)
    else:
        found = params_of(catalogue, model or "", form)
        text = params_text(found)
    print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) if as_json else text)


def params_of(catalogue: Catalogue, name: str, form: str = "default") -> dict[str, Any]:
    """The size of a model as plain data.

    Raises
    ------
    UnknownName, Undisclosed
        There is no such model; nobody has disclosed its size, and its price says nothing.
    """
    model = resolve_model(catalogue, name).model
    known = model.total_params_b, model.active_params_b or model.total_params_b
    stated = named_sizes(model)
    head: dict[str, Any] = {"model": model.id, "catalogue": catalogue.version}
    if known[0] is not None:
        return {**head, "origin": "published", **dict(zip(TARGETS, known, strict=True)), **_source(model)}
    if stated[0] is not None:
        return {**head, "origin": "stated by the name", "total": stated[0], "active": stated[1] or stated[0]}
    predictions = {t: size_from_price(catalogue, model.id, t, form, model.release_date) for t in TARGETS}
    by_target = {target: found for target, found in predictions.items() if found is not None}
    if len(by_target) < len(TARGETS):
        raise no_size(model, sold=model.id in catalogue.prices)
    seeds = {t: size_from_price(catalogue, model.id, t, "seed", model.release_date) for t in TARGETS}
    warnings = [
        f"the {target} size is extrapolated: the price lies outside those of the models fitted at every host"
        for target, found in by_target.items()
        if found.extrapolated
    ]
    rule = catalogue.prices[model.id].rule
    warnings += [f"the price is no plain one: {rule}"] if rule else []
    parts = {target: _prediction(found, seeds[target]) for target, found in by_target.items()}
    return {**head, "origin": "inferred from price", **parts, "warnings": warnings}


def _source(model: Model) -> dict[str, Any]:
    origin = model.origin("total_params_b")
    return {"source": origin.source, "date": origin.date, "price_used": False}


def _prediction(found: SizePrediction, seed: SizePrediction | None) -> dict[str, Any]:
    hosts = [
        {
            "host": host.offer.host,
            "input_usd_per_mtok": host.offer.input_usd,
            "output_usd_per_mtok": host.offer.output_usd,
            "since": host.offer.since,
            "params_b": host.size_b,
            "standard_error_log": host.standard_error,
            "weight": host.weight,
            "extrapolated": host.extrapolated,
        }
        for host in found.hosts
    ]
    return {
        "form": found.form,
        "params_b": found.size_b._asdict(),
        "upper_b": found.upper_b,
        "seed": seed.size_b._asdict() if seed is not None else None,
        "extrapolated": found.extrapolated,
        "hosts": hosts,
    }


def params_text(found: dict[str, Any]) -> str:
    """The size of a model for a terminal."""
    from inferprint.cli.text import table

    if found["origin"] != "inferred from price":
        origin = f"{found['origin']} ({found['source']}, {found['date']})" if "source" in found else found["origin"]
        sizes = f"total {found['total']:g}, active {found['active']:g} billion parameters"
        return f"{found['model']}: {sizes}, {origin}\nits price is not used"
    lines = [f"{found['model']}: not disclosed, predicted from its price; billions of parameters"]
    for target in TARGETS:
        part = found[target]
        lines += ["", f"{target}: {_size(part['params_b'])}, form {part['form']}"]
        lines.append(f"  conservative upper bound {part['upper_b']:.3g}")
        seed = part["seed"]
        lines.append(
            f"  the seed's method: {_size(seed)}" if seed else "  the seed's method: no host with a regression"
        )
        rows = [["host", "USD per M in/out", "since", "predicted", "SE of ln", "weight", ""]]
        for host in part["hosts"]:
            price = f"{host['input_usd_per_mtok']:g}/{host['output_usd_per_mtok']:g}"
            flag = "extrapolated" if host["extrapolated"] else ""
            numbers = [f"{host['params_b']:.3g}", f"{host['standard_error_log']:.2f}", f"{host['weight']:.1%}"]
            rows.append([host["host"], price, host["since"], *numbers, flag])
        lines.append(table(rows, indent=2))
    return "\n".join([*lines, *(f"warning: {text}" for text in found["warnings"])])


def _size(size: dict[str, float]) -> str:
    return f"{size['value']:.3g} [{size['low']:.3g} - {size['high']:.3g}]"


def listed_models(catalogue: Catalogue) -> list[Model]:
    """Models for text that the price list names, by id; what is sold for sound, pictures or pages is none."""
    found = (model for model in catalogue.models.values() if model.text_generation and model.modality == "text")
    named = (m for m in found if m.id in catalogue.prices or m.origin("developer").source == "genai-prices")
    return sorted(named, key=lambda model: model.id)


def coverage_of(catalogue: Catalogue) -> dict[str, Any]:
    """How many text models of the price list get an estimate, and why the others do not."""
    from inferprint.cli.progress import progress
    from inferprint.estimate import Estimator, Request

    listed = listed_models(catalogue)
    estimator, refused = Estimator(catalogue), []
    with progress() as report:
        for done, model in enumerate(listed, 1):
            try:
                estimator.estimate(Request(model_id=model.id, input_tokens=1000, output_tokens=300))
            except InferprintError as error:
                refused.append({"model": model.id, "reason": error.message})
            if report is not None:
                report(done, len(listed))
    share = 100.0 * (1.0 - len(refused) / len(listed)) if listed else None
    return {"models": len(listed), "estimated": len(listed) - len(refused), "share_pct": share, "refused": refused}


def _coverage_text(found: dict[str, Any]) -> str:
    share = f" ({found['share_pct']:.1f} %)" if found["share_pct"] is not None else ""
    lines = [f"{found['estimated']} of {found['models']} text models of the price list get an estimate{share}"]
    return "\n".join([*lines, *(f"  {item['model']}: {item['reason']}" for item in found["refused"])])


def write_report(folder: Path, catalogue: Catalogue) -> dict[str, Any]:
    """The fits as a table, what they did not see, and a plot of price against size for each host."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise FileProblem("matplotlib is not installed", hint="pip install 'inferprint[fit]'")
    fits = sorted(catalogue.size_fits.values(), key=lambda fit: fit.id)
    hosts = sorted({fit.host for fit in fits} - {ANY_HOST})
    lines = ["# Sizes from prices", "", f"Catalogue {catalogue.version}. ln(billions) = b0 + b1 x1 + ...", ""]
    lines += ["| target:form | host | models | coefficients | sigma | output USD per M |", "|---|---|---|---|---|---|"]
    lines += [_fit_row(catalogue, fit) for fit in fits]
    lines += ["", "## Not seen by the fits", "", *_excluded(), ""]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for host in hosts:
            if _plot(folder / f"{_file(host)}.png", catalogue, host):
                lines += [f"![{host}]({_file(host)}.png)"]
        path = folder / "report.md"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise FileProblem(f"cannot write into {folder}: {error}", hint="Name another folder.") from error
    return {"report": str(path), "hosts": hosts, "fits": len(fits), "excluded": dict(_rules())}


def _fit_row(catalogue: Catalogue, fit: SizeFit) -> str:
    names = ("1", *catalogue.size_forms[fit.form].inputs)
    terms = ", ".join(f"{name} {value:.3g}" for name, value in zip(names, fit.coefficients, strict=True))
    prices = f"{fit.least_usd_per_mtok:.3g} to {fit.most_usd_per_mtok:.3g}"
    return f"| {fit.form} | {fit.host} | {fit.models} | {terms} | {fit.sigma:.3g} | {prices} |"


def _file(host: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in host)


def _rules() -> Counter[str]:
    """Entries of the price list that no fit sees, by rule; nothing outside a source tree."""
    path = Path(__file__).resolve().parents[3] / "data" / "prices" / "excluded.csv"
    if not path.exists():
        return Counter()
    with path.open(encoding="utf-8", newline="") as stream:
        return Counter(row["rule"] for row in csv.DictReader(stream))


def _excluded() -> list[str]:
    rows = [f"| {rule} | {count} |" for rule, count in _rules().most_common()]
    return ["| rule | entries |", "|---|---|", *rows] if rows else ["The list stands in the source tree only."]


def _plot(path: Path, catalogue: Catalogue, host: str) -> bool:
    """Draw output price against total size of the models of known size at a host, with the fit."""
    from matplotlib.figure import Figure

    points = []
    for key, price in catalogue.prices.items():
        model = catalogue.models.get(key)
        if model is not None and model.total_params_b and host in price.output_usd_per_mtok and not price.rule:
            points.append((price.output_usd_per_mtok[host], model.total_params_b))
    fit = catalogue.size_fits.get(f"total:output:{host}")
    if not points:
        return False
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", title=host)
    axes.set(xlabel="output price [USD per million tokens]", ylabel="total size [1e9 parameters]")
    axes.plot(*zip(*points, strict=True), "o", alpha=0.6)
    if fit is not None:
        ends = (fit.least_usd_per_mtok, fit.most_usd_per_mtok)
        axes.plot(ends, [math.exp(fit.coefficients[0] + fit.coefficients[1] * math.log(usd)) for usd in ends])
    figure.savefig(path, dpi=100)
    return True
