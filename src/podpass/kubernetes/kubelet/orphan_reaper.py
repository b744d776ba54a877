"""A tiny process that outlives the runtime by a moment, to end the containers of one that was killed.

It reads process groups from a pipe. When the pipe closes without a farewell, whoever held it is gone, and
no handler of ours ran: `kill -9`, a crash, the end of the memory. A parent-death signal would not do: it
reaches a container's first process only, and fires when a thread ends, not the process.
"""

import asyncio
import contextlib
import logging
from typing import Self

_log = logging.getLogger(__name__)

# One line a change: "+ group", "- group", "." to leave in peace. Marked processes are found through /proc,
# where there is one, because a container may have left its group. No `--` before a group: dash has none.
_SCRIPT = """
trap '' HUP INT TERM
groups=' '
while read -r what group; do
  case "$what" in
    +) groups="$groups$group " ;;
    -) groups="${groups%% $group *} ${groups#* $group }" ;;
    .) exit 0 ;;
  esac
done
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
for round in 1 2; do
  for pid in $(grep -l -s -a -F -e "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3); do
    kill -KILL "$pid" 2>/dev/null
  done
done
"""


class Guard:
    """The watching process; use it as a context. Without a shell there is none, and nothing else changes."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._shell: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        try:
            self._shell = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", _SCRIPT, "podpass-guard", self._mark),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin"},
                start_new_session=True,
            )
        except OSError as exc:
            _log.warning("guard_not_started", extra={"cause": exc.strerror})
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send it home: every container has ended by now."""
        if self._shell is None:
            return
        self._tell(".")
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._shell.wait(), 2)

    def add(self, group: int) -> None:
        self._tell(f"+ {group}")

    def remove(self, group: int) -> None:
        self._tell(f"- {group}")

    def _tell(self, line: str) -> None:
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._shell.stdin.write(line.encode() + b"\n")
