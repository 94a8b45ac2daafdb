"""`/model`, `/node` and `/gpu`: what estimates rest on, and records of one's own."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor

from inferprint.service.bodies import answer, documented, errors, json_body
from inferprint.service.caller import Caller
from inferprint.service.guard import needs
from inferprint.service.own_records import Kind
from inferprint.service.problems import NotFound
from inferprint.service.record_schemas import (
    GPU,
    MOST_LISTED,
    AliasRequest,
    GPUCreateRequest,
    GPUResponse,
    GPUUpdateRequest,
    Model,
    ModelCreateRequest,
    ModelResponse,
    ModelUpdateRequest,
    Node,
    NodeCreateRequest,
    NodeResponse,
    NodeUpdateRequest,
)
from inferprint.service.record_store import Filters, RecordStore
from inferprint.service.routing import CheckedRoute
from inferprint.service.services import service_of


class RecordId(Convertor[str]):
    """An id in a path, with its slashes; "alias" between two of them is the endpoint's, and in no id."""

    regex = "(?:(?!/alias(?:/|$)).)*"

    def convert(self, value: str) -> str:
        """The id as it stands."""
        return value

    def to_string(self, value: str) -> str:
        """The id as it stands."""
        return value


register_url_convertor("record", RecordId())


router = APIRouter(route_class=CheckedRoute)

_TEMPLATE = re.compile(r"\{\w*\}")

MOST_OFFSET = 10**9

Reader = Annotated[Caller, Depends(needs("read"))]
Writer = Annotated[Caller, Depends(needs("write"))]
ForAll = Annotated[bool, Query(alias="global", description="The record that all see; for administrators")]
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED, description="Records at most")]
Offset = Annotated[int, Query(ge=0, le=MOST_OFFSET, description="Records to leave out before them")]
Word = Annotated[str | None, Query(min_length=1, max_length=200)]
Custom = Annotated[
    bool | None, Query(description="True: the caller's own records alone; false: all but them; both where left out")
]
Text = Annotated[
    str | None,
    Query(min_length=1, max_length=200, description="Part of an id, a name or an alias, in capitals or not"),
]
ModelId = Annotated[str, Path(alias="modelId", description="Id or name; slashes as they are, or as %2F")]
NodeId = Annotated[str, Path(alias="nodeId", description='Id or name: "aws-p5-48xlarge", "aws:p5.48xlarge"')]
GpuId = Annotated[str, Path(alias="gpuId", description="Id or name")]

_HEADERS = {
    "X-Total-Count": {"description": "Records on all pages", "schema": {"type": "integer"}},
    "X-Omitted-Count": {
        "description": "Packaged records that this shape cannot hold, because a value it needs is not known",
        "schema": {"type": "integer"},
    },
    "Link": {"description": 'The next page, rel="next"', "schema": {"type": "string"}},
}


def _ok(model: type[BaseModel], code: int = 200) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": model}}


def _page(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "headers": _HEADERS}}


_EMPTY: dict[int | str, dict[str, Any]] = {204: {"description": "Done"}}
_CHANGING = errors(404, 409, 415)


def store_of(request: Request) -> RecordStore:
    """The records of the server that a request has reached."""
    service = service_of(request)
    return RecordStore(service.database, service.catalogues)


Store = Annotated[RecordStore, Depends(store_of)]


def _filters_of_models(family: Word = None, custom: Custom = None, query: Text = None) -> Filters:
    return Filters(family=family, custom=custom, query=query)


def _filters_of_nodes(
    service: Word = None,
    cloud: Word = None,
    custom: Custom = None,
    gpu: Word = None,
    instance: Word = None,
    query: Text = None,
) -> Filters:
    return Filters(service=service, cloud=cloud, custom=custom, gpu=gpu, instance=instance, query=query)


def _filters_of_gpus(custom: Custom = None, query: Text = None) -> Filters:
    return Filters(custom=custom, query=query)


def _filled(key: str) -> str:
    """An id of a path, which a client has filled in.

    Raises
    ------
    NotFound
        The template's own placeholder, or nothing.
    """
    if _TEMPLATE.search(key):
        raise NotFound(
            f"'{key}' is a placeholder, and not the id of a record: the client sent the path without filling it in",
            reason="scope3ai 0.3.0 does so in every command with an id. Call "
            "client.execute_request('/model/<id>', method=..., response_model=...) with the id in place, or any other "
            "HTTP client.",
            code="placeholder",
        )
    if not key:
        raise NotFound("no id in the path", reason="GET without the slash at the end lists what there is.")
    return key


async def _one(kind: Kind, caller: Caller, store: RecordStore, key: str) -> Response:
    return answer(await run_in_threadpool(store.one, kind, caller, _filled(key)))


async def _listed(request: Request, kind: Kind, caller: Caller, filters: Filters, page: tuple[int, int]) -> Response:
    """A page, and where the next one is."""
    limit, offset = page
    found = await run_in_threadpool(store_of(request).listed, kind, caller, filters, limit, offset)
    headers = {"X-Total-Count": str(found.total), "X-Omitted-Count": str(found.omitted)}
    if offset + limit < found.total:
        following = request.url.include_query_params(limit=limit, offset=offset + limit)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return answer({f"{kind}s": found.items}, headers=headers)


