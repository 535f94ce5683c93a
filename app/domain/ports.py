"""What the rooms above need from the outside world. Adapters implement these; the contracts stand here."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from app.domain.documents import Document, Fetched, KnownDocument, ScannedDocument, TextChunk
from app.domain.index_settings import IndexSettings
from app.domain.operations import LaneChange, Operation
from app.domain.points import (
    PointBatch,
    PointId,
    PointQuery,
    ScoredPoint,
    SearchFilter,
    StoredCollection,
    StoredPoints,
    Vectors,
)

Result = TypeVar("Result")


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def model(self) -> str:
        """Name of the model, as collections store it."""
        ...

    @property
    def cache_prefix(self) -> str | None:
        """What it puts before each document's text; None if its vectors cost less than a look-up."""
        ...

    async def dimension(self) -> int:
        """Length of a vector; asks the model once and remembers.

        Raises:
            EmbedderUnavailableError: if the model does not answer.
            UnknownModelError: if the server does not know the model.
        """
        ...

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts in one call to the model.

        Returns:
            Float32 of shape ``(n, dimension)``, rows L2-normalised, in the order of ``texts``. A text without
            any token gives a row that is finite and has norm 1, never NaN.

        Raises:
            EmbedderUnavailableError: if the model does not answer in time or is overloaded.
            EmbedderBatchTooLargeError: if the server wants a smaller batch.
            EmbedderRejectedError: if the server refuses for good.
            EmbedderGarbageError: if the answer has the wrong count or dimension or is not finite.
        """
        ...

    async def embed_query(self, text: str) -> Vectors:
        """Embed one query, with the model's query prefix if it has one. Float32, shape ``(dimension,)``."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...


class Reranker(Protocol):
    """Reads a query and a text together, and says how well one answers the other."""

    async def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """A score for each text, in their order; higher is better, and only those of one query compare.

        Raises:
            RerankerUnavailableError: if it does not answer in time or is overloaded.
            RerankerRejectedError: if it refuses for good.
            RerankerGarbageError: if the answer is not one finite score for each text.
        """
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...


class VectorStore(Protocol):
    """Physical collections of points with the named vectors ``dense`` and ``bm25``.

    Every method raises ``VectorStoreUnavailableError`` when the store does not answer or is overloaded,
    ``VectorStoreGarbageError`` when its answer is none, ``DiskFullError`` when it has no room, and
    ``VectorStoreRejectedError`` when it refuses for good; methods on a missing collection raise
    ``GenerationMissingError``. Writes return when they are durable and searchable.
    """

    async def create_collection(self, name: str, *, dimension: int, index: IndexSettings | None = None) -> None:
        """Create a collection with its payload indexes; do nothing if it exists with the same shape.

        It is indexed as ``index`` says, unless it exists: then it stays as it is.

        Raises:
            GenerationMismatchError: if it exists with another dimension or other named vectors.
        """
        ...

    async def update_index(self, name: str, index: IndexSettings) -> None:
        """Change in place how a collection is indexed; its points can be searched and written all the while.

        What ``index`` does not say of vectors and payload stays where it is; everything else it does not say becomes
        what the store does by itself. The work itself is done after this returns; see ``is_optimised``.
        """
        ...

    async def is_optimised(self, name: str) -> bool:
        """Whether the store has done everything that the collection's index settings ask for.

        It waits until nobody has written to the collection for some seconds, so ask again while nothing is written.

        Raises:
            VectorStoreRejectedError: the store has given up; the message has its reason, ``update_index`` tries again.
        """
        ...

    async def find_collection(self, name: str) -> StoredCollection | None:
        """Describe a collection, or None if there is none of this name."""
        ...

    async def list_collections(self) -> list[str]:
        """Names of all physical collections."""
        ...

    async def drop_collection(self, name: str) -> None:
        """Delete a collection and its points; do nothing if there is none of this name."""
        ...

    async def list_aliases(self) -> Mapping[str, str]:
        """Name of the collection that each alias names, also those of others in the same store."""
        ...

    async def set_alias(self, alias: str, *, to: str) -> None:
        """Make ``alias`` name the collection ``to``, in one step, whatever it named before."""
        ...

    async def upsert(self, name: str, points: PointBatch) -> None:
        """Write points; a point with an existing id is replaced."""
        ...

    async def delete_points(self, name: str, ids: Sequence[PointId]) -> None:
        """Delete points by id; unknown ids are ignored."""
        ...

    async def delete_documents(self, name: str, document_ids: Sequence[UUID], *, keep: Sequence[UUID] = ()) -> None:
        """Delete all points of these documents except the points ``keep``."""
        ...

    async def set_payload(self, name: str, document_ids: Sequence[UUID], payload: Mapping[str, Any]) -> None:
        """Set these fields of all points of these documents; other fields stay."""
        ...

    async def count(self, name: str, restrict: SearchFilter | None = None) -> int:
        """Exact number of points."""
        ...

    def stream_ids(self, name: str) -> AsyncIterator[list[tuple[UUID, UUID]]]:
        """All points as batches of ``(point id, document id)``, each point once."""
        ...

    def stream_points(self, name: str, *, dimension: int, page: int) -> AsyncIterator[StoredPoints]:
        """All points with payload and dense vector, in the order of their ids (numbers first), ``page`` at a time."""
        ...

    async def retrieve_points(self, name: str, ids: Sequence[PointId], *, dimension: int) -> StoredPoints:
        """The points of these ids that exist, with payload and dense vector, in any order."""
        ...

    async def search(self, name: str, query: PointQuery) -> list[ScoredPoint]:
        """The best points, best first."""
        ...

    async def is_ready(self) -> bool:
        """Whether the store answers."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...


class KnownDocuments(Protocol):
    """What the manifest knows of a source's documents, for adapters that ask a server whether anything has changed."""

    async def find(self, uris: Sequence[str]) -> Mapping[str, KnownDocument]:
        """Those of these URIs that an earlier scan has found and that are still there."""
        ...


