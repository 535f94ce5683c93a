"""`vecloom doctor` says what is wrong, wherever it has to find that out, and always ends."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.api.serving import serving
from app.bootstrap import open_api
from app.settings import Settings
from tests.harness import Api, environment_of, run_cli
from tests.integration.test_diagnosis import frozen, private_stack

pytestmark = pytest.mark.timeout(240)

SERVICES = ("VECLOOM_DATABASE_URL", "VECLOOM_REDIS_URL", "VECLOOM_QDRANT_URL", "VECLOOM_QDRANT_API_KEY")


@pytest.fixture
async def url(api: Api) -> AsyncIterator[str]:
    """A server on a real socket."""
    async with open_api(api.parts) as application, serving(application, host="127.0.0.1", port=0) as address:
        yield address


async def doctor(data: Path, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the checks by name."""
    code, out, err = await run_cli("doctor", "--json", data=data, **variables)
    report = orjson.loads(out)
    assert set(report) == {"ok", "checks"}, err
    assert all(check["ok"] or check["fix"] for check in report["checks"])
    assert report["ok"] == (code == 0)
    return code, {check["name"]: check for check in report["checks"]}


def bad(checks: dict[str, dict[str, Any]]) -> set[str]:
    """Names of what is not well."""
    return {name for name, check in checks.items() if not check["ok"]}


def services_of(settings: Settings) -> dict[str, str]:
    """The outside systems as variables."""
    environment = environment_of(settings)
    return {name: environment[name] for name in SERVICES if name in environment}


async def test_a_server_is_asked_with_the_key(api: Api, worker: None, url: str, tmp_path: Path) -> None:
    """All of the server's checks are there beside those of this machine, and all are well."""
    key = api.client.headers["authorization"].removeprefix("Bearer ")

    code, checks = await doctor(tmp_path, VECLOOM_URL=url, VECLOOM_API_KEY=key)

    assert bad(checks) == set()
    assert code == 0
    assert {"python", "server", "postgres clock", "redis writes", "vector store", "embedder", "workers"} <= set(checks)


async def test_a_key_that_is_not_accepted_is_named(url: str, tmp_path: Path) -> None:
    """What can be asked without a key is told all the same."""
    code, checks = await doctor(tmp_path, VECLOOM_URL=url, VECLOOM_API_KEY="wrong")
    _, without = await doctor(tmp_path, VECLOOM_URL=url)

    assert code == 1
    assert bad(checks) == bad(without) == {"diagnosis"}
    assert "VECLOOM_API_KEY" in checks["diagnosis"]["fix"]
    assert checks["vector_store"]["ok"]


async def test_services_are_looked_at_where_there_is_no_server(settings: Settings, tmp_path: Path) -> None:
    """On a worker's machine the doctor asks the services themselves, also if the server is gone."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"

    _, alone = await doctor(tmp_path, **services_of(settings))
    _, gone = await doctor(tmp_path, VECLOOM_URL=nowhere, VECLOOM_API_KEY="k", **services_of(settings))

    assert bad(alone) == {"workers"}
    assert bad(gone) == {"workers", "server"}
    assert alone["postgres schema"]["ok"]


async def test_everything_down_is_everything_named(tmp_path: Path) -> None:
    """Nobody listens anywhere: each part is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nowhere = f"127.0.0.1:{probe.getsockname()[1]}"

    code, checks = await doctor(
        tmp_path,
        VECLOOM_URL=f"http://{nowhere}",
        VECLOOM_DATABASE_URL=f"postgresql://{nowhere}/vecloom",
        VECLOOM_REDIS_URL=f"redis://{nowhere}/0",
        VECLOOM_QDRANT_URL=f"http://{nowhere}",
    )

    assert code == 1
    assert bad(checks) == {"server", "postgres", "redis", "vector store", "workers", "operations", "periodic jobs"}


async def test_a_server_that_hangs_does_not_hang_the_doctor(tmp_path: Path) -> None:
    """It takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, checks = await doctor(tmp_path, VECLOOM_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")

    assert code == 1
    assert bad(checks) == {"server"}
    assert "does not answer within" in checks["server"]["detail"]


async def test_services_that_hang_do_not_hang_the_doctor(tmp_path: Path) -> None:
    """Postgres, Valkey and the vector server stand still; each is named all the same."""
    async with private_stack() as (api, stack):
        variables = services_of(api.parts.settings)
        with frozen(stack.pids["postgres"]), frozen(stack.pids["valkey"]), frozen(stack.pids["vectors"]):
            code, checks = await doctor(tmp_path, **variables)

    assert code == 1
    assert {"postgres", "redis", "vector store"} <= bad(checks)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VECLOOM_DATABASE_URL", "garbage"),
        ("VECLOOM_DATABASE_URL", "postgresql://u:hunter2@h:notaport/x"),
        ("VECLOOM_REDIS_URL", "localhost:6379"),
        ("VECLOOM_QDRANT_URL", "http://h:99999x"),
        ("VECLOOM_LEASE", "soon"),
    ],
)
async def test_a_wrong_setting_is_named_among_the_checks(tmp_path: Path, variable: str, value: str) -> None:
    """The rest of the machine is looked at all the same."""
    code, checks = await doctor(tmp_path, **{variable: value})

    assert code == 1
    assert bad(checks) == {"settings"}
    assert variable in checks["settings"]["detail"]
    assert value not in checks["settings"]["detail"]
    assert {"python", "embedded packages", "open files"} <= set(checks)
