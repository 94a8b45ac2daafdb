"""Write what the documentation shows from the catalogue and the program; `--check` fails when the two differ.

The coefficients in method.md stand between `<!-- coefficients -->` markers. A `text` block under `<!-- output -->` is
what the command in the block above it prints, without the line of versions. A `text` block that begins with a command
after a `$` shows a refusal. A block under `<!-- file PATH -->` is that file.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from inferprint import Catalogue, Range
from inferprint.catalogue import Form

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
TABLE = re.compile(r"(<!-- coefficients -->\n).*?(<!-- /coefficients -->)", re.DOTALL)
OUTPUT = re.compile(r"```sh\n(?P<command>[^`]*?)```\n\n<!-- output -->\n```text\n(?P<output>.*?)```", re.DOTALL)
FILE = re.compile(r"(<!-- file (?P<path>\S+) -->\n```\w+\n).*?(```)", re.DOTALL)
REFUSAL = re.compile(r"```text\n\$ (?P<command>inferprint [^\n]*)\n(?P<output>.*?)```", re.DOTALL)
VERSIONS = re.compile(r"^inferprint [0-9.]+, catalogue .*\n", re.MULTILINE)


def coefficients(catalogue: Catalogue) -> str:
    """The learned forms of the catalogue as Markdown tables."""
    forms = [catalogue.forms[name] for name in ("energy.default", "duration.default", "two-term")]
    terms = list(dict.fromkeys(term for form in forms for term in form.terms))
    lines = ["| coefficient | " + " | ".join(f"`{form.id}`" for form in forms) + " |", "|---|" + "---|" * len(forms)]
    lines += [f"| `{term}` | " + " | ".join(_cell(form, term) for form in forms) + " |" for term in terms]
    lines.append("| residual, log standard deviation | " + " | ".join(f"{f.residual_sigma:g}" for f in forms) + " |")
    lines.append("| status | " + " | ".join(form.status for form in forms) + " |")
    effects = forms[0].effects
    lines += ["", "Effects on energy, added in logs:", "", "| " + " | ".join(f"`{name}`" for name in effects) + " |"]
    lines += ["|" + "---|" * len(effects), "| " + " | ".join(f"{value:+g}" for value in effects.values()) + " |"]
    return "\n".join(lines) + "\n"


def _cell(form: Form, term: str) -> str:
    if term not in form.terms:
        return "-"
    value: Range = form.terms[term]
    unit = " s" if term in ("layers", "expert_layers", "sequences", "state_space_layers") else ""
    spread = f" ({value.low:g} to {value.high:g})" if value.low != value.high else ""
    return f"{value.value:g}{unit}{spread}"


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
    """A page with its table and its outputs as they should be."""
    text = TABLE.sub(lambda m: f"{m[1]}\n{coefficients(catalogue)}\n{m[2]}", text)
    text = FILE.sub(lambda m: f"{m[1]}{(ROOT / m['path']).read_text(encoding='utf-8')}{m[3]}", text)
    return REFUSAL.sub(_refusal, OUTPUT.sub(_output, text))


def main() -> int:
    """Renew, or with `--check` compare, every page."""
    stale = []
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        wanted = generated(text, Catalogue.packaged())
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
