"""Start the parts of an instance: report each, and limit its time.

A start that hangs therefore fails with the cause.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from podpass.errors import Error
from podpass.lab.data.disk_errors import DiskNotWritable, find_disk_problem

_log = logging.getLogger(__name__)

T = TypeVar("T")
Progress = Callable[[str, str], None]
"""Called twice for each part: with an empty string when it starts, with its address when it is ready."""
SeedFile = tuple[str, str]
"""The text of a seed, and the name of its file."""

_MAX_SECONDS = 120.0
# A part retries failed writes, which is correct while it runs. At its start this check reports a full disk.
_CHECK_SECONDS = 5.0


class PartNotReady(Error):
    """A part of the instance did not become ready in time."""

    code = "part_not_ready"
    hint = "check podpass.log in the data directory, then start the instance again"


@dataclass(frozen=True, slots=True)
class PartStarter:
    """Starts the parts of the instance in a data directory."""

    progress: Progress
    folder: Path

    async def __call__(self, part: str, starting: Awaitable[tuple[T, str]]) -> T:
        """Start a part; return the value that other parts need.

        `starting` returns this value and the text for the progress. Raises DiskNotWritable, PartNotReady, and
        the errors of the part.
        """
        self.progress(part, "")
        async with limit_start(part, self.folder):
            value, detail = await starting
        self.progress(part, detail)
        _log.info("part_started", extra={"part": part})
        return value


@asynccontextmanager
async def limit_start(
    part: str,
    folder: Path,
    *,
    max_seconds: float = _MAX_SECONDS,
    check_seconds: float = _CHECK_SECONDS,
) -> AsyncIterator[None]:
    """Limit the time in which a part starts; if the disk of the folder is full, end it at the next check.

    Raises DiskNotWritable, also instead of an error that the part raises on a full disk; PartNotReady.
    """
    try:
        async with asyncio.timeout(max_seconds) as limit:
            check = asyncio.create_task(_watch_disk(limit, folder, check_seconds))
            try:
                yield
            finally:
                check.cancel()
    except TimeoutError as exc:
        if not limit.expired():
            raise
        _raise_disk_problem(folder, exc, f"{part} cannot start")
        raise PartNotReady(f"{part} was not ready within {max_seconds:.0f} seconds") from exc
    except Error as exc:
        _raise_disk_problem(folder, exc, exc.message)
        raise


async def _watch_disk(limit: asyncio.Timeout, folder: Path, seconds: float) -> None:
    await asyncio.sleep(seconds)
    while find_disk_problem(folder) is None:  # noqa: ASYNC110 a disk sends no event
        await asyncio.sleep(seconds)
    limit.reschedule(asyncio.get_running_loop().time())


def _raise_disk_problem(folder: Path, cause: BaseException, message: str) -> None:
    if (problem := find_disk_problem(folder)) is not None:
        raise DiskNotWritable(f"{problem}: {message}") from cause