async def _create(kind: Kind, caller: Caller, store: RecordStore, sent: BaseModel, for_all: bool) -> Response:
    def create() -> Any:
        return store.create(kind, caller, sent, for_all=for_all)

    return answer(await run_in_threadpool(create), 201)


async def _update(kind: Kind, caller: Caller, store: RecordStore, key: str, sent: BaseModel, for_all: bool) -> Response:
    key = _filled(key)

    def update() -> Any:
        return store.update(kind, caller, key, sent, for_all=for_all)

    return answer(await run_in_threadpool(update))


async def _delete(kind: Kind, caller: Caller, store: RecordStore, key: str, for_all: bool) -> Response:
    key = _filled(key)

    def remove() -> None:
        store.delete(kind, caller, key, for_all=for_all)

    await run_in_threadpool(remove)
    return Response(status_code=204)


# --- models -----------------------------------------------------------------------------------------------------------


@router.get(
    "/model",
    response_model=None,
    responses={**_page(ModelResponse), **errors()},
    tags=["Records"],
    summary="List models",
)
async def list_models(
    request: Request,
    caller: Reader,
    filters: Annotated[Filters, Depends(_filters_of_models)],
    limit: Limit = MOST_LISTED,
    offset: Offset = 0,
) -> Response:
    """Packaged models and the caller's own, by id; those of a family where one is asked for."""
    return await _listed(request, "model", caller, filters, (limit, offset))


@router.post(
    "/model",
    status_code=201,
    response_model=None,
    responses={**_ok(Model, 201), **errors(409, 415)},
    openapi_extra=documented(ModelCreateRequest),
    tags=["Records"],
    summary="Create a model",
)
async def create_model(
    caller: Writer,
    store: Store,
    sent: Annotated[ModelCreateRequest, Depends(json_body(ModelCreateRequest))],
    for_all: ForAll = False,
) -> Response:
    """Keep a model of one's own; requests name it by its id or an alias."""
    return await _create("model", caller, store, sent, for_all)


@router.put(
    "/model/{modelId:record}/alias",
    status_code=204,
    response_model=None,
    responses={**_EMPTY, **_CHANGING},
    openapi_extra=documented(AliasRequest),
    tags=["Records"],
    summary="Add an alias to a model",
)
async def add_model_alias(
    caller: Writer,
    store: Store,
    model_id: ModelId,
    sent: Annotated[AliasRequest, Depends(json_body(AliasRequest))],
    for_all: ForAll = False,
) -> Response:
    """Give a model of one's own a further name."""
    key = _filled(model_id)

    def add() -> None:
        store.add_alias(caller, key, sent, for_all=for_all)

    await run_in_threadpool(add)
    return Response(status_code=204)


@router.delete(
    "/model/{modelId:record}/alias/{alias:path}",
    status_code=204,
    response_model=None,
    responses={**_EMPTY, **errors(404, 409)},
    tags=["Records"],
    summary="Remove an alias from a model",
)
async def remove_model_alias(
    caller: Writer, store: Store, model_id: ModelId, alias: str, for_all: ForAll = False
) -> Response:
    """Take a further name from a model of one's own."""
    key, name = _filled(model_id), _filled(alias)

    def remove() -> None:
        store.remove_alias(caller, key, name, for_all=for_all)

    await run_in_threadpool(remove)
    return Response(status_code=204)


@router.get(
    "/model/{modelId:record}",
    response_model=None,
    responses={**_ok(Model), **errors(404)},
    tags=["Records"],
    summary="Look up a model",
)
async def get_model(caller: Reader, store: Store, model_id: ModelId) -> Response:
    """A packaged model, or one of the caller's own."""
    return await _one("model", caller, store, model_id)


@router.put(
    "/model/{modelId:record}",
    response_model=None,
    responses={**_ok(Model), **_CHANGING},
    openapi_extra=documented(ModelUpdateRequest),
    tags=["Records"],
    summary="Change a model",
)
async def update_model(
    caller: Writer,
    store: Store,
    model_id: ModelId,
    sent: Annotated[ModelUpdateRequest, Depends(json_body(ModelUpdateRequest))],
    for_all: ForAll = False,
) -> Response:
    """Change fields of a model of one's own; null takes a value away."""
    return await _update("model", caller, store, model_id, sent, for_all)


@router.delete(
    "/model/{modelId:record}",
    status_code=204,
    response_model=None,
    responses={**_EMPTY, **errors(404, 409)},
    tags=["Records"],
    summary="Delete a model",
)
async def delete_model(caller: Writer, store: Store, model_id: ModelId, for_all: ForAll = False) -> Response:
    """Forget a model of one's own, unless another record names it."""
    return await _delete("model", caller, store, model_id, for_all)


# --- nodes ------------------------------------------------------------------------------------------------------------


