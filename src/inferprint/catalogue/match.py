"""From a name found in the wild to a record, or an error with the nearest names; never to a similar record.

A name is looked up without regard to case, with space and underscore as a dash. A model's name is then freed, in the
order of `PEELS`, from decorations that never change the model, and looked up again after each: the gateway's route,
the host's own spelling, a date, the format of the weights. What is part of a name stays: sizes, versions, `mini`,
`pro`, four-digit codes such as -0324, `latest`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from inferprint.catalogue.caching import kept
from inferprint.catalogue.compose import fold, model_key
from inferprint.catalogue.countries import ISO3
from inferprint.catalogue.load import Catalogue
from inferprint.catalogue.records import Gpu, Grid, Model, Node, Precision, Region, Service
from inferprint.catalogue.schema import KIND_OF
from inferprint.errors import InvalidInput, UnknownName

ROUTES: Mapping[str, str] = {
    "azure": "azure-openai",
    "azure_ai": "azure-openai",
    "bedrock": "aws-bedrock",
    "bedrock_converse": "aws-bedrock",
    "converse": "",
    "invoke": "",
    "sagemaker": "amazon-sagemaker",
    "openrouter": "openrouter",
    "vertex_ai": "google-vertex",
    "google-vertex": "google-vertex",
    "gemini": "google-gemini",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "groq": "groq",
    "deepinfra": "deepinfra",
    "cerebras": "cerebras",
    "sambanova": "sambanova",
    "nebius": "nebius",
    "scaleway": "scaleway",
    "ovhcloud": "ovhcloud",
    "nvidia_nim": "nvidia-nim",
    "huggingface": "hugging-face",
    "replicate": "replicate",
    "cloudflare": "cloudflare-workers-ai",
    "@cf": "cloudflare-workers-ai",
    "hosted_vllm": "self-hosted-datacenter",
    "vllm": "self-hosted-datacenter",
    "ollama": "local-device",
    "ollama_chat": "local-device",
    "lm_studio": "local-device",
    "openai": "",
    "anthropic": "",
    "mistral": "",
    "xai": "",
    "cohere": "",
    "cohere_chat": "",
    "perplexity": "",
    "dashscope": "",
    "deepseek": "",
    "moonshot": "",
    "litellm_proxy": "",
    "models": "",
}
"""First part of a routed name to the service that it names; empty where the part is a developer or says nothing."""

GEOGRAPHIES: Mapping[str, str] = {
    "us-gov": "US",
    "us": "US",
    "jp": "JP",
    "au": "AU",
    "ca": "CA",
    "in": "IN",
    "eu": "REGION-EU",
    "apac": "REGION-ASIA",
    "global": "",
}
"""Geographic prefixes of Bedrock's inference profiles to the grid zone of the area, empty where it is the world."""

VENDORS = (
    *("ai21", "amazon", "anthropic", "cohere", "deepseek", "google", "meta", "minimax", "mistral", "moonshot"),
    *("moonshotai", "nvidia", "openai", "qwen", "stability", "writer", "zai"),
)
WEIGHT_FORMATS = (
    *("fp8", "bf16", "fp16", "awq", "gptq", "int4", "int8", "nvfp4", "mxfp4", "w4a16", "w8a8"),
    *("4bit", "8bit", "gguf"),
)

