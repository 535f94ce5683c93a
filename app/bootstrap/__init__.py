"""The composition root: settings in, opened parts out, closed in reverse."""

from app.bootstrap.api import diagnose, open_api
from app.bootstrap.embed_server import serving_embeddings
from app.bootstrap.parts import (
    LOCAL_USER,
    EmbedderRegistry,
    Endpoints,
    MissingSettingError,
    Parts,
    configured_endpoints,
    find_endpoints,
    migrate,
    open_parts,
    open_reranker,
)
from app.bootstrap.server import Served, serve_embedded
from app.bootstrap.worker import GIVEN_UP, JOBS, PRELOAD, arq_options, open_worker, replacing_worker, running_worker

__all__ = [
    "GIVEN_UP",
    "JOBS",
    "LOCAL_USER",
    "PRELOAD",
    "EmbedderRegistry",
    "Endpoints",
    "MissingSettingError",
    "Parts",
    "Served",
    "arq_options",
    "configured_endpoints",
    "diagnose",
    "find_endpoints",
    "migrate",
    "open_api",
    "open_parts",
    "open_reranker",
    "open_worker",
    "replacing_worker",
    "running_worker",
    "serve_embedded",
    "serving_embeddings",
]
