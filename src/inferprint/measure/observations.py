"""Rows of measurements as they are made: a file with the columns of `data/benchmarks/README.md`, one row at a time."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType

from inferprint.errors import FileProblem

DIGITS = 7
"""Significant digits of what is written: more than any clock or meter here resolves."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measured point; None where nothing was measured or stated, which leaves the cell empty.

    Attributes
    ----------
    row_id
        Unique over all files.
    source, source_path, date
        Name of the run, what was measured, and the day in UTC.
    serving_mode
        "single_stream", "aggregated" or "prefill_only".
    concurrency
        Mean number of requests in flight.
    n_in_tokens, n_cached_tokens, n_out_tokens
        Mean prompt, its part that a cache held, and answer [tokens].
    ttft_s, itl_ms, duration_s
        Means: until the first token [s], between two tokens [ms], until the last token [s].
    system_output_tokens_per_s
        All requests together.
    n_repeats
        Requests behind the row.
    energy_per_request_j, energy_per_output_token_j
        Of the boundary that `energy_boundary` names [J].
    avg_gpu_power_w_all_gpus, avg_system_power_w, idle_gpu_power_w
        Mean of all boards, of the whole machine, and of one board that waits for work [W].
    node_id
        The node of one's own that was measured, for `validate` to score its coefficients.
    note
        What else is to be known of the row.
    """

    row_id: str
    source: str
    model_id: str
    gpu: str
    gpu_count: int
    serving_mode: str
    date: str
    model_key: str | None = None
    source_path: str | None = None
    precision_name: str | None = None
    tensor_parallel: int | None = None
    engine: str | None = None
    engine_version: str | None = None
    concurrency: float | None = None
    n_in_tokens: float | None = None
    n_cached_tokens: float | None = None
    n_out_tokens: float | None = None
    ttft_s: float | None = None
    itl_ms: float | None = None
    system_output_tokens_per_s: float | None = None
    duration_s: float | None = None
    n_repeats: int | None = None
    energy_per_request_j: float | None = None
    energy_per_output_token_j: float | None = None
    avg_gpu_power_w_all_gpus: float | None = None
    avg_system_power_w: float | None = None
    energy_boundary: str | None = None
    idle_gpu_power_w: float | None = None
    node_id: str | None = None
    note: str | None = None

    def to_dict(self) -> dict[str, str | float | None]:
        """The row by column, numbers as they are written."""
        return {name: _shortened(getattr(self, name)) for name in COLUMNS}


def _shortened(value: str | float | None) -> str | float | None:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


COLUMNS = tuple(field.name for field in fields(Row))


class ObservationWriter:
    """A file of rows, each on disk as soon as it is appended, so that an interrupted run keeps what it measured.

    Parameters
    ----------
    path
        File to write; its folder is made where there is none.
    add
        Add to a file that is there, which must have the same columns.

    Raises
    ------
    FileProblem
        The file is there and `add` was not asked for, has other columns, or cannot be written.
    """

    def __init__(self, path: Path, *, add: bool = False) -> None:
        self.path = path
        self.rows: list[Row] = []
        self._fresh = not path.exists()
        if not (self._fresh or add):
            raise FileProblem(f"{path} is there already", hint="Name another file, or add to it with --append.")
        if not self._fresh:
            _check_columns(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("a", encoding="utf-8", newline="")
        except OSError as error:
            raise FileProblem(f"cannot write {path}: {error}", hint="Name another file.") from error
        self._table = csv.DictWriter(self._stream, COLUMNS, lineterminator="\n")
        if self._fresh:
            self._write(self._table.writeheader)

    def append(self, row: Row) -> None:
        """Write a row and have it on disk.

        Raises
        ------
        FileProblem
            It cannot be written.
        """
        cells = {name: "" if value is None else value for name, value in row.to_dict().items()}
        self._write(lambda: self._table.writerow(cells))
        self.rows.append(row)

    def close(self) -> None:
        """Close the file; a new one without rows is taken away again."""
        if self._stream.closed:
            return
        self._stream.close()
        if self._fresh and not self.rows:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> ObservationWriter:
        """The writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file."""
        self.close()

    def _write(self, write: Callable[[], object]) -> None:
        try:
            write()
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise FileProblem(
                f"cannot write {self.path}: {error}", hint=f"{len(self.rows)} rows are in it; make room and go on."
            ) from error


def _check_columns(path: Path) -> None:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            found = tuple(next(csv.reader(stream), ()))
        whole = path.read_bytes().endswith(b"\n")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileProblem(f"cannot read {path}: {error}", hint="Name another file.") from error
    if found != COLUMNS:
        raise FileProblem(f"{path} has other columns than the rows to add", hint="Name another file with --out.")
    if not whole:
        raise FileProblem(f"the last line of {path} is not whole", hint="End it with a line break, or take it away.")
