"""The command that lists what the catalogue knows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from inferprint.cli.options import CATALOG, JSON, catalogue_of
from inferprint.cli.own import CatalogCommand
from inferprint.errors import InvalidInput

KINDS = (
    "models",
    "gpus",
    "nodes",
    "services",
    "speeds",
    "regions",
    "grids",
    "precisions",
    "techniques",
    "formats",
    "sources",
)


@click.command("catalog", cls=CatalogCommand)
@click.argument("kind", metavar="|".join(KINDS))
@click.argument("query", metavar="[QUERY]", default="")
@CATALOG
@JSON
def catalog_command(kind: str, query: str, catalog: Path | None, as_json: bool) -> None:
    """List what the catalogue knows; `catalog add-node` adds a machine of your own, with what was measured on it."""
    from inferprint.cli.listing import listing
    from inferprint.cli.text import table

    if kind not in KINDS:
        raise InvalidInput("kind", f"'{kind}' is not a kind of record", hint=f"One of {', '.join(KINDS)}.")
    rows = listing(catalogue_of(catalog), kind, query)
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    elif rows:
        print(table([[str(v) if v is not None else "-" for v in row.values()] for row in [_heads(rows), *rows]]))
    else:
        print(f"no {kind} contain '{query}'", file=sys.stderr)
        sys.exit(1)


def _heads(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: name for name in rows[0]}
