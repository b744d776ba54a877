"""Rounds of kill -9: a writer or its database dies at a random moment; then each row is looked at.

What may be there is known exactly: each lane holds what an unharmed directory holds after the changes that
were acknowledged, or after one more, with the audit of just these.
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
from podpass.directory.store.directory import Directory
from tests.soak.lane import TENANT, Lane, change
from tests.soak.picture import Picture, difference, picture
from tests.soak.wrong import Wrong

LANES = 3
_WRITER = Path(__file__).with_name("writer.py")
_CANONICAL = 0xFFFF
_ENDING_SECONDS = 10


class Reference:
    """What a lane looks like after each of its changes, by a directory that nobody harms."""

    def __init__(self, folder: Path) -> None:
        self._url = f"sqlite:///{folder / 'reference.db'}"
        self._after: list[Sequence[str]] = []

    async def after(self, changes: int) -> Sequence[str]:
        """Give the rows after so many changes."""
        while len(self._after) <= changes:
            await self._go_on()
        return self._after[changes]

    async def _go_on(self) -> None:
        log.correlation_id.set("")  # the audit tells it, and a writer has none
        async with Directory(Database(self._url)) as directory:
            if self._after:
                await change(directory, _CANONICAL, len(self._after) - 1)
            else:
                await directory.create_tenant(TENANT)
        rows = picture(self._url).get(Lane(_CANONICAL).mark, ())
        assert bool(rows) == bool(self._after), "the picture shows nothing"
        if self._after and rows != self._after[-1]:
            grown = _audited(rows) > _audited(self._after[-1])
            assert grown, f"change {len(self._after) - 1} leaves no audit"
        self._after.append(rows)


def _audited(rows: Sequence[str]) -> int:
    return sum(row.startswith("audit_entries ") for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a writer said before it ended.

    Units:   `opened_seconds` from the start of the process until it could answer; None if it was killed
             before.
    """

    opened_seconds: float | None
    changes: Counter[int]


class Killing:
    """A database, what is known of it, and round after round of violence."""

    def __init__(self, url: str, folder: Path, seed: int) -> None:
        self._url = url
        self._reference = Reference(folder)
        self._random = random.Random(seed)
        self._lane = 0
        self._kept: dict[str, Sequence[str]] = {}
        self.opened: list[float] = []
        self.acknowledged = 0

    async def begin(self) -> None:
        """Make the tenant in which the lanes are."""
        async with Directory(Database(self._url)) as directory:
            await directory.create_tenant(TENANT)

    async def round(
        self, crash: Callable[[], None] | None = None, recover: Callable[[], None] = lambda: None
    ) -> None:
        """Let a writer write, end it or what `crash` ends, and look.

        Errors:  Wrong.
        """
        first, self._lane = self._lane, self._lane + LANES
        said = self._write(first, crash)
        recover()
        if said.opened_seconds is not None:
            self.opened.append(said.opened_seconds)
        self.acknowledged += said.changes.total()
        await self._look(range(first, first + LANES), said)

    def _write(self, first: int, crash: Callable[[], None] | None) -> Said:
        command = [sys.executable, str(_WRITER), self._url, str(first), str(LANES)]
        began = time.perf_counter()
        with _running(command) as writer:
            assert writer.stdout is not None
            lines, opened = [], None
            # One in five dies while it starts.
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
            raise Wrong(f"the writer ended by itself with {writer.returncode}")
        return _said(lines, opened)

    async def _look(self, lanes: Sequence[int], said: Said) -> None:
        seen = picture(self._url)
        for lane in lanes:
            mark = Lane(lane).mark
            self._kept[mark] = await self._check(seen.get(mark, ()), lane, said.changes[lane])
        _check_kept(self._kept, seen)

    def end(self) -> None:
        """Look at what only the database knows of itself.

        Errors:  Wrong.
        """
        if self._url.startswith("sqlite"):
            _check_file(self._url.removeprefix("sqlite:///"))

    async def _check(self, rows: Sequence[str], lane: int, changes: int) -> Sequence[str]:
        done = await self._reference.after(changes)
        if rows not in (done, await self._reference.after(changes + 1)):
            said = f"lane {lane} was told of {changes} changes"
            raise Wrong(f"{said}; its rows are others:\n{difference(rows, done)}")
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
        raise Wrong(f"the writer hangs {_ENDING_SECONDS} seconds after its database died") from None


def _said(lines: Sequence[str], opened: float | None) -> Said:
    changes: Counter[int] = Counter()
    for line in lines:
        # The last line may be cut off.
        if (found := re.fullmatch(r"(\d+) (\d+)\n", line)) is not None:
            lane, number = int(found[1]), int(found[2])
            assert changes[lane] == number, f"lane {lane} skipped a change"
            changes[lane] += 1
    return Said(opened_seconds=opened, changes=changes)


def _check_kept(kept: Picture, seen: Picture) -> None:
    """See that nobody's death took from those that were looked at before."""
    for mark, rows in kept.items():
        if seen.get(mark, ()) != rows:
            said = f"lane {mark} has changed after its round"
            raise Wrong(f"{said}:\n{difference(seen.get(mark, ()), rows)}")
    if strange := set(seen) - set(kept):
        raise Wrong(f"rows of lanes that never were: {sorted(strange)[:5]}")


def _check_file(path: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        integrity = connection.execute("pragma integrity_check").fetchone()
        strays = connection.execute("pragma foreign_key_check").fetchall()
    if integrity != ("ok",) or strays:
        raise Wrong(f"SQLite finds its file damaged: {integrity} {strays[:5]}")
