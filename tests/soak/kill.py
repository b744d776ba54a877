"""Rounds of kill -9: a writer or its database is killed at a random time, then every row is checked.

The expected rows are known exactly: each lane has the rows of a reference directory after the acknowledged
changes, or after one change more, with exactly the audit entries of these changes.
"""

import contextlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from podpass import log
from podpass.database import Database
from podpass.lab.services import create_directory
from tests.soak.lane import TENANT, Lane, apply_change
from tests.soak.report import Violation
from tests.soak.snapshot import Snapshot, describe_difference, take_snapshot

LANES = 3
_WRITER = Path(__file__).with_name("writer.py")
_CANONICAL = 0xFFFF
_ENDING_SECONDS = 10


class ReferenceDirectory:
    """The rows of a lane after each of its changes, from a directory whose writer is not killed."""

    def __init__(self, folder: Path) -> None:
        self._url = f"sqlite:///{folder / 'reference.db'}"
        self._after: list[Sequence[str]] = []

    async def rows_after(self, changes: int) -> Sequence[str]:
        """Return the rows after a number of changes."""
        while len(self._after) <= changes:
            await self._apply_next()
        return self._after[changes]

    async def _apply_next(self) -> None:
        log.correlation_id.set("")  # audit entries contain it, and a writer has none
        async with create_directory(Database(self._url)) as directory:
            if self._after:
                await apply_change(directory, _CANONICAL, len(self._after) - 1)
            else:
                await directory.create_tenant(TENANT)
        rows = take_snapshot(self._url).get(Lane(_CANONICAL).suffix, ())
        assert bool(rows) == bool(self._after), "the snapshot has no rows"
        if self._after and rows != self._after[-1]:
            grown = _audited(rows) > _audited(self._after[-1])
            assert grown, f"change {len(self._after) - 1} writes no audit entry"
        self._after.append(rows)


def _audited(rows: Sequence[str]) -> int:
    return sum(row.startswith("audit_entries ") for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterOutput:
    """The output that a writer printed before it ended.

    Units: `opened_seconds` is the time from the start of the process until it had opened the database; None
    if it was killed before.
    """

    opened_seconds: float | None
    changes: Counter[int]


class KillRounds:
    """Runs rounds of kills on one database and checks its rows after each."""

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        self._url = url
        self._reference = ReferenceDirectory(folder)
        self._random = random.Random(seed)
        self._lane = 0
        self._kept: dict[str, Sequence[str]] = {}
        self.start_seconds: list[float] = []
        self.acknowledged = 0

    async def prepare(self) -> None:
        """Create the tenant of the lanes."""
        async with create_directory(Database(self._url)) as directory:
            await directory.create_tenant(TENANT)

    async def run_round(
        self, crash: Callable[[], None] | None = None, recover: Callable[[], None] = lambda: None
    ) -> None:
        """Start a writer, kill it or call `crash`, and check the database. Raises Violation."""
        first, self._lane = self._lane, self._lane + LANES
        said = self._write(first, crash)
        recover()
        if said.opened_seconds is not None:
            self.start_seconds.append(said.opened_seconds)
        self.acknowledged += said.changes.total()
        await self._check_lanes(range(first, first + LANES), said)

    def _write(self, first: int, crash: Callable[[], None] | None) -> WriterOutput:
        command = [sys.executable, str(_WRITER), self._url, str(first), str(LANES)]
        began = time.perf_counter()
        with _running(command) as writer:
            assert writer.stdout is not None
            lines, opened = [], None
            # One writer in five is killed while it starts.
            if self._random.random() < 0.8:
                lines.append(writer.stdout.readline())
                opened = time.perf_counter() - began
                time.sleep(self._random.uniform(0, 0.3))
            else:
                time.sleep(self._random.uniform(0, 0.6))
            if crash is None:
                writer.send_signal(signal.SIGKILL)
            else:
                crash()
                _wait(writer)
            lines += writer.stdout.readlines()
        if writer.returncode not in (0, -signal.SIGKILL):
            raise Violation(f"the writer exited with {writer.returncode}")
        return _parse_output(lines, opened)

    async def _check_lanes(self, lanes: Sequence[int], said: WriterOutput) -> None:
        seen = take_snapshot(self._url)
        for lane in lanes:
            suffix = Lane(lane).suffix
            self._kept[suffix] = await self._check(seen.get(suffix, ()), lane, said.changes[lane])
        _check_earlier_lanes(self._kept, seen)

    def check_integrity(self) -> None:
        """Run the integrity checks of SQLite. Raises Violation."""
        if self._url.startswith("sqlite"):
            _check_file(self._url.removeprefix("sqlite:///"))

    async def _check(self, rows: Sequence[str], lane: int, changes: int) -> Sequence[str]:
        done = await self._reference.rows_after(changes)
        if rows not in (done, await self._reference.rows_after(changes + 1)):
            said = f"lane {lane} has {changes} acknowledged changes"
            raise Violation(f"{said}; its rows differ:\n{describe_difference(rows, done)}")
        return rows


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as writer:
        try:
            yield writer
        finally:
            writer.kill()


def _wait(writer: subprocess.Popen[str]) -> None:
    try:
        writer.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        writer.kill()
        raise Violation(
            f"the writer still runs {_ENDING_SECONDS} seconds after its database was killed"
        ) from None


def _parse_output(lines: Sequence[str], opened: float | None) -> WriterOutput:
    changes: Counter[int] = Counter()
    for line in lines:
        # The last line may be incomplete.
        if (found := re.fullmatch(r"(\d+) (\d+)\n", line)) is not None:
            lane, number = int(found[1]), int(found[2])
            assert changes[lane] == number, f"lane {lane} skipped a change"
            changes[lane] += 1
    return WriterOutput(opened_seconds=opened, changes=changes)


def _check_earlier_lanes(kept: Snapshot, seen: Snapshot) -> None:
    """Check that the rows of the lanes of earlier rounds have not changed."""
    for suffix, rows in kept.items():
        if seen.get(suffix, ()) != rows:
            said = f"lane {suffix} has changed after its round"
            raise Violation(f"{said}:\n{describe_difference(seen.get(suffix, ()), rows)}")
    if strange := set(seen) - set(kept):
        raise Violation(f"rows of unknown lanes: {sorted(strange)[:5]}")


def _check_file(path: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        integrity = connection.execute("pragma integrity_check").fetchone()
        orphans = connection.execute("pragma foreign_key_check").fetchall()
    if integrity != ("ok",) or orphans:
        raise Violation(f"SQLite reports a damaged file: {integrity} {orphans[:5]}")
