"""Every error Vecloom raises on purpose.

    DomainError                      code, retryable, safe message
    ├── InvalidInputError            the caller must change something        HTTP 422
    ├── NotAuthenticatedError        no valid key                            HTTP 401
    ├── PermissionDeniedError        a valid key that may not                HTTP 403
    ├── NotFoundError                no such thing, or not yours             HTTP 404
    ├── ConflictError                the thing is in another state           HTTP 409
    ├── PermanentError               will fail the same way again            HTTP 500
    └── TransientError               may work when tried again               HTTP 503

A class of error is a subclass with its own ``code``. Codes are a contract: they are stored,
published and scripted against, so they never change.
"""

from shlex import quote
from typing import ClassVar


class DomainError(Exception):
    """An error with a stable code and a message that is safe to show to the owner of the data."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInputError(DomainError):
    """What was asked cannot be done as asked; the message says what to change."""

    code = "invalid_input"


class NotAuthenticatedError(DomainError):
    """No API key, or one that is unknown, expired or revoked."""

    code = "not_authenticated"


class PermissionDeniedError(DomainError):
    """The key is valid but does not allow this."""

    code = "permission_denied"


class NotFoundError(DomainError):
    """Nothing with this id exists for this caller."""

    code = "not_found"


class ConflictError(DomainError):
    """The thing exists but its state does not allow this now."""

    code = "conflict"


class PermanentError(DomainError):
    """Doing the same again would fail the same way."""

    code = "permanent_error"


class TransientError(DomainError):
    """Doing the same again later may work.

    Args:
        message: what happened.
        retry_after_seconds: how long the other side asked to be left alone, if it did.
    """

    code = "transient_error"
    retryable = True

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DiskFullError(TransientError):
    """No space is left where the data lies. People make room, so it is tried again."""

    code = "disk_full"

    def __init__(self, whose: str) -> None:
        super().__init__(f"{whose} is full; make room there, the operation goes on by itself or with a retry")


# --- stores -------------------------------------------------------------------------------------


class VectorStoreUnavailableError(TransientError):
    """The vector store does not answer, or answers 408, 425, 429 or 5xx."""

    code = "vector_store_unavailable"


class VectorStoreGarbageError(TransientError):
    """The answer is no answer of a Qdrant server: not JSON, or without what was asked for."""

    code = "vector_store_garbage"


class VectorStoreRejectedError(PermanentError):
    """The vector store refuses a request that would be refused again (any other 4xx)."""

    code = "vector_store_rejected"


class GenerationMissingError(PermanentError):
    """The physical collection of a generation does not exist in the vector store."""

    code = "generation_missing"

    def __init__(self, name: str) -> None:
        super().__init__(f"the vector store has no collection {name!r}; run `vecloom verify` to see what is missing")


class GenerationDroppedError(TransientError):
    """A generation was given up while somebody still built it; the next attempt builds a new one."""

    code = "generation_dropped"

    def __init__(self, name: str) -> None:
        super().__init__(f"the generation {name!r} was given up meanwhile; the next attempt builds a new one")


class GenerationMismatchError(PermanentError):
    """A physical collection exists with another dimension or other named vectors."""

    code = "generation_mismatch"


# --- embedders ----------------------------------------------------------------------------------


class EmbedderUnavailableError(TransientError):
    """The model server does not answer, or answers 408, 424, 425, 429 or 5xx."""

    code = "embedder_unavailable"


class EmbedderOverloadedError(EmbedderUnavailableError):
    """The model server says itself that it has too much to do (429, 503), whatever the texts are."""


class EmbedderRejectedError(PermanentError):
    """The model server refuses these texts and would refuse them again (any other 4xx)."""

    code = "embedder_rejected"


class EmbedderRefusesAccessError(PermanentError):
    """The model server refuses every request of ours: a wrong key (401, 403) or a wrong path (404)."""

    code = "embedder_refuses_access"


class EmbedderBatchTooLargeError(PermanentError):
    """The model server answers 413 or 422 to a batch: the caller splits it and tries the halves."""

    code = "embedder_batch_too_large"


class EmbedderGarbageError(TransientError):
    """The answer cannot be used: wrong count, wrong dimension, not finite, not parseable."""

    code = "embedder_garbage"


class EmbedderDimensionError(EmbedderGarbageError):
    """The answer has vectors of another length than the model's."""

    code = "embedder_dimension"

    def __init__(self, model: str, *, expected: int, actual: int) -> None:
        super().__init__(f"the model {model!r} answers {actual} dimensions instead of {expected}")


