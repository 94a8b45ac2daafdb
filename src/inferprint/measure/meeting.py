"""The first request to a server: what it understands, and what to do where it does not answer."""

from __future__ import annotations

from collections.abc import Mapping

from inferprint.errors import EndpointProblem
from inferprint.measure.answers import Answered, Failed, Kind
from inferprint.measure.client import Client
from inferprint.measure.target import Dialect, Target

PROBE_ANSWER_TOKENS = 2
NOT_UNDERSTOOD = (400, 422)
"""Statuses by which a server refuses a field that it does not know."""

AWAY = (502, 503, 504)
"""Statuses of a proxy, or of the server itself, where what answers is not there."""


async def learn(client: Client, prompt: str, *, lists_models: bool = True) -> tuple[Answered, list[str], int]:
    """Find out what a server understands, with a short answer.

    Parameters
    ----------
    lists_models
        Whether it has a list of models: one that has none and not the path of requests is likely no such server.

    Returns
    -------
    An answer, what is to be known of the server, and how many requests it took.

    Raises
    ------
    EndpointProblem
        No way of asking gives an answer.
    """
    limit = client.dialect.limit
    tries = [Dialect(), Dialect(ignore_eos=False), Dialect(ignore_eos=False, usage=False)]
    if client.target.api == "chat":
        tries.insert(2, Dialect(ignore_eos=False, limit="max_completion_tokens"))
    sent, may_be_stale = 0, True
    while True:
        client.dialect = tries[0]
        sent += 1
        outcome = await client.ask(prompt, PROBE_ANSWER_TOKENS)
        if isinstance(outcome, Answered):
            return outcome, _remarks(client.dialect, limit), sent
        if outcome.is_stale and may_be_stale:
            may_be_stale = False
            continue
        if outcome.status not in NOT_UNDERSTOOD or len(tries) == 1:
            raise problem_of(outcome, client.target, lists_models=lists_models)
        del tries[0]


def _remarks(dialect: Dialect, limit: str) -> list[str]:
    said = []
    if not dialect.ignore_eos:
        said.append("the server does not take ignore_eos: answers may end before the asked length")
    if not dialect.usage:
        said.append("the server does not take stream_options: it reports no usage")
    if dialect.limit != limit:
        said.append(f"the server takes {dialect.limit}")
    return said


_COUNT_CHUNKS = "With --count-chunks every chunk with content counts as a token; prompt tokens are words then."

HINTS: Mapping[Kind, str] = {
    "not reached": "Check the address, and that the server is up.",
    "redirected": "Give the address that answers itself: requests go to the named host only.",
    "no usage": _COUNT_CHUNKS,
    "wrong usage": _COUNT_CHUNKS,
    "longer than asked": (
        "The server ignores max_tokens: lengths of answers cannot be set, so that nothing can be measured."
    ),
    "rate limited": "Wait until the server takes requests again; a lower --concurrency asks for fewer at a time.",
    "timed out": "Give it longer with --timeout, or ask for less with --prompt-tokens and --answer-tokens.",
    "stalled": "Allow longer pauses inside an answer with --stall-seconds.",
}
"""What to do about a failure that ends a run, where its kind tells."""


def problem_of(failed: Failed, target: Target, *, lists_models: bool = True) -> EndpointProblem:
    """A failure that ends a run before it began, with what to do about it; see `learn`."""
    hint = "See what the server logs."
    if failed.kind in HINTS:
        hint = HINTS[failed.kind]
    elif failed.status in (401, 403):
        hint = "Name the environment variable that holds the key with --api-key-variable."
    elif failed.status not in AWAY and (_is_page(failed.text) or (failed.status == 404 and not lists_models)):
        hint = f"Is {target.base} the base URL of an inference server, such as http://host:8000/v1?"
    elif failed.status == 404:
        other = "chat" if target.api == "completions" else "completions"
        hint = f"Check the path and --served-model; or try --api {other}."
    return EndpointProblem(f"{target.url}: {failed.kind}: {failed.text}", hint=hint)


def _is_page(text: str) -> bool:
    """Whether what a server said is a web page."""
    return "<html" in text.lower() or "<!doctype" in text.lower()
