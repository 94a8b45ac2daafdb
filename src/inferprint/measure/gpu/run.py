"""A run on one device: idle power, weights, idle power again, then point after point, each a row as soon as it ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from inferprint.errors import InvalidInput, MeterProblem
from inferprint.measure.gpu.blocks import Stack
from inferprint.measure.gpu.device import Device
from inferprint.measure.gpu.plan import GpuPlan, GpuPoint, layers_for, layers_that_fit
from inferprint.measure.gpu.rows import Idle, Part, Subject, point_row
from inferprint.measure.gpu.shapes import Shape
from inferprint.measure.gpu.timing import measure
from inferprint.measure.meters.base import NO_METER, Meter
from inferprint.measure.meters.windows import LEAST_RESOLUTIONS, Recorder, Window
from inferprint.measure.observations import ObservationWriter
from inferprint.measure.outcomes import Outcome, Outcomes, Watch

LONGEST_METER_WAIT_S = 120.0
SETTLE_S = 5.0
OVER = "the time of the run was over"


@dataclass(slots=True)
class Summary(Outcomes[GpuPoint]):
    """What a run on one device did, as far as it came."""

    device: str
    shape: Shape
    subject: Subject
    layers_built: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data."""
        shape = self.shape
        return {
            "model_id": self.subject.model_id,
            "precision": self.subject.precision,
            "device": self.device,
            "layers": shape.layers,
            "layers_built": self.layers_built,
            "block_params": shape.block_params,
            "active_block_params": shape.active_block_params,
            "head_params": shape.head_params,
            **self.told(),
        }


