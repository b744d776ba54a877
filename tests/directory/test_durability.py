"""kill -9 in the middle of writing: what was acknowledged is there, and nothing is half done."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from directory.writer import MEMBERS, SUB, TENANT
from podpass.directory import arm
from podpass.directory.store import Directory

ROUNDS = int(os.environ.get("PODPASS_KILL_ROUNDS", "6"))
WRITER = Path(__file__).with_name("writer.py")


def write_and_be_killed(path: Path, first: int) -> list[str]:
    """Let a process write for a random moment, kill it, and give what it said it had done."""
    with subprocess.Popen(
        [sys.executable, WRITER, path, str(first)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline()]
        time.sleep(random.uniform(0, 0.2))
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    # The last line may be cut off.
    return [line.strip() for line in said if line.endswith("\n")]


async def check(directory: Directory, said: list[str]) -> None:
    """Hold what is there against what was said."""
    deleting = {line.split()[1] for line in said if line.startswith("deleting")}
    for line in said:
        what, group = line.split()
        there = await directory.groups.get(SUB, group) is not None
        if what == "deleted":
            assert not there, f"{group} was deleted and is back"
        if what == "made" and group not in deleting:
            assert there, f"{group} was made and is lost"
            assert await directory.find_vault(group) is not None
            assert len(await members(directory, group)) == MEMBERS


async def members(directory: Directory, group: str) -> list[str]:
    scope = arm.group_id(SUB, group)
    return [one.name for one in await directory.identities.page(TENANT, group=scope)]


async def check_whole(directory: Directory, first: int, last: int) -> None:
    """Look for a group of which only a part is there."""
    held = {one.principal_id for one in await directory.assignments.list()}
    known = {one.object_id for one in await directory.list_identities(TENANT)}
    assert held <= known, "a role outlived its holder"
    for number in range(first, last):
        group = f"group-{number}"
        found = await members(directory, group)
        assert len(found) in (0, MEMBERS), f"{group} has {len(found)} identities"
        if await directory.groups.get(SUB, group) is None:
            assert found == [], f"{group} is gone and its identities are not"
            assert await directory.find_vault(group) is None
            assert await directory.assignments.list(under=arm.group_id(SUB, group)) == []
        for identity in await directory.identities.page(TENANT, group=arm.group_id(SUB, group)):
            assert len(identity.credentials) == 3


@pytest.mark.timeout(20 + 5 * ROUNDS)
async def test_what_was_acknowledged_outlives_kill_9_and_nothing_is_half_done(
    tmp_path: Path,
) -> None:
    path, first, everything = tmp_path / "directory.db", 0, list[str]()
    for _ in range(ROUNDS):
        said = write_and_be_killed(path, first)
        everything += said
        first = 2 + max((int(line.rpartition("-")[2]) for line in said), default=first)
        async with Directory(f"sqlite:///{path}") as directory:
            await check(directory, everything)
            await check_whole(directory, 0, first)
    assert any(line.startswith("made") for line in everything), "it was killed too early"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("pragma foreign_key_check").fetchall() == []
