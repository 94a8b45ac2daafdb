"""Match the names of the pinned price list to models, and write the result as reviewed text.

    python tools/match_prices.py            write data/models/priced/ and data/names/priced/
    python tools/match_prices.py --check    fail when they are not what the price list gives

A name that belongs to a model with published weights becomes a further name of it. Every other model of the list
becomes a record without sizes, one for all hosts. Prices are not read.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices.data import providers

from inferprint.catalogue.compose import add_names, model_key, name_index, read_folder
from inferprint.catalogue.match import candidates
from inferprint.catalogue.schema import Content
from inferprint.errors import CatalogueError

DATA = Path(__file__).resolve().parent.parent / "data"
PRICED_MODELS = "models/priced"
PRICED_NAMES = "names/priced"
RELEASE = "0.2.3"
RELEASE_DATE = "2026-11-22"

_LITERALS = {"equals": True, "starts_with": False, "contains": False, "ends_with": False}
"""Match clauses that hold a text, and whether the text is a whole name."""

_PARTIAL = re.compile(r"[^a-z0-9]$|^ft:|-20\d\d$|-0$|^/", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"^(openrouter/|ft:|switchpoint/|.*\brouter\b|.*\bmoderation\b)|^gemma-3n?$|\.ft-$", re.IGNORECASE
)
_MODE = re.compile(r":(batch|thinking|beta|extended|free|nitro|exacto)$")

_HOST_PREFIX = {
    "cerebras": r"(cerebras[/:])?(zai-)?",
    "mistral": r"(zai-)?",
    "databricks": r"(databricks-|system\.ai\.)",
    "aws": r"regional\.",
    "perplexity": r"perplexity/",
    "fireworks": r"accounts/fireworks/(models|routers)/",
}
_HOST_SUFFIX = {
    "huggingface": r"-fast$",
    "fireworks": r"(-fast|-ultrafast|-us|-fast-us|-basic)+$",
    "baseten": r"-fast$",
    "cloudflare": r"-fast$",
    "novita": r"(-p|-h|-dst|-max|-turbo|-highspeed|/community)$",
    "minimax": r"-highspeed$",
    "moonshotai": r"(-highspeed|-turbo|-preview|-turbo-preview)$",
    "together": r"(-turbo|-lite|-reference|-tput)+$",
    "groq": r"(-versatile|-instant|-specdec|-8192|-4096|-32768|-preview|-text-preview)$",
    "doubleword": r"-dottxt$",
    "azure": r"-128k-instruct$",
}
"""What hosts write around a model's own name: their routes, and their ways of serving the same weights."""

_SAME = {
    "claude-v1": "claude-1",
    "claude-v2": "claude-2",
    "gpt-35-turbo": "gpt-3.5-turbo",
    "gpt-35-turbo-16k": "gpt-3.5-turbo-16k",
    "gpt-4-o-preview": "gpt-4o",
    "o3-mini-high": "o3-mini",
    "o4-mini-high": "o4-mini",
    "gemini-flash-1.5": "gemini-1.5-flash",
    "gemini-flash-1.5-8b": "gemini-1.5-flash-8b",
    "gemini-pro-1.5": "gemini-1.5-pro",
    "gemini-1.0-pro": "gemini-pro",
}
"""Two spellings of one model in the list."""