@router.get(
    "/node", response_model=None, responses={**_page(NodeResponse), **errors()}, tags=["Records"], summary="List nodes"
)
async def list_nodes(
    request: Request,
    caller: Reader,
    filters: Annotated[Filters, Depends(_filters_of_nodes)],
    limit: Limit = MOST_LISTED,
    offset: Offset = 0,
) -> Response:
    """Packaged nodes and the caller's own, by id."""
    return await _listed(request, "node", caller, filters, (limit, offset))


@router.post(
    "/node",
    status_code=201,
    response_model=None,
    responses={**_ok(Node, 201), **errors(409, 415)},
    openapi_extra=documented(NodeCreateRequest),
    tags=["Records"],
    summary="Create a node",
)
async def create_node(
    caller: Writer,
    store: Store,
    sent: Annotated[NodeCreateRequest, Depends(json_body(NodeCreateRequest))],
    for_all: ForAll = False,
) -> Response:
    """Keep a node of one's own; requests name it by `node_id`."""
    return await _create("node", caller, store, sent, for_all)


@router.get(
    "/node/{nodeId:path}",
    response_model=None,
    responses={**_ok(Node), **errors(404)},
    tags=["Records"],
    summary="Look up a node",
)
async def get_node(caller: Reader, store: Store, node_id: NodeId) -> Response:
    """A packaged node, or one of the caller's own."""
    return await _one("node", caller, store, node_id)


@router.put(
    "/node/{nodeId:path}",
    response_model=None,
    responses={**_ok(Node), **_CHANGING},
    openapi_extra=documented(NodeUpdateRequest),
    tags=["Records"],
    summary="Change a node",
)
async def update_node(
    caller: Writer,
    store: Store,
    node_id: NodeId,
    sent: Annotated[NodeUpdateRequest, Depends(json_body(NodeUpdateRequest))],
    for_all: ForAll = False,
) -> Response:
    """Change fields of a node of one's own; null takes a value away that not every node has."""
    return await _update("node", caller, store, node_id, sent, for_all)


@router.delete(
    "/node/{nodeId:path}",
    status_code=204,
    response_model=None,
    responses={**_EMPTY, **errors(404, 409)},
    tags=["Records"],
    summary="Delete a node",
)
async def delete_node(caller: Writer, store: Store, node_id: NodeId, for_all: ForAll = False) -> Response:
    """Forget a node of one's own."""
    return await _delete("node", caller, store, node_id, for_all)


# --- GPUs -------------------------------------------------------------------------------------------------------------


@router.get(
    "/gpu", response_model=None, responses={**_page(GPUResponse), **errors()}, tags=["Records"], summary="List GPUs"
)
async def list_gpus(
    request: Request,
    caller: Reader,
    filters: Annotated[Filters, Depends(_filters_of_gpus)],
    limit: Limit = MOST_LISTED,
    offset: Offset = 0,
) -> Response:
    """Packaged GPUs and the caller's own, by id."""
    return await _listed(request, "gpu", caller, filters, (limit, offset))


@router.post(
    "/gpu",
    status_code=201,
    response_model=None,
    responses={**_ok(GPU, 201), **errors(409, 415)},
    openapi_extra=documented(GPUCreateRequest),
    tags=["Records"],
    summary="Create a GPU",
)
async def create_gpu(
    caller: Writer,
    store: Store,
    sent: Annotated[GPUCreateRequest, Depends(json_body(GPUCreateRequest))],
    for_all: ForAll = False,
) -> Response:
    """Keep a GPU of one's own; requests name it by `gpu_id`, nodes too."""
    return await _create("gpu", caller, store, sent, for_all)


@router.get(
    "/gpu/{gpuId:path}",
    response_model=None,
    responses={**_ok(GPU), **errors(404)},
    tags=["Records"],
    summary="Look up a GPU",
)
async def get_gpu(caller: Reader, store: Store, gpu_id: GpuId) -> Response:
    """A packaged GPU, or one of the caller's own."""
    return await _one("gpu", caller, store, gpu_id)


@router.put(
    "/gpu/{gpuId:path}",
    response_model=None,
    responses={**_ok(GPU), **_CHANGING},
    openapi_extra=documented(GPUUpdateRequest),
    tags=["Records"],
    summary="Change a GPU",
)
async def update_gpu(
    caller: Writer,
    store: Store,
    gpu_id: GpuId,
    sent: Annotated[GPUUpdateRequest, Depends(json_body(GPUUpdateRequest))],
    for_all: ForAll = False,
) -> Response:
    """Change fields of a GPU of one's own; null takes a value away that not every GPU has."""
    return await _update("gpu", caller, store, gpu_id, sent, for_all)


@router.delete(
    "/gpu/{gpuId:path}",
    status_code=204,
    response_model=None,
    responses={**_EMPTY, **errors(404, 409)},
    tags=["Records"],
    summary="Delete a GPU",
)
async def delete_gpu(caller: Writer, store: Store, gpu_id: GpuId, for_all: ForAll = False) -> Response:
    """Forget a GPU of one's own, unless a node has it."""
    return await _delete("gpu", caller, store, gpu_id, for_all)
