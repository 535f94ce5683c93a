"""What a watcher's story takes for wrong."""

from typing import Any

from tests.chaos.watchers import Story


def _event(event_id: str, kind: str, operation_id: str = "one") -> dict[str, Any]:
    return {"id": event_id, "type": kind, "operation_id": operation_id, "data": {}}


def _tell(*events: dict[str, Any]) -> Story:
    story = Story("one")
    for event in events:
        story.take(event)
    return story


def test_a_whole_story_has_no_problem() -> None:
    """Growing ids and one end; an end made from the row has the id of the event before it."""
    usual = _tell(
        _event("1-0", "operation_queued"), _event("1-1", "operation_started"), _event("2-0", "operation_failed")
    )
    made = _tell(_event("1-0", "operation_queued"), _event("1-0", "operation_cancelled"))

    assert usual.problems == made.problems == []
    assert usual.final is not None
    assert usual.final["type"] == "operation_failed"


def test_an_event_after_the_end_is_a_problem() -> None:
    """Be it a second end or anything else; the first end stands."""
    story = _tell(
        _event("1-0", "operation_cancelled"), _event("2-0", "operation_completed"), _event("3-0", "ingest_progress")
    )

    assert len(story.problems) == 2
    assert story.final is not None
    assert story.final["type"] == "operation_cancelled"


def test_an_event_that_comes_twice_or_late_is_a_problem() -> None:
    """Ids must grow."""
    twice = _tell(_event("5-0", "operation_started"), _event("5-0", "operation_started"))
    late = _tell(_event("5-0", "operation_started"), _event("4-9", "scanning_completed"))

    assert len(twice.problems) == len(late.problems) == 1


def test_an_event_of_another_operation_is_a_problem() -> None:
    """A watcher sees its own operation alone."""
    assert len(_tell(_event("1-0", "operation_started", "another")).problems) == 1
