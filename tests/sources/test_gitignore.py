"""``.gitignore`` files, compared with what git itself makes of them."""

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.sources.gitignore import (
    LONGEST_PATTERN,
    MOST_BYTES,
    MOST_PATTERNS,
)
from app.sources.globs import PathFilter
from app.sources.walk import Walk, binary_suffixes
from app.sources.wildmatch import Wildmatch

Tree = dict[tuple[str, ...], bytes]
"""What ``.gitignore`` files hold, by their folder."""

NAMES = [
    "a",
    "b",
    "ab",
    "a.b",
    "aab",
    "a b",
    "a ",
    "b!",
    "#a",
    "!b",
    "a*b",
    "a[b",
    "a\\",
    "é",
    "a-",
    "]a",
    "\x01",
    "\n",
]
FOLDERS = ["a", "b", "ab", "a.b", "foo", "é"]
PLACES = [
    *((name,) for name in NAMES if name not in FOLDERS),
    *(("foo", name) for name in ("x", "ab", "é")),
    *(("a", name) for name in NAMES if name not in FOLDERS),
    ("a", "b", "x"),
    ("a", "b", "ab"),
    ("a", "a.b", "foo", "x"),
    ("ab", "a", "b", "x"),
    ("b", "b", "b", "a"),
    ("a.b", "a b"),
    ("é", "a"),
]
PARTS = [
    "a", "b", "ab", "x", "foo", "é", "*", "**", "***", "?", "??", "/", "/", "/", "**/", "/**", "/**/", "\\", "\\*",
    "\\/", "[ab]", "[!a]", "[^b]", "[a-c]", "[]a]", "[!]a]", "[a", "[[:alpha:]]", "[![:upper:][:punct:]]",
    "[[:space:]\x01]", "[[:nope:]]", "[[:]", "[[::]]", "[a-]", "[a-\\c]", "[/b]", "[\\]a]", "[*-é]", "[--0]", ".", " ",
    "\\ ", "!", "#", "-", "]", "\\#", "\\!", "\t",
]  # fmt: skip

patterns = st.lists(st.sampled_from(PARTS), max_size=6).map("".join)
lines = st.tuples(st.sampled_from(["", "", "", "!"]), patterns, st.sampled_from(["", "", "/", " ", "\r", "\0b"]))
contents = st.lists(lines.map("".join), max_size=6).map("\n".join).map(str.encode)
trees = st.dictionaries(
    st.sampled_from([(), (), ("a",), ("a", "b"), ("b",), ("ab", "a")]), contents, min_size=1, max_size=3
)


@pytest.fixture(scope="module")
def git_folder() -> Iterator[Path]:
    """The inner folder of an empty repository."""
    with tempfile.TemporaryDirectory() as folder:
        run_git("init", "--quiet", "--template=", folder)
        yield Path(folder) / ".git"


def run_git(*arguments: str) -> list[bytes]:
    """What git says, without anybody's settings."""
    environment = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
    ran = subprocess.run(["git", *arguments], env=environment, check=True, capture_output=True)
    return ran.stdout.split(b"\0")[:-1]


