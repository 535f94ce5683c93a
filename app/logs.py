"""One form of log line for every entry point: JSON, sanitised, from our code and from libraries alike."""

import logging
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
from opentelemetry import trace
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from app.domain.errors import DomainError
from app.domain.sanitising import SECRET, is_secret_name, sanitise

OURS = "app"
TALKATIVE = ("uvicorn", "alembic")
"""Libraries whose plain information is worth a line; of all others only warnings are."""

TAKEN_OVER = ("uvicorn", "uvicorn.error", "uvicorn.access", "arq", "alembic")
"""Loggers that their own commands may have given a handler already."""

MOST_FRAMES = 30
MOST_CAUSES = 5


def log_to_stderr(level: str) -> None:
    """Log lines on stderr. Call it again after a library has configured logging for itself."""
    _configure(level, logging.StreamHandler(sys.stderr))


def log_to_file(level: str, path: Path) -> None:
    """Log lines in a file, so that a command's own output stays clean."""
    _configure(level, logging.FileHandler(path, encoding="utf-8"))


def log_nowhere() -> None:
    """No log lines at all."""
    _configure("CRITICAL", logging.NullHandler())


def _configure(level: str, handler: logging.Handler) -> None:
    """Send everything through one handler.

    Ours is set on the root, which makes a later ``logging.basicConfig`` do nothing, and on ``app`` too, so that not
    even a forced one takes our own lines away.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _render_exception,
        _sanitise_event,
    ]
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        )
    )
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    for name in (None, OURS, *TAKEN_OVER):
        _take_over(logging.getLogger(name))
    for name in (None, OURS):
        logging.getLogger(name).addHandler(handler)
    logging.getLogger(OURS).propagate = False
    logging.getLogger().setLevel(max(number, logging.WARNING))
    for name in (OURS, *TALKATIVE):
        logging.getLogger(name).setLevel(number)
    # the application writes a line for each request itself
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def _take_over(logger: logging.Logger) -> None:
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        if isinstance(handler, logging.FileHandler):
            handler.close()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def _add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Where in which trace the line was written, if there is one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def _render_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """``exc_info`` as type, frames and causes. Its text may hold anything, so only our own errors show theirs."""
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = _describe(error, depth=MOST_CAUSES)
        # asyncio and others put the exception's text on the lines below
        event["event"] = str(event["event"]).partition("\n")[0]
    return event


def _describe(error: BaseException, *, depth: int) -> dict[str, Any]:
    described: dict[str, Any] = {"type": type(error).__qualname__, "frames": _frames(error.__traceback__)}
    if isinstance(error, DomainError):
        described |= {"code": error.code, "message": error.message}
    if depth == 0:
        return described
    if isinstance(error, BaseExceptionGroup):
        described["errors"] = [_describe(inner, depth=depth - 1) for inner in error.exceptions[:MOST_CAUSES]]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        described["cause"] = _describe(cause, depth=depth - 1)
    return described


def _frames(trace: TracebackType | None) -> list[str]:
    """``file:line function``, innermost last."""
    walked = [(frame.f_code, line) for frame, line in traceback.walk_tb(trace)]
    return [f"{code.co_filename}:{line} {code.co_name}" for code, line in walked[-MOST_FRAMES:]]


def _sanitise_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # what ProcessorFormatter adds for itself begins with an underscore and never reaches the line
    return {key: value if key.startswith("_") else _sanitise_field(key, value) for key, value in event.items()}


def _sanitise_field(name: str, value: object) -> object:
    return SECRET if is_secret_name(name) and value is not None else _sanitise_value(value)


def _sanitise_value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, BaseException):
        return type(value).__qualname__
    if isinstance(value, Mapping):
        return {str(key): _sanitise_field(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_sanitise_value(item) for item in value]
    return sanitise(str(value))
