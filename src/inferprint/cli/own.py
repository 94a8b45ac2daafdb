"""The command that makes a node of one's own from what was measured on it."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferprint.calibration.words import counted
from inferprint.cli.calibration import OBSERVATIONS, _needs, _print, _reasons
from inferprint.cli.options import JSON
from inferprint.errors import FileProblem, InvalidInput, UnknownName

if TYPE_CHECKING:
    from inferprint.calibration.observations import Observation
    from inferprint.calibration.own import Own, OwnForm
    from inferprint.calibration.own_files import Former
    from inferprint.catalogue import Catalogue, Node
    from inferprint.provenance.source import Provenance


class Amount(click.FloatRange):
    """A number of a range that is finite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what no comparison with a bound refuses."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not finite.", param, ctx)
        return number


ADDED = "add-node"


class CatalogCommand(click.Command):
    """`catalog KIND [QUERY]`, and `catalog add-node ...`, which has options of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Pass on to `add-node` where that is asked for."""
        if args[:1] == [ADDED]:
            return add_node_command.make_context(f"{info_name} {ADDED}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say below the options which command hangs on this one."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Commands"):
            summary = add_node_command.get_short_help_str(90)
            formatter.write_dl([(f"{ADDED} ID ...", f"{summary} See: {ctx.command_path} {ADDED} --help")])


@click.command(ADDED)
@click.argument("node_id", metavar="ID")
@OBSERVATIONS
@click.argument("more", nargs=-1, type=click.Path(path_type=Path))
@click.option("--gpu", "gpu_id", required=True, metavar="GPU", help="Its accelerator, by a name of the catalogue.")
@click.option("--gpu-count", type=click.IntRange(min=1), help="Accelerators in it; 1 where not given.")
@click.option("--host-idle-power-w", type=Amount(0.0), help="Power beside the accelerators without work [W].")
@click.option("--host-active-power-w", type=Amount(0.0), help="The same at work [W].")
@click.option("--host-embodied-kgco2e", type=Amount(0.0), help="Manufacture beside the accelerators [kgCO2e].")
@click.option("--use-life-years", type=Amount(0.0, min_open=True), help="Years that it is used.")
@click.option(
    "--active-share",
    type=Amount(0.0, 1.0, min_open=True),
    help="Share of its powered time with at least one request.",
)
@click.option("--date", type=click.DateTime(["%Y-%m-%d"]), help="Date of the coefficients; today where not given.")
@click.option(
    "--catalog", "folder", metavar="DIR", required=True, type=click.Path(path_type=Path), help="Folder to write into."
)
@JSON
def add_node_command(
    *,
    node_id: str,
    files: tuple[Path, ...],
    more: tuple[Path, ...],
    gpu_id: str,
    date: datetime.datetime | None,
    folder: Path,
    as_json: bool,
    **stated: Any,
) -> None:
    """Make a node of your own, with coefficients that are fitted to what was measured on it.

    Writes DIR/nodes/ID.toml and DIR/forms/ID.toml: with --catalog DIR --node ID every estimate uses them. Models and
    accelerators that the packaged catalogue lacks are read from DIR. Of a node that DIR holds, the coefficients are
    replaced; what was stated of it before and is not stated now stays.
    """
    _needs("fit", "scipy")
    from inferprint.calibration.fit import fingerprint
    from inferprint.calibration.observations import read_files
    from inferprint.calibration.own import learn_own
    from inferprint.calibration.own_files import former_of, own_source, write_own
    from inferprint.provenance.source import Provenance

    paths = [*files, *more]
    if not files:
        hint = "inferprint catalog add-node ID --observations FILE ..., as inferprint measure writes it."
        raise FileProblem(f"no measurements of {node_id}", hint=hint)
    base, node_id = _catalogue(folder, node_id)
    day = date.date() if date is not None else datetime.datetime.now(tz=datetime.UTC).date()
    source = own_source(node_id, paths)
    origin = Provenance(source.id, day.isoformat(), "medium", "")
    stated = {name: value for name, value in stated.items() if value is not None}
    with _saying_what_lacks(folder):
        node = _node(node_id, gpu_id, stated, base, origin)
    observations = read_files(paths, base, of_node=node.id, host_w=node.host_active_power_w)
    own = learn_own(node, observations, base, fingerprint(paths), origin)
    former = former_of(own, tuple(stated), base)
    notes = [*_notes(own.node, observations.kept), *_doubts(own.forms)]
    written = write_own(own, source, folder, base)
    if as_json:
        _print(_as_dict(own, written, former, notes))
    else:
        print(_as_text(own, written, former, notes))


def _catalogue(folder: Path, node_id: str) -> tuple[Catalogue, str]:
    """The default catalogue with the folder on top, where it holds something, and the id as written there.

    Raises
    ------
    InvalidInput
        The node is one of the packaged catalogue, another one has this name, or its id cannot be one.
    """
    from inferprint.catalogue.compose import fold
    from inferprint.catalogue.own import OWN_FORMS, check_node_id, own_form_id
    from inferprint.estimate import default_catalogue

    check_node_id("id", node_id)
    base = default_catalogue()
    whole = base.with_folder(folder) if _holds_records(folder) else base
    known = whole.names("nodes").get(fold(node_id))
    if known is None:
        return whole, node_id
    foreign = known in base.nodes and not any(own_form_id(name, known) in base.forms for name in OWN_FORMS)
    if foreign or fold(known) != fold(node_id):
        hint = f"Choose another id, such as my-{node_id.rpartition(':')[2]}."
        raise InvalidInput("id", f"'{node_id}' already is the node {known} of the catalogue", hint=hint)
    return whole, known


def _holds_records(folder: Path) -> bool:
    return folder.is_dir() and any(folder.rglob("*.toml"))


@contextmanager
def _saying_what_lacks(folder: Path) -> Iterator[None]:
    """Add to an unknown name that the folder, whose records it may be one of, holds none."""
    try:
        yield
    except UnknownName as error:
        if not _holds_records(folder):
            what = "holds no records" if folder.is_dir() else "does not exist"
            error.hint += f"\n  The folder of --catalog, {folder}, {what}."
        raise


def _node(node_id: str, gpu_id: str, stated: dict[str, Any], catalogue: Catalogue, origin: Provenance) -> Node:
    """The record of the machine: on a desk ("local:ID") or in a rack ("generic:ID"), else as its chip usually."""
    from inferprint.catalogue import Node, resolve_gpu
    from inferprint.quantities import Range
    from inferprint.rates.hosting import on_a_desk, why_not

    gpu = resolve_gpu(catalogue, gpu_id)
    if reason := why_not(gpu):
        raise InvalidInput("--gpu", reason, hint="Add a record of it with these values to DIR/gpus/.")
    cloud, usual = node_id.partition(":")[0], "local" if on_a_desk(gpu) else "generic"
    new = Node(
        id=node_id,
        cloud=cloud if cloud in ("local", "generic") else usual,
        instance=node_id.rpartition(":")[2],
        gpu_count=1,
        provenance={"": origin},
    )
    if "host_embodied_kgco2e" in stated:
        stated = {**stated, "host_embodied_kgco2e": Range.exact(stated["host_embodied_kgco2e"])}
    # What was stated when the node was made stands until it is stated anew.
    old = catalogue.nodes.get(node_id, new)
    node = replace(old, gpu=gpu.id, engine=None, provenance={"": origin}, **stated)
    _check_host(node)
    return node


def _check_host(node: Node) -> None:
    """Refuse a host that draws less at work than without."""
    idle, active = node.host_idle_power_w, node.host_active_power_w
    if idle is not None and active is not None and active < idle:
        raise InvalidInput(
            "--host-active-power-w",
            f"{active:g} W at work is less than the {idle:g} W without",
            hint="State both: --host-idle-power-w W --host-active-power-w W.",
        )


def _notes(node: Node, kept: Iterable[Observation]) -> list[str]:
    """What to look at again: rows measured on fewer accelerators than the node holds."""
    counts = {(item.source, item.row_id): item.setup.gpu_count or 1 for item in kept if item.setup.gpu_id == node.gpu}
    fewer = {count for count in counts.values() if count < node.gpu_count}
    if not fewer:
        return []
    rows = sum(count in fewer for count in counts.values())
    used = " or ".join(str(count) for count in sorted(fewer))
    which = "all rows" if rows == len(counts) else f"{rows} of {len(counts)} rows"
    held = f"{node.gpu_count} accelerators of {node.id}"
    return [f"{which} were measured on {used} of the {held}; --gpu-count says how many it holds"]


DOUBTFUL_PCT = 50.0
"""Median error of a node's own form on its own loads from which something is wrong with the rows."""


def _doubts(forms: Iterable[OwnForm]) -> list[str]:
    """What to check where a form of the node's own is no better than the general one, or bad."""
    notes = []
    for item in forms:
        own, general = item.unseen.mdape_pct, item.general.mdape_pct
        if own is None or general is None or (own <= general and own <= DOUBTFUL_PCT):
            continue
        beside = f", more than the {general:.1f} % of the general form" if own > general else ""
        what = f"{item.form.id} misses its own loads, each left out in turn, by {own:.1f} % at the median{beside}"
        notes.append(f"{what}: check {CHECKS[item.form.id.partition('.')[0]]}")
    return notes


CHECKS = {
    "duration": "--gpu, and model, format and lengths of the rows, and that the server did nothing else meanwhile",
    "energy": "--gpu and the meter, --host-active-power-w where it is at the wall, and that nothing else drew power",
}
"""What may be wrong with the rows of a form, by what it gives."""


def _as_dict(own: Own, written: list[Path], former: Former | None, notes: list[str]) -> dict[str, Any]:
    """What was made, as plain data."""
    return {
        "node": own.node.id,
        "engine": own.node.engine,
        "replaces": None if former is None else _former_as_dict(former),
        "notes": notes,
        "files": [str(path) for path in written],
        "forms": [_form(item) for item in own.forms],
        "general": own.general,
        "refused": [{"row_id": item.row_id, "quantity": item.quantity, "reason": item.reason} for item in own.refused],
    }


def _former_as_dict(former: Former) -> dict[str, Any]:
    changed = {name: {"from": before, "to": after} for name, (before, after) in former.changed.items()}
    return {**asdict(former), "changed": changed}


def _form(item: OwnForm) -> dict[str, Any]:
    """A form with its errors before and after."""
    bounds = {name: item.form.residual[f"model:{name}"] for name in item.models}
    return {
        "form": item.form.id,
        "rows": item.form.rows,
        "configurations": item.configurations,
        "models": list(item.models),
        "general_mdape_pct": item.general.mdape_pct,
        "own_mdape_pct": item.unseen.mdape_pct,
        "own_p90_ape_pct": item.unseen.p90_ape_pct,
        "residual": {name: {"low": value.low, "high": value.high} for name, value in bounds.items()},
    }


def _as_text(own: Own, written: list[Path], former: Former | None, notes: list[str]) -> str:
    """What was made, for reading."""
    lines = [f"{own.node.id}: {own.node.gpu_count} x {own.node.gpu}, {own.node.engine}"]
    lines += [] if former is None else [f"  {_former_as_text(own.node.id, former)}"]
    lines += [f"  {note}" for note in notes]
    lines += [
        f"  {form['form']}: {form['rows']} rows of {form['configurations']} loads; median error with the load left"
        f" out {form['own_mdape_pct']:.1f} %, before {form['general_mdape_pct']:.1f} %"
        for form in map(_form, own.forms)
    ]
    lines += [
        f"  {name}: not fitted: {reason}; energy is the node's own time at the power that is expected of such devices"
        for name, reason in own.general.items()
    ]
    if own.refused:
        lines.append(_reasons(own.refused))
    lines += [f"  {path}" for path in written]
    return "\n".join(
        [*lines, f"use it: inferprint estimate MODEL --node {own.node.id} --catalog {written[0].parents[1]} ..."]
    )


def _former_as_text(node_id: str, former: Former) -> str:
    """What a node replaces, in a line."""
    parts = [f"replaces {node_id} of {former.date}"]
    if former.rows:
        parts[0] += f", fitted to {counted(next(iter(former.rows.values())), 'row')}"
    if former.kept:
        parts.append("kept from it: " + ", ".join(f"{name} {_shown(value)}" for name, value in former.kept.items()))
    if former.changed:
        changes = (f"{name} {_shown(old)} to {_shown(new)}" for name, (old, new) in former.changed.items())
        parts.append("changed: " + ", ".join(changes))
    if former.lost:
        parts.append(f"lost: {', '.join(former.lost)}, for which these rows are too few")
    return "; ".join(parts)


def _shown(value: object) -> str:
    return "nothing" if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)
