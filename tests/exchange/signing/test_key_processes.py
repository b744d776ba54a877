"""Several processes on one database, SQLite and PostgreSQL: a common start, and kill -9 during rotation."""

import asyncio
import sys
from pathlib import Path

import pytest

from podpass.database import Database
from podpass.exchange.signing.key_set import AuthorityKeys

pytestmark = pytest.mark.processes


def list_key_ids(keys: AuthorityKeys) -> list[str]:
    return [key.kid for key in keys.published]


@pytest.mark.timeout(180)
async def test_process_killed_during_rotation_loses_no_used_key(
    database_url: str, tmp_path: Path
) -> None:
    """Attack 26: kill -9 during rotations, five times."""
    arguments = (sys.executable, "-c", _ROTATE, database_url, str(tmp_path / "sealing.key"))
    signed: set[str] = set()
    for lines in range(1, 6):
        process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(lines):
            signed.add((await process.stdout.readline()).decode().strip())
        process.kill()
        signed |= {line.decode().strip() async for line in process.stdout if line.endswith(b"\n")}
        await process.wait()
    async with Database(database_url) as database:
        keys = await AuthorityKeys.open(database, tmp_path / "sealing.key")
        assert signed <= set(list_key_ids(keys))
        await keys.rotate()
        assert keys.active.kid in list_key_ids(keys)


@pytest.mark.timeout(180)
async def test_processes_that_start_together_agree_on_one_set(
    database_url: str, tmp_path: Path
) -> None:
    sealing = tmp_path / "keys" / "sealing.key"
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _START, database_url, str(sealing)),
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    said = {(await process.communicate())[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(said) == 1
    assert len(said.pop().split()) == 3


_START = """
import asyncio, pathlib, sys
from podpass.database import Database
from podpass.exchange.signing.key_set import AuthorityKeys

async def main():
    async with Database(sys.argv[1]) as database:
        keys = await AuthorityKeys.open(database, pathlib.Path(sys.argv[2]))
        print(keys.active.kid, *(key.kid for key in keys.published))

asyncio.run(main())
"""


_ROTATE = """
import asyncio, pathlib, sys
from podpass.database import Database
from podpass.exchange.signing.key_set import AuthorityKeys

async def main():
    async with Database(sys.argv[1]) as database:
        keys = await AuthorityKeys.open(database, pathlib.Path(sys.argv[2]))
        while True:
            print(keys.active.kid, flush=True)
            await keys.rotate(at_once=True)

asyncio.run(main())
"""
