"""A start that only one child gets through."""

import os
import time
from pathlib import Path


def pass_once() -> None:
    """Return for the first child that asks; the others wait for ever."""
    try:
        Path(os.environ["VECLOOM_TEST_GATE"]).touch(exist_ok=False)
    except FileExistsError:
        time.sleep(3600)
