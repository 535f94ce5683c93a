"""Prepares documents in child processes: whatever happens to a child, each document has an outcome of its own."""

import time
from collections.abc import Sequence

from app.domain.documents import Chunking, PreparedDocument, PrepareRequest
from app.domain.errors import (
    ProcessAnswerTooLargeError,
    ProcessDiedError,
    ProcessTimeoutError,
    ProcessUnavailableError,
)
from app.domain.ports import Processes
from app.pipeline.prepare import prepare_documents

MAY_BE_INNOCENT = (ProcessDiedError, MemoryError)
"""A child may be killed from outside, and its memory may be full of others' documents."""


async def prepare_isolated(
    processes: Processes, requests: Sequence[PrepareRequest], chunking: Chunking, *, timeout_seconds: float
) -> list[PreparedDocument]:
    """Prepare documents in one child; halves of them, down to one, in others if it does not survive that.

    A single document whose child dies is tried once more. If that dies too it is ``document_crashed``, or
    ``document_too_large`` where memory ran out.

    Raises:
        ProcessUnavailableError: no child can be started, which is no document's fault.
    """
    started = time.monotonic()
    tries_left = 2 if len(requests) == 1 else 1
    while True:
        tries_left -= 1
        try:
            return await processes.run(prepare_documents, requests, chunking, timeout_seconds=timeout_seconds)
        except ProcessUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 — whatever a document breaks, it is one document's error
            if len(requests) > 1:
                break
            if tries_left == 0 or not isinstance(error, MAY_BE_INNOCENT):
                return [_give_up(requests[0], error, time.monotonic() - started)]
    middle = len(requests) // 2
    first = await prepare_isolated(processes, requests[:middle], chunking, timeout_seconds=timeout_seconds)
    return first + await prepare_isolated(processes, requests[middle:], chunking, timeout_seconds=timeout_seconds)


def _give_up(request: PrepareRequest, error: BaseException, seconds: float) -> PreparedDocument:
    if isinstance(error, MemoryError):
        code, reason = "document_too_large", "it needs more memory than a child process may have"
    elif isinstance(error, ProcessAnswerTooLargeError):
        code, reason = "document_too_large", error.message
    elif isinstance(error, ProcessTimeoutError):
        code, reason = "document_timeout", error.message
    elif isinstance(error, ProcessDiedError):
        code, reason = "document_crashed", error.message
    else:
        code, reason = "extraction_failed", f"it broke what reads it ({type(error).__name__})"
    message = f"reading the document was given up after {seconds:.0f} s: {reason}"
    return PreparedDocument(document_id=request.document_id, error_code=code, error_message=message)