_ARN = re.compile(r"arn:aws[\w-]*:bedrock:([a-z0-9-]*):\d*:(?:foundation-model|inference-profile)/(.+)", re.IGNORECASE)
_ACCOUNT = re.compile(r"accounts/fireworks/(?:models|routers)/", re.IGNORECASE)
_PUBLISHER = re.compile(r"(?:projects/[^/]+/locations/([^/]+)/)?publishers/[^/]+/models/", re.IGNORECASE)
_AWS_REGION = re.compile(r"[a-z]{2}(?:-gov)?-[a-z]+-\d")
_TAG = re.compile(r":(?:free|nitro|floor|online|extended)$", re.IGNORECASE)
_GEOGRAPHY = re.compile(rf"({'|'.join(GEOGRAPHIES)})\.(?=(?:{'|'.join(VENDORS)})\.)", re.IGNORECASE)
_VENDOR = re.compile(rf"(?:{'|'.join(VENDORS)})\.(?=[a-z])", re.IGNORECASE)
_VERSION = re.compile(r"-v[1-9]:\d+(?::\w+)?$", re.IGNORECASE)
_DAY = r"20[12]\d(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
_DATE = re.compile(rf"[-@]{_DAY}$")
_OWNER = re.compile(r"[\w.-]+/(?=[^/]+$)")
_FORMAT = re.compile(rf"-(?:{'|'.join(WEIGHT_FORMATS)})$", re.IGNORECASE)
_TUNED = re.compile(r"-(?:instruct|chat|it|hf|maas)$", re.IGNORECASE)
_FORMAT_WORDS = re.compile(rf"(?<![a-z0-9])({'|'.join(WEIGHT_FORMATS)})(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ModelMatch:
    """What a model's name resolved to.

    Attributes
    ----------
    model
        The record.
    name
        The name as it was given.
    service_hint
        Id of the service that the name's route states, else None.
    country_hint
        Grid zone of the country or area that the name states, else None.
    region_hint
        Region id that the name states, such as "aws:eu-west-1", else None.
    precision_hint
        Id of the number format that the name states, else None.
    how
        "exact", or the decorations that were taken away, in order.
    """

    model: Model
    name: str
    service_hint: str | None
    country_hint: str | None
    region_hint: str | None
    precision_hint: str | None
    how: str


@dataclass(slots=True)
class _Peeling:
    """A name on its way to a record, with what its decorations told."""

    rest: str
    owners: frozenset[str]
    service: str = ""
    country: str = ""
    region: str = ""
    weights_only: bool = False


def _arn(work: _Peeling) -> bool:
    found = _ARN.fullmatch(work.rest)
    if not found:
        return False
    work.rest, work.service = found[2], "aws-bedrock"
    work.region = f"aws:{found[1].lower()}" if found[1] else ""
    return True


def _route(work: _Peeling) -> bool:
    """Gateway routes, one after the other, up to what none of them explains."""
    before = work.rest
    while True:
        account, publisher = _ACCOUNT.match(work.rest), _PUBLISHER.match(work.rest)
        head, slash, tail = work.rest.partition("/")
        if account:
            work.rest, work.service = work.rest[account.end() :], "fireworks"
        elif publisher:
            work.rest, work.service = work.rest[publisher.end() :], "google-vertex"
            work.region = f"gcp:{publisher[1].lower()}" if publisher[1] else work.region
        elif slash and tail and head.lower() in ROUTES:
            work.rest = tail
            work.service = work.service or ROUTES[head.lower()]
        elif slash and tail and _placed(work, head.lower()):
            work.rest = tail
        else:
            return work.rest != before


def _placed(work: _Peeling, part: str) -> bool:
    """A part of a route that says where: azure/eu/..., bedrock/us-east-1/..."""
    if work.service == "azure-openai" and part in GEOGRAPHIES:
        work.country = GEOGRAPHIES[part]
        return True
    if work.service == "aws-bedrock" and _AWS_REGION.fullmatch(part):
        work.region = f"aws:{part}"
        return True
    return False


def _tag(work: _Peeling) -> bool:
    return _cut(work, _TAG)


def _geography(work: _Peeling) -> bool:
    found = _GEOGRAPHY.match(work.rest)
    if found:
        work.rest, work.service = work.rest[found.end() :], work.service or "aws-bedrock"
        work.country = GEOGRAPHIES[found[1].lower()]
    return bool(found)


def _vendor(work: _Peeling) -> bool:
    found = _VENDOR.match(work.rest)
    if found:
        work.rest, work.service = work.rest[found.end() :], work.service or "aws-bedrock"
    return bool(found)


def _version(work: _Peeling) -> bool:
    return _cut(work, _VERSION)


def _date(work: _Peeling) -> bool:
    return _cut(work, _DATE)


def _owner(work: _Peeling) -> bool:
    """The account on a model hub; only one under which the catalogue knows a model."""
    found = _OWNER.match(work.rest)
    if not found or fold(found[0][:-1]) not in work.owners:
        return False
    work.rest = work.rest[found.end() :]
    return True


def _spelling(work: _Peeling) -> bool:
    """Hosts' spellings of families: v3p1 for 3.1, Meta-Llama, NVIDIA-Nemotron, llama3 for llama-3, qwen-3 for qwen3."""
    before = fold(work.rest)
    after = re.sub(r"(?<=\d)p(?=\d)", ".", before)
    after = re.sub(r"^(?:meta-(?=llama)|nvidia-(?=nemotron))", "", after)
    after = re.sub(r"^(llama|gemma|phi)-?v?(?=\d)", r"\1-", after)
    after = re.sub(r"^(deepseek)-?v(?=\d)", r"\1-v", after)
    after = re.sub(r"^qwen-(?=\d)", "qwen", after)
    if after == before:
        return False
    work.rest = after
    return True


def _weights(work: _Peeling) -> bool:
    """Format of the weights or kind of tuning; these say nothing about a model whose weights are not published."""
    changed = _cut(work, _FORMAT) or _cut(work, _TUNED)
    work.weights_only = work.weights_only or changed
    return changed


def _cut(work: _Peeling, pattern: re.Pattern[str]) -> bool:
    short = pattern.sub("", work.rest)
    changed = bool(short) and short != work.rest
    if changed:
        work.rest = short
    return changed


PEELS: tuple[tuple[str, Callable[[_Peeling], bool]], ...] = (
    ("ARN", _arn),
    ("route", _route),
    ("tag", _tag),
    ("geography", _geography),
    ("vendor", _vendor),
    ("version suffix", _version),
    ("date", _date),
    ("owner", _owner),
    ("spelling", _spelling),
    ("weights", _weights),
    ("weights", _weights),
    ("weights", _weights),
)
"""Decorations in the order in which they are taken away; the name is looked up after each."""


@kept(4096)
def resolve_model(catalogue: Catalogue, name: str) -> ModelMatch:
    """The model that a name found in the wild denotes.

    Parameters
    ----------
    catalogue
        Where to look.
    name
        Id, hub path, or the name that a provider, a gateway or a host uses.

    Raises
    ------
    UnknownName
        No record carries the name; the nearest names are listed and none is taken.
    """
    index = catalogue.names("models")
    work = _Peeling(name.strip(), catalogue.model_owners)
    key = index.get(model_key(work.rest))
    taken: list[str] = []
    for label, peel in PEELS:
        changed = peel(work)
        if key is None and changed:
            taken.append(label)
            key = _published(catalogue, index.get(model_key(work.rest)), work)
    if key is None:
        raise _unknown(catalogue, "models", name, model_key(work.rest) or name)
    formats = _FORMAT_WORDS.search(name)
    return ModelMatch(
        model=catalogue.models[key],
        name=name,
        service_hint=work.service if work.service in catalogue.services else None,
        country_hint=work.country or None,
        region_hint=work.region if work.region in catalogue.regions else None,
        precision_hint=_format(catalogue, formats[1]) if formats else None,
        how=", ".join(taken) or "exact",
    )


def _format(catalogue: Catalogue, word: str) -> str | None:
    """The number format that a word in a name states; None where it states none in particular."""
    name = {"4bit": "int4", "8bit": "int8"}.get(word.lower(), word.lower())
    return catalogue.names("precisions").get(name)


def _published(catalogue: Catalogue, key: str | None, work: _Peeling) -> str | None:
    """The key, unless the peel holds for published weights only and the model has none."""
    if key is None or not work.weights_only:
        return key
    model = catalogue.models[key]
    return key if model.hugging_face_path or model.total_params_b is not None else None


def candidates(name: str, owners: Iterable[str] = (), *, until: str = "") -> list[str]:
    """The name and what remains of it after each peel, as keys of the index.

    Parameters
    ----------
    name
        A model's name as found.
    owners
        Accounts on model hubs, in lower case, that may be taken away.
    until
        Label of the peel before which to stop; all are done without it.
    """
    work = _Peeling(name.strip(), frozenset(owners))
    keys = [model_key(work.rest)]
    for label, peel in PEELS:
        if label == until:
            break
        if peel(work):
            keys.append(model_key(work.rest))
    return list(dict.fromkeys(keys))


def resolve_gpu(catalogue: Catalogue, name: str) -> Gpu:
    """The GPU with this id or name."""
    return catalogue.gpus[_exact(catalogue, "gpus", name)]


def resolve_node(catalogue: Catalogue, name: str) -> Node:
    """The node with this id ("cloud:instance") or name."""
    return catalogue.nodes[_exact(catalogue, "nodes", name)]


def resolve_service(catalogue: Catalogue, name: str) -> Service:
    """The managed service with this id or name."""
    return catalogue.services[_exact(catalogue, "services", name)]


def resolve_precision(catalogue: Catalogue, name: str) -> Precision:
    """The number format of weights with this id or name."""
    return catalogue.precisions[_exact(catalogue, "precisions", name)]


def resolve_region(catalogue: Catalogue, name: str, cloud: str | None = None) -> Region:
    """The cloud region with this id ("cloud:region"), or with this name in the given cloud.

    Raises
    ------
    InvalidInput
        A bare name that two clouds use; both are listed.
    UnknownName
        No such region.
    """
    if cloud and ":" not in name:
        return catalogue.regions[_exact(catalogue, "regions", f"{cloud}:{name}")]
    if ":" in name:
        return catalogue.regions[_exact(catalogue, "regions", name)]
    asked = fold(name)
    found = [key for key in catalogue.regions if fold(key).partition(":")[2] == asked]
    if len(found) > 1:
        hint = f"Give {' or '.join(found)}."
        raise InvalidInput("cloud_region", f"'{name}' is a region of more than one cloud", hint=hint)
    if not found:
        raise _unknown(catalogue, "regions", name, asked)
    return catalogue.regions[found[0]]


def resolve_grid(catalogue: Catalogue, name: str, field: str = "country") -> Grid:
    """The grid zone with this id, ISO-2 or ISO-3 country code, or exact country name.

    Parameters
    ----------
    field
        The request field that holds the name, for errors.

    Raises
    ------
    InvalidInput
        A name of several zones.
    UnknownName
        No such zone.
    """
    asked = fold(name)
    key = catalogue.names("grids").get(asked) or catalogue.names("grids").get(ISO3.get(asked, "").casefold())
    if key is None:
        named = [grid.id for grid in catalogue.grids.values() if fold(grid.name) == asked and grid.default_for_zone]
        named = [zone for zone in named if catalogue.grids[zone].kind == "country"] or named
        if len(named) > 1:
            raise InvalidInput(field, f"'{name}' names more than one zone", hint=f"Give {' or '.join(named)}.")
        key = named[0] if named else None
    if key is None:
        unknown = _unknown(catalogue, "grids", name, asked)
        unknown.field = field
        raise unknown
    return catalogue.grids[key]


def _exact(catalogue: Catalogue, folder: str, name: str) -> str:
    key = catalogue.names(folder).get(fold(name))
    if key is None:
        raise _unknown(catalogue, folder, name, fold(name))
    return key


def _unknown(catalogue: Catalogue, folder: str, name: str, asked: str) -> UnknownName:
    """The error for a name that nothing carries, with up to five nearest ids."""
    return UnknownName(KIND_OF[folder].label, name, _nearest(catalogue, folder, asked), _LISTED[folder])


_LISTED = {folder: f"inferprint catalog {folder} QUERY" for folder in KIND_OF}
_LISTED["nodes"] += "; one of your own needs --catalog DIR, the folder that holds it"


_SIMILAR = 0.5
_SIMILAR_MODELS = 0.6
"""How alike names are that are offered for one that nothing carries. Of models there are thousands, so that some are
half like any word."""


@kept(1024)
def _nearest(catalogue: Catalogue, folder: str, asked: str) -> tuple[str, ...]:
    """Up to five ids nearest to a name; what is asked in vain is often asked again."""
    index = dict(catalogue.names(folder))
    if folder == "regions":
        index |= {key.partition(":")[2]: value for key, value in list(index.items())}
    if folder == "grids":
        index |= {fold(grid.name): grid.id for grid in catalogue.grids.values()}
    holding = sorted((key for key in index if asked in key), key=len) if len(asked) > 1 else []
    similar = _SIMILAR_MODELS if folder == "models" else _SIMILAR
    near = [*holding[:8], *difflib.get_close_matches(asked, index, n=12, cutoff=similar)]
    return tuple(dict.fromkeys(index[key] for key in near))[:5]
