"""A sweep against an OpenAI-compatible server: point after point, each a row as soon as it ends."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from inferprint.errors import EndpointProblem, MeterProblem
from inferprint.measure.client import (
    NOT_UNDERSTOOD,
    OWNERS,
    Answered,
    Client,
    Failed,
    Served,
    learn,
    problem_of,
)
from inferprint.measure.load import Budget, Load, Steady, ask_patiently
from inferprint.measure.meters.base import Meter
from inferprint.measure.meters.windows import LEAST_RESOLUTIONS, Recorder, Window
from inferprint.measure.observations import ObservationWriter, Row
from inferprint.measure.plan import PROBES_PER_LENGTH, Point, SweepPlan
from inferprint.measure.prompts import Prompts, is_close
from inferprint.measure.rows import MISSED, Subject, energy_of, point_row
from inferprint.measure.verdicts import Cache, Waiting

EMPTY_POINTS = 3
"""Points in a row without a row after which a sweep stops."""

FIRST_PROMPT_WORDS = 16
LONGEST_UNKNOWN_WAIT_S = 120.0
"""Longest wait for a meter of which it is not known how often it shows a new value [s]."""

FINEST_READING_S = 0.05
"""Time between two readings of a meter that shows more than is read of it [s]."""

LONGEST_STILL_S = 30.0
"""Time under load without a new value after which a meter stands still, where its usual one is not known [s]."""

MOST_FAILING = 0.05
"""Requests in flight that fail, for each one that is answered, beyond which a point gives no row."""

NAMES_SHOWN = 10

NO_METER = "no energy was measured, as there is no meter: the rows hold times alone"

TOO_LONG = (*NOT_UNDERSTOOD, 413)
"""Statuses by which a server refuses lengths."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a point: its row, or why there is none; `is_known` where that follows from what others showed."""

    point: Point
    row: Row | None
    reason: str = ""
    is_known: bool = False


@dataclass(slots=True)
class Summary:
    """What a sweep did, as far as it came.

    Attributes
    ----------
    outcomes
        Points in the order in which they were measured.
    notes
        What is to be known of all of them.
    stopped
        Why it ended before its last point; empty where it did not.
    """

    url: str
    served_model: str
    seed: str
    outcomes: list[Outcome] = field(default_factory=list)
    not_measured: list[Point] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    sent: int = 0
    told_to_wait: int = 0
    sent_again: int = 0
    meter: dict[str, Any] | None = None
    stopped: str = ""
    seconds: float = 0.0

    @property
    def rows(self) -> list[Row]:
        """The rows that were written."""
        return [outcome.row for outcome in self.outcomes if outcome.row is not None]

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data."""
        return {
            "url": self.url,
            "served_model": self.served_model,
            "rows": [row.to_dict() for row in self.rows],
            "without_row": [
                {"point": str(outcome.point), "reason": outcome.reason}
                for outcome in self.outcomes
                if outcome.row is None
            ],
            "not_measured": [str(point) for point in self.not_measured],
            "requests": {
                "sent": self.sent,
                "answered": self.answered,
                "failed": dict(self.failures),
                "told_to_wait": self.told_to_wait,
                "sent_again": self.sent_again,
            },
            "energy": self.meter,
            "notes": self.notes,
            "stopped": self.stopped or None,
            "seconds": round(self.seconds, 3),
            "prompt_seed": self.seed,
        }


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of a sweep.

    Attributes
    ----------
    say
        Told a sentence that concerns the whole run.
    progress
        Told requests sent, and how many there will be by all that is known.
    done
        Told what came of a point.
    """

    say: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int | None], None] = lambda _done, _total: None
    done: Callable[[Outcome], None] = lambda _: None


