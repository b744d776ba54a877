"""The progress of the running build, in a file of the cache, so that every process can show it."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from podpass.files import write_private
from podpass.lab.data.lock import lock_holder

LOCK_FILE, PROGRESS_FILE = ".lock", ".progress.json"
_MAX_OUTPUT = 80
_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildProgress:
    """The step that a build runs now.

    `step` counts from 1; `log` is the file with the output of the build tool. Units: `began`, the start of
    the build, in epoch seconds.
    """

    sample: str
    step: int
    steps: int
    message: str
    began: float
    log: str

    def describe(self) -> str:
        """Return the step, the elapsed time and the last line that the build tool printed."""
        seconds = max(0, int(time.time() - self.began))
        text = f"being built for {seconds} s, step {self.step} of {self.steps}: {self.message}"
        line = _last_line(Path(self.log))
        return f"{text}; {line}" if line else text


def write_progress(root: Path, progress: BuildProgress) -> None:
    write_private(root / PROGRESS_FILE, orjson.dumps(asdict(progress)))


def clear_progress(root: Path) -> None:
    (root / PROGRESS_FILE).unlink(missing_ok=True)


def read_progress(root: Path) -> BuildProgress | None:
    """Return the progress of the running build; None without one, also after a build that was killed."""
    if lock_holder(root / LOCK_FILE) is None:
        return None
    try:
        return BuildProgress(**orjson.loads((root / PROGRESS_FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None  # the build starts or ends at this moment


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    text = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return "".join(char if char.isprintable() else " " for char in text)[:_MAX_OUTPUT]
