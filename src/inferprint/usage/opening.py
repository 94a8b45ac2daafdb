"""Files as they lie on disk: what they hold, plain or compressed, told by their first bytes."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from inferprint.errors import FileProblem

HEAD_BYTES = 65_536
PARQUET, GZIP, ZSTD = b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def _zstd() -> tuple[type[Any], type[Exception]]:
    """The reader of zstd files, and what it raises; of the standard library where that has one."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        try:
            from backports import zstd
        except ImportError as error:
            raise FileProblem(
                "zstd files need backports.zstd, which is not installed", hint="pip install 'inferprint[run]'"
            ) from error
    return zstd.ZstdFile, zstd.ZstdError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says about an unreadable file into a `FileProblem`."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FileProblem(f"{path}: cannot be read: {reason}", hint="Is it complete and yours to read?") from error


def damage() -> tuple[type[Exception], ...]:
    """What a compressed file that is cut short or garbled raises while it is read."""
    found: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    return (*found, _zstd()[1]) if "backports.zstd" in sys.modules or "compression.zstd" in sys.modules else found


def check_regular(path: Path) -> None:
    """Raise `FileProblem` where no regular file is."""
    if not path.exists():
        there = sorted(p.name for p in path.parent.glob(f"*{path.suffix}"))[:5] if path.parent.is_dir() else []
        hint = f"The folder has: {', '.join(there)}." if there else "Check the path."
        raise FileProblem(f"{path}: no such file", hint=hint)
    if path.is_dir():
        raise FileProblem(f"{path}: is a folder", hint="Name the files in it.")
    if not path.is_file():
        raise FileProblem(f"{path}: is not a regular file", hint="Save its content to a file first.")


class Opened:
    """A file read as bytes, decompressed on the way.

    Attributes
    ----------
    size
        Bytes on disk.
    is_compressed
        Whether they are decompressed on the way.
    """

    def __init__(self, path: Path) -> None:
        with reading(path):
            self._file = path.open("rb")
        self.size = path.stat().st_size
        start = self._file.peek(4)[:4]
        self.is_compressed = start.startswith((GZIP, ZSTD))
        self.stream: IO[bytes]
        if start.startswith(GZIP):
            self.stream = cast(IO[bytes], gzip.GzipFile(fileobj=self._file))
        elif start.startswith(ZSTD):
            opened = _zstd()[0](self._file)
            self.stream = cast(IO[bytes], opened)
        else:
            self.stream = self._file

    def some(self) -> bytes:
        """What one look at the file gives: of a damaged one, all that is there before the damage."""
        found: bytes = self.stream.read1(HEAD_BYTES)  # type: ignore[attr-defined]
        return found

    @property
    def position(self) -> int:
        """Bytes of the file on disk that were read."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self.stream.close()
        self._file.close()


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """The file, closed at the end of the block."""
    file = Opened(path)
    try:
        yield file
    finally:
        file.close()


def head_of(path: Path) -> bytes:
    """The first bytes of a regular file, decompressed.

    Raises
    ------
    FileProblem
        Nothing is there, or nothing that is Parquet or text in UTF-8.
    """
    check_regular(path)
    with reading(path), opened(path) as file:
        head = b""
        try:
            while len(head) < HEAD_BYTES and (more := file.some()):
                head += more
        except damage() as error:
            if not head:
                raise FileProblem(f"{path}: cannot be read: {error}", hint="Is it complete?") from error
    if not head.startswith(PARQUET):
        _check_text(path, head)
    return head


def _check_text(path: Path, head: bytes) -> None:
    """Refuse what is no text in UTF-8."""
    expected = "Expected CSV, JSON, JSON lines (plain, .gz or .zst), Parquet, or Prometheus metrics."
    if not head.removeprefix(b"\xef\xbb\xbf").strip():
        raise FileProblem(f"{path}: is empty", hint=expected)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileProblem(f"{path}: is in UTF-16", hint="Save it as UTF-8.")
    if b"\x00" in head:
        raise FileProblem(f"{path}: is a binary file", hint=expected)
