"""Plain Celery: ``python -m benchmarks.rivals.celery_plain SOCKET DATABASE BODY STARTS`` is its worker."""

import os
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.signals import worker_ready
from redis.asyncio import Redis

from benchmarks.starts import LOOK_SECONDS, StartLog
from benchmarks.systems import READY, Line, System, flush, line_to_valkey

JOB = "body"
VISIBILITY_SECONDS = 20


def make_app(socket: str, database: int) -> Any:  # noqa: ANN401 — Celery has no types
    """A Celery application set up not to lose jobs, as its documentation says."""
    app = Celery("benchmark", broker=f"redis+socket://{socket}?virtual_host={database}")
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        broker_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
        broker_connection_retry_on_startup=True,
    )
    return app


class CeleryPlain(System):
    """Celery with two prefork children and late acknowledgement."""

    name = "celery"
    configuration = (
        "prefork 2, acks_late, reject_on_worker_lost, visibility_timeout 20 s, no result backend;"
        " after SIGTERM it waits for its job, which a second worker starts when the visibility timeout has passed"
    )

    def __init__(self, folder: Path, *, socket: str, database: int) -> None:
        super().__init__(folder)
        self._socket, self._database = socket, database
        self._app = make_app(socket, database)
        self._redis = Redis(unix_socket_path=socket, db=database)

    def command(self, body: str) -> list[str]:
        """See the base."""
        place = (self._socket, str(self._database), body, str(self.log.path))
        return [sys.executable, "-m", "benchmarks.rivals.celery_plain", *place]

    def lines(self, folder: Path) -> list[Line]:
        """See the base."""
        return [line_to_valkey(self._socket, folder)]

    async def open(self) -> None:
        """See the base."""
        await flush(self._socket, self._database)

    async def create(self) -> str:
        """See the base; Celery's client is synchronous."""
        key = uuid4().hex
        self._app.send_task(JOB, task_id=key)
        return key

    async def count_unfinished(self) -> int:
        """See the base."""
        return int(await self._redis.llen("celery")) + int(await self._redis.hlen("unacked"))  # type: ignore[misc]  # redis-py's union of sync and async

    async def aclose(self) -> None:
        """See the base."""
        await self._redis.aclose()
        self._app.close()


def main() -> None:
    """Run the worker."""
    socket, database, body, path = sys.argv[1:]
    log = StartLog(Path(path), body)
    app = make_app(socket, int(database))

    def run_body(task: Any) -> None:  # noqa: ANN401 — Celery's own task
        log.note(task.request.id, 2 if task.request.delivery_info.get("redelivered") else 1)
        while not log.may_end():
            time.sleep(LOOK_SECONDS)

    def announce(**_: object) -> None:
        os.write(1, READY.encode())  # Celery has put its own logging in the place of sys.stdout

    app.task(name=JOB, bind=True)(run_body)
    worker_ready.connect(announce, weak=False)
    app.worker_main(["worker", "--concurrency=2", "--loglevel=ERROR", "-n", f"benchmark-{os.getpid()}@%h"])


if __name__ == "__main__":
    main()
