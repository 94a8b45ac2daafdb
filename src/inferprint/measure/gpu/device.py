"""The device on which PyTorch computes: what it can do, its clock, its free memory, and what slows it down."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from inferprint.errors import FileProblem, InvalidInput, MeterProblem

DEVICES = ("cuda", "mps", "cpu")

FP8_CAPABILITY = (8, 9)
"""Compute capability from which NVIDIA devices multiply at 8 bit: Ada, Hopper and later."""

SLOWED = {
    0x4: "its power limit",
    0x8: "a hardware limit",
    0x20: "the temperature",
    0x40: "the temperature (hardware)",
    0x80: "the power supply (hardware)",
}
"""Reasons for which NVIDIA's driver lowers clocks, by their bits."""


NO_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "not enough memory")
"""What errors of PyTorch and of the libraries below it say where memory does not suffice."""


def need_torch() -> None:
    """Raise where PyTorch is not installed, without importing it.

    Raises
    ------
    FileProblem
        It is not there.
    """
    if find_spec("torch") is None:
        raise FileProblem(
            "PyTorch is not installed, and it is what computes",
            hint="pip install torch, in the build for this accelerator: https://pytorch.org/get-started/locally/",
        )


class Device:
    """A device; made without putting anything on it.

    Parameters
    ----------
    torch
        The module.
    kind
        "cuda" (NVIDIA, and AMD in PyTorch's builds for it), "mps" or "cpu".

    Attributes
    ----------
    in_use
        Whether this process may have put something on it.
    empty_w
        Power before it did [W]; None where it was not metered.
    needed
        Formats that were asked for: all are checked before the first is measured.
    metered
        Index of the device that a meter of NVIDIA's devices reads, among those that CUDA_VISIBLE_DEVICES leaves; None
        where another meter reads it, or none.
    """

    def __init__(self, torch: Any, kind: str) -> None:
        self.torch, self.kind = torch, kind
        self.in_use = False
        self.empty_w: float | None = None
        self.needed: tuple[str, ...] = ()
        self.metered: int | None = None

    @property
    def version(self) -> str:
        """Version of PyTorch."""
        return str(self.torch.__version__)

    @property
    def name(self) -> str:
        """What PyTorch calls it."""
        if self.kind == "cuda":
            return str(self.torch.cuda.get_device_name(0))
        return "Apple GPU" if self.kind == "mps" else f"CPU with {self.torch.get_num_threads()} threads"

    @property
    def is_amd(self) -> bool:
        """Whether it is an AMD accelerator under PyTorch's name for NVIDIA's."""
        return self.kind == "cuda" and bool(getattr(self.torch.version, "hip", None))

    @property
    def fuses_causal(self) -> bool:
        """Whether PyTorch may have a kernel for it that takes a causal bias without making a mask of it."""
        return self.kind == "cuda"

    def begin(self) -> None:
        """Ask the driver whether it computes what was asked for and is what is metered; this may put something on it.

        Raises
        ------
        InvalidInput
            It does not compute in a format that was asked for.
        MeterProblem
            The meter reads another device.
        """
        self.in_use = True
        for precision in self.needed:
            self.check(precision)
        self._check_metered()

    def check(self, precision: str) -> None:
        """Check that it computes in a precision.

        Raises
        ------
        InvalidInput
            It does not.
        """
        reason = self.why_not(precision)
        if reason:
            raise InvalidInput("--precision", reason, hint=f"Measure {'bf16' if precision == 'fp8' else 'fp32'}.")

    def why_not(self, precision: str) -> str:
        """Why it does not compute in a precision; empty where it does."""
        if precision == "fp8":
            reason = self._why_no_fp8()
            return f"fp8 cannot be measured here: {reason}" if reason else ""
        lacks = precision == "bf16" and self.kind == "cuda" and not self.torch.cuda.is_bf16_supported()
        return f"{self.name} does not compute in bf16" if lacks else ""

    def _why_no_fp8(self) -> str:
        torch = self.torch
        if self.kind != "cuda":
            return f"PyTorch multiplies at 8 bit on accelerators alone, and this is {self.kind}"
        if not (hasattr(torch, "_scaled_mm") and hasattr(torch, "float8_e4m3fn")):
            return f"PyTorch {self.version} has no multiplication at 8 bit; 2.5 and later have"
        found = tuple(torch.cuda.get_device_capability(0))
        if not self.is_amd and found < FP8_CAPABILITY:
            return f"{self.name} has compute capability {found[0]}.{found[1]}, and 8.9 is the least"
        return ""

    def dtype(self, precision: str) -> Any:
        """The number format of values that pass between layers."""
        return self.torch.float32 if precision == "fp32" else self.torch.bfloat16

    def synchronise(self) -> None:
        """Wait until it has computed what it was told to."""
        if self.kind != "cpu":
            getattr(self.torch, self.kind).synchronize()

    def timed(self, step: Callable[[], object], steps: int) -> float:
        """Time of so many steps, one after the other [s]; by the device's own clock where it has one."""
        if self.kind != "cuda":
            self.synchronise()
            begun = time.perf_counter()
            for _ in range(steps):
                step()
            self.synchronise()
            return time.perf_counter() - begun
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(steps):
            step()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) * 1e-3

    def free_bytes(self) -> float:
        """Memory that can still be taken [B]."""
        if self.kind == "cuda":
            return float(self.torch.cuda.mem_get_info(0)[0])
        # A system's free pages leave out what it would give back at once.
        pages = os.sysconf("SC_PHYS_PAGES" if self.kind == "mps" else "SC_AVPHYS_PAGES")
        free = float(pages) * os.sysconf("SC_PAGE_SIZE")
        return 0.7 * free if self.kind == "mps" else free

    def release(self) -> None:
        """Give back memory that nothing uses any more."""
        if self.kind == "cuda":
            self.torch.cuda.empty_cache()
        elif self.kind == "mps":
            self.torch.mps.empty_cache()

    def ran_out(self, error: BaseException) -> bool:
        """Whether an error says that memory did not suffice."""
        kinds = [MemoryError]
        for owner in (self.torch, self.torch.cuda):
            kind = getattr(owner, "OutOfMemoryError", None)
            kinds += [kind] if kind is not None else []
        said = str(error).lower()
        return isinstance(error, tuple(kinds)) or any(words in said for words in NO_MEMORY)

    def slowed_by(self) -> list[str]:
        """Why its driver holds its clocks down at this moment; nothing where nobody tells."""
        nvml = self._nvml()
        if nvml is None:
            return []
        read = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
        read = read or nvml.nvmlDeviceGetCurrentClocksThrottleReasons
        try:
            bits = int(read(nvml.nvmlDeviceGetHandleByUUID(f"GPU-{self._uuid()}")))
        except (nvml.NVMLError, AttributeError):
            return []
        return [reason for bit, reason in SLOWED.items() if bits & bit]

    def _check_metered(self) -> None:
        """Raise where the meter's device is another: the driver and PyTorch count differently."""
        nvml = self._nvml() if self.metered is not None else None
        if nvml is None or self.metered is None:
            return
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        try:
            index = int(visible.split(",")[self.metered]) if visible else self.metered
            read = nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetHandleByIndex(index))
            computes = self._uuid()
        except (nvml.NVMLError, AttributeError, ValueError, IndexError):
            # PyTorch tells its device's identity from 2.5 on; the order that `open_device` asks for has to do before.
            return
        metered = (read.decode() if isinstance(read, bytes) else str(read)).removeprefix("GPU-")
        if metered != computes:
            raise MeterProblem(
                f"the meter nvidia:{self.metered} reads the device {metered}, and PyTorch computes on {computes}",
                hint="Set CUDA_DEVICE_ORDER=PCI_BUS_ID, leave one device with CUDA_VISIBLE_DEVICES, and name no other "
                "with --meter.",
            )

    def _nvml(self) -> Any:
        """NVIDIA's management library, ready to be asked; None where it is not there or of no use."""
        if self.kind != "cuda" or self.is_amd or find_spec("pynvml") is None:
            return None
        nvml = importlib.import_module("pynvml")
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            return None
        return nvml

    def _uuid(self) -> str:
        return str(self.torch.cuda.get_device_properties(0).uuid).removeprefix("GPU-")


def open_device(asked: str | None = None) -> Device:
    """The device that was asked for, else the accelerator of this machine, else its processor.

    Raises
    ------
    FileProblem
        PyTorch is not installed, or cannot be loaded.
    InvalidInput
        PyTorch finds no such device.
    """
    need_torch()
    if asked in (None, "cuda"):
        # The order in which the driver counts, and with it the meters: CUDA puts the fastest device first otherwise.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        raise FileProblem(f"PyTorch cannot be loaded: {error}", hint="Install it anew.") from error
    mps = getattr(torch.backends, "mps", None)
    there = {"cuda": torch.cuda.is_available(), "mps": mps is not None and mps.is_available(), "cpu": True}
    if asked is None:
        return Device(torch, next(kind for kind in DEVICES if there[kind]))
    if asked not in there:
        raise InvalidInput("--device", f"unknown device '{asked}'", hint=f"One of {', '.join(DEVICES)}.")
    if not there[asked]:
        found = ", ".join(kind for kind in DEVICES if there[kind])
        raise InvalidInput(
            "--device",
            f"PyTorch {torch.__version__} finds no {asked} device here, only {found}",
            hint="Check the driver, and that PyTorch is the build for this accelerator.",
        )
    return Device(torch, asked)
