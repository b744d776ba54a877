"""Change the directory until killed, in several lanes at once, and print each acknowledged change.

Run: python writer.py DATABASE FIRST_LANE LANES
It prints `opened`, then `LANE CHANGE` for each acknowledged change, and `failed ...` when a lane or all of
them end.
"""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from podpass.database import Database, DatabaseFailed, DatabaseUnusable
from podpass.directory.store.directory import Directory
from podpass.lab.services import create_directory
from tests.soak.lane import TENANT, apply_change


def emit(*words: object) -> None:
    # One system call per line: no line stays in a buffer when the process is killed.
    os.write(1, f"{' '.join(str(word) for word in words)}\n".encode())


async def write(directory: Directory, lane: int) -> None:
    number = 0
    while True:
        try:
            await apply_change(directory, lane, number)
        except DatabaseFailed as exc:
            emit("failed", lane, exc.code)
            return
        emit(lane, number)
        number += 1
        # SQLite statements do not yield to the event loop; without this, the other lanes would not start.
        await asyncio.sleep(0)


async def main(url: str, first: int, lanes: int) -> None:
    try:
        async with create_directory(Database(url)) as directory:
            await directory.find_tenant(TENANT.id)
            emit("opened")
            await asyncio.gather(*(write(directory, first + each) for each in range(lanes)))
    except (DatabaseFailed, DatabaseUnusable) as exc:
        emit("failed", exc.code)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
