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
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inferprint.errors import FileProblem, InferprintError
from inferprint.usage.engine import duckdb_read_error, write_errors

IMPACTS, TOTALS, SUMMARY, REJECTS = "impacts", "totals.csv", "summary.json", "rejects.csv"
OUTPUT_FORMATS = {"parquet": ".parquet", "csv": ".csv", "json": ".jsonl"}
OURS = (*(f"{IMPACTS}{suffix}" for suffix in OUTPUT_FORMATS.values()), TOTALS, SUMMARY, REJECTS)
"""All that an output folder may hold."""

_KEY, _LOCK, _FORMER = "run.json", "lock", "former"
"""What made the run, who works there, and the earlier output while the new one takes its place."""


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
    with _locked(folder, out):
        _put_back(folder, out)
        try:
            # Another run may have finished since the first look.
            _check_free(out, overwrite=overwrite)
        except FileProblem:
            if not (folder / _KEY).exists():
                shutil.rmtree(folder, ignore_errors=True)
            raise
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


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    """The folder, made where it is not there, for this run alone."""
    with writing(out):
        folder.mkdir(mode=0o700, exist_ok=True)
        _check_ours(folder)
        lock = (folder / _LOCK).open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Else it was that of a run which has just finished.
            is_there = (folder / _LOCK).exists() and os.path.samestat((folder / _LOCK).stat(), os.fstat(lock.fileno()))
        except OSError:
            is_there = False
        if not is_there:
            raise FileProblem(f"{out}: another run is writing it", hint="Wait for it, or name another folder.")
        yield


def _check_ours(folder: Path) -> None:
    """Refuse a folder in which no run of this user worked: what is in it will be deleted."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise FileProblem(f"{folder}: belongs to somebody else", hint="Name another folder to write to.")
    if not (folder / _LOCK).exists() and any(folder.iterdir()):
        raise FileProblem(f"{folder}: holds other files", hint="Move them, or name another folder to write to.")


def _put_back(folder: Path, out: Path) -> None:
    """Put the earlier output back where a run was interrupted just before its own one took the place."""
    former = folder / _FORMER
    with writing(out):
        if former.exists() and not out.exists():
            former.rename(out)


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
    """Turn what the system or the engine says about a failed write, or a damaged file, into a `FileProblem`."""
    try:
        yield
    except duckdb_read_error() as error:
        raise FileProblem(str(error).splitlines()[0], hint="Is that file complete?") from error
    except write_errors() as error:
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
        former = work.folder / _FORMER
        out.rename(former)
        try:
            result.rename(out)
        except BaseException:
            former.rename(out)
            raise
    else:
        result.rename(out)
    shutil.rmtree(work.folder, ignore_errors=True)


def _umask() -> int:
    """The mask of new files, which a private folder does not follow."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
