"""Energy on machines of which times alone were measured, against the general energy form.

Of every source, accelerator, count and engine with enough served rows a node is made from its times alone; its energy
is then scored on the energies that were measured there, which the node has not seen. The general form was fitted on
them, so it is favoured. Half a minute.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from inferprint import Catalogue
from inferprint.calibration.observations import Observation, Observations, read_own
from inferprint.calibration.own import learn_own
from inferprint.calibration.scores import Score, score
from inferprint.calibration.validate import validate
from inferprint.catalogue import Node
from inferprint.provenance.source import Provenance

LEAST_ROWS = 20
NODE = "measured-here"


def machines(observations: Observations) -> dict[tuple[str, str, int, str], Observations]:
    """Served rows by source, accelerator, count and engine."""
    found: dict[tuple[str, str, int, str], Observations] = defaultdict(Observations)
    for item in observations.kept:
        if item.quantity in ("energy_per_output_token", "served_time_per_token"):
            setup = item.setup
            key = (item.source, setup.gpu_id or "", setup.gpu_count or 1, setup.engine or "")
            found[key].kept.append(item)
    return found


def with_own_times(rows: Observations, gpu: str, count: int, catalogue: Catalogue) -> Catalogue:
    """The catalogue with a node whose times are fitted to the rows."""
    origin = Provenance("calibration", "2026-11-30", "medium", "")
    node = Node(
        id=NODE, cloud="generic", instance=NODE, gpu=gpu, gpu_count=count,
        host_idle_power_w=100.0, host_active_power_w=150.0, provenance={"": origin},
    )  # fmt: skip
    own = learn_own(node, Observations(rows.of("served_time_per_token")), catalogue, "", origin)
    return catalogue.with_records(own.node, *(item.form for item in own.forms))


def scored(items: Sequence[Observation], catalogue: Catalogue) -> Score:
    """Errors of the energy of the accelerators."""
    judged = validate(Observations(list(items)), catalogue).judged
    value, low, high = np.array([row.default for row in judged]).T
    return score(np.array([row.item.measured for row in judged]), value, low, high)


def main() -> None:
    """Score every machine, and all together."""
    catalogue = Catalogue.packaged()
    found = []
    for (source, gpu, count, engine), rows in sorted(machines(read_own(catalogue)).items()):
        energies = rows.of("energy_per_output_token")
        if min(len(energies), len(rows.of("served_time_per_token"))) < LEAST_ROWS:
            continue
        here = [replace(item, setup=replace(item.setup, node_id=NODE)) for item in energies]
        general, own = scored(energies, catalogue), scored(here, with_own_times(rows, gpu, count, catalogue))
        found.append((general, own))
        print(
            f"{source:<16}{count} x {gpu:<16}{engine:<10} {len(energies):>4} rows   general {general.mdape_pct:5.1f} %,"
            f" {general.coverage95_pct:5.1f} % inside   own times {own.mdape_pct:5.1f} %,"
            f" {own.coverage95_pct:5.1f} % inside"
        )
    for name, column in (("general", 0), ("own times", 1)):
        middle = np.median([pair[column].mdape_pct for pair in found])
        inside = np.mean([pair[column].coverage95_pct for pair in found])
        print(f"{name:<10} median error over {len(found)} machines {middle:.1f} %, {inside:.1f} % inside 95 %")


if __name__ == "__main__":
    main()
