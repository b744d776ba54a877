"""A git checkout of the files of the working tree, and `scripts/release` in it."""

import os
import shutil
import sys
from pathlib import Path

from tests.run_program import Done, run_text

ROOT = Path(__file__).parents[2]
# The time and the author of the commit, so that two checkouts have the same commit.
_COMMIT = {
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
    **{f"GIT_{who}_NAME": "podpass" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "tests@podpass.example" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; return its output."""
    done = run_text(["git", *arguments], cwd=folder, env={**os.environ, **_COMMIT})
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_checkout(folder: Path) -> Path:
    """Copy the files of the working tree that git does not ignore, and commit them."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    folder.mkdir(parents=True, exist_ok=True)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=release")
    return folder


def release(checkout: Path, *arguments: str, **variables: str) -> Done:
    """Run `scripts/release` of a checkout, with additional variables."""
    return run_text(
        [sys.executable, str(checkout / "scripts" / "release"), *arguments],
        cwd=checkout,
        env={**os.environ, **variables},
    )