_DEVELOPERS = (
    (r"claude", "Anthropic"),
    (r"(chat)?gpt|o[134]($|-)|(text-)?(davinci|curie|babbage|ada)(-|$)|text-embedding|whisper|tts", "OpenAI"),
    (r"codex|computer-use|chat-latest", "OpenAI"),
    (r"palmyra", "Writer"),
    (r"gemini|palm|lyria|learnlm|veo|imagen", "Google"),
    (r"grok", "xAI"),
    (r"nova-|titan", "Amazon"),
    (r"(labs-)?(mistral|ministral|codestral|devstral|magistral|voxtral|pixtral|mixtral)", "Mistral"),
    (r"command|embed-v|rerank-v|c4ai", "Cohere"),
    (r"deepseek", "DeepSeek"),
    (r"qwen(?!-sea)", "Alibaba"),
    (r"glm|autoglm|cogview", "Z.ai"),
    (r"kimi|moonshot", "Moonshot AI"),
    (r"minimax|m2-her", "MiniMax"),
    (r"sonar|pplx|llama-3.1-sonar", "Perplexity"),
    (r"muse-|llama-\d(\.\d)?-\d+b", "Meta"),
    (r"phi-|mai-|wizardlm", "Microsoft"),
    (r"nemotron", "NVIDIA"),
    (r"voyage", "Voyage AI"),
    (r"jamba", "AI21"),
    (r"eleven", "ElevenLabs"),
    (r"hunyuan|hy\d", "Tencent"),
    (r"granite", "IBM"),
    (r"mercury", "Inception"),
    (r"composer", "Cursor"),
    (r"step-", "StepFun"),
    (r"doubao|seed-", "ByteDance"),
    (r"ernie", "Baidu"),
    (r"mimo", "Xiaomi"),
    (r"aion", "AionLabs"),
)
_OWNERS = {"togethercomputer": "Together", "sao10k": "Sao10K", "allenai": "Ai2", "nousresearch": "Nous Research"}
_OWNERS |= {"cloudflare": "Cloudflare", "swiss-ai": "Swiss AI", "inclusionai": "Ant Group", "liquid": "Liquid AI"}
_OWNERS |= {"moondream": "Moondream", "meituan": "Meituan", "poolside": "Poolside", "upstage": "Upstage"}
_OWNERS |= {
    "aisingapore": "AI Singapore",
    "sophosympatheia": "sophosympatheia",
    "baidu": "Baidu",
    "meta": "Meta",
    "cohere": "Cohere",
}
_HOSTS = {"accounts", "models", "routers", "fireworks", "cf", "cerebras", "together", "stealth"}
_MODALITIES = (
    (r".*embed|bge|gte|e5-|voyage|.*m2-bert|uae-", "embedding"),
    (r".*rerank", "rerank"),
    (r".*(guard|safety|distilbert)", "classifier"),
    (r".*(image|nano-banana|flux|dall-e|stable-diffusion|recraft|seedream)", "image"),
    (r"(veo|sora|kling|seedance)|.*video", "video"),
    (r".*(transcribe|whisper|realtime-translate)", "audio-to-text"),
    (r".*(tts|eleven|orpheus|lyria|speech)", "text-to-audio"),
    (r".*(realtime|audio|-live|sonic|-voice)", "omni"),
    (r".*ocr", "vision"),
)
_TEXT = ("text", "vision", "omni")


@dataclass
class Priced:
    """One model of the list that has no known size."""

    names: set[str] = field(default_factory=set)
    owners: set[str] = field(default_factory=set)
    contexts: list[int] = field(default_factory=list)
    rolling: bool = False


def literals(clause: Any) -> Iterator[tuple[str, bool]]:
    """Texts of a match clause, each with whether it is a whole name."""
    for name, whole in _LITERALS.items():
        if hasattr(clause, name):
            yield getattr(clause, name), whole
    for part in getattr(clause, "or_", ()):
        yield from literals(part)


def bare(name: str, host: str) -> str:
    """A name without what its host writes around it."""
    kind = host.partition("_")[0]
    short = re.sub(rf"^{_HOST_PREFIX[kind]}", "", name, flags=re.IGNORECASE) if kind in _HOST_PREFIX else name
    short = _MODE.sub("", short)
    return re.sub(_HOST_SUFFIX[kind], "", short, flags=re.IGNORECASE) if kind in _HOST_SUFFIX else short


def open_model(index: dict[str, str], sized: set[str], name: str, host: str) -> str | None:
    """Id of the model with published weights that a host's name denotes."""
    for text in dict.fromkeys([name, bare(name, host)]):
        owners = {part.casefold() for part in text.split("/")[:-1]}
        for key in candidates(text, owners):
            if index.get(key) in sized:
                return index[key]
    return None


