"""What the demo asks a folder when nobody says."""

import re
from pathlib import Path

from app.cli.demo import OWN_DOCS, OWN_QUESTION, choose_collection, choose_question


def test_own_documentation_gets_the_question_it_answers() -> None:
    """The repository's own docs have a question of their own."""
    assert choose_question(OWN_DOCS) == OWN_QUESTION


def test_other_folder_is_asked_about_one_of_its_files(tmp_path: Path) -> None:
    """The file name with most words becomes the question; hidden files do not."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "how-to-bake_bread.md").write_text("flour")
    (tmp_path / "index.md").write_text("start")
    (tmp_path / ".a-hidden-file-with-many-words.md").write_text("no")

    question = choose_question(tmp_path)

    assert question == "how to bake bread"


def test_folder_without_files_is_asked_anyway(tmp_path: Path) -> None:
    """A folder that has no file, or is none, does not stop the demo."""
    assert choose_question(tmp_path) == OWN_QUESTION
    assert choose_question(tmp_path / "missing") == OWN_QUESTION


def test_each_folder_has_a_collection_of_its_own(tmp_path: Path) -> None:
    """Also folders of the same name; the same one is the same collection again."""
    names = [choose_collection(tmp_path / folder) for folder in ("a/My Notes!", "b/My Notes!", "ö", "x" * 200)]

    assert choose_collection(OWN_DOCS) == "demo"
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"demo-[a-z0-9-]{1,60}", name) for name in names)
    assert names[0].startswith("demo-my-notes-")
    assert choose_collection(tmp_path / "a" / ".." / "a" / "My Notes!") == names[0]
