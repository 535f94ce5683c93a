"""What may be said of a git repository: nothing that a program could take for an option."""

from typing import Any

import pytest

from app.domain.documents import SourceKind
from app.domain.errors import InvalidInputError, InvalidSourceError, UnsupportedSourceError
from app.sources.git_urls import GitUrl, check_git
from app.sources.kinds import check_source, kind_of, split_login

GOOD = "git+https://host/a.git"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("git+https://host/a", SourceKind.GIT),
        ("GIT+SSH://git@host/a", SourceKind.GIT),
        ("git+file:///srv/a", SourceKind.GIT),
        ("https://host/a.git", SourceKind.GIT),
        ("https://host/a.git/", SourceKind.WEB),
        ("https://host/about?x=a.git", SourceKind.WEB),
        ("https://host.git", SourceKind.WEB),
        ("https://host/a", SourceKind.WEB),
        ("ssh://host/a.git", SourceKind.FILESYSTEM),
    ],
)
def test_the_url_alone_says_that_it_is_a_repository(url: str, kind: SourceKind) -> None:
    """By its scheme, or by how it ends."""
    assert kind_of(url) is kind


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("git+https://Host.Example:8443/a/b.git", "https://host.example:8443/a/b.git"),
        ("https://host/a.git", "https://host/a.git"),
        ("git+ssh://me@host:2222/~/a.git", "ssh://me@host:2222/~/a.git"),
        ("git+ssh://host/a.git", "ssh://git@host/a.git"),
        ("git+ssh://git@[2001:db8::1]/a.git", "ssh://git@[2001:db8::1]/a.git"),
        ("git+file:///srv/a b.git".replace(" ", "%20"), "file:///srv/a%20b.git"),
    ],
)
def test_git_is_told_where_it_is(url: str, place: str) -> None:
    """Without our own prefix."""
    assert GitUrl.of(url).place == place


@pytest.mark.parametrize(
    "url",
    [
        "git+ssh://-oProxyCommand=touch%20x/a.git",
        "git+ssh://-oProxyCommand=x@host/a.git",
        "git+ssh://git@-host/a.git",
        "git+ssh://git:secret@host/a.git",
        "git+https://--upload-pack=touch/a.git",
        "git+https://user:secret@host/a.git",
        "git+https://host$(id)/a.git",
        "git+https://host;id/a.git",
        "git+https://host/a.git --upload-pack=x",
        "git+https://host/a.git\n",
        "git+https://host/a\nb.git",
        "git+https://host/a.git?x=1",
        "git+https://host/a.git#main",
        "git+https://host",
        "git+https:///a.git",
        "git+https://host:port/a.git",
        "git+https://host:99999/a.git",
        "git+https://h\u00f6st/a.git",
        "git+file://elsewhere/a.git",
        "git+ext::sh -c touch% x",
        "git+ext://host/a.git",
        "git+git://host/a.git",
        "git+fd::17/a.git",
        "ext::sh -c touch% x",
        "-uhttps://host/a.git",
        "--upload-pack=touch x",
        f"git+https://host/{'a' * 3000}.git",
    ],
)
def test_a_url_with_an_option_or_another_way_in_is_refused(url: str) -> None:
    """Also with a login in it, which the message does not repeat."""
    with pytest.raises(UnsupportedSourceError) as refused:
        GitUrl.of(url)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["git+ext::sh -c id", "git+ext://host/a", "git+git://host/a.git"])
def test_other_ways_of_git_are_no_sources(url: str) -> None:
    """They are no folder either: what is looked for is a file of that name."""
    if "://" in url:
        with pytest.raises(UnsupportedSourceError):
            kind_of(url)
    else:
        assert kind_of(url) is SourceKind.DIRECTORY


@pytest.mark.parametrize(
    "branch",
    [
        "-b", "--upload-pack=touch x", "-", "/a", "a/", "a..b", "a:b", "a:refs/heads/b", "+a:b", "a b", "a*", "a?",
        "a[b", "a\\b", "a^", "a~1", "a@{1}", "@", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "a//b", "a\nb", "a\0", "",
        1, True,
    ],
)  # fmt: skip
def test_a_branch_that_git_could_take_for_more_is_refused(branch: Any) -> None:
    """An option, a range, a pattern, a pair of names."""
    with pytest.raises(InvalidSourceError):
        check_git(GOOD, {"branch": branch}, {})


@pytest.mark.parametrize("branch", ["main", "release/1.2", "v1.0.0", "fix#12", "a-b", "f\u00fcr", "+a"])
def test_a_branch_may_have_any_other_name(branch: str) -> None:
    """As git has them."""
    check_git(GOOD, {"branch": branch}, {})


@pytest.mark.parametrize("folder", ["..", "a/../b", "a//b", ".", "a/./b", "a\0b", "", 3])
def test_a_folder_does_not_lead_out(folder: Any) -> None:
    """It is a path below the root."""
    with pytest.raises(InvalidSourceError):
        check_git(GOOD, {"folder": folder}, {})


@pytest.mark.parametrize(
    ("url", "options", "secrets"),
    [
        (GOOD, {"depth": 1}, {}),
        (GOOD, {}, {"ssh_key": "x"}),
        (GOOD, {}, {"token": "a", "password": "b"}),
        (GOOD, {}, {"token": ""}),
        ("git+ssh://git@host/a.git", {}, {"password": "x"}),
        ("git+ssh://git@host/a.git", {}, {"ssh_key": "x" * 200_000}),
        ("git+file:///srv/a.git", {}, {"token": "x"}),
    ],
)
def test_what_it_has_not_is_refused(url: str, options: dict[str, Any], secrets: dict[str, str]) -> None:
    """Each way has secrets of its own."""
    with pytest.raises(InvalidInputError):
        check_source(SourceKind.GIT, url, options=options, secrets=secrets)


def test_a_login_in_a_url_becomes_a_secret() -> None:
    """But for the user of SSH, who belongs to the place."""
    assert split_login("git+https://me:secret@host/a.git") == (
        "git+https://host/a.git",
        {"user": "me", "password": "secret"},
    )
    assert split_login("git+ssh://git@host/a.git") == ("git+ssh://git@host/a.git", {})
