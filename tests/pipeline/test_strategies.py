"""Where each strategy cuts, and what it tells of a chunk."""

from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from app.bootstrap.tokenizers import check_tokenizer, tokenizers_of
from app.domain.documents import Chunking, ChunkingStrategy, TextChunk
from app.pipeline.chunk import TextKind, chunk_text, load_tokenizer
from app.pipeline.chunking.code import is_code
from app.pipeline.chunking.markdown import read_outline
from app.settings import InvalidSettingError, Settings

GUIDE = """# Guide

Welcome.

## Install

{install}

```sh
# no heading
make
```

Use
---

{use}
"""
INSTALL = " ".join(f"Step {number} takes a while." for number in range(60))
USE = " ".join(f"Use {number} is simple." for number in range(60))
PYTHON = "\n\n\n".join(
    f"""@cached
# what it does
def function_{number}(value):
    if value > {number}:
        return value

    total = value + {number}
    return total"""
    for number in range(40)
)


def _texts(chunks: list[TextChunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


def test_a_chunk_of_markdown_knows_its_headings() -> None:
    """The path has all levels; a comment in a fence is no heading, an underlined line is one."""
    text = GUIDE.format(install=INSTALL, use=USE)

    chunks = chunk_text(text, Chunking(strategy=ChunkingStrategy.MARKDOWN, size=100, overlap=10))

    paths = {chunk.headings for chunk in chunks}
    assert ("Guide", "Install") in paths
    assert ("Guide", "Use") in paths
    assert all(path[0] == "Guide" for path in paths)
    assert "no heading" not in str(paths)
    assert [chunk for chunk in chunks if chunk.text.startswith("Use\n---")]


def test_what_is_embedded_fits_into_the_size() -> None:
    """Headings count: the text under them, tokenised, has no more tokens than the size and as many as it says."""
    title = "A very long title about everything there is to know about whales and all of their songs in the deep"
    text = GUIDE.format(install=INSTALL, use=USE).replace("# Guide", f"# {title}")

    chunks = chunk_text(text, Chunking(size=100, overlap=10), kind=TextKind.MARKDOWN)

    counted = [len(load_tokenizer().encode(chunk.embedded, add_special_tokens=False)) for chunk in chunks]
    assert max(counted) <= 102
    assert max(abs(chunk.tokens - count) for chunk, count in zip(chunks, counted, strict=True)) <= 2
    assert any(chunk.headings == ("Install",) for chunk in chunks)


def test_a_forgotten_fence_does_not_swallow_the_headings() -> None:
    """Code that was not closed ends after a while, and a fence with a language begins anew."""
    rest = "\n\nSome prose. " * 2000 + "\n\n## Later\n\nMore."

    outline = read_outline(f"# Top\n\n```\nopen{rest}\n\n```sh\nmake\n```\n\n## Last\n")

    assert [heading.title for heading in outline.headings] == ["Top", "Later", "Last"]


def test_functions_stay_whole_with_their_decorators() -> None:
    """Every chunk of a Python file begins with a decorator and ends with a return."""
    chunks = chunk_text(PYTHON, Chunking(strategy=ChunkingStrategy.CODE, size=120, overlap=0))

    assert len(chunks) > 10
    assert all(text.startswith("@cached\n# what it does\ndef ") for text in _texts(chunks))
    assert all(text.endswith("return total") for text in _texts(chunks))


@pytest.mark.parametrize(
    "definition",
    [
        "func Sing{0}(w Whale) error {{\n\twait()\n\n\treturn nil\n}}",
        "pub fn sing_{0}(whale: &Whale) -> u32 {{\n    wait();\n\n    7\n}}",
        "export async function sing{0}(whale) {{\n  wait();\n\n  return 7;\n}}",
        "static int sing_{0}(struct whale *whale) {{\n    wait();\n\n    return 7;\n}}",
        "public class Song{0} {{\n    public int sing() {{\n        return 7;\n    }}\n}}",
    ],
    ids=["go", "rust", "javascript", "c", "java"],
)
def test_definitions_of_other_languages_stay_whole(definition: str) -> None:
    """Chunks begin where a function or class begins and end where one ends."""
    code = "\n".join(definition.format(number) for number in range(60))

    chunks = chunk_text(code, Chunking(size=90, overlap=0), kind=TextKind.CODE)

    opening = definition.partition("{0}")[0]
    assert len(chunks) > 10
    assert all(text.startswith(opening) and text.endswith("}") for text in _texts(chunks))


def test_a_file_says_by_its_name_that_it_is_code() -> None:
    """Names of programs are known, those of documents are not code."""
    assert is_code("src/Main.java")
    assert is_code("a.PY")
    assert not is_code("notes.txt")
    assert not is_code("page.md")


def test_semantic_cuts_where_the_subject_changes() -> None:
    """Two subjects in one paragraph, of unequal length, are cut between them."""
    whales = "The humpback whale sings in the ocean. Whales dive deep for krill. Blue whales swim in the cold sea. " * 5
    taxes = "Income tax is due in April. The tax office sends a form to every company. Pay the tax by bank. " * 7

    chunks = chunk_text(whales + taxes, Chunking(strategy=ChunkingStrategy.SEMANTIC, size=250, overlap=0))

    assert len(chunks) == 2
    assert "tax" not in chunks[0].text
    assert "whale" not in chunks[1].text.lower()


def test_children_of_a_parent_make_up_its_text() -> None:
    """Parents are about four chunks large, exact spans of the text, and their children have no gap between them."""
    text = GUIDE.format(install=INSTALL, use=USE) * 3

    chunks = chunk_text(
        text, Chunking(strategy=ChunkingStrategy.HIERARCHICAL, size=40, overlap=5), kind=TextKind.MARKDOWN
    )

    parents: dict[tuple[int | None, int | None], list[TextChunk]] = {}
    for chunk in chunks:
        parents.setdefault((chunk.parent_start, chunk.parent_end), []).append(chunk)
    assert 5 < len(parents) < len(chunks) / 2
    for (start, end), children in parents.items():
        assert start == children[0].start
        assert end == children[-1].end
        assert all(later.start <= earlier.end < later.end for earlier, later in pairwise(children))


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.sampled_from(["a ", "word ", "# h\n", "\n", "\n\n", "```\n", "long" * 30, "鯨は海。", "x. "])),
    strategy=st.sampled_from(ChunkingStrategy),
    overlap=st.integers(0, 15),
)
def test_chunks_are_exact_whatever_the_text(parts: list[str], strategy: ChunkingStrategy, overlap: int) -> None:
    """Structure of all kinds, mixed: exact spans in order, nothing lost, nothing too large."""
    text = "".join(parts * 9)

    chunks = chunk_text(text, Chunking(strategy=strategy, size=24, overlap=overlap))

    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert all(0 < chunk.tokens <= 24 for chunk in chunks)
    covered = {place for chunk in chunks for place in range(chunk.start, chunk.end)}
    assert all(place in covered for place, char in enumerate(text) if not char.isspace())
    assert all(later.end > earlier.end and later.start >= earlier.start for earlier, later in pairwise(chunks))


