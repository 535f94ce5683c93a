"""Plain SAQ: ``python -m benchmarks.rivals.saq_plain SOCKET DATABASE BODY STARTS`` is its worker."""

import asyncio
import sys
import time
from pathlib import Path

from redis.asyncio import Redis
from saq.queue.redis import RedisQueue
from saq.types import Context
from saq.worker import Worker

from benchmarks.starts import LOOK_SECONDS, StartLog
from benchmarks.systems import READY, Line, System, flush, line_to_valkey

JOB = "body"
HEARTBEAT_SECONDS = 20
"""After so long without a heartbeat a job counts as stuck: the same patience as Vecloom's lease."""

TOUCH_SECONDS = 5.0


def open_queue(socket: str, database: int) -> RedisQueue:
    """A queue in one of Valkey's databases."""
    return RedisQueue(Redis(unix_socket_path=socket, db=database))


class SaqPlain(System):
    """SAQ as it comes; jobs that wait have no timeout, and a heartbeat instead."""

    name = "saq"
    configuration = "as it comes, concurrency 10; jobs with heartbeat=20 that touch it each 5 s, retries=10"

    def __init__(self, folder: Path, *, socket: str, database: int) -> None:
        super().__init__(folder)
        self._socket, self._database = socket, database
        self._queue = open_queue(socket, database)

    def command(self, body: str) -> list[str]:
        """See the base."""
        place = (self._socket, str(self._database), body, str(self.log.path))
        return [sys.executable, "-m", "benchmarks.rivals.saq_plain", *place]

    def lines(self, folder: Path) -> list[Line]:
        """See the base."""
        return [line_to_valkey(self._socket, folder)]

    async def open(self) -> None:
        """See the base."""
        await flush(self._socket, self._database)

    async def create(self) -> str:
        """See the base."""
        job = await self._queue.enqueue(JOB, timeout=0, heartbeat=HEARTBEAT_SECONDS, retries=10)
        if job is None:
            raise RuntimeError("SAQ has refused a job")
        return job.key

    async def count_unfinished(self) -> int:
        """See the base."""
        return await self._queue.count("incomplete")

    async def aclose(self) -> None:
        """See the base."""
        await self._queue.disconnect()


async def work(socket: str, database: int, log: StartLog) -> None:
    """Run the worker."""

    async def run_body(ctx: Context) -> None:
        job = ctx["job"]
        log.note(job.key, job.attempts)
        touched = time.monotonic()
        while not log.may_end():
            await asyncio.sleep(LOOK_SECONDS)
            if time.monotonic() - touched > TOUCH_SECONDS:
                touched = time.monotonic()
                await job.update()

    async def announce(_: Context) -> None:
        print(READY, flush=True)

    await Worker[Context](open_queue(socket, database), [(JOB, run_body)], startup=announce).start()


def main() -> None:
    """Run the worker with the arguments of the command line."""
    socket, database, body, path = sys.argv[1:]
    asyncio.run(work(socket, int(database), StartLog(Path(path), body)))


if __name__ == "__main__":
    main()
