"""Write what the documentation shows from the catalogue and the program; `--check` fails when the two differ.

The coefficients in method.md stand between `<!-- coefficients -->` markers, the measurements in calibration.md between
`<!-- sources -->` markers, the techniques in techniques.md between `<!-- techniques -->` markers, the formats of logs in
logs.md between `<!-- formats -->` markers. A `text` block
under `<!-- output -->` is what the command in the block above it prints, without the line of versions. A `text` block
that begins with a command after a `$` shows a refusal. A block under `<!-- file PATH -->` is that file. `openapi.json`
is what the server publishes.
"""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from inferprint import Catalogue
from inferprint.calibration.observations import read_own
from inferprint.catalogue import Form
from inferprint.quantities import Z95
from inferprint.techniques.apply import available
from inferprint.techniques.base import STAGES, Parameter, Technique
from inferprint.usage.formats import formats

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
OPENAPI = DOCS / "openapi.json"
TABLE = re.compile(r"(<!-- coefficients -->\n).*?(<!-- /coefficients -->)", re.DOTALL)
SOURCES = re.compile(r"(<!-- sources -->\n).*?(<!-- /sources -->)", re.DOTALL)
FORMATS = re.compile(r"(<!-- formats -->\n).*?(<!-- /formats -->)", re.DOTALL)
TECHNIQUES = re.compile(r"(<!-- techniques -->\n).*?(<!-- /techniques -->)", re.DOTALL)
OUTPUT = re.compile(r"```sh\n(?P<command>[^`]*?)```\n\n<!-- output -->\n```text\n(?P<output>.*?)```", re.DOTALL)
FILE = re.compile(r"(<!-- file (?P<path>\S+) -->\n```\w+\n).*?(```)", re.DOTALL)
REFUSAL = re.compile(r"```text\n\$ (?P<command>inferprint [^\n]*)\n(?P<output>.*?)```", re.DOTALL)
VERSIONS = re.compile(r"^inferprint [0-9.]+, catalogue .*\n", re.MULTILINE)


SECONDS = ("layers", "sequences", "media_prompts", "layer_exchanges")
"""How the names of terms end that are counts: their coefficient is in seconds each."""


PROPORTIONAL = ("work:peak",)
"""Effects that are proportional to the logarithm of a ratio: an exponent of it, not a factor."""

TEXT_FORMS = ("energy.served", "duration.served", "duration.single", "two-term")
MEDIA_FORMS = ("energy.media", "duration.media")


def coefficients(catalogue: Catalogue) -> str:
    """The learned forms of the catalogue as Markdown tables: terms, effects, errors."""
    lines = _tables([catalogue.forms[name] for name in TEXT_FORMS])
    lines += ["", "Of [pictures and clips](#pictures-video-sound):", ""]
    lines += _tables([catalogue.forms[name] for name in MEDIA_FORMS])
    wall = catalogue.forms["wall"]
    value, low, high = (f"{number:.0f}" for number in wall.terms["server"])
    lines += ["", f"`wall`: a server draws {value} W ({low} to {high}) beside its GPUs; {wall.rows} measured values."]
    return "\n".join(lines) + "\n"


def _tables(forms: list[Form]) -> list[str]:
    """Terms, effects and errors of forms that are shown side by side."""
    head = ["| {} | " + " | ".join(f"`{form.id}`" for form in forms) + " |", "|---|" + "---|" * len(forms)]

    def table(title: str, names: list[str], cell: Callable[[Form, str], str]) -> list[str]:
        rows = [f"| {name} | " + " | ".join(cell(form, name.strip("`")) for form in forms) + " |" for name in names]
        return [head[0].format(title), head[1], *rows]

    terms = [f"`{term}`" for term in sorted({term for form in forms for term in form.terms})]
    effects = sorted({f"`{effect}`" for form in forms for effect in form.effects})
    kinds = list(dict.fromkeys(kind for form in forms for kind in form.residual))
    lines = table("coefficient", terms, _term)
    lines.append("| measured values | " + " | ".join(f"{form.rows:,}" for form in forms) + " |")
    exponents = any(effect.strip("`") in PROPORTIONAL for effect in effects)
    how = "`work:peak` as the exponent of `A_16 / 989 TFLOP/s`" if exponents else "as factors"
    lines += ["", f"Effects, {how}:", "", *table("group:name", effects, _effect)]
    lines += ["", "What is measured over what is predicted, on models left out, 95 %:", ""]
    return [*lines, *table("kind of case", kinds, _residual)]


