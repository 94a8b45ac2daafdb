"""Clean the pinned price list: what each host asks for a model, in USD per million tokens.

python tools/prices.py            write data/prices/prices.toml and data/prices/excluded.csv
python tools/prices.py --check    fail when they are not what the price list gives

An entry that is no plain price of a model is excluded by a named rule. Tiers: the base. Several entries of one model at
one host: the median of logs.
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from inferprint.catalogue.compose import model_key
from match_prices import RELEASE_DATE, entry_names, listed, matched, record_of

ROOT = Path(__file__).resolve().parent.parent
PRICES = ROOT / "data" / "prices" / "prices.toml"
EXCLUDED = ROOT / "data" / "prices" / "excluded.csv"

_ROLLING = re.compile(r"(-latest$|^~)")
_TIER = re.compile(
    r"(:free|-free$|:batch|-batch$|-fast(-us)?$|-ultrafast|-priority|:nitro|:exacto|:floor|-us$|-highspeed|-flex)"
)


class Entry(NamedTuple):
    """One price: host, model, USD per million tokens in and out, the day it holds from; why it is no plain one."""

    host: str
    model: str
    input_usd: float
    output_usd: float
    since: str
    rule: str = ""


class Excluded(NamedTuple):
    """An entry that no fit sees, and the rule."""

    host: str
    name: str
    rule: str


def _base(price: Any) -> float | None:
    """A price, or the lowest tier of one that rises with the length."""
    return None if price is None else float(getattr(price, "base", price))


def _current(prices: Any, day: datetime.date) -> tuple[Any, str]:
    """The prices that hold on a day at any hour, and since when."""
    if not isinstance(prices, list):
        return prices, ""
    found, since = None, ""
    for item in prices:
        start = getattr(item.constraint, "start_date", None)
        if item.constraint is None and found is None:
            found = item.prices
        elif start is not None and start <= day:
            found, since = item.prices, start.isoformat()
    return found, since


def _rule(name: str, paid: float | None, asked: float | None) -> str:
    """Why an entry is no plain price; empty where it is one. `paid` and `asked` are its input and output prices."""
    if _ROLLING.search(name):
        return "rolling alias"
    if _TIER.search(name):
        return "free, batch, fast, priority or US-only tier"
    if asked is None or paid is None:
        return "no input price" if paid is None else "no output price"
    return "price of zero" if asked <= 0 or paid <= 0 else ""


def cleaned(
    entries: Iterable[tuple[str, Any]], models: dict[str, str], day: datetime.date
) -> tuple[list[Entry], list[Excluded]]:
    """Prices of a list, and what is left out of the fits.

    A model without a plain price keeps what else is listed for it, marked by the rule: the price of an alias, of a
    tier, of the entry that names it, or the one of input and output that is there. Those predict; no fit sees them.

    Parameters
    ----------
    entries
        Host and entry of the price list.
    models
        Folded name to id of the model; a name that is none of these is left out.
    """
    kept, out, second = [], [], []
    for host, entry in entries:
        prices, since = _current(entry.prices, day)
        paid, asked = (None, None) if prices is None else (_base(prices.input_mtok), _base(prices.output_mtok))
        rule = _rule(entry.id, paid, asked)
        model = models.get(model_key(entry.id))
        if not rule and model is None:
            rule = "names no model"
        if rule or model is None or paid is None or asked is None:
            out.append(Excluded(host, entry.id, rule))
        elif not rule:
            kept.append(Entry(host, model, paid, asked, since))
        if paid or asked:
            both = (paid or asked or 0.0, asked or paid or 0.0)
            second += [
                Entry(host, other, *both, since, rule if other == model else rule or "listed under another name")
                for other in dict.fromkeys(models.get(model_key(name)) for name in entry_names(entry))
                if other is not None
            ]
    plain = {entry.model for entry in kept}
    return kept + [entry for entry in second if entry.model not in plain], out


def model_names() -> dict[str, str]:
    """Folded name of every model that the list names, to its id; routers and the like are none."""
    names, closed = matched()
    found = {model_key(name): key for models in names.values() for key, group in models.items() for name in group}
    for key, priced in closed.items():
        found |= {model_key(name): record_of(key, priced)["id"] for name in priced.names}
    return found


def combined(entries: Iterable[Entry]) -> dict[str, dict[str, tuple[float, float, str, str]]]:
    """Model to host to input price, output price, day and rule: several entries of one model at one host are one."""
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.model, entry.host].append(entry)
    found: dict[str, dict[str, tuple[float, float, str, str]]] = defaultdict(dict)
    for (model, host), group in sorted(groups.items()):
        paid, asked = (
            math.exp(statistics.median(math.log(value) for value in values))
            for values in ([e.input_usd for e in group], [e.output_usd for e in group])
        )
        found[model][host] = paid, asked, max(e.since for e in group), group[0].rule
    return found


def prices_text(found: dict[str, dict[str, tuple[float, float, str, str]]]) -> str:
    """The data file of cleaned prices."""
    lines = [
        "# What hosts ask for a model, USD per million tokens. Written by tools/prices.py from the pinned price list.",
        "",
        'source = "genai-prices"',
        f'date = "{RELEASE_DATE}"',
        'quality = "medium"',
    ]
    for model, hosts in sorted(found.items()):
        lines += ["", "[[price]]", f'id = "{model}"']
        for name, index in (("input_usd_per_mtok", 0), ("output_usd_per_mtok", 1)):
            lines.append(f"{name} = {{ " + ", ".join(f'"{h}" = {v[index]:.6g}' for h, v in hosts.items()) + " }")
        since = {h: v[2] for h, v in hosts.items() if v[2]}
        if since:
            lines.append("since = { " + ", ".join(f'"{h}" = "{day}"' for h, day in since.items()) + " }")
        rules = sorted({v[3] for v in hosts.values() if v[3]})
        if rules:
            lines.append(f'rule = "{"; ".join(rules)}"')
    return "\n".join(lines) + "\n"


def excluded_text(found: Iterable[Excluded]) -> str:
    """The list of entries that are left out."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(Excluded._fields)
    writer.writerows(sorted(set(found)))
    return stream.getvalue()


def files() -> Iterator[tuple[Path, str]]:
    """Path and text of what this tool writes."""
    kept, out = cleaned(listed(), model_names(), datetime.date.fromisoformat(RELEASE_DATE))
    yield PRICES, prices_text(combined(kept))
    yield EXCLUDED, excluded_text(out)


def main() -> int:
    """Write, or compare with --check."""
    stale = 0
    for path, text in files():
        if "--check" not in sys.argv[1:]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path.relative_to(ROOT)} is not what the price list gives: run 'make data'", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