class ModelNotLoadedError(PermanentError):
    """A model that is to run on this machine cannot be loaded: its folder or its library is not as it must be."""

    code = "model_not_loaded"


class UnknownModelError(PermanentError):
    """No embedder serves a model of this name."""

    code = "unknown_model"

    def __init__(self, model: str, known: str) -> None:
        super().__init__(f"no embedder serves the model {model!r}; {known}")


class EmbedderChangedError(PermanentError):
    """The model answers other vectors than when the generation was created."""

    code = "embedder_changed"

    def __init__(self, model: str, similarity: float) -> None:
        super().__init__(
            f"the model {model!r} no longer gives the vectors this collection was built with"
            f" (cosine {similarity:.4f} on the canary texts); restore the model or reindex the collection"
        )


# --- processes ----------------------------------------------------------------------------------


class ProcessDiedError(TransientError):
    """A child process ended in the middle of a call (killed, out of memory, crashed in native code)."""

    code = "process_died"


class ProcessTimeoutError(TransientError):
    """A call in a child process did not end before its deadline; the child was killed."""

    code = "process_timeout"


class ProcessUnavailableError(TransientError):
    """No child process can be started, or the pool is closed; the call was not begun."""

    code = "process_unavailable"


class ProcessAnswerTooLargeError(PermanentError):
    """A call in a child process answered with more bytes than this process will read; the child was killed."""

    code = "process_answer_too_large"

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"a call in a child process answered with {size} bytes, at most {most} are read")


# --- sources ------------------------------------------------------------------------------------


class SourceNotFoundError(PermanentError):
    """The folder or file of a source does not exist, or is not readable at all."""

    code = "source_not_found"

    def __init__(self, url: str) -> None:
        super().__init__(f"nothing readable at {url}; check the path and its permissions")


class SourceVanishedError(TransientError):
    """The folder of a source disappeared while it was scanned or read."""

    code = "source_vanished"

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} disappeared while it was being read; nothing was removed from the collection")


class SourceNotAllowedError(PermissionDeniedError):
    """The path lies outside the folders this server may read."""

    code = "source_not_allowed"


class InvalidChunkingError(InvalidInputError):
    """Chunks that would share all of their text with their neighbours."""

    code = "invalid_request"


class InvalidGatePolicyError(InvalidInputError):
    """A policy for validating a rebuild that says something unknown."""

    code = "invalid_gate_policy"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the gate policy cannot be used: {reason}")


class InvalidIndexSettingsError(InvalidInputError):
    """Settings of a vector index that no store can have, or that contradict each other."""

    code = "invalid_index_settings"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the index settings cannot be used: {reason}")


class UnsupportedSourceError(InvalidInputError):
    """No source adapter for this URL."""

    code = "unsupported_source"


class AddressNotAllowedError(PermissionDeniedError):
    """A host has an address of this machine, of a network that is not public, or of a cloud's own services."""

    code = "address_not_allowed"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} has an address that is not public, which this server is not to be sent to; an operator who wants"
            " that sets VECLOOM_SOURCES_ALLOW_PRIVATE=true"
        )


class SourceUnavailableError(TransientError):
    """The server of a source does not answer, or answers 408, 425, 429 or 5xx."""

    code = "source_unavailable"

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} does not answer, or says that it cannot now; nothing was removed from the collection")


class SourceRefusesAccessError(PermanentError):
    """The server of a source refuses the login, or does not want to be read."""

    code = "source_refuses_access"


class SourceNotEncryptedError(PermanentError):
    """The server of a source offers no encryption, and a login is sent to nobody without it."""

    code = "source_not_encrypted"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"{url} offers no encryption (STARTTLS), so no login is sent there; use imaps://, or set the option"
            " plain=true if everybody in between may read it"
        )


class SourceGarbageError(TransientError):
    """The server of a source answers what cannot be used."""

    code = "source_garbage"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} answers with {reason}; nothing was removed from the collection")


class SourceLibraryMissingError(PermanentError):
    """A library that reads sources of this kind is not installed."""

    code = "source_library_missing"


