"""``docs/settings.md`` and ``docker-compose.yml`` agree with ``app/settings.py``."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from app.settings import PREFIX_ONLY, Settings

ROOT = Path(__file__).resolve().parents[1]
TABLE_ROW = re.compile(r"^\| `([A-Z0-9_]+)` \| ([^|]+) \| [^|]+ \| ([^|]*)\|$", re.MULTILINE)
DOCUMENTED = {
    name.lower(): (default.strip(), note.strip())
    for name, default, note in TABLE_ROW.findall((ROOT / "docs" / "settings.md").read_text())
}
VARIES = {"data", "process_slots"}
"""Settings whose default depends on the machine."""


def read_compose() -> dict[str, dict[str, dict[str, object]]]:
    """The compose file as its own YAML says it."""
    compose: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return compose


def test_every_setting_is_documented() -> None:
    """The tables name exactly the settings there are."""
    assert set(DOCUMENTED) == set(Settings.model_fields)


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - VARIES))
def test_documented_default_is_the_real_one(name: str) -> None:
    """A default in the table is the default in the code, or a word where the code has nothing."""
    default = Settings.model_fields[name].default

    written = DOCUMENTED[name][0].strip("`")

    if default is None or default in ("", ()):
        assert not written[0].isdigit()
    else:
        assert written == str(default)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_documented_prefix_rule_is_the_real_one(name: str) -> None:
    """*prefix only* stands at exactly the settings whose bare name is not read."""
    assert (DOCUMENTED[name][1] == "prefix only") == (name in PREFIX_ONLY)


def test_compose_sets_only_real_settings() -> None:
    """Every variable the compose file gives to a Vecloom container is a setting under its full name."""
    services = read_compose()["services"]

    given = {
        str(name)
        for service in services.values()
        if "vecloom" in str(service.get("image"))
        for name in _mapping(service.get("environment"))
    }

    assert given
    assert given <= {f"VECLOOM_{name.upper()}" for name in Settings.model_fields}


def test_compose_gives_containers_every_outside_system() -> None:
    """API, worker and migrations know Postgres, Redis and Qdrant, so nothing embedded is started."""
    services = read_compose()["services"]
    needed = {"VECLOOM_DATABASE_URL", "VECLOOM_REDIS_URL", "VECLOOM_QDRANT_URL"}

    for name in ("api", "worker", "migrate"):
        assert needed <= set(_mapping(services[name]["environment"]))


def test_compose_waits_for_what_a_container_needs() -> None:
    """Every ``depends_on`` names a service that exists and, where it waits for health, one that reports it."""
    services = read_compose()["services"]

    for service in services.values():
        for other, condition in _mapping(service.get("depends_on")).items():
            assert str(other) in services
            if _mapping(condition)["condition"] == "service_healthy":
                assert "healthcheck" in services[str(other)]


def test_compose_has_no_secret_in_it() -> None:
    """Passwords come from the environment of whoever starts it, and starting without one is refused."""
    text = (ROOT / "docker-compose.yml").read_text()

    passwords = re.findall(r"\$\{POSTGRES_PASSWORD(.*?)\}", text)

    assert passwords
    assert all(rest.startswith(":?") for rest in passwords)


def test_environment_reaches_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the compose file arrives as the setting of that name."""
    monkeypatch.setenv("VECLOOM_DATABASE_URL", "postgresql://vecloom@postgres/vecloom")

    settings = Settings()

    assert settings.database_url == SecretStr("postgresql://vecloom@postgres/vecloom")


def _mapping(value: object) -> dict[object, object]:
    return value if isinstance(value, dict) else {}
