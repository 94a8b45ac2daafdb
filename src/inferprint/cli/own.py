"""The command that makes a node of one's own from what was measured on it."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferprint.cli.calibration import OBSERVATIONS, _needs, _print, _reasons
from inferprint.cli.options import JSON
from inferprint.errors import FileProblem, InvalidInput

if TYPE_CHECKING:
    from inferprint.calibration.own import Own, OwnForm
    from inferprint.catalogue import Catalogue, Node
    from inferprint.provenance.source import Provenance

POSITIVE = click.FloatRange(min=0.0)

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


@click.command(ADDED)
@click.argument("node_id", metavar="ID")
@OBSERVATIONS
@click.argument("more", nargs=-1, type=click.Path(path_type=Path))
@click.option("--gpu", "gpu_id", required=True, metavar="GPU", help="Its accelerator, by a name of the catalogue.")
@click.option("--gpu-count", type=click.IntRange(min=1), default=1, show_default=True, help="Accelerators in it.")
@click.option("--host-idle-power-w", type=POSITIVE, help="Power beside the accelerators without work [W].")
@click.option("--host-active-power-w", type=POSITIVE, help="The same at work [W].")
@click.option("--host-embodied-kgco2e", type=POSITIVE, help="Manufacture beside the accelerators [kgCO2e].")
@click.option("--use-life-years", type=click.FloatRange(min=0.0, min_open=True), help="Years that it is used.")
@click.option(
    "--active-share",
    type=click.FloatRange(0.0, 1.0, min_open=True),
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
    gpu_count: int,
    date: datetime.datetime | None,
    folder: Path,
    as_json: bool,
    **host: float | None,
) -> None:
    """Make a node of your own, with coefficients that are fitted to what was measured on it.

    Writes DIR/nodes/ID.toml and DIR/forms/ID.toml: with --catalog DIR --node ID every estimate uses them. Models and
    accelerators that the packaged catalogue lacks are read from DIR.
    """
    _needs("fit", "scipy")
    from inferprint.calibration.fit import fingerprint
    from inferprint.calibration.observations import read_files
    from inferprint.calibration.own import learn_own
    from inferprint.calibration.own_files import own_source, write_own
    from inferprint.provenance.source import Provenance

    paths = [*files, *more]
    if not files:
        hint = "inferprint catalog add-node ID --observations FILE ..., as inferprint measure writes it."
        raise FileProblem(f"no measurements of {node_id}", hint=hint)
    base = _catalogue(folder, node_id)
    day = date.date() if date is not None else datetime.datetime.now(tz=datetime.UTC).date()
    source = own_source(node_id, paths)
    origin = Provenance(source.id, day.isoformat(), "medium", "")
    node = _node(node_id, (gpu_id, gpu_count), host, base, origin)
    observations = read_files(paths, base, of_node=node.id, host_w=node.host_active_power_w)
    own = learn_own(node, observations, base, fingerprint(paths), origin)
    written = write_own(own, source, folder, base)
    if as_json:
        _print(_as_dict(own, written))
    else:
        print(_as_text(own, written))


def _catalogue(folder: Path, node_id: str) -> Catalogue:
    """The default catalogue with the folder on top, where it holds something.

    Raises
    ------
    InvalidInput
        The node is one of the packaged catalogue, or its id cannot be one.
    """
    from inferprint.estimate import default_catalogue

    base = default_catalogue()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", node_id):
        hint = "Letters, digits, '.', '_', ':' and '-', at most 64, beginning with a letter or digit."
        raise InvalidInput("node_id", f"'{node_id}' cannot be the id of a node", hint=hint)
    from inferprint.catalogue.compose import fold

    known = base.names("nodes").get(fold(node_id))
    if (
        known is not None
        and f"duration.served@{known}" not in base.forms
        and f"duration.single@{known}" not in base.forms
    ):
        hint = f"Choose another id, such as my-{node_id.rpartition(':')[2]}."
        raise InvalidInput("node_id", f"'{node_id}' already is the node {known} of the catalogue", hint=hint)
    return base.with_folder(folder) if folder.is_dir() and any(folder.rglob("*.toml")) else base


def _node(
    node_id: str, devices: tuple[str, int], host: dict[str, Any], catalogue: Catalogue, origin: Provenance
) -> Node:
    """The record of the machine: on a desk ("local:ID") or in a rack ("generic:ID"), else as its chip usually."""
    from inferprint.catalogue import Node, resolve_gpu
    from inferprint.quantities import Range
    from inferprint.rates.hosting import on_a_desk, why_not

    gpu = resolve_gpu(catalogue, devices[0])
    if reason := why_not(gpu):
        raise InvalidInput("gpu_id", reason, hint="Add a record of it with these values to DIR/gpus/.")
    stated, old = node_id.partition(":")[0], catalogue.nodes.get(node_id)
    # What was stated when the node was made stands until it is stated anew.
    host = {name: getattr(old, name, None) if value is None else value for name, value in host.items()}
    kg = host["host_embodied_kgco2e"]
    return Node(
        id=node_id,
        cloud=stated if stated in ("local", "generic") else "local" if on_a_desk(gpu) else "generic",
        instance=node_id.rpartition(":")[2],
        gpu=gpu.id,
        gpu_count=devices[1],
        host_idle_power_w=host["host_idle_power_w"],
        host_active_power_w=host["host_active_power_w"],
        host_embodied_kgco2e=Range.exact(kg) if isinstance(kg, int | float) else kg,
        use_life_years=host["use_life_years"],
        active_share=host["active_share"],
        provenance={"": origin},
    )


def _as_dict(own: Own, written: list[Path]) -> dict[str, Any]:
    """What was made, as plain data."""
    return {
        "node": own.node.id,
        "engine": own.node.engine,
        "files": [str(path) for path in written],
        "forms": [_form(item) for item in own.forms],
        "general": own.general,
        "refused": [{"row_id": item.row_id, "quantity": item.quantity, "reason": item.reason} for item in own.refused],
    }


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


def _as_text(own: Own, written: list[Path]) -> str:
    """What was made, for reading."""
    lines = [f"{own.node.id}: {own.node.gpu_count} x {own.node.gpu}, {own.node.engine}"]
    lines += [
        f"  {form['form']}: {form['rows']} rows of {form['configurations']} loads; median error with the load left"
        f" out {form['own_mdape_pct']:.1f} %, before {form['general_mdape_pct']:.1f} %"
        for form in map(_form, own.forms)
    ]
    lines += [
        f"  {name}: the general form stays, as there is too little energy to learn from: {reason}"
        for name, reason in own.general.items()
    ]
    if own.refused:
        lines.append(_reasons(own.refused))
    lines += [f"  {path}" for path in written]
    return "\n".join(
        [*lines, f"use it: inferprint estimate MODEL --node {own.node.id} --catalog {written[0].parents[1]} ..."]
    )