class SourceRefNotFoundError(PermanentError):
    """A repository has no such branch and no such tag, or none at all."""

    code = "source_ref_not_found"

    def __init__(self, url: str, ref: str) -> None:
        what = f"no branch and no tag named {ref}" if ref else "no branch yet"
        super().__init__(f"{url} has {what}")


class SourceTooLargeError(PermanentError):
    """More had to be fetched of a source than is allowed."""

    code = "source_too_large"

    def __init__(self, url: str, most: int) -> None:
        super().__init__(f"{url} is larger than the {most} bytes or has more files than are read; choose a part of it")


class SourceMovedError(PermanentError):
    """The server of a source sends us to another place, which is not followed."""

    code = "source_moved"

    def __init__(self, url: str, to: str) -> None:
        super().__init__(f"{url} leads to {to}, which is not followed; give the URL it leads to")


class SourceHostUnknownError(PermanentError):
    """The key of an SSH server is not among those that are known of it."""

    code = "host_key_unknown"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"the SSH key of {host} is not known, or is another one than was said; give the secret known_hosts, with"
            f" the lines that `ssh-keyscan {host}` prints once you have checked them"
        )


class InvalidSourceError(InvalidInputError):
    """An option or a secret of a source is unknown to its kind, or has a value that it cannot have."""

    code = "invalid_source"


class SecretKeyMissingError(PermanentError):
    """Secrets cannot be stored or read without a key."""

    code = "secret_key_missing"

    def __init__(self) -> None:
        super().__init__(
            "there is a secret, and no key is set to encrypt it with; set VECLOOM_SECRET_KEYS to the same on all"
            " servers and workers (`vecloom sources new-key` makes one)"
        )


class SecretKeyWrongError(PermanentError):
    """A secret was encrypted with a key that is not among those that are set."""

    code = "secret_key_wrong"

    def __init__(self) -> None:
        super().__init__(
            "the secret of this source was encrypted with another key; add that to VECLOOM_SECRET_KEYS, or give the"
            " secret again with `vecloom sources change`"
        )


# --- operations ---------------------------------------------------------------------------------


class LeaseLostError(DomainError):
    """This attempt no longer owns its operation; whatever it wanted to write was not written."""

    code = "lease_lost"


class SliceEndedError(DomainError):
    """The attempt stopped at a checkpoint because it was asked to; the operation goes on in another slice."""

    code = "slice_ended"


class LaneBlindError(DomainError):
    """A worker that shares an operation cannot read its documents; the operation's own worker does that."""

    code = "lane_blind"


class MassDeletionGuardError(PermanentError):
    """A scan finds most of a source gone, which is more often a mistake than a wish."""

    code = "mass_deletion_guard"

    def __init__(self, gone: int, known: int, *, collection: str) -> None:
        super().__init__(
            f"{gone} of {known} documents of this source are gone; nothing was removed. If that is right, confirm it:"
            f" `vecloom sync {quote(collection)} --confirm-removals`, or an APPEND with `confirm_removals: true`;"
            " if not, check that it is mounted"
        )


class OperationNotFoundError(NotFoundError):
    """No operation has this id."""

    code = "operation_not_found"

    def __init__(self, operation_id: object) -> None:
        super().__init__(f"operation {operation_id} does not exist")


class OperationFinishedError(ConflictError):
    """The operation has ended, so it cannot be cancelled any more."""

    code = "operation_finished"

    def __init__(self, operation_id: object, state: str) -> None:
        super().__init__(f"operation {operation_id} is already {state}")


class DeletionNotCancellableError(ConflictError):
    """A deletion is asked to stop, but its collection cannot come back."""

    code = "deletion_not_cancellable"

    def __init__(self, operation_id: object) -> None:
        super().__init__(
            f"operation {operation_id} deletes a collection, which is gone for everybody already;"
            " pause it if it is in the way"
        )


class OperationNotRetryableError(ConflictError):
    """Only a failed or cancelled operation can be retried."""

    code = "operation_not_retryable"

    def __init__(self, operation_id: object, state: str) -> None:
        super().__init__(f"operation {operation_id} is {state}; only a failed or cancelled one can be retried")


class UnsupportedOperationError(InvalidInputError):
    """This kind of operation does not exist in this version."""

    code = "unsupported_operation"


# --- collections --------------------------------------------------------------------------------


class CollectionNotFoundError(NotFoundError):
    """No collection of this caller has this id or name."""

    code = "collection_not_found"

    def __init__(self, collection: object) -> None:
        super().__init__(f"collection {collection} does not exist")