def closed_key(name: str, host: str) -> str:
    """Key of a model without published size: its name without routes, owners, dates and modes of serving."""
    text = bare(name, host)
    if "titan-embed" in text:
        text = text.removesuffix(":0")
    key = candidates(text.split("/")[-1], until="spelling")[-1]
    key = re.sub(r"(?<=\d)p(?=\d)", ".", key.rstrip("@"))
    key = re.sub(r"^(nova-.+)-v1$", r"\1", key)
    key = re.sub(r"^claude-(\d(?:\.\d)?)-([a-z]+)$", _claude, key)
    key = re.sub(r"^claude-(sonnet|opus|haiku)-(3\.\d)$", r"claude-\2-\1", key)
    key = re.sub(r"^(claude-[a-z]+-\d)\.0$", r"\1", key)
    return _SAME.get(key, key)


def _claude(found: re.Match[str]) -> str:
    return found[0] if float(found[1]) < 4 else f"claude-{found[2]}-{found[1]}"


def entry_names(model: Any) -> list[str]:
    """All whole names of an entry; a text that is matched inside names counts when it spells the entry's own name."""
    whole = [model.id, *(text for text, is_whole in literals(model.match) if is_whole)]
    own = closed_key(model.id.removesuffix("-latest"), "")
    parts = (text for text, is_whole in literals(model.match) if not is_whole and not _PARTIAL.search(text))
    return list(dict.fromkeys([*whole, *(text for text in parts if closed_key(text, "") == own)]))


def standing(name: str, names: list[str], entry: str) -> str:
    """The name to read in place of one that only points to another of its entry: a snapshot's code, or `latest`."""
    if re.fullmatch(re.escape(entry) + r"-\d{4}", name):
        return entry
    short = name.removesuffix("-latest")
    if short == name:
        return name
    fixed = {closed_key(other, ""): other for other in names if not other.endswith("-latest")}
    return fixed.get(closed_key(short, "")) or (name if entry.endswith("-latest") else entry)


def listed() -> Iterator[tuple[str, Any]]:
    """Every entry of the price list with its host."""
    for provider in providers:
        for model in provider.models:
            yield provider.id, model


def own_content() -> Content:
    """The catalogue without what this tool writes."""
    content, extra, places = read_folder(DATA, strict=False)
    written = {key for (_, key), where in places.items() if where.startswith(PRICED_MODELS)}
    for (folder, key), where in places.items():
        if where.startswith(PRICED_MODELS):
            del content[folder][key]
    own = [(w, table) for w, table in extra if not w.startswith(PRICED_NAMES) and table.get("model") not in written]
    add_names(content, own)
    return content


def matched() -> tuple[dict[str, dict[str, list[str]]], dict[str, Priced]]:
    """Host to model to names for models with published weights, and the records of all others by key."""
    content = own_content()
    index = name_index("models", content["models"])
    sized = set(content["models"])
    taken: dict[str, str] = {}
    uses: list[tuple[str, str, Any]] = []
    for host, model in listed():
        whole = entry_names(model)
        for name in whole:
            if _NO_MODEL.search(name):
                continue
            text = standing(name, whole, model.id)
            target = open_model(index, sized, name, host) or open_model(index, sized, text, host)
            taken.setdefault(model_key(name), target or closed_key(text, host))
            uses.append((host, name, model))
    names: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    closed: dict[str, Priced] = defaultdict(Priced)
    for host, name, model in uses:
        key = taken[model_key(name)]
        # A host may spell as one model what another host's list makes a name of a second one.
        key = taken.get(key, key)
        if key in sized:
            names[host][key].append(name)
        else:
            _add(closed[key], name, model)
    return names, closed


def _add(priced: Priced, name: str, model: Any) -> None:
    priced.names.add(name)
    priced.owners.update(name.casefold().lstrip("~@").split("/")[:-1][-1:])
    priced.rolling = priced.rolling or name.endswith("-latest")
    if model.context_window:
        priced.contexts.append(model.context_window)


