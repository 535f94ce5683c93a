"""Which documents and which sources are allowed: globs over paths, URLs and roots."""

from pathlib import Path

import pytest

from app.domain.errors import InvalidInputError, SourceNotAllowedError, UnsupportedSourceError
from app.sources.directory import resolve_source_path
from app.sources.globs import PathFilter


@pytest.mark.parametrize(
    ("glob", "path", "wanted"),
    [
        ("*.md", "a.md", True),
        ("*.md", "docs/a.md", False),
        ("**/*.md", "a.md", True),
        ("**/*.md", "docs/deep/a.md", True),
        ("**/*.{md,txt}", "docs/a.txt", True),
        ("docs/**", "docs/deep/.hidden", True),
        ("docs/", "docs/a.txt", True),
        ("docs", "docs/a.txt", True),
        ("docs", "docs2/a.txt", False),
        ("/docs/*", "docs/a.txt", True),
        ("./docs/*", "docs/a.txt", True),
        ("doc?/[ab].txt", "docs/b.txt", True),
        ("**/*.txt", "new\nline \udcff/a.txt", True),
    ],
)
def test_a_glob_is_over_the_path_below_the_root(glob: str, path: str, *, wanted: bool) -> None:
    """One star stays in a folder, two go through any; a name without wildcards is a file or a whole folder."""
    assert PathFilter(include=[glob]).wants(path) is wanted
    assert PathFilter(exclude=[glob]).wants(path) is not wanted


def test_exclude_is_stronger_than_include() -> None:
    """What both match is left out."""
    choice = PathFilter(include=["docs/**"], exclude=["**/draft-*"])

    assert choice.wants("docs/a.md")
    assert not choice.wants("docs/draft-a.md")


def test_only_a_folder_without_any_wanted_document_is_passed_over() -> None:
    """A glob over some files of a folder, or over the files beside the root, passes over no folder."""
    choice = PathFilter(exclude=["build/**", "old", "docs/**/*.tmp", "*"])

    assert choice.excludes_folder("build")
    assert choice.excludes_folder("old")
    assert not choice.excludes_folder("docs")
    assert not choice.excludes_folder("other")
    assert choice.wants("other/a.md")


@pytest.mark.parametrize("glob", ["{1..5000}", "a" * 1001])
def test_a_glob_that_costs_too_much_is_refused(glob: str) -> None:
    """The error says what to change."""
    with pytest.raises(InvalidInputError, match="glob"):
        PathFilter(include=[glob])


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/data/a b", "/data/a b"),
        ("file:///data/a%20b", "/data/a b"),
        ("file:/data", "/data"),
        ("FILE://localhost/data", "/data"),
        ("/data/what?#", "/data/what?#"),
        ("/data/x/../y", "/data/y"),
        ("file:///data/%FF%0A", "/data/\udcff\n"),
    ],
)
def test_a_path_and_a_file_url_are_the_same_place(url: str, path: str) -> None:
    """A URL is decoded, a path is taken as it is, and ``..`` is gone from both."""
    assert str(resolve_source_path(url)) == path


@pytest.mark.parametrize(
    "url",
    ["", " ", "s3://bucket/x", "https://example.org/a", "github:owner/name", "file://server/share", "file:///a?b",
     "file:///a#b", "file:", "/a\0b", "file:///a%00b", "http://[", "file://[x", "~no-such-user-here/x"],
)  # fmt: skip
def test_everything_else_is_refused(url: str) -> None:
    """No other scheme, no other machine, no guess at what an unescaped mark was meant to be."""
    with pytest.raises(UnsupportedSourceError):
        resolve_source_path(url)


def test_a_relative_name_with_a_colon_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is there is meant, even if its name looks like a scheme."""
    (tmp_path / "notes:2024").mkdir()
    monkeypatch.chdir(tmp_path)

    assert resolve_source_path("notes:2024") == tmp_path / "notes:2024"


@pytest.mark.parametrize("way", ["../outside", "link", "link/deeper", "../allowed-not"])
def test_no_way_leads_out_of_the_roots(tmp_path: Path, way: str) -> None:
    """Neither ``..`` nor a link, and a folder whose name begins like a root is not inside it."""
    allowed = tmp_path / "allowed"
    for folder in (allowed, tmp_path / "outside", tmp_path / "allowed-not"):
        folder.mkdir()
    (allowed / "link").symlink_to(tmp_path / "outside")

    with pytest.raises(SourceNotAllowedError):
        resolve_source_path(str(allowed / way), [allowed])


def test_a_root_itself_and_what_is_below_are_allowed(tmp_path: Path) -> None:
    """Also when the root is configured by a link, and when the folder is not there yet."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    assert resolve_source_path(str(tmp_path / "real"), [tmp_path / "link"]) == tmp_path / "real"
    assert resolve_source_path(str(tmp_path / "link" / "new"), [tmp_path / "real"]) == tmp_path / "link" / "new"
