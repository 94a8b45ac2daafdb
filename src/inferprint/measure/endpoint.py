"""A sweep against an OpenAI-compatible server: point after point, each a row as soon as it ends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from inferprint.errors import EndpointProblem
from inferprint.measure.answers import Answered, Failed
from inferprint.measure.client import OWNERS, Client, Served
from inferprint.measure.load import PAUSE_AFTER_FAILURE_S, Budget, Load, Steady, ask_patiently
from inferprint.measure.meeting import NOT_UNDERSTOOD, learn, problem_of
from inferprint.measure.meters.base import Meter
from inferprint.measure.observations import ObservationWriter, Row
from inferprint.measure.outcomes import Outcome, Outcomes, Watch
from inferprint.measure.plan import PROBES_PER_LENGTH, Point, SweepPlan
from inferprint.measure.prompts import Prompts, is_close
from inferprint.measure.rows import MISSED, Subject, point_row
from inferprint.measure.sweep_energy import SweepEnergy
from inferprint.measure.verdicts import Cache, Waiting

EMPTY_POINTS = 3
"""Points in a row without a row after which a sweep stops."""

FIRST_PROMPT_WORDS = 16
MOST_FAILING = 0.05
"""Requests in flight that fail, for each one that is answered, beyond which a point gives no row."""

NAMES_SHOWN = 10

TOO_LONG = (*NOT_UNDERSTOOD, 413)
"""Statuses by which a server refuses lengths."""

NOT_AGAIN = (*TOO_LONG, 401, 403)
"""Statuses by which a server refuses a request that it would refuse again."""

MOST_EARLY, FAR_FEWER = 0.5, 0.5
"""Share of a point's answers that end early, and part of the asked length that they have, from which on it is said."""


@dataclass(slots=True)
class Summary(Outcomes[Point]):
    """What a sweep did, as far as it came.

    Attributes
    ----------
    under_way
        Requests that were given up before they had ended, as the sweep was over.
    """

    url: str
    served_model: str
    seed: str
    failures: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    under_way: int = 0
    sent: int = 0
    told_to_wait: int = 0
    sent_again: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data."""
        requests = {
            "sent": self.sent,
            "answered": self.answered,
            "failed": dict(self.failures),
            "under_way": self.under_way,
            "told_to_wait": self.told_to_wait,
            "sent_again": self.sent_again,
        }
        about = {"url": self.url, "served_model": self.served_model, "prompt_seed": self.seed}
        return {**about, "requests": requests, **self.told()}


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
        watch: Watch[Point] | None = None,
        idle_seconds: float = 10.0,
        seed: str | None = None,
    ) -> None:
        self.client, self.plan, self.subject, self.writer = client, plan, subject, writer
        self.prompts = Prompts(seed)
        self.summary = Summary(client.target.url, client.target.model, self.prompts.seed)
        self._watch = watch or Watch()
        self._energy = SweepEnergy(meter, plan.seconds_per_point, self._note, idle_seconds=idle_seconds)
        self.budget = Budget(plan.most_requests(metered=meter is not None), self._progress)
        self._expected, self._later = plan.usual_requests, 0
        self._load: Load | None = None
        self._told: set[str] = set()
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
        summary.meter = self._energy.told
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
            with self._energy.metering():
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

    async def _measure(self, place: int, point: Point) -> bool:
        """Measure a point; False where the sweep cannot go on."""
        await self._energy.wait_idle(self._end)
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

    async def _outcome(self, place: int, point: Point) -> Outcome[Point]:
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
            least_seconds=self._energy.least_seconds(),
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
        window, remarks = await self._energy.window(point, load, steady)
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
        return row if window is None else self._energy.added_to(row, point, steady, window)

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


def _may_ask_again(failures: Sequence[Failed]) -> bool:
    """Whether a request that failed so often may be answered where it is sent once more."""
    if not failures:
        return True
    last = failures[-1]
    again = last.kind not in ("redirected", "timed out") and last.status not in NOT_AGAIN
    return again and len(failures) < PROBES_PER_LENGTH
