"""`podpass image`."""

import os

import click

from podpass.cli import options
from podpass.cli.output import emit, say
from podpass.errors import Error, UsageError
from podpass.local import images
from podpass.local.datadir import DataDir, check_version, claim, prepare
from podpass.local.image_source import base_name
from podpass.local.samples import catalogue
from podpass.local.samples import prepare as building
from podpass.local.samples.cache import SampleCache, cache_folder
from podpass.local.samples.model import Sample

_COLUMNS = {
    "NAME": "name",
    "FROM": "origin",
    "COMMAND": "command_line",
    "READY": "ready",
    "WHY NOT": "why",
    "WHAT TO DO": "todo",
}


def _samples() -> SampleCache:
    environ = options.environ()
    return SampleCache(cache_folder(environ), environ.get("PATH", os.defpath))


@click.group
def command() -> None:
    """What the instance runs for an image name.

    A container without a `command` runs what its image stands for here. Nothing is pulled.
    """


@command.command("list")
@options.data_dir
@options.output()
def list_(data_dir: DataDir, output: str) -> None:
    """List the images that can run here, and what the others lack."""
    check_version(data_dir)
    rows = images.everything(data_dir, _samples())
    if output != "table":
        rows = [{name: row[name] for name in row if name != "command_line"} for row in rows]
    emit(rows, output, _COLUMNS)


@command.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@options.data_dir
@click.argument("name")
@click.argument("words", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def add(data_dir: DataDir, name: str, words: tuple[str, ...]) -> None:
    """Let an image name stand for a command on this machine."""
    prepare(data_dir)
    claim(data_dir)
    # Click leaves a `--` in place once an argument has been read.
    words = words[1:] if words[0] == "--" else words
    if not words:
        raise click.UsageError("Missing argument '-- CMD...'.")
    images.add(data_dir, name, list(words))
    say(f"pods with the image {name} run: {' '.join(words)}")


@command.command("prepare")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every sample whose tools are here.")
@click.option("--again", is_flag=True, help="Also what is prepared already.")
def prepare_(name: str | None, everything: bool, again: bool) -> None:
    """Build a sample of the documentation, once for all instances.

    NAME is msal-python, msal-node, msal-go, msal-java or msal-net, or the whole image name. Its packages
    come from its language's own registry; the result is kept in $XDG_CACHE_HOME/podpass/samples.
    """
    if everything == (name is not None):
        raise UsageError("name one sample, or give --all", hint=f"the samples are: {_NAMES}")
    samples = _samples()
    if name is None:
        _prepare_all(samples, again)
    else:
        building.prepare(_named(name), samples, options.environ(), say, again=again)


def _prepare_all(samples: SampleCache, again: bool) -> None:
    """Build what can be built here; a missing tool is told and is no failure."""
    failed: list[Error] = []
    for sample in catalogue.SAMPLES:
        if samples.readiness(sample).ready and not again:
            say(f"{sample.name}: ready already")
            continue
        try:
            building.prepare(sample, samples, options.environ(), say, again=again)
        except building.ToolsMissing as exc:
            say(f"{sample.name}: left out. {exc.message}: {exc.hint}")
        except (building.RegistryUnreachable, building.BuildFailed) as exc:
            say(f"{sample.name}: failed. {exc.message}: {exc.hint}")
            failed.append(exc)
    if failed:
        raise failed[0]


def _named(name: str) -> Sample:
    sample = catalogue.by_name(base_name(name))
    if sample is None:
        raise UsageError(f"{name} is no sample of the documentation", hint=f"they are: {_NAMES}")
    return sample


_NAMES = ", ".join(sample.name for sample in catalogue.SAMPLES)
