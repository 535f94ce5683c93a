"""Folders of documents that change: edits, additions, deletions, renames, and some documents nobody can read."""

import os
from pathlib import Path
from random import Random

import pypdfium2

from benchmarks.corpus import write_corpus

SHORT = ("Tides follow the moon.", "Bread rises twice.", "Copper conducts heat.", "Owls hunt at night.")


def make_folder(root: Path, documents: int, *, seed: int) -> None:
    """A corpus of its own for each seed, and four documents that cannot be read."""
    write_corpus(root, documents, seed=seed)
    bad = root / "bad"
    bad.mkdir()
    (bad / "empty.md").write_bytes(b"  \n")
    (bad / "not-a.pdf").write_bytes(b"this is no PDF\n")
    (bad / "binary.txt").write_bytes(b"\x00\x01\x02 not text \x00" * 50)
    scan = pypdfium2.PdfDocument.new()
    scan.new_page(200, 200).close()
    scan.save(bad / "scan.pdf")
    scan.close()


def list_files(root: Path) -> list[Path]:
    """Every document of a folder, in a stable order."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def change_folder(root: Path, *, seed: int) -> str:
    """Change a few documents, far fewer than the mass deletion guard minds; says what was done."""
    chance = Random(seed)  # noqa: S311 — repeatable, keeps no secret
    good = [path for path in list_files(root) if path.parent.name != "bad"]
    edits, additions, copies = chance.randint(1, 10), chance.randint(1, 12), chance.randint(0, 3)
    removals, renames = chance.randint(0, 2), chance.randint(0, 3)
    picked = chance.sample(good, edits + copies + removals + renames)
    for path in picked[:edits]:
        _edit(path, chance)
    for path in picked[edits : edits + copies]:
        _write(path.with_name(f"copy-{chance.randrange(10**9)}{path.suffix}"), path.read_text())
    for path in picked[edits + copies : edits + copies + removals]:
        path.unlink()
    for path in picked[edits + copies + removals :]:
        path.rename(path.with_name(f"renamed-{chance.randrange(10**9)}{path.suffix}"))
    for _ in range(additions):
        number = chance.randrange(10**9)
        _write(root / "added" / f"added-{number}.md", f"# Added {number}\n\n" + _sentences(chance, 120))
    return f"{edits} edited, {additions} added, {copies} copied, {removals} removed, {renames} renamed"


def _edit(path: Path, chance: Random) -> None:
    text = path.read_text()
    paragraphs = text.split("\n\n")
    paragraphs.insert(chance.randrange(len(paragraphs)), _sentences(chance, 12))
    _write(path, "\n\n".join(paragraphs))


def _sentences(chance: Random, count: int) -> str:
    return " ".join(f"{chance.choice(SHORT)} Number {chance.randrange(10**6)}." for _ in range(count))


def _write(path: Path, text: str) -> None:
    """All at once, as editors do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(text)
    os.replace(unfinished, path)  # noqa: PTH105 — says what it does
