"""Plain arq: ``python -m benchmarks.rivals.arq_plain SOCKET DATABASE BODY STARTS MAX_JOBS`` is its worker."""

import asyncio
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.constants import default_queue_name
from arq.worker import Worker, func

from benchmarks.starts import LOOK_SECONDS, StartLog
from benchmarks.systems import READY, Line, System, flush, line_to_valkey

JOB = "body"


class ArqPlain(System):
    """arq as it comes, but for the number of jobs a worker runs at once."""

    pause_seconds = 0.5

    def __init__(self, folder: Path, *, socket: str, database: int, max_jobs: int = 10) -> None:
        super().__init__(folder)
        self.name = "arq" if max_jobs == 10 else f"arq{max_jobs}"
        self.configuration = f"as it comes, max_jobs {max_jobs}; job_timeout 300 s, so its in-progress key holds 310 s"
        self._socket, self._database, self._max_jobs = socket, database, max_jobs
        self._redis: ArqRedis

    def command(self, body: str) -> list[str]:
        """See the base."""
        place = (self._socket, str(self._database), body, str(self.log.path), str(self._max_jobs))
        return [sys.executable, "-m", "benchmarks.rivals.arq_plain", *place]

    def lines(self, folder: Path) -> list[Line]:
        """See the base."""
        return [line_to_valkey(self._socket, folder)]

    async def open(self) -> None:
        """See the base."""
        await flush(self._socket, self._database)
        self._redis = await create_pool(RedisSettings(unix_socket_path=self._socket, database=self._database))

    async def create(self) -> str:
        """See the base."""
        key = uuid4().hex
        await self._redis.enqueue_job(JOB, _job_id=key)
        return key

    async def count_unfinished(self) -> int:
        """See the base."""
        return int(await self._redis.zcard(default_queue_name))

    async def aclose(self) -> None:
        """See the base."""
        await self._redis.aclose(close_connection_pool=True)


def main() -> None:
    """Run the worker."""
    socket, database, body, path, max_jobs = sys.argv[1:]
    log = StartLog(Path(path), body)

    async def run_body(ctx: dict[Any, Any]) -> None:
        log.note(ctx["job_id"], ctx["job_try"])
        while not log.may_end():  # noqa: ASYNC110 — another process releases it, by a file
            await asyncio.sleep(LOOK_SECONDS)

    async def announce(ctx: dict[Any, Any]) -> None:  # noqa: ARG001 — arq names it
        print(READY, flush=True)

    Worker(
        functions=[func(run_body, name=JOB)],
        redis_settings=RedisSettings(unix_socket_path=socket, database=int(database)),
        max_jobs=int(max_jobs),
        on_startup=announce,
    ).run()


if __name__ == "__main__":
    main()
