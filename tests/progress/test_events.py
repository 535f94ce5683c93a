"""Names, envelopes and ids of progress events."""

from uuid import uuid4

import orjson
import pytest

from app.domain.errors import InvalidInputError
from app.progress.events import encode_envelope, id_key, is_counter, parse_entry, parse_event, stream_key


def test_an_envelope_has_its_id_in_front() -> None:
    """An entry of a stream becomes the whole envelope, with the id of the entry."""
    operation_id, collection_id = uuid4(), uuid4()
    envelope = encode_envelope("ingest_progress", {"chunks": 3}, operation_id=operation_id, collection_id=collection_id)

    event = parse_entry("17-2", envelope)

    body = orjson.loads(event.body)
    assert list(body) == ["id", "operation_id", "collection_id", "type", "timestamp", "data"]
    assert (body["id"], body["type"], body["data"]) == ("17-2", "ingest_progress", {"chunks": 3})
    assert (body["operation_id"], body["collection_id"]) == (str(operation_id), str(collection_id))
    assert body["timestamp"].endswith("+00:00")


def test_what_json_does_not_know_is_still_told() -> None:
    """Values of other types become text, and text that is no UTF-8 does not stop an event."""
    some_id = uuid4()

    envelope = encode_envelope("x", {"path": "bad\udcff", "id": some_id}, operation_id="o", collection_id=None)

    assert orjson.loads(envelope)["data"] == {"path": "bad?", "id": str(some_id)}


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"id": 1, "type": "x"}'])
def test_garbage_is_no_event(body: bytes) -> None:
    """JSON that is no envelope is refused."""
    with pytest.raises(ValueError, match="not an event envelope"):
        parse_event(body)


@pytest.mark.parametrize(
    ("event_type", "expected"),
    [
        ("ingest_progress", True),
        ("reprocessing_progress", True),
        ("scanning_documents", True),
        ("scanning_completed", False),
        ("operation_completed", False),
    ],
)
def test_counters_are_known_by_their_type(event_type: str, expected: bool) -> None:  # noqa: FBT001 — a parameter of the table above
    """Events that only count may be coalesced, all others not."""
    assert is_counter(event_type) is expected


def test_ids_are_ordered_as_numbers() -> None:
    """Ids compare by time and then by sequence, not as text."""
    assert id_key("9-0") < id_key("10-0") < id_key("10-2") < id_key("10-11")
    assert id_key("12") == (12, 0)


@pytest.mark.parametrize("text", ["", "x", "-", "1-", "1-2-3", "18446744073709551616", "1 ", "\u0661-0"])
def test_what_is_no_id_is_refused(text: str) -> None:
    """A malformed event id is the caller's mistake."""
    with pytest.raises(InvalidInputError):
        id_key(text)


def test_a_namespace_is_a_prefix() -> None:
    """Keys stand behind their namespace, if there is one."""
    assert stream_key("", "a") == "operation-progress:a"
    assert stream_key("n", "a") == "n:operation-progress:a"
