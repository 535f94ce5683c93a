"""Pure parts of the pipeline."""

import asyncio
from itertools import pairwise
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.documents import Chunking, ChunkingStrategy, PreparedDocument, TextChunk
from app.domain.identity import chunk_ids
from app.pipeline.budget import ByteBudget
from app.pipeline.chunk import chunk_text, load_tokenizer
from app.pipeline.pack import pack_batches
from app.pipeline.write import diff_chunks


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=2000), size=st.integers(20, 120), strategy=st.sampled_from(ChunkingStrategy))
def test_offsets_are_exact(text: str, size: int, strategy: ChunkingStrategy) -> None:
    """Whatever the text, every chunk is the span it says, within its size and not blank."""
    chunks = chunk_text(text, Chunking(strategy=strategy, size=size, overlap=5))

    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert all(chunk.text.strip() for chunk in chunks)
    sizes = [len(chunk.text) if strategy is ChunkingStrategy.CHARACTER else chunk.tokens for chunk in chunks]
    assert all(0 < length <= size for length in sizes)
    covered = {place for chunk in chunks for place in range(chunk.start, chunk.end)}
    assert all(place in covered for place, char in enumerate(text) if not char.isspace())
    assert all(later.end > earlier.end for earlier, later in pairwise(chunks))


def test_nothing_of_a_text_is_lost() -> None:
    """The chunks of a long text cover all its words."""
    text = " ".join(f"word{number}" for number in range(5000))

    chunks = chunk_text(text, Chunking(size=100, overlap=0))

    assert " ".join(chunk.text for chunk in chunks).split() == text.split()


def test_mixed_text_is_cut_to_size_everywhere() -> None:
    """Prose, numbers and a script of many tokens a character, side by side, all fit, and prose fills its chunks."""
    prose = "The humpback whale sings for hours in the warm shallow waters of the bay. " * 200
    text = "\n\n".join([prose, "0x7f3a,91;" * 1500, "鯨は海の中で長い歌をうたう。" * 300, prose])

    chunks = chunk_text(text, Chunking(size=200, overlap=20))

    counted = [len(load_tokenizer().encode(chunk.text, add_special_tokens=False)) for chunk in chunks]
    assert max(counted) <= 202  # cut out of its text, a chunk may begin or end with a token more
    assert max(abs(chunk.tokens - count) for chunk, count in zip(chunks, counted, strict=True)) <= 2
    full = [chunk.tokens for chunk in chunks if "humpback" in chunk.text]
    assert sum(full) / len(full) > 120


def test_an_edit_moves_few_boundaries() -> None:
    """A sentence added in the middle of a long document leaves nearly all other chunks as they were."""
    paragraphs = [f"Paragraph {number} tells of whales. " + "They sing in the deep. " * 12 for number in range(200)]
    before = chunk_text("\n\n".join(paragraphs), Chunking())
    paragraphs[100] += " One more sentence."

    after = chunk_text("\n\n".join(paragraphs), Chunking())

    assert len(before) > 30
    assert len({chunk.text for chunk in after} - {chunk.text for chunk in before}) <= 3


@given(tokens=st.lists(st.integers(0, 600), max_size=300))
def test_batches_hold_every_text_once_within_bounds(tokens: list[int]) -> None:
    """Packing loses nothing, doubles nothing and respects both bounds, padding included."""
    batches = pack_batches(tokens, max_texts=16, max_tokens=2000)

    assert sorted(index for batch in batches for index in batch) == list(range(len(tokens)))
    assert all(len(batch) <= 16 for batch in batches)
    assert all(len(batch) == 1 or max(tokens[i] for i in batch) * len(batch) <= 2000 for batch in batches)


def test_equal_texts_of_a_document_get_different_ids() -> None:
    """The second occurrence of a text has an id of its own, the same in every run."""
    document = uuid4()

    first = chunk_ids(document, ["a", "b", "a"])
    moved = chunk_ids(document, ["x", "a", "b", "a"])

    assert len(set(first)) == 3
    assert moved[1:] == first


def test_a_moved_chunk_is_not_added_again() -> None:
    """Inserting a paragraph adds its chunk, moves the others and drops none."""
    document = uuid4()
    texts = ["one", "two"]
    before = set(chunk_ids(document, texts))
    chunks = tuple(TextChunk(text=text, start=0, end=3, tokens=1) for text in ["new", *texts])

    changes = diff_chunks([PreparedDocument(document_id=document, chunks=chunks)], {document: before})

    assert [chunk.text for chunk in changes.added] == ["new"]
    assert [(chunk.text, chunk.ordinal) for chunk in changes.moved] == [("one", 1), ("two", 2)]
    assert not changes.gone


async def test_a_budget_lets_in_what_fits_and_serves_in_order() -> None:
    """A large piece waits for room and is not overtaken for ever by small ones."""
    budget = ByteBudget(10)
    order: list[str] = []

    async def hold(name: str, size: int, release: asyncio.Event) -> None:
        async with budget.hold(size):
            order.append(name)
            await release.wait()

    first, rest = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold("first", 8, first))
        await asyncio.sleep(0)
        group.create_task(hold("large", 99, rest))
        await asyncio.sleep(0)
        group.create_task(hold("small", 1, rest))
        await asyncio.sleep(0)
        assert order == ["first"]
        first.set()
        await asyncio.sleep(0)
        rest.set()

    assert order == ["first", "large", "small"]
    assert budget.used == 0
