"""What comes of a request: a complete answer with its times and counts, or a failure; and the stream that holds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "not reached",
    "cut off",
    "timed out",
    "stalled",
    "rate limited",
    "refused",
    "server error",
    "redirected",
    "error in the stream",
    "not a stream",
    "empty answer",
    "longer than asked",
    "no usage",
    "wrong usage",
]
"""Ways in which a request fails."""

MAX_LINE_BYTES = 4_000_000

BURST_SECONDS = 1e-4
"""Pause below which two chunks came together [s]."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer. Moments are of `time.monotonic` [s].

    Attributes
    ----------
    started, first_token, last_token
        When the request was sent, when the first chunk with content came, and the last one.
    asked
        Answer tokens asked for.
    n_in, n_cached, n_out
        Tokens as the server counted them: prompt, its cached part, answer; None where it does not say.
    n_chunks, n_bursts
        Chunks with content, and how often one came after a pause rather than together with the one before.
    """

    started: float
    first_token: float
    last_token: float
    asked: int
    n_in: int | None
    n_cached: int | None
    n_out: int
    n_chunks: int
    n_bursts: int

    @property
    def ended(self) -> float:
        """When it had its last token [s]."""
        return self.last_token

    @property
    def ttft_s(self) -> float:
        """Time to the first token [s]."""
        return self.first_token - self.started

    @property
    def duration_s(self) -> float:
        """Time to the last token [s]."""
        return self.last_token - self.started

    @property
    def itl_s(self) -> float | None:
        """Mean time between two tokens [s]; None for a single one, and where the whole answer came at once."""
        if self.n_out < 2 or self.n_bursts < 2:
            return None
        return (self.last_token - self.first_token) / (self.n_out - 1)


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that gave no complete answer, and why.

    Attributes
    ----------
    status
        HTTP status, where there was one.
    retry_after_s
        Time after which the server wants to be asked again [s].
    is_stale
        Whether the connection was closed before the server can have seen the request.
    """

    kind: Kind
    text: str
    started: float
    ended: float
    status: int | None = None
    retry_after_s: float | None = None
    is_stale: bool = False


class Broken(Exception):
    """A stream that is none, or says that it failed."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind: Kind = kind
        self.text = text


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as a server counts them: prompt, its cached part, answer; None where it does not say."""

    n_in: int | None = None
    n_cached: int | None = None
    n_out: int | None = None


class Stream:
    """Server-sent events as they come in: when the first and last content came, and what the last chunks said.

    Attributes
    ----------
    chunks, pieces
        Chunks with content, and those that may have had some.
    """

    def __init__(self, asked: int, shown: Callable[[bytes], str]) -> None:
        self.asked, self._shown = asked, shown
        self._rest = bytearray()
        self.events = self.chunks = self.pieces = self.bursts = 0
        self.first: float | None = None
        self.last: float | None = None
        self.ended: float | None = None
        self.finish = self.complete = False
        self._usage: Mapping[str, Any] = {}
        # A token is a chunk, or less where half a character is held back; four times as many are no answer any more.
        self._most_chunks = 4 * asked + 64

    def feed(self, block: bytes, at: float) -> None:
        """Take what came at a moment."""
        self._rest += block
        if b"\n" in block:
            said = self.rest
            *lines, rest = said.split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                self._line(line, said, at)
        if len(self._rest) > MAX_LINE_BYTES:
            raise Broken("not a stream", f"a line of more than {MAX_LINE_BYTES:,} bytes")

    @property
    def rest(self) -> bytes:
        """What came since the last end of a line."""
        return bytes(self._rest)

    def _line(self, line: bytes, said: bytes, at: float) -> None:
        if line.startswith(b"data:"):
            self._event(line[5:].strip(), at)
        elif not self.events and line.strip() and not line.startswith((b":", b"event:", b"id:", b"retry:")):
            raise Broken("not a stream", f"status 200 with '{self._shown(said)}' in place of a stream")

    def _event(self, data: bytes, at: float) -> None:
        self.events += 1
        if data == b"[DONE]":
            self.complete = True
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise Broken("error in the stream", f"a chunk is no JSON object: '{self._shown(data)}'")
        if event.get("error"):
            raise Broken("error in the stream", self._shown(json.dumps(event["error"]).encode()))
        if isinstance(event.get("usage"), dict):
            self._usage = event["usage"]
        choices = event.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._choice(choices[0], at)

    def _choice(self, choice: Mapping[str, Any], at: float) -> None:
        self.pieces += 1
        delta = choice.get("delta")
        said = delta if isinstance(delta, dict) else {}
        text = choice.get("text") or said.get("content") or said.get("reasoning_content")
        if text or said.get("reasoning") or said.get("tool_calls"):
            self.chunks += 1
            self.first = at if self.first is None else self.first
            self.bursts += self.last is None or at - self.last > BURST_SECONDS
            self.last = at
            if self.chunks > self._most_chunks:
                raise Broken("longer than asked", f"{self.chunks} chunks and more, {self.asked} tokens were asked for")
        if choice.get("finish_reason"):
            self.finish, self.ended = True, at

    def usage(self) -> Usage:
        """The counts of the usage."""
        counts = {name: value if _is_count(value) else None for name, value in self._said_counts().items()}
        return Usage(**counts)

    def wrong_usage(self) -> str:
        """What of the usage cannot be; empty where all of it can."""
        for name, value in self._said_counts().items():
            if value is not None and not (_is_count(value) and value >= LEAST_COUNTS[name]):
                return f"{USAGE_NAMES[name]} {json.dumps(value)}"
        found = self.usage()
        if found.n_in is not None and found.n_cached is not None and found.n_cached > found.n_in:
            return f"cached_tokens {found.n_cached} of prompt_tokens {found.n_in}"
        return ""

    def _said_counts(self) -> dict[str, Any]:
        """What the usage has in the place of each count."""
        details = self._usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        return {
            "n_in": self._usage.get("prompt_tokens"),
            "n_cached": self._usage.get("prompt_cache_hit_tokens") if cached is None else cached,
            "n_out": self._usage.get("completion_tokens"),
        }


USAGE_NAMES = {"n_in": "prompt_tokens", "n_cached": "cached_tokens", "n_out": "completion_tokens"}
"""What a usage calls each count."""

LEAST_COUNTS = {"n_in": 1, "n_cached": 0, "n_out": 0}
"""The least that each can be; no prompt is empty."""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