def first(table: tuple[tuple[str, str], ...], key: str, default: str) -> str:
    """The first entry of a table whose pattern the key holds."""
    return next((value for pattern, value in table if re.match(pattern, key)), default)


def record_of(key: str, priced: Priced) -> dict[str, Any]:
    """Fields of the record of a model without known size."""
    identity = key.replace(".", "-") if key.startswith("claude") else key
    owner = next((_OWNERS.get(owner, owner) for owner in sorted(priced.owners) if owner not in _HOSTS), "unknown")
    modality = first(_MODALITIES, key, "text")
    folded = {model_key(identity)}
    names = []
    for name in sorted(priced.names):
        if model_key(name) not in folded:
            folded.add(model_key(name))
            names.append(name)
    record: dict[str, Any] = {"id": identity, "developer": first(_DEVELOPERS, key, owner), "names": names}
    record |= {"modality": modality, "text_generation": modality in _TEXT}
    if priced.contexts:
        record["context_length"] = max(set(priced.contexts), key=lambda size: (priced.contexts.count(size), size))
    if priced.rolling or key == "deepseek-chat":
        record["note"] = "a name that the developer points to its current model is among the names"
    return record


def toml(table: str, records: list[dict[str, Any]], title: str) -> str:
    """Text of a data file with one origin for all its tables."""
    lines = [f"# {title}", "# Written by tools/match_prices.py; corrections belong in data/names/reviewed.toml.", ""]
    lines += ['source = "genai-prices"', f'date = "{RELEASE_DATE}"', 'quality = "medium"']
    for record in records:
        lines += ["", f"[[{table}]]", *(f"{key} = {_text(value)}" for key, value in record.items() if value != [])]
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        items = [_text(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) < 100 else "[\n" + "".join(f"  {item},\n" for item in items) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def files() -> dict[Path, str]:
    """Path to text of every file that this tool writes."""
    names, closed = matched()
    by_developer: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for key in sorted(closed):
        record = record_of(key, closed[key])
        by_developer[record["developer"]].append(record)
    out: dict[Path, str] = {}
    small = [record for records in by_developer.values() if len(records) < 5 for record in records]
    large = {name: records for name, records in by_developer.items() if len(records) >= 5}
    for developer, records in [*large.items(), ("others", sorted(small, key=lambda record: str(record["id"])))]:
        name = re.sub(r"[^a-z0-9]+", "-", developer.lower()).strip("-")
        title = f"Models of {developer} whose size is not published: names and context windows of the price list."
        out[DATA / PRICED_MODELS / f"{name}.toml"] = toml("model", records, title)
    for host, models in sorted(names.items()):
        tables = [{"model": key, "host": host, "names": list(dict.fromkeys(models[key]))} for key in sorted(models)]
        title = f"Names of models with published weights at {host}."
        out[DATA / PRICED_NAMES / f"{host}.toml"] = toml("name", tables, title)
    return out


def drift(wanted: dict[Path, str]) -> list[str]:
    """Files that are missing, left over or different."""
    there = {path for part in (PRICED_MODELS, PRICED_NAMES) for path in (DATA / part).glob("*.toml")}
    found = [f"left over: {path.relative_to(DATA)}" for path in sorted(there - set(wanted))]
    for path, text in wanted.items():
        if not path.exists():
            found.append(f"missing: {path.relative_to(DATA)}")
        elif path.read_text(encoding="utf-8") != text:
            found.append(f"different: {path.relative_to(DATA)}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write or check the files; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, fail on drift")
    options = parser.parse_args(arguments)
    if version("genai-prices") != RELEASE:
        print(f"genai-prices {RELEASE} is pinned, {version('genai-prices')} is installed", file=sys.stderr)
        return 1
    try:
        wanted = files()
    except CatalogueError as error:
        print(error, file=sys.stderr)
        return 1
    found = drift(wanted)
    if options.check:
        for line in found:
            print(line, file=sys.stderr)
        return 1 if found else 0
    for line in found:
        if line.startswith("left over"):
            (DATA / line.removeprefix("left over: ")).unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
