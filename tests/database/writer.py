"""A process that opens a database, and writes to it for each line that it reads."""

import asyncio
import sys

from sqlalchemy import text

from podpass.database import Database


async def main(url: str) -> None:
    async with Database(url) as database:
        print("open", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            await database.write(
                lambda connection: connection.execute(text("UPDATE things SET n = n + 1")),
                topics=["things"],
            )
            print("written", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
