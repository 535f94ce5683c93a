"""Secrets in the database are encrypted, and keys can be replaced."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.bootstrap.secrets import KEY_FILE, open_secrets_box
from app.secrets_box import SecretKeysError, SecretsBox, SecretUnreadableError, make_key, split_keys
from app.settings import Settings

OLD, NEW = make_key(), make_key()


def test_what_is_sealed_is_unreadable_and_comes_back() -> None:
    """The same secret is sealed differently each time."""
    box = SecretsBox([OLD])

    first, second = box.seal(b"geheim"), box.seal(b"geheim")

    assert b"geheim" not in first
    assert first != second
    assert box.open(first) == box.open(second) == b"geheim"


def test_keys_are_replaced_one_after_the_other() -> None:
    """With a new key in front old secrets can be read; without the old key only new ones."""
    sealed = SecretsBox([OLD]).seal(b"geheim")
    both = SecretsBox([NEW, OLD])

    renewed = both.seal(both.open(sealed))

    assert SecretsBox([NEW]).open(renewed) == b"geheim"
    with pytest.raises(SecretUnreadableError):
        SecretsBox([NEW]).open(sealed)


@pytest.mark.parametrize("key", ["short", "", "x" * 44, "ü" * 44])
def test_what_is_no_key_is_refused_without_being_shown(key: str) -> None:
    """When the server starts, not when the first secret comes."""
    with pytest.raises(SecretKeysError) as refused:
        SecretsBox([key])

    assert "VECLOOM_SECRET_KEYS" in refused.value.message
    assert not key or key not in refused.value.message


def test_without_keys_nothing_is_sealed() -> None:
    """The error says what to set; everything else goes on."""
    with pytest.raises(SecretKeysError, match="set VECLOOM_SECRET_KEYS"):
        SecretsBox(()).seal(b"geheim")


def test_keys_of_a_setting_are_separated_by_commas() -> None:
    """Spaces and empty parts do not count."""
    assert split_keys(f" {NEW}, {OLD} ,") == [NEW, OLD]


def test_the_embedded_stack_keeps_a_key_of_its_own(tmp_path: Path) -> None:
    """In its private folder, readable by its user alone, and the same the next time."""
    (tmp_path / "data").mkdir()
    settings = Settings(data=tmp_path / "data", database_url=None, secret_keys=None)

    sealed = open_secrets_box(settings).seal(b"geheim")

    file = tmp_path / "data" / KEY_FILE
    assert open_secrets_box(settings).open(sealed) == b"geheim"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_setting_wins_over_the_file(tmp_path: Path) -> None:
    """An operator who sets keys uses those, and no file is made."""
    settings = Settings(data=tmp_path, database_url=None, secret_keys=SecretStr(NEW))

    sealed = open_secrets_box(settings).seal(b"geheim")

    assert SecretsBox([NEW]).open(sealed) == b"geheim"
    assert not (tmp_path / KEY_FILE).exists()
