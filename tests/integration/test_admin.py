"""What whoever runs the server sees of its periodic jobs, over HTTP and in the diagnosis."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from app.bootstrap import Parts
from app.domain.users import ADMIN
from app.operations.collections import IdentityService
from tests.harness import Api, wait_until

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "upkeep.md"


@pytest.fixture
async def admin(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """The same API, asked with a key that has the scope."""
    key = await IdentityService(api.parts.database).issue_key("tester", name="admin", scopes=(ADMIN,))
    transport = api.client._transport  # noqa: SLF001 — the application that the fixture has opened
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


async def diagnosis_of(api: Api) -> dict[str, str | bool]:
    """The check of the periodic jobs."""
    checks = (await api.client.get("/api/v1/diagnosis")).json()["checks"]
    (check,) = [check for check in checks if check["name"] == "periodic jobs"]
    found: dict[str, str | bool] = check
    return found


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/jobs"),
        ("GET", "/admin/jobs/cleanup_orphans/rounds"),
        ("GET", f"/admin/jobs/cleanup_orphans/rounds/{UUID(int=7)}"),
        ("POST", "/admin/jobs/cleanup_orphans/run"),
    ],
)
async def test_a_key_without_the_scope_is_refused(api: Api, method: str, path: str) -> None:
    """It is told what it lacks, and nothing is done."""
    answer = await api.client.request(method, f"/api/v1{path}")

    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert "admin" in answer.json()["detail"]
    async with api.parts.database.begin() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM periodic_rounds")) == 0


async def test_every_job_is_listed_and_documented(admin: httpx.AsyncClient) -> None:
    """Also before any worker has lived."""
    jobs = (await admin.get("/api/v1/admin/jobs")).json()["jobs"]

    assert {job["name"] for job in jobs} >= {"reconcile_operations", "cleanup_generations", "cleanup_old_operations"}
    assert all(f"| `{job['name']}` |" in DOCUMENT.read_text() for job in jobs)
    assert all(job["does"] and job["next_run_at"] is None for job in jobs)


async def test_every_job_can_be_done_by_hand(admin: httpx.AsyncClient, api: Api, folder: Path) -> None:
    """A dry run first, where there is one, and it changes no row; then for real, and both are remembered."""
    await api.create("notes", folder)
    jobs = (await admin.get("/api/v1/admin/jobs")).json()["jobs"]
    answers = {}
    for job in jobs:
        path = f"/api/v1/admin/jobs/{job['name']}/run"
        answers[job["name"], True] = await admin.post(path, json={"dry_run": True})
        answers[job["name"], False] = await admin.post(path)
    listed = {job["name"]: job for job in (await admin.get("/api/v1/admin/jobs")).json()["jobs"]}
    rounds = (await admin.get("/api/v1/admin/jobs/cleanup_orphans/rounds")).json()["rounds"]
    again = await admin.get(f"/api/v1/admin/jobs/cleanup_orphans/rounds/{rounds[0]['id']}")

    for (name, dry_run), answer in answers.items():
        if dry_run and not listed[name]["has_dry_run"]:
            assert (answer.status_code, answer.json()["code"]) == (422, "no_dry_run")
            continue
        assert answer.status_code == 200, answer.text
        assert (answer.json()["state"], answer.json()["dry_run"]) == ("completed", dry_run), answer.text
    assert all(job["last_success_at"] and job["last_error_code"] is None for job in listed.values())
    assert [each["dry_run"] for each in rounds] == [False, True]
    assert again.json() == rounds[0]


async def test_a_wrong_request_is_explained(admin: httpx.AsyncClient) -> None:
    """An unknown job with the names there are, an unknown round, an option that does not exist."""
    unknown = await admin.post("/api/v1/admin/jobs/clean_everything/run")
    missing = await admin.get(f"/api/v1/admin/jobs/cleanup_orphans/rounds/{UUID(int=7)}")
    wrong = await admin.post("/api/v1/admin/jobs/cleanup_orphans/run", json={"dryrun": True})

    assert (unknown.status_code, unknown.json()["code"]) == (404, "periodic_job_not_found")
    assert "cleanup_orphans" in unknown.json()["detail"]
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


async def test_a_worker_does_what_is_due(admin: httpx.AsyncClient, parts: Parts, worker: None) -> None:
    """Woken by the clock; the reconciler at once, and everything else when its turn has come."""

    async def is_reconciled() -> bool:
        jobs = (await admin.get("/api/v1/admin/jobs")).json()["jobs"]
        return any(job["name"] == "reconcile_operations" and job["last_success_at"] for job in jobs)

    await wait_until(is_reconciled)
    async with parts.database.begin() as connection:
        await connection.execute(text("UPDATE periodic_jobs SET next_run_at = now()"))

    async def all_are_done() -> bool:
        jobs = (await admin.get("/api/v1/admin/jobs")).json()["jobs"]
        return all(job["last_success_at"] for job in jobs)

    await wait_until(all_are_done)
    metrics = (await admin.get("/metrics")).text
    assert 'vecloom_periodic_rounds_total{job="cleanup_generations",outcome="ok"}' in metrics


async def test_the_diagnosis_names_jobs_that_are_not_done(api: Api, parts: Parts, admin: httpx.AsyncClient) -> None:
    """One that failed last time with its error, one that was missed; both with what to try."""
    await admin.post("/api/v1/admin/jobs/cleanup_orphans/run")
    well = await diagnosis_of(api)
    async with parts.database.begin() as connection:
        await connection.execute(
            text(
                """UPDATE periodic_jobs SET last_error_code = 'disk_full', last_error_message = 'no room', failures = 1
                   WHERE name = 'cleanup_orphans'"""
            )
        )
        await connection.execute(
            text(
                """UPDATE periodic_jobs SET created_at = now() - interval '4 days'
                   WHERE name = 'cleanup_old_operations'"""
            )
        )
    bad = await diagnosis_of(api)

    assert (well["ok"], well["fix"]) == (True, "")
    assert bad["ok"] is False
    assert "cleanup_orphans failed (disk_full): no room" in str(bad["detail"])
    assert "cleanup_old_operations was never done" in str(bad["detail"])
    assert "vecloom jobs run cleanup_old_operations" in str(bad["fix"])
