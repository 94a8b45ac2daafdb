"""Where a run works: a folder beside its output, which a later run of the same command continues.

Each finished step leaves a small JSON file, written at once or not at all; what it names is complete. The folder
becomes the output at the end, and stays where a run is interrupted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inferprint.errors import FileProblem, InferprintError
from inferprint.usage.engine import duckdb_error

IMPACTS, TOTALS, SUMMARY, REJECTS = "impacts", "totals.csv", "summary.json", "rejects.csv"
OUTPUT_FORMATS = {"parquet": ".parquet", "csv": ".csv", "json": ".jsonl"}
OURS = (*(f"{IMPACTS}{suffix}" for suffix in OUTPUT_FORMATS.values()), TOTALS, SUMMARY, REJECTS)
"""All that an output folder may hold."""

_KEY, _LOCK = "run.json", "lock"


class Workspace:
    """The folder in which a run keeps what is done.

    Attributes
    ----------
    folder
        Where it is.
    resumed
        Whether an earlier run of the same command was interrupted, and is continued.
    """

    def __init__(self, folder: Path, resumed: bool) -> None:
        self.folder, self.resumed = folder, resumed

    def done(self, step: str) -> Any:
        """What a finished step left; None where it is not finished."""
        path = self.folder / f"{step}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def finish(self, step: str, left: Any) -> None:
        """Record that a step is finished, and what it left."""
        path = self.folder / f"{step}.json"
        partial = path.with_suffix(".tmp")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(left, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


class _WriteError(FileProblem):
    """An output that cannot be written: what was done so far is kept."""


@contextmanager
def workspace(out: Path, key: Mapping[str, Any], *, overwrite: bool) -> Iterator[Workspace]:
    """The folder of a run that will write `out`; it stays where the run is interrupted or the disk is full.

    Parameters
    ----------
    key
        What makes two runs the same: files as they are, options, versions.

    Raises
    ------
    FileProblem
        `out` is taken, cannot be written, or is being written by another run.
    """
    out = out.resolve()
    _check_free(out, overwrite=overwrite)
    folder = out.parent / f".{out.name}.partial"
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise FileProblem(f"{folder}: belongs to somebody else", hint="Name another folder to write to.")
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FileProblem(
                f"{out}: another run is writing it", hint="Wait for it, or name another folder."
            ) from error
        with writing(out):
            work = _begun(folder, key)
        try:
            yield work
        except _WriteError:
            raise
        except InferprintError:
            # The same command would fail again: nothing to continue.
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _begun(folder: Path, key: Mapping[str, Any]) -> Workspace:
    """The folder with what an earlier run of the same key left, or empty."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    work = Workspace(folder, resumed=False)
    try:
        work.resumed = work.done(_KEY.removesuffix(".json")) == digest
    except ValueError:
        work.resumed = False
    if not work.resumed:
        for left in folder.iterdir():
            if left.name != _LOCK:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        work.finish(_KEY.removesuffix(".json"), digest)
    return work


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn what the system or the engine says about a failed write into a `FileProblem`."""
    try:
        yield
    except (OSError, duckdb_error()) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        hint = "Is there room, and may you write there? The same command continues where this one stopped."
        raise _WriteError(f"{out}: cannot be written: {reason}", hint=hint) from error


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


def put_in_place(result: Path, out: Path, work: Workspace) -> None:
    """Move the finished folder to its place, and give up the work; an earlier output goes once the new one is there."""
    out = out.resolve()
    result.chmod(0o777 & ~_umask())
    if out.exists():
        former = Path(tempfile.mkdtemp(prefix=f".{out.name}.former-", dir=out.parent))
        out.rename(former)
        try:
            result.rename(out)
        except BaseException:
            former.rename(out)
            raise
        shutil.rmtree(former, ignore_errors=True)
    else:
        result.rename(out)
    shutil.rmtree(work.folder, ignore_errors=True)


def _umask() -> int:
    """The mask of new files, which a private folder does not follow."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
