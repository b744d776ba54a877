"""CronJobs: schedules, missed times, policies and history."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kubeling.apiserver.validation import cron_schedule
from kubeling.controllers import cron_jobs
from tests.controllers.workloads import (
    CRON_JOBS,
    JOBS,
    create,
    events,
    get,
    job,
    merge,
    until,
)

START = datetime(2026, 1, 1, 0, 0, 30, tzinfo=ZoneInfo("UTC")).timestamp()


class Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def cron_job(name: str = "tick", **spec: Any) -> Any:
    template = {"metadata": {"labels": {"from": "template"}}, "spec": job("j")["spec"]}
    body = {"schedule": "* * * * *", "jobTemplate": template, **spec}
    return {"metadata": {"name": name}, "spec": body}


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def live(serve: Any, clock: Clock) -> Any:
    return await serve(clock=clock)


async def tick(live: Any, clock: Clock, seconds: float) -> None:
    """Advance the clock, and change every CronJob so that it is reconciled now."""
    clock.now += seconds
    note = {"metadata": {"annotations": {"now": str(clock.now)}}}
    for each in (await get(live, CRON_JOBS))["items"]:
        await merge(live, f"{CRON_JOBS}/{each['metadata']['name']}", note)


async def jobs(live: Any, count: int) -> list[Any]:
    found = await until(live, JOBS, lambda body: len(body["items"]) == count)
    return sorted(found["items"], key=lambda each: each["metadata"]["name"])


async def finish(
    live: Any, name: str, kind: str = "Complete", at: str = "2026-01-01T00:01:10Z"
) -> None:
    """Write the status of a finished Job that no controller of this cluster manages."""
    condition = {"type": kind, "status": "True"}
    status = {"startTime": at, "conditions": [condition]}
    if kind == "Complete":
        status["completionTime"] = at
    await merge(live, f"{JOBS}/{name}/status", {"status": status})


def unmanaged(**spec: Any) -> Any:
    """Return a CronJob whose Jobs stay as the test writes them."""
    body = cron_job(**spec)
    body["spec"]["jobTemplate"]["spec"]["managedBy"] = "example.com/test"
    return body


async def test_job_is_created_at_the_time_of_the_schedule(live: Any, clock: Clock) -> None:
    await create(live, CRON_JOBS, cron_job())
    await tick(live, clock, 20)
    assert (await get(live, JOBS))["items"] == []
    await tick(live, clock, 15)
    [made] = await jobs(live, 1)
    metadata, due = made["metadata"], int(START) + 30
    assert metadata["name"] == f"tick-{due // 60}"
    assert metadata["labels"]["from"] == "template"
    annotation = "batch.kubernetes.io/cronjob-scheduled-timestamp"
    assert metadata["annotations"][annotation] == "2026-01-01T00:01:00Z"
    assert metadata["ownerReferences"][0]["kind"] == "CronJob"
    found = await until(live, f"{CRON_JOBS}/tick", lambda found: found["status"].get("active"))
    assert found["status"]["lastScheduleTime"] == "2026-01-01T00:01:00Z"
    assert found["status"]["active"][0]["uid"] == metadata["uid"]
    assert f"Normal SuccessfulCreate: Created job {metadata['name']}" in await events(live, "tick")
    await tick(live, clock, 10)  # the same minute
    assert len((await get(live, JOBS))["items"]) == 1


async def test_only_the_last_of_several_missed_times_is_started(live: Any, clock: Clock) -> None:
    await create(live, CRON_JOBS, cron_job())
    await tick(live, clock, 600)
    [made] = await jobs(live, 1)
    assert made["metadata"]["name"] == f"tick-{int(START + 600) // 60}"


async def test_suspended_cron_job_starts_no_job(live: Any, clock: Clock) -> None:
    await create(live, CRON_JOBS, cron_job(suspend=True))
    await create(live, CRON_JOBS, cron_job("other"))
    await tick(live, clock, 60)
    [made] = await jobs(live, 1)
    assert made["metadata"]["name"].startswith("other-")


async def test_time_past_the_starting_deadline_is_missed(live: Any, clock: Clock) -> None:
    body = cron_job(schedule="0 0 1 1 *", startingDeadlineSeconds=10)
    await create(live, CRON_JOBS, body)
    clock.now = datetime(2027, 1, 1, 0, 0, 20, tzinfo=ZoneInfo("UTC")).timestamp()
    await create(live, CRON_JOBS, cron_job("other"))
    await tick(live, clock, 60)
    [made] = await jobs(live, 1)
    assert made["metadata"]["name"].startswith("other-")


async def test_forbid_skips_a_time_while_a_job_runs(live: Any, clock: Clock) -> None:
    await create(live, CRON_JOBS, unmanaged(concurrencyPolicy="Forbid"))
    await tick(live, clock, 60)
    [first] = await jobs(live, 1)
    await tick(live, clock, 60)
    texts = await events(live, "tick", 2)
    assert any("JobAlreadyActive" in each for each in texts)
    await finish(live, first["metadata"]["name"])
    assert len(await jobs(live, 2)) == 2


async def test_replace_deletes_the_running_job(live: Any, clock: Clock) -> None:
    await create(live, CRON_JOBS, unmanaged(concurrencyPolicy="Replace"))
    await tick(live, clock, 60)
    [first] = await jobs(live, 1)
    await tick(live, clock, 60)
    name = first["metadata"]["name"]
    await until(live, f"{JOBS}/{name}", lambda each: each is None)
    [second] = await jobs(live, 1)
    assert second["metadata"]["name"] != name


async def test_finished_jobs_over_the_history_limits_are_deleted(live: Any, clock: Clock) -> None:
    limits = {"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}
    await create(live, CRON_JOBS, unmanaged(**limits))
    made = []
    for count in (1, 2, 3):
        await tick(live, clock, 60)
        made = [each["metadata"]["name"] for each in await jobs(live, count)]
    for at, name in enumerate(made[:2]):
        await finish(live, name, at=f"2026-01-01T00:0{at + 1}:10Z")
    await finish(live, made[2], "Failed")
    [kept] = await jobs(live, 1)
    assert kept["metadata"]["name"] == made[1]
    found = await until(live, f"{CRON_JOBS}/tick", lambda each: "active" not in each["status"])
    assert found["status"]["lastSuccessfulTime"] == "2026-01-01T00:02:10Z"


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "expected"),
    [
        ("*/15 * * * *", "UTC", "2026-01-01T00:01:00", "2026-01-01T00:15:00"),
        ("5/15 * * * *", "UTC", "2026-01-01T00:21:00", "2026-01-01T00:35:00"),
        ("30 6-16/4 * * 1-5", "UTC", "2026-01-02T14:31:00", "2026-01-05T06:30:00"),
        ("0 0 13 * FRI", "UTC", "2026-02-01T00:00:00", "2026-02-06T00:00:00"),  # one of both
        ("0 0 31 jan,Mar *", "UTC", "2026-02-01T00:00:00", "2026-03-31T00:00:00"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("@weekly", "UTC", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("@every 1h30m", "UTC", "2026-01-01T00:00:00", "2026-01-01T01:30:00"),
        ("0 12 * * *", "America/New_York", "2026-07-01T00:00:00", "2026-07-01T16:00:00"),
        # On 8 March 2026 02:30 does not exist in New York; on 1 November 01:30 exists twice.
        ("30 2 * * *", "America/New_York", "2026-03-08T00:00:00-05:00", "2026-03-09T06:30:00"),
        ("30 1 * * *", "America/New_York", "2026-11-01T01:30:00-04:00", "2026-11-01T06:30:00"),
    ],
)
def test_schedule_has_the_next_time(schedule: str, zone: str, after: str, expected: str) -> None:
    def moment(text: str) -> float:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=ZoneInfo("UTC"))).timestamp()

    found = cron_schedule.parse(schedule).next(moment(after), ZoneInfo(zone))
    assert found == moment(expected)


def test_schedule_without_a_valid_day_has_no_next_time() -> None:
    assert cron_schedule.parse("59 23 31 2 *").next(START) is None


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "*/0 * * * *",
     "5-1 * * * *", "@noon", "@every", "@every soon", "1-2-3 * * * *", "x * * * *"],
)  # fmt: skip
def test_invalid_schedule_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        cron_schedule.parse(schedule)


async def test_unknown_time_zone_is_refused(live: Any) -> None:
    for zone, status in (("Europe/Berlin", 201), ("Mars/Base", 422), ("", 422), ("../etc", 422)):
        done = await live.call("POST", CRON_JOBS, cron_job(f"z{status}", timeZone=zone))
        assert done.status == status, done.text


@pytest.mark.parametrize(
    ("last", "deadline", "now", "expected"),
    [
        ("2026-01-01T00:00:00Z", None, "2026-01-01T00:00:59+00:00", None),
        ("2026-01-01T00:00:00Z", None, "2026-01-01T00:01:00+00:00", "2026-01-01T00:01:00+00:00"),
        ("2026-01-01T00:00:00Z", None, "2026-01-01T05:00:30+00:00", "2026-01-01T05:00:00+00:00"),
        ("2026-01-01T00:00:00Z", 20, "2026-01-01T05:00:30+00:00", None),
        ("2026-01-01T00:00:00Z", 40, "2026-01-01T05:00:30+00:00", "2026-01-01T05:00:00+00:00"),
    ],
)
def test_last_missed_time(last: str, deadline: int | None, now: str, expected: str | None) -> None:
    found = {
        "metadata": {"creationTimestamp": last},
        "spec": {"startingDeadlineSeconds": deadline},
    }
    at = datetime.fromisoformat(now).timestamp()
    due, _ = cron_jobs.last_missed(found, cron_schedule.parse("* * * * *"), ZoneInfo("UTC"), at)
    assert due == (datetime.fromisoformat(expected).timestamp() if expected else None)
