"""What a running server is made of, and the way to it from a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from inferprint.service.settings import Settings

if TYPE_CHECKING:
    from inferprint.service.catalogues import Catalogues
    from inferprint.service.database import Database
    from inferprint.service.engine import Engine
    from inferprint.service.keys import Keys
    from inferprint.service.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a server, each made once."""

    settings: Settings
    database: Database
    keys: Keys
    catalogues: Catalogues
    engine: Engine
    ledger: Ledger


def service_of(connection: HTTPConnection) -> Service:
    """The server that a request has reached."""
    service: Service = connection.app.state.service
    return service
