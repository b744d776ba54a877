"""Add images to an instance, and list every image that can run there."""

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubeling.kubelet.images import ImageConfig

from podpass.errors import UsageError
from podpass.files import write_private
from podpass.lab.cluster.image_source import BUILT_IN, IMAGES_FILE, base_name, read_images, to_entry
from podpass.lab.cluster.samples.cache import SampleCache
from podpass.lab.cluster.samples.catalogue import SAMPLES
from podpass.lab.cluster.samples.model import Readiness, Sample
from podpass.lab.cluster.samples.progress import read_progress
from podpass.lab.data.datadir import DataDir

_LINE_CHARS = 80


def add_image(data_dir: DataDir, name: str, config: ImageConfig) -> None:
    """Add an image or replace it; the next container with this image runs the new program.

    Raises UsageError, ImagesDamaged.
    """
    if not name.strip() or any(char.isspace() for char in name):
        raise UsageError(
            f"{name!r} is not a valid image name",
            hint="use the name in the pod: podpass image add NAME -- CMD",
        )
    found = read_images(data_dir.path(IMAGES_FILE)) | {name: config}
    entries = {each: to_entry(known) for each, known in found.items()}
    text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    write_private(data_dir.path(IMAGES_FILE), text.encode())


def resolve_command(words: Sequence[str], folder: Path, samples: SampleCache) -> tuple[str, ...]:
    """Return a command whose relative paths are absolute, because a container starts in another folder.

    `folder` is the current folder. An argument is a path if it begins with `./` or `../` and exists. Raises
    UsageError if the program does not exist or is not executable.
    """
    program, *arguments = words
    return (
        _resolve_program(program, folder, samples),
        *(_resolve_argument(word, folder) for word in arguments),
    )


def _resolve_program(program: str, folder: Path, samples: SampleCache) -> str:
    if "/" not in program or program.startswith("/"):
        # As the kubelet does: an absolute path that exists only in images is searched by its base name.
        if samples.find(program) is None:
            raise UsageError(
                f"{program} is neither next to this Python nor on the PATH",
                hint=f"pass the path of the program, for example ./{Path(program).name}",
            )
        return program
    path = Path(os.path.abspath(folder / program))  # noqa: PTH100 a link, as in a venv, must stay one
    if not path.is_file():
        raise UsageError(f"{path} does not exist", hint="pass the path of a program")
    if not os.access(path, os.X_OK):
        raise UsageError(
            f"{path} is not executable",
            hint=f"chmod +x {shlex.quote(str(path))}, or name its interpreter first",
        )
    return str(path)


def _resolve_argument(word: str, folder: Path) -> str:
    if not word.startswith(("./", "../")):
        return word
    path = Path(os.path.abspath(folder / word))  # noqa: PTH100 a link must stay one
    return str(path) if path.exists() else word


def find_local_files(words: Sequence[str], folder: Path) -> list[str]:
    """Return the arguments that name a file in a folder; containers start elsewhere and cannot find it."""
    return [word for word in words[1:] if "/" not in word and (folder / word).is_file()]


def list_images(data_dir: DataDir, samples: SampleCache) -> list[dict[str, Any]]:
    """List added images, built-in images and samples; an added image replaces others of the same name.

    `samples` has the PATH of the caller, which may differ from the PATH of the running instance.
    """
    added = read_images(data_dir.path(IMAGES_FILE))
    known = {base_name(name) for name in added}
    rows = [_sample(each, samples) for each in SAMPLES if each.image not in known]
    rows += [
        _command(name, config, "built-in", samples)
        for name, config in BUILT_IN.items()
        if name not in known
    ]
    rows += [_command(name, config, "added", samples) for name, config in added.items()]
    return sorted(rows, key=lambda row: str(row["name"]))


def _command(name: str, config: ImageConfig, origin: str, samples: SampleCache) -> dict[str, Any]:
    """Return the row of an image; it is ready if the kubelet finds its program."""
    argv = (*config.entrypoint, *config.command)
    if argv and samples.has(argv[0]):
        return _row(name, origin, Readiness(command=argv))
    why = f"{argv[0] if argv else 'its command'} is neither next to this Python nor on the PATH"
    todo = f"install it, or: podpass image add {name} -- COMMAND ARGS..."
    return _row(name, origin, Readiness(command=argv, why=why, todo=todo))


def _sample(sample: Sample, samples: SampleCache) -> dict[str, Any]:
    readiness = samples.readiness(sample)
    building = None if readiness.ready else read_progress(samples.root)
    if building is not None and building.sample == sample.name:
        why, todo = building.describe(), f"wait; the output is in {building.log}"
        readiness = Readiness(command=(), why=why, todo=todo)
    return _row(sample.image, "sample", readiness)


def _row(name: str, origin: str, readiness: Readiness) -> dict[str, Any]:
    line = shlex.join(readiness.command)
    return {
        "name": name,
        "origin": origin,
        "command": list(readiness.command),
        # A program in the command would make the table wider than a terminal.
        "command_line": line if len(line) <= _LINE_CHARS else f"{line[:_LINE_CHARS]}...",
        "ready": readiness.ready,
        "why": readiness.why,
        "todo": readiness.todo,
    }
