"""A small process that kills the containers of a kubelet, or the command of `run`, that was killed itself.

It reads process groups from a pipe. If the pipe closes without a stop line, the kubelet died without running
its handlers: `kill -9`, a crash, or an OOM kill. A parent-death signal does not solve this: it reaches
only the first process of a container, and it is sent when a thread ends, not when the process ends.
"""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Self

_log = logging.getLogger(__name__)

# One line per change: "+ group", "- group", "." to exit without killing. Marked processes are found through
# /proc, if it exists, because a process of a container may have left its group. There is no `--` before a
# group, because dash does not support it.
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
[ -z "$2" ] || rm -rf "$2" || rm -rf "$2"
"""


class OrphanReaper:
    """The reaper process; use it as a context. If there is no shell, orphans are not killed.

    It kills the processes with `mark` in their environment, then deletes `folder`.
    """

    def __init__(self, mark: str, folder: Path | None = None) -> None:
        self._mark, self._folder = mark, "" if folder is None else str(folder)
        self._shell: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        try:
            self._shell = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", _SCRIPT, "kubeling-orphan-reaper", self._mark, self._folder),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PATH": "/usr/bin:/bin"},
                start_new_session=True,
            )
        except OSError as exc:
            _log.warning("orphan_reaper_start_failed", extra={"cause": exc.strerror})
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the reaper process; every container has ended by now."""
        if self._shell is None:
            return
        self._write(".")
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self._shell.wait()

    def add(self, group: int) -> None:
        self._write(f"+ {group}")

    def remove(self, group: int) -> None:
        self._write(f"- {group}")

    def _write(self, line: str) -> None:
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._shell.stdin.write(line.encode() + b"\n")
