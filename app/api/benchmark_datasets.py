"""Judged queries: sent, listed, written out, deleted, compared with a collection."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from app.api.auth import CallerDep, ServicesDep
from app.api.bodies import raise_body_limit
from app.api.dataset_bodies import (
    NAME_PATTERN,
    CoverageBody,
    DatasetBody,
    DatasetDocument,
    DatasetList,
    QueryBody,
    QueryPage,
    SyntheticCreate,
)
from app.api.multipart import FormReader
from app.api.operations import CollectionRef
from app.api.uploads import read_body
from app.domain.benchmark_datasets import (
    LARGEST_BYTES,
    MOST_FILES,
    MOST_QUERIES,
    DatasetFormat,
    DatasetTooLargeError,
)
from app.domain.uploads import clean_path
from app.evaluation.datasets.layout import is_wanted

router = APIRouter(tags=["benchmarks"])

MOST_SENT_BYTES = 4 * LARGEST_BYTES
"""With a corpus, which nobody has to send and which is passed over."""
JSON_NAME = "dataset.json"
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "path": {"type": "string", "description": "Of the next file, if its name does not say it."},
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    },
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/DatasetDocument"}},
        },
    }
}

Name = Annotated[str, Query(min_length=1, max_length=100, pattern=NAME_PATTERN)]
Split = Annotated[
    str | None, Query(min_length=1, max_length=100, pattern=r"^[^\x00]*$", description="Of several files of judgments.")
]
LimitQueries = Annotated[
    int | None, Query(ge=1, le=MOST_QUERIES, description="Of more queries so many are chosen by chance.")
]
DatasetRef = Annotated[str, Path(min_length=1, max_length=100, pattern=r"^[^\x00]*$", description="Its id or name.")]
Written = Literal["beir", "trec", "json"]


async def _collect(chunks: AsyncIterator[bytes], *, most: int, keep: bool = True) -> bytes:
    """A file, or nothing of one that is not to be kept. Raises DatasetTooLargeError."""
    content = bytearray()
    async for chunk in chunks:
        if keep:
            content += chunk
        if len(content) > most:
            raise DatasetTooLargeError(f"a benchmark dataset has at most {LARGEST_BYTES} bytes; send a part of it")
    return bytes(content)


async def _read_files(request: Request) -> dict[str, bytes]:
    """The files of a form, or the JSON document, which together are not too large."""
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() == "application/json":
        return {JSON_NAME: await _collect(read_body(request), most=LARGEST_BYTES)}
    files: dict[str, bytes] = {}
    left = LARGEST_BYTES
    async for path, content in FormReader(kind, read_body(request)).read_files():
        if len(files) == MOST_FILES:
            raise DatasetTooLargeError(f"a benchmark dataset has at most {MOST_FILES} files")
        name = clean_path(path)
        files[name] = await _collect(content, most=left, keep=is_wanted(name))
        left -= len(files[name])
    return files


@router.post(
    "/benchmark-datasets",
    status_code=201,
    openapi_extra=BODY,
    responses={200: {"model": DatasetBody, "description": "It was there already, with the same content."}},
)
async def add_dataset(
    request: Request,
    response: Response,
    caller: CallerDep,
    services: ServicesDep,
    *,
    name: Name,
    split: Split = None,
    limit_queries: LimitQueries = None,
) -> DatasetBody:
    """Send judged queries: the files of BEIR or TREC in a form, or one JSON document as the body."""
    raise_body_limit(request, MOST_SENT_BYTES)
    files = await _read_files(request)
    dataset, is_new = await services.datasets.add(caller.user_id, name, files, split=split, limit_queries=limit_queries)
    response.status_code = 201 if is_new else 200
    return DatasetBody.of(dataset)


@router.get("/benchmark-datasets")
async def list_datasets(caller: CallerDep, services: ServicesDep) -> DatasetList:
    """Your judged queries, by name."""
    return DatasetList(datasets=[DatasetBody.of(dataset) for dataset in await services.datasets.list(caller.user_id)])


@router.get("/benchmark-datasets/{dataset}")
async def read_dataset(dataset: DatasetRef, caller: CallerDep, services: ServicesDep) -> DatasetBody:
    """One of them."""
    return DatasetBody.of(await services.datasets.get(caller.user_id, dataset))


@router.get("/benchmark-datasets/{dataset}/queries")
async def list_dataset_queries(
    dataset: DatasetRef,
    caller: CallerDep,
    services: ServicesDep,
    *,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int, Query(ge=0, le=MOST_QUERIES)] = 0,
) -> QueryPage:
    """Its queries with their judgments, in their order."""
    found, queries = await services.datasets.list_queries(caller.user_id, dataset, first=after, limit=limit)
    end = after + len(queries)
    more = end if queries and end < found.queries else None
    return QueryPage(queries=[QueryBody.of(query) for query in queries], next=more)


@router.get(
    "/benchmark-datasets/{dataset}/export",
    response_class=Response,
    responses={200: {"model": DatasetDocument, "content": {"application/zip": {}}}},
)
async def export_dataset(
    dataset: DatasetRef,
    caller: CallerDep,
    services: ServicesDep,
    *,
    wanted: Annotated[Written, Query(alias="format")] = "json",
) -> Response:
    """All that it says, as a JSON document, or as a zip archive of the files of TREC or BEIR."""
    found, content = await services.datasets.export(caller.user_id, dataset, DatasetFormat(wanted))
    kind, ending = ("application/json", "json") if wanted == "json" else ("application/zip", "zip")
    headers = {"Content-Disposition": f'attachment; filename="{found.id}-{wanted}.{ending}"'}
    return Response(content, media_type=kind, headers=headers)


@router.delete("/benchmark-datasets/{dataset}", status_code=204)
async def remove_dataset(dataset: DatasetRef, caller: CallerDep, services: ServicesDep) -> None:
    """Delete one with all that it says."""
    await services.datasets.remove(caller.user_id, dataset)


@router.post(
    "/collections/{collection}/benchmark-datasets",
    status_code=201,
    responses={200: {"model": DatasetBody, "description": "It was there already, with the same content."}},
)
async def make_dataset(
    collection: CollectionRef, body: SyntheticCreate, response: Response, caller: CallerDep, services: ServicesDep
) -> DatasetBody:
    """Make a synthetic dataset: titles, first sentences and rare words of documents, which they must lead to."""
    dataset, is_new = await services.datasets.make(
        caller.user_id, collection, body.name, documents=body.documents, seed=body.seed
    )
    response.status_code = 201 if is_new else 200
    return DatasetBody.of(dataset)


@router.get("/collections/{collection}/benchmark-datasets/{dataset}/coverage")
async def read_coverage(
    collection: CollectionRef, dataset: DatasetRef, caller: CallerDep, services: ServicesDep
) -> CoverageBody:
    """How much of a dataset a collection has: a benchmark cannot find what is not there."""
    return CoverageBody.of(*await services.datasets.cover(caller.user_id, collection, dataset))