class CollectionExistsError(ConflictError):
    """The caller already has a collection of this name."""

    code = "collection_exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"you already have a collection named {name!r}")


class OptionConflictError(ConflictError):
    """A collection or a source exists and is not as the caller says."""

    code = "option_conflict"

    def __init__(self, what: str, option: str, *, present: object, wanted: object) -> None:
        super().__init__(
            f"{what} has {option} {present!r} already, not {wanted!r}; leave the option out, or name another collection"
        )


class IdempotencyKeyUsedError(ConflictError):
    """The key belongs to an operation of another sort, which cannot be the answer to this request."""

    code = "idempotency_key_used"

    def __init__(self, operation_id: object) -> None:
        super().__init__(f"this Idempotency-Key belongs to operation {operation_id} already; use another one")


class CollectionNotReadyError(ConflictError):
    """The collection has no active generation yet, so there is nothing to search."""

    code = "collection_not_ready"

    def __init__(self, name: str) -> None:
        super().__init__(f"collection {name!r} has nothing to search yet; wait for its first INDEX operation")


class SourceExistsError(ConflictError):
    """The collection already has a source with this URL."""

    code = "source_exists"


class DocumentNotFoundError(NotFoundError):
    """The collection has no such document."""

    code = "document_not_found"

    def __init__(self, document_id: object) -> None:
        super().__init__(f"the collection has no document {document_id}")


class SourceUnknownError(NotFoundError):
    """The collection has no such source."""

    code = "source_unknown"

    def __init__(self, source: object) -> None:
        super().__init__(f"source {source} does not exist in this collection")


# --- periodic jobs ------------------------------------------------------------------------------


class PeriodicJobNotFoundError(NotFoundError):
    """No periodic job of this version has this name."""

    code = "periodic_job_not_found"

    def __init__(self, name: str, known: str) -> None:
        super().__init__(f"there is no periodic job {name!r}; there are: {known}")


class PeriodicJobRunningError(ConflictError):
    """A round of this periodic job is under way; a second one beside it would be in its way."""

    code = "periodic_job_running"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is running now; wait for its end, `vecloom jobs list` shows it")


class NoDryRunError(InvalidInputError):
    """This periodic job cannot say beforehand what it would do."""

    code = "no_dry_run"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has no dry run; run it without")


class PeriodicJobTimeoutError(TransientError):
    """A round of a periodic job was still running at its time limit and was stopped."""

    code = "periodic_job_timeout"

    def __init__(self, limit_seconds: float) -> None:
        super().__init__(f"it was still running after {limit_seconds:g} s and was stopped; it goes on next time")


class PeriodicJobInterruptedError(TransientError):
    """A round of a periodic job was stopped with its process; another one does it again."""

    code = "periodic_job_interrupted"

    def __init__(self) -> None:
        super().__init__("its process stopped in the middle; it is done again")


# --- progress -----------------------------------------------------------------------------------


class ProgressUnavailableError(TransientError):
    """Redis does not answer, so progress events cannot be read now."""

    code = "progress_unavailable"


class WatcherTooSlowError(DomainError):
    """A watcher took its events so slowly that its queue is full; the others go on without it."""

    code = "watcher_too_slow"


class TooManyWatchersError(TransientError):
    """The caller, or this process, has as many open watchers as are allowed."""

    code = "too_many_watchers"


# --- embedded -----------------------------------------------------------------------------------


class DataFolderBusyError(ConflictError):
    """Another process owns this data folder."""

    code = "data_folder_busy"

    def __init__(self, folder: object, owner: str) -> None:
        super().__init__(
            f"the data folder {folder} is in use by {owner}; stop that process, or use another folder with --data"
        )


class DataFolderUnusableError(PermanentError):
    """The data folder cannot be created, written or understood."""

    code = "data_folder_unusable"

    def __init__(self, folder: object, reason: str, advice: str) -> None:
        super().__init__(f"the data folder {folder} cannot be used: {reason}; {advice}")


class EmbeddedStartError(PermanentError):
    """A server of the embedded stack did not start; the message ends with the last lines of its log."""

    code = "embedded_start_failed"

    def __init__(self, name: str, reason: str, log_tail: str = "") -> None:
        ending = f"; its log ends with:\n{log_tail}" if log_tail else ""
        super().__init__(f"{name} did not start: {reason}{ending}")