class GpuRun:
    """A run of a plan.

    Parameters
    ----------
    device, shape, subject, plan
        Where, what, as which rows name it, and what of it.
    writer
        Takes the rows.
    meter
        Of the device's energy; None where there is none.
    idle_seconds
        How long each idle power is metered [s].
    """

    def __init__(
        self,
        device: Device,
        shape: Shape,
        subject: Subject,
        plan: GpuPlan,
        writer: ObservationWriter,
        *,
        meter: Meter | None = None,
        watch: Watch[GpuPoint] | None = None,
        idle_seconds: float = 10.0,
    ) -> None:
        self._device, self._shape, self._plan, self._writer = device, shape, plan, writer
        self._run = datetime.now(tz=UTC)
        self._subject = replace(subject, date=f"{self._run:%Y-%m-%d}")
        self._meter, self._watch, self._idle_seconds = meter, watch or Watch(), idle_seconds
        self._recorder: Recorder | None = None
        self._idle = Idle(meter.boundary if meter is not None else None)
        self._heads: dict[int, Part] = {}
        self._end_s = math.inf
        self._remarks: list[str] = []
        self.summary = Summary(device.kind, shape, self._subject)

    def run(self) -> Summary:
        """Run it to its end.

        Raises
        ------
        InvalidInput
            The device does not compute in the precision, more layers are asked for than the model has, or they do not
        fit.
        MeterProblem
            The meter cannot be read.
        KeyboardInterrupt
            It was interrupted; `summary` and the written rows hold what was measured.
        """
        begun = time.monotonic()
        self._end_s = begun + self._plan.max_seconds
        points = self._plan.points()
        try:
            with self._metering():
                self._all(points)
        except KeyboardInterrupt:
            self.summary.stopped = "interrupted"
            raise
        finally:
            self.summary.seconds = time.monotonic() - begun
            self.summary.not_measured = points[len(self.summary.outcomes) :]
        return self.summary

    def _all(self, points: list[GpuPoint]) -> None:
        device = self._device
        if device.kind != "cuda":
            device.check(self._subject.precision)
        if not device.in_use:
            device.empty_w = self._idle_power("idle_w")
            device.begin()
        device.check(self._subject.precision)
        self._check_name()
        self._idle = replace(self._idle, empty_w=device.empty_w)
        self.summary.device = f"{device.name}, PyTorch {device.version}"
        self._subject = replace(self._subject, device=self.summary.device)
        stack = self._build()
        self._settle()
        self._idle = replace(self._idle, loaded_w=self._idle_power("idle_with_weights_w"))
        for done, point in enumerate(points):
            self._watch.progress(done, len(points))
            if time.monotonic() >= self._end_s:
                self.summary.stopped = f"its {self._plan.max_seconds:g} s of --max-seconds are over"
                return
            outcome = self._outcome(stack, point)
            if outcome.reason == OVER:
                self.summary.stopped = f"its {self._plan.max_seconds:g} s of --max-seconds are over"
                return
            self.summary.outcomes.append(outcome)
            self._watch.done(outcome)
        self._watch.progress(len(points), len(points))

    def _check_name(self) -> None:
        """Say where the catalogue takes the device's name for another accelerator than the rows are to be of."""
        name, gpu = self._device.name, self._subject.gpu
        other = self._subject.known_as(name)
        if other not in (None, gpu):
            self._remarks.append(f"the device calls itself {name}, which the catalogue takes for {other}")
            self._note(f"{self._remarks[-1]}, and --gpu is {gpu}: check it, as the rows are written as of {gpu}")

    @contextmanager
    def _metering(self) -> Iterator[None]:
        if self._meter is None:
            self._note(NO_METER)
            yield
            return
        self.summary.meter = {"meter": self._meter.name, "boundary": self._meter.boundary}
        with Recorder(self._meter) as self._recorder:
            yield

    def _idle_power(self, name: str) -> float | None:
        """Mean power while nothing is computed [W]."""
        if self._recorder is None or self.summary.meter is None:
            return None
        start = time.monotonic()
        time.sleep(max(0.1, min(self._idle_seconds, self._end_s - start)))
        try:
            watts = self._recorder.window(start, time.monotonic(), flag_short=True).watts
        except MeterProblem as problem:
            # Nothing is drawn, or the counter sleeps: under load it will be seen again.
            self._note(f"no power before the work: {problem.message}")
            watts = None
        self.summary.meter[name] = watts
        return watts

    def _settle(self) -> None:
        """Let clocks fall, which stay up for a while after weights were made; only where idle power is metered."""
        if self._recorder is not None:
            time.sleep(max(0.0, min(SETTLE_S, self._idle_seconds, self._end_s - time.monotonic())))

    def _build(self) -> Stack:
        device, shape, plan = self._device, self._shape, self._plan
        precision = self._subject.precision
        built = layers_that_fit(shape, precision, device.free_bytes(), plan.layers)
        self.summary.layers_built = built
        self._watch.say(
            f"building {built} of {shape.layers} layers of {shape.block_params / 1e6:,.4g} million parameters in "
            f"{precision}"
        )
        try:
            stack = Stack(device, shape, precision, built)
            device.synchronise()
        except (RuntimeError, MemoryError) as error:
            if not device.ran_out(error):
                raise
            raise InvalidInput(
                "--layers",
                f"{built} layers do not fit into the memory of {device.name}",
                hint="Name fewer, or a smaller model.",
            ) from error
        return stack

    def _outcome(self, stack: Stack, point: GpuPoint) -> Outcome[GpuPoint]:
        window = self._shape.window
        reach = point.cached + point.fresh
        if window is not None and reach > window:
            return Outcome(point, None, f"some layers of the model attend to {window:,} tokens alone, of {reach:,}")
        try:
            return self._measured(stack, point)
        except (RuntimeError, MemoryError) as error:
            if not self._device.ran_out(error):
                raise
            reason = f"it does not fit into the memory of {self._device.name}"
        self._device.release()
        return Outcome(point, None, reason)

    def _measured(self, stack: Stack, point: GpuPoint) -> Outcome[GpuPoint]:
        self._device.release()
        built = layers_for(
            point, self._shape, self._subject.precision, self.summary.layers_built, self._device.free_bytes()
        )
        stack.experts_touched()
        remarks = [*self._remarks, *([stack.attention.said] if point.kind == "prefill" else [])]
        layers = self._part(stack.step(point, built), remarks)
        touched = stack.experts_touched()
        head = self._heads.get(point.batch) or self._part(stack.head(point.batch), remarks)
        if layers is None or head is None:
            return Outcome(point, None, OVER)
        if head.energy is not None or self._recorder is None:
            self._heads[point.batch] = head
        if touched is not None:
            remarks.append(f"{touched:.4g} of {self._shape.experts} experts of a layer touched, one after the other")
        if len(layers.timing.seconds) < self._plan.repeats:
            remarks.append("cut short by --max-seconds")
        row_id = f"{self._subject.source}-{self._run:%Y%m%dT%H%M%S%f}-{len(self._writer.rows) + 1}"
        parts, answer = (layers, head), self._plan.answer_tokens
        row = point_row(self._subject, self._shape, point, built, parts, answer, self._idle, remarks)
        row = replace(row, row_id=row_id)
        self._writer.append(row)
        return Outcome(point, row)

    def _part(self, step: Callable[[], object], remarks: list[str]) -> Part | None:
        """Time a step, and meter it; what hinders the meter goes to the remarks."""
        timing = measure(
            lambda steps: self._device.timed(step, steps),
            repeats=self._plan.repeats,
            seconds=self._least_seconds(),
            end_s=self._end_s,
            slowed_by=self._device.slowed_by,
        )
        if timing is None:
            return None
        return Part(timing, self._energy(timing.start_s, timing.end_s, remarks))

    def _energy(self, start_s: float, end_s: float, remarks: list[str]) -> Window | None:
        if self._recorder is None:
            return None
        try:
            return self._recorder.window(start_s, end_s)
        except MeterProblem as problem:
            self._note(f"no energy: {problem}")
            remarks.append(f"no energy: {problem.message}")
            return None

    def _least_seconds(self) -> float:
        """How long a point's repeats are to take together [s]: as long as the meter needs."""
        seconds = self._plan.seconds_per_point
        if self._meter is None or not math.isfinite(self._meter.resolution_s):
            return seconds
        needed = 1.2 * LEAST_RESOLUTIONS * self._meter.resolution_s
        return max(seconds, min(needed, LONGEST_METER_WAIT_S))

    def _note(self, text: str) -> None:
        if text not in self.summary.notes:
            self.summary.notes.append(text)
            self._watch.say(text)
