"""The output folder: written beside its place and moved there at the end, whole or not at all."""

from __future__ import annotations

import csv
import glob
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from inferprint.usage.engine import duckdb_error, literal, quoted
from inferprint.batch.totals import Total
from inferprint.errors import FileProblem
from inferprint.quantities import RESULTS

IMPACTS, TOTALS, SUMMARY, REJECTS = "impacts", "totals.csv", "summary.json", "rejects.csv"
OURS = (f"{IMPACTS}.parquet", f"{IMPACTS}.csv", TOTALS, SUMMARY, REJECTS)
"""All that an output folder may hold."""

_PARTIAL = ".partial-"


@contextmanager
def output_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to write to, which becomes `out` when the block ends well and vanishes when it does not.

    Raises
    ------
    FileProblem
        `out` is taken, or cannot be written.
    """
    out = out.resolve()
    _check_free(out, overwrite=overwrite)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        partial = Path(tempfile.mkdtemp(prefix=f"{_prefix(out)}{os.getpid()}-", dir=out.parent))
    try:
        with writing(out):
            yield partial
            _move(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn what the system or the engine says about a failed write into a `FileProblem`."""
    try:
        yield
    except (OSError, duckdb_error()) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FileProblem(
            f"{out}: cannot be written: {reason}", hint="Is there room, and may you write there?"
        ) from error


def _check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse to touch anything but an empty place or, when told to, the output of an earlier run."""
    if not out.exists():
        return
    if not out.is_dir():
        raise FileProblem(f"{out}: is a file", hint="Name a folder to write to.")
    with writing(out):
        held = sorted(path.name for path in out.iterdir())
    foreign = [name for name in held if name not in OURS]
    if foreign:
        raise FileProblem(f"{out}: holds other files: {', '.join(foreign[:5])}", hint="Name a new folder.")
    if held and not overwrite:
        raise FileProblem(
            f"{out}: holds the output of an earlier run",
            hint="Name a new folder, or overwrite it: --overwrite (Python: overwrite=True).",
        )


def _prefix(out: Path) -> str:
    """Beginning of the names of what is not finished, on this machine."""
    return f".{out.name}{_PARTIAL}{platform.node()}-"


def _sweep(out: Path) -> None:
    """Remove what killed runs left behind; a process that still lives keeps its folder."""
    if os.name != "posix":
        return
    for left in out.parent.glob(f"{glob.escape(_prefix(out))}*"):
        process = left.name.removeprefix(_prefix(out)).split("-")[0]
        if process.isdigit() and not _lives(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _lives(process: int) -> bool:
    """Whether a process of this number exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _move(partial: Path, out: Path) -> None:
    """Put the finished folder in place; an earlier output goes only once the new one is there."""
    partial.chmod(0o777 & ~_umask())
    if not out.exists():
        partial.rename(out)
        return
    former = Path(tempfile.mkdtemp(prefix=f"{_prefix(out)}{os.getpid()}-", dir=out.parent))
    out.rename(former)
    try:
        partial.rename(out)
    except BaseException:
        former.rename(out)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _umask() -> int:
    """The mask of new files, which a temporary folder does not follow."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


class ImpactWriter:
    """Writes impacts part by part, and makes one file of the parts.

    Parameters
    ----------
    folder
        Where to write.
    kind
        "parquet" or "csv".
    connection
        DuckDB.
    """

    def __init__(self, folder: Path, kind: str, connection: Any) -> None:
        self._folder, self._kind, self._connection = folder, kind, connection
        self._parts: list[Path] = []

    @property
    def is_empty(self) -> bool:
        """True until something was written."""
        return not self._parts

    def write(self, columns: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Write a chunk: integers, floats (NaN becomes blank) and text ("" becomes blank)."""
        part = self._folder / f"part-{len(self._parts):06d}.{self._kind}"
        self._connection.register("chunk", dict(columns))
        select = ", ".join(_expression(name, column) for name, column in columns.items())
        self._copy(f"SELECT {select} FROM chunk", part, header=not self._parts)
        self._connection.unregister("chunk")
        self._parts.append(part)

    def close(self) -> None:
        """Make one file of the parts."""
        whole = self._folder / f"{IMPACTS}.{self._kind}"
        if len(self._parts) == 1:
            self._parts[0].rename(whole)
        elif self._kind == "parquet":
            parts = ", ".join(literal(str(part)) for part in self._parts)
            self._copy(f"SELECT * FROM read_parquet([{parts}])", whole, header=True)
        else:
            with whole.open("wb") as target:
                for part in self._parts:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, target)
        for part in self._parts:
            part.unlink(missing_ok=True)

    def _copy(self, query: str, path: Path, *, header: bool) -> None:
        how = "FORMAT parquet" if self._kind == "parquet" else f"FORMAT csv, HEADER {str(header).lower()}"
        self._connection.execute(f"COPY ({query}) TO {literal(str(path))} ({how})")


def _expression(name: str, column: np.ndarray[Any, Any]) -> str:
    """SQL for a column of a chunk."""
    read = quoted(name)
    if column.dtype.kind == "f":
        read = f"nullif({read}, 'nan'::DOUBLE)"
    elif column.dtype.kind == "O":
        read = f"nullif(CAST({read} AS VARCHAR), '')"
    return f"{read} AS {quoted(name)}"


class RejectWriter:
    """Writes rejected rows; the file exists only when there are any."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / REJECTS
        self._file: TextIO | None = None
        self.count = 0

    def write(self, file: Path, row: int, field: str, reason: str, text: str) -> None:
        """Write one row: where it stands, what is wrong, and its text."""
        if self._file is None:
            # Bytes that are no UTF-8 are written as their codes.
            self._file = self._path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
            csv.writer(self._file, lineterminator="\n").writerow(["file", "row", "field", "reason", "text"])
        csv.writer(self._file, lineterminator="\n").writerow([file, row, field, reason, text])
        self.count += 1

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()


def write_totals(folder: Path, totals: Sequence[Total]) -> None:
    """Write the totals: one line per dimension and key."""
    names = [quantity.name for quantity in RESULTS]
    header = [column for name in names for column in (name, f"{name}_low", f"{name}_high")]
    with (folder / TOTALS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dimension", "key", "records", *header])
        for total in totals:
            cells = [cell for name in names for cell in (total.outputs[name] or ("", "", ""))]
            writer.writerow([total.dimension, total.key, total.records, *cells])


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary as JSON; what is unknown is null."""
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")
