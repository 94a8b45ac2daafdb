"""Fill the generated blocks of README.md from what the commands really print.

python tools/readme.py [TRACES]           write; TRACES is the folder of the two Azure traces, for the second block
python tools/readme.py --check [TRACES]   exit with 1 where a block is not what the commands print
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
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


def _filled(text: str, name: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def main() -> int:
    """Write, or compare with --check."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    text = README.read_text(encoding="utf-8")
    wanted = _filled(text, "example", _example())
    if arguments:
        wanted = _filled(wanted, "azure", _traces(Path(arguments[0])))
    if "--check" not in sys.argv:
        README.write_text(wanted, encoding="utf-8")
    elif wanted != text:
        print("README.md does not show what the commands print: run python tools/readme.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
