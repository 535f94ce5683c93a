"""A worker process whose event loop can be blocked by signals."""

import signal
import time

SHORT_BLOCK_SECONDS = 2.0
LONG_BLOCK_SECONDS = 9.0
"""Longer than a lease."""


def main() -> None:
    """Run a worker; SIGUSR1 blocks its loop for a moment, SIGUSR2 for longer than its lease."""
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(SHORT_BLOCK_SECONDS))
    signal.signal(signal.SIGUSR2, lambda *_: time.sleep(LONG_BLOCK_SECONDS))
    # a signal that comes while they are imported would end the process
    from app.logs import log_to_stderr  # noqa: PLC0415
    from app.settings import Settings  # noqa: PLC0415
    from app.worker import run_worker  # noqa: PLC0415

    settings = Settings()
    log_to_stderr(settings.log_level)
    run_worker(settings)


if __name__ == "__main__":
    main()
