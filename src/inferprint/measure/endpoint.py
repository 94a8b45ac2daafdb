"""A sweep against an OpenAI-compatible server: point after point, each a row as soon as it ends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from inferprint.errors import EndpointProblem, MeterProblem
from inferprint.measure.client import (
    NOT_UNDERSTOOD,
    Answered,
    Client,
    Failed,
    learn,
    problem_of,
)
from inferprint.measure.load import Budget, Load, Steady, ask_patiently
from inferprint.measure.meters.base import Meter
from inferprint.measure.meters.windows import LEAST_RESOLUTIONS, Recorder, Window
from inferprint.measure.observations import ObservationWriter, Row
from inferprint.measure.plan import PROBES_PER_LENGTH, Point, SweepPlan
from inferprint.measure.prompts import Prompts, is_close
from inferprint.measure.rows import Subject, energy_of, point_row

EMPTY_POINTS = 3
"""Points in a row without a row after which a sweep stops."""

FIRST_PROMPT_WORDS = 16
LONGEST_METER_WAIT_S = 120.0
FINEST_READING_S = 0.05
"""Time between two readings of a meter that shows more than is read of it [s]."""

NO_METER = "no energy was measured, as there is no meter: the rows hold times alone"

TOO_LONG = (*NOT_UNDERSTOOD, 413)
"""Statuses by which a server refuses lengths."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a point: its row, or why there is none."""

    point: Point
    row: Row | None
    reason: str = ""


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
        Told requests sent, and how many they usually are in all.
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
        usual = plan.usual_requests
        self.budget = Budget(
            plan.most_requests(metered=meter is not None),
            lambda sent: self._watch.progress(sent, max(sent, usual)),
        )
        self._recorder: Recorder | None = None
        self._idle_w: float | None = None
        self._begun = self._end = 0.0
        self._run = datetime.now(tz=UTC)
        self._words: dict[int, int] = {}
        self._refused: dict[tuple[int, int], str] = {}
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

    def _close_summary(self) -> None:
        summary, points = self.summary, self.plan.points()
        summary.sent, summary.told_to_wait = self.budget.sent, self.budget.waits
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
                for point in self.plan.points():
                    if self.summary.stopped or not await self._measure(point):
                        return

    async def _meet(self) -> None:
        """Learn what the server is called, understands and reports."""
        target = self.client.target
        if not target.model:
            name = await self._served_model()
            self.client.target = target = replace(target, model=name)
            self.summary.served_model = name
        prompt = self.prompts.fresh(FIRST_PROMPT_WORDS)
        answer, remarks, sent = await learn(self.client, prompt)
        self.budget.take(sent)
        self._count(answer)
        for remark in remarks:
            self._note(remark)
        if answer.n_in is None:
            self._note("the server reports no prompt tokens: n_in_tokens is the number of words sent")
        else:
            self.prompts.learn(FIRST_PROMPT_WORDS, answer.n_in)

    async def _served_model(self) -> str:
        names = await self.client.models()
        if not names or self.subject.model_id in names:
            return self.subject.model_id
        if len(names) == 1:
            self._note(f"the server calls its only model '{names[0]}'")
            return names[0]
        raise EndpointProblem(
            f"{self.client.target.base} serves {len(names)} models, and none is called '{self.subject.model_id}'",
            hint=f"Name one with --served-model: {', '.join(names[:10])}.",
        )

    @contextmanager
    def _metering(self) -> Iterator[None]:
        if self._meter is None:
            self._note(NO_METER)
            yield
            return
        with Recorder(self._meter) as self._recorder:
            yield

    async def _measure(self, point: Point) -> bool:
        """Measure a point; False where the sweep cannot go on."""
        if self._recorder is not None and self.summary.meter is None:
            await self._wait_idle(self._recorder)
        if time.monotonic() >= self._end:
            return self._stop(f"--max-seconds {self.plan.max_seconds:g} are over")
        if self.budget.left < self.plan.sent(point):
            return self._stop(f"of --max-requests too few are left for {point}")
        refused = self._refused.get((point.prompt_tokens, point.answer_tokens), "")
        try:
            outcome = Outcome(point, None, refused) if refused else await self._outcome(point)
        except TimeoutError:
            return self._stop(f"--max-seconds {self.plan.max_seconds:g} are over")
        self.summary.outcomes.append(outcome)
        self._watch.done(outcome)
        if outcome.row is not None:
            self._empty = 0
        elif (point.prompt_tokens, point.answer_tokens) not in self._refused:
            self._empty += 1
        if self._empty >= EMPTY_POINTS:
            return self._stop(f"{EMPTY_POINTS} points in a row gave no row")
        return True

    def _stop(self, reason: str) -> bool:
        self.summary.stopped = reason
        return False

    async def _outcome(self, point: Point) -> Outcome:
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
            self.budget,
            point,
            lambda: self.prompts.fresh(words - prefix_words, prefix),
            counted=self.plan.counted(point),
            least_seconds=self._least_seconds(),
            most_seconds=self.plan.seconds_per_point,
            give_up_at=self._end,
        )
        steady = await load.run()
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
        sent = await ask_patiently(self.client, self.budget, prompt, 1)
        if sent is not None:
            self._count(sent)
        return sent if isinstance(sent, Failed) else None

    async def _find_length(self, tokens: int) -> Failed | None:
        """Find how many words give a prompt length."""
        words = self.prompts.words_for(tokens)
        for _ in range(PROBES_PER_LENGTH):
            answer = await ask_patiently(self.client, self.budget, self.prompts.fresh(words), 1)
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
            return "the time or the requests of the sweep were over before enough answers had come"
        return ""

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
        return reason

    def _refuse(self, failures: list[Failed], lengths: list[tuple[int, int]]) -> None:
        """Ask no more for lengths that the server refuses."""
        if all(failed.status in TOO_LONG for failed in failures):
            self._refused |= dict.fromkeys(lengths, f"the server refuses these lengths: {failures[0].text}")

    async def _row(self, point: Point, load: Load, steady: Steady) -> Row:
        energy, remarks = await self._energy(steady)
        if load.was_dropped:
            remarks.append("cut short by --max-seconds")
        if load.failures:
            kinds = Counter(failed.kind for failed in load.failures)
            said = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            remarks.append(f"{len(load.failures)} of {len(load.outcomes)} requests failed: {said}")
        row_id = f"{self.subject.source}-{self._run:%Y%m%dT%H%M%S%f}-{len(self.writer.rows) + 1}"
        row = point_row(row_id, self.subject, point, steady, remarks)
        row = replace(row, source_path=self.client.target.url, date=f"{self._run:%Y-%m-%d}")
        if energy is None or self._meter is None:
            return row
        return energy_of(row, energy, len(steady.answers), self._meter.boundary, self._idle_w)

    def _least_seconds(self) -> float:
        """How long a window has to be for the meter [s]."""
        if self._meter is None or self._recorder is None:
            return 0.0
        needed = 1.1 * LEAST_RESOLUTIONS * max(self._meter.resolution_s, FINEST_READING_S)
        return min(needed, self.plan.seconds_per_point, LONGEST_METER_WAIT_S)

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
        try:
            return await asyncio.to_thread(self._recorder.window, steady.start_s, steady.end_s), []
        except MeterProblem as problem:
            self._note(f"no energy: {problem}")
            return None, [f"no energy: {problem.message}"]

    def _count(self, outcome: Answered | Failed) -> None:
        if isinstance(outcome, Failed):
            self.summary.failures[outcome.kind] += 1
        else:
            self.summary.answered += 1

    def _note(self, text: str) -> None:
        if text not in self.summary.notes:
            self.summary.notes.append(text)
            self._watch.say(text)