def _write_tokenizer(folder: Path) -> Path:
    """A tokenizer whose tokens are single letters."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_sizes_are_those_of_the_models_tokenizer(tmp_path: Path) -> None:
    """With a tokenizer of single letters chunks are as many letters, not tokens of the packaged one."""
    _write_tokenizer(tmp_path)
    text = "Whales sing for hours. " * 50

    chunks = chunk_text(text, Chunking(size=100, overlap=0), tokenizer=str(tmp_path))

    assert all(len(chunk.text.replace(" ", "")) <= 100 for chunk in chunks)
    assert max(chunk.tokens for chunk in chunks) > 60
    assert len(chunks) > len(chunk_text(text, Chunking(size=100, overlap=0))) * 2


def test_a_tokenizer_belongs_to_the_model_of_the_server(tmp_path: Path) -> None:
    """The built-in model keeps its own."""
    path = _write_tokenizer(tmp_path)
    chosen = Settings(embedding_tokenizer=path, embedding_url="http://localhost:1", embedding_model="big")

    check_tokenizer(chosen)

    assert tokenizers_of(chosen) == {"big": str(path)}
    assert tokenizers_of(Settings(embedding_tokenizer=path)) == {}


@pytest.mark.parametrize("content", [None, "no json", "{}"], ids=["missing", "text", "object"])
def test_a_file_that_is_no_tokenizer_is_named_at_the_start(tmp_path: Path, content: str | None) -> None:
    """The message has the setting and the file."""
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(InvalidSettingError, match=r"VECLOOM_EMBEDDING_TOKENIZER: .*tokenizer\.json"):
        check_tokenizer(Settings(embedding_tokenizer=path))


@pytest.mark.parametrize("strategy", ChunkingStrategy)
@pytest.mark.parametrize("seed", range(4))
def test_a_text_is_put_together_again_from_its_chunks(strategy: ChunkingStrategy, seed: int) -> None:
    """To the last space inside it, whatever it was cut by; so cutting it in another way needs no source."""
    random = Random(seed)  # noqa: S311 — the same texts every time
    spaces = [" ", " ", " ", "\n", "\n\n", "  \n", "\t", "\n\n\n", "\u00a0", ". ", ".\n\n## Part\n\n"]
    words = [random.choice(["whale", "song", "ocean", "deep", "ein", "x" * 40, "été"]) for _ in range(900)]
    text = "".join(f"{word}{random.choice(spaces)}" for word in words)
    kind = random.choice(list(TextKind))
    chunks = chunk_text(text, Chunking(strategy=strategy, size=40, overlap=random.choice([0, 6])), kind=kind)

    again, covered = "", 0
    for chunk in chunks:
        again += (chunk.gap or "") + chunk.text[max(0, covered - chunk.start) :]
        covered = max(covered, chunk.end)

    assert again == text.rstrip()
    for other in (Chunking(strategy=strategy, size=90, overlap=9), Chunking(size=25, overlap=0)):
        assert chunk_text(again, other, kind=kind) == chunk_text(text, other, kind=kind)
