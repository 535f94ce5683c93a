"""Where the keys of secrets come from."""

from app.embedded.folder import DataFolder
from app.secrets_box import SecretsBox, make_key, split_keys
from app.settings import Settings

KEY_FILE = "secrets.keys"


def open_secrets_box(settings: Settings) -> SecretsBox:
    """The box of the configured keys; the embedded stack keeps its own key in its private folder.

    Raises:
        SecretKeysError: if a configured key is none.
    """
    if settings.secret_keys is not None:
        return SecretsBox(split_keys(settings.secret_keys.get_secret_value()))
    if settings.database_url is not None:
        return SecretsBox(())
    folder = DataFolder(settings.data)
    file = folder.path / KEY_FILE
    if not file.exists():
        folder.write_private(KEY_FILE, make_key().encode())
    return SecretsBox(split_keys(file.read_text()))
