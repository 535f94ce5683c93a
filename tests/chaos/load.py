"""What users do meanwhile: collections, operations on them, and a watcher for each."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

from tests.chaos.client import GaveUpError
from tests.chaos.expected import Expected, chunking_of, expect
from tests.chaos.folders import change_folder, make_folder
from tests.chaos.plan import Step
from tests.chaos.system import MODEL, System
from tests.chaos.watchers import Story, watch

FIRST_COLLECTIONS = (("wordllama", 120), (MODEL, 60), (MODEL, 40), (MODEL, 30), ("wordllama", 300))
LATER_DOCUMENTS = 25
MOST_UNFINISHED = 5
LEARNED_SECONDS = 60.0
"""How long after its state is final a watcher may still not know."""
SSE_SHARE = 4
DEEP_SHARE = 0.3


@dataclass(kw_only=True)
class Watched:
    """An operation of ours, with what was seen of each of its lives: a retry begins another."""

    id: str
    kind: str
    collection: str
    stories: list[Story] = field(default_factory=list)
    is_retried: bool = False

    @property
    def story(self) -> Story:
        """Of its newest life."""
        return self.stories[-1]

    @property
    def name(self) -> str:
        """For messages."""
        return f"operation {self.id} ({self.kind} of {self.collection})"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A collection over one folder, and what that held when its INDEX was created."""

    name: str
    folder: Path
    source_id: str
    model: str
    first: Expected


