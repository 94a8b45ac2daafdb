"""A server of the records alone, in this process, and keys to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.testclient import TestClient
from httpx import Response as Answer

from inferprint import Catalogue
from inferprint.errors import InferprintError
from inferprint.service.bodies import answer
from inferprint.service.catalogues import Catalogues
from inferprint.service.database import Database
from inferprint.service.engine import Engine
from inferprint.service.keys import Keys
from inferprint.service.ledger import Ledger
from inferprint.service.problems import ServiceError, error_body, error_of
from inferprint.service.routes.catalogue import router
from inferprint.service.services import Service
from inferprint.service.settings import Settings

GPU: dict[str, Any] = {
    "name": "Chip One",
    "id": "chip-one",
    "max_power_w": 500,
    "embodied_emissions_kgco2e": 100,
    "embodied_water_mlh2o": 500_000,
    "performance_ratio_to_h200": 0.5,
    "ols_coefficient_gpu_count": 11.4,
    "ols_intercept": -2,
}
NODE: dict[str, Any] = {"id": "my-node", "gpu_id": "h100_80gb_sxm", "gpu_count": 8, "cpu_count": 2}
MODEL: dict[str, Any] = {"id": "acme/llm", "total_params_billions": 12.5}


@dataclass
class Asker:
    """A client with one key."""

    client: TestClient
    token: str

    def __call__(self, method: str, path: str, json: Any = None, **params: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.client.request(method, path, json=json, headers=headers, params=params or None)

    def made(self, kind: str, **body: Any) -> Mapping[str, Any]:
        """A record that is created with the fields of a usual one, and those stated."""
        usual = {"gpu": GPU, "node": NODE, "model": MODEL}[kind]
        response = self("POST", f"/{kind}", {**usual, **body})
        assert response.status_code == 201, response.text
        return cast(Mapping[str, Any], response.json())


@dataclass
class Here:
    """The parts of the server, and a client."""

    database: Database
    keys: Keys
    catalogues: Catalogues
    app: FastAPI
    client: TestClient

    def asker(self, owner: str, *scopes: str) -> Asker:
        """A client of an owner; it may read and write where no scope is named."""
        return Asker(self.client, self.keys.create(owner, scopes or ("write",)))

    def owner_id(self, asker: Asker) -> int:
        """The number of an asker's owner."""
        return self.keys.check(asker.token).owner_id


def records_here(folder: Path, base: Catalogue | None = None, url: str = "") -> Here:
    """A server whose database is a file in a folder, or the one of a URL."""
    settings = Settings(database_url=url or f"sqlite:///{folder / 'records.db'}")
    database = Database(settings.database_url)
    database.migrate()
    catalogues = Catalogues(base or Catalogue.packaged(), database)
    keys = Keys(database)
    service = Service(
        settings=settings,
        database=database,
        keys=keys,
        catalogues=catalogues,
        engine=cast(Engine, None),
        ledger=cast(Ledger, None),
    )
    app = FastAPI(redirect_slashes=False)
    app.state.service = service
    app.include_router(router)

    @app.exception_handler(ServiceError)
    async def told(request: Request, error: ServiceError) -> Response:
        return answer(error.body, error.status, error.headers)

    @app.exception_handler(InferprintError)
    async def refused(request: Request, error: InferprintError) -> Response:
        return answer(error_of(error), 400)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(error_body("invalid_parameter", str(error.errors()[0]["msg"])), 400)

    return Here(database, keys, catalogues, app, TestClient(app, raise_server_exceptions=False))
