"""An instance in the background: start it, hear how far it is, and learn why if it fails.

The child tells its progress through a pipe, one JSON object a line; the pipe's end without a word means
that it died.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from podpass.errors import Error
from podpass.files import open_private

READY, PROGRESS, FAILED = "ready", "progress", "failed"


class DidNotStart(Error):
    """The instance in the background failed before it was ready; fact `cause` is its own error's code."""

    code = "did_not_start"


def start(
    arguments: Sequence[str],
    *,
    errors: Path,
    environ: Mapping[str, str],
    progress: Callable[[str, str], None],
    stdin: str = "",
) -> None:
    """Run `podpass ARGUMENTS --ready-fd N` in a session of its own and return when it is ready.

    Shapes:  `stdin` is what the child reads there.
    Errors:  DidNotStart, with the child's own message and hint.
    """
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "podpass.cli", *arguments, "--ready-fd", str(writing)]
    # Its own stderr should stay empty: logs go to podpass.log. What a crash prints is kept.
    with open_private(errors) as stderr:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=(writing,),
            start_new_session=True,
            cwd="/",
            env=dict(environ),
        )
    os.close(writing)
    assert child.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(stdin.encode())
        _listen(reading, child, progress)
    except KeyboardInterrupt:
        # Ctrl-C reaches us alone: the child has a session of its own, and would start nevertheless.
        child.terminate()
        child.wait()
        raise


def _listen(
    reading: int, child: subprocess.Popen[bytes], progress: Callable[[str, str], None]
) -> None:
    with os.fdopen(reading) as lines:
        for line in lines:
            word = json.loads(line)
            if word["kind"] == READY:
                child.returncode = 0  # it lives on; there is nothing to wait for
                return
            if word["kind"] == FAILED:
                child.wait()  # its ports and lock are free when this returns
                raise DidNotStart(word["message"], hint=word["hint"], cause=word["code"])
            progress(word["part"], word["where"])
    code = child.wait()
    if code == 0:
        raise DidNotStart("the instance was stopped while starting", hint="start it again")
    raise DidNotStart(
        f"the instance ended while starting, with code {code}",
        hint="look at podpass.err and podpass.log in its data dir",
    )


class Voice:
    """The child's end of the pipe; a parent that went away is no reason to stop."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._file = os.fdopen(descriptor, "w")

    def progress(self, part: str, where: str) -> None:
        self._say({"kind": PROGRESS, "part": part, "where": where})

    def ready(self) -> None:
        self._say({"kind": READY})
        self.close()

    def failed(self, code: str, message: str, hint: str) -> None:
        self._say({"kind": FAILED, "code": code, "message": message, "hint": hint})
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    def _say(self, word: Mapping[str, str]) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(json.dumps(word) + "\n")
            self._file.flush()
