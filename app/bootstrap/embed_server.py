"""``vecloom embed-server`` over the models of this machine."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from app.api.embedding_server import EmbeddingServer
from app.api.serving import serving
from app.bootstrap.parts import MissingSettingError, fast_embedder, open_model_process
from app.domain.errors import UnknownModelError
from app.domain.ports import Embedder
from app.embedders import static
from app.embedders.static import StaticEmbedder
from app.pipeline.embedding_line import EmbeddingLine
from app.processes.pool import ProcessPool
from app.settings import Settings

PRELOAD = ("app.embedders.static:load_model",)
MODEL_REQUESTS = 2
"""One that the model's process computes, and the next one."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@asynccontextmanager
async def serving_embeddings(settings: Settings, *, host: str, port: int) -> AsyncIterator[str]:
    """Serve the model of the settings while the block runs; yields its URL.

    Raises:
        MissingSettingError: if other machines could reach it and no key is set.
        UnknownModelError, ModelNotLoadedError: if there is no such model, or it cannot be loaded.
        AddressUnavailableError: if it cannot listen there.
    """
    key = settings.embedding_internal_key
    if key is None and not is_loopback(host):
        raise MissingSettingError(
            f"set VECLOOM_EMBEDDING_INTERNAL_KEY: {host} can be reached by others; or listen on 127.0.0.1"
        )
    async with AsyncExitStack() as stack:
        processes, embedder, concurrency = _open_model(settings)
        stack.push_async_callback(processes.aclose)
        dimension = (await embedder.embed_documents(["dimension"])).shape[1]
        line = EmbeddingLine(
            embedder,
            max_texts=settings.embedding_batch_size,
            max_tokens=settings.embedding_batch_tokens,
            concurrency=concurrency,
        )
        stack.push_async_callback(line.aclose)
        server = EmbeddingServer(
            line,
            model=embedder.model,
            dimension=dimension,
            key=None if key is None else key.get_secret_value().strip(),
            queue=settings.embed_server_queue,
            max_bytes=settings.request_max_bytes,
        )
        application = server.application()
        async with serving(application, host=host, port=port) as url:
            try:
                yield url
            finally:
                server.is_stopping = True


def _open_model(settings: Settings) -> tuple[ProcessPool, Embedder, int]:
    """The model of the settings, where it runs, and how many requests at once are of use."""
    model = settings.embedding_model
    if settings.fastembed_path is not None and model == settings.fastembed_model:
        process = open_model_process(settings)
        # prefixes are the callers', who know what is a query
        plain = settings.model_copy(update={"embedding_query_prefix": "", "embedding_document_prefix": ""})
        return process, fast_embedder(plain, settings.fastembed_path, process), MODEL_REQUESTS
    if model != static.MODEL:
        raise UnknownModelError(model, f"this machine has {static.MODEL}, and FASTEMBED_MODEL if FASTEMBED_PATH is set")
    slots = settings.process_slots
    processes = ProcessPool(slots, memory_bytes=settings.process_memory_bytes, preload=PRELOAD)
    return processes, StaticEmbedder(processes), slots + 1