class Sweep:
    """A sweep against one server.

    Parameters
    ----------
    client
        Of the server; an empty model name of its target is asked of the server.
    plan, subject
        What to measure, and of what.
    writer
        Takes the rows.
    meter
        Of the energy of what serves; None where there is none.
    watch
        Who is told.
    idle_seconds
        How long the power of the waiting server is metered first [s].
    seed
        Of the prompts.
    """

    def __init__(
        self,
        client: Client,
        plan: SweepPlan,
        subject: Subject,
        writer: ObservationWriter,
        *,
        meter: Meter | None = None,
        watch: Watch | None = None,
        idle_seconds: float = 10.0,
        seed: str | None = None,
    ) -> None:
        self.client, self.plan, self.subject, self.writer = client, plan, subject, writer
        self.prompts = Prompts(seed)
        self.summary = Summary(client.target.url, client.target.model, self.prompts.seed)
        self._meter, self._watch, self._idle_seconds = meter, watch or Watch(), idle_seconds
        self.budget = Budget(plan.most_requests(metered=meter is not None), self._progress)
        self._expected, self._later = plan.usual_requests, 0
        self._load: Load | None = None
        self._still_s = 0.0
        self._no_energy = ""
        self._told: set[str] = set()
        self._recorder: Recorder | None = None
        self._idle_w: float | None = None
        self._begun = self._end = 0.0
        self._run = datetime.now(tz=UTC)
        self._words: dict[int, int] = {}
        self._refused: dict[tuple[int, int], str] = {}
        self._waiting, self._cache = Waiting(), Cache(plan)
        self._empty = 0

    def run(self) -> Summary:
        """Run it to its end.

        Raises
        ------
        EndpointProblem
            The server cannot be measured at all.
        KeyboardInterrupt
            It was interrupted; `summary` and the written rows hold what was measured.
        """
        try:
            asyncio.run(self._all())
        except KeyboardInterrupt:
            self.summary.stopped = "interrupted"
            raise
        finally:
            self._close_summary()
        return self.summary

    def _progress(self, sent: int) -> None:
        """Tell how many requests were sent, and how many there will be; a number that never falls."""
        if self._load is not None:
            self._expected = max(self._expected, sent + self._load.expected + self._later)
        self._watch.progress(sent, max(sent, min(self._expected, self.budget.limit)))

    def _close_summary(self) -> None:
        if self._refused:
            prompt, answer = min(self._refused, key=sum)
            self._note(
                f"the server refuses {len(self._refused)} of the lengths, {prompt} + {answer} tokens the shortest: "
                "give shorter ones with --prompt-tokens and --answer-tokens, or the server more context, which "
                "llama.cpp divides among its slots"
            )
        summary, points = self.summary, self.plan.points()
        budget = self.budget
        summary.sent, summary.told_to_wait, summary.sent_again = budget.sent, budget.waits, budget.again
        summary.seconds = time.monotonic() - self._begun if self._begun else 0.0
        summary.not_measured = points[len(summary.outcomes) :]

    async def _all(self) -> None:
        self._begun = time.monotonic()
        self._end = self._begun + self.plan.max_seconds
        async with self.client:
            try:
                async with asyncio.timeout_at(self._end):
                    await self._meet()
            except TimeoutError:
                raise EndpointProblem(
                    f"{self.client.target.url} gave no first answer in {self.plan.max_seconds:g} s",
                    hint="Give it more with --max-seconds.",
                ) from None
            with self._metering():
                for place, point in enumerate(self.plan.points()):
                    if self.summary.stopped or not await self._measure(place, point):
                        return

    async def _meet(self) -> None:
        """Learn what the server is called, understands and reports."""
        models = await self.client.models()
        name = self._served_model(models)
        self.client.target = replace(self.client.target, model=name)
        self.summary.served_model = self._shown(name)
        prompt = self.prompts.fresh(FIRST_PROMPT_WORDS)
        answer, remarks, sent = await learn(self.client, prompt, lists_models=bool(models))
        self.budget.take(sent)
        self._count(answer)
        for remark in remarks:
            self._note(remark)
        if answer.n_in is None:
            self._note("the server reports no prompt tokens: n_in_tokens is the number of words sent")
        else:
            self.prompts.learn(FIRST_PROMPT_WORDS, answer.n_in)
        await self._learn_engine(next((model.owner for model in models if model.is_called(name)), ""))

    def _served_model(self, models: Sequence[Served]) -> str:
        """The name to ask for: the given one, the model's own, or that of the only model."""
        given = self.client.target.model
        wanted = given or self.subject.model_id
        if not models or any(model.is_called(wanted) for model in models):
            return wanted
        if len(models) == 1 and not given:
            self._note(f"the server calls its only model '{self._shown(models[0].name)}'")
            return models[0].name
        names = ", ".join(self._shown(model.name) for model in models[:NAMES_SHOWN])
        more = f" and {len(models) - NAMES_SHOWN} more" if len(models) > NAMES_SHOWN else ""
        raise EndpointProblem(
            f"{self.client.target.base} serves no model called '{wanted}'",
            hint=f"Name one that it serves with --served-model: {names}{more}.",
        )

    def _shown(self, name: str) -> str:
        return self.client.shown(name.encode(errors="replace"))

    async def _learn_engine(self, owner: str) -> None:
        """Take the serving software and its version from the server, where nobody stated them and it tells them."""
        subject, told = self.subject, OWNERS.get(owner)
        engine = subject.engine or told
        if engine is None:
            return
        if subject.engine is None:
            self._note(f"the server says that it is {owner}: the engine is taken to be {engine}")
        elif told is not None and told.split("-")[0] != subject.engine.split("-")[0]:
            self._note(f"the server says that it is {owner}, and --engine that it is {subject.engine}, which is used")
            return
        version = subject.engine_version or await self.client.version(engine)
        if version != subject.engine_version:
            self._note(f"the server says that its version is {version}")
        self.subject = replace(subject, engine=engine, engine_version=version)

    @contextmanager
    def _metering(self) -> Iterator[None]:
        if self._meter is None:
            self._note(NO_METER)
            yield
            return
        with Recorder(self._meter) as self._recorder:
            yield

    async def _measure(self, place: int, point: Point) -> bool:
        """Measure a point; False where the sweep cannot go on."""
        if self._recorder is not None and self.summary.meter is None:
            await self._wait_idle(self._recorder)
        if time.monotonic() >= self._end:
            return self._stop(f"--max-seconds {self.plan.max_seconds:g} are over")
        if self.budget.left < self.plan.sent(point):
            return self._stop(f"of --max-requests too few are left for {point}")
        known = self._known(point)
        try:
            outcome = Outcome(point, None, known, is_known=True) if known else await self._outcome(place, point)
        except TimeoutError:
            return self._stop(f"--max-seconds {self.plan.max_seconds:g} are over")
        self.summary.outcomes.append(outcome)
        self._watch.done(outcome)
        if outcome.row is not None:
            self._empty = 0
        elif not (outcome.is_known or self._known(point)):
            self._empty += 1
        if self._empty >= EMPTY_POINTS:
            return self._stop(f"{EMPTY_POINTS} points in a row gave no row")
        return True

    def _known(self, point: Point) -> str:
        """Why a point gives no row, where that is known without measuring it."""
        refused = self._refused.get((point.prompt_tokens, point.answer_tokens), "")
        return refused or self._waiting.known(point) or self._cache.known(point)

    def _stop(self, reason: str) -> bool:
        self.summary.stopped = reason
        return False

    async def _outcome(self, place: int, point: Point) -> Outcome:
        """Load the server as the point says, and write its row.

        Raises
        ------
        TimeoutError
            The time of the sweep is over.
        """
        async with asyncio.timeout_at(self._end):
            failed = await self._prepare(point)
        if failed is not None:
            return Outcome(point, None, self._reason_of([failed], point))
        words = self._words[point.prompt_tokens]
        prefix_words = round(point.cached_share * words)
        prefix = self.prompts.prefix(prefix_words) if prefix_words else ""
        load = Load(
            self.client,
            self.budget.part(self.plan.share(place, self.budget.left, self._words)),
            point,
            lambda: self.prompts.fresh(words - prefix_words, prefix),
            counted=self.plan.counted(point),
            least_seconds=self._least_seconds(),
            most_seconds=self.plan.seconds_per_point,
            give_up_at=self._end,
        )
        self._load, self._later = load, self.plan.usual_after(place, self._words)
        try:
            steady = await load.run()
        finally:
            self._load = None
        for outcome in (*load.outcomes, *load.late):
            self._count(outcome)
        reason = self._why_no_row(load, steady, point)
        if reason or steady is None:
            return Outcome(point, None, reason)
        row = await self._row(point, load, steady)
        self.writer.append(row)
        return Outcome(point, row)

    async def _prepare(self, point: Point) -> Failed | None:
        """Find the prompt's length, and send a prefix that is to be cached."""
        if point.prompt_tokens not in self._words:
            failed = await self._find_length(point.prompt_tokens)
            if failed is not None:
                self._refuse([failed], [(point.prompt_tokens, answer) for answer in self.plan.answer_tokens])
                return failed
        words = self._words[point.prompt_tokens]
        prefix_words = round(point.cached_share * words)
        if not prefix_words:
            return None
        prompt = self.prompts.fresh(words - prefix_words, self.prompts.prefix(prefix_words))
        sent = await ask_patiently(self.client.ask, self.budget, prompt, 1)
        if sent is not None:
            self._count(sent)
        return sent if isinstance(sent, Failed) else None

    async def _find_length(self, tokens: int) -> Failed | None:
        """Find how many words give a prompt length."""
        words = self.prompts.words_for(tokens)
        for _ in range(PROBES_PER_LENGTH):
            answer = await ask_patiently(self.client.ask, self.budget, self.prompts.fresh(words), 1)
            if answer is None:
                break
            self._count(answer)
            if isinstance(answer, Failed):
                return answer
            if answer.n_in is None or is_close(answer.n_in, tokens):
                break
            self.prompts.learn(words, answer.n_in)
            words = self.prompts.words_for(tokens)
        self._words[tokens] = words
        return None

    def _why_no_row(self, load: Load, steady: Steady | None, point: Point) -> str:
        """Why a point gives no row; empty where it gives one."""
        failures = load.failures
        overlong = [failed for failed in failures if failed.kind == "longer than asked"]
        if overlong:
            return f"the server ignores max_tokens: {overlong[0].text}"
        if 2 * len(failures) > len(load.outcomes):
            return self._reason_of(failures, point, len(load.outcomes))
        if steady is None or (load.was_dropped and len(steady.answers) < min(point.concurrency, load.counted)):
            return "the time or the requests of the point were over before enough answers had come"
        if steady.failed_in_flight > MOST_FAILING * steady.in_flight:
            share = steady.failed_in_flight / (steady.in_flight + steady.failed_in_flight)
            return f"{share:.0%} of the requests in flight failed: their time and energy would be in the others'"
        return self._waiting.judge(point, steady) or self._cache.judge(point, steady)

    def _reason_of(self, failures: list[Failed], point: Point, of: int = 1) -> str:
        kinds = Counter(failed.kind for failed in failures)
        parts = [
            f"{count} x {kind} ({next(failed.text for failed in failures if failed.kind == kind)})"
            for kind, count in kinds.most_common()
        ]
        reason = f"{len(failures)} of {of} requests failed: {', '.join(parts)}"
        self._refuse(failures, [(point.prompt_tokens, point.answer_tokens)])
        if failures[0].kind == "redirected" or failures[0].status in (401, 403):
            self.summary.stopped = problem_of(failures[0], self.client.target).message
        return self._refused.get((point.prompt_tokens, point.answer_tokens), reason)

    def _refuse(self, failures: list[Failed], lengths: list[tuple[int, int]]) -> None:
        """Ask no more for lengths that the server refuses."""
        if all(failed.status in TOO_LONG for failed in failures):
            said = failures[0].text
            self._refused |= {
                (prompt, answer): f"the server refuses {prompt} + {answer} tokens: {said}" for prompt, answer in lengths
            }

    async def _row(self, point: Point, load: Load, steady: Steady) -> Row:
        energy, remarks = await self._energy(steady)
        if self._meter is not None and energy is None and not (self._no_energy or load.budget.left):
            used_up = "requests of a point were used up before its meter had resolved it"
            self._note(f"{used_up}: allow more with --max-requests")
        if load.was_dropped:
            remarks.append("cut short by --max-seconds")
        if load.failures:
            kinds = Counter(failed.kind for failed in load.failures)
            said = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            remarks.append(f"{len(load.failures)} of {len(load.outcomes)} requests failed: {said}")
        row_id = f"{self.subject.source}-{self._run:%Y%m%dT%H%M%S%f}-{len(self.writer.rows) + 1}"
        row = point_row(row_id, self.subject, point, steady, remarks, self._cache.shown_by(point))
        row = replace(row, source_path=self.client.target.url, date=f"{self._run:%Y-%m-%d}")
        self._compare(point, row, steady)
        if energy is None or self._meter is None:
            return row
        # One request at a time has no other beside it: what ended in the window is what it took.
        rate = steady.counted_rate if point.concurrency == 1 else steady.rate
        return energy_of(row, energy, rate, self._meter.boundary, self._idle_w)

    def _compare(self, point: Point, row: Row, steady: Steady) -> None:
        """Say, once for the sweep, where prompts are not as they were asked for."""
        told, n_in, n_cached = "rows hold what the server counts", row.n_in_tokens, row.n_cached_tokens
        counted = all(answer.n_in is not None for answer in steady.answers)
        if n_in is not None and counted and abs(n_in / point.prompt_tokens - 1) > MISSED:
            self._note_once("n_in", f"a prompt of {point.prompt_tokens} tokens has {n_in:.4g} at the server: {told}")
        if n_cached and not point.cached_share:
            self._note_once("n_cached", f"{n_cached:.4g} tokens came from a cache where none were to: {told}")

    def _least_seconds(self) -> float:
        """How long a window has to be for the meter [s]."""
        if self._meter is None or self._recorder is None or self._no_energy:
            return 0.0
        return min(_needed_s(self._meter), self._longest_s)

    @property
    def _longest_s(self) -> float:
        """How long a point may wait for its meter [s]."""
        known = self._meter is not None and math.isfinite(self._meter.resolution_s)
        return self.plan.seconds_per_point if known else min(self.plan.seconds_per_point, LONGEST_UNKNOWN_WAIT_S)

    async def _wait_idle(self, recorder: Recorder) -> None:
        """Meter the server while it waits for work."""
        meter = recorder.meter
        self.summary.meter = {"meter": meter.name, "boundary": meter.boundary, "idle_w": None}
        start = time.monotonic()
        await asyncio.sleep(max(0.1, min(self._idle_seconds, self._end - start)))
        try:
            window = await asyncio.to_thread(recorder.window, start, time.monotonic(), flag_short=True)
            self._idle_w = self.summary.meter["idle_w"] = window.watts
        except MeterProblem as problem:
            # Nothing is drawn, or the counter sleeps: under load it will be seen again.
            self._note(f"no power before the load: {problem.message}")

    async def _energy(self, steady: Steady) -> tuple[Window | None, list[str]]:
        """Energy of a window, or what is to be said where there is none."""
        if self._recorder is None:
            return None, []
        if self._no_energy:
            return None, [f"no energy: {self._no_energy}"]
        try:
            return await asyncio.to_thread(self._recorder.window, steady.start_s, steady.end_s), []
        except MeterProblem as problem:
            self._note(f"no energy: {problem}")
            self._give_up(self._recorder, steady)
            return None, [f"no energy: {problem.message}"]

    def _give_up(self, recorder: Recorder, steady: Steady) -> None:
        """After a window without energy: no later point waits for a meter that stands still or can resolve none."""
        meter, resolution = recorder.meter, recorder.meter.resolution_s
        self._still_s = self._still_s + steady.seconds if _is_still(recorder, steady) else 0.0
        enough = LEAST_RESOLUTIONS * resolution if math.isfinite(resolution) else LONGEST_STILL_S
        # Windows end with a whole answer, so that some are a little shorter than they may be.
        if self._still_s >= 0.9 * min(enough, self._longest_s):
            self._no_energy = f"{meter.name} stood still under load for {self._still_s:.3g} s"
        elif math.isfinite(resolution) and enough > self._longest_s:
            needed = f"{meter.name} needs {_needed_s(meter):.3g} s for a point"
            self._no_energy = f"{needed}, which has {self._longest_s:.3g} s (--seconds)"
        if self._no_energy:
            self._note(f"{self._no_energy}: energy is given up, and the rows hold times alone")

    def _count(self, outcome: Answered | Failed) -> None:
        if isinstance(outcome, Failed):
            self.summary.failures[outcome.kind] += 1
        else:
            self.summary.answered += 1

    def _note(self, text: str) -> None:
        if text not in self.summary.notes:
            self.summary.notes.append(text)
            self._watch.say(text)

    def _note_once(self, about: str, text: str) -> None:
        """The first of several notes about the same."""
        if about not in self._told:
            self._told.add(about)
            self._note(text)


def _needed_s(meter: Meter) -> float:
    """Length of a window that a meter resolves [s]; infinite as long as it has not shown two new values."""
    return 1.1 * LEAST_RESOLUTIONS * max(meter.resolution_s, FINEST_READING_S)


def _is_still(recorder: Recorder, steady: Steady) -> bool:
    """Whether a meter that can be read showed nothing new in a window."""
    try:
        readings = recorder.readings()
    except MeterProblem:
        return False
    shown = {reading.joules for reading in readings if reading.at_s >= steady.start_s}
    return len(shown) <= 1