class DocumentSource(Protocol):
    """A place documents come from."""

    @property
    def url(self) -> str:
        """Where it is, without secrets."""
        ...

    @property
    def is_local(self) -> bool:
        """Whether its documents are files of this machine, so that other machines need not have them."""
        ...

    @property
    def can_fetch_while_scanning(self) -> bool:
        """Whether documents can be fetched while a scan goes on."""
        ...

    @property
    def skipped(self) -> Mapping[str, int]:
        """After a scan: how many files were left out, by reason."""
        ...

    @property
    def unseen(self) -> Sequence[str]:
        """After a scan: URI prefixes it could not look under. Documents below them may still be there."""
        ...

    def scan(self) -> AsyncGenerator[list[ScannedDocument], None]:
        """All documents, in batches of at most 1 000, in a stable order, each URI once.

        A document that cannot be read comes with its ``error_code``; the scan goes on.

        Raises:
            SourceNotFoundError: if there is nothing at the URL when the scan starts.
            SourceVanishedError: if the root disappears during the scan.
        """
        ...

    async def fetch(self, documents: Sequence[Document], into: Path) -> Mapping[UUID, Fetched]:
        """Bring the bytes of documents to this machine, several at once.

        Args:
            documents: as the manifest has them; a scan of this adapter need not have come before.
            into: a folder for them that does not exist yet; who asked removes it with all that is in it.

        Returns:
            By id: a file below ``into`` (a local source: the file itself), or the error of that one document. Documents
            that are missing were not begun, for the folder is full enough; the first one never is.

        Raises:
            TransientError: if the source does not answer, which is no document's fault.
            PermanentError: if it refuses every document.
        """
        ...

    async def require_present(self) -> None:
        """Tell a document that vanished from a source that did.

        Before any scan, what is there at the first call is what counts from then on.

        Raises:
            SourceVanishedError: if the root is not what the last scan has seen, or does not answer any more.
            SourceNotFoundError: if there was no scan, and nothing is there.
        """
        ...

    async def aclose(self) -> None:
        """Release connections and files."""
        ...


class Processes(Protocol):
    """A bounded set of killable child processes."""

    @property
    def size(self) -> int:
        """How many calls can run at once."""
        ...

    async def run(self, function: Callable[..., Result], *args: object, timeout_seconds: float) -> Result:
        """Call a module-level function in a child process.

        Cancelling the caller kills the child; another one takes its place.

        Raises:
            ProcessTimeoutError: the call was still running after ``timeout_seconds``; the child was killed.
            ProcessDiedError: the child ended in the middle of the call.
            ProcessAnswerTooLargeError: the answer is larger than what is read; the child was killed.
            ProcessUnavailableError: no child can be started, or the pool is closed; the call was not begun.
            Exception: whatever the function raised, with its type, if it can be pickled.
        """
        ...


class Chunker(Protocol):
    """Cuts a text into chunks."""

    def chunk(self, text: str) -> list[TextChunk]:
        """Chunks in order, with exact character offsets; no chunk is empty or only white space."""
        ...


class Reporter(Protocol):
    """Tells an operation's watchers what happens. Never raises because nobody can be told."""

    async def send_update(self, type: str, data: dict[str, Any]) -> None:  # noqa: A002 — the envelope's own word
        """Publish one progress event."""
        ...


class OperationEvents(Protocol):
    """The progress streams of operations."""

    def open(self, operation: Operation) -> AbstractAsyncContextManager[Reporter]:
        """A reporter for one operation, flushed when the block ends."""
        ...

    async def forget(self, operation_id: UUID) -> None:
        """Drop an operation's stream, so that a retry starts with a fresh one."""
        ...


class OperationQueue(Protocol):
    """Wakes workers. Carries ids and dispatch numbers only; may lose anything at any time."""

    async def enqueue(self, deliveries: Sequence[tuple[UUID, int]]) -> bool:
        """Announce dispatched operations; False if the queue does not answer (the reconciler tries again)."""
        ...

    async def find_queued(self, deliveries: Sequence[tuple[UUID, int]]) -> set[UUID]:
        """Operations whose announcement still waits for a worker. All of them if the queue does not answer."""
        ...

    async def forget(self, deliveries: Sequence[tuple[UUID, int]]) -> None:
        """Take announcements out of the queue, as after their operations were claimed."""
        ...

    async def poke(self, subject: UUID) -> None:
        """Tell all workers to look what is wanted of an operation, or of a collection's operations."""
        ...

    async def tell_lanes(self, operation_id: UUID, change: LaneChange) -> None:
        """Tell all workers of the lanes of an operation."""
        ...
