"""A rotation is killed at each operation on the disk, and continues without loss."""

import signal
import sys
from pathlib import Path

import pytest

from tests.assertion.publishing import issuer as issuers
from tests.assertion.publishing.issuer import CachingVerifier
from tests.run_program import run_text

# Each of these changes the disk. A process that is killed just before one of them has done all others.
EVENTS = ("os.rename", "os.remove", "os.symlink", "os.mkdir")
PROGRAM = """
import os, signal, sys
from pathlib import Path
from podpass.assertion.publishing import config
from podpass.assertion.publishing.key_folder import KeyFolder
from tests.assertion.publishing.issuer import Clock, Issuer

root, now, rest = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
clock = Clock()
clock.now = now
issuer = Issuer(folder=KeyFolder(root), clock=clock, config=config.read(root))

def count(event, arguments):
    global rest
    if event in {events!r}:
        rest -= 1
        if rest == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
with issuer.folder.lock():
    wait = issuer.rotate(start=sys.argv[4] == "start")
print("done" if wait is None else wait.until)
"""


def _run(root: Path, now: float, kill_at: int, start: str) -> float | None:
    """Run a rotation in a process; return the end of its wait, 0 at its end, None if it was killed."""
    program = PROGRAM.replace("{events!r}", repr(EVENTS))
    done = run_text(
        [sys.executable, "-c", program, str(root), str(now), str(kill_at), start],
        cwd=Path(__file__).parents[3],
        timeout=60,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    last = done.stdout.split()[-1]
    return 0.0 if last == "done" else float(last)


@pytest.mark.processes
def test_rotation_that_is_killed_at_each_operation_loses_nothing(tmp_path: Path) -> None:
    """Each run is killed one operation later than the one before, until a run is not killed."""
    issuer = issuers.create(tmp_path / "issuer")
    issuer.rotate(start=False)
    first = issuer.state.active.kid
    verifier = CachingVerifier(issuer)
    verifier.verify(issuer.sign())
    kills, kill_at, start = 0, 1, "start"
    for _ in range(200):
        until = _run(issuer.folder.root, issuer.clock.now, kill_at, start)
        # Whatever has been done: the keys can be read, and a verifier finds the key of each token.
        verifier.verify(issuer.sign())
        assert issuer.state.active.kid in issuer.published()
        if until is None:
            kills += 1
            kill_at += 1
            start = "start" if len(issuer.state.keys) == 1 and first in issuer.published() else "no"
            continue
        if until == 0.0:
            break
        issuer.clock.now, kill_at, start = until, 1, "no"
    else:
        raise AssertionError("the rotation does not end")
    assert kills > 15
    assert issuer.published() == [issuer.state.active.kid] != [first]
    assert not list(issuer.folder.root.rglob("*.part"))


def test_interrupted_process_leaves_no_partial_document(tmp_path: Path) -> None:
    issuer = issuers.create(tmp_path / "issuer")
    part = issuer.folder.root / "published" / "openid/v1"
    part.mkdir(parents=True)
    (part / ".jwks.part").write_text("half")
    issuer.rotate(start=False)
    assert [path.name for path in part.iterdir()] == ["jwks"]
