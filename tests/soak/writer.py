"""Change the directory without end, several lanes at once, and say each change once it is made.

Run: python writer.py DATABASE FIRST_LANE LANES
Says `opened`, then `LANE CHANGE` for each that was acknowledged, and `failed ...` where a lane or all end.
"""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from podpass.database import Database, DatabaseFailed, DatabaseUnusable
from podpass.directory.store.directory import Directory
from tests.soak.lane import TENANT, change


def say(*words: object) -> None:
    # One call of the system: no line is left in a buffer of this process.
    os.write(1, f"{' '.join(str(word) for word in words)}\n".encode())


async def write(directory: Directory, lane: int) -> None:
    number = 0
    while True:
        try:
            await change(directory, lane, number)
        except DatabaseFailed as exc:
            say("failed", lane, exc.code)
            return
        say(lane, number)
        number += 1
        await asyncio.sleep(
            0
        )  # a database in the loop never waits: the other lanes would not begin


async def main(url: str, first: int, lanes: int) -> None:
    try:
        async with Directory(Database(url)) as directory:
            await directory.find_tenant(TENANT.id)
            say("opened")
            await asyncio.gather(*(write(directory, first + each) for each in range(lanes)))
    except (DatabaseFailed, DatabaseUnusable) as exc:
        say("failed", exc.code)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
