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
from inferprint.measure.load import PAUSE_AFTER_FAILURE_S, Budget, Load, Steady, ask_patiently
from inferprint.measure.meters.base import NO_METER, Meter, Reading
from inferprint.measure.meters.windows import LEAST_RESOLUTIONS, Recorder, Window, changes_of, too_short
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

NEARLY = 0.9
"""Part of the longest time of a point from which on it was used: a window ends with a whole answer, a little before."""

GIVEN_UP = "energy is given up, and the rows hold times alone"

TOO_LONG = (*NOT_UNDERSTOOD, 413)
"""Statuses by which a server refuses lengths."""

NOT_AGAIN = (*TOO_LONG, 401, 403)
"""Statuses by which a server refuses a request that it would refuse again."""

MOST_EARLY, FAR_FEWER = 0.5, 0.5
"""Share of a point's answers that end early, and part of the asked length that they have, from which on it is said."""


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
    under_way
        Requests that were given up before they had ended, as the sweep was over.
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
    under_way: int = 0
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
                "under_way": self.under_way,
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
        summary.sent, summary.under_way = self.client.asked, self.client.dropped
        summary.told_to_wait, summary.sent_again = budget.waits, budget.again
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
        if not (models or given):
            self._note(f"the server lists no models: it is asked for '{wanted}'; --served-model names another")
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
        if failed:
            return Outcome(point, None, self._reason_of(failed, point, len(failed)))
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

    async def _prepare(self, point: Point) -> list[Failed]:
        """Find the prompt's length, and send a prefix that is to be cached; the failures where one of them failed."""
        if point.prompt_tokens not in self._words:
            failed = await self._find_length(point.prompt_tokens)
            if failed:
                self._refuse(failed, [(point.prompt_tokens, answer) for answer in self.plan.answer_tokens])
                return failed
        words = self._words[point.prompt_tokens]
        prefix_words = round(point.cached_share * words)
        failures: list[Failed] = []
        while prefix_words and _may_ask_again(failures):
            prompt = self.prompts.fresh(words - prefix_words, self.prompts.prefix(prefix_words))
            sent = await self._probe(prompt, failures)
            if not isinstance(sent, Failed):
                return []
        return failures

    async def _find_length(self, tokens: int) -> list[Failed]:
        """Find how many words give a prompt length; the failures where no request for it was answered."""
        words, failures, is_known = self.prompts.words_for(tokens), list[Failed](), False
        for _ in range(PROBES_PER_LENGTH):
            answer = await self._probe(self.prompts.fresh(words), failures)
            if isinstance(answer, Failed):
                if not _may_ask_again(failures):
                    break
                continue
            is_known = True
            if answer is None or answer.n_in is None or is_close(answer.n_in, tokens):
                break
            self.prompts.learn(words, answer.n_in)
            words = self.prompts.words_for(tokens)
        if not is_known:
            return failures
        self._words[tokens] = words
        return []

    async def _probe(self, prompt: str, failures: list[Failed]) -> Answered | Failed | None:
        """One request for a single token, some time after one that failed; None without any budget."""
        if failures:
            await asyncio.sleep(PAUSE_AFTER_FAILURE_S)
        outcome = await ask_patiently(self.client.ask, self.budget, prompt, 1)
        if outcome is not None:
            self._count(outcome)
        if isinstance(outcome, Failed):
            failures.append(outcome)
        return outcome

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
        reason = f"{len(failures)} of {of} request{'' if of == 1 else 's'} failed: {', '.join(parts)}"
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
        energy, remarks = await self._energy(point, load, steady)
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
        return energy_of(row, point, steady, energy, self._meter.boundary, self._idle_w)

    def _compare(self, point: Point, row: Row, steady: Steady) -> None:
        """Say, once for the sweep, where prompts are not as they were asked for."""
        told, n_in, n_cached = "rows hold what the server counts", row.n_in_tokens, row.n_cached_tokens
        self._say_short(point, steady)
        counted = all(answer.n_in is not None for answer in steady.answers)
        if n_in is not None and counted and abs(n_in / point.prompt_tokens - 1) > MISSED:
            self._note_once("n_in", f"a prompt of {point.prompt_tokens} tokens has {n_in:.4g} at the server: {told}")
        if n_cached and not point.cached_share:
            self._note_once("n_cached", f"{n_cached:.4g} tokens came from a cache where none were to: {told}")

    def _say_short(self, point: Point, steady: Steady) -> None:
        """Say, once for the sweep, that most answers end before they have the tokens that were asked for."""
        answers = steady.answers
        early = sum(answer.n_out < answer.asked for answer in answers)
        if early <= MOST_EARLY * len(answers):
            return
        fewer = "far fewer" if steady.n_out < FAR_FEWER * point.answer_tokens else "fewer"
        self._note_once(
            f"n_out {fewer}",
            f"answers of {point} have {fewer} tokens than asked, {steady.n_out:.4g} in the mean, as {early} of "
            f"{len(answers)} ended before: rows hold what came. llama.cpp ends an answer where the context of its slot "
            "is full; a server that does not take ignore_eos, where the model ends it",
        )

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
            self._note(f"no power before the load: {problem}")

    async def _energy(self, point: Point, load: Load, steady: Steady) -> tuple[Window | None, list[str]]:
        """Energy of a window, or what is to be said where there is none."""
        recorder = self._recorder
        if recorder is None:
            return None, []
        if self._no_energy:
            return None, [f"no energy: {self._no_energy}"]
        is_short = False
        try:
            window = await asyncio.to_thread(recorder.window, steady.start_s, steady.end_s, flag_short=True)
            is_short = window.is_short
            if not is_short:
                return window, []
            problem = too_short(window, recorder.meter.name)
        except MeterProblem as met:
            problem = met
        self._give_up(recorder, steady)
        if not self._no_energy:
            hints = ["" if is_short else problem.hint, self._what_gives_more(load, steady, is_short=is_short)]
            advice = " ".join([*filter(None, hints), "Other rows without energy say why themselves."])
            self._note_once("no energy", f"no energy for {point}: {problem.message}\n  {advice}")
        return None, [f"no energy: {problem.message}"]

    def _what_gives_more(self, load: Load, steady: Steady, *, is_short: bool) -> str:
        """What to change for a window that its meter can resolve, by what ended it; empty where it was long enough."""
        if not load.budget.left:
            return "Its requests were used up before the meter had resolved it: allow more with --max-requests."
        if not is_short:
            return ""
        if steady.seconds >= NEARLY * self._longest_s:
            return "Allow a point more time with --seconds."
        return "Let more answers of a point count with --requests."

    def _give_up(self, recorder: Recorder, steady: Steady) -> None:
        """After a window without energy: no later point waits for a meter that is lost, still or can resolve none."""
        meter, resolution = recorder.meter, recorder.meter.resolution_s
        try:
            shown = {reading.joules for reading in _since(steady.start_s, recorder)}
        except MeterProblem as lost:
            self._no_energy = lost.message
            hint = f"\n  {lost.hint}" if lost.hint else ""
            self._note(f"{lost.message}: {GIVEN_UP}{hint}")
            return
        self._still_s = self._still_s + steady.seconds if len(shown) <= 1 else 0.0
        enough = LEAST_RESOLUTIONS * resolution if math.isfinite(resolution) else LONGEST_STILL_S
        if self._still_s >= NEARLY * min(enough, self._longest_s):
            self._no_energy = f"{meter.name} stood still under load for {self._still_s:.3g} s"
        elif math.isfinite(resolution) and enough > self._longest_s:
            needed = f"{meter.name} needs {_needed_s(meter):.3g} s for a point"
            self._no_energy = f"{needed}, which has {self._longest_s:.3g} s (--seconds)"
        if self._no_energy:
            self._note(f"{self._no_energy}: {GIVEN_UP}")

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


def _since(moment_s: float, recorder: Recorder) -> list[Reading]:
    """What a meter showed since a moment.

    Raises
    ------
    MeterProblem
        It can be read no more, or its readings cannot be.
    """
    readings = recorder.readings()
    changes_of(readings, recorder.meter.name)
    return [reading for reading in readings if reading.at_s >= moment_s]


def _may_ask_again(failures: Sequence[Failed]) -> bool:
    """Whether a request that failed so often may be answered where it is sent once more."""
    if not failures:
        return True
    last = failures[-1]
    again = last.kind not in ("redirected", "timed out") and last.status not in NOT_AGAIN
    return again and len(failures) < PROBES_PER_LENGTH
