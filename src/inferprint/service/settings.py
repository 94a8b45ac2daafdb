"""What a server is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where a server keeps things, and what it allows.

    Attributes
    ----------
    database_url
        "sqlite:///inferprint.db", "postgresql://user:password@host/name".
    catalog
        Folder of records of one's own, on top of the packaged ones, for every caller.
    host, port
        Where it listens; port 0 takes a free one.
    max_body_bytes
        Longest body of a request, as sent and unpacked [bytes].
    requests_per_minute
        Of one key, or of one address without keys; 0 for no limit.
    max_busy
        Requests that may wait for the processor at a time; further ones are told to come again.
    use_times
        Whether `request_duration_ms`, which a client or proxy measured, is taken for the time of the work. It contains
        queue and network, so it is not by default; `processing_duration_ms` always is.
    """

    database_url: str = "sqlite:///inferprint.db"
    catalog: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    max_body_bytes: int = 16 * MIB
    requests_per_minute: int = 6000
    max_busy: int = 64
    use_times: bool = False
