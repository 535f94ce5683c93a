"""Runs other systems with the interpreter of their own environment, which ``make bench`` makes when it is needed."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-rivals" / "bin" / "python"
RUN_SECONDS = 600.0
QUIET = {"HAYSTACK_TELEMETRY_ENABLED": "False", "COCOINDEX_DISABLE_USAGE_TRACKING": "1"}
"""Nobody outside is told of a benchmark."""


async def run_rival(module: str, *arguments: str) -> dict[str, Any]:
    """Run a module of this package; the last line that it writes is what it says of itself."""
    if not PYTHON.exists():
        raise SystemExit(f"{PYTHON} is missing; `make bench ONLY=side-by-side` makes it")
    process = await asyncio.create_subprocess_exec(
        str(PYTHON),
        "-m",
        f"benchmarks.rivals.{module}",
        *arguments,
        cwd=ROOT,
        env=os.environ | QUIET,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_SECONDS):
            out, error = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise SystemExit(f"{module} failed: {error.decode()[-2000:]}")
    said: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return said