class Load:
    """Performs the actions of a plan; every answer that must not be is noted."""

    def __init__(self, system: System, watchers: asyncio.TaskGroup, *, seed: int) -> None:
        self._system = system
        self._client = system.client
        self._journal = system.journal
        self._watchers = watchers
        self._watching: set[asyncio.Task[None]] = set()
        self._seed = seed
        self.targets: list[Target] = []
        self.operations: dict[str, Watched] = {}
        self.disturbed: set[str] = set()
        """Collections that something else was done to before their INDEX was complete."""
        self.deleted: dict[str, UUID] = {}
        """Collections that are deleted again, by name."""
        self.results_checked = 0
        self._actions: Mapping[str, Callable[[Step], Awaitable[None]]] = {
            "append": self._append,
            "append_twice": self._append_twice,
            "append_at_once": self._append_at_once,
            "cancel": self._cancel,
            "retry": self._retry_one,
            "pause": self._pause,
            "pause_collection": self._pause_collection,
            "verify": self._verify,
            "create": self._create,
            "come_and_go": self._come_and_go,
            "search": self._search,
        }

    async def prepare(self) -> None:
        """The first collections, each with its generation: what a model that lies says first nobody can tell."""
        for number, (model, documents) in enumerate(FIRST_COLLECTIONS):
            await self.add_collection(f"first-{number}", model=model, documents=documents, seed=self._seed + number)
        for watched in list(self.operations.values()):
            async with asyncio.timeout(LEARNED_SECONDS):
                await watched.story.ended.wait()

    async def perform(self, step: Step) -> None:
        """One action, to the end of its last request."""
        try:
            await self._actions[step.name](step)
        except* GaveUpError as errors:
            self._journal.violate(f"{step.name} ({step.number}): {errors.exceptions[0]}")

    # --- bookkeeping

    def follow(self, body: dict[str, Any]) -> Watched:
        """Watch an operation, if it is not watched yet."""
        operation_id: str = body["operation_id"]
        if operation_id not in self.operations:
            watched = Watched(id=operation_id, kind=body["kind"], collection=body["collection"])
            self.operations[operation_id] = watched
            self.begin_story(watched)
        return self.operations[operation_id]

    def begin_story(self, watched: Watched) -> None:
        """A watcher from the beginning."""
        story = Story(watched.id)
        watched.stories.append(story)
        over = "sse" if len(self.operations) % SSE_SHARE == 0 else "websocket"
        task = self._watchers.create_task(watch(story, self._client, over=over))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    def stop_watching(self) -> None:
        """End the watchers that still wait for an end."""
        for task in self._watching:
            task.cancel()

    def _unfinished(self, target: Target) -> list[Watched]:
        """Oldest first, as far as their watchers know."""
        return [
            watched
            for watched in self.operations.values()
            if watched.collection == target.name and watched.story.final is None
        ]

    def find_index(self, target: Target) -> Watched:
        """The operation that made a collection."""
        ours = (watched for watched in self.operations.values() if watched.collection == target.name)
        return next(watched for watched in ours if watched.kind == "INDEX")

    async def _change(self, target: Target, step: Step) -> str:
        """Change the target's folder, to be appended; says what was done."""
        final = self.find_index(target).story.final
        if final is None or final["type"] != "operation_completed":
            self.disturbed.add(target.name)
        return await asyncio.to_thread(change_folder, target.folder, seed=step.seed)

    def _target(self, step: Step) -> Target:
        return self.targets[step.target % len(self.targets)]

    def _key(self, step: Step, number: int = 0) -> str:
        return f"chaos-{self._seed}-{step.number}-{number}"

    # --- actions

    async def add_collection(self, name: str, *, model: str, documents: int, seed: int) -> None:
        """A folder and the collection over it, asked for twice at once with the same key."""
        folder = self._system.folder / "sources" / name
        await asyncio.to_thread(make_folder, folder, documents, seed=seed)
        body = {"name": name, "model": model, "sources": [{"url": folder.as_uri()}]}
        answers = await self._twice("/collections", body, key=f"chaos-{self._seed}-{name}")
        operation = answers[0]["operation"]
        sources = (await self._client.get(f"/collections/{name}/sources"))["sources"]
        collection = await self._client.get(f"/collections/{name}")
        first = await asyncio.to_thread(expect, folder, UUID(collection["id"]), chunking_of(collection))
        self.follow(operation)
        target = Target(name=name, folder=folder, source_id=sources[0]["id"], model=model, first=first)
        self.targets.append(target)

    async def _twice(self, path: str, body: dict[str, Any], *, key: str) -> list[dict[str, Any]]:
        """The same request twice at once: both must be accepted and name the same operation."""
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(self._client.call("POST", path, body=body, key=key)) for _ in range(2)]
        answers = [call.result()[0] for call in calls]
        refused = [answer for answer in answers if answer.status_code != 202]
        for answer in refused:
            self._journal.violate(f"POST {path} with key {key} again: {answer.status_code} {answer.text[:200]}")
        bodies = [answer.json() for answer in answers if answer.status_code == 202]
        if not bodies:
            raise GaveUpError(f"POST {path} with key {key} was never accepted")
        ids = {(each.get("operation") or each)["operation_id"] for each in bodies}
        if len(ids) != 1:
            self._journal.violate(f"POST {path} with key {key} made {len(ids)} operations: {sorted(ids)}")
        return bodies

    async def submit(self, target: Target, kind: str, config: dict[str, Any], *, key: str) -> Watched | None:
        """One operation; None if it was not accepted."""
        path = f"/collections/{quote(target.name)}/operations"
        answer, _ = await self._client.call("POST", path, body={"kind": kind, "config": config}, key=key)
        if answer.status_code == 202:
            return self.follow(answer.json())
        self._journal.violate(f"{kind} of {target.name} was answered with {answer.status_code} {answer.text[:200]}")
        return None

    async def append(self, target: Target, *, key: str) -> Watched | None:
        """An APPEND of a collection's only source."""
        return await self.submit(target, "APPEND", {"source_id": target.source_id}, key=key)

    async def _append(self, step: Step) -> None:
        target = self._target(step)
        changes = await self._change(target, step)
        if len(self._unfinished(target)) < MOST_UNFINISHED:
            watched = await self.append(target, key=self._key(step))
            self._journal.tell(f"  {step.name} {target.name}: {changes}, {watched.id if watched else None}")

    async def _append_twice(self, step: Step) -> None:
        target = self._target(step)
        if len(self._unfinished(target)) >= MOST_UNFINISHED:
            return
        await self._change(target, step)
        body = {"kind": "APPEND", "config": {"source_id": target.source_id}}
        answers = await self._twice(f"/collections/{quote(target.name)}/operations", body, key=self._key(step))
        self.follow(answers[0])

    async def _append_at_once(self, step: Step) -> None:
        target = self._target(step)
        if len(self._unfinished(target)) >= MOST_UNFINISHED:
            return
        await self._change(target, step)
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(self.append(target, key=self._key(step, number)))

    async def _cancel(self, step: Step) -> None:
        unfinished = self._unfinished(self._target(step))
        if not unfinished:
            return
        watched = unfinished[step.seed % len(unfinished)]
        answer, _ = await self._client.call("POST", f"/operations/{watched.id}/cancel")
        if answer.status_code not in (202, 409):
            self._journal.violate(f"cancel of {watched.name}: {answer.status_code} {answer.text[:200]}")
        self._journal.tell(f"  cancel {watched.name}: {answer.status_code}")

    async def _retry_one(self, step: Step) -> None:
        ended = [
            watched
            for watched in self.operations.values()
            if watched.story.final
            and watched.story.final["type"] in ("operation_failed", "operation_cancelled")
            and self.may_go_on(watched)
        ]
        if ended:
            await self.retry(ended[step.target % len(ended)])

    def may_go_on(self, watched: Watched) -> bool:
        """Whether it can be retried: what is done to a deleted collection is over, but for its deletion."""
        return watched.collection not in self.deleted or watched.kind == "DELETE"

    async def retry(self, watched: Watched) -> None:
        """Begin another life, after comparing the end of this one with the row."""
        if watched.is_retried:
            return
        watched.is_retried = True
        try:
            await self._retry(watched)
        finally:
            watched.is_retried = False

    async def _retry(self, watched: Watched) -> None:
        self.compare_end(watched, await self._client.get(f"/operations/{watched.id}"))
        answer, tries = await self._client.call("POST", f"/operations/{watched.id}/retry")
        # refused after an earlier try got no answer: that one was accepted
        if answer.status_code == 202 or (answer.status_code == 409 and tries > 1):
            self.begin_story(watched)
            self._journal.tell(f"  retry {watched.name}: {answer.status_code}")
        else:
            self._journal.violate(f"retry of {watched.name}: {answer.status_code} {answer.text[:200]}")

    def compare_end(self, watched: Watched, row: dict[str, Any]) -> None:
        """What the watcher was told must be what the row says."""
        final = watched.story.final
        told = final["type"].removeprefix("operation_") if final else None
        if told != row["state"]:
            self._journal.violate(f"{watched.name} is {row['state']}, but its watcher was told {told}")
        elif final and told == "completed" and final["data"].get("result") != row["result"]:
            self._journal.violate(f"{watched.name}: the result in its final event is not that of its row")

    async def _pause(self, step: Step) -> None:
        unfinished = self._unfinished(self._target(step))
        if unfinished:
            await self._pause_for(f"/operations/{unfinished[step.seed % len(unfinished)].id}", step)

    async def _pause_collection(self, step: Step) -> None:
        await self._pause_for(f"/collections/{quote(self._target(step).name)}", step)

    async def _pause_for(self, path: str, step: Step) -> None:
        answer, _ = await self._client.call("POST", f"{path}/pause")
        self._journal.tell(f"  pause {path}: {answer.status_code}")
        await asyncio.sleep(step.between(0.5, 5.0))
        await self.resume(path)

    async def resume(self, path: str) -> None:
        """Resume an operation or a collection; one that is not paused minds nothing worse than a conflict."""
        answer, _ = await self._client.call("POST", f"{path}/resume")
        if answer.status_code not in (200, 202, 409):
            self._journal.violate(f"resume of {path}: {answer.status_code} {answer.text[:200]}")

    async def _verify(self, step: Step) -> None:
        config = {"repair": bool(step.seed % 2), "deep": step.share < DEEP_SHARE}
        await self.submit(self._target(step), "VERIFY", config, key=self._key(step))

    async def _create(self, step: Step) -> None:
        await self.add_collection(f"later-{step.number}", model="wordllama", documents=LATER_DOCUMENTS, seed=step.seed)

    async def _come_and_go(self, step: Step) -> None:
        """A collection that is deleted again, wherever its first operation is by then."""
        name = f"gone-{step.number}"
        folder = self._system.folder / "sources" / name
        await asyncio.to_thread(make_folder, folder, LATER_DOCUMENTS, seed=step.seed)
        body = {"name": name, "model": "wordllama", "sources": [{"url": folder.as_uri()}]}
        created = (await self._twice("/collections", body, key=self._key(step)))[0]
        self.deleted[name] = UUID(created["collection"]["id"])
        self.follow(created["operation"])
        await asyncio.sleep(step.between(0.0, 4.0))
        answer, _ = await self._client.call("DELETE", f"/collections/{name}", key=self._key(step, 1))
        if answer.status_code == 202:
            self.follow(answer.json())
        else:
            self._journal.violate(f"DELETE of {name} was answered with {answer.status_code} {answer.text[:200]}")

    async def _search(self, step: Step) -> None:
        target = self._target(step)
        body = {"query": "what follows the moon", "limit": 3}
        answer, _ = await self._client.call("POST", f"/collections/{quote(target.name)}/search", body=body)
        if answer.status_code not in (200, 409):
            self._journal.violate(f"search of {target.name}: {answer.status_code} {answer.text[:200]}")
