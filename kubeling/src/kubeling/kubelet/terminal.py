"""A pseudo-terminal for a program of a container."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from kubeling.kubelet.descriptor import Descriptor

# The first terminal that the leader of a session opens becomes its controlling terminal; so Ctrl-C and job
# control work. The shell runs inside the sandbox, whose own process would otherwise receive Ctrl-C too.
_SCRIPT = 'exec 0<>"$0" 1>&0 2>&0 && exec "$@"'


@dataclass(slots=True)
class Terminal:
    """Both sides of a pseudo-terminal; the program opens the other side by its path."""

    master: Descriptor
    path: str
    _slave: int

    @classmethod
    def open(cls) -> Self:
        """Allocate a terminal. Raises OSError if the machine has no free one."""
        master, slave = os.openpty()
        return cls(Descriptor(master), os.ttyname(slave), slave)

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that starts a program on this terminal."""
        return ["/bin/sh", "-c", _SCRIPT, self.path, *argv]

    def release(self) -> None:
        """Close this process's copy of the program's side, so that reading ends after its last byte."""
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1

    def close(self) -> None:
        """Close both sides; the program receives SIGHUP."""
        self.release()
        self.master.close()
