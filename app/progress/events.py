"""One progress event: its names in Redis, its envelope, and how it is written and read again.

The envelope is published and replayed as the same bytes. Its id is the stream id, which exists only after the
``XADD``; so the stream stores the envelope without its id, and both the publishing script and ``parse_entry``
put the id in front of it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from app.domain.errors import InvalidInputError
from app.domain.sanitising import sanitise

FINAL_TYPES = frozenset({"operation_completed", "operation_failed", "operation_cancelled"})
COUNTER_SUFFIX = "_progress"
COUNTER_TYPES = frozenset({"removing_documents", "scanning_documents"})
FIRST_ID = "0-0"
LARGEST_ID_PART = 2**64

ENVELOPE_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY

PUBLISH_SCRIPT = """
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
local event = '{"id":"' .. id .. '",' .. string.sub(ARGV[3], 2)
for index = 4, #ARGV do redis.call('PUBLISH', ARGV[index], event) end
return id
"""
"""One round trip an event. KEYS: stream. ARGV: most entries, seconds to live, envelope without id, channels…"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressEvent:
    """An event as watchers get it; ``body`` is the whole envelope, JSON."""

    id: str
    type: str
    body: bytes = field(repr=False)

    @property
    def is_final(self) -> bool:
        """Whether it ends an operation's stream."""
        return self.type in FINAL_TYPES


def is_counter(event_type: str) -> bool:
    """Whether only the latest event of this type matters, so that older ones may be left out."""
    return event_type in COUNTER_TYPES or event_type.endswith(COUNTER_SUFFIX)


def prefixed(namespace: str, name: str) -> str:
    """``name`` behind the namespace, if there is one."""
    return f"{namespace}:{name}" if namespace else name


def stream_key(namespace: str, operation_id: UUID | str) -> str:
    """Key of an operation's stream."""
    return prefixed(namespace, f"operation-progress:{operation_id}")


def operation_channel(operation_id: UUID | str) -> str:
    """Channel of one operation's events, without namespace."""
    return f"operation:{operation_id}"


def user_channel(user_id: UUID | str) -> str:
    """Channel of the events of all of a user's operations, without namespace."""
    return f"user:{user_id}"


def encode_envelope(
    event_type: str,
    data: Mapping[str, Any],
    *,
    operation_id: UUID | str,
    collection_id: UUID | str | None,
    at: datetime | None = None,
) -> bytes:
    """The envelope without its id, of now or of the time ``at``.

    Values JSON does not know become text; text that is no UTF-8 gets ``?``. An error's message is sanitised.
    """
    data = dict(data)
    if isinstance(message := data.get("error_message"), str):
        data["error_message"] = sanitise(message)
    envelope = {
        "operation_id": str(operation_id),
        "collection_id": None if collection_id is None else str(collection_id),
        "type": event_type,
        "timestamp": (at or datetime.now(UTC)).isoformat(),
        "data": data,
    }
    try:
        return orjson.dumps(envelope, default=str, option=ENVELOPE_OPTIONS)
    except TypeError:
        return json.dumps(envelope, default=str, ensure_ascii=False).encode("utf-8", "replace")


def with_id(event_id: str, envelope: bytes) -> bytes:
    """The whole envelope, as the publishing script builds it."""
    return b'{"id":"' + event_id.encode() + b'",' + envelope[1:]


def parse_event(body: bytes) -> ProgressEvent:
    """Read a published envelope.

    Raises:
        ValueError: if it is none.
    """
    envelope = orjson.loads(body)
    if not isinstance(envelope, dict) or not all(isinstance(envelope.get(key), str) for key in ("id", "type")):
        raise ValueError("not an event envelope")
    return ProgressEvent(id=envelope["id"], type=envelope["type"], body=body)


def parse_entry(event_id: str, envelope: bytes) -> ProgressEvent:
    """Read an entry of a stream; raises ValueError if it holds no envelope."""
    return parse_event(with_id(event_id, envelope))


def id_key(event_id: str) -> tuple[int, int]:
    """Order of event ids. ``12`` means ``12-0``.

    Raises:
        InvalidInputError: if it is not an event id.
    """
    if re.fullmatch(r"[0-9]{1,20}(-[0-9]{1,20})?", event_id) is None:
        raise InvalidInputError("an event id looks like `1700000000000-0`")
    time, _, sequence = event_id.partition("-")
    key = (int(time), int(sequence or 0))
    if max(key) >= LARGEST_ID_PART:
        raise InvalidInputError("an event id looks like `1700000000000-0`")
    return key
