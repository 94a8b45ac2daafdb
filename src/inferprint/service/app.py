"""The server as one application: its parts, its middleware, its endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from inferprint._version import __version__
from inferprint.catalogue import Catalogue
from inferprint.errors import InferprintError
from inferprint.estimate import default_catalogue
from inferprint.service.bodies import answer, parameter_refused
from inferprint.service.catalogues import Catalogues
from inferprint.service.database import Database
from inferprint.service.engine import Engine
from inferprint.service.guard import BodyLimit
from inferprint.service.keys import Keys
from inferprint.service.ledger import Ledger
from inferprint.service.observe import Metrics, Observed
from inferprint.service.openapi import described
from inferprint.service.problems import ServiceError, error_body, error_of
from inferprint.service.routes import catalogue, impact, operations, traces, usage
from inferprint.service.services import Service
from inferprint.service.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """A server; its database is brought up to date first.

    Raises
    ------
    InferprintError
        A folder of records that breaks the schema, or a database that cannot be reached or that a newer version made.
    """
    base = Catalogue.packaged().with_folder(settings.catalog) if settings.catalog else default_catalogue()
    app = api()
    app.state.metrics = Metrics(base.version)
    app.state.service = _service(settings, base, app.state.metrics)
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(Observed, metrics=app.state.metrics)
    return app


def api() -> FastAPI:
    """The endpoints and their description, without what they work on."""
    app = FastAPI(
        title="Inferprint",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    # Those who look after it keep to themselves: a database that hangs takes no thread from others.
    app.state.lookers = anyio.CapacityLimiter(2)
    for router in (impact.router, usage.router, traces.router, operations.router, catalogue.router):
        app.include_router(router)
    app.router.routes.insert(0, impact.direct())
    _handle_errors(app)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    return app


def _service(settings: Settings, base: Catalogue, metrics: Metrics) -> Service:
    database = Database(settings.database_url)
    database.migrate()
    catalogues = Catalogues(base, database)
    return Service(
        settings=settings,
        database=database,
        keys=Keys(database),
        catalogues=catalogues,
        engine=Engine(catalogues, settings),
        ledger=Ledger(database, catalogues, metrics.ledger),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start what writes the ledger; at the end, write what waits."""
    service: Service = app.state.service
    service.ledger.start()
    yield
    await run_in_threadpool(service.ledger.stop)
    service.database.close()


def _handle_errors(app: FastAPI) -> None:
    """Every error in the Error shape."""

    @app.exception_handler(ServiceError)
    async def told(request: Request, error: ServiceError) -> Response:  # noqa: ARG001
        return answer(error.body, error.status, error.headers)

    @app.exception_handler(InferprintError)
    async def refused(request: Request, error: InferprintError) -> Response:  # noqa: ARG001
        return answer(error_of(error), 400)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:  # noqa: ARG001
        refusal = parameter_refused(error)
        return answer(refusal.body, refusal.status)

    @app.exception_handler(HTTPException)
    async def unmatched(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
        message = f"{request.method} {request.url.path[:200]}: {error.detail}"
        reason = "See /openapi.json for what there is."
        headers = {"Allow": _methods(request)} if error.status_code == 405 else error.headers
        return answer(error_body(code, message, reason=reason), error.status_code, headers)


def _methods(request: Request) -> str:
    """The methods of a path."""
    paths = request.app.openapi()["paths"].items()
    found = [operations for path, operations in paths if compile_path(path)[0].match(request.url.path)]
    return ", ".join(sorted({method.upper() for operations in found for method in operations}))