def _term(form: Form, term: str) -> str:
    """A coefficient with its 95 % interval; "held" where it lies at a bound of the fit."""
    if term not in form.terms:
        return "-"
    value, low, high = form.terms[term]
    factor, unit = 1.0, ""
    if term.endswith(SECONDS):
        factor, unit = (1e3, " ms") if value >= 1e-3 else (1e6, " µs")
    if low == high:
        return f"{value * factor:.3g}{unit}, held"
    return f"{value * factor:.3g}{unit} ({low * factor:.3g} to {high * factor:.3g})"


def _effect(form: Form, name: str) -> str:
    """An effect with its 95 % interval, from the covariance of the logarithms."""
    if name not in form.effects:
        return "-"
    order = [*sorted(form.terms), *sorted(form.effects)]
    index = order.index(name)
    width = Z95 * math.sqrt(form.covariance[index * (index + 3) // 2])
    effect = form.effects[name]
    value, low, high = (_shown(name, number) for number in (effect, effect - width, effect + width))
    return f"{value} ({low} to {high})" if width else f"{value}, held"


def _shown(name: str, effect: float) -> str:
    """An effect as a factor, or as the exponent that it is."""
    return f"{effect if name in PROPORTIONAL else math.exp(effect):.3g}"


def _residual(form: Form, kind: str) -> str:
    if kind not in form.residual:
        return "-"
    bounds = form.residual[kind]
    return f"{math.exp(bounds.low):.2f} to {math.exp(bounds.high):.3g}"


def sources() -> str:
    """The measurements as a Markdown table: where they are from, and how many values are fitted, checked, refused."""
    found = read_own(Catalogue.packaged())
    fitted = Counter((item.source, item.quantity) for item in found.kept if item.weight > 0)
    checked = Counter((item.source, item.quantity) for item in found.kept if item.weight == 0)
    refused = Counter(item.source.partition("-power-")[0] for item in found.refused)
    lines = ["| source | measured | rows | fitted | only checked | refused values |", "|---|---|---|---|---|---|"]
    for path in sorted((ROOT / "data" / "benchmarks").glob("*/source.toml")):
        stated = tomllib.loads(path.read_text(encoding="utf-8"))
        rows = 0
        for table in path.parent.glob("*.csv"):
            with table.open(encoding="utf-8", newline="") as stream:
                rows += sum(1 for _ in csv.DictReader(stream))
        first, last = stated["date"]["first"], stated["date"]["last"]
        when = first if first == last else f"{first} to {last}"
        source = path.parent.name
        uses = [_uses(counts, source) for counts in (fitted, checked)]
        name = f"[{stated['title']}](../data/benchmarks/{source}/source.toml)"
        out = refused[source.partition("-power")[0] if source == "mlperf-power" else source]
        lines.append(f"| {name} | {when} | {rows:,} | {uses[0]} | {uses[1]} | {out:,} |")
    return "\n".join(lines) + "\n"


def _uses(counts: Mapping[tuple[str, str], int], source: str) -> str:
    """Values of a source by quantity."""
    own = {quantity: n for (name, quantity), n in counts.items() if name == source}
    return ", ".join(f"{n:,} {quantity.replace('_', ' ')}" for quantity, n in own.items()) or "-"


def techniques() -> str:
    """The built-in techniques as a Markdown table, in the order in which they are applied."""
    own = [t for t in available().values() if _built_in(t)]
    lines = ["| technique | stage | what it does | equation | reference |", "|---|---|---|---|---|"]
    for technique in sorted(own, key=lambda t: (STAGES.index(t.stage), t.name)):
        cells = (f"`{technique.name}`", technique.stage, technique.meaning, f"`{technique.equation}`")
        lines.append(f"| {' | '.join(cells)} | {technique.reference} |")
    lines += ["", "| technique | parameter | meaning | default | allowed |", "|---|---|---|---|---|"]
    for technique in sorted(own, key=lambda t: (STAGES.index(t.stage), t.name)):
        lines += [_parameter(technique.name, parameter) for parameter in technique.parameters]
    return "\n".join(lines) + "\n"


def log_formats() -> str:
    """The formats of usage logs as a table, and where each was read."""
    lines = ["| name | what | files | input | output |", "|---|---|---|---|---|"]
    sources = []
    for name, form in sorted(formats().items()):
        assert form.counts is not None
        cached = "with cache" if form.counts.input_includes_cache else "without cache"
        hidden = "with reasoning" if form.counts.output_includes_reasoning else "without reasoning"
        lines.append(f"| `{name}` | {form.title} | {', '.join(form.kinds)} | {cached} | {hidden} |")
        sources.append(f"- `{name}`: {form.reference}")
    return "\n".join([*lines, "", "Read in:", "", *sources]) + "\n"


def _built_in(technique: Technique) -> bool:
    """Techniques of other packages are not of this page."""
    module = f"inferprint.techniques.{technique.name.replace('-', '_')}"
    return module in sys.modules


def _parameter(technique: str, parameter: Parameter) -> str:
    default = f"{parameter.default:g}" if isinstance(parameter.default, float) else parameter.default or "none"
    return (
        f"| `{technique}` | `{parameter.name}` | {parameter.meaning} | {default} | {parameter.allowed or 'its name'} |"
    )


def command_lines(block: str) -> Iterator[list[str]]:
    """Arguments of each command of a shell block that starts with `inferprint`."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words and words[0] == "inferprint":
            yield words


def printed(words: list[str]) -> str:
    """What a command prints, without the line of versions."""
    program = [sys.executable, "-m", *words]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    return VERSIONS.sub("", done.stdout)


def refusal(words: list[str]) -> str:
    """What a command that is refused prints."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 2:
        raise RuntimeError(f"{shlex.join(words)}: exit code {done.returncode} where a refusal is documented")
    return done.stderr


def _refusal(found: re.Match[str]) -> str:
    return f"```text\n$ {found['command']}\n{refusal(shlex.split(found['command']))}```"


def _output(found: re.Match[str]) -> str:
    command = found["command"]
    text = "".join(printed(words) for words in command_lines(command))
    return f"```sh\n{command}```\n\n<!-- output -->\n```text\n{text}```"


def generated(text: str, catalogue: Catalogue) -> str:
    """A page with its tables and its outputs as they should be."""
    text = SOURCES.sub(lambda m: f"{m[1]}\n{sources()}\n{m[2]}", text)
    text = FORMATS.sub(lambda m: f"{m[1]}\n{log_formats()}\n{m[2]}", text)
    text = TECHNIQUES.sub(lambda m: f"{m[1]}\n{techniques()}\n{m[2]}", text)
    text = TABLE.sub(lambda m: f"{m[1]}\n{coefficients(catalogue)}\n{m[2]}", text)
    text = FILE.sub(lambda m: f"{m[1]}{(ROOT / m['path']).read_text(encoding='utf-8')}{m[3]}", text)
    return REFUSAL.sub(_refusal, OUTPUT.sub(_output, text))


def openapi() -> str:
    """The description of the HTTP API, as a server publishes it."""
    from inferprint.service.app import api
    from inferprint.service.openapi import described

    return json.dumps(described(api()), indent=1, ensure_ascii=False) + "\n"


def pages() -> Iterator[tuple[Path, str, str]]:
    """Each page, its text, and what it should be."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        yield path, text, generated(text, Catalogue.packaged())
    yield OPENAPI, OPENAPI.read_text(encoding="utf-8") if OPENAPI.exists() else "", openapi()


def main() -> int:
    """Renew, or with `--check` compare, every page."""
    stale = []
    for path, text, wanted in pages():
        if wanted != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(wanted, encoding="utf-8")
    if stale:
        what = "stale" if "--check" in sys.argv else "renewed"
        sys.stdout.write(f"{what}: {', '.join(stale)}\n")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