def plant(root: Path, tree: Tree) -> None:
    """Lay a tree out."""
    for place in PLACES:
        path = root.joinpath(*place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for folder, content in tree.items():
        root.joinpath(*folder, ".gitignore").write_bytes(content)


def walk(root: Path) -> tuple[list[str], Counter[str], list[str]]:
    """What is found, what is left out, and what could not be looked into."""
    skipped: Counter[str] = Counter()
    unseen: list[str] = []
    binary = binary_suffixes(reads_pictures=False)
    found = Walk(str(root), PathFilter(), skipped, unseen, binary=binary, gitignore=True)
    shown = [item.relative if item.error_code is None else f"{item.error_code} {item.relative}" for item in found]
    return shown, skipped, unseen


@settings(max_examples=150, deadline=None)
@given(tree=trees)
@example(tree={(): b"a/foo**/b\n"})
@example(tree={(): b"*\n!*/\n!x\n", ("a", "b"): b"x\n"})
def test_a_walk_finds_what_git_would_add(tree: Tree, git_folder: Path) -> None:
    """Nesting, negation, anchors, ``**``, brackets, escapes and spaces, in whatever order."""
    root = Path(tempfile.mkdtemp())
    try:
        plant(root, tree)

        found, _, _ = walk(root)

        repository = (f"--git-dir={git_folder}", f"--work-tree={root}", "-C", str(root))
        listed = run_git(*repository, "ls-files", "-z", "--others", "--exclude-standard")
        added = {os.fsdecode(name) for name in listed if name.rpartition(b"/")[2] != b".gitignore"}
        assert set(found) == added
    finally:
        shutil.rmtree(root)


def write(root: Path, files: dict[str, str]) -> Path:
    """Files with what they hold."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    """Under a name of its own; a folder counts as one and is not entered, so nothing in it comes back."""
    write(
        tmp_path, {".gitignore": "*.log\nbuild/\n", "a.md": "", "x.log": "", "build/.gitignore": "!*", "build/b.md": ""}
    )
    write(tmp_path, {"docs/.gitignore": "!keep.log", "docs/keep.log": "", "docs/other.log": "", ".git/config": ""})

    found, skipped, unseen = walk(tmp_path)

    assert (found, unseen) == (["a.md", "docs/keep.log"], [])
    assert skipped == {"gitignore": 3, "hidden": 3}


def test_folders_behind_links_know_what_is_above_them(tmp_path: Path) -> None:
    """They come last, when others were read in between. For a pattern that ends with a slash a link is no folder."""
    write(
        tmp_path, {"a/.gitignore": "*.log\n/out/\n", "a/x.log": "", "z/.gitignore": "b.md", "z/b.md": "", "z/c.log": ""}
    )
    (tmp_path / "y").mkdir()
    write(tmp_path, {"y/m.md": "", "y/n.log": ""})
    (tmp_path / "a" / "out").symlink_to(tmp_path / "y")
    (tmp_path / ".gitignore").write_text("y\n")

    found, _, _ = walk(tmp_path)

    assert found == ["z/c.log", "a/out/m.md"]


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_what_is_no_file_is_no_gitignore(tmp_path: Path, kind: str) -> None:
    """As for git; nothing that lies elsewhere is read, and nobody is kept waiting."""
    write(tmp_path, {"root/a.md": "", "elsewhere": "*"})
    place = tmp_path / "root" / ".gitignore"
    if kind == "link":
        place.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)

    assert walk(tmp_path / "root")[0] == ["a.md"]


TOO_MUCH = {
    "bytes": "#" * (MOST_BYTES + 1),
    "patterns": "a\n" * (MOST_PATTERNS + 1),
    "pattern": "a" * (LONGEST_PATTERN + 1),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_a_folder_is_not_entered_if_nobody_knows_what_it_leaves_out(tmp_path: Path, what: str) -> None:
    """The file is a document with an error, and what is in the folder is not gone."""
    write(tmp_path, {"a.md": "", "deep/.gitignore": TOO_MUCH[what], "deep/b.md": "", "deep/er/c.md": ""})

    found, _, unseen = walk(tmp_path)

    assert found == ["a.md", "unreadable_gitignore deep/.gitignore"]
    assert unseen == ["deep/"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_gitignore_that_may_not_be_read_hides_its_folder(tmp_path: Path) -> None:
    """Whoever hides something and makes a mistake with it does not show it."""
    write(tmp_path, {".gitignore": "secret.md", "secret.md": ""}).joinpath(".gitignore").chmod(0)

    assert walk(tmp_path)[0] == ["unreadable_gitignore .gitignore"]


def test_patterns_add_up_from_folder_to_folder(tmp_path: Path) -> None:
    """No depth of folders makes them more than are followed."""
    few = "a\n" * (MOST_PATTERNS // 2)
    write(
        tmp_path,
        {".gitignore": few, "in/.gitignore": few, "in/b.md": "", "in/deep/.gitignore": "a", "in/deep/c.md": ""},
    )

    assert walk(tmp_path)[0] == ["in/b.md", "unreadable_gitignore in/deep/.gitignore"]


class Steps(bytes):
    """A name that counts how often somebody looks at a byte of it."""

    looked_at: int

    def __iter__(self) -> Iterator[int]:
        for byte in bytes(self):
            self.looked_at += 1
            yield byte


@pytest.mark.parametrize(
    "pattern",
    [b"*a" * 30 + b"*b", b"**/a" * 100 + b"/**/b", b"*" * 4000 + b"b", b"[a-z]*" * 600 + b"b", b"?*" * 2000 + b"b"],
)
def test_no_pattern_looks_twice_at_a_byte(pattern: bytes) -> None:
    """Whatever somebody writes into a file, a path takes as many steps as it is long."""
    name = Steps(b"a/" * 1000 + b"a" * 250 + b"b" + b"a" + b"b")
    name.looked_at = 0

    Wildmatch(pattern).matches(name)

    assert 0 < name.looked_at <= len(name)
