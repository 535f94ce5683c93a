"""Writes very many very small files, each with a text of its own."""

from pathlib import Path

FILES_PER_FOLDER = 1_000


def write_tiny(folder: Path, files: int) -> None:
    """``files`` files of about a hundred bytes, 1 000 to a sub-folder."""
    for number in range(files):
        if number % FILES_PER_FOLDER == 0:
            part = folder / f"part-{number // FILES_PER_FOLDER:04d}"
            part.mkdir(parents=True, exist_ok=True)
        text = f"Note {number}: shelf {number % 97}, row {number % 89}, box {number * 7919 % 100_003} is to be kept.\n"
        (part / f"note-{number}.txt").write_text(text)
