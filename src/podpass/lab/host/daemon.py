"""Start an instance in the background, and report its progress or its error.

The child process writes events to a pipe, one JSON object per line. If the pipe closes without a final event,
the child has exited.
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
    """The background instance failed before it was ready; fact `cause` is the code of its error."""

    code = "did_not_start"


def start(
    arguments: Sequence[str],
    *,
    errors: Path,
    environ: Mapping[str, str],
    progress: Callable[[str, str], None],
    stdin: str = "",
) -> None:
    """Run `podpass ARGUMENTS --ready-fd N` in its own session and return when it is ready.

    `stdin` is the text that the child reads from stdin. Raises DidNotStart, with the message and the hint of
    the child.
    """
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "podpass.cli", *arguments, "--ready-fd", str(writing)]
    # Logs go to podpass.log; stderr receives only the output of a crash.
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
        _wait_ready(reading, child, progress)
    except KeyboardInterrupt:
        # Ctrl-C does not reach the child, which has its own session; it would continue to start.
        child.terminate()
        child.wait()
        raise


def _wait_ready(
    reading: int, child: subprocess.Popen[bytes], progress: Callable[[str, str], None]
) -> None:
    with os.fdopen(reading) as lines:
        for line in lines:
            event = json.loads(line)
            if event["kind"] == READY:
                child.returncode = 0  # it keeps running; nothing waits for it
                return
            if event["kind"] == FAILED:
                child.wait()  # then its ports and its lock are free
                raise DidNotStart(event["message"], hint=event["hint"], cause=event["code"])
            progress(event["part"], event["detail"])
    code = child.wait()
    if code == 0:
        raise DidNotStart("the instance was stopped while starting", hint="start it again")
    raise DidNotStart(
        f"the instance exited with code {code} while starting",
        hint="check podpass.err and podpass.log in the data directory",
    )


class StartupPipe:
    """The child's end of the pipe; write errors are ignored, because the parent may have exited."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._file = os.fdopen(descriptor, "w")

    def progress(self, part: str, detail: str) -> None:
        self._write({"kind": PROGRESS, "part": part, "detail": detail})

    def report_ready(self) -> None:
        self._write({"kind": READY})
        self.close()

    def report_failure(self, code: str, message: str, hint: str) -> None:
        self._write({"kind": FAILED, "code": code, "message": message, "hint": hint})
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, event: Mapping[str, str]) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()
