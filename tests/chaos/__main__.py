"""``python -m tests.chaos``: the last line of stdout sums the run up; exit code 1 if anything was violated."""

import argparse
import asyncio
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path

from app.logs import log_nowhere
from tests.chaos.plan import FAULTS, SEEDS
from tests.chaos.run import Outcome, run

FAULT_COUNT = 500
INTERRUPTED = 130


async def _run(arguments: argparse.Namespace) -> Outcome:
    """A run that SIGTERM ends as Ctrl-C does: with everything it started."""
    me = asyncio.current_task()
    if me is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, me.cancel)
    return await run(
        faults=arguments.faults,
        seed=arguments.seed,
        only=arguments.only,
        keep=arguments.keep,
        beside=arguments.beside,
    )


def _checkout(name: str) -> Path:
    folder = Path(name).resolve()
    if not (folder / "app" / "worker.py").is_file():
        raise argparse.ArgumentTypeError(f"{folder} is no checkout of Vecloom")
    return folder


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--faults", type=int, default=FAULT_COUNT, metavar="N")
    parser.add_argument("--seed", type=int, default=None, metavar="S")
    parser.add_argument("--only", nargs="+", choices=sorted(FAULTS), default=[], metavar="NAME")
    parser.add_argument(
        "--beside",
        type=_checkout,
        metavar="DIR",
        help="a checkout of another version: workers run either, and change when they are asked to end",
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs in any case")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(SEEDS)
    log_nowhere()
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        outcome = asyncio.run(_run(arguments))
        sys.stdout.write(f"{outcome}\n")
        return 1 if outcome.violations else 0
    return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
