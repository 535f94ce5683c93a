"""Datasets are kept whole: what is loaded is what was added."""

import asyncio
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.db.benchmark_datasets import DatasetRepository
from app.domain.benchmark_datasets import (
    MOST_DATASETS,
    MOST_JUDGMENTS,
    MOST_QUERIES,
    Dataset,
    DatasetContent,
    DatasetExistsError,
    DatasetFormat,
    DatasetNotFoundError,
    DatasetQuery,
    JudgedDocument,
    TooManyDatasetsError,
)
from app.operations.collections import IdentityService


def content_of(*queries: tuple[str, str, dict[str, int]]) -> DatasetContent:
    """A dataset of ids, texts and grades."""
    return DatasetContent(
        format=DatasetFormat.TREC,
        queries=tuple(
            DatasetQuery(
                query_id=name,
                text=said,
                relevant=tuple(JudgedDocument(doc=doc, grade=grade) for doc, grade in judged.items()),
            )
            for name, said, judged in queries
        ),
        source="topics, qrels",
        notes=("1 judgments were said twice, and count once",),
    )


SMALL = content_of(("b", "rockets", {"z": 2, "a": -2}), ("a", "whales", {"z": 0}))


async def user_of(parts: Parts, name: str = "tester") -> UUID:
    """A user's id."""
    identity = IdentityService(parts.database)
    return (await identity.authenticate(await identity.issue_key(name, name="test"))).user_id


async def add(parts: Parts, user_id: UUID, name: str, content: DatasetContent) -> tuple[Dataset, bool]:
    """Add a dataset in a transaction of its own."""
    async with parts.database.begin() as connection:
        return await DatasetRepository(connection).add(user_id, name, content, fingerprint=content.fingerprint())


async def count(parts: Parts) -> tuple[int, int, int]:
    """Rows of datasets, queries and judgments."""
    async with parts.database.begin() as connection:
        tables = ("benchmark_datasets", "benchmark_queries", "benchmark_judgments")
        found = [await connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in tables]  # noqa: S608
    return found[0], found[1], found[2]


async def test_what_is_loaded_is_what_was_added(parts: Parts) -> None:
    """Queries and judgments are in their order; id and name lead to it."""
    user_id = await user_of(parts)
    dataset, is_new = await add(parts, user_id, "small", SMALL)
    async with parts.database.begin() as connection:
        rows = DatasetRepository(connection)
        content = await rows.load_content(dataset.id)
        second = await rows.list_queries(dataset.id, first=1, limit=5)
        by_name, by_id = await rows.get(user_id, "small"), await rows.get(user_id, str(dataset.id))

    assert is_new
    assert content == SMALL
    assert second == SMALL.queries[1:]
    assert by_name == by_id == dataset
    assert (dataset.queries, dataset.judgments, dataset.is_synthetic) == (2, 3, False)
    assert dataset.fingerprint == SMALL.fingerprint()


async def test_the_largest_dataset_is_kept(parts: Parts) -> None:
    """As many queries and judgments as are allowed."""
    judged = {f"document {number}": number % 5 for number in range(MOST_JUDGMENTS)}
    content = content_of(*((f"q{number}", "whales", judged) for number in range(MOST_QUERIES)))
    dataset, _ = await add(parts, await user_of(parts), "large", content)
    async with parts.database.begin() as connection:
        loaded = await DatasetRepository(connection).load_content(dataset.id)

    assert dataset.judgments == MOST_QUERIES * MOST_JUDGMENTS
    assert loaded == content


async def test_the_same_again_is_the_one_there_is(parts: Parts) -> None:
    """Another content under its name is refused; another user may have the name."""
    user_id = await user_of(parts)
    first, _ = await add(parts, user_id, "small", SMALL)
    again, is_new = await add(parts, user_id, "small", SMALL)
    with pytest.raises(DatasetExistsError):
        await add(parts, user_id, "small", content_of(("a", "whales", {"z": 1})))
    other, other_is_new = await add(parts, await user_of(parts, "another"), "small", SMALL)

    assert (again, is_new, other_is_new) == (first, False, True)
    assert other.id != first.id
    assert await count(parts) == (2, 4, 6)


async def test_one_of_many_at_once_adds_it(parts: Parts) -> None:
    """Whoever comes later gets the same dataset."""
    user_id = await user_of(parts)
    async with asyncio.TaskGroup() as group:
        adding = [group.create_task(add(parts, user_id, "small", SMALL)) for _ in range(4)]

    assert len({task.result()[0].id for task in adding}) == 1
    assert sum(task.result()[1] for task in adding) == 1
    assert await count(parts) == (1, 2, 3)


async def test_a_dataset_that_is_removed_leaves_nothing(parts: Parts) -> None:
    """Its queries and judgments go with it; a user's datasets go with the user."""
    user_id, another = await user_of(parts), await user_of(parts, "another")
    dataset, _ = await add(parts, user_id, "small", SMALL)
    await add(parts, another, "other", SMALL)
    async with parts.database.begin() as connection:
        await DatasetRepository(connection).remove(dataset.id)
    left = await count(parts)
    async with parts.database.begin() as connection:
        await connection.execute(text("DELETE FROM users WHERE id = :id"), {"id": another})

    assert left == (1, 2, 3)
    assert await count(parts) == (0, 0, 0)


async def test_nobody_sees_the_datasets_of_others(parts: Parts) -> None:
    """Neither by name nor by id."""
    dataset, _ = await add(parts, await user_of(parts), "small", SMALL)
    another = await user_of(parts, "another")
    async with parts.database.begin() as connection:
        rows = DatasetRepository(connection)
        listed = await rows.list_all(another)
        for name in ("small", str(dataset.id)):
            with pytest.raises(DatasetNotFoundError):
                await rows.get(another, name)
        with pytest.raises(DatasetNotFoundError):
            await rows.load_content(uuid4())

    assert listed == []


async def test_a_user_has_only_so_many(parts: Parts) -> None:
    """The same again is no further one."""
    user_id = await user_of(parts)
    for number in range(MOST_DATASETS):
        await add(parts, user_id, f"d{number:03}", SMALL)
    with pytest.raises(TooManyDatasetsError):
        await add(parts, user_id, "one too many", SMALL)
    _, is_new = await add(parts, user_id, "d000", SMALL)
    async with parts.database.begin() as connection:
        names = [dataset.name for dataset in await DatasetRepository(connection).list_all(user_id)]

    assert not is_new
    assert names == [f"d{number:03}" for number in range(MOST_DATASETS)]
