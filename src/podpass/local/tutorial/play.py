"""One run of the tutorial: an instance of its own, the script in it, each command shown with its answer."""

import contextlib
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from podpass.errors import Error
from podpass.local import program
from podpass.local.samples import catalogue, prepare
from podpass.local.samples.cache import SampleCache, cache_folder
from podpass.local.tutorial import azure_cli
from podpass.local.tutorial.model import Answered, Asked, Headings, problems
from podpass.local.tutorial.script import Script

Say = Callable[[str], None]

_SHOWN_LINES = 6
# The page's own image first; the other needs no toolchain.
_SAMPLES = ("msal-go", "msal-python")


class TutorialFailed(Error):
    """The tutorial did not go as its page says."""

    code = "tutorial_failed"
    hint = "run it again with --keep and look at podpass.log in the folder it names"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to run: which `az`, whether to show whole answers, whether to keep the folder."""

    az: str = azure_cli.NEWEST
    full: bool = False
    keep: bool = False


def run_tutorial(wish: Wish, environ: Mapping[str, str], now: datetime, say: Say) -> None:
    """Run the whole tutorial in a temporary folder, from its instance to the clean-up.

    Errors:  TutorialFailed, UsageError, RegistryUnreachable, NotInstalled, BuildFailed.
    """
    _check_programs(environ)
    python = azure_cli.install(wish.az, environ, now, say)
    say(f"az {azure_cli.version(python)}")
    image = _image(environ, say)
    folder = Path(tempfile.mkdtemp(prefix="podpass-tutorial-"))
    stopped = False
    try:
        _up(folder, say)
        try:
            _play(wish, folder, _surroundings(folder, python, image, environ), say)
        finally:
            program.podpass(folder / "data", "down", failed=TutorialFailed)
            stopped = True
    finally:
        # Without its folder an instance that would not stop could not be told to any more.
        if wish.keep or not stopped:
            say(f"kept       {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _check_programs(environ: Mapping[str, str]) -> None:
    path = _path(environ)
    missing = [name for name in ("bash", "kubectl") if shutil.which(name, path=path) is None]
    if missing:
        names = " and ".join(missing)
        raise TutorialFailed(
            f"the tutorial needs {names}", hint=f"install {names} and run it again"
        )


def _path(environ: Mapping[str, str]) -> str:
    """Put this Python's folder last: it has a kubectl where the machine has none."""
    return os.pathsep.join([environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])


def _image(environ: Mapping[str, str], say: Say) -> str:
    """Choose the second pod's image and have it built: the page's own where Go is there."""
    cache = SampleCache(cache_folder(environ), environ.get("PATH", os.defpath))
    for name in _SAMPLES:
        sample = catalogue.by_name(name)
        assert sample is not None
        try:
            if not cache.readiness(sample).ready:
                prepare.prepare(sample, cache, environ, say)
        except prepare.ToolsMissing as exc:
            say(f"{exc.message}; the second pod runs another sample instead")
        else:
            return sample.image
    raise TutorialFailed("no sample can be built here", hint="podpass image list says why")


def _up(folder: Path, say: Say) -> None:
    began = time.monotonic()
    program.podpass(folder / "data", "up", "--detach", "--port-base", "0", failed=TutorialFailed)
    say(f"an instance in a folder of its own, ready in {time.monotonic() - began:.1f} s")


def _surroundings(
    folder: Path, python: Path, image: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """Make an environment that knows this `az`, and a home of its own for keys and configuration."""
    for name in ("home", "bin"):
        (folder / name).mkdir()
    az = folder / "bin" / "az"
    az.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} -m azure.cli "$@"\n')
    az.chmod(0o755)
    kept = {name: value for name, value in environ.items() if not name.startswith("AZURE_")}
    return {
        **kept,
        "PATH": os.pathsep.join([str(folder / "bin"), _path(environ)]),
        "HOME": str(folder / "home"),
        "SAMPLE_IMAGE": image,
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
    }


def _play(wish: Wish, folder: Path, environ: Mapping[str, str], say: Say) -> None:
    began = time.monotonic()
    answers: list[Answered] = []
    script = Script(folder, environ)
    headings = Headings(script.text)
    step = ""
    # Closed whatever happens: an interrupt must not leave the script behind.
    with contextlib.closing(script.play()) as play:
        for telling in play:
            if isinstance(telling, Asked):
                if (heading := headings.above(telling.line)) != step:
                    step = heading
                    say(f"\n# {step}")
                say(f"$ {telling}")
            else:
                answers.append(telling)
                say(_shown(telling, wish.full))
    if found := problems(answers) or script.problems:
        raise TutorialFailed("; ".join(found))
    took = time.monotonic() - began
    say(f"\nThe tutorial went through: {len(answers)} commands in {took:.0f} s.")


def _shown(answer: Answered, full: bool) -> str:
    lines = [*answer.talk.splitlines(), *answer.out.splitlines()]
    limit = len(lines) if full or answer.code != 0 else _SHOWN_LINES
    shown = [f"  {line}" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"  ... {len(lines) - limit} more lines")
    code = f", exit code {answer.code}" if answer.code else ""
    silent = "" if lines else "nothing printed, "
    return "\n".join([*shown, f"  ({silent}{answer.seconds:.1f} s{code})"])
