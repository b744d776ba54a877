"""Check the database files of a running instance: a damaged file is otherwise unnoticed until a restart.

SQLite and the API server have most pages in memory, so requests can succeed long after a file was damaged.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from podpass.database.errors import DatabaseBusy, DatabaseFull, DatabaseReadOnly
from podpass.errors import Error
from podpass.lab.data.datadir import DataDir

if TYPE_CHECKING:
    from podpass.database import Database

_log = logging.getLogger(__name__)

# A check opens each file and reads a row of each table in 2 ms. Probes and commands can be frequent.
_INTERVAL_SECONDS = 1.0


class DataFiles:
    """Checks the files of an instance, at most once a second, and logs each change of the result.

    `check_cluster` raises an error if the file of the embedded cluster is damaged.
    """

    def __init__(
        self,
        data_dir: DataDir,
        database: "Database",
        check_cluster: Callable[[], None] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._data_dir, self._database = data_dir, database
        self._check_cluster, self._now = check_cluster, now
        self._found: dict[str, dict[str, str]] = {}
        self._next_check = 0.0

    async def find_damaged(self) -> list[dict[str, str]]:
        """Return `file`, `message` and `hint` of each file that cannot be used."""
        if self._now() >= self._next_check:
            self._next_check = self._now() + _INTERVAL_SECONDS
            before, self._found = self._found, await self._check()
            self._log_changes(before)
            # A check waits while another process writes, so the interval begins when the check ends.
            self._next_check = self._now() + _INTERVAL_SECONDS
        return list(self._found.values())

    async def _check(self) -> dict[str, dict[str, str]]:
        found = {}
        try:
            await self._database.ping()
        except (DatabaseBusy, DatabaseFull, DatabaseReadOnly):
            pass  # the data can be read, and each refused write reports its own cause
        except Error as exc:
            found["directory.db"] = self._describe("directory.db", exc)
        try:
            if self._check_cluster is not None:
                self._check_cluster()
        except Error as exc:
            found["kubernetes.db"] = self._describe("kubernetes.db", exc)
        return found

    def _describe(self, name: str, exc: Error) -> dict[str, str]:
        path = self._data_dir.path(name)
        cause = exc.facts.get("cause")
        message = exc.message if cause is None else f"{path} cannot be used: {cause}"
        return {"file": str(path), "message": message, "hint": exc.hint}

    def _log_changes(self, before: Mapping[str, dict[str, str]]) -> None:
        for name in self._found.keys() - before.keys():
            _log.error("database_check_failed", extra={"cause": self._found[name]["message"]})
        for name in before.keys() - self._found.keys():
            _log.info("database_check_recovered", extra={"file": before[name]["file"]})
