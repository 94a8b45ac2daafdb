"""Fill the generated blocks of README.md and of two pages of docs/ from what the commands really print.

python tools/readme.py [TRACES]           write; TRACES is the folder of the two Azure traces, for the second block
python tools/readme.py --check [TRACES]   exit with 1 where a block is not what the commands print
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CALIBRATION = ROOT / "docs" / "calibration.md"
METHOD = ROOT / "docs" / "method.md"
TRACES = ("AzureLLMInferenceTrace_conv.csv", "AzureLLMInferenceTrace_code.csv")
NODES = ("generic:hgx-h100-8", "generic:hgx-a100-80-8")


def _run(*arguments: str) -> str:
    """Standard output of the command line."""
    command = [sys.executable, "-m", "inferprint", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.rstrip()


def _example() -> str:
    """The output of the README's first estimate, which stands above the block."""
    text = README.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("inferprint estimate"))
    arguments = re.findall(r'"[^"]*"|\S+', line)[1:]
    return "```text\n" + _run(*(a.strip('"') for a in arguments)) + "\n```"


def _traces(folder: Path) -> str:
    """Summaries of both traces on each node."""
    blocks = []
    for node in NODES:
        with tempfile.TemporaryDirectory() as temporary:
            names = {"input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens", "utc_datetime": "TIMESTAMP"}
            columns = [part for field, name in names.items() for part in ("--column", f"{field}={name}")]
            files = [str(folder / name) for name in TRACES]
            setup = ("--model", "llama-2-70b", "--node", node, "--country", "US", "--out", f"{temporary}/out")
            summary = _run("run", *files, *columns, *setup)
        lines = [line.replace(f"{folder}/", "") for line in summary.splitlines() if temporary not in line]
        blocks.append(f"`--model llama-2-70b --node {node} --country US`:\n\n```text\n" + "\n".join(lines) + "\n```")
    return "\n\n".join(blocks)


QUANTITIES = {
    ("single_request_duration", "all"): "duration of one request alone",
    ("served_time_per_token", "all"): "time per output token, served in batches",
    ("energy_per_output_token", "ML.ENERGY v2, v3"): "GPU energy per output token, served in batches",
    ("image_energy", "all"): "GPU energy of a picture",
    ("image_time", "all"): "time of a pass of pictures",
    ("video_energy", "all"): "GPU energy of a clip",
    ("video_time", "all"): "time of a pass of clips",
}
"""What the README's table shows, of the quantities and rows in data/validation.json."""


def _validation() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROOT / "data" / "validation.json").read_text(encoding="utf-8"))[
        "left_out"
    ]
    return found


def _summary() -> str:
    """Errors on models left out: the default form, the two-term form and the peer, one line a quantity."""
    lines = [
        "| quantity | rows | default | two-term | EcoLogits | within the 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for (quantity, rows_of), name in QUANTITIES.items():
        rows = [row for row in _validation() if (row["quantity"], row["rows_of"]) == (quantity, rows_of)]
        by_form = {row["form"]: row for row in rows if row["left_out"] in ("model", "nothing")}
        errors = [
            f"{by_form[form]['mdape_pct']:.1f} / {by_form[form]['p90_ape_pct']:.0f} %" if form in by_form else "-"
            for form in ("default", "two-term", "ecologits")
        ]
        default = by_form["default"]
        cells = [name, f"{default['rows']:,}", *errors, f"{default['coverage95_pct']:.0f} %"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _results() -> str:
    """Errors of the forms on what they have not seen, from data/validation.json."""
    peers = {"ecologits": "EcoLogits, true batch and devices", "ecologits-defaults": "EcoLogits, its defaults"}
    lines = [
        "| quantity | rows | left out | form | median error | 90th percentile | bias | within 95 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in _validation():
        name = row["quantity"].replace("_", " ") + ("" if row["rows_of"] == "all" else f", {row['rows_of']}")
        form = peers.get(row["form"], row["form"])
        left = "-" if row["left_out"] == "nothing" else f"one {row['left_out']}"
        numbers = [f"{row[key]:.1f} %" for key in ("mdape_pct", "p90_ape_pct", "bias_pct")]
        within = "-" if row["coverage95_pct"] is None else f"{row['coverage95_pct']:.1f} %"
        lines.append("| " + " | ".join([name, f"{row['rows']:,}", left, form, *numbers, within]) + " |")
    return "\n".join(lines)


def _sizes() -> str:
    """Errors of sizes from prices on families left out, from data/validation.json."""
    text = (ROOT / "data" / "validation.json").read_text(encoding="utf-8")
    lines = ["| size, form | models | median factor | within 2x | in the interval | below upper | upper / true |"]
    lines.append("|---" * 7 + "|")
    for row in json.loads(text)["sizes"]:
        if row["left_out"] == "family":
            shares = [f"{row[name]:.1f} %" for name in ("within2x_pct", "coverage95_pct", "upper_coverage_pct")]
            cells = [f"{row['target']}, {row['form']}", str(row["models"]), f"{row['median_factor']:.2f}", *shares]
            lines.append("| " + " | ".join([*cells, f"{row['upper_over_true']:.1f}"]) + " |")
    return "\n".join(lines)


def _operating_points() -> str:
    """Errors of throughput and energy at the batch found under a limit, from data/validation.json."""
    text = (ROOT / "data" / "validation.json").read_text(encoding="utf-8")
    lines = ["| quantity | rows | median factor | 90th percentile | bias | in the interval |", "|---" * 6 + "|"]
    for row in json.loads(text)["operating_points"]:
        name = row["quantity"].replace("_", " ") + ("" if row["rows_of"] == "all" else f", {row['rows_of']}")
        factors = [f"{row[key]:.2f}" for key in ("median_factor", "p90_factor")]
        shares = [f"{row[key]:.1f} %" for key in ("bias_pct", "coverage95_pct")]
        lines.append("| " + " | ".join([name, f"{row['rows']:,}", *factors, *shares]) + " |")
    return "\n".join(lines)


def _filled(text: str, name: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def main() -> int:
    """Write, or compare with --check."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    text = README.read_text(encoding="utf-8")
    wanted = _filled(text, "example", _example())
    wanted = _filled(wanted, "results", _summary())
    if arguments:
        wanted = _filled(wanted, "azure", _traces(Path(arguments[0])))
    page = CALIBRATION.read_text(encoding="utf-8")
    wanted_page = _filled(_filled(page, "results", _results()), "operating-points", _operating_points())
    method = METHOD.read_text(encoding="utf-8")
    wanted_method = _filled(method, "sizes", _sizes())
    if "--check" not in sys.argv:
        README.write_text(wanted, encoding="utf-8")
        CALIBRATION.write_text(wanted_page, encoding="utf-8")
        METHOD.write_text(wanted_method, encoding="utf-8")
    elif (wanted, wanted_page, wanted_method) != (text, page, method):
        print("README.md, docs/calibration.md or docs/method.md is stale: run python tools/readme.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
